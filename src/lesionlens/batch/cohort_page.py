"""The page of a batch, ``report.html``: all cases in one file; the same results give the same bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
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
from lesionlens.report.words import ENGLISH, N_, Words

__all__ = ["MOST_CASES", "MOST_OUTLIERS", "MOST_THUMBNAILS", "cohort_page"]

#: So many cases, small pictures and unusual values are on a page: it stays below 20 MB, however many cases there are.
MOST_CASES: Final = 10_000
MOST_THUMBNAILS: Final = 100
MOST_OUTLIERS: Final = 500
# An error is a sentence as a rule; failures.csv has the whole of it.
_LONGEST_REASON: Final = 300
# So many different bundles or options are spelled out.
_MOST_BASES: Final = 3
_STATES: Final = dict.fromkeys((N_("done"), N_("failed"), N_("waiting")), 0)
_QUANTITIES: Final = {
    "n_regions": N_("regions of a case"),
    "total_volume_mm3": N_("volume of all regions of a case, mm³"),
    "probability_max": N_("highest probability of a case"),
    "class_probability": N_("probability of the class"),
    "n_detections": N_("boxes of a case"),
    "mask_dice": N_("Dice of all regions with the mask"),
}


def cohort_page(
    summaries: Sequence[CaseSummary],
    left_out: Sequence[str] = (),
    *,
    say: Words = ENGLISH,
    notes: Sequence[str] = (),
) -> str:
    """Return the page of all cases as HTML that needs no other file.

    Parameters
    ----------
    summaries
        Of all cases, in their order.
    left_out
        What of the input is no case, a sentence each.
    say
        The language.
    notes
        What a reader of the page must know before anything else.
    """
    done = [one for one in summaries if one.status == "done"]
    unusual = outliers(done)
    regions = np.concatenate([np.empty((0, len(FEATURES))), *(one.regions for one in done)])
    states = Counter(one.status for one in summaries)
    of_cases = np.array([len(one.regions) for one in done], dtype=np.float64)
    page = CohortPage(
        title=say("Cases of a batch"),
        counts=say("%(done)s done, %(failed)s failed, %(waiting)s waiting", **_STATES | states),
        statistics=list(_statistics(done, say)),
        distributions=_distributions(regions, of_cases, say),
        no_distributions=say("There are fewer than %(n)s regions; the tables have them all.", n=FEWEST_REGIONS),
        correlation=_correlation(regions, say),
        no_correlation=say("There are fewer than %(n)s regions, whose correlations would be chance.", n=FEWEST_REGIONS),
        how_compared=_how_compared(unusual, say),
        outliers=_outlier_rows(summaries, unusual, say),
        n_cases=len(summaries),
        about_cases=_about_cases(len(summaries), len(done), say),
        cases=_case_rows(summaries, unusual, say),
        provenance=_provenance(done, say),
        notes=[*notes, *_notes(left_out, say)],
    )
    return cohort_html(page, words=say)


def _statistics(done: Sequence[CaseSummary], say: Words) -> Iterator[dict[str, Any]]:
    rows = [row for one in done for row in one.rows]
    column = FEATURES.index("volume_mm3")
    for label in dict.fromkeys(str(row["class"]) for row in rows):
        own = [row for row in rows if row["class"] == label]
        for name, what in _QUANTITIES.items():
            yield from _statistic(label, say(what), (row[name] for row in own), say)
        volumes = (
            volume
            for one in done
            for volume, of_class in zip(one.regions[:, column].tolist(), one.classes, strict=True)
            if of_class == label
        )
        yield from _statistic(label, say("volume of a region, mm³"), volumes, say)


def _statistic(label: str, what: str, values: Iterable[Any], say: Words) -> Iterator[dict[str, Any]]:
    found = spread_of([value for value in values if value is not None])
    if found is not None:
        shown = (found.least, found.quartile_1, found.median, found.quartile_3, found.most)
        figures = [_figure(value, say) for value in shown]
        yield {"label": label, "what": what, "n": say.figure(f"{found.n:,}"), "figures": figures}


def _distributions(regions: NDArray[np.float64], of_cases: NDArray[np.float64], say: Words) -> Picture | None:
    volumes = regions[:, FEATURES.index("volume_mm3")]
    volumes = volumes[volumes > 0]
    if len(volumes) < FEWEST_REGIONS:
        return None
    highest = regions[:, FEATURES.index("probability_max")]
    png = distributions_png(volumes, of_cases, highest[np.isfinite(highest)])
    counts = {"regions": say.figure(f"{len(regions):,}"), "cases": say.figure(f"{len(of_cases):,}")}
    return Picture(png, say("%(regions)s regions of all classes in %(cases)s cases.", **counts))


def _correlation(regions: NDArray[np.float64], say: Words) -> Picture | None:
    known = [index for index in range(len(FEATURES)) if np.isfinite(regions[:, index]).sum() >= FEWEST_REGIONS]
    if not known:
        return None
    found = correlation(regions[:, known])
    names = [FEATURES[index] for index in known]
    caption = say(
        "Pearson's correlation over %(n)s regions of all classes, each pair over the regions with both."
        " Grey: not defined, as one does not vary. Regions of one case are not independent of each other.",
        n=say.figure(f"{len(regions):,}"),
    )
    return Picture(correlation_png(found, names), caption)


def _how_compared(unusual: Sequence[Outlier], say: Words) -> str:
    text = say(
        "Robust z-score beyond %(limit)s: 0.6745 times the distance from the median of all cases, over the median"
        " absolute deviation; of %(compared)s class by class, and of the regions' medians of intensity,"
        " contrast, sphericity and uncertainty. Where fewer than %(fewest)s cases have a value, or most have the"
        " same, nothing is said. Volumes and counts are skewed to the right, so that large ones are named more often.",
        **{"limit": say.figure(f"{UNUSUAL}"), "compared": ", ".join(COMPARED), "fewest": FEWEST_CASES},
    )
    if len(unusual) <= MOST_OUTLIERS:
        return text
    counts = {"shown": MOST_OUTLIERS, "all": say.figure(f"{len(unusual):,}")}
    return f"{text} {say('The %(shown)s furthest of %(all)s are shown.', **counts)}"


def _outlier_rows(summaries: Sequence[CaseSummary], unusual: Sequence[Outlier], say: Words) -> list[dict[str, Any]]:
    numbers = {one.name: number for number, one in enumerate(summaries, start=1)}
    return [
        {
            **{"number": numbers[one.case], "label": one.label, "feature": one.feature},
            **{"value": _figure(one.value, say), "median": _figure(one.median, say), "z": say.figure(f"{one.z:+.1f}")},
        }
        for one in unusual[:MOST_OUTLIERS]
    ]


def _about_cases(n_cases: int, n_done: int, say: Words) -> str:
    text = say("Figures are over all classes; summary.csv has them class by class.")
    if n_cases > MOST_CASES:
        counts = {"shown": say.figure(f"{MOST_CASES:,}"), "all": say.figure(f"{n_cases:,}")}
        more = say(
            "%(shown)s of %(all)s cases are listed: the most unusual, those that failed, then the first;"
            " summary.csv and failures.csv have all.",
            **counts,
        )
        text = f"{text} {more}"
    if n_done <= MOST_THUMBNAILS:
        return text
    return f"{text} {say('Pictures are shown of %(n)s cases: the most unusual, then the first.', n=MOST_THUMBNAILS)}"


def _case_rows(summaries: Sequence[CaseSummary], unusual: Sequence[Outlier], say: Words) -> list[dict[str, Any]]:
    names = dict.fromkeys(one.case for one in unusual)
    listed = _listed(summaries, {one.case for one in unusual[:MOST_OUTLIERS]})
    pictured = {one.name: one.picture for _, one in listed if one.picture is not None}
    first = list(dict.fromkeys(name for name in (*names, *pictured) if name in pictured))[:MOST_THUMBNAILS]
    small = {name: thumbnail(pictured[name]) for name in first}
    return [{"number": number, **_case_row(one, one.name in names, small.get(one.name), say)} for number, one in listed]


def _listed(summaries: Sequence[CaseSummary], unusual: Set[str]) -> list[tuple[int, CaseSummary]]:
    """Return the cases that have a row, in their order and with their numbers: all, or those to look at first."""
    numbered = list(enumerate(summaries, start=1))
    if len(numbered) <= MOST_CASES:
        return numbered

    def first(item: tuple[int, CaseSummary]) -> tuple[int, int]:
        number, one = item
        return 0 if one.name in unusual else 1 if one.status == "failed" else 2, number

    return sorted(sorted(numbered, key=first)[:MOST_CASES], key=lambda item: item[0])


def _case_row(one: CaseSummary, unusual: bool, png: bytes | None, say: Words) -> dict[str, Any]:
    def all_of(column: str) -> list[float]:
        return [row[column] for row in one.rows if row[column] is not None]

    found = all_of("n_regions") or all_of("n_detections")
    volumes, largest = all_of("total_volume_mm3"), all_of("largest_volume_mm3")
    highest = all_of("class_probability") or all_of("probability_max")
    reason = one.error if len(one.error) <= _LONGEST_REASON else f"{one.error[:_LONGEST_REASON]}…"
    return {
        **{"name": one.name, "status": one.status, "unusual": unusual, "why": reason, "png": png},
        "found": say.figure(f"{sum(found):,}") if found else "",
        "volume": _figure(sum(volumes), say) if volumes else "",
        "largest": _figure(max(largest), say) if largest else "",
        "probability": _figure(max(highest), say) if highest else "",
    }


def _provenance(done: Sequence[CaseSummary], say: Words) -> dict[str, str]:
    found: dict[str, Counter[str]] = {}
    for one in done:
        for name, value in one.basis:
            if value:
                found.setdefault(name, Counter())[value] += 1
    texts = {say(name): _values(values, say) for name, values in found.items()}
    return {
        **texts,
        say("of each case"): say("batch.json and cases/ hold the hashes of every file; 'lesionlens verify' compares"),
    }


def _values(values: Mapping[str, int], say: Words) -> str:
    if len(values) == 1:
        return next(iter(values))
    ordered = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    shown = "; ".join(say("%(value)s (%(n)s cases)", value=value, n=count) for value, count in ordered[:_MOST_BASES])
    if len(ordered) <= _MOST_BASES:
        return shown
    return say("%(shown)s; and %(n)s others", shown=shown, n=len(ordered) - _MOST_BASES)


def _notes(left_out: Sequence[str], say: Words) -> list[str]:
    if not left_out:
        return []
    shown = "; ".join(left_out[:_MOST_BASES])
    if len(left_out) > _MOST_BASES:
        shown = say("%(shown)s; and %(n)s others", shown=shown, n=len(left_out) - _MOST_BASES)
    return [say("Left out: %(shown)s.", shown=shown)]


def _figure(value: float, say: Words) -> str:
    """Return four figures, and no exponent for large numbers."""
    return say.figure(f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}")
