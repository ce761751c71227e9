"""Regions: connected sets of voxels of a heatmap at or above a threshold, and their statistics.

>>> regions = measure(volume, probability, threshold=0.5)         # doctest: +SKIP
>>> regions[0].volume_mm3, regions[0].centroid_ras                # doctest: +SKIP

Only foreground voxels are touched after the labelling: they are sorted once by region, and every statistic is a sum or
an extreme over a run of that order. 10,000 regions cost about as much as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.errors import InputError
from lesionlens.heatmap import Heatmap, LabelMap
from lesionlens.volume import Grid, Volume

__all__ = ["Region", "Statistics", "check_same_grid", "label_regions", "measure"]

Point = tuple[float, float, float]
Index = tuple[int, int, int]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Face, edge and corner neighbours belong together: a thin oblique lesion is one region, not a chain of voxels.
NEIGHBOURHOOD: Final = 26


@dataclass(frozen=True)
class Statistics:
    """Mean, spread and order statistics of the voxels of a region, in the unit of the volume.

    Parameters
    ----------
    mean
        Arithmetic mean.
    sd
        Population standard deviation (divided by n), as radiology packages report it; 0 for one voxel.
    min, median, max
        Of an even number of voxels the median is the mean of the middle two.
    """

    mean: float
    sd: float
    min: float
    median: float
    max: float


@dataclass(frozen=True)
class Region:
    """A connected set of voxels and its statistics.

    Parameters
    ----------
    label
        The region's value in the label array; 1 is the largest.
    n_voxels
        Number of voxels.
    volume_mm3
        ``n_voxels`` times the voxel volume (determinant of the affine, right for sheared grids too).
    centroid_ijk
        Mean voxel index, unweighted, with fractions. It may lie outside a region that is not convex.
    centroid_ras
        The same in world mm, RAS+.
    bbox_ijk
        First and last voxel index along (i, j, k), **both inclusive**; :attr:`slices` cuts the box out of an array.
    bbox_ras
        Lowest and highest world coordinate in mm, RAS+, along each axis, over the outer faces of the region's voxels.
    peak_ijk, peak_ras
        Voxel with the highest value of the measured heatmap, as index and in world mm; the first in array order when
        several share it.
    intensity
        Of the scan.
    probability_mean, probability_max
        Of the measured heatmap, in [0, 1]; None when it is not a probability map.
    attribution_mean
        Signed mean of the attribution map; None without one.
    attribution_share
        Sum of the positive attribution inside the region, divided by the sum of the positive attribution in the whole
        volume, in [0, 1]; None without an attribution map or when that map is positive nowhere.
    touches_border
        True when a voxel lies on an outer face of the grid, or beside a voxel without data: the region may be cut off
        and larger than measured.
    """

    label: int
    n_voxels: int
    volume_mm3: float
    centroid_ijk: Point
    centroid_ras: Point
    bbox_ijk: tuple[Index, Index]
    bbox_ras: tuple[Point, Point]
    peak_ijk: Index
    peak_ras: Point
    intensity: Statistics
    probability_mean: float | None
    probability_max: float | None
    attribution_mean: float | None
    attribution_share: float | None
    touches_border: bool

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Slices that cut the bounding box out of an (i, j, k) array."""
        first, last = self.bbox_ijk
        return slice(first[0], last[0] + 1), slice(first[1], last[1] + 1), slice(first[2], last[2] + 1)


def label_regions(heatmap: Heatmap, *, threshold: float) -> NDArray[np.uint32]:
    """Label the connected regions of a heatmap, largest first.

    Parameters
    ----------
    heatmap
        Map to cut. Where its volume is not valid there are no regions, and none is connected through there.
    threshold
        A voxel belongs to a region when its value is **at or above** this, compared in the map's own precision. In
        (0, 1] for probability maps, any finite number for others.

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
    return _labels(heatmap, threshold, heatmap.volume.valid)


def _labels(heatmap: Heatmap, threshold: float, valid: NDArray[np.bool_] | None) -> NDArray[np.uint32]:
    import cc3d

    _check_threshold(heatmap, threshold)
    inside = heatmap.array >= threshold
    if valid is not None:
        inside &= valid
    components = np.ascontiguousarray(
        cc3d.connected_components(np.ascontiguousarray(inside), connectivity=NEIGHBOURHOOD)
    )
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


def measure(
    volume: Volume,
    heatmap: Heatmap | LabelMap,
    *,
    threshold: float = 0.5,
    attribution: Heatmap | None = None,
    labels: ArrayLike | None = None,
) -> list[Region]:
    """Measure the connected regions (26 neighbours) of a heatmap at or above a threshold.

    Parameters
    ----------
    volume
        The scan whose intensities are measured. Voxels that are not valid are left out of everything.
    heatmap
        Map that defines the regions, on the scan's grid. The labels of a
        :class:`~lesionlens.heatmap.LabelMap` are regions as they are, connected or not, and have no peak of their own:
        it is their first voxel.
    threshold
        See :func:`label_regions`.
    attribution
        Map whose mean and share are reported for every region, on the scan's grid. An attribution map given as
        ``heatmap`` takes this place when none is given.
    labels
        (i, j, k) integers, 0 outside: regions that exist already, such as the result of :func:`label_regions` or one
        that a reader has edited. They are measured as they are, by label ascending, and ``threshold`` is not used.

    Returns
    -------
    list of Region
        Largest first; empty when no voxel reaches the threshold.

    Raises
    ------
    InputError
        If the grids differ, the threshold is not valid, the labels do not suit the grid, or the scan holds values
        inside a region that are not finite.

    Examples
    --------
    >>> for region in measure(volume, probability, threshold=0.5):       # doctest: +SKIP
    ...     print(region.label, region.volume_mm3, region.centroid_ras)
    """
    check_same_grid(f"The {heatmap.kind} map of {heatmap.label!r}", heatmap.grid, volume.grid)
    if isinstance(heatmap, LabelMap):
        labels = heatmap.array if labels is None else labels
    elif attribution is None and heatmap.kind == "attribution":
        attribution = heatmap
    if attribution is not None:
        check_same_grid(f"The attribution map of {attribution.label!r}", attribution.grid, volume.grid)
    if labels is None and isinstance(heatmap, Heatmap):
        found: NDArray[Any] = _labels(heatmap, threshold, volume.valid)
    else:
        found = _checked_labels(labels, volume.grid)
        found = found if volume.valid is None else np.where(volume.valid, found, 0)
    groups = _Groups(found)
    if not len(groups.labels):
        return []
    columns = [
        *_shape_columns(groups, volume.grid),
        *_peak_columns(groups, heatmap, volume.grid),
        _intensity_column(groups, volume),
        *_probability_columns(groups, heatmap),
        *_attribution_columns(groups, attribution, volume.valid),
        _border_column(groups, volume.valid),
    ]
    return [Region(*row) for row in zip(*columns, strict=True)]


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


class _Groups:
    """The foreground voxels of a label array, sorted by label: each region is one run of positions.

    Attributes
    ----------
    labels, sizes, starts
        For each region its label, its number of voxels and where its run begins.
    flat
        Positions in the flattened array, by label, then in array order.
    ijk
        The same positions as (3, n) voxel indices.
    """

    def __init__(self, labels: NDArray[Any]) -> None:
        flat_labels = labels.reshape(-1)
        foreground = np.flatnonzero(flat_labels)
        by_label = flat_labels[foreground]
        order = np.argsort(by_label, kind="stable")
        by_label = by_label[order]
        self.shape = labels.shape
        self.flat = foreground[order]
        self.ijk: Integers = np.stack(np.unravel_index(self.flat, labels.shape))
        self.starts: Integers = np.flatnonzero(np.diff(by_label, prepend=0))
        self.sizes: Integers = np.diff(self.starts, append=len(by_label))
        self.labels = by_label[self.starts]
        self.of_voxel = np.repeat(np.arange(len(self.starts)), self.sizes)

    def values(self, array: NDArray[Any]) -> Floats:
        """Return the array's values at the foreground voxels, in run order, as float64."""
        # An index array works for any memory layout without a copy of the whole array; reshape(-1) would not.
        return np.asarray(array[tuple(self.ijk)], dtype=np.float64)

    def sum(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the sum over each run, along the last axis."""
        return np.add.reduceat(values, self.starts, axis=-1)

    def mean(self, values: NDArray[Any]) -> Floats:
        """Return the mean over each run, along the last axis."""
        return self.sum(values) / self.sizes

    def extremes(self, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the lowest and highest value of each run, along the last axis."""
        return (
            np.minimum.reduceat(values, self.starts, axis=-1),
            np.maximum.reduceat(values, self.starts, axis=-1),
        )


def _shape_columns(groups: _Groups, grid: Grid) -> list[list[Any]]:
    centroid = groups.mean(groups.ijk).T
    first, last = (extreme.T for extreme in groups.extremes(groups.ijk))
    low, high = (extreme.T for extreme in groups.extremes(grid.world(groups.ijk.T).T))
    half = np.abs(grid.affine[:3, :3]).sum(axis=1) / 2  # from a voxel's centre to its furthest outer corner
    return [
        groups.labels.tolist(),
        groups.sizes.tolist(),
        (groups.sizes * grid.voxel_volume_mm3).tolist(),
        _tuples(centroid),
        _tuples(grid.world(centroid)),
        list(zip(_tuples(first), _tuples(last), strict=True)),
        list(zip(_tuples(low - half), _tuples(high + half), strict=True)),
    ]


def _peak_columns(groups: _Groups, heatmap: Heatmap | LabelMap, grid: Grid) -> list[list[Any]]:
    values = groups.values(heatmap.array)
    _, highest = groups.extremes(values)
    candidates = np.flatnonzero(values == highest[groups.of_voxel])
    _, which = np.unique(groups.of_voxel[candidates], return_index=True)
    peak = groups.ijk[:, candidates[which]].T
    return [_tuples(peak), _tuples(grid.world(peak))]


def _intensity_column(groups: _Groups, volume: Volume) -> list[Statistics]:
    values = groups.values(volume.array)
    if not np.isfinite(values).all():
        wrong = np.flatnonzero(~np.isfinite(values))
        where = tuple(groups.ijk[:, wrong[0]].tolist())
        raise InputError(
            f"Volume {volume.name!r} holds {len(wrong)} values inside regions that are not finite, the first at voxel "
            f"{where}. Replace them before measuring."
        )
    mean = groups.mean(values)
    # Two passes: the difference of large sums of squares would lose the spread of a bright, even region.
    sd = np.sqrt(groups.mean((values - mean[groups.of_voxel]) ** 2))
    ordered = values[np.lexsort((values, groups.of_voxel))]
    lower, upper = groups.starts + (groups.sizes - 1) // 2, groups.starts + groups.sizes // 2
    columns = (
        mean,
        sd,
        ordered[groups.starts],
        (ordered[lower] + ordered[upper]) / 2,
        ordered[groups.starts + groups.sizes - 1],
    )
    return [Statistics(*row) for row in np.stack(columns, axis=1).tolist()]


def _probability_columns(groups: _Groups, heatmap: Heatmap | LabelMap) -> list[list[Any]]:
    if heatmap.kind != "probability":
        return [[None] * len(groups.labels)] * 2
    values = groups.values(heatmap.array)
    return [groups.mean(values).tolist(), groups.extremes(values)[1].tolist()]


def _attribution_columns(
    groups: _Groups, attribution: Heatmap | None, valid: NDArray[np.bool_] | None
) -> list[list[Any]]:
    none: list[Any] = [None] * len(groups.labels)
    if attribution is None:
        return [none, none]
    values = groups.values(attribution.array)
    # In one fixed order: maps read back from a file have another memory layout; sums would differ in the last digit.
    every = np.ascontiguousarray(attribution.array)
    counted = every > 0 if valid is None else (every > 0) & valid
    total = float(np.sum(every, where=counted, dtype=np.float64))
    share = (groups.sum(np.maximum(values, 0)) / total).tolist() if total > 0 else none
    return [groups.mean(values).tolist(), share]


def _border_column(groups: _Groups, valid: NDArray[np.bool_] | None) -> list[bool]:
    first, last = groups.extremes(groups.ijk)
    end = np.array(groups.shape)[:, None] - 1
    touches = np.any((first == 0) | (last == end), axis=0)
    if valid is not None:
        for axis in range(3):
            for step in (-1, 1):
                beside = groups.ijk.copy()
                beside[axis] = np.clip(beside[axis] + step, 0, end[axis])
                touches |= groups.sum(~valid[tuple(beside)]) > 0
    return cast("list[bool]", touches.tolist())


def _tuples(points: NDArray[Any]) -> list[Any]:
    return [tuple(point) for point in points.tolist()]


def _check_threshold(heatmap: Heatmap, threshold: float) -> None:
    if heatmap.kind == "probability" and not 0 < threshold <= 1:
        raise InputError(f"A threshold for probabilities lies above 0 and at most at 1; found {threshold}.")
    if not np.isfinite(threshold):
        raise InputError(f"A threshold is a finite number; found {threshold}.")


def _checked_labels(labels: ArrayLike | None, grid: Grid) -> NDArray[Any]:
    array = np.asarray(labels)
    if array.dtype.kind not in "iu":
        raise InputError(f"Region labels are integers; found dtype {array.dtype}.")
    if array.shape != grid.shape:
        raise InputError(f"Region labels have shape {array.shape}, but the scan has {grid.shape}.")
    if array.size and array.min() < 0:
        raise InputError(f"Region labels are 0 (outside) or positive; found {array.min()}.")
    return array
