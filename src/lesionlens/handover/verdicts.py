"""What a reader of a session said of the findings of one run, for those who take the run elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lesionlens.errors import InputError, ReadError, unknown_name
from lesionlens.review import Session
from lesionlens.sessions import digest_of

__all__ = ["Verdicts", "verdicts_on"]

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
    notes
        What a user must know: one sentence each.
    """

    reader: str = ""
    of_region: Mapping[tuple[str, int], str] = field(default_factory=dict)
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
    digest = digest_of(results / _RECORD)
    with Session.open(session, read_only=True) as found:
        case = next((name for name in found.case_ids if found.case(name).pins.get(_RECORD) == digest), None)
        if case is None:
            raise ReadError(f"{results} is no case of the session {session.name}; give the results that were judged.")
        who = _reader(found, reader)
        state = found.state(case, who)
        regions = {one.id: (one.label_class, one.label) for one in found.case(case).findings}
    verdicts = {
        regions[name]: one.verdict
        for name, one in state.findings.items()
        if name in regions and one.verdict is not None
    }
    edited = [name for name, one in state.findings.items() if one.edits or one.origin == "reader"]
    notes = []
    if len(verdicts) < len(regions):
        notes.append(f"{len(regions) - len(verdicts)} of {len(regions)} findings have no verdict of {who!r}.")
    if edited:
        notes.append(f"{len(edited)} findings were drawn or changed by {who!r}; the model's regions are written.")
    return Verdicts(who, verdicts, tuple(notes))


def _reader(session: Session, wanted: str | None) -> str:
    readers = session.readers
    if wanted is not None and wanted not in readers:
        raise InputError(unknown_name("reader of the session", wanted, readers))
    if wanted is None and len(readers) != 1:
        shown = ", ".join(readers) or "nobody"
        raise InputError(f"The session was read by {shown}; say by reader= (--reader) whose verdicts are meant.")
    return wanted or readers[0]
