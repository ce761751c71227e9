"""Connected regions of a heatmap at or above a threshold, by rules that are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlens.errors import InputError
from lesionlens.heatmap import Heatmap
from lesionlens.regions.merging import filled, joined
from lesionlens.rules import DEFAULT_RULES, RegionRules, RegionSteps
from lesionlens.volume import Grid

__all__ = ["FoundRegions", "check_same_grid", "find_regions", "label_regions"]

# A volume that is the least volume but for rounding is not below it.
_SLACK = 1e-9


@dataclass(frozen=True, eq=False)
class FoundRegions:
    """The regions of a map, and what the rules did on the way.

    Parameters
    ----------
    labels
        (i, j, k) uint32: 0 outside, 1..n inside, largest first.
    steps
        What was filled, merged and left out.
    """

    labels: NDArray[np.uint32]
    steps: RegionSteps


def label_regions(
    heatmap: Heatmap,
    *,
    threshold: float,
    valid: NDArray[np.bool_] | None = None,
    rules: RegionRules = DEFAULT_RULES,
) -> NDArray[np.uint32]:
    """Label the regions of a heatmap; see :func:`find_regions`, which also says what the rules left out."""
    return find_regions(heatmap, threshold=threshold, valid=valid, rules=rules).labels


def find_regions(
    heatmap: Heatmap,
    *,
    threshold: float,
    valid: NDArray[np.bool_] | None = None,
    rules: RegionRules = DEFAULT_RULES,
) -> FoundRegions:
    """Find the connected regions of a heatmap, largest first.

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
    rules
        Which voxels touch, and what is filled, merged and left out; by default 26 neighbours and nothing of the rest.

    Returns
    -------
    FoundRegions
        The labels by size descending; of equal sizes the region comes first whose first voxel comes first in array
        order.

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
    n_marked = np.count_nonzero(inside) if rules.fill_holes else 0
    if rules.fill_holes:
        inside = filled(inside, rules.connectivity, valid)
    n_filled = np.count_nonzero(inside) - n_marked if rules.fill_holes else 0
    components, n_connected = cc3d.connected_components(
        np.ascontiguousarray(inside), connectivity=rules.connectivity, return_N=True
    )
    components = np.ascontiguousarray(components)
    if rules.merge_mm:
        components = joined(components, heatmap.grid, rules.merge_mm)
    return _ranked(components, heatmap.grid.voxel_volume_mm3, rules, int(n_connected), int(n_filled))


def _ranked(
    components: NDArray[Any], voxel_mm3: float, rules: RegionRules, n_connected: int, n_filled: int
) -> FoundRegions:
    """Leave out what is too small, number the rest by size, and count."""
    flat = components.reshape(-1)
    foreground = np.flatnonzero(flat)
    found = flat[foreground]
    sizes = np.bincount(found, minlength=1)[1:]  # 0 for numbers that merging has given up
    first = np.zeros(len(sizes), dtype=np.int64)
    first[found[::-1] - 1] = foreground[::-1]  # of repeated indices the last assignment stays: the lowest position
    small = (sizes > 0) & (sizes * voxel_mm3 < rules.minimum_mm3 * (1 - _SLACK))
    kept = np.where(small, 0, sizes)
    order = np.lexsort((first, -kept))
    order = order[kept[order] > 0]
    rank = np.zeros(len(sizes) + 1, dtype=np.uint32)
    rank[order + 1] = np.arange(1, len(order) + 1)
    labels = np.zeros(components.shape, dtype=np.uint32)
    labels.reshape(-1)[foreground] = rank[found]
    steps = RegionSteps(
        n_connected=n_connected,
        n_filled_voxels=n_filled,
        filled_mm3=n_filled * voxel_mm3,
        n_joined=n_connected - int(np.count_nonzero(sizes)),
        n_left_out=int(np.count_nonzero(small)),
        left_out_mm3=float(sizes[small].sum() * voxel_mm3),
    )
    return FoundRegions(labels, steps)


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
