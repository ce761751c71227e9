"""The words of pages in other languages: every one is translated, and none goes past the catalogue."""

from __future__ import annotations

import gettext
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lesionlens.report import pages, words
from lesionlens.report.pages import CasePage, CohortPage, FindingPart, ReaderPart, SessionPage, render
from lesionlens.report.result_page import Head, Part, ResultPage, Sheet
from lesionlens.report.words import ENGLISH, LANGUAGES, LOCALES, Words, words_of
from web_pages import Elements

OTHERS = [name for name in LANGUAGES if name != "en"]
_PLACES = re.compile(r"%\(\w+\)s|</?code>")


class _Marked(gettext.NullTranslations):
    """A language in which every text of the catalogue stands in brackets."""

    def gettext(self, message: str) -> str:
        return f"⟦{message}⟧"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return f"⟦{msgid1 if n == 1 else msgid2}⟧"


class _Strict(gettext.NullTranslations):
    """What is asked where a catalogue has no answer."""

    def gettext(self, message: str) -> str:
        raise KeyError(message)

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        raise KeyError(msgid1)


@pytest.fixture(scope="module")
def messages(repository: Path) -> list[tuple[str, ...]]:
    """Return every text of pages, as the script finds them."""
    sys.path.insert(0, str(repository / "scripts"))
    try:
        import catalogues
    finally:
        sys.path.pop(0)
    return catalogues.messages()


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_is_translated(language: str, messages: list[tuple[str, ...]]) -> None:
    """With the same places for values and the same elements, or the page would lose them."""
    catalogue = words_of(language).catalogue
    catalogue.add_fallback(_Strict())

    assert len(messages) > 200
    for message in messages:
        found = (
            [catalogue.gettext(*message)] if len(message) == 1 else [catalogue.ngettext(*message, n) for n in (1, 2)]
        )
        for text, original in zip(found, message, strict=True):
            assert sorted(_PLACES.findall(text)) == sorted(_PLACES.findall(original)), message


@pytest.mark.parametrize("language", OTHERS)
def test_the_compiled_catalogue_is_that_of_the_source(language: str, tmp_path: Path) -> None:
    """What translators write is what readers see."""
    if shutil.which("msgfmt") is None:
        pytest.skip("no msgfmt; install gettext")
    source = LOCALES / language / "LC_MESSAGES" / "lesionlens.po"
    subprocess.run(["msgfmt", "-o", str(tmp_path / "made.mo"), str(source)], check=True)

    assert (tmp_path / "made.mo").read_bytes() == source.with_suffix(".mo").read_bytes()


def test_a_catalogue_that_lacks_a_text_is_noticed() -> None:
    """The test above can fail."""
    catalogue = words_of(OTHERS[0]).catalogue
    catalogue.add_fallback(_Strict())

    with pytest.raises(KeyError, match="no such text"):
        catalogue.gettext("no such text")


VALUE = "«v»"


def filled() -> Iterator[tuple[str, Any]]:
    """Yield every template with a page in which all values are marked."""
    read = {"reader": VALUE, "status": "complete", "flagged": True, "mode": "on their own", "minutes": VALUE}
    said = ReaderPart(VALUE, "accept", VALUE, None, [VALUE], VALUE, {VALUE: VALUE})
    parts = [said, ReaderPart(VALUE, None, None, None, [], VALUE, {}, [VALUE])]
    yield "case.html", CasePage(VALUE, [read], [FindingPart(VALUE, VALUE, parts)], {VALUE: VALUE}, [VALUE])
    counts = {"reader": VALUE} | dict.fromkeys(("accept", "reject", "unsure", "none", "drawn"), VALUE)
    progress = {"reader": VALUE} | dict.fromkeys(("complete", "partly", "untouched", "flagged", "minutes"), VALUE)
    pair = dict.fromkeys(("first", "second", "n", "share", "kappa"), VALUE)
    case = {"case": VALUE, "page": "x.html", "reads": [read], "findings": VALUE, "picture": None}
    yield "session.html", SessionPage("", [progress], [counts], [pair], [case], {VALUE: VALUE})
    row = {"label": VALUE, "what": VALUE, "n": VALUE, "figures": [VALUE]}
    odd = {"number": "«1»", "label": VALUE, "feature": VALUE, "value": VALUE, "median": VALUE, "z": VALUE}
    names = ("number", "name", "found", "volume", "largest", "probability", "why")
    cases = [dict.fromkeys(names, VALUE) | {"status": "done", "unusual": True, "png": b"x"}]
    texts = (None, VALUE, None, VALUE, VALUE)
    for statistics, outliers in (([row], [odd]), ([], [])):
        yield (
            "cohort.html",
            CohortPage(VALUE, VALUE, statistics, *texts, outliers, 2, VALUE, cases, {VALUE: VALUE}),
        )
    sheet = Sheet([Head(VALUE, VALUE, True, VALUE)], [[VALUE]], [VALUE], VALUE)
    yield "result.html", ResultPage(VALUE, VALUE, {VALUE: VALUE}, [Part(VALUE, [VALUE], (), [sheet])], {VALUE: VALUE})


def bare(text: str) -> str:
    """Return the letters of a page that neither the catalogue nor a value has put there."""
    elements = Elements(re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL))
    words = elements.text + " ".join(a.get("alt") or "" for _, a in elements.found)
    inner = re.sub(r"«[^«»]*»", "", words)
    return "".join(re.findall(r"[^\W\d_]+", re.sub(r"⟦[^⟦⟧]*⟧", "", inner)))


def test_no_text_of_a_template_goes_past_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendered in a language of brackets, every letter is in brackets or is a value."""
    marked = Words("marked", _Marked())
    monkeypatch.setattr(pages, "words_of", lambda _: marked)
    seen = set()
    for template, page in filled():
        seen.add(template)
        assert bare(render(template, page, marked)) == "", template

    assert seen | {"page.html"} == {path.name for path in (Path(pages.__file__).parent / "templates").iterdir()}
    assert bare("<p>⟦One⟧ and «two»</p>") == "and"


def test_english_needs_no_catalogue() -> None:
    """What the code says is what is shown; an unknown language is refused by the names of the others."""
    assert ENGLISH("%(n)s of 5", n=3) == "3 of 5"
    assert ENGLISH.many("%(n)s case", "%(n)s cases", 1) == "1 case"
    assert (ENGLISH.figure("1,234.5"), words_of("de").figure("1,234.5")) == (
        "1,234.5",
        "1\N{NARROW NO-BREAK SPACE}234,5",
    )
    assert words.words_of("en") is ENGLISH
