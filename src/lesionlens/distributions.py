"""How values are distributed inside and outside of regions, and what each threshold would make of a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.errors import InputError
from lesionlens.heatmap import Heatmap
from lesionlens.progress import Progress, silent
from lesionlens.rules import DEFAULT_RULES, Connectivity

__all__ = ["THRESHOLDS", "Histogram", "ThresholdCurve", "intensity_limits", "split_histogram", "threshold_curve"]

#: Thresholds that a curve is counted at: every step of a slider.
THRESHOLDS: Final = tuple(round(step / 100, 2) for step in range(1, 100))

N_BINS: Final = 100
# Padding and metal would squeeze all tissue into a few bins: so much of the voxels at each end may lie beyond them.
_BEYOND: Final = 0.001


@dataclass(frozen=True, eq=False)
class Histogram:
    """How many voxels have which value, inside and outside of a set.

    Parameters
    ----------
    edges
        (n + 1,) rising; a bin holds its lower edge, the last one its upper edge too.
    inside, outside
        (n,) counts of voxels.
    inside_beyond, outside_beyond
        Voxels whose value lies beyond the edges.
    """

    edges: NDArray[np.float64]
    inside: NDArray[np.int64]
    outside: NDArray[np.int64]
    inside_beyond: int = 0
    outside_beyond: int = 0


@dataclass(frozen=True, eq=False)
class ThresholdCurve:
    """What a map holds at or above each of several thresholds.

    Parameters
    ----------
    thresholds
        (n,) rising.
    volume_mm3
        (n,) voxels at or above the threshold, times the volume of one.
    count
        (n,) connected regions of these voxels.
    """

    thresholds: NDArray[np.float64]
    volume_mm3: NDArray[np.float64]
    count: NDArray[np.int64]

    def at(self, threshold: float) -> tuple[float, float, int]:
        """Return the counted threshold that is nearest to another one, with its volume in mm³ and its regions."""
        nearest = int(np.abs(self.thresholds - threshold).argmin())
        return float(self.thresholds[nearest]), float(self.volume_mm3[nearest]), int(self.count[nearest])


def threshold_curve(
    heatmap: Heatmap,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    connectivity: Connectivity = DEFAULT_RULES.connectivity,
    progress: Progress = silent,
) -> ThresholdCurve:
    """Count voxels and regions of a map at each of several thresholds, as measuring at that threshold would.

    Nothing is filled, merged or left out: that is not what a threshold decides.

    The voxels at or above a threshold lie among those of every lower one, so that each search is confined to the box
    of the one before.

    Parameters
    ----------
    heatmap
        Map to cut; what is not valid belongs to no region.
    thresholds
        Rising, without repetition.
    connectivity
        Which voxels touch; see :class:`~lesionlens.rules.RegionRules`.
    progress
        Called for each threshold; raise ``Cancelled`` from it to stop.

    Raises
    ------
    InputError
        If there are no thresholds, or they do not rise.
    """
    import cc3d

    steps = np.asarray(thresholds, dtype=np.float64)
    if not steps.size or (np.diff(steps) <= 0).any():
        raise InputError(f"Expected thresholds that rise; found {list(thresholds)[:5]}. Sort them, each one once.")
    values, valid = heatmap.array, heatmap.volume.valid
    voxels, count = np.zeros(len(steps), dtype=np.int64), np.zeros(len(steps), dtype=np.int64)
    for step, threshold in enumerate(steps):
        progress("Counting regions", step, len(steps))
        inside = values >= np.float32(threshold)
        if valid is not None:
            inside &= valid
        box = _box_of(inside)
        if box is None:
            break  # and none at any higher threshold
        values, inside = values[box], np.ascontiguousarray(inside[box])
        valid = None if valid is None else valid[box]
        voxels[step] = np.count_nonzero(inside)
        count[step] = cc3d.connected_components(inside, connectivity=connectivity, return_N=True)[1]
    volume_mm3 = voxels.astype(np.float64) * heatmap.grid.voxel_volume_mm3
    return ThresholdCurve(steps, volume_mm3, count)


def split_histogram(
    values: ArrayLike,
    inside: ArrayLike,
    *,
    limits: tuple[float, float],
    valid: NDArray[np.bool_] | None = None,
    n_bins: int = N_BINS,
) -> Histogram:
    """Sort values into bins, those inside of a set apart from those outside.

    Parameters
    ----------
    values
        Numbers of any shape.
    inside
        Boolean, of the same shape.
    limits
        Lowest and highest edge. Whole numbers get bins of a whole width, or every few bins there would be a gap: the
        last edge may then lie higher.
    valid
        Boolean, of the same shape: what counts; by default everything.
    n_bins
        Number of bins, at most.

    Raises
    ------
    InputError
        If the shapes differ, or the limits are no range.
    """
    array, mask = np.asarray(values), np.asarray(inside, dtype=bool)
    if array.shape != mask.shape:
        raise InputError(f"Values and the set they lie in have one shape; found {array.shape} and {mask.shape}.")
    if not (np.isfinite(limits).all() and limits[0] < limits[1]):
        raise InputError(f"The limits of a histogram are two rising numbers; found {limits[0]:g} and {limits[1]:g}.")
    if valid is not None:
        array, mask = array[valid], mask[valid]
    edges = _edges(array, limits, n_bins)
    held = array[mask]
    within = np.histogram(held, edges)[0]
    total = np.histogram(array, edges)[0]
    return Histogram(
        edges,
        within,
        total - within,
        inside_beyond=int(held.size - within.sum()),
        outside_beyond=int((array.size - held.size) - (total - within).sum()),
    )


def intensity_limits(
    values: ArrayLike, inside: ArrayLike, *, valid: NDArray[np.bool_] | None = None
) -> tuple[float, float]:
    """Return a range that holds all values inside of a set, and all but a thousandth at each end of all values.

    Parameters
    ----------
    values, inside, valid
        As for :func:`split_histogram`.
    """
    array, mask = np.asarray(values), np.asarray(inside, dtype=bool)
    flat = array.ravel() if valid is None else array[valid]
    if not flat.size:
        return 0.0, 1.0
    ends = int(_BEYOND * flat.size), flat.size - 1 - int(_BEYOND * flat.size)
    low, high = (float(end) for end in np.partition(flat, ends)[list(ends)])
    held = array[mask if valid is None else mask & valid]
    if held.size:
        low, high = min(low, float(held.min())), max(high, float(held.max()))
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _edges(array: NDArray[Any], limits: tuple[float, float], n_bins: int) -> NDArray[np.float64]:
    low, high = limits
    if array.dtype.kind not in "iub" and not _whole(array):
        return np.linspace(low, high, n_bins + 1)
    width = max(1, int(np.ceil((high - low + 1) / n_bins)))
    return np.arange(np.floor(low) - 0.5, np.ceil(high) + 0.5 + width, width)


def _whole(array: NDArray[Any]) -> bool:
    """Say whether all numbers are whole: most scans that are stored as float32 are."""
    return bool(array.size) and bool((array == np.rint(array)).all()) and bool(np.ptp(array) > 1)


def _box_of(inside: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """Return the smallest box that holds a set of voxels; None for an empty one."""
    slices = []
    for axis in range(inside.ndim):
        found = np.flatnonzero(inside.any(axis=tuple(other for other in range(inside.ndim) if other != axis)))
        if not found.size:
            return None
        slices.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(slices)
