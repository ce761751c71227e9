"""How far two masks' surfaces lie apart, as MONAI's metrics say it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlens.errors import InputError
from lesionlens.volume import Grid

__all__ = ["SurfaceDistances", "surface_distances"]

# The percentile that takes no notice of a few stray voxels (Taha and Hanbury, BMC Medical Imaging 2015).
_PERCENTILE = 95


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between the voxels at the borders of two masks, from centre to centre.

    Parameters
    ----------
    hausdorff95_mm
        The larger of both directions' 95th percentiles.
    average_mm
        Mean over the border voxels of both.
    """

    hausdorff95_mm: float
    average_mm: float


def surface_distances(found: NDArray[np.bool_], marked: NDArray[np.bool_], grid: Grid) -> SurfaceDistances | None:
    """Measure how far the surfaces of two masks lie apart.

    Parameters
    ----------
    found, marked
        (i, j, k) bool, on the grid.
    grid
        Its spacing is used; axes that are not at right angles to each other are taken as if they were.

    Returns
    -------
    SurfaceDistances or None
        None where one is empty: there is no distance to nothing.

    Raises
    ------
    InputError
        If a mask does not have the grid's shape.
    """
    if not found.shape == marked.shape == grid.shape:
        raise InputError(f"Masks have the shape of the grid, {grid.shape}; found {found.shape} and {marked.shape}.")
    if not (found.any() and marked.any()):
        return None
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    box = _box(found | marked)  # nothing outside of it counts
    one, other = (_one_channel(mask[box]) for mask in (found, marked))
    spacing = [float(size) for size in grid.spacing_mm]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI 1.6 calls itself with an argument that it gave up
        far = compute_hausdorff_distance(one, other, include_background=True, percentile=_PERCENTILE, spacing=spacing)
        mean = compute_average_surface_distance(one, other, include_background=True, symmetric=True, spacing=spacing)
    return SurfaceDistances(float(far), float(mean))


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the box around what is True."""
    places = [np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis))) for axis in range(3)]
    return tuple(slice(int(place[0]), int(place[-1]) + 1) for place in places)


def _one_channel(mask: NDArray[np.bool_]) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(mask)).to(torch.float32)[None, None]
