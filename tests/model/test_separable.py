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


@pytest.mark.parametrize("edge", ["nearest", "grid-constant"])
@pytest.mark.parametrize("start", [(2.0, 1.0, 0.0), (-3.0, 8.0, 40.0), (2 + 3e-8, 1 - 3e-8, 3e-8)])
def test_places_on_voxels_have_their_values(edge: str, start: tuple[float, float, float]) -> None:
    """Bit by bit: within the image, partly or wholly beyond it, and where only rounding moved them."""
    values = np.random.default_rng(0).random((9, 11, 13), dtype=np.float32)
    shape = (6, 7, 8)

    found = along_axes(values, np.array(start), np.ones(3), shape, edge)

    places = [round(s) + np.arange(n) for s, n in zip(start, shape, strict=True)]
    expected = values[np.ix_(*(p.clip(0, n - 1) for p, n in zip(places, values.shape, strict=True)))]
    if edge == "grid-constant":
        inside = [(p >= 0) & (p < n) for p, n in zip(places, values.shape, strict=True)]
        expected = expected * np.einsum("i,j,k->ijk", *inside)
    assert np.array_equal(found, expected)


def test_grids_that_are_turned_against_each_other_are_told_apart() -> None:
    """A thousandth of a degree moves a value by a hundredth of a voxel at the end of a long axis."""
    index = np.diag([1.2, 0.8, -2.0, 1.0])
    index[:3, 3] = 5.0
    turned = index.copy()
    turned[0, 1] = 2e-5

    assert scales_of(index) == pytest.approx([1.2, 0.8, -2.0])
    assert scales_of(turned) is None
