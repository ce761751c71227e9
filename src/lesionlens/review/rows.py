"""Cases and events as rows of the tables of a session, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from lesionlens.review.cases import CaseEntry
from lesionlens.review.events import Act, Event

__all__ = ["EVENT_COLUMNS", "case_rows", "event_of", "event_row", "finding_rows"]

EVENT_COLUMNS = "id, step, at, reader, case_id, finding, kind, value, mask, uid, imported"


def case_rows(cases: Sequence[CaseEntry]) -> Iterator[tuple[Any, ...]]:
    """Yield the row of each case."""
    for place, case in enumerate(cases):
        yield case.id, place, case.name, case.scan, case.results, json.dumps(dict(case.pins))


def finding_rows(cases: Sequence[CaseEntry]) -> Iterator[tuple[Any, ...]]:
    """Yield the row of each finding of the model."""
    for case in cases:
        for place, one in enumerate(case.findings):
            yield case.id, place, one.id, one.label_class, one.label, json.dumps(dict(one.statistics))


def event_row(event: Event) -> tuple[Any, ...]:
    """Return the row of an event, in the order of :data:`EVENT_COLUMNS`."""
    act = event.act
    said = (act.finding, act.kind, json.dumps(dict(act.value)), act.mask)
    return (event.id, event.step, event.at, event.reader, event.case, *said, event.uid, int(event.imported))


def event_of(row: tuple[Any, ...]) -> Event:
    """Return the event of a row."""
    number, step, at, reader, case, finding, kind, value, mask, uid, imported = row
    return Event(number, step, at, reader, case, Act(kind, finding, json.loads(value), mask), uid, bool(imported))
