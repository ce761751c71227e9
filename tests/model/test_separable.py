"""Resampling axis by axis is what resampling at each place gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lesionlens.model.separable import along_axes, scales_of

# Sums of eight products in float32 of values below 1.
ROUNDING = 1e-6


@pytest.mark.parametrize("edge", ["nearest", "grid-constant"])
@pytest.mark.parametrize("step", [(1.33, 0.7, 2.5), (1.0, 1.0, 1.0), (-0.6, 1.4, -1.1)])
def test_axis_by_axis_is_place_by_place(edge: str, step: tuple[float, float, float]) -> None:
    """Scipy computes in float64 at every place by itself; places lie inside, between and beyond the voxels."""
    values = np.random.default_rng(0).random((9, 11, 13), dtype=np.float32)
    scales, shape = np.array(step), (10, 12, 8)
    start = np.where(scales > 0, -1.7, np.array(values.shape) + 0.4)

    found = along_axes(values, start, scales, shape, edge)

    expected = ndimage.affine_transform(values, np.diag(scales), start, output_shape=shape, order=1, mode=edge)
    np.testing.assert_allclose(found, expected, atol=ROUNDING)
    assert np.array_equal(along_axes(values, np.zeros(3), np.ones(3), values.shape, edge), values)


def test_grids_that_are_turned_against_each_other_are_told_apart() -> None:
    """A thousandth of a degree moves a value by a hundredth of a voxel at the end of a long axis."""
    index = np.diag([1.2, 0.8, -2.0, 1.0])
    index[:3, 3] = 5.0
    turned = index.copy()
    turned[0, 1] = 2e-5

    assert scales_of(index) == pytest.approx([1.2, 0.8, -2.0])
    assert scales_of(turned) is None
