"""A session as one of its readers may see it, for what is made of a whole session: agreement, tables, masks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType

from lesionlens.review.cases import CaseEntry
from lesionlens.review.events import Event, counting
from lesionlens.review.rules import MODEL
from lesionlens.review.store import Session

__all__ = ["SeenSession", "open_as"]


def open_as(path: Path, reader: str) -> SeenSession:
    """Open a session, to read only, as a reader may see it.

    Raises
    ------
    ReadError
        As :meth:`Session.open`.
    """
    with Session.open(path, read_only=True) as whole:
        progress, own = whole.progress(reader), whole.events(reader=reader)
        finished = progress.complete == progress.total
        closed = {name: _closed(whole, name) for name in whole.readers} if finished else {}
    shown: dict[str, set[str]] = {}
    for event in counting(own):
        if event.act.kind == "revealed":
            shown.setdefault(event.case, set()).update(event.act.value["readers"])
    found = SeenSession.open(path, read_only=True)
    found.viewer, found.finished, found.closed, found.shown = reader, finished, closed, shown
    return found


class SeenSession(Session):
    """A session in which everything is missing that would tell a reader what they must not know yet.

    There are a reader's own events, and those of others in cases in which they were revealed. When the reader has
    closed every case, nothing is left to be read blind: then there is what others say of any case that they have
    closed. The model's findings are missing where they are hidden.

    Attributes
    ----------
    viewer : str
        Who looks.
    finished : bool
        They have closed every case.
    closed : mapping
        Then, by reader, which cases each has closed.
    shown : mapping
        Whose verdicts were revealed to who looks, by case.
    """

    viewer = ""
    finished = False
    closed: Mapping[str, Collection[str]] = MappingProxyType({})
    shown: Mapping[str, Collection[str]] = MappingProxyType({})

    @property
    def readers(self) -> tuple[str, ...]:
        """Those of whom anything may be seen, by name."""
        return tuple(name for name in super().readers if self.cases_of(name))

    def cases_of(self, reader: str) -> tuple[str, ...]:
        """Names of the cases in which anything of a reader may be seen, in the order in which they are read."""
        return tuple(case for case in super().cases_of(reader) if self._sees(case, reader))

    def events(self, case: str | None = None, reader: str | None = None) -> list[Event]:
        """Return the events that may be seen, in their order, of one case or reader where asked for."""
        return [event for event in super().events(case, reader) if self._sees(event.case, event.reader)]

    def case(self, case: str, *, findings: bool = True) -> CaseEntry:
        """Return a case, without the model's findings where they are hidden."""
        return super().case(case, findings=findings and self.shows_model(case))

    def shows_model(self, case: str) -> bool:
        """Whether the model's findings may be seen in a case."""
        return not self.model_blind or self.finished or MODEL in self.shown.get(case, ())

    def _finding_ids(self, case: str) -> list[str]:
        return super()._finding_ids(case) if self.shows_model(case) else []

    def _sees(self, case: str, reader: str) -> bool:
        return reader == self.viewer or reader in self.shown.get(case, ()) or case in self.closed.get(reader, ())


def _closed(session: Session, reader: str) -> frozenset[str]:
    return frozenset(case for case, (status, _) in session.statuses(reader).items() if status == "complete")
