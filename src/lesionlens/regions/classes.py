"""The regions of every class of a case, with all their statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from lesionlens.heatmap import Heatmap, LabelMap
from lesionlens.progress import Progress, silent
from lesionlens.regions.labelling import find_regions
from lesionlens.regions.measuring import measure
from lesionlens.regions.values import Region
from lesionlens.rules import DEFAULT_RULES, RegionRules, RegionSteps
from lesionlens.volume import Volume

__all__ = ["MeasuredClasses", "measure_class", "measure_classes"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class MeasuredClasses:
    """The regions of each class, what the rules did on the way, and the statistics.

    Parameters
    ----------
    labels
        Per class: (i, j, k) integers that number its regions from 1.
    regions
        Per class: the regions, largest first.
    steps
        Per class: what was filled, merged and left out.
    """

    labels: dict[str, Array] = field(default_factory=dict)
    regions: dict[str, tuple[Region, ...]] = field(default_factory=dict)
    steps: dict[str, RegionSteps] = field(default_factory=dict)


def measure_classes(
    volume: Volume,
    heatmaps: Sequence[Heatmap],
    maps: tuple[Heatmap, ...],
    threshold: float,
    *,
    thresholds: Mapping[str, float] | None = None,
    rules: RegionRules = DEFAULT_RULES,
    anatomy: LabelMap | None = None,
    progress: Progress = silent,
) -> MeasuredClasses:
    """Measure the regions of every class at a threshold, with all their statistics.

    Parameters
    ----------
    volume
        The scan.
    heatmaps
        One map for each class: its probability, or how far it lies from what is healthy.
    maps
        Attribution and uncertainty maps; the first of each class and kind is measured.
    threshold
        See :func:`~lesionlens.regions.find_regions`.
    thresholds
        Those of single classes, in its place.
    rules
        What counts as one region.
    anatomy
        Labels of anatomy on the grid of the scan, where there are any.
    progress
        Called for each class.
    """
    measured = MeasuredClasses()
    for done, heatmap in enumerate(heatmaps):
        progress("Measuring regions", done, len(heatmaps))
        least = (thresholds or {}).get(heatmap.label, threshold)
        found = find_regions(heatmap, threshold=least, valid=volume.valid, rules=rules)
        measured.labels[heatmap.label] = found.labels
        measured.steps[heatmap.label] = found.steps
        measured.regions[heatmap.label] = tuple(measure_class(volume, heatmap, maps, found.labels, anatomy=anatomy))
    return measured


def measure_class(
    volume: Volume,
    heatmap: Heatmap,
    maps: Iterable[Heatmap],
    labels: Array,
    *,
    anatomy: LabelMap | None = None,
) -> list[Region]:
    """Measure the regions of one class with all their statistics.

    Parameters
    ----------
    volume
        The scan.
    heatmap
        Map of the class that the regions are of.
    maps
        Of any class and kind: the attribution map of this class is measured, and the entropy of its predictions. Where
        a network looks is no evidence, even seen from the class: it has no share to measure.
    labels
        (i, j, k) regions of the class.
    anatomy
        Labels of anatomy on the grid of the scan.
    """
    own = [m for m in maps if m.label == heatmap.label]
    attribution = next((m for m in own if m.kind == "attribution"), None)
    uncertainty = next((m for m in own if m.kind == "uncertainty" and m.provenance.method == "entropy"), None)
    return measure(
        volume,
        heatmap,
        attribution=attribution,
        uncertainty=uncertainty,
        anatomy=anatomy,
        labels=labels,
        shapes=True,
    )
