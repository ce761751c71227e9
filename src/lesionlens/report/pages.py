"""Pages of review sessions and batches: HTML in one file each, pictures inside, to be opened and printed anywhere.

Nothing on a page is fetched from anywhere, no script runs on it, and whatever readers wrote is shown as text.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesionlens.report.montage import NOTICE
from lesionlens.report.words import ENGLISH, Words, words_of

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = [
    "SIGNS",
    "CasePage",
    "CohortPage",
    "FindingPart",
    "Picture",
    "ReaderPart",
    "SessionPage",
    "case_html",
    "cohort_html",
    "render",
    "session_html",
]

_TEMPLATES = Path(__file__).parent / "templates"
#: Words are read aloud and printed; the sign beside them is seen from afar.
SIGNS = {"accept": "✓", "reject": "✗", "unsure": "?", None: "–"}


@dataclass(frozen=True)
class Picture:
    """A PNG and what is said below it."""

    png: bytes = field(repr=False)
    caption: str


@dataclass(frozen=True)
class ReaderPart:
    """What one reader said of one finding, as rows of ``findings.csv`` say it, and figures for people."""

    reader: str
    verdict: str | None
    category: str | None
    confidence: int | None
    comments: Sequence[str]
    voxels: str
    figures: Mapping[str, str]
    replaced_by: Sequence[str] = ()


@dataclass(frozen=True)
class FindingPart:
    """One finding: its name, what each reader said, and its pictures."""

    id: str
    origin: str
    readers: Sequence[ReaderPart]
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class CasePage:
    """One case.

    Parameters
    ----------
    case
        Its number; no name of a scan.
    reads
        For each reader: status, whether flagged, and minutes.
    findings
        In the order of the case.
    provenance
        What it all rests on: hashes, versions, bundle.
    notes
        What a reader of the page must know, such as that pictures are missing.
    """

    case: str
    reads: Sequence[Mapping[str, Any]]
    findings: Sequence[FindingPart]
    provenance: Mapping[str, str]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class SessionPage:
    """A whole session.

    Parameters
    ----------
    title
        As it may be shown.
    progress
        By reader: cases complete, begun, untouched, flagged, and minutes.
    counts
        By reader: how often each verdict was given, and findings drawn.
    pairs
        Agreement: first, second, findings, share, kappa.
    cases
        Rows: case, link to its page, status by reader, number of findings, picture or None.
    provenance
        What it all rests on.
    notes
        What a reader of the page must know.
    """

    title: str
    progress: Sequence[Mapping[str, Any]]
    counts: Sequence[Mapping[str, Any]]
    pairs: Sequence[Mapping[str, Any]]
    cases: Sequence[Mapping[str, Any]]
    provenance: Mapping[str, str]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class CohortPage:
    """All cases of a batch; figures are texts as they are shown.

    Parameters
    ----------
    title
        As it may be shown.
    counts
        How many cases are done, failed and wait.
    statistics
        Rows: label, what, n, and the figures least, first quartile, median, third quartile, most.
    distributions, no_distributions
        Histograms, or why there are none.
    correlation, no_correlation
        Heatmap, or why there is none.
    how_compared, outliers
        What makes a case unusual; rows: number of the case, label, feature, value, median, z.
    n_cases
        How many there are; of many cases not all have a row.
    about_cases, cases
        What a reader of the table must know; rows: number, name, status, unusual, found, volume, largest, probability,
        why, png or None.
    provenance
        What it all rests on.
    notes
        What a reader of the page must know.
    """

    title: str
    counts: str
    statistics: Sequence[Mapping[str, Any]]
    distributions: Picture | None
    no_distributions: str
    correlation: Picture | None
    no_correlation: str
    how_compared: str
    outliers: Sequence[Mapping[str, Any]]
    n_cases: int
    about_cases: str
    cases: Sequence[Mapping[str, Any]]
    provenance: Mapping[str, str]
    notes: Sequence[str] = ()


def case_html(page: CasePage, *, words: Words = ENGLISH) -> str:
    """Return the page of a case."""
    return render("case.html", page, words)


def session_html(page: SessionPage, *, words: Words = ENGLISH) -> str:
    """Return the page of a session."""
    return render("session.html", page, words)


def cohort_html(page: CohortPage, *, words: Words = ENGLISH) -> str:
    """Return the page of a batch."""
    return render("cohort.html", page, words)


def render(template: str, page: object, words: Words) -> str:
    """Return a page in a language, with everything in it escaped."""
    return _environment(words.language).get_template(template).render(page=page)


@cache
def _environment(language: str) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    words = words_of(language)
    found = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, extensions=["jinja2.ext.i18n"],
    )  # fmt: skip
    found.install_gettext_translations(words.catalogue, newstyle=True)  # type: ignore[attr-defined]  # of the extension
    found.policies["ext.i18n.trimmed"] = True
    found.filters["data_uri"] = lambda png: f"data:image/png;base64,{b64encode(png).decode()}"
    found.filters["sign"] = lambda verdict: SIGNS.get(verdict, "–")
    found.filters["css_text"] = _css_text
    found.globals["notice"] = words(NOTICE)
    found.globals["language"] = language
    return found


def _css_text(text: str) -> Markup:
    """Return a text as a string of CSS, whatever is in it."""
    from markupsafe import Markup

    return Markup('"{}"').format(Markup("".join(c if c.isalnum() or c in " -" else f"\\{ord(c):x} " for c in text)))
