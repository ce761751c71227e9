"""Regions of one patient at two times: which are the same, new or gone, and whether they grew by more than an error.

Regions belong together when they share a voxel, or lie within a stated distance; what such pairs connect is one change:
one region before and one after are matched, one and several are split, several and one are merged.

A volume counts as changed only beyond a limit: the larger of a share of the volume before, and 1.96 standard deviations
of the difference. The variance of one volume has two parts: the spread over several predictions, where there were some,
and the error of its voxels of volume v, which depends on where the grid happens to lie:

    v² (n / 4 + Σ e²),  e = (first + last) / √90  along each axis, or half of all voxels where there is one slice.

Each of the n voxels at the border is in or out like a coin; and the voxels of the first and the last slice come and go
together. The latter is the error of the rectangle rule for a round end (Euler and Maclaurin: A' h² B₂ / 2, where the
Bernoulli polynomial B₂ has the variance 1 / 180 and a slice of mean depth has A' h / 2), with both ends in step and
twice the variance, which regions of two or three slices have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from lesionlens.errors import InputError
from lesionlens.heatmap import LabelMap
from lesionlens.regions.groups import Groups
from lesionlens.regions.measuring import touches_border
from lesionlens.regions.merging import at_border, near_pairs
from lesionlens.regions.values import FEW_VOXELS
from lesionlens.volume import Grid, resample

__all__ = ["LEAST_CHANGE", "LesionChange", "LesionChanges", "Match", "Trend", "compare_regions"]

Match = Literal["matched", "new", "vanished", "merged", "split", "regrouped"]
Trend = Literal["grown", "shrunk", "stable", ""]

# Two readers who outline one small lesion easily differ by this share of its volume.
LEAST_CHANGE: Final = 0.25
# Of a normal distribution 95 % lie within so many standard deviations.
_SIGMAS: Final = 1.96
# One over twice the variance of the second Bernoulli polynomial on [0, 1].
_ENDS: Final = 90
Pair = tuple[int, int]


@dataclass(frozen=True)
class LesionChange:
    """What became of one region, or of several that belong together.

    Parameters
    ----------
    match
        ``"matched"`` (one and one), ``"new"``, ``"vanished"``, ``"merged"`` (several before, one after), ``"split"``
        (one before, several after) or ``"regrouped"`` (several and several).
    trend
        ``"grown"`` or ``"shrunk"`` beyond the limit, else ``"stable"``; empty for new and vanished ones.
    before, after
        Labels of the regions.
    before_mm3, after_mm3
        Their volume, each on its own grid.
    change_mm3
        After less before.
    change_share
        That divided by the volume before; None where there was none.
    limit_mm3
        The change that is needed to count as one.
    shared_mm3
        Volume of the voxels that are in both.
    centroid_ras
        Mean voxel centre in world mm, RAS+: after, or before where nothing is left.
    few_voxels
        True where all voxels of one time are fewer than ``FEW_VOXELS``: too few to measure a volume.
    touches_border
        True where one reaches an outer face of its grid and may be cut off.
    """

    match: Match
    trend: Trend
    before: tuple[int, ...]
    after: tuple[int, ...]
    before_mm3: float
    after_mm3: float
    change_mm3: float
    change_share: float | None
    limit_mm3: float
    shared_mm3: float
    centroid_ras: tuple[float, float, float]
    few_voxels: bool
    touches_border: bool


@dataclass(frozen=True)
class LesionChanges:
    """All changes between two times, the largest volume first.

    Parameters
    ----------
    label
        Class of the regions.
    changes
        Every region of both times is in one of them.
    within_mm, least_change
        What they were compared by.
    notes
        What a reader must know: one sentence each.
    """

    label: str
    changes: tuple[LesionChange, ...]
    within_mm: float
    least_change: float
    notes: tuple[str, ...] = ()

    def count(self, word: str) -> int:
        """Return how many changes have that match or trend."""
        return sum(word in (change.match, change.trend) for change in self.changes)


def compare_regions(
    before: LabelMap,
    after: LabelMap,
    *,
    within_mm: float = 0.0,
    least_change: float = LEAST_CHANGE,
    sd_before: Mapping[int, float] | None = None,
    sd_after: Mapping[int, float] | None = None,
) -> LesionChanges:
    """Compare the regions of two times.

    Parameters
    ----------
    before, after
        Regions by number, 0 outside. Where the grids differ, those after are brought to the grid before through the
        affines, nearest voxel, for finding what belongs together; volumes are measured on the grid of each.
    within_mm
        Regions also belong together whose voxels lie at most so far apart, for scans that do not lie quite alike.
    least_change
        Share of the volume before from which a region may be called grown or shrunk.
    sd_before, sd_after
        Standard deviation of the volume in mm³ over several predictions, by label, where there were some.

    Returns
    -------
    LesionChanges

    Raises
    ------
    InputError
        If a distance or share is negative or not finite.
    """
    for name, value in (("distance to match within", within_mm), ("least change", least_change)):
        if not np.isfinite(value) or value < 0:
            raise InputError(f"The {name} is a finite number from 0; found {value!r}.")
    there, notes = _on_grid(after, before.grid)
    first = _Time(before, sd_before or {})
    second = _Time(after, sd_after or {})
    shared = _shared(before.array, there)
    pairs = {*shared, *_near(before, there, within_mm)}
    found = [
        _change(ones, others, first, second, shared, least_change) for ones, others in _families(pairs, first, second)
    ]
    found.sort(
        key=lambda change: (-max(change.before_mm3, change.after_mm3), not change.before, change.before, change.after)
    )
    lost = sorted(set(second.labels) - set(np.unique(there).tolist()))
    if lost:
        notes += (
            f"{len(lost)} region(s) after lie outside the grid before, or between its voxels, and match nothing.",
        )
    return LesionChanges(before.label, tuple(found), within_mm, least_change, notes)


def _on_grid(labels: LabelMap, grid: Grid) -> tuple[NDArray[Any], tuple[str, ...]]:
    if labels.grid.same_as(grid):
        return labels.array, ()
    shapes = (" x ".join(map(str, g.shape)) for g in (labels.grid, grid))
    note = "The regions after were brought from {} voxels to the {} of the grid before, nearest voxel.".format(*shapes)
    return resample(labels.array, labels.grid, grid, order=0).astype(np.int64), (note,)


class _Time:
    """Volumes, errors and places of the regions of one time, by label."""

    def __init__(self, labels: LabelMap, sd: Mapping[int, float]) -> None:
        groups = Groups(labels.array)
        self.labels: list[int] = groups.labels.tolist()
        if not self.labels:
            return
        voxel = labels.grid.voxel_volume_mm3
        centroids = labels.grid.world(groups.mean(groups.ijk).T)
        border = touches_border(groups, *groups.extremes(groups.ijk), labels.volume.valid)
        self.n_voxels = dict(zip(self.labels, groups.sizes.tolist(), strict=True))
        self.volume = {label: n * voxel for label, n in self.n_voxels.items()}
        self.centroid = dict(zip(self.labels, centroids, strict=True))
        self.at_border = dict(zip(self.labels, border, strict=True))
        of_voxels = (_voxel_variance(groups) * voxel**2).tolist()
        self.variance = {
            label: value + sd.get(label, 0.0) ** 2 for label, value in zip(self.labels, of_voxels, strict=True)
        }


def _voxel_variance(groups: Groups) -> NDArray[np.float64]:
    """Return the variance of the number of voxels of each region over all places of the grid; see the module."""
    first, last = groups.extremes(groups.ijk)
    ends = [groups.sum((groups.ijk == end[:, groups.of_voxel]).astype(np.int64)) for end in (first, last)]
    together = np.where(first == last, groups.sizes / 2, sum(ends) / np.sqrt(_ENDS))
    # sorted, so that rounding does not depend on the order of the axes
    return np.asarray(groups.sum(at_border(groups).astype(np.int64)) / 4 + np.sort(together**2, axis=0).sum(axis=0))


def _shared(before: NDArray[Any], after: NDArray[Any]) -> dict[Pair, int]:
    """Count the voxels that pairs of labels share."""
    both = (before > 0) & (after > 0)
    pairs, counts = np.unique(np.stack([before[both], after[both]]).astype(np.int64), axis=1, return_counts=True)
    return {(a, b): n for a, b, n in zip(*pairs.tolist(), counts.tolist(), strict=True)}


def _near(before: LabelMap, after: NDArray[Any], within_mm: float) -> Iterator[Pair]:
    if within_mm:
        first, second = Groups(before.array), Groups(after)
        for one, other in near_pairs(first, second, before.grid, within_mm):
            yield int(first.labels[one]), int(second.labels[other])


def _families(pairs: Iterable[Pair], first: _Time, second: _Time) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the labels before and after that pairs connect; each label is in one family, alone if it has no pair."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    places = {("before", label): n for n, label in enumerate(first.labels)}
    places |= {("after", label): n for n, label in enumerate(second.labels, start=len(places))}
    ends = np.array([(places["before", a], places["after", b]) for a, b in pairs], dtype=np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(places), len(places)))
    count, family = connected_components(graph, directed=False)
    members: list[tuple[list[int], list[int]]] = [([], []) for _ in range(count)]
    for (when, label), n in places.items():
        members[family[n]][when == "after"].append(label)
    yield from members


def _change(
    ones: list[int], others: list[int], first: _Time, second: _Time, shared: Mapping[Pair, int], least: float
) -> LesionChange:
    before, after = sum(first.volume[n] for n in ones), sum(second.volume[n] for n in others)
    variance = sum(first.variance[n] for n in ones) + sum(second.variance[n] for n in others)
    limit = max(least * before, _SIGMAS * float(np.sqrt(variance)))
    time, labels = (second, others) if others else (first, ones)
    weights = np.array([time.volume[n] for n in labels])
    centre = np.average([time.centroid[n] for n in labels], axis=0, weights=weights).tolist()
    counts = [sum(when.n_voxels[n] for n in which) for when, which in ((first, ones), (second, others)) if which]
    voxels = sum(n for (a, _), n in shared.items() if a in ones)
    voxel = first.volume[ones[0]] / first.n_voxels[ones[0]] if ones else 0.0
    return LesionChange(
        match=_match(len(ones), len(others)),
        trend=_trend(after - before, limit) if ones and others else "",
        before=tuple(ones),
        after=tuple(others),
        before_mm3=before,
        after_mm3=after,
        change_mm3=after - before,
        change_share=(after - before) / before if ones else None,
        limit_mm3=limit,
        shared_mm3=voxels * voxel,
        centroid_ras=(centre[0], centre[1], centre[2]),
        few_voxels=min(counts) < FEW_VOXELS,
        touches_border=any(first.at_border[n] for n in ones) or any(second.at_border[n] for n in others),
    )


def _match(before: int, after: int) -> Match:
    if not before or not after:
        return "vanished" if before else "new"
    if before == after == 1:
        return "matched"
    return "regrouped" if min(before, after) > 1 else "split" if before == 1 else "merged"


def _trend(change: float, limit: float) -> Trend:
    if abs(change) <= limit:
        return "stable"
    return "grown" if change > 0 else "shrunk"
