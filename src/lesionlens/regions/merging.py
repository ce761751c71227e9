"""Regions that belong together: holes that they enclose, and pieces that lie near each other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lesionlens.regions.groups import Groups
from lesionlens.rules import Connectivity
from lesionlens.volume import Grid

__all__ = ["at_border", "filled", "joined", "near_pairs"]

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
Pair = tuple[int, int]

# Voxels at just that distance count, whatever the rounding of two affines says.
_SLACK: Final = 1e-9
# Of a body whose voxels touch by corners the outside is what is connected by faces, and the other way round: otherwise
# a closed surface would have no inside (Kong and Rosenfeld, Computer Vision, Graphics, and Image Processing 1989).
_OUTSIDE: Final[dict[Connectivity, Connectivity]] = {26: 6, 18: 6, 6: 26}
# Distances between so many boxes at once take 24 MB.
_BLOCK_PAIRS: Final = 1_000_000
_NEIGHBOURS: Final = tuple(step for step in product((-1, 0, 1), repeat=3) if any(step))


def filled(inside: Mask, connectivity: Connectivity, valid: Mask | None = None) -> Mask:
    """Return a mask with its holes: what no way along the outside connects with a face of the array.

    Parameters
    ----------
    inside
        (i, j, k), True in regions.
    connectivity
        How voxels of regions touch.
    valid
        (i, j, k) where there are data. A hole that reaches voxels without data is none: what is there is not known.

    Returns
    -------
    numpy.ndarray
        (i, j, k), True in regions and holes.
    """
    import cc3d

    box = _box_with_margin(inside)
    outside = cc3d.connected_components(np.ascontiguousarray(~inside[box]), connectivity=_OUTSIDE[connectivity])
    is_open = np.zeros(int(outside.max()) + 1, dtype=bool)
    is_open[0] = True  # the regions themselves
    for axis, end in product(range(3), (0, -1)):
        is_open[np.unique(outside.take(end, axis=axis))] = True
    if valid is not None:
        is_open[np.unique(outside[~valid[box]])] = True
    found = inside.copy()
    found[box] |= ~is_open[outside]
    return found


def _box_with_margin(inside: Mask) -> tuple[slice, ...]:
    """Return the box of a mask with a voxel around it, where the array has one."""
    box = []
    for axis, n in enumerate(inside.shape):
        found = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(max(0, found[0] - 1), min(n, found[-1] + 2)) if len(found) else slice(0, n))
    return tuple(box)


def joined(labels: NDArray[Any], grid: Grid, within_mm: float) -> NDArray[np.uint32]:
    """Give regions that lie near each other one number.

    Parameters
    ----------
    labels
        (i, j, k) integers, 0 outside.
    grid
        Where they lie.
    within_mm
        Two regions are one where the centres of two of their voxels are at most so far apart; so are all that such
        pairs connect.

    Returns
    -------
    numpy.ndarray
        (i, j, k) uint32: 0 outside, elsewhere the lowest label of the regions that are one.
    """
    groups = Groups(labels)
    lowest = np.arange(len(groups.labels))
    for one, other in near_pairs(groups, groups, grid, within_mm):
        a, b = _root(lowest, one), _root(lowest, other)
        lowest[max(a, b)] = min(a, b)
    found = np.array([groups.labels[_root(lowest, n)] for n in range(len(lowest))], dtype=np.uint32)
    out = np.zeros(labels.shape, dtype=np.uint32)
    out.reshape(-1)[groups.flat] = found[groups.of_voxel]
    return out


def _root(lowest: NDArray[np.int64], n: int) -> int:
    while lowest[n] != n:
        lowest[n] = lowest[lowest[n]]
        n = int(lowest[n])
    return n


def near_pairs(first: Groups, second: Groups, grid: Grid, within_mm: float) -> Iterator[Pair]:
    """Yield which regions of one array lie near which of another, as numbers in the order of their labels.

    Near are regions with two voxels, one of each, whose centres are at most ``within_mm`` apart. Within one array,
    given twice, each pair comes once.

    Parameters
    ----------
    first, second
        Regions of two label arrays on one grid, or the same twice.
    grid
        Where they lie.
    within_mm
        Distance in mm.
    """
    from scipy.spatial import KDTree

    reach = within_mm * (1 + _SLACK)
    mine, theirs = _Borders(first, grid), _Borders(second, grid)
    for one, other in _near_boxes(mine, theirs, reach):
        if first is second and one >= other:
            continue
        a, b = mine.of(one), theirs.of(other)
        few, many = (a, b) if len(a) <= len(b) else (b, a)
        distance, _ = KDTree(many).query(few, distance_upper_bound=np.nextafter(reach, np.inf))
        if np.isfinite(distance).any():
            yield one, other


class _Borders:
    """The voxels at the border of each region, in world mm, and the box of each in the world.

    What is nearest to a voxel elsewhere is at the border.
    """

    def __init__(self, groups: Groups, grid: Grid) -> None:
        border = at_border(groups)
        self._points = grid.world(groups.ijk[:, border].T)
        counts = groups.sum(border.astype(np.int64)) if len(groups.labels) else np.zeros(0, np.int64)
        self._ends: NDArray[np.int64] = np.concatenate([[0], np.cumsum(counts)])
        starts = self._ends[:-1]
        self.low: Floats = np.minimum.reduceat(self._points, starts) if len(starts) else np.zeros((0, 3))
        self.high: Floats = np.maximum.reduceat(self._points, starts) if len(starts) else np.zeros((0, 3))

    def of(self, n: int) -> Floats:
        return self._points[self._ends[n] : self._ends[n + 1]]


def at_border(groups: Groups) -> Mask:
    """Say for each foreground voxel whether one of its 26 neighbours is outside of its region, or of the array."""
    numbers = np.zeros([n + 2 for n in groups.shape], dtype=np.uint32)
    ijk = groups.ijk + 1
    own = groups.of_voxel.astype(np.uint32) + 1
    numbers[tuple(ijk)] = own
    found = np.zeros(len(own), dtype=bool)
    for step in _NEIGHBOURS:
        found |= numbers[tuple(ijk + np.array(step)[:, None])] != own
    return found


def _near_boxes(first: _Borders, second: _Borders, reach: float) -> Iterator[Pair]:
    """Yield the pairs whose boxes are near enough for their voxels to be; others cannot be."""
    step = max(1, _BLOCK_PAIRS // max(1, len(second.low)))
    for begin in range(0, len(first.low), step):
        low, high = first.low[begin : begin + step, None], first.high[begin : begin + step, None]
        gap = np.maximum(np.maximum(second.low - high, low - second.high), 0)
        for one, other in np.argwhere((gap**2).sum(axis=-1) <= reach**2).tolist():
            yield begin + one, other
