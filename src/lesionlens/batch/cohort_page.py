"""The page of a batch, ``report.html``: all cases in one file; the same results give the same bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lesionlens.batch.cohort import (
    COMPARED,
    FEWEST_CASES,
    FEWEST_REGIONS,
    UNUSUAL,
    Outlier,
    correlation,
    outliers,
    spread_of,
)
from lesionlens.batch.summary import FEATURES, CaseSummary
from lesionlens.report.cohort import correlation_png, distributions_png, thumbnail
from lesionlens.report.pages import CohortPage, Picture, cohort_html

__all__ = ["MOST_OUTLIERS", "MOST_THUMBNAILS", "cohort_page"]

#: So many small pictures are on a page, and so many unusual values: with 10,000 cases it stays below 20 MB.
MOST_THUMBNAILS: Final = 100
MOST_OUTLIERS: Final = 500
# An error is a sentence as a rule; failures.csv has the whole of it.
_LONGEST_REASON: Final = 300
# So many different bundles or options are spelled out.
_MOST_BASES: Final = 3
_QUANTITIES: Final = {
    "n_regions": "regions of a case",
    "total_volume_mm3": "volume of all regions of a case, mm³",
    "probability_max": "highest probability of a case",
    "class_probability": "probability of the class",
    "n_detections": "boxes of a case",
    "mask_dice": "Dice of all regions with the mask",
}


def cohort_page(summaries: Sequence[CaseSummary], left_out: Sequence[str] = ()) -> str:
    """Return the page of all cases as HTML that needs no other file.

    Parameters
    ----------
    summaries
        Of all cases, in their order.
    left_out
        What of the input is no case, a sentence each.
    """
    done = [one for one in summaries if one.status == "done"]
    unusual = outliers(done)
    regions = np.array([row for one in done for row in one.regions], dtype=np.float64).reshape(-1, len(FEATURES))
    states = Counter(one.status for one in summaries)
    of_cases = np.array([len(one.regions) for one in done], dtype=np.float64)
    page = CohortPage(
        title="Cases of a batch",
        counts=f"{states['done']} done, {states['failed']} failed, {states['waiting']} waiting",
        statistics=list(_statistics(done)),
        distributions=_distributions(regions, of_cases),
        no_distributions=f"There are fewer than {FEWEST_REGIONS} regions; the tables have them all.",
        correlation=_correlation(regions),
        no_correlation=f"There are fewer than {FEWEST_REGIONS} regions, whose correlations would be chance.",
        how_compared=_how_compared(unusual),
        outliers=_outlier_rows(summaries, unusual),
        about_cases=_about_cases(done),
        cases=_case_rows(summaries, unusual),
        provenance=_provenance(done),
        notes=_notes(left_out),
    )
    return cohort_html(page)


def _statistics(done: Sequence[CaseSummary]) -> Iterator[dict[str, Any]]:
    rows = [row for one in done for row in one.rows]
    column = FEATURES.index("volume_mm3")
    for label in dict.fromkeys(str(row["class"]) for row in rows):
        own = [row for row in rows if row["class"] == label]
        for name, what in _QUANTITIES.items():
            yield from _statistic(label, what, (row[name] for row in own))
        volumes = (
            region[column]
            for one in done
            for region, of_class in zip(one.regions, one.classes, strict=True)
            if of_class == label
        )
        yield from _statistic(label, "volume of a region, mm³", volumes)


def _statistic(label: str, what: str, values: Iterable[Any]) -> Iterator[dict[str, Any]]:
    found = spread_of([value for value in values if value is not None])
    if found is not None:
        shown = (found.least, found.quartile_1, found.median, found.quartile_3, found.most)
        yield {"label": label, "what": what, "n": f"{found.n:,}", "figures": [_figure(value) for value in shown]}


def _distributions(regions: NDArray[np.float64], of_cases: NDArray[np.float64]) -> Picture | None:
    volumes = regions[:, FEATURES.index("volume_mm3")]
    volumes = volumes[volumes > 0]
    if len(volumes) < FEWEST_REGIONS:
        return None
    highest = regions[:, FEATURES.index("probability_max")]
    png = distributions_png(volumes, of_cases, highest[np.isfinite(highest)])
    return Picture(png, f"{len(regions):,} regions of all classes in {len(of_cases):,} cases.")


def _correlation(regions: NDArray[np.float64]) -> Picture | None:
    known = [index for index in range(len(FEATURES)) if np.isfinite(regions[:, index]).sum() >= FEWEST_REGIONS]
    if not known:
        return None
    found = correlation(regions[:, known])
    names = [FEATURES[index] for index in known]
    caption = (
        f"Pearson's correlation over {len(regions):,} regions of all classes, each pair over the regions with both."
        " Grey: not defined, as one does not vary. Regions of one case are not independent of each other."
    )
    return Picture(correlation_png(found, names), caption)


def _how_compared(unusual: Sequence[Outlier]) -> str:
    text = (
        f"Robust z-score beyond {UNUSUAL}: 0.6745 times the distance from the median of all cases, over the median"
        f" absolute deviation; of {', '.join(COMPARED)} class by class, and of the regions' medians of intensity,"
        f" contrast, sphericity and uncertainty. Where fewer than {FEWEST_CASES} cases have a value, or most have the"
        " same, nothing is said. Volumes and counts are skewed to the right, so that large ones are named more often."
    )
    return text + (f" The {MOST_OUTLIERS} furthest of {len(unusual):,} are shown." * (len(unusual) > MOST_OUTLIERS))


def _outlier_rows(summaries: Sequence[CaseSummary], unusual: Sequence[Outlier]) -> list[dict[str, Any]]:
    numbers = {one.name: number for number, one in enumerate(summaries, start=1)}
    return [
        {
            **{"number": numbers[one.case], "label": one.label, "feature": one.feature},
            **{"value": _figure(one.value), "median": _figure(one.median), "z": f"{one.z:+.1f}"},
        }
        for one in unusual[:MOST_OUTLIERS]
    ]


def _about_cases(done: Sequence[CaseSummary]) -> str:
    text = "Figures are over all classes; summary.csv has them class by class."
    if len(done) > MOST_THUMBNAILS:
        text += f" Pictures are shown of {MOST_THUMBNAILS} cases: the most unusual, then the first."
    return text


def _case_rows(summaries: Sequence[CaseSummary], unusual: Sequence[Outlier]) -> list[dict[str, Any]]:
    names = dict.fromkeys(one.case for one in unusual)
    pictured = {one.name: one.picture for one in summaries if one.picture is not None}
    first = list(dict.fromkeys(name for name in (*names, *pictured) if name in pictured))[:MOST_THUMBNAILS]
    small = {name: thumbnail(pictured[name]) for name in first}
    return [_case_row(one, one.name in names, small.get(one.name)) for one in summaries]


def _case_row(one: CaseSummary, unusual: bool, png: bytes | None) -> dict[str, Any]:
    def all_of(column: str) -> list[float]:
        return [row[column] for row in one.rows if row[column] is not None]

    found = all_of("n_regions") or all_of("n_detections")
    volumes, largest = all_of("total_volume_mm3"), all_of("largest_volume_mm3")
    highest = all_of("class_probability") or all_of("probability_max")
    reason = one.error if len(one.error) <= _LONGEST_REASON else f"{one.error[:_LONGEST_REASON]}…"
    return {
        **{"name": one.name, "status": one.status, "unusual": unusual, "why": reason, "png": png},
        "found": f"{sum(found):,}" if found else "",
        "volume": _figure(sum(volumes)) if volumes else "",
        "largest": _figure(max(largest)) if largest else "",
        "probability": _figure(max(highest)) if highest else "",
    }


def _provenance(done: Sequence[CaseSummary]) -> dict[str, str]:
    found: dict[str, Counter[str]] = {}
    for one in done:
        for name, value in one.basis:
            if value:
                found.setdefault(name, Counter())[value] += 1
    texts = {name: _values(values) for name, values in found.items()}
    return {
        **texts,
        "of each case": "batch.json and cases/ hold the hashes of every file; 'lesionlens verify' compares",
    }


def _values(values: Mapping[str, int]) -> str:
    if len(values) == 1:
        return next(iter(values))
    ordered = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    shown = "; ".join(f"{value} ({count} cases)" for value, count in ordered[:_MOST_BASES])
    return shown if len(ordered) <= _MOST_BASES else f"{shown}; and {len(ordered) - _MOST_BASES} others"


def _notes(left_out: Sequence[str]) -> list[str]:
    return [f"{len(left_out)} series are no cases, such as: {'; '.join(left_out[:_MOST_BASES])}."] if left_out else []


def _figure(value: float) -> str:
    """Return four figures, and no exponent for large numbers."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
