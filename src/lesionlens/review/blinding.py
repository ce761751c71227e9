"""Who may see what: readers are blind to each other until all have finished a case, and decide together after that.

Nobody sees another reader's events in a case before an event says so (``revealed``), and that is only taken when those
readers have closed the case, and the one who looks has not begun it or has closed it as well. It is never taken back:
what was decided before it was decided blind, and only that counts as a reader's own reading.

In a session that is *model-blind* the model's findings are revealed in the same way, under the name ``model``: a reader
first marks what they find on their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lesionlens.errors import InputError
from lesionlens.review.cases import Finding
from lesionlens.review.events import Act, Event, Verdict
from lesionlens.review.rules import MODEL
from lesionlens.review.state import CaseState, FindingState, fold
from lesionlens.review.store import Session

__all__ = [
    "Beside",
    "Mode",
    "blinded_events",
    "blinded_state",
    "mode",
    "reveal",
    "side_by_side",
    "visible_events",
    "visible_findings",
    "waited_for",
]

Mode = Literal["independent", "consensus"]


def mode(session: Session, case: str, reader: str) -> Mode:
    """Say how a reader reads a case: on their own, or after they were shown what others say."""
    return "consensus" if set(session.state(case, reader).revealed) - {MODEL} else "independent"


def visible_events(session: Session, case: str, reader: str) -> list[Event]:
    """Return the events of a case that a reader may see: their own, and those of readers revealed to them."""
    shown = {reader, *session.state(case, reader).revealed}
    return [event for event in session.events(case) if event.reader in shown]


def visible_findings(session: Session, case: str, reader: str) -> tuple[Finding, ...]:
    """Return the model's findings that a reader may see: in a model-blind session none before they were revealed."""
    if session.model_blind and MODEL not in session.state(case, reader).revealed:
        return ()
    return session.case(case).findings


def waited_for(session: Session, case: str, of: Sequence[str]) -> tuple[str, ...]:
    """Return which readers have not finished a case yet; what they say is shown to nobody before."""
    return tuple(name for name in of if name != MODEL and session.state(case, name).status != "complete")


def reveal(session: Session, case: str, reader: str, of: Sequence[str]) -> CaseState:
    """Show a reader what others say of a case, and record that; the model is shown with them.

    Parameters
    ----------
    session
        Open for writing.
    case, reader
        Who looks, and where.
    of
        Readers who have closed the case, or :data:`MODEL` alone in a session that is blind to the model.

    Raises
    ------
    InputError
        If one of them has not finished, or the one who looks is in the middle of reading the case.
    SessionError
        If it could not be recorded: then nothing may be shown.
    """
    strangers = [name for name in of if name != MODEL and name not in session.readers]
    if not of:
        raise InputError(f"Say whose verdicts to show; readers: {', '.join(session.readers)}; found nobody.")
    if strangers:
        raise InputError(f"Nobody called {strangers[0]!r} reads this session; readers: {', '.join(session.readers)}.")
    names = [*dict.fromkeys(of), *([MODEL] if session.model_blind and MODEL not in of else [])]
    seen = set(session.state(case, reader).revealed)
    if new := [name for name in names if name not in seen]:
        session.record(reader, case, [Act("revealed", value={"readers": new})])
    return session.state(case, reader)


def blinded_events(events: Sequence[Event]) -> list[Event]:
    """Return what one reader did in one case before they were shown what other readers say."""
    for n, event in enumerate(events):
        if event.act.kind == "revealed" and set(event.act.value["readers"]) - {MODEL}:
            return list(events[:n])
    return list(events)


def blinded_state(session: Session, case: str, reader: str) -> CaseState:
    """Return a case as a reader left it before they were shown what other readers say."""
    findings = [finding.id for finding in session.case(case).findings]
    return fold(findings, blinded_events(session.events(case, reader)))


@dataclass(frozen=True)
class Beside:
    """One finding as several readers left it, for one who may see that.

    Parameters
    ----------
    id
        Name of the finding; of one that another reader drew, in that reader's list.
    drawn_by
        Who drew it; empty where the model found it.
    own
        What the one who looks says; None where they have no such finding.
    others
        What each of the revealed readers said before they saw others; None where they have no such finding.
    """

    id: str
    drawn_by: str
    own: FindingState | None
    others: Mapping[str, FindingState | None]

    @property
    def agreed(self) -> Verdict | None:
        """The verdict that all others gave, with the model's voxels as they are; None where there is none."""
        states = list(self.others.values())
        if not states or any(s is None or s.edits or s.replaced_by for s in states):
            return None
        verdicts = {state.verdict for state in states if state is not None}
        return verdicts.pop() if len(verdicts) == 1 else None


def side_by_side(session: Session, case: str, reader: str) -> list[Beside]:
    """Return all findings of a case that a reader may see: the model's, their own, and those of revealed readers."""
    own = session.state(case, reader)
    others = {name: blinded_state(session, case, name) for name in own.revealed if name != MODEL}
    visible = {finding.id for finding in visible_findings(session, case, reader)}
    rows = [
        Beside(name, "", own.findings[name], {who: state.findings[name] for who, state in others.items()})
        for name in own.findings
        if name in visible
    ]
    rows += [Beside(f.id, reader, f, dict.fromkeys(others)) for f in own.findings.values() if f.origin == "reader"]
    for who, state in others.items():
        for finding in state.findings.values():
            if finding.origin == "reader":
                said = {name: finding if name == who else None for name in others}
                rows.append(Beside(finding.id, who, None, said))
    return rows
