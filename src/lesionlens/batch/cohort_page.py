"""The page of a batch, ``report.html``: all cases in one file; the same results give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from lesionlens.batch.cohort import (
    COMPARED,
    FEWEST_CASES,
    FEWEST_REGIONS,
    UNUSUAL,
    Outlier,
    outliers,
    spread_of,
)
from lesionlens.batch.gathered import Gathered
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
    summaries: Iterable[CaseSummary],
    again: Callable[[str], CaseSummary],
    *,
    left_out: Sequence[str] = (),
    say: Words = ENGLISH,
    notes: Sequence[str] = (),
) -> str:
    """Return the page of all cases as HTML that needs no other file.

    Parameters
    ----------
    summaries
        Of all cases, in their order; few are kept.
    again
        Gives one again by its name.
    left_out
        What of the input is no case, a sentence each.
    say
        The language.
    notes
        What a reader of the page must know before anything else.
    """
    found = Gathered(MOST_CASES, again)
    for one in summaries:
        found.add(one)
    unusual = outliers(found.compared())
    n_cases, n_done = len(found.names), found.states["done"]
    page = CohortPage(
        title=say("Cases of a batch"),
        counts=say("%(done)s done, %(failed)s failed, %(waiting)s waiting", **_STATES | found.states),
        statistics=list(_statistics(found, say)),
        distributions=_distributions(found, say),
        no_distributions=say("There are fewer than %(n)s regions; the tables have them all.", n=FEWEST_REGIONS),
        correlation=_correlation(found, say),
        no_correlation=say("There are fewer than %(n)s regions, whose correlations would be chance.", n=FEWEST_REGIONS),
        how_compared=_how_compared(unusual, say),
        outliers=_outlier_rows(unusual, say),
        n_cases=n_cases,
        about_cases=_about_cases(n_cases, n_done, say),
        cases=_case_rows(found, unusual, say),
        provenance=_provenance(found.bases, say),
        notes=[*notes, *_notes(left_out, say)],
    )
    return cohort_html(page, words=say)


def _statistics(found: Gathered, say: Words) -> Iterator[dict[str, Any]]:
    for label in found.labels:
        for name, what in _QUANTITIES.items():
            yield from _statistic(label, say(what), found.values(label, name), say)
        yield from _statistic(label, say("volume of a region, mm³"), found.volumes(label), say)


def _statistic(label: str, what: str, values: ArrayLike, say: Words) -> Iterator[dict[str, Any]]:
    found = spread_of(values)
    if found is not None:
        shown = (found.least, found.quartile_1, found.median, found.quartile_3, found.most)
        figures = [_figure(value, say) for value in shown]
        yield {"label": label, "what": what, "n": say.figure(f"{found.n:,}"), "figures": figures}


def _distributions(found: Gathered, say: Words) -> Picture | None:
    volumes, counts = found.volumes(), found.counts
    volumes = volumes[volumes > 0]
    if len(volumes) < FEWEST_REGIONS:
        return None
    png = distributions_png(volumes, counts, found.highest)
    numbers = {"regions": say.figure(f"{found.regions.n_rows:,}"), "cases": say.figure(f"{len(counts):,}")}
    return Picture(png, say("%(regions)s regions of all classes in %(cases)s cases.", **numbers))


def _correlation(found: Gathered, say: Words) -> Picture | None:
    known = np.flatnonzero(found.regions.n_known >= FEWEST_REGIONS)
    if not known.size:
        return None
    names = [FEATURES[index] for index in known]
    caption = say(
        "Pearson's correlation over %(n)s regions of all classes, each pair over the regions with both."
        " Grey: not defined, as one does not vary. Regions of one case are not independent of each other.",
        n=say.figure(f"{found.regions.n_rows:,}"),
    )
    return Picture(correlation_png(found.regions.matrix[np.ix_(known, known)], names), caption)


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


def _outlier_rows(unusual: Sequence[Outlier], say: Words) -> list[dict[str, Any]]:
    return [
        {
            **{"number": one.case + 1, "label": one.label, "feature": one.feature},
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


def _case_rows(found: Gathered, unusual: Sequence[Outlier], say: Words) -> list[dict[str, Any]]:
    listed = found.listed(MOST_CASES, {one.case for one in unusual[:MOST_OUTLIERS]})
    numbers = dict.fromkeys(one.case + 1 for one in unusual)
    pictured = {number: one.picture for number, one in listed if one.picture is not None}
    first = list(dict.fromkeys(number for number in (*numbers, *pictured) if number in pictured))[:MOST_THUMBNAILS]
    small = {number: thumbnail(pictured[number]) for number in first}
    return [{"number": number, **_case_row(one, number in numbers, small.get(number), say)} for number, one in listed]


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


def _provenance(bases: Mapping[str, Mapping[str, int]], say: Words) -> dict[str, str]:
    texts = {say(name): _values(values, say) for name, values in bases.items()}
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
