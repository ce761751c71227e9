"""Reading together: a consensus reader sees the readers side by side; where they agree, their answer is filled in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lesionlens.errors import InputError
from lesionlens.heatmap import slug
from lesionlens.review.blinding import blinded_events, blinded_state, reveal, side_by_side
from lesionlens.review.detection import match_voxels
from lesionlens.review.drawn import changes_of, shape_of
from lesionlens.review.events import Act, counting
from lesionlens.review.rules import MODEL
from lesionlens.review.state import CaseState
from lesionlens.review.store import Session
from lesionlens.review.voxels import Voxels, changed, pack

__all__ = ["adopt", "begin_consensus"]


@dataclass(frozen=True)
class _Drawn:
    """Findings of one reader that another one drew as well, or not: voxels, shape of the scan, and who drew them."""

    name: str
    voxels: Voxels
    shape: tuple[int, int, int]
    by: tuple[str, ...]


def begin_consensus(session: Session, case: str, reader: str, of: Sequence[str], *, prefill: bool = True) -> CaseState:
    """Show a consensus reader what others say of a case, and fill in what all agree on.

    Two steps are recorded: that it was shown, which stays, and what was filled in, which one undo takes back. Filled in
    are the findings that the readers drew, those of several that overlap once, with the first one's voxels; and the
    verdict of each finding to which all gave the same, unless one changed its voxels.

    Parameters
    ----------
    session
        Open for writing.
    case, reader
        Who decides, and where.
    of
        Readers who have closed the case.
    prefill
        Fill in; else the readers' own findings alone are brought in, without a verdict.

    Raises
    ------
    InputError
        If a reader has not finished, or the consensus reader has begun the case already.
    """
    before = session.state(case, reader)
    state = reveal(session, case, reader, of)
    if set(before.revealed) - {MODEL} or before.touched:
        return state  # shown before: what was taken back then is not filled in again
    acts: list[Act] = []
    for drawn in _drawn(session, case, of):
        statistics = {"drawn_by": list(drawn.by)}
        acts.append(Act("added", drawn.name, {"statistics": statistics}, pack(drawn.voxels, drawn.shape)))
        if prefill and len(drawn.by) == len(set(of) - {MODEL}):
            acts.append(Act("verdict", drawn.name, {"verdict": "accept"}))
    if prefill:
        agreed = ((row.id, row.agreed) for row in side_by_side(session, case, reader) if not row.drawn_by)
        acts += [Act("verdict", name, {"verdict": verdict}) for name, verdict in agreed if verdict is not None]
    session.record(reader, case, acts)
    return session.state(case, reader)


def adopt(session: Session, case: str, reader: str, finding: str, of: str) -> CaseState:
    """Give a finding of the model the voxels that another reader gave it, as an edit of the one who decides.

    Parameters
    ----------
    session
        Open for writing.
    case, reader, finding
        Who decides, and about what.
    of
        Whose voxels; they must have been revealed. :data:`MODEL` gives back the model's own.

    Raises
    ------
    InputError
        If that reader was not revealed, or there is no such finding.
    """
    if of != MODEL and of not in session.state(case, reader).revealed:
        raise InputError(f"What {of!r} says of {case!r} was not shown to {reader!r}; begin the consensus first.")
    mine = counting(session.events(case, reader))
    theirs = [] if of == MODEL else counting(blinded_events(session.events(case, of)))
    shape = shape_of([*mine, *theirs], finding)
    if shape is not None:
        change = changed(changes_of(mine, finding, shape), changes_of(theirs, finding, shape))
        if len(change):
            session.record(reader, case, [Act("edit", finding, {}, pack(change, shape))])
    return session.state(case, reader)


def _drawn(session: Session, case: str, of: Sequence[str]) -> list[_Drawn]:
    """Return what readers drew and hold, each lesion once."""
    found: list[_Drawn] = []
    for who in dict.fromkeys(name for name in of if name != MODEL):
        mine = list(_own(session, case, who, taken={one.name for one in found}))
        pairs = match_voxels({d.name: d.voxels for d in found}, {d.name: d.voxels for d in mine})
        same = {second: first for first, second, _ in pairs if first is not None and second is not None}
        for drawn in mine:
            if drawn.name in same:
                at = next(n for n, one in enumerate(found) if one.name == same[drawn.name])
                found[at] = replace(found[at], by=(*found[at].by, who))
            else:
                found.append(drawn)
    return found


def _own(session: Session, case: str, who: str, *, taken: Iterable[str]) -> Iterable[_Drawn]:
    events = counting(blinded_events(session.events(case, who)))
    names = {finding.id for finding in session.case(case).findings} | set(taken)
    for finding in blinded_state(session, case, who).findings.values():
        if finding.origin == "model" or finding.replaced_by or finding.verdict == "reject":
            continue
        shape = shape_of(events, finding.id)
        if shape is None:
            continue
        name = _free(f"{slug(who)}-{finding.id}", names)
        names.add(name)
        yield _Drawn(name, np.asarray(changes_of(events, finding.id, shape)), shape, (who,))


def _free(name: str, taken: set[str]) -> str:
    found, n = name, 1
    while found in taken:
        n += 1
        found = f"{name}-{n}"
    return found
