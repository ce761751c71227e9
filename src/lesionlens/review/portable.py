"""Sessions to hand on: everything that readers did, nothing that leads to a patient, in one file of plain text.

A copy holds the cases by number with the hashes of what they rest on, the model's findings, and every event. Names of
cases, scans, folders and paths stay behind. What readers wrote is kept but for what names a case or its files, UIDs and
paths: these become ``[removed]``. Steps are named by their events, not numbered, so that copies can be merged.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from lesionlens.io.identity import REMOVED, Identities, hide_uids
from lesionlens.review.cases import CaseEntry
from lesionlens.review.events import Act, Event
from lesionlens.review.store import Session
from lesionlens.seals import sealed_lines

__all__ = [
    "PORTABLE_SCHEMA",
    "Cleaner",
    "Copy",
    "Step",
    "case_codes",
    "cleaner",
    "copy_of",
    "events_of",
    "to_bytes",
]

Cleaner = Callable[[str], str]

# Version of the file; a newer one is refused, not guessed at.
PORTABLE_SCHEMA = 1
_NOTICE = "Research use only. Not a medical device; not a diagnosis."

_CODE = re.compile(r"case-[0-9]+")
# A file system's root or a drive, and at least one folder.
_PATH = re.compile(r"(?<![\w/])(?:[A-Za-z]:[\\/]|\\\\|/|~/)[^\s\\/]+[\\/]\S+")
# Words that name files everywhere and nobody anywhere.
_PLAIN = frozenset(
    {"scan", "scans", "image", "images", "result", "results", "case", "cases", "data", "study", "series", "patient"}
    | {"subject", "output", "outputs", "home", "user", "users", "work", "temp", "brain", "head", "lesion", "lesions"}
    | {"lung", "liver", "abdomen", "flair", "dicom", "nifti", "nii", "axial", "coronal", "sagittal", "baseline"}
    | {"followup", "small", "large", "left", "right", "contrast"}
)
_SHORTEST = 3


@dataclass(frozen=True)
class Step:
    """What a reader recorded at once.

    Parameters
    ----------
    reader, case, at
        Who, in which case, and when (UTC, ISO 8601).
    acts
        What, with the name of each event. An undo has step 0.
    undoes
        Name of the first event of the step that is taken back; empty if this is no undo.
    """

    reader: str
    case: str
    at: str
    acts: tuple[tuple[str, Act], ...]
    undoes: str = ""

    @property
    def uid(self) -> str:
        """Name of the first event."""
        return self.acts[0][0]


@dataclass(frozen=True)
class Copy:
    """One copy of a session, without names and paths.

    Parameters
    ----------
    about
        Facts of the session; ``uid`` is the same in all copies.
    cases
        Without names, scans and results.
    steps
        In the order in which they were recorded here.
    name
        What to call this copy.
    """

    about: Mapping[str, str]
    cases: tuple[CaseEntry, ...]
    steps: tuple[Step, ...] = field(repr=False)
    name: str = ""


def copy_of(session: Session) -> Copy:
    """Return what of a session may be handed on."""
    entries = [session.case(name) for name in session.case_ids]
    codes = case_codes([entry.id for entry in entries])
    clean = cleaner(entries)
    about = {name: clean(text) if name == "title" else hide_uids(text) for name, text in session.about.items()}
    cases = tuple(CaseEntry(codes[e.id], codes[e.id], "", "", e.pins, e.findings) for e in entries)
    return Copy(about, cases, tuple(_steps(session.events(), codes, clean)), session.path.name)


def case_codes(names: Sequence[str]) -> dict[str, str]:
    """Return what to call each case where names of patients must not be shown: a number, the same in every copy."""
    if all(_CODE.fullmatch(name) for name in names):
        return {name: name for name in names}
    digits = max(3, len(str(len(names))))
    return {name: f"case-{n:0{digits}}" for n, name in enumerate(names, start=1)}


def _steps(events: Sequence[Event], codes: Mapping[str, str], clean: Cleaner) -> Iterator[Step]:
    uids = {event.id: event.uid for event in events}
    steps: dict[int, list[Event]] = {}
    for event in events:
        steps.setdefault(event.step, []).append(event)
    for step in steps.values():
        first = step[0]
        acts = [(e.uid, e.act if e.imported else _cleaned(e.act, clean)) for e in step]
        undoes = ""
        if first.act.kind == "undo":
            undoes = uids[first.act.value["step"]]
            acts = [(first.uid, Act("undo", value={"step": 0}))]
        yield Step(first.reader, codes[first.case], first.at, tuple(acts), undoes)


def _cleaned(act: Act, clean: Cleaner) -> Act:
    """Return an act with what was written freely cleaned."""
    if act.kind in ("comment", "category", "added"):
        return replace(act, value=_walk(act.value, clean))
    return act


def _walk(value: Any, clean: Cleaner) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {name: _walk(part, clean) for name, part in value.items()}
    return [_walk(part, clean) for part in value] if isinstance(value, list | tuple) else value


def cleaner(entries: Iterable[CaseEntry]) -> Cleaner:
    """Return what removes the names of cases and files, UIDs and paths from a text."""
    words = [set(_words(entry)) for entry in entries]
    everywhere = set.intersection(*words) if len(words) > 1 else set()
    known = Identities()
    known.remember_texts(sorted(set().union(*words) - everywhere))

    def clean(text: str) -> str:
        return known.mask(hide_uids(_PATH.sub(REMOVED, text)))

    return clean


def _words(entry: CaseEntry) -> Iterator[str]:
    """Yield the words by which people call a case: its name, and the last two names of its paths."""
    names = [*PurePath(entry.scan).parts[-2:], *PurePath(entry.results).parts[-2:]]
    names += [entry.name] if entry.name != entry.id else []
    names += [] if _CODE.fullmatch(entry.id) else [entry.id]
    for word in (word for name in names for word in re.split(r"[\W_]+", name)):
        if len(word) >= _SHORTEST and word.casefold() not in _PLAIN:
            yield word


def events_of(copy: Copy) -> list[Event]:
    """Return the events of a copy as a session stores them, numbered from 1."""
    numbers: dict[str, int] = {}
    events: list[Event] = []
    for step in copy.steps:
        first = len(events) + 1
        numbers[step.uid] = first
        for uid, act in step.acts:
            told = Act("undo", value={"step": numbers[step.undoes]}) if act.kind == "undo" else act
            events.append(Event(len(events) + 1, first, step.at, step.reader, step.case, told, uid, imported=True))
    return events


def to_bytes(copy: Copy) -> bytes:
    """Return the sealed file of a copy: JSON, UTF-8, a line for each case and step; a copy always gives the same."""
    head = {"schema_version": PORTABLE_SCHEMA, "notice": _NOTICE, "session": dict(copy.about)}
    lines = [f"{_json(name)}: {_json(value)}" for name, value in head.items()]
    lines += [f'"cases": [\n{_rows(map(_case, copy.cases))}\n]', f'"steps": [\n{_rows(map(_step, copy.steps))}\n]']
    return sealed_lines("{\n" + ",\n".join(lines)).encode()


def _rows(rows: Iterable[Mapping[str, Any]]) -> str:
    return ",\n".join(map(_json, rows))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=True)


def _case(entry: CaseEntry) -> dict[str, Any]:
    findings = [
        {"id": f.id, "class": f.label_class, "label": f.label, "statistics": dict(f.statistics)} for f in entry.findings
    ]
    return {"id": entry.id, "pins": dict(entry.pins), "findings": findings}


def _step(step: Step) -> dict[str, Any]:
    said = {"reader": step.reader, "case": step.case, "at": step.at}
    return {**said, "acts": [_act(uid, act, step.undoes) for uid, act in step.acts]}


def _act(uid: str, act: Act, undoes: str) -> dict[str, Any]:
    about = {"finding": act.finding} if act.finding else {}
    value = {"step": undoes} if act.kind == "undo" else dict(act.value)
    mask = {"mask": b64encode(act.mask).decode()} if act.mask else {}
    return {"uid": uid, "kind": act.kind, **about, "value": value, **mask}
