"""Sessions on disk: one SQLite file, to which events are only ever added.

What :meth:`Session.record` has returned from is on the disk (write-ahead log, full synchronisation): it survives the
end of the process and of the power. What it raised for was not stored, not even in part.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from lesionlens.errors import InputError, OutputError, ReadError, SessionError
from lesionlens.io.atomic import atomic_path
from lesionlens.review import schema
from lesionlens.review.events import Act, Event, last_step, last_undo
from lesionlens.review.state import CaseState, Status, fold

__all__ = ["CaseEntry", "Finding", "Progress", "Session"]

# Copies of a session that are kept beside it, the newest as .backup-1.
BACKUPS = 3


@dataclass(frozen=True)
class Finding:
    """A region of the model, put before a reader.

    Parameters
    ----------
    id
        Name in its case, such as ``"lesion-3"``.
    label_class, label
        Class of the model and number in ``regions_<class>.nii.gz``.
    statistics
        What it takes to list and find it: volume, centroid, box. The whole row is in ``regions.csv``.
    """

    id: str
    label_class: str
    label: int
    statistics: Mapping[str, Any]


@dataclass(frozen=True)
class CaseEntry:
    """One case of a session.

    Parameters
    ----------
    id
        Name in the session, unique.
    name
        What readers see.
    scan, results
        The scan, and the folder that a run on it wrote; relative to the session's folder where they lie in it.
    pins
        SHA-256 of what must not change under the readers: the scan, each file of the results that is shown, and the
        weights.
    findings
        Those of the model, in the order in which they are read.
    """

    id: str
    name: str
    scan: str
    results: str
    pins: Mapping[str, str]
    findings: tuple[Finding, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Progress:
    """How far a reader is: cases by status, and which were flagged."""

    complete: int
    partly: int
    untouched: int
    flagged: int

    @property
    def total(self) -> int:
        """Number of cases."""
        return self.complete + self.partly + self.untouched

    def __str__(self) -> str:
        return f"{self.complete}/{self.total}, {self.flagged} flagged"


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

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: FileLock | None) -> None:
        self.path = path
        self._connection = connection
        self._lock = lock

    @property
    def read_only(self) -> bool:
        """Whether nothing can be recorded."""
        return self._lock is None

    @classmethod
    def create(
        cls, path: Path | str, cases: Sequence[CaseEntry], *, title: str = "", about: Mapping[str, str] | None = None
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
            Further facts to keep, such as how the order was made.

        Raises
        ------
        OutputError
            If the file exists or cannot be written.
        InputError
            If there is no case, or two have one name.
        """
        _check_cases(cases)
        facts = {"title": title, "created": _now(), **(about or {})}
        with atomic_path(path) as temporary:
            connection = sqlite3.connect(temporary, isolation_level=None)
            try:
                schema.create(connection)
                with _transaction(connection):
                    connection.executemany("INSERT INTO about VALUES (?, ?)", facts.items())
                    connection.executemany("INSERT INTO cases VALUES (?, ?, ?, ?, ?, ?)", _case_rows(cases))
                    connection.executemany("INSERT INTO findings VALUES (?, ?, ?, ?, ?, ?)", _finding_rows(cases))
            finally:
                connection.close()
        return cls.open(path)

    @classmethod
    def open(cls, path: Path | str, *, read_only: bool = False) -> Self:
        """Open a session file; check that it is whole, and bring one of an older version up to date.

        The first process to open it may write; every other one opens it read-only, as does one that cannot write there.
        Before the first change of a process the file is copied beside itself, and the oldest copies are removed.

        Raises
        ------
        ReadError
            If it is missing, no session, damaged, or of a newer version; says where the copies are.
        """
        path = Path(path)
        if not path.is_file():
            raise ReadError(f"There is no session {path}; make one with 'lesionlens review start'.")
        lock = None if read_only else _take(path)
        try:
            connection = _connect(path, read_only=lock is None)
            try:
                version = _check(connection, path)  # before anything that would change somebody else's file
                _set_up(connection, read_only=lock is None)
                if version < schema.VERSION:
                    if lock is None:
                        raise ReadError(f"{path} is of an older version; open it once where it can be written.")
                    _back_up(connection, path)
                    schema.migrate(connection, version)
                elif lock is not None:
                    _back_up(connection, path)
            except BaseException:
                connection.close()
                raise
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        return cls(path, connection, lock)

    def close(self) -> None:
        """Close the file and let others write."""
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
    def readers(self) -> tuple[str, ...]:
        """Those who recorded anything, by name."""
        return tuple(name for (name,) in self._rows("SELECT DISTINCT reader FROM events ORDER BY reader"))

    @property
    def case_ids(self) -> tuple[str, ...]:
        """Names of the cases, in the order in which they are read."""
        return tuple(name for (name,) in self._rows("SELECT id FROM cases ORDER BY place"))

    def cases_of(self, reader: str) -> tuple[str, ...]:
        """Names of the cases in which a reader recorded anything, in the order in which they are read."""
        query = "SELECT id FROM cases WHERE id IN (SELECT case_id FROM events WHERE reader = ?) ORDER BY place"
        return tuple(name for (name,) in self._rows(query, reader))

    def case(self, case: str) -> CaseEntry:
        """Return a case with its findings.

        Raises
        ------
        InputError
            If there is none of that name.
        """
        rows = self._rows("SELECT name, scan, results, pins FROM cases WHERE id = ?", case)
        if not rows:
            raise InputError(f"The session {self.path.name} has no case {case!r}.")
        name, scan, results, pins = rows[0]
        findings = self._rows(
            "SELECT id, class, label, statistics FROM findings WHERE case_id = ? ORDER BY place", case
        )
        found = tuple(Finding(i, c, n, json.loads(statistics)) for i, c, n, statistics in findings)
        return CaseEntry(case, name, scan, results, json.loads(pins), found)

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
            self._check_acts(reader, case, acts)
            (last,) = self._rows("SELECT coalesce(max(id), 0) FROM events")[0]
            step, at = last + 1, _now()
            events = tuple(Event(step + n, step, at, reader, case, act) for n, act in enumerate(acts))
            self._connection.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_event_row, events)
            )
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
            "SELECT id, step, at, reader, case_id, finding, kind, value, mask FROM events"
            " WHERE (?1 IS NULL OR case_id = ?1) AND (?2 IS NULL OR reader = ?2) ORDER BY id",
            case,
            reader,
        )
        return [_event(row) for row in rows]

    def state(self, case: str, reader: str) -> CaseState:
        """Return a case as one reader left it."""
        return fold([finding.id for finding in self.case(case).findings], self.events(case, reader))

    def statuses(self, reader: str) -> dict[str, tuple[Status, bool]]:
        """Return for every case, in order, how far the reader is, and whether they flagged it."""
        events: dict[str, list[Event]] = {}
        for event in self.events(reader=reader):
            events.setdefault(event.case, []).append(event)
        names: dict[str, list[str]] = {}
        # Only cases with events need their findings.
        for case in events:
            names[case] = [
                name for (name,) in self._rows("SELECT id FROM findings WHERE case_id = ? ORDER BY place", case)
            ]
        found: dict[str, tuple[Status, bool]] = {}
        for case in self.case_ids:
            state = fold(names.get(case, []), events.get(case, []))
            found[case] = (state.status, state.flagged)
        return found

    def progress(self, reader: str) -> Progress:
        """Return how far a reader is."""
        found = list(self.statuses(reader).values())
        counts = {status: sum(s == status for s, _ in found) for status in ("complete", "partly", "untouched")}
        return Progress(**counts, flagged=sum(flagged for _, flagged in found))

    def resume(self, reader: str) -> tuple[str, CaseState] | None:
        """Return where the reader goes on: the case of their last event if it is not complete, else the next such.

        None when every case is complete.
        """
        statuses = self.statuses(reader)
        last = self._rows("SELECT case_id FROM events WHERE reader = ? ORDER BY id DESC LIMIT 1", reader)
        order = list(statuses)
        begin = order.index(last[0][0]) if last else 0
        for case in order[begin:] + order[:begin]:
            if statuses[case][0] != "complete":
                return case, self.state(case, reader)
        return None

    def _check_acts(self, reader: str, case: str, acts: Sequence[Act]) -> None:
        names = [finding.id for finding in self.case(case).findings]
        events = self.events(case, reader)
        for act in acts:
            state = fold(names, events)
            if act.kind == "added":
                if act.finding in state.findings:
                    raise InputError(f"There is a finding {act.finding!r} in case {case!r} already.")
            elif act.finding and act.finding not in state.findings:
                raise InputError(f"There is no finding {act.finding!r} in case {case!r}.")
            elif act.kind == "undo" and act.value["step"] not in {e.step for e in events}:
                raise InputError(f"There is no step {act.value['step']} of {reader!r} in case {case!r} to undo.")
            elif act.kind == "done" and state.open:
                raise InputError(
                    f"{len(state.open)} findings of case {case!r} wait for a verdict, the first is {state.open[0]!r}:"
                    " judge them before the case is closed."
                )
            events.append(Event(0, 0, "", reader, case, act))  # later acts of the step build on it

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise ReadError(f"{self.path} cannot be read: {error}. {_copies(self.path)}") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _check_cases(cases: Sequence[CaseEntry]) -> None:
    names = [case.id for case in cases]
    if not names:
        raise InputError("A session needs a case; found none.")
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise InputError(f"The cases of a session have names of their own; {twice[0]!r} stands there twice.")
    for case in cases:
        if len({finding.id for finding in case.findings}) < len(case.findings):
            raise InputError(f"The findings of a case have names of their own; those of {case.id!r} do not.")


def _case_rows(cases: Sequence[CaseEntry]) -> Iterator[tuple[Any, ...]]:
    for place, case in enumerate(cases):
        yield case.id, place, case.name, case.scan, case.results, json.dumps(dict(case.pins))


def _finding_rows(cases: Sequence[CaseEntry]) -> Iterator[tuple[Any, ...]]:
    for case in cases:
        for place, one in enumerate(case.findings):
            yield case.id, place, one.id, one.label_class, one.label, json.dumps(dict(one.statistics))


def _event_row(event: Event) -> tuple[Any, ...]:
    act = event.act
    value = json.dumps(dict(act.value))
    return event.id, event.step, event.at, event.reader, event.case, act.finding, act.kind, value, act.mask


def _event(row: tuple[Any, ...]) -> Event:
    number, step, at, reader, case, finding, kind, value, mask = row
    return Event(number, step, at, reader, case, Act(kind, finding, json.loads(value), mask))


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
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise SessionError(
            f"Nothing was recorded in {path.name}: {error}. Make room or mend it, then try again."
        ) from None


def _take(path: Path) -> FileLock | None:
    """Return the right to write a session, or None where another process has it or nothing can be written there."""
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    try:
        lock.acquire()
        with path.open("r+b"):
            return lock
    except (Timeout, OSError):
        lock.release()
        return None


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    mode = "ro" if read_only else "rw"
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    if read_only and not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
        # SQLite wants to write beside a file even to read it; where nobody can, and nobody has, it need not.
        uri += "&immutable=1"
    try:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5)
    except sqlite3.Error as error:
        raise ReadError(f"{path} is not readable as a session: {error}. {_copies(path)}") from None
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of a session; refuse what is none, is damaged, or is too new."""
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != schema.APPLICATION_ID:
            raise ReadError(f"{path} is no LesionLens session; choose a file that 'lesionlens review start' made.")
        problems = [text for (text,) in connection.execute("PRAGMA integrity_check(1)") if text != "ok"]
    except sqlite3.Error as error:
        problems = [str(error)]
    if problems:
        raise ReadError(f"The session {path} is damaged: {problems[0]}. {_copies(path)}")
    if version > schema.VERSION:
        raise ReadError(f"{path} was made by a newer LesionLens (version {version} of sessions); update LesionLens.")
    return int(version)


def _set_up(connection: sqlite3.Connection, *, read_only: bool) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    if not read_only:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")


def _copies(path: Path) -> str:
    kept = [copy.name for n in range(1, BACKUPS + 1) if (copy := _copy(path, n)).exists()]
    return f"Copies beside it: {', '.join(kept)}." if kept else "There is no copy of it."


def _copy(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.backup-{number}")


def _back_up(connection: sqlite3.Connection, path: Path) -> None:
    """Copy a session beside itself, unless the newest copy holds as many events."""
    newest = _copy(path, 1)
    if newest.exists() and _n_events_of(newest) == _n_events(connection):
        return
    temporary = path.with_name(f".{path.name}.backup")
    try:
        with sqlite3.connect(temporary) as copy:
            connection.backup(copy)
        copy.close()
        for number in range(BACKUPS - 1, 0, -1):
            if _copy(path, number).exists():
                _copy(path, number).replace(_copy(path, number + 1))
        temporary.replace(newest)
    except (OSError, sqlite3.Error) as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            f"The session {path.name} cannot be copied beside itself: {error}. Make room first."
        ) from None


def _n_events(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])


def _n_events_of(path: Path) -> int:
    """Return how many events a copy holds; -1 for one that cannot be read."""
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            return _n_events(connection)
        finally:
            connection.close()
    except sqlite3.Error:
        return -1
