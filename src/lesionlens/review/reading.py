"""One reader's way through a session: which case, which finding, what comes next. No window, no voxels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import count
from typing import Any

from lesionlens.errors import InputError
from lesionlens.review.blinding import reveal, side_by_side
from lesionlens.review.cases import CaseEntry, Progress
from lesionlens.review.consensus import begin_consensus
from lesionlens.review.events import IDLE_SECONDS, Act, Event
from lesionlens.review.rules import MODEL
from lesionlens.review.state import CaseState, FindingState, Status, fold
from lesionlens.review.store import Session

__all__ = ["Reading", "seconds_to_verdict"]


class Reading:
    """Where a reader is; what is decided goes to the session first, and shows here only when it is stored.

    Parameters
    ----------
    session
        The session; kept open by whoever opened it.
    reader
        Who reads. Nothing of other readers is looked at.

    Attributes
    ----------
    case : CaseEntry or None
        The open case.
    state : CaseState
        How the reader left it.
    finding : str
        The finding looked at; empty where there is none.
    statuses : dict
        Status and flag of every case, in order.
    """

    def __init__(self, session: Session, reader: str) -> None:
        if not reader.strip():
            raise InputError("Whoever reads says who they are; found no reader's name.")
        self.session = session
        self.reader = reader.strip()
        self.case: CaseEntry | None = None
        self.state = CaseState({})
        self.finding = ""
        self.statuses: dict[str, tuple[Status, bool]] = session.statuses(self.reader)
        self.events: list[Event] = []

    @property
    def progress(self) -> Progress:
        """How far the reader is."""
        words = [status for status, _ in self.statuses.values()]
        counts = {word: words.count(word) for word in ("complete", "partly", "untouched")}
        return Progress(**counts, flagged=sum(flagged for _, flagged in self.statuses.values()))

    @property
    def findings(self) -> list[FindingState]:
        """The findings of the open case that are judged: without those that were split, merged, or are kept back."""
        seen = (one for one in self.state.findings.values() if one.origin != "model" or not self.model_hidden)
        return [finding for finding in seen if not finding.replaced_by]

    @property
    def model_hidden(self) -> bool:
        """Whether the reader still searches the open case without the model."""
        return self.session.model_blind and MODEL not in self.state.revealed

    @property
    def others(self) -> dict[str, str]:
        """What other readers say of each finding, where they were revealed to this one; empty otherwise."""
        if self.case is None or not set(self.state.revealed) - {MODEL}:
            return {}
        rows = side_by_side(self.session, self.case.id, self.reader)
        return {
            row.own.id: ", ".join(f"{name}: {_verdict(state)}" for name, state in row.others.items())
            for row in rows
            if row.own is not None
        }

    @property
    def volumes_mm3(self) -> dict[str, float]:
        """Volume of each finding as it came: of the model, or as it was drawn, split or merged; edits not counted."""
        model = () if self.case is None else self.case.findings
        own = (event.act for event in self.events if event.act.kind == "added")
        known = {finding.id: finding.statistics.get("volume_mm3") for finding in model}
        known |= {act.finding: act.value["statistics"].get("volume_mm3") for act in own}
        return {name: float(volume) for name, volume in known.items() if volume is not None}

    def first_case(self) -> str:
        """Return where the reader goes on: where they stopped, else the first case."""
        found = self.session.resume(self.reader)
        return found[0] if found is not None else next(iter(self.statuses))

    def case_after(self, case: str, by: int = 1) -> str | None:
        """Return the case before or after one in the order, or None at either end."""
        names = list(self.statuses)
        place = names.index(case) + by
        return names[place] if 0 <= place < len(names) else None

    def incomplete_after(self, case: str) -> str | None:
        """Return the next case that is not complete, from the beginning again at the end; None where all are."""
        names = list(self.statuses)
        place = names.index(case) + 1
        others = names[place:] + names[: place - 1]
        return next((name for name in others if self.statuses[name][0] != "complete"), None)

    def open(self, case: str) -> None:
        """Go to a case: to the finding that was looked at last, else to the first that waits."""
        entry = self.session.case(case)
        events = self.session.events(case, self.reader)
        self._take(entry, events)
        looked_at = str(self.state.view[0]) if self.state.view is not None else ""
        names = [finding.id for finding in self.findings]
        waiting = next((name for name in names if name in self.state.open), next(iter(names), ""))
        self.finding = looked_at if looked_at in names else waiting

    def record(self, *acts: Act) -> Event:
        """Store what the reader did as one step, and take it over when it is stored.

        Raises
        ------
        SessionError
            If it could not be stored; then everything here is as before.
        InputError
            If it does not fit the state of the case.
        """
        events = self.session.record(self.reader, self._open_case.id, acts)
        self._take(self._open_case, [*self.events, *events])
        return events[0]

    def judge(self, kind: str, value: Any) -> Event:
        """Store what the reader says about the finding looked at: verdict, category, confidence or comment."""
        name = "text" if kind == "comment" else kind
        return self.record(Act(kind, self.finding, {name: value}))  # type: ignore[arg-type]  # Act checks it

    def reveal_model(self) -> Event:
        """Show the reader the model's findings, which cannot be taken back."""
        reveal(self.session, self._open_case.id, self.reader, [MODEL])
        self._take(self._open_case, self.session.events(self._open_case.id, self.reader))
        return self.events[-1]

    @property
    def finished(self) -> tuple[str, ...]:
        """Other readers who have closed the open case: what they say of it may be shown to this one."""
        case, others = self._open_case.id, (name for name in self.session.readers if name != self.reader)
        return tuple(name for name in others if self.session.state(case, name).status == "complete")

    def decide_together(self, of: Sequence[str], *, prefill: bool) -> Event:
        """Show the reader what others say of the open case, and fill in what they agree on; see ``consensus``."""
        begin_consensus(self.session, self._open_case.id, self.reader, of, prefill=prefill)
        self._take(self._open_case, self.session.events(self._open_case.id, self.reader))
        return self.events[-1]

    def undo(self, *, again: bool = False) -> str | None:
        """Take the reader's last step in this case back, or the last undo; return the finding it was about.

        None where there was nothing; empty where it was about the case.
        """
        case = self._open_case
        act = self.session.redo if again else self.session.undo
        step = act(self.reader, case.id)
        if step is None:
            return None
        self._take(case, self.session.events(case.id, self.reader))
        target = step if not again else _step_undone_by(step, self.events)
        about = [event.act.finding for event in self.events if event.step == target]
        names = {finding.id for finding in self.findings}
        found = next((name for name in reversed(about) if name in names), "")
        if self.finding not in names:
            self.finding = found or (self.findings[0].id if self.findings else "")
        return found

    def finding_after(self, by: int) -> str:
        """Return the finding before or after the one looked at; itself at either end."""
        names = [finding.id for finding in self.findings]
        if self.finding not in names:
            return names[0] if names else ""
        return names[min(max(names.index(self.finding) + by, 0), len(names) - 1)]

    def waiting_after(self) -> str | None:
        """Return the next finding without a verdict, from the first again at the end; None where none waits."""
        names = [finding.id for finding in self.findings]
        place = names.index(self.finding) + 1 if self.finding in names else 0
        return next((name for name in names[place:] + names[:place] if name in self.state.open), None)

    def new_names(self) -> Iterator[str]:
        """Yield names for findings of the reader that no event has used, not even one that was taken back."""
        used = {event.act.finding for event in self.events}
        return (name for n in count(1) if (name := f"reader-{n}") not in used)

    def last_view(self) -> Mapping[str, Any] | None:
        """Return where the reader looked last in this case: centre in mm (RAS+), zoom, plane."""
        looks = (event.act.value for event in reversed(self.events) if event.act.kind == "viewed")
        return next(looks, None)

    @property
    def _open_case(self) -> CaseEntry:
        if self.case is None:
            raise InputError("No case is open; open one first.")
        return self.case

    def _take(self, case: CaseEntry, events: list[Event]) -> None:
        self.case, self.events = case, events
        self.state = fold([finding.id for finding in case.findings], events)
        self.statuses[case.id] = self.state.status, self.state.flagged


def seconds_to_verdict(events: Sequence[Event]) -> dict[str, float]:
    """Return for each finding how long one reader looked at it, from its showing to the verdict, without breaks.

    Counted is the time since the finding was brought up; where a verdict was changed later, that of the last one.
    """
    found: dict[str, float] = {}
    shown, seconds = "", 0.0
    before: datetime | None = None
    for event in events:
        now = datetime.fromisoformat(event.at)
        gap = (now - before).total_seconds() if before is not None else 0.0
        seconds += gap if 0 <= gap <= IDLE_SECONDS else 0.0
        before = now
        act = event.act
        if act.kind == "opened" or (act.kind == "viewed" and act.finding != shown):
            shown, seconds = act.finding, 0.0
        elif act.kind == "verdict" and act.finding == shown:
            found[shown] = seconds
    return found


def _verdict(state: FindingState | None) -> str:
    return "no such finding" if state is None else state.verdict or "no verdict"


def _step_undone_by(step: int, events: Sequence[Event]) -> int:
    return next(int(event.act.value["step"]) for event in events if event.step == step and event.act.kind == "undo")
