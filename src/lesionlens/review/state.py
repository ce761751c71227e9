"""What events come to: the findings of a case as one reader left them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lesionlens.review.events import LOOKING, Event, Verdict, counting

__all__ = ["CaseState", "FindingState", "Measurement", "Status", "fold"]

Status = Literal["untouched", "partly", "complete"]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Measurement:
    """A line that a reader drew: its length in mm and its ends in world mm, RAS+."""

    length_mm: float
    ends_ras: tuple[Point, Point]


@dataclass(frozen=True)
class FindingState:
    """One finding as a reader left it.

    Parameters
    ----------
    id
        Its name in the session.
    origin
        Who found it: the model or the reader.
    verdict, category, confidence
        The last ones given; None without.
    comments
        In the order in which they were written.
    edits
        Numbers of the events that changed its voxels, in their order.
    measurements
        Lines drawn.
    replaced_by
        Findings that it was split into or merged with; it needs no verdict then.
    """

    id: str
    origin: Literal["model", "reader"] = "model"
    verdict: Verdict | None = None
    category: str | None = None
    confidence: int | None = None
    comments: tuple[str, ...] = ()
    edits: tuple[int, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    replaced_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaseState:
    """A case as one reader left it.

    Parameters
    ----------
    findings
        By name, the model's first in their order, then the reader's own.
    done
        The reader said so.
    flagged
        Marked by the reader, to be looked at again.
    touched
        Anything was decided.
    view
        Where the reader looked last: finding (or empty), centre in world mm (RAS+), zoom; None before.
    revealed
        Whose verdicts the reader has been shown, in that order.
    """

    findings: Mapping[str, FindingState]
    done: bool = False
    flagged: bool = False
    touched: bool = False
    view: tuple[str, Point, float] | None = None
    revealed: tuple[str, ...] = ()

    @property
    def open(self) -> tuple[str, ...]:
        """Findings that still need a verdict."""
        return tuple(f.id for f in self.findings.values() if f.verdict is None and not f.replaced_by)

    @property
    def status(self) -> Status:
        """Complete only if the reader said so and no finding waits; a case that was partly read never is."""
        if self.done and not self.open:
            return "complete"
        return "partly" if self.touched else "untouched"


def fold(findings: Sequence[str], events: Sequence[Event]) -> CaseState:
    """Return the state of a case.

    Parameters
    ----------
    findings
        Names of the model's findings, in their order.
    events
        Those of one reader in that case, in their order.
    """
    counted = counting(events)
    states = {name: FindingState(name) for name in findings}
    for event in counted:
        act = event.act
        if act.kind == "added":
            states[act.finding] = FindingState(act.finding, origin="reader")
        elif act.finding in states:
            states[act.finding] = _after(states[act.finding], event)
    flags = [bool(e.act.value["flag"]) for e in counted if e.act.kind == "flag"]
    return CaseState(
        states,
        done=_done(counted),
        flagged=bool(flags and flags[-1]),
        touched=any(e.act.kind not in LOOKING for e in counted),
        view=_view(counted),
        revealed=_revealed(counted),
    )


def _after(state: FindingState, event: Event) -> FindingState:
    """Return a finding after an event about it."""
    value = event.act.value
    match event.act.kind:
        case "verdict":
            return replace(state, verdict=value["verdict"])
        case "category":
            return replace(state, category=value["category"])
        case "confidence":
            return replace(state, confidence=value["confidence"])
        case "comment":
            return replace(state, comments=(*state.comments, value["text"]))
        case "edit":
            return replace(state, edits=(*state.edits, event.id))
        case "measured":
            first, last = (_point(end) for end in value["ends_ras"])
            line = Measurement(float(value["length_mm"]), (first, last))
            return replace(state, measurements=(*state.measurements, line))
        case "split":
            return replace(state, replaced_by=tuple(value["into"]))
        case "merged":
            return replace(state, replaced_by=(value["into"],))
        case _:
            return state


def _done(counted: Iterable[Event]) -> bool:
    """Say whether the case was closed and not opened by a decision since."""
    done = False
    for event in counted:
        if event.act.kind == "done":
            done = True
        elif event.act.kind == "added":
            done = False  # a new finding is not judged yet
    return done


def _revealed(counted: Iterable[Event]) -> tuple[str, ...]:
    names = (str(name) for e in counted if e.act.kind == "revealed" for name in e.act.value["readers"])
    return tuple(dict.fromkeys(names))


def _view(counted: Sequence[Event]) -> tuple[str, Point, float] | None:
    for event in reversed(counted):
        if event.act.kind == "viewed":
            return event.act.finding, _point(event.act.value["centre_ras"]), float(event.act.value["zoom"])
    return None


def _point(numbers: Sequence[float]) -> Point:
    r, a, s = map(float, numbers)
    return r, a, s
