"""Sessions on disk: one SQLite file, to which events are only ever added.

What :meth:`Session.record` has returned from is on the disk (write-ahead log, full synchronisation): it survives the
end of the process and of the power. What it raised for was not stored, not even in part.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock

from lesionlens.errors import InputError, OutputError, ReadError, SessionError
from lesionlens.io.atomic import atomic_path
from lesionlens.review import schema
from lesionlens.review.backups import Backups, copies
from lesionlens.review.cases import CaseEntry, Finding, Progress
from lesionlens.review.events import Act, Event, last_step, last_undo
from lesionlens.review.file import check, connect, in_memory, set_up, take
from lesionlens.review.rows import EVENT_COLUMNS, case_rows, event_of, event_row, finding_rows
from lesionlens.review.rules import check_acts, check_cases
from lesionlens.review.standing import Standing, keep, refill, standings
from lesionlens.review.state import CaseState, Status, fold

__all__ = ["Session"]

_UID_BYTES = 16
_INSERT = f"INSERT INTO events ({EVENT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Session:
    """A session file that is open; use it as a context manager.

    Use :meth:`create` or :meth:`open`.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    read_only : bool
        Nothing can be recorded: another process has it open, or the file or its folder cannot be written.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: FileLock | None, backups: Backups) -> None:
        self.path = path
        self._connection = connection
        self._lock = lock
        self._backups = backups

    @property
    def read_only(self) -> bool:
        """Whether nothing can be recorded."""
        return self._lock is None

    @property
    def copy_problem(self) -> str:
        """Why the session could not be copied beside itself while it is open; empty where it could."""
        return self._backups.problem

    @classmethod
    def create(
        cls,
        path: Path | str,
        cases: Sequence[CaseEntry],
        *,
        title: str = "",
        about: Mapping[str, str] | None = None,
        events: Sequence[Event] = (),
    ) -> Self:
        """Make a session file, whole or not at all, and open it.

        Parameters
        ----------
        path
            File to make; it must not exist.
        cases
            In the order in which they are read.
        title
            What readers see.
        about
            Further facts to keep, such as how the order was made. ``"model_blind"`` keeps the model's findings from a
            reader until they were revealed.
        events
            What is known of other copies of the session, numbered from 1.

        Raises
        ------
        OutputError
            If the file exists or cannot be written.
        InputError
            If there is no case, or two have one name.
        """
        check_cases(cases)
        if os.path.lexists(path):
            raise OutputError(
                f"{path} exists already, and a session is never replaced. Choose another name; to go on with a session,"
                f" open it: lesionlens review open {path} --reader NAME"
            )
        facts = {"title": title, "created": _now(), "uid": secrets.token_hex(_UID_BYTES), **(about or {})}
        with atomic_path(path) as temporary:
            connection = sqlite3.connect(temporary, isolation_level=None)
            try:
                schema.create(connection)
                with _transaction(connection):
                    connection.executemany("INSERT INTO about VALUES (?, ?)", facts.items())
                    connection.executemany("INSERT INTO cases VALUES (?, ?, ?, ?, ?, ?)", case_rows(cases))
                    connection.executemany("INSERT INTO findings VALUES (?, ?, ?, ?, ?, ?)", finding_rows(cases))
                    connection.executemany(_INSERT, map(event_row, events))
                    refill(connection)
            finally:
                connection.close()
        return cls.open(path)

    @classmethod
    def open(cls, path: Path | str, *, read_only: bool = False) -> Self:
        """Open a session file; check that it is whole, and bring one of an older version up to date.

        The first process to open it may write; every other one opens it read-only, as does one that cannot write there.
        Before the first change of a process the file is copied beside itself, and the oldest copies are removed; while
        events are recorded, that copy is renewed in the background.

        Raises
        ------
        ReadError
            If it is missing, no session, damaged, or of a newer version; says where the copies are.
        """
        path = Path(path)
        if not path.is_file():
            raise ReadError(f"There is no session {path}; make one with 'lesionlens review start'.")
        lock, backups = None if read_only else take(path), Backups(path)
        try:
            connection = connect(path, read_only=lock is None)
            try:
                version = check(connection, path)  # before anything that would change somebody else's file
                set_up(connection, read_only=lock is None)
                if lock is not None:
                    backups.begin(connection)
                elif version < schema.VERSION:
                    connection = in_memory(connection)
                schema.migrate(connection, version)
            except BaseException:
                connection.close()
                raise
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        return cls(path, connection, lock, backups)

    def close(self) -> None:
        """Close the file and let others write, once no copy is being made any more."""
        self._backups.finish()
        self._connection.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def about(self) -> dict[str, str]:
        """Title, time of creation, and whatever else was said when it was made."""
        return dict(self._rows("SELECT name, value FROM about"))

    @property
    def model_blind(self) -> bool:
        """Whether readers search a case on their own before they are shown the model's findings."""
        return self.about.get("model_blind") == "true"

    @property
    def readers(self) -> tuple[str, ...]:
        """Those who recorded anything, by name."""
        return tuple(name for (name,) in self._rows("SELECT DISTINCT reader FROM events ORDER BY reader"))

    @property
    def case_ids(self) -> tuple[str, ...]:
        """Names of the cases, in the order in which they are read."""
        return tuple(name for (name,) in self._rows("SELECT id FROM cases ORDER BY place"))

    def shows_model(self, case: str) -> bool:  # noqa: ARG002  # the same for all cases, until somebody reads blind
        """Whether what the model found in a case may be handed on: always, as nobody in particular looks."""
        return True

    def cases_of(self, reader: str) -> tuple[str, ...]:
        """Names of the cases in which a reader recorded anything, in the order in which they are read."""
        query = "SELECT id FROM cases WHERE id IN (SELECT case_id FROM events WHERE reader = ?) ORDER BY place"
        return tuple(name for (name,) in self._rows(query, reader))

    def case(self, case: str, *, findings: bool = True) -> CaseEntry:
        """Return a case with its findings, or without them where only its files are asked about.

        Raises
        ------
        InputError
            If there is none of that name.
        """
        rows = self._rows("SELECT name, scan, results, pins FROM cases WHERE id = ?", case)
        if not rows:
            raise InputError(f"The session {self.path.name} has no case {case!r}.")
        name, scan, results, pins = rows[0]
        query = "SELECT id, class, label, statistics FROM findings WHERE case_id = ? ORDER BY place"
        of_model = self._rows(query, case) if findings else []
        found = tuple(Finding(i, c, n, json.loads(statistics)) for i, c, n, statistics in of_model)
        return CaseEntry(case, name, scan, results, json.loads(pins), found)

    def link(self, case: str, *, scan: str, results: str) -> None:
        """Say where the scan and the results of a case lie here; its pins tell whether they are the right ones.

        Raises
        ------
        SessionError
            If it could not be stored.
        InputError
            If there is no such case.
        """
        self.case(case)
        if self.read_only:
            raise SessionError(f"{self.path.name} is open read-only; nothing was linked.")
        with _storing(self.path), _transaction(self._connection):
            self._connection.execute("UPDATE cases SET scan = ?, results = ? WHERE id = ?", (scan, results, case))

    def record(self, reader: str, case: str, acts: Sequence[Act]) -> tuple[Event, ...]:
        """Store what a reader did as one step; all of it or nothing, and on the disk when this returns.

        Raises
        ------
        SessionError
            If it could not be stored (read-only, disk full): the reader must be told, and stay where they are.
        InputError
            If an act is about a finding or case that does not exist, or closes a case with findings that wait.
        """
        if self.read_only:
            raise SessionError(f"{self.path.name} is open read-only; nothing was recorded.")
        if not reader.strip():
            raise InputError("Whoever records says who they are; found no reader's name.")
        if not acts:
            return ()
        with _storing(self.path), _transaction(self._connection):
            findings, before = self._finding_ids(case), self.events(case, reader)
            check_acts(
                acts,
                fold(findings, before),
                before,
                reader=reader,
                case=case,
                model_blind=self.model_blind,
                state_of=lambda other: self.state(case, other),
            )
            (last,) = self._rows("SELECT coalesce(max(id), 0) FROM events")[0]
            step, at = last + 1, _now()
            events = tuple(
                Event(step + n, step, at, reader, case, act, secrets.token_hex(_UID_BYTES))
                for n, act in enumerate(acts)
            )
            self._connection.executemany(_INSERT, map(event_row, events))
            after = fold(findings, [*before, *events])
            keep(self._connection, reader, case, after, last_event=events[-1].id)
        self._backups.recorded(len(events), closed=any(act.kind == "done" for act in acts))
        return events

    def undo(self, reader: str, case: str) -> int | None:
        """Take the reader's last step in a case back; return which, or None where there was nothing."""
        step = last_step(self.events(case, reader))
        if step is not None:
            self.record(reader, case, [Act("undo", value={"step": step})])
        return step

    def redo(self, reader: str, case: str) -> int | None:
        """Take the reader's last undo back, where nothing was decided since; return which, or None."""
        step = last_undo(self.events(case, reader))
        if step is not None:
            self.record(reader, case, [Act("undo", value={"step": step})])
        return step

    def events(self, case: str | None = None, reader: str | None = None) -> list[Event]:
        """Return events in their order, of one case or reader where asked for."""
        rows = self._rows(
            f"SELECT {EVENT_COLUMNS} FROM events"
            " WHERE (?1 IS NULL OR case_id = ?1) AND (?2 IS NULL OR reader = ?2) ORDER BY id",
            case,
            reader,
        )
        return [event_of(row) for row in rows]

    def state(self, case: str, reader: str) -> CaseState:
        """Return a case as one reader left it."""
        return fold(self._finding_ids(case), self.events(case, reader))

    def statuses(self, reader: str) -> dict[str, tuple[Status, bool]]:
        """Return for every case, in order, how far the reader is, and whether they flagged it."""
        return {case: self._status(case, reader, one) for case, one in self._standings(reader).items()}

    def _status(self, case: str, reader: str, standing: Standing) -> tuple[Status, bool]:
        if standing.known is not None:
            return standing.known
        state = self.state(case, reader)
        return state.status, state.flagged

    def progress(self, reader: str) -> Progress:
        """Return how far a reader is."""
        found = list(self.statuses(reader).values())
        counts = {status: sum(s == status for s, _ in found) for status in ("complete", "partly", "untouched")}
        return Progress(**counts, flagged=sum(flagged for _, flagged in found))

    def resume(self, reader: str) -> tuple[str, CaseState] | None:
        """Return where the reader goes on: the case of their last event if it is not complete, else the next such.

        None when every case is complete.
        """
        found = self._standings(reader)
        order = list(found)
        begin = max(range(len(order)), key=lambda place: found[order[place]].last_event)
        for case in order[begin:] + order[:begin]:
            if self._status(case, reader, found[case])[0] != "complete":
                return case, self.state(case, reader)
        return None

    def _standings(self, reader: str) -> dict[str, Standing]:
        with _reading(self.path):
            return standings(self._connection, reader)

    def _finding_ids(self, case: str) -> list[str]:
        names = [name for (name,) in self._rows("SELECT id FROM findings WHERE case_id = ? ORDER BY place", case)]
        return names or [finding.id for finding in self.case(case).findings]  # no case of that name is said

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with _reading(self.path):
            return self._connection.execute(query, values).fetchall()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Store everything in the block or nothing; on the disk when the block has been left."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise ReadError(f"{path} cannot be read: {error}. {copies(path)}") from None


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise SessionError(
            f"Nothing was recorded in {path.name}: {error}. Make room or mend it, then try again."
        ) from None
