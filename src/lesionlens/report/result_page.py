"""What the report of one case, or of one evaluation, consists of; texts are as they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lesionlens.report.pages import Picture, render
from lesionlens.report.words import ENGLISH, Words

__all__ = ["Head", "Part", "ResultPage", "Sheet", "result_html"]


@dataclass(frozen=True)
class Head:
    """The head of a column.

    Parameters
    ----------
    name
        What people read.
    unit
        Of the values; empty where there is none.
    number
        Whether the values are numbers, which stand to the right.
    meaning
        Definition, shown below the table.
    """

    name: str
    unit: str = ""
    number: bool = False
    meaning: str = ""


@dataclass(frozen=True)
class Sheet:
    """A table: its columns, its rows, and what must be said below it."""

    heads: Sequence[Head]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    caption: str = ""


@dataclass(frozen=True)
class Part:
    """A part of a page under a heading: paragraphs, tables, pictures, and text that is HTML already.

    Parameters
    ----------
    title
        The heading.
    paragraphs
        Before everything else.
    pictures, sheets
        Shown in this order.
    html
        Made by LesionLens from text that was escaped: a model card.
    narrow
        Whether two pictures stand beside each other.
    apart
        Whether the part begins on a new page where it is printed.
    """

    title: str
    paragraphs: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    sheets: Sequence[Sheet] = ()
    html: str = field(default="", repr=False)
    narrow: bool = False
    apart: bool = False


@dataclass(frozen=True)
class ResultPage:
    """A whole report.

    Parameters
    ----------
    title, lead
        First lines.
    facts
        What the case is, and what was found, in a few rows.
    parts
        In their order.
    provenance
        What it all rests on.
    notes
        What a reader of the page must know before anything else.
    """

    title: str
    lead: str
    facts: Mapping[str, str]
    parts: Sequence[Part]
    provenance: Mapping[str, str]
    notes: Sequence[str] = ()


def result_html(page: ResultPage, *, words: Words = ENGLISH) -> str:
    """Return the page as HTML that needs no other file."""
    return render("result.html", page, words)
