"""Portable copies of sessions read back, and several of them made one.

Merging takes the union of the events. Each reader's events keep their order; whatever is in several copies is there
once. So it does not matter in which order copies are given, and a copy merged with itself is itself.
"""

from __future__ import annotations

import heapq
import json
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from lesionlens.errors import InputError, LesionLensError, ReadError
from lesionlens.review.cases import CaseEntry, Finding
from lesionlens.review.events import Act, Event, counting
from lesionlens.review.portable import PORTABLE_SCHEMA, Copy, Step, copy_of, events_of
from lesionlens.review.state import fold
from lesionlens.review.store import Session
from lesionlens.seals import SEAL, checked

__all__ = ["Conflict", "merge", "read_copy"]

_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True)
class Conflict:
    """One reader decided differently in two copies; all of it is kept, and the later decision counts.

    Parameters
    ----------
    reader, case, finding
        Who, and about what.
    what
        What differs: verdict, category, confidence, mask, replaced by, or the finding itself, where two of the reader's
        own have one name.
    found
        What each copy says, by its name.
    """

    reader: str
    case: str
    finding: str
    what: str
    found: Mapping[str, str]

    def __str__(self) -> str:
        said = ", ".join(f"{value} in {name}" for name, value in self.found.items())
        return f"{self.reader}, {self.case}, {self.finding}: {self.what} is {said}; the later one counts"


def read_copy(path: Path) -> Copy:
    """Read a portable copy, or make one of a session file.

    Raises
    ------
    ReadError
        If it is neither, is damaged, or of a newer version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error.strerror}.") from None
    if content.startswith(_SQLITE):
        with Session.open(path, read_only=True) as session:
            return copy_of(session)
    try:
        document = json.loads(content)
        version = document["schema_version"]
        if version != PORTABLE_SCHEMA:
            raise ReadError(
                f"{path} has schema version {version}; this LesionLens reads version {PORTABLE_SCHEMA}. Update it."
            )
        wrong = checked(path)[1] if SEAL in document else None  # older ones carry none
        if wrong:
            raise ReadError(f"{path} {wrong}; ask for the copy again.")
        return _copy(document, path.name)
    except ReadError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, LesionLensError) as error:
        why = " ".join(str(error).split())
        raise ReadError(
            f"{path} is no portable session that 'lesionlens review export --portable' wrote, or is damaged:"
            f" {type(error).__name__} {why}."
        ) from None


def _copy(document: Mapping[str, Any], name: str) -> Copy:
    about = {str(key): str(value) for key, value in document["session"].items()}
    if not about["uid"]:
        raise ValueError("the session has no uid")
    cases = tuple(map(_case, document["cases"]))
    steps = tuple(map(_step, document["steps"]))
    copy = Copy(about, cases, steps, name)
    uids = [uid for step in steps for uid, _ in step.acts]
    if len(set(uids)) < len(uids) or "" in uids:
        raise ValueError("events have no names of their own")
    strangers = {step.case for step in steps} - {case.id for case in cases}
    if strangers:
        raise ValueError(f"there is no case {sorted(strangers)[0]!r}")
    events_of(copy)  # every step that is undone is there, before its undo
    return copy


def _case(row: Mapping[str, Any]) -> CaseEntry:
    findings = tuple(
        Finding(_text(f["id"]), _text(f["class"]), int(f["label"]), dict(f["statistics"])) for f in row["findings"]
    )
    pins = {_text(name): _text(digest) for name, digest in row["pins"].items()}
    return CaseEntry(_text(row["id"]), row["id"], "", "", pins, findings)


def _step(row: Mapping[str, Any]) -> Step:
    undoes = ""
    acts = []
    for act in row["acts"]:
        value = act["value"]
        if act["kind"] == "undo":
            undoes, value = _text(value["step"]), {"step": 0}
        mask = b64decode(act.get("mask", ""), validate=True)
        acts.append((_text(act["uid"]), Act(act["kind"], _text(act.get("finding", "")), value, mask)))
    if not acts:
        raise ValueError("a step is empty")
    return Step(_text(row["reader"]), _text(row["case"]), _text(row["at"]), tuple(acts), undoes)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, found {value!r}")
    return value


def merge(copies: Sequence[Copy]) -> tuple[Copy, tuple[Conflict, ...]]:
    """Make one of several copies of a session.

    Parameters
    ----------
    copies
        In any order.

    Returns
    -------
    merged, conflicts
        All events, those of each reader in their order, and else by time; and where a reader has gone on in two
        copies of a case and decided differently.

    Raises
    ------
    InputError
        If they are not of one session, or the same event differs.
    """
    if not copies:
        raise InputError("There is nothing to merge: expected copies of a session, found none.")
    first = copies[0]
    for other in copies[1:]:
        _check_same(first, other)
    steps: dict[str, Step] = {}
    for copy in copies:
        for step in copy.steps:
            if steps.setdefault(step.uid, step) != step:
                raise InputError(
                    f"A step of {step.reader!r} in {step.case!r} ({step.uid[:8]}, {step.at}) is not the same in all"
                    f" copies; {copy.name} was changed, or another one was."
                )
    merged = Copy(first.about, first.cases, tuple(_ordered(copies, steps)), "the merged session")
    return merged, tuple(_conflicts(copies))


def _check_same(first: Copy, other: Copy) -> None:
    if first.about.get("uid") != other.about.get("uid"):
        raise InputError(f"{other.name} is not a copy of the session of which {first.name} is one.")
    if first.cases != other.cases:
        differs = next((a.id for a, b in zip(first.cases, other.cases, strict=False) if a != b), "their number")
        raise InputError(f"The cases of {other.name} and {first.name} differ: {differs}. They rest on other results.")


def _ordered(copies: Sequence[Copy], steps: Mapping[str, Step]) -> Iterator[Step]:
    """Yield the steps by time, but never one before another that a copy has earlier from the same reader."""
    after: dict[str, set[str]] = {uid: set() for uid in steps}
    waits: dict[str, int] = dict.fromkeys(steps, 0)
    for copy in copies:
        last: dict[str, str] = {}
        for step in copy.steps:
            before = last.get(step.reader)
            if before is not None and step.uid not in after[before]:
                after[before].add(step.uid)
                waits[step.uid] += 1
            last[step.reader] = step.uid
    ready = [(steps[uid].at, uid) for uid, n in waits.items() if n == 0]
    heapq.heapify(ready)
    done = 0
    while ready:
        _, uid = heapq.heappop(ready)
        yield steps[uid]
        done += 1
        for other in after[uid]:
            waits[other] -= 1
            if waits[other] == 0:
                heapq.heappush(ready, (steps[other].at, other))
    if done < len(steps):
        raise InputError("The copies have the events of a reader in different orders; one of them was changed.")


def _conflicts(copies: Sequence[Copy]) -> Iterator[Conflict]:
    """Yield where a reader went on in two copies of one case, and came to different decisions."""
    reads = [_reads(copy) for copy in copies]
    names = [copy.name or f"copy {n}" for n, copy in enumerate(copies, start=1)]
    for (name, first), (other, second) in combinations(list(zip(names, reads, strict=True)), 2):
        for place in sorted(first.keys() & second.keys()):
            a, b = first[place], second[place]
            if a.events - b.events and b.events - a.events:
                for finding, what in sorted(a.said.keys() & b.said.keys()):
                    (key, one), (other_key, another) = a.said[finding, what], b.said[finding, what]
                    if key != other_key:
                        yield Conflict(*place, finding, what, {name: one, other: another})


@dataclass(frozen=True)
class _Read:
    """What one reader did in one case of one copy: names of the events; by finding and subject what was decided.

    A decision is a key that tells two apart, and words for people.
    """

    events: frozenset[str]
    said: Mapping[tuple[str, str], tuple[object, str]]


def _reads(copy: Copy) -> dict[tuple[str, str], _Read]:
    findings = {case.id: [finding.id for finding in case.findings] for case in copy.cases}
    events: dict[tuple[str, str], list[Event]] = {}
    for event in events_of(copy):
        events.setdefault((event.reader, event.case), []).append(event)
    return {
        place: _Read(frozenset(event.uid for event in found), _said(findings[place[1]], found))
        for place, found in events.items()
    }


def _said(findings: Sequence[str], events: Sequence[Event]) -> dict[tuple[str, str], tuple[object, str]]:
    uids = {event.id: event.uid for event in events}
    added = {event.act.finding: event.uid for event in counting(events) if event.act.kind == "added"}
    said: dict[tuple[str, str], tuple[object, str]] = {}
    for name, state in fold(findings, events).findings.items():
        said[name, "the finding itself"] = added.get(name), "drawn by the reader"
        edits = tuple(uids[number] for number in state.edits)
        said[name, "mask"] = edits, f"edited {len(edits)} times" if edits else "not edited"
        for what in ("verdict", "category", "confidence", "replaced_by"):
            value = getattr(state, what)
            words = " and ".join(value) if isinstance(value, tuple) else str(value)
            said[name, what.replace("_", " ")] = value, words if value else "not given"
    return said
