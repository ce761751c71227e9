"""The picture of a scan that is still being read."""

from __future__ import annotations

import numpy as np

from lesionlens.io.early import EarlySlice
from lesionlens.report.preview import Preview
from lesionlens.volume import Grid

GRID = Grid((3, 2, 4), np.diag([1.0, 2.0, 3.0, 1.0]))


def early(k: int, values: object, unit: str = "HU") -> EarlySlice:
    """Return a slice on the grid."""
    return EarlySlice(GRID, "CT series 1", unit, k, np.asarray(values))


def test_grey_levels_are_those_of_the_window() -> None:
    """Closed form: 1 at -160 HU and below, 255 at 240 HU and above, 254 steps between; 0 is not read yet."""
    preview = Preview()

    preview(early(2, [[-1024, -160], [40, 240], [3000, 0]]))

    np.testing.assert_array_equal(preview.array[:, :, 2], [[1, 1], [128, 255], [255, 1 + int(160 * 254 / 400)]])
    assert preview.array.dtype == np.uint8
    assert not np.delete(preview.array, 2, axis=2).any()


def test_slices_share_the_window_of_the_first() -> None:
    """A bright slice must not change how the others look."""
    preview = Preview()
    preview(early(2, np.arange(6).reshape(3, 2), unit=""))
    before = preview.array[:, :, 2].copy()

    preview(early(0, np.full((3, 2), 1000), unit=""))

    np.testing.assert_array_equal(preview.array[:, :, 2], before)
    assert (preview.array[:, :, 0] == 255).all()


def test_slices_are_counted_once() -> None:
    """The middle one comes twice."""
    preview = Preview()
    counts = [preview.done]

    for k in (2, 0, 1, 2):
        preview(early(k, np.zeros((3, 2))))
        counts.append(preview.done)

    assert counts == [0, 1, 2, 3, 3]
    assert preview.first is not None
    assert preview.first.k == 2


def test_extreme_values_and_a_constant_slice_are_drawn() -> None:
    """Neither wraps around nor divides by zero."""
    preview = Preview()
    preview(early(2, np.full((3, 2), 7, np.int16), unit=""))

    preview(early(1, np.array([[-(2**31), 2**31 - 1]] * 3, np.int32), unit=""))

    assert preview.array[0, :, 1].tolist() == [1, 255]
    assert preview.array[:, :, 2].min() >= 1
