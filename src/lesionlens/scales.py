"""The scale of a map's colours: one for all maps whose values compare, whatever their class, model or time point.

Two maps are on one scale when they are of one kind and, but for probabilities, made by one method: attributions of two
methods have no common unit. Probabilities, uncertainties and anomalies have limits that follow from what they are; for
the others the limit is the largest value of all maps that share the scale, so that equal values have equal colours in
all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lesionlens.heatmap import Heatmap
from lesionlens.spread import LARGEST, UNITS

__all__ = ["FARTHEST", "MapScale", "limit_of", "scale_of"]


#: Where the colours of an anomaly map end: three times as far as all but one in 1,000 voxels of the reference.
FARTHEST = 3.0


@dataclass(frozen=True)
class MapScale:
    """What the values of a map are measured in.

    Parameters
    ----------
    name
        Maps whose scales have one name compare.
    limit
        The value that the brightest colour stands for, where that does not depend on the maps.
    unit
        What is written at a colour bar.
    """

    name: str
    limit: float | None
    unit: str


def scale_of(heatmap: Heatmap) -> MapScale:
    """Return the scale of a map."""
    method = heatmap.provenance.method
    if heatmap.kind == "probability":
        return MapScale("probability", 1.0, "probability")
    if heatmap.kind == "detection":
        return MapScale(f"detection {method}", 1.0, "confidence")
    if heatmap.kind == "uncertainty" and method in LARGEST:
        return MapScale(f"uncertainty {method}", LARGEST[method], UNITS[method])
    if heatmap.kind == "anomaly":  # a limit of the scan's own would make a healthy one look ill
        return MapScale(f"anomaly {method}", FARTHEST, heatmap.volume.unit)
    return MapScale(f"{heatmap.kind} {method}", None, heatmap.volume.unit or "no unit")


def limit_of(heatmaps: Iterable[Heatmap], *, both_signs: bool = False) -> float:
    """Return the value that the brightest colour stands for in all of some maps on one scale.

    Parameters
    ----------
    heatmaps
        At least one.
    both_signs
        Values below 0 have colours as well, so that the largest magnitude counts.

    Returns
    -------
    float
        Above 0; 1 where no map has a value to show.
    """
    maps = list(heatmaps)
    fixed = scale_of(maps[0]).limit
    if fixed is not None:
        return fixed
    ends = [heatmap.extremes for heatmap in maps]
    largest = max(max(high, -low) if both_signs else high for low, high in ends)
    return largest if largest > 0 else 1.0
