"""Connected regions of a heatmap at or above a threshold."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lesionlens.errors import InputError
from lesionlens.heatmap import Heatmap
from lesionlens.volume import Grid

__all__ = ["NEIGHBOURHOOD", "check_same_grid", "label_regions"]

# Face, edge and corner neighbours belong together: a thin oblique lesion is one region, not a chain of voxels.
NEIGHBOURHOOD: Final = 26


def label_regions(heatmap: Heatmap, *, threshold: float, valid: NDArray[np.bool_] | None = None) -> NDArray[np.uint32]:
    """Label the connected regions (26 neighbours) of a heatmap, largest first.

    Parameters
    ----------
    heatmap
        Map to cut.
    threshold
        A voxel belongs to a region when its value is **at or above** this, compared in the map's own precision. In
        (0, 1] for probability maps, any finite number for others.
    valid
        (i, j, k) where there are data; by default where the heatmap's own volume is valid. Elsewhere there are no
        regions, and none is connected through there.

    Returns
    -------
    numpy.ndarray
        (i, j, k) uint32: 0 outside, 1..n inside, by size descending; of equal sizes the region comes first whose first
        voxel comes first in array order.

    Raises
    ------
    InputError
        If the threshold is not valid for the kind of map.
    """
    import cc3d

    _check_threshold(heatmap, threshold)
    inside = heatmap.array >= threshold
    valid = heatmap.volume.valid if valid is None else valid
    if valid is not None:
        inside &= valid
    components = np.ascontiguousarray(
        cc3d.connected_components(np.ascontiguousarray(inside), connectivity=NEIGHBOURHOOD)
    )
    return _largest_first(components)


def _largest_first(components: NDArray[Any]) -> NDArray[np.uint32]:
    flat = components.reshape(-1)
    foreground = np.flatnonzero(flat)
    found = flat[foreground]
    sizes = np.bincount(found, minlength=1)[1:]
    first = np.zeros(len(sizes), dtype=np.int64)
    first[found[::-1] - 1] = foreground[::-1]  # of repeated indices the last assignment stays: the lowest position
    rank = np.zeros(len(sizes) + 1, dtype=np.uint32)
    rank[np.lexsort((first, -sizes)) + 1] = np.arange(1, len(sizes) + 1)
    labels = np.zeros(components.shape, dtype=np.uint32)
    labels.reshape(-1)[foreground] = rank[found]
    return labels


def _check_threshold(heatmap: Heatmap, threshold: float) -> None:
    if heatmap.kind == "probability" and not 0 < threshold <= 1:
        raise InputError(f"A threshold for probabilities lies above 0 and at most at 1; found {threshold}.")
    if not np.isfinite(threshold):
        raise InputError(f"A threshold is a finite number; found {threshold}.")


def check_same_grid(what: str, grid: Grid, reference: Grid) -> None:
    """Refuse a map that does not lie on the grid of the scan.

    Parameters
    ----------
    what
        The map, as the subject of a sentence: ``"The probability map of 'lesion'"``.
    grid, reference
        Grid of the map and of the scan.

    Raises
    ------
    InputError
        If the shapes differ or the corners are further apart than ``volume.SAME_GRID_MM``; says how far.
    """
    if grid.same_as(reference):
        return
    if grid.shape != reference.shape:
        found = f"it has shape {grid.shape}, the scan {reference.shape}"
    else:
        off = np.linalg.norm(grid.corners() - reference.corners(), axis=1).max()
        found = f"its corners are up to {off:.3g} mm off"
    raise InputError(f"{what} does not lie on the scan's grid: {found}. Resample it to the scan's grid first.")
