"""The 48 ways to store one volume: every order of the axes, every axis forwards or backwards."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlens.volume import Grid

Orientation = tuple[tuple[int, int, int], tuple[bool, bool, bool]]

ORIENTATIONS: tuple[Orientation, ...] = tuple(product(permutations(range(3)), product((False, True), repeat=3)))

# Twelve of them: every order of the axes, and in each order every axis both ways. For what takes long and comes back to
# the scan's grid by code that other tests see with all 48.
_FLIPS = list(product((False, True), repeat=3))
COVERING: tuple[Orientation, ...] = tuple(
    (order, flips) for n, order in enumerate(permutations(range(3))) for flips in (_FLIPS[n], _FLIPS[7 - n])
)


def reoriented(array: NDArray[Any], grid: Grid, orientation: Orientation) -> tuple[NDArray[Any], Grid]:
    """Store the same voxels at the same places in the world in another axis order and direction."""
    order, flips = orientation
    matrix = np.zeros((4, 4))  # new voxel index -> old voxel index
    matrix[3, 3] = 1
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        matrix[old, new] = -1 if flip else 1
        matrix[old, 3] = grid.shape[old] - 1 if flip else 0
    stored = np.ascontiguousarray(np.flip(array.transpose(order), [axis for axis in range(3) if flips[axis]]))
    return stored, Grid(stored.shape, grid.affine @ matrix)


def oblique(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], degrees: float = 20.0) -> Grid:
    """Return a grid turned about two world axes, so that no voxel axis is parallel to any."""
    angle = np.radians(degrees)
    c, s = np.cos(angle), np.sin(angle)
    turned = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    affine = np.eye(4)
    affine[:3, :3] = turned * spacing_mm
    affine[:3, 3] = (-30.0, 12.5, 7.0)
    return Grid(shape, affine)
