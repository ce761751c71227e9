"""What can be plotted of what a viewer shows: what each plot lacks, counts and draws. No Qt, no viewer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lesionlens.calibration import Calibration, reliability
from lesionlens.compare import correlations
from lesionlens.confusion import class_labels, confusion
from lesionlens.distributions import intensity_limits, split_histogram, threshold_curve
from lesionlens.errors import counted
from lesionlens.report.matrices import draw_matrix
from lesionlens.report.plots import draw_histogram, draw_threshold_curve
from lesionlens.report.reliability import draw_frequencies, draw_reliability
from lesionlens.report.trust import draw_charts
from lesionlens.rules import DEFAULT_RULES
from lesionlens.ui.plots.subject import Plot, Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lesionlens.heatmap import Heatmap
    from lesionlens.progress import Progress
    from lesionlens.results import CaseResult
    from lesionlens.rules import Connectivity

__all__ = ["MOST_MAPS", "PLOTS"]

# A matrix of more has cells that a dock has no room for.
MOST_MAPS = 6
_WIDTH_INCHES = 4.6
_RUN_FIRST = "Run a bundle, or open results, first."
_NO_MAP = "This class has no probability map: such a bundle gives no probability for each voxel."


def _of(subject: Subject) -> tuple[CaseResult, Heatmap]:
    """Return results and map of a subject that lacks nothing."""
    result, heatmap = subject.result, subject.probability
    assert result is not None
    assert heatmap is not None
    return result, heatmap


def _lacks_map(subject: Subject) -> str:
    if subject.result is None:
        return _RUN_FIRST
    return "" if subject.probability is not None else _NO_MAP


def _lacks_mask(subject: Subject) -> str:
    return _lacks_map(subject) or ("" if subject.mask else "Choose a mask that a reader painted on the scan.")


def _threshold_words(found: Any, subject: Subject) -> str:
    at, volume_mm3, count = found.at(subject.threshold)
    regions = f"{count} region{'' if count == 1 else 's'}"
    rules = _of(subject)[0].rules
    after = rules.fill_holes or rules.merge_mm or rules.minimum_mm3
    before = ", before anything is filled, merged or left out" if after else ""
    return f"At {at:.2f}: {volume_mm3 / 1000:.2f} mL in {regions}{before}. Drag the line to move the threshold."


def _connectivity(subject: Subject) -> Connectivity:
    return (DEFAULT_RULES if subject.result is None else subject.result.rules).connectivity


def _inside(subject: Subject) -> Any:
    result, _ = _of(subject)
    return result.labels[subject.label]  # every number is inside


def _count_probability(subject: Subject, progress: Progress) -> Any:
    progress("Counting voxels", 0, 1)
    _, heatmap = _of(subject)
    return split_histogram(heatmap.array, _inside(subject), limits=(0.0, 1.0), valid=heatmap.volume.valid)


def _count_intensity(subject: Subject, progress: Progress) -> Any:
    progress("Counting voxels", 0, 2)
    volume, inside = _of(subject)[0].volume, _inside(subject)
    limits = intensity_limits(volume.array, inside, valid=volume.valid)
    progress("Counting voxels", 1, 2)
    return split_histogram(volume.array, inside, limits=limits, valid=volume.valid)


def _draw_intensity(found: Any, subject: Subject) -> Figure:
    unit = _of(subject)[0].volume.unit
    return draw_histogram(found, quantity=f"intensity in {unit}" if unit else "intensity", title=subject.title)


def _regions_words(_found: Any, subject: Subject) -> str:
    return f"Regions of {subject.label} at probability ≥ {subject.regions_threshold:g}."


def _lacks_reliability(subject: Subject) -> str:
    if subject.calibration is not None:
        return ""
    wanted = "Choose a mask that a reader painted on the scan, or a file that 'lesionlens calibrate' wrote."
    return _lacks_map(subject) or ("" if subject.mask else wanted)


def _count_reliability(subject: Subject, progress: Progress) -> Any:
    if subject.calibration is not None:
        return subject.calibration
    progress("Counting voxels", 0, 1)
    (_, heatmap), mask = _of(subject), subject.mask
    assert mask is not None
    valid = heatmap.volume.valid
    held = slice(None) if valid is None else valid
    return reliability(heatmap.array[held], mask.marked[held])


def _draw_reliability(found: Any, subject: Subject) -> Figure:
    if isinstance(found, Calibration):
        return draw_reliability(found, stacked=True)
    assert subject.mask is not None
    return draw_frequencies(found, title=f"{subject.title}\nagainst {subject.mask.label}")


def _reliability_words(found: Any, _subject: Subject) -> str:
    labelled = isinstance(found, Calibration)
    cases = f"{counted(found.n_cases, 'labelled case')}." if labelled else "One case alone."
    return f"{cases} On the diagonal the model means what it says; below it, it is too sure."


def _count_correlation(subject: Subject, progress: Progress) -> Any:
    progress("Correlating", 0, 1)
    return correlations([heatmap for _, heatmap in subject.maps])


def _letters(subject: Subject) -> dict[str, str]:
    return {chr(ord("A") + n): name for n, (name, _) in enumerate(subject.maps)}


def _count_confusion(subject: Subject, progress: Progress) -> Any:
    progress("Counting voxels", 0, 1)
    (_, heatmap), mask = _of(subject), subject.mask
    assert mask is not None
    valid = heatmap.volume.valid
    held = slice(None) if valid is None else valid
    model = class_labels([heatmap], threshold=subject.threshold)
    return confusion(mask.marked[held].view(np.uint8), model[held], 2)


def _draw_confusion(found: Any, subject: Subject) -> Figure:
    assert subject.mask is not None
    return draw_matrix(
        found,
        ("outside", "marked"),
        ("outside", subject.label),
        kind="counts",
        title=f"voxels at probability ≥ {subject.threshold:g}",
        row_title=f"reader: {subject.mask.label}",
        column_title=_of(subject)[0].bundle,
    )


def _perturbation(subject: Subject) -> Any:
    checks = () if subject.report is None else subject.report.checks
    return next((check for check in checks if check.name == "perturbation" and check.charts), None)


def _draw_perturbation(found: Any, _subject: Subject) -> Figure:
    figure = draw_charts(found, width=_WIDTH_INCHES)
    assert figure is not None
    return figure


def _result_key(subject: Subject) -> tuple[object, ...]:
    return id(subject.result), subject.label


PLOTS: Mapping[str, Plot] = {
    "threshold": Plot(
        "Volume and regions at each threshold",
        _lacks_map,
        lambda s: (id(s.probability), s.result and s.result.rules),  # regions measured anew are of the same map
        lambda s, progress: threshold_curve(_of(s)[1], connectivity=_connectivity(s), progress=progress),
        lambda found, s: draw_threshold_curve(found, threshold=s.threshold, title=s.title),
        words=_threshold_words,
        draggable=True,
    ),
    "probability": Plot(
        "Probability inside and outside of the regions",
        _lacks_map,
        _result_key,
        _count_probability,
        lambda found, s: draw_histogram(found, quantity="probability", title=s.title, threshold=s.regions_threshold),
        words=_regions_words,
    ),
    "intensity": Plot(
        "Intensity inside and outside of the regions",
        _lacks_map,
        _result_key,
        _count_intensity,
        _draw_intensity,
        words=_regions_words,
    ),
    "reliability": Plot(
        "Reliability",
        _lacks_reliability,
        lambda s: (id(s.probability), id(s.mask), id(s.calibration)),
        _count_reliability,
        _draw_reliability,
        wants="reliability",
        words=_reliability_words,
    ),
    "correlation": Plot(
        "Correlation of all maps",
        lambda s: "" if len(s.maps) > 1 else "Two maps or more are correlated: run a bundle, or open results, first.",
        lambda s: tuple(id(heatmap) for _, heatmap in s.maps),
        _count_correlation,
        lambda found, s: draw_matrix(found, tuple(_letters(s)), kind="correlation", title="Pearson correlation"),
        words=lambda _found, s: "<br>".join(f"<b>{letter}:</b> {name}" for letter, name in _letters(s).items()),
    ),
    "confusion": Plot(
        "Confusion with a reader's mask",
        _lacks_mask,
        lambda s: (id(s.probability), id(s.mask), s.threshold),
        _count_confusion,
        _draw_confusion,
        wants="mask",
        words=lambda _found, _s: "Rows: what the reader marked. Columns: what the model found.",
    ),
    "perturbation": Plot(
        "Deletion and insertion",
        lambda s: "" if _perturbation(s) else "Check a map in the dock Trust first, with the check 'perturbation'.",
        lambda s: (id(s.report),),
        lambda s, _progress: _perturbation(s),
        _draw_perturbation,
        words=lambda found, _s: found.sentence,
    ),
}
