"""What the dock says of the results of a case, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lesionlens.ui.sight import unseen_words

if TYPE_CHECKING:
    from lesionlens.results import CaseResult

__all__ = [
    "classes_of",
    "quantity_of",
    "regions_threshold",
    "rules_words",
    "unseen_classes",
    "without_regions",
]


def unseen_classes(result: CaseResult) -> list[str]:
    """Say of which classes the maps are no findings."""
    maps = [heatmap for heatmap in result.attributions if heatmap.unseen]
    return [f"{heatmap.label} is {unseen_words(heatmap)}." for heatmap in maps]


def classes_of(result: CaseResult) -> list[str]:
    """Return the classes that there are maps of, the one to show first: explained, and with a probability if any."""
    explained, predicted = (
        [m.label for m in maps if m.of_class] for maps in (result.attributions, result.probabilities)
    )
    both = [label for label in explained if label in predicted]
    return list(dict.fromkeys([*(both or predicted), *explained, *predicted]))


def regions_threshold(result: CaseResult | None, label: str, slider: float) -> float:
    """Return where the regions of a class are cut: at the slider, which is of probabilities, where there are any."""
    if result is None or result.probabilities or label not in result.labels:
        return slider
    return result.threshold_of(label)


def quantity_of(result: CaseResult) -> str:
    """Return what the thresholds of the regions are of."""
    return "probability" if result.probabilities else "anomaly"


def rules_words(result: CaseResult, label: str) -> str:
    """Say by which rules regions were made, and what that filled, merged and left out."""
    steps = result.steps.get(label)
    return ". ".join(filter(None, (result.rules.text, steps.text if steps else "")))


def without_regions(result: CaseResult, threshold: float) -> str:
    """Say why there is no table of regions."""
    if result.detections is None:
        return "This bundle gives probabilities for the whole scan, so there are no regions."
    sure = sum(one.confidence >= threshold for one in result.detections)
    return (
        f"This bundle finds boxes: {len(result.detections)}, of which {sure} have a confidence of"
        f" {threshold:g} or more. A box is no contour, so there are no regions; detections.csv lists the boxes."
    )
