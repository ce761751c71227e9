"""Distances of surfaces, against closed forms, MONAI itself, and a search through all pairs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import cdist

from lesionlens.errors import InputError
from lesionlens.model.surface_metrics import surface_distances
from lesionlens.volume import Grid

SPACING = (1.0, 1.5, 2.5)
GRID = Grid((20, 18, 16), np.diag([*SPACING, 1.0]))


def cube(start: tuple[int, int, int], size: int = 6) -> NDArray[np.bool_]:
    """Return a cube on the grid."""
    array = np.zeros(GRID.shape, dtype=bool)
    array[tuple(slice(a, a + size) for a in start)] = True
    return array


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_cube_that_is_shifted_lies_as_far_away_as_it_was_shifted(axis: int) -> None:
    """Two voxels along one axis: more than 5 % of the border, its whole last layers, are two voxels away."""
    start = [4, 4, 4]
    start[axis] += 2

    found = surface_distances(cube((4, 4, 4)), cube((start[0], start[1], start[2])), GRID)

    assert found is not None
    assert found.hausdorff95_mm == pytest.approx(2 * SPACING[axis], rel=1e-6)  # MONAI works in single precision


def test_equal_masks_are_at_no_distance_and_nothing_has_none() -> None:
    """The two ends of the scale; a distance to nothing would be infinite, and ruin a mean."""
    found = surface_distances(cube((4, 4, 4)), cube((4, 4, 4)), GRID)

    assert found is not None
    assert (found.hausdorff95_mm, found.average_mm) == (0, 0)
    assert surface_distances(cube((4, 4, 4)), np.zeros(GRID.shape, dtype=bool), GRID) is None
    assert surface_distances(np.zeros(GRID.shape, dtype=bool), cube((4, 4, 4)), GRID) is None


def test_random_masks_have_the_distances_of_all_pairs_and_of_monai_on_the_whole_grid() -> None:
    """Masks that reach the edge of the grid too; the box that is cut out changes nothing."""
    rng = np.random.default_rng(0)
    for _ in range(3):
        pair = [ndimage.gaussian_filter(rng.normal(size=GRID.shape), 2) > 0.05 for _ in range(2)]
        found = surface_distances(pair[0], pair[1], GRID)
        borders = [np.argwhere(m & ~ndimage.binary_erosion(m)) * SPACING for m in pair]
        every = cdist(*borders)
        there, back = every.min(axis=1), every.min(axis=0)
        whole = [torch.from_numpy(m)[None, None].float() for m in pair]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            far = compute_hausdorff_distance(*whole, include_background=True, percentile=95, spacing=SPACING)
            mean = compute_average_surface_distance(*whole, include_background=True, symmetric=True, spacing=SPACING)

        assert found is not None
        assert found.hausdorff95_mm == pytest.approx(max(np.percentile(d, 95) for d in (there, back)), rel=1e-5)
        assert found.average_mm == pytest.approx(np.concatenate([there, back]).mean(), rel=1e-5)
        assert (found.hausdorff95_mm, found.average_mm) == pytest.approx((float(far), float(mean)), rel=1e-6)


def test_masks_of_another_grid_are_refused() -> None:
    """Distances of what does not lie on one grid mean nothing."""
    with pytest.raises(InputError, match="shape of the grid"):
        surface_distances(np.zeros((2, 2, 2), dtype=bool), cube((4, 4, 4)), GRID)
