"""The shell around a region against distances worked out one by one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lesionlens.regions import measure_surroundings
from lesionlens.regions.surroundings import SHELL_MM, Surroundings
from lesionlens.volume import Grid, Volume
from orientations import oblique

SHEARED = Grid((14, 12, 9), np.array([[1.0, 0.4, 0, 3], [0, 0.9, 0.3, 4], [0, 0, 2.0, 5], [0, 0, 0, 1]]))


def shell(labels: NDArray[np.integer], label: int, grid: Grid) -> NDArray[np.bool_]:
    """Return the voxels of no region that are at most the shell's width from one of a region, pair by pair."""
    outside = np.argwhere(labels == 0)
    distance = np.linalg.norm(grid.world(outside)[:, None] - grid.world(np.argwhere(labels == label))[None], axis=-1)
    mask = np.zeros(labels.shape, bool)
    mask[tuple(outside[distance.min(axis=1) <= SHELL_MM + 1e-9].T)] = True
    return mask


@pytest.mark.parametrize("grid", [oblique((14, 12, 9), (0.7, 1.0, 2.5)), SHEARED], ids=["oblique", "sheared"])
def test_the_shell_is_that_of_all_pairs(rng: np.random.Generator, grid: Grid) -> None:
    """Two regions near each other, one at the border of the grid."""
    labels = np.zeros(grid.shape, np.uint16)
    labels[5:9, 4:8, 3:6], labels[10:14, 5:7, 3:5] = 2, 5
    scan = rng.normal(100, 10, grid.shape)

    found = measure_surroundings(labels, Volume(scan, grid))

    for label, around in zip((2, 5), found, strict=True):
        values = scan[shell(labels, label, grid)]
        contrast = scan[labels == label].mean() - values.mean()
        assert around == Surroundings(
            values.size,
            pytest.approx(values.mean()),
            pytest.approx(values.std()),
            pytest.approx(contrast),
            pytest.approx(contrast / values.std()),
        )


def test_voxels_without_data_are_not_around_anything() -> None:
    """A region whose every neighbour is padding has no surroundings, and is not compared with the padding."""
    grid = Grid((9, 9, 9), np.eye(4))
    labels = np.zeros(grid.shape, np.uint8)
    labels[4, 4, 4] = 1

    assert measure_surroundings(labels, Volume(np.ones(grid.shape), grid, valid=labels > 0)) == [
        Surroundings(0, None, None, None, None)
    ]


def test_an_even_shell_has_no_noise_to_compare_with() -> None:
    """Division by a spread of zero is no number."""
    grid = Grid((9, 9, 9), np.eye(4))
    labels = np.zeros(grid.shape, np.uint8)
    labels[4, 4, 4] = 1

    (around,) = measure_surroundings(labels, Volume(labels * 5.0, grid))

    assert (around.contrast, around.contrast_to_noise) == (5.0, None)
