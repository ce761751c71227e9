"""Statistics of regions.

Only foreground voxels are touched after the labelling: they are sorted once by region, and every statistic is a sum or
an extreme over a run of that order. 10,000 regions cost about as much as one.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.errors import InputError
from lesionlens.heatmap import Heatmap, LabelMap
from lesionlens.regions.groups import Groups
from lesionlens.regions.labelling import check_same_grid, label_regions
from lesionlens.regions.shape import measure_shapes
from lesionlens.regions.surroundings import measure_surroundings
from lesionlens.regions.values import FEW_VOXELS, PROBABILITIES, Region, Statistics
from lesionlens.rules import DEFAULT_RULES, RegionRules
from lesionlens.volume import Grid, Volume

__all__ = ["measure", "touches_border"]

# One list for each field of a region, with an entry for each region.
Columns = dict[str, list[Any]]


def measure(
    volume: Volume,
    heatmap: Heatmap | LabelMap,
    *,
    threshold: float = 0.5,
    attribution: Heatmap | None = None,
    uncertainty: Heatmap | None = None,
    anatomy: LabelMap | None = None,
    labels: ArrayLike | None = None,
    rules: RegionRules | None = None,
    shapes: bool = False,
) -> list[Region]:
    """Measure the connected regions of a heatmap at or above a threshold.

    ``docs/reference/statistics.md`` defines every figure.

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
        Map whose mean, peak and share are reported for every region, on the scan's grid. An attribution map given as
        ``heatmap`` takes this place when none is given.
    uncertainty
        Map whose mean is reported for every region, on the scan's grid.
    anatomy
        Labels of anatomy on the scan's grid: which of them a region lies in, and how much of it.
    labels
        (i, j, k) integers, 0 outside: regions that exist already, such as the result of :func:`label_regions` or one
        that a reader has edited. They are measured as they are, by label ascending, and ``threshold`` is not used.
    rules
        Which voxels touch, and what is filled, merged and left out; by default 26 neighbours and nothing of the rest.
        :func:`find_regions` takes the same and says what was left out.
    shapes
        Also measure mesh, diameters and axes, and the surroundings: these take some milliseconds for each region.

    Returns
    -------
    list of Region
        Largest first; empty when no voxel reaches the threshold.

    Raises
    ------
    InputError
        If the grids differ, the threshold is not valid, the labels do not suit the grid, rules are given for labels,
        which are regions already, or the scan holds values inside a region that are not finite.

    Examples
    --------
    >>> for region in measure(volume, probability, threshold=0.5):       # doctest: +SKIP
    ...     print(region.label, region.volume_mm3, region.centroid_ras)
    """
    if isinstance(heatmap, LabelMap):
        labels = heatmap.array if labels is None else labels
    elif attribution is None and heatmap.kind == "attribution":
        attribution = heatmap
    for other in (heatmap, attribution, uncertainty, anatomy):
        if other is not None:
            check_same_grid(f"The {other.kind} map of {other.label!r}", other.grid, volume.grid)
    found = _labels(volume, heatmap, threshold, labels, rules)
    groups = Groups(found)
    if not len(groups.labels):
        return []
    columns = {
        **_place_columns(groups, volume.grid),
        **_peak_columns(groups, heatmap, volume.grid),
        **_intensity_columns(groups, volume),
        **_probability_columns(groups, heatmap, volume.grid),
        **_anomaly_columns(groups, heatmap),
        **_attribution_columns(groups, attribution, volume.valid),
        **({} if uncertainty is None else {"uncertainty_mean": groups.mean(groups.values(uncertainty.array)).tolist()}),
        **({} if anatomy is None else {"anatomy": _overlaps(groups, anatomy)}),
        **_flag_columns(groups, volume),
        "below_attribution_cell": _below_cell(groups, attribution, volume.grid),
    }
    if shapes:
        columns["shape"] = measure_shapes(found, volume.grid)
        columns["surroundings"] = measure_surroundings(found, volume)
    return [Region(**{name: column[n] for name, column in columns.items()}) for n in range(len(groups.labels))]


def _labels(
    volume: Volume, heatmap: Heatmap | LabelMap, threshold: float, labels: ArrayLike | None, rules: RegionRules | None
) -> NDArray[Any]:
    if labels is None and isinstance(heatmap, Heatmap):
        return label_regions(heatmap, threshold=threshold, valid=volume.valid, rules=rules or DEFAULT_RULES)
    if rules is not None:
        raise InputError(
            f"Rules make regions of a map; the labels of {heatmap.label!r} are regions already and are measured as they"
            " are. Leave the rules out, or give the map."
        )
    found = _checked_labels(labels, volume.grid)
    return found if volume.valid is None else np.where(volume.valid, found, 0)


def _checked_labels(labels: ArrayLike | None, grid: Grid) -> NDArray[Any]:
    array = np.asarray(labels)
    if array.dtype.kind not in "iu":
        raise InputError(f"Region labels are integers; found dtype {array.dtype}.")
    if array.shape != grid.shape:
        raise InputError(f"Region labels have shape {array.shape}, but the scan has {grid.shape}.")
    if array.size and array.min() < 0:
        raise InputError(f"Region labels are 0 (outside) or positive; found {array.min()}.")
    return array


def _place_columns(groups: Groups, grid: Grid) -> Columns:
    centroid = groups.mean(groups.ijk).T
    first, last = (extreme.T for extreme in groups.extremes(groups.ijk))
    low, high = (extreme.T for extreme in groups.extremes(grid.world(groups.ijk.T).T))
    half = np.abs(grid.affine[:3, :3]).sum(axis=1) / 2  # from a voxel's centre to its furthest outer corner
    return {
        "label": groups.labels.tolist(),
        "n_voxels": groups.sizes.tolist(),
        "volume_mm3": (groups.sizes * grid.voxel_volume_mm3).tolist(),
        "centroid_ijk": _tuples(centroid),
        "centroid_ras": _tuples(grid.world(centroid)),
        "bbox_ijk": list(zip(_tuples(first), _tuples(last), strict=True)),
        "bbox_ras": list(zip(_tuples(low - half), _tuples(high + half), strict=True)),
    }


def _peak_columns(groups: Groups, heatmap: Heatmap | LabelMap, grid: Grid) -> Columns:
    values = groups.values(heatmap.array)
    _, highest = groups.extremes(values)
    candidates = np.flatnonzero(values == highest[groups.of_voxel])
    _, which = np.unique(groups.of_voxel[candidates], return_index=True)
    peak = groups.ijk[:, candidates[which]].T
    return {"peak_ijk": _tuples(peak), "peak_ras": _tuples(grid.world(peak))}


def _intensity_columns(groups: Groups, volume: Volume) -> Columns:
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
    low, p10, median, p90, high = (groups.quantile(ordered, q) for q in (0, 0.1, 0.5, 0.9, 1))
    rows = np.stack([mean, sd, low, median, high, p10, p90], axis=1).tolist()
    return {"intensity": [Statistics(*row) for row in rows], "centroid_weighted_ras": _weighted(groups, volume, values)}


def _weighted(groups: Groups, volume: Volume, values: NDArray[np.float64]) -> list[Any]:
    """Return centroids weighted by intensity; None where a weight is negative, as in CT, or all are zero."""
    total, (lowest, _) = groups.sum(values), groups.extremes(values)
    usable = (lowest >= 0) & (total > 0)
    centre = (groups.sum(groups.ijk * values) / np.where(usable, total, 1)).T
    return [point if use else None for point, use in zip(_tuples(volume.grid.world(centre)), usable, strict=True)]


def _probability_columns(groups: Groups, heatmap: Heatmap | LabelMap, grid: Grid) -> Columns:
    if heatmap.kind != "probability":
        return dict.fromkeys(("probability_mean", "probability_max"), [None] * len(groups.labels))
    values = groups.values(heatmap.array)
    # In the map's own precision, as regions are cut: 0.7 in float32 lies below 0.7 and is at least 0.7 all the same.
    least = [float(heatmap.array.dtype.type(threshold)) for threshold in PROBABILITIES]
    at_least = [groups.sum((values >= threshold).astype(np.int64)) for threshold in least]
    volumes = (np.stack(at_least, axis=1) * grid.voxel_volume_mm3).tolist()
    return {
        "probability_mean": groups.mean(values).tolist(),
        "probability_max": groups.extremes(values)[1].tolist(),
        "probability_integral_mm3": (groups.sum(values) * grid.voxel_volume_mm3).tolist(),
        "volumes_at_mm3": [tuple(row) for row in volumes],
    }


def _anomaly_columns(groups: Groups, heatmap: Heatmap | LabelMap) -> Columns:
    if heatmap.kind != "anomaly":
        return {}
    values = groups.values(heatmap.array)
    return {"anomaly_mean": groups.mean(values).tolist(), "anomaly_max": groups.extremes(values)[1].tolist()}


def _attribution_columns(groups: Groups, attribution: Heatmap | None, valid: NDArray[np.bool_] | None) -> Columns:
    none: list[Any] = [None] * len(groups.labels)
    if attribution is None:
        return dict.fromkeys(("attribution_mean", "attribution_share"), none)
    values = groups.values(attribution.array)
    # In one fixed order: maps read back from a file have another memory layout; sums would differ in the last digit.
    every = np.ascontiguousarray(attribution.array)
    counted = every > 0 if valid is None else (every > 0) & valid
    total = float(np.sum(every, where=counted, dtype=np.float64))
    return {
        "attribution_mean": groups.mean(values).tolist(),
        "attribution_peak": groups.extremes(values)[1].tolist(),
        "attribution_share": (groups.sum(np.maximum(values, 0)) / total).tolist() if total > 0 else none,
    }


def _overlaps(groups: Groups, anatomy: LabelMap) -> list[Any]:
    """Return for each region the anatomical labels that it lies in with their shares of it, most first."""
    under = anatomy.array[tuple(groups.ijk)]
    pairs, counts = np.unique(np.stack([groups.of_voxel, under.astype(np.int64)]), axis=1, return_counts=True)
    found: list[list[tuple[str, float]]] = [[] for _ in groups.labels]
    rows = sorted(zip(*pairs.tolist(), counts.tolist(), strict=True), key=lambda row: (row[0], -row[2], row[1]))
    for n, number, count in rows:
        if number:
            found[n].append((anatomy.names.get(number, str(number)), count / int(groups.sizes[n])))
    return [tuple(one) for one in found]


def _flag_columns(groups: Groups, volume: Volume) -> Columns:
    first, last = groups.extremes(groups.ijk)
    thin = np.any(first == last, axis=0)
    return {
        "touches_border": touches_border(groups, first, last, volume.valid),
        "one_slice": thin.tolist(),
        "few_voxels": (groups.sizes < FEW_VOXELS).tolist(),
        "resampled": [volume.source.verdict.handled == "resample"] * len(groups.labels),
    }


def _below_cell(groups: Groups, attribution: Heatmap | None, grid: Grid) -> list[Any]:
    half = None if attribution is None else attribution.provenance.resolution_mm
    if half is None:
        return [None] * len(groups.labels)
    cell_mm3 = 8 * half[0] * half[1] * half[2]  # the resolution is half a cell along each of its axes
    return list((groups.sizes * grid.voxel_volume_mm3 < cell_mm3).tolist())


def touches_border(
    groups: Groups, first: NDArray[Any], last: NDArray[Any], valid: NDArray[np.bool_] | None
) -> list[bool]:
    """Say of each region whether it reaches an outer face of the grid, or lies beside a voxel without data.

    Parameters
    ----------
    groups
        The regions.
    first, last
        (3, n) lowest and highest voxel index of each.
    valid
        (i, j, k) where there are data; None for everywhere.
    """
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
