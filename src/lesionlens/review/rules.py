"""What may be put into a session: cases with names of their own, and acts that fit what was recorded before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from lesionlens.errors import InputError
from lesionlens.review.cases import CaseEntry
from lesionlens.review.events import Act, Event
from lesionlens.review.state import CaseState

__all__ = ["MODEL", "check_acts", "check_cases"]

# Stands beside the readers: what the model marked it has accepted, and it may be what a reader has not seen yet.
MODEL = "model"


def check_cases(cases: Sequence[CaseEntry]) -> None:
    """Refuse cases, or findings of a case, that cannot be told apart."""
    names = [case.id for case in cases]
    if not names:
        raise InputError("A session needs a case; found none.")
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise InputError(f"The cases of a session have names of their own; {twice[0]!r} stands there twice.")
    for case in cases:
        if len({finding.id for finding in case.findings}) < len(case.findings):
            raise InputError(f"The findings of a case have names of their own; those of {case.id!r} do not.")


def check_acts(
    acts: Sequence[Act],
    state: CaseState,
    events: Sequence[Event],
    *,
    reader: str,
    case: str,
    model_blind: bool,
    state_of: Callable[[str], CaseState],
) -> None:
    """Refuse a step that does not fit what the reader did before in the case.

    Parameters
    ----------
    acts
        The step.
    state, events
        The case as the reader left it, and what it was made of.
    reader, case
        Who, and which case.
    model_blind
        Readers judge the model's findings only after they were shown them.
    state_of
        The same case as another reader left it.
    """
    known, waiting = set(state.findings), dict.fromkeys(state.open)
    hidden = _hidden(state, acts) if model_blind else set()
    for act in acts:
        if act.kind == "added":
            if act.finding in known:
                raise InputError(f"There is a finding {act.finding!r} in case {case!r} already.")
            known.add(act.finding)
            waiting[act.finding] = None
        elif act.finding and act.finding not in known:
            raise InputError(
                f"There is no finding {act.finding!r} in case {case!r};"
                f" 'lesionlens review show SESSION {case}' lists those that there are."
            )
        elif act.finding in hidden and act.kind != "viewed":
            raise InputError(f"Finding {act.finding!r} of the model was not shown to {reader!r} yet: reveal it first.")
        elif act.kind in ("verdict", "split", "merged"):
            waiting.pop(act.finding, None)
        elif act.kind == "undo":
            _check_undo(act, acts, events, reader, case)
        elif act.kind == "revealed":
            _check_reveal(act, state, reader, case, state_of)
        elif act.kind == "done" and waiting:
            raise InputError(
                f"{len(waiting)} findings of case {case!r} wait for a verdict, the first is"
                f" {next(iter(waiting))!r}: judge them before the case is closed."
            )
    _check_successors(acts, known, case)


def _hidden(state: CaseState, acts: Sequence[Act]) -> set[str]:
    shown = {name for act in acts if act.kind == "revealed" for name in act.value["readers"]}
    if MODEL in {*state.revealed, *shown}:
        return set()
    return {finding.id for finding in state.findings.values() if finding.origin == "model"}


def _check_successors(acts: Sequence[Act], known: Collection[str], case: str) -> None:
    """Refuse a split or merge into what does not exist: the finding would be gone without a trace."""
    for act in acts:
        if act.kind not in ("split", "merged"):
            continue
        into = list(act.value["into"]) if act.kind == "split" else [act.value["into"]]
        missing = [name for name in into if name not in known or name == act.finding]
        if missing or not into:
            found = repr(missing[0]) if missing else "none"
            raise InputError(
                f"Finding {act.finding!r} of case {case!r} is {act.kind} into other findings that exist; found {found}."
            )


def _check_undo(act: Act, acts: Sequence[Act], events: Sequence[Event], reader: str, case: str) -> None:
    if len(acts) > 1:
        raise InputError("An undo is a step of its own; record other decisions after it.")
    undone = [event for event in events if event.step == act.value["step"]]
    if not undone:
        raise InputError(f"There is no step {act.value['step']} of {reader!r} in case {case!r} to undo.")
    if any(event.act.kind == "revealed" for event in undone):
        raise InputError(f"Step {act.value['step']} showed {reader!r} what others said; that cannot be taken back.")


def _check_reveal(act: Act, state: CaseState, reader: str, case: str, state_of: Callable[[str], CaseState]) -> None:
    """Refuse to show verdicts before all who read blinded have finished."""
    others = [name for name in act.value["readers"] if name != MODEL]
    if reader in others or not act.value["readers"]:
        raise InputError(f"A reader is shown what others said; found {', '.join(others) or 'nobody'} for {reader!r}.")
    unfinished = [name for name in others if state_of(name).status != "complete"]
    if unfinished:
        raise InputError(f"{unfinished[0]!r} has not finished case {case!r}; what others say is shown after that.")
    if others and state.touched and state.status != "complete" and not set(state.revealed) - {MODEL}:
        raise InputError(f"{reader!r} has begun case {case!r} and reads it blinded: close it first.")
