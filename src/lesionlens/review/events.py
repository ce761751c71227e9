"""What readers did, as events that are only ever added: the state of a session is what they say.

An event is never changed and never taken away. Undo is another event, which says which step no longer counts; so undo,
redo, the trail of who did what when, and the time that a reader took come out of one list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from lesionlens.errors import InputError

__all__ = [
    "KINDS",
    "LOOKING",
    "VERDICTS",
    "Act",
    "Event",
    "Kind",
    "Verdict",
    "counting",
    "last_step",
    "last_undo",
    "reading_seconds",
]

Kind = Literal[
    "opened", "verdict", "category", "confidence", "comment", "flag", "edit", "measured", "added", "split", "merged",
    "viewed", "done", "undo", "revealed",
]  # fmt: skip
Verdict = Literal["accept", "reject", "unsure"]

KINDS: tuple[Kind, ...] = get_args(Kind)
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

CONFIDENCES = range(1, 6)

# What each kind says in its value, and of which type; every key is required.
_VALUES: Mapping[Kind, Mapping[str, type | tuple[type, ...]]] = {
    "opened": {},
    "verdict": {"verdict": str},
    "category": {"category": str},
    "confidence": {"confidence": int},
    "comment": {"text": str},
    "flag": {"flag": bool},
    "edit": {},
    "measured": {"length_mm": (int, float), "ends_ras": list},
    "added": {"statistics": dict},
    "split": {"into": list},
    "merged": {"into": str},
    "viewed": {"centre_ras": list, "zoom": (int, float)},
    "done": {},
    "undo": {"step": int},
    "revealed": {"readers": list},
}
# What it may say besides: the plane in which somebody looked (sessions of before say none).
_MAY_SAY: Mapping[Kind, Mapping[str, type | tuple[type, ...]]] = {"viewed": {"plane": str}}
# About a whole case; all others are about one finding.
OF_CASES: frozenset[Kind] = frozenset({"opened", "flag", "done", "undo", "revealed"})
# May be about either: a position is that of the finding that was looked at, if any.
_OF_BOTH: frozenset[Kind] = frozenset({"viewed"})
# Looking is no decision that could be taken back, and what was seen stays seen.
LOOKING: frozenset[Kind] = frozenset({"opened", "viewed", "revealed"})
_NO_STEP: frozenset[Kind] = LOOKING | {"undo"}
# Voxels come with it.
WITH_MASK: frozenset[Kind] = frozenset({"edit", "added"})

# A reader who did nothing for so long was away.
IDLE_SECONDS = 300.0


@dataclass(frozen=True)
class Act:
    """What a reader does, before it is stored.

    Parameters
    ----------
    kind
        One of :data:`KINDS`.
    finding
        Which finding; empty where it is about the case.
    value
        What the kind needs, of plain JSON values.
    mask
        Packed voxels (:mod:`lesionlens.review.masks`) of an edit or an added finding.

    Raises
    ------
    InputError
        If the value does not suit the kind.
    """

    kind: Kind
    finding: str = ""
    value: Mapping[str, Any] = field(default_factory=dict)
    mask: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"An event is one of {', '.join(KINDS)}; found {self.kind!r}.")
        wanted = {**_VALUES[self.kind], **_MAY_SAY.get(self.kind, {})}
        if not set(_VALUES[self.kind]) <= set(self.value) <= set(wanted):
            raise InputError(f"An event {self.kind!r} says {sorted(wanted)}; found {sorted(self.value)}.")
        for name, value in self.value.items():
            types = wanted[name]
            if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
                raise InputError(f"{name!r} of an event {self.kind!r} has the wrong type; found {value!r}.")
        self._check_choices()
        if self.kind not in _OF_BOTH and bool(self.finding) is (self.kind in OF_CASES):
            what = "the case" if self.kind in OF_CASES else "one finding"
            raise InputError(f"An event {self.kind!r} is about {what}; found finding {self.finding!r}.")
        if bool(self.mask) is not (self.kind in WITH_MASK):
            raise InputError(f"Voxels belong to events {sorted(WITH_MASK)}, and only to them; found {self.kind!r}.")

    def _check_choices(self) -> None:
        if self.kind == "verdict" and self.value["verdict"] not in VERDICTS:
            raise InputError(f"A verdict is one of {', '.join(VERDICTS)}; found {self.value['verdict']!r}.")
        if self.kind == "confidence" and self.value["confidence"] not in CONFIDENCES:
            raise InputError(f"A confidence is a number from 1 to 5; found {self.value['confidence']}.")


@dataclass(frozen=True)
class Event:
    """An act as it was stored.

    Parameters
    ----------
    id
        Number of the event in its session, ascending from 1.
    step
        Number of the first event of those that were stored together: they are undone together.
    at
        When, UTC, ISO 8601.
    reader, case
        Who, and in which case.
    act
        What.
    uid
        Its name in every copy of the session.
    imported
        It came from another copy, without names and paths.
    """

    id: int
    step: int
    at: str
    reader: str
    case: str
    act: Act
    uid: str = ""
    imported: bool = False


def counting(events: Sequence[Event]) -> list[Event]:
    """Return the events of one reader in one case that have not been undone, without the undoing itself.

    An undo may itself be undone; then what it had taken back counts again.
    """
    gone: set[int] = set()
    for event in reversed(events):
        if event.act.kind == "undo" and event.step not in gone:
            gone.add(event.act.value["step"])
    return [event for event in events if event.step not in gone and event.act.kind != "undo"]


def last_step(events: Sequence[Event]) -> int | None:
    """Return the step that an undo of one reader in one case would take back, or None where there is nothing."""
    return next((event.step for event in reversed(counting(events)) if event.act.kind not in _NO_STEP), None)


def last_undo(events: Sequence[Event]) -> int | None:
    """Return the undo that a redo would take back: only while nothing was decided after it."""
    undone = {event.step: event.act.value["step"] for event in events if event.act.kind == "undo"}
    redone = {step for step in undone.values() if step in undone}
    for event in reversed(events):
        if event.act.kind not in _NO_STEP:
            return None
        if event.step in undone and undone[event.step] not in undone and event.step not in redone:
            return event.step
    return None


def reading_seconds(events: Iterable[Event]) -> float:
    """Return for how long one reader worked on one case: the time between events, without breaks.

    A gap of more than :data:`IDLE_SECONDS` counts as a break and is left out whole, as is the time between the last
    event before the case was opened again and that opening.
    """
    total, before = 0.0, None
    for event in events:
        now = datetime.fromisoformat(event.at)
        if before is not None and event.act.kind != "opened":
            gap = (now - before).total_seconds()
            total += gap if 0 <= gap <= IDLE_SECONDS else 0.0
        before = now
    return total
