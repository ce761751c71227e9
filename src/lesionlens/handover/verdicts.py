"""What a reader of a session said of the findings of one run, for those who take the run elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lesionlens.errors import InputError, ReadError, unknown_name
from lesionlens.handover.outlines import Outlines, outlines_of
from lesionlens.results import CaseResult
from lesionlens.review import Session
from lesionlens.sessions import REGIONS, digest_of

__all__ = ["Verdicts", "outlines_on", "verdicts_on"]

_RECORD = "record.json"


@dataclass(frozen=True)
class Verdicts:
    """One reader's verdicts on the regions of a run.

    Parameters
    ----------
    reader
        Who gave them.
    of_region
        By class and number of the region; regions without a verdict are not in it.
    of_finding
        By name in the session, also of findings that the reader drew.
    changed
        Whether the reader drew findings, or changed some; :func:`outlines_on` says how they are now.
    notes
        What a user must know: one sentence each.
    """

    reader: str = ""
    of_region: Mapping[tuple[str, int], str] = field(default_factory=dict)
    of_finding: Mapping[str, str] = field(default_factory=dict)
    changed: bool = False
    notes: tuple[str, ...] = ()


def verdicts_on(session: Path, results: Path, reader: str | None = None) -> Verdicts:
    """Return what a reader said of the findings of a run.

    Parameters
    ----------
    session
        The session, of which the run is a case.
    results
        Folder of the run.
    reader
        Whose verdicts; not needed where there is one reader.

    Raises
    ------
    ReadError
        If the run is no case of the session.
    InputError
        If there is no such reader, or none of several was named.
    """
    with Session.open(session, read_only=True) as found:
        case = _case(found, results)
        who = _reader(found, reader)
        state = found.state(case, who)
        regions = {one.id: (one.label_class, one.label) for one in found.case(case).findings}
    said = {name: one.verdict for name, one in state.findings.items() if one.verdict is not None}
    verdicts = {regions[name]: verdict for name, verdict in said.items() if name in regions}
    changed = any(one.edits or one.origin == "reader" for one in state.findings.values())
    asked = [name for name, one in state.findings.items() if not one.replaced_by]
    waiting = [name for name in asked if name not in said]
    notes = [f"{len(waiting)} of {len(asked)} findings have no verdict of {who!r}."] if waiting else []
    return Verdicts(who, verdicts, said, changed, tuple(notes))


def outlines_on(session: Path, results: Path, reader: str, result: CaseResult) -> Outlines:
    """Return the regions of a run as a reader left them.

    Parameters
    ----------
    session, results, reader
        As of :func:`verdicts_on`.
    result
        The run, read from the folder.

    Raises
    ------
    ReadError
        If the run is no case of the session, or its regions are others.
    """
    with Session.open(session, read_only=True) as found:
        case = _case(found, results)
        pins = {name: digest for name, digest in found.case(case).pins.items() if name.startswith(REGIONS)}
        if others := [name for name, digest in pins.items() if digest_of(results / name) != digest]:
            raise ReadError(f"{', '.join(others)} in {results} changed since the session was made; restore it.")
        return outlines_of(found, case, reader, result)


def _case(session: Session, results: Path) -> str:
    """Return the case that a run is."""
    digest = digest_of(results / _RECORD)
    case = next((name for name in session.case_ids if session.case(name).pins.get(_RECORD) == digest), None)
    if case is None:
        raise ReadError(f"{results} is no case of the session {session.path.name}; give the results that were judged.")
    return case


def _reader(session: Session, wanted: str | None) -> str:
    readers = session.readers
    if wanted is not None and wanted not in readers:
        raise InputError(unknown_name("reader of the session", wanted, readers))
    if wanted is None and len(readers) != 1:
        shown = ", ".join(readers) or "nobody"
        raise InputError(f"The session was read by {shown}; say by reader= (--reader) whose verdicts are meant.")
    return wanted or readers[0]
