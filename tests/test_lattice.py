"""Grids whose voxels coincide: copies are what interpolation gives, and others are left to it."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from scipy import ndimage

from lesionlens.lattice import copied_where_voxels_coincide

VALUES = np.random.default_rng(1).normal(size=(5, 6, 7)).astype(np.float32)


def interpolated(index: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return what an independent interpolation gives, NaN beyond the source."""
    return ndimage.affine_transform(
        VALUES.astype(np.float64), index[:3, :3], index[:3, 3], shape, order=1, mode="constant", cval=np.nan
    )


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_every_turn_and_flip_copies_what_interpolation_gives(axes: tuple[int, ...]) -> None:
    """In all 48 orientations, with shifts that leave the source at either end."""
    for signs, shift in product(product((1, -1), repeat=3), ((0, 0, 0), (2, -3, 4))):
        index = np.eye(4)
        index[:3, :3] = np.eye(3)[list(axes)] * signs
        index[:3, 3] = [
            s + (n - 1 if row.sum() < 0 else 0) for s, n, row in zip(shift, VALUES.shape, index[:3, :3], strict=True)
        ]
        out = np.full((6, 7, 8), np.nan, dtype=np.float32)

        assert copied_where_voxels_coincide(VALUES, index, out)
        np.testing.assert_array_equal(out, interpolated(index, out.shape).astype(np.float32))
        assert np.isfinite(out).any()


@pytest.mark.parametrize(
    "change",
    [(0, 3, 0.5), (0, 3, 1e-3), (0, 0, 1.001), (0, 1, 0.001), (0, 0, 2.0), (0, 0, 0.0)],
    ids=["half a voxel", "a thousandth", "other spacing", "turned", "every second voxel", "flat"],
)
def test_other_grids_are_left_alone(change: tuple[int, int, float]) -> None:
    """Voxels that do not coincide everywhere are not copied, and nothing is written."""
    index = np.eye(4)
    index[change[0], change[1]] = change[2]
    out = np.full(VALUES.shape, 9.0, dtype=np.float32)

    assert not copied_where_voxels_coincide(VALUES, index, out)
    assert (out == 9.0).all()


def test_grids_without_a_common_voxel_copy_nothing() -> None:
    """A grid far beyond the other keeps its values."""
    index = np.eye(4)
    index[:3, 3] = 100
    out = np.full((3, 3, 3), 9.0, dtype=np.float32)

    assert copied_where_voxels_coincide(VALUES, index, out)
    assert (out == 9.0).all()
