"""Lines around what reaches a threshold: on the outermost voxels, part by part, without a copy of the map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionlens.contours import ABOVE, BELOW, Lines

VALUES = np.random.default_rng(3).normal(size=(12, 13, 14)).astype(np.float32)
SMOOTH = ndimage.gaussian_filter(VALUES, 1.5)


def outermost(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a mask that share an edge with one outside; nothing is outside beyond the border."""
    inner = ndimage.binary_erosion(mask, ndimage.generate_binary_structure(2, 1), border_value=1)
    return np.asarray(mask & ~inner)


def test_a_line_by_hand() -> None:
    """A block of 5 x 4 pixels has a rim of 14 and an inside of 6."""
    values = np.zeros((1, 8, 8), np.float32)
    values[0, 1:6, 2:6] = 0.8
    rim = np.zeros((8, 8), np.uint8)
    rim[1:6, 2:6] = ABOVE
    rim[2:5, 3:5] = 0

    np.testing.assert_array_equal(Lines(values, 0.5)[0], rim)
    assert rim.sum() == 14


def test_lines_are_the_outermost_voxels_along_every_axis() -> None:
    """Axial, coronal and sagittal slices each have the rim of what they show."""
    lines = Lines(SMOOTH, 0.05)
    mask = np.float32(0.05) <= SMOOTH

    for axis in range(3):
        for place in range(SMOOTH.shape[axis]):
            key = (*(slice(None),) * axis, place)
            np.testing.assert_array_equal(lines[key] == ABOVE, outermost(mask[key]))


def test_a_region_that_is_cut_off_has_no_line_along_the_border() -> None:
    """Where the scan ends nobody knows where the lesion does."""
    values = np.zeros((1, 6, 6), np.float32)
    values[0, 0:3, 0:3] = 1

    found = Lines(values, 0.5)[0]

    assert found[0, 0] == 0
    assert found[0, 2] == found[2, 0] == found[2, 2] == ABOVE


def test_parts_that_are_no_slices_have_all_labels() -> None:
    """A row, a block and the whole, as for 3D."""
    lines, mask = Lines(SMOOTH, 0.05), np.float32(0.05) <= SMOOTH

    np.testing.assert_array_equal(np.asarray(lines), mask)
    np.testing.assert_array_equal(lines[2:5], mask[2:5])
    np.testing.assert_array_equal(lines[1, 2], mask[1, 2])
    assert lines[1, 2, 3] == mask[1, 2, 3]
    assert (lines.shape, lines.ndim, lines.size, len(lines), lines.dtype) == ((12, 13, 14), 3, 2184, 12, np.uint8)


def test_a_value_equal_to_the_threshold_belongs() -> None:
    """As regions are measured, to the last bit: 0.3 is no float32."""
    at = np.float32(0.3)
    values = np.array([np.nextafter(at, np.float32(0)), at, np.nextafter(at, np.float32(1))])

    assert Lines(values, 0.3)[...].tolist() == [0, ABOVE, ABOVE]


def test_both_signs_have_lines_of_their_own() -> None:
    """Evidence against has another line than evidence for, also where the two touch."""
    values = np.array([-2.0, -0.5, 0.0, 0.5, 2.0], dtype=np.float32)
    assert Lines(values, 0.5, both_signs=True)[...].tolist() == [BELOW, BELOW, 0, ABOVE, ABOVE]
    assert Lines(values, 0.5)[...].tolist() == [0, 0, 0, ABOVE, ABOVE]

    touching = np.repeat(np.array([[[-1.0, -1, -1, 1, 1, 1]]], dtype=np.float32), 3, axis=1)
    assert Lines(touching, 0.5, both_signs=True)[0].tolist() == [[0, 0, BELOW, ABOVE, 0, 0]] * 3


def test_the_map_is_not_copied() -> None:
    """Three lines of a large scan must not triple what is in memory."""
    assert np.shares_memory(Lines(VALUES, 0.5).values, VALUES)
