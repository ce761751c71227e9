"""Copies of a session beside it: made at its opening, and renewed while somebody reads, without keeping them waiting.

A copy is put in its place only when it is whole on the disk. The newest one is of the sitting that is going on; those
after it are what earlier sittings have left, since one copy after the other would leave none from before a mistake.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

from lesionlens.errors import LesionLensError, OutputError, ReadError

__all__ = ["BACKUPS", "EVENTS_BETWEEN", "SECONDS_BETWEEN", "Backups", "copies"]

# Copies of a session that are kept beside it, the newest as .backup-1.
BACKUPS = 3
# The newest copy is renewed after so many events, or when a case is closed and it is so old: a reader at full speed
# would not do again what they did in less than some minutes.
EVENTS_BETWEEN = 100
SECONDS_BETWEEN = 60.0


def copies(path: Path) -> str:
    """Say which copies of a session there are."""
    kept = [copy.name for n in range(1, BACKUPS + 1) if (copy := _copy(path, n)).exists()]
    return f"Copies beside it: {', '.join(kept)}." if kept else "There is no copy of it."


class Backups:
    """Copies one session that this process may write.

    Parameters
    ----------
    path
        The session.

    Attributes
    ----------
    problem : str
        Why the last copy could not be made; empty where it could.
    """

    def __init__(self, path: Path) -> None:
        self.problem = ""
        self._path = path
        self._own = False  # the newest copy is of this sitting: it is renewed, and takes no older one's place
        self._n_waiting = 0
        self._at = time.monotonic()
        self._work: threading.Thread | None = None

    def begin(self, connection: sqlite3.Connection) -> None:
        """Copy the session as it was found, which has been checked, unless the newest copy holds as many events.

        Raises
        ------
        OutputError
            If there is no room for it.
        """
        newest = _copy(self._path, 1)
        if not newest.exists() or _n_events_of(newest) != _n_events(connection):
            self._make(connection, checked=True)

    def recorded(self, n_events: int, *, closed: bool) -> None:
        """Take note of events; begin to copy where it is time to, and return at once.

        Parameters
        ----------
        n_events
            So many were stored.
        closed
            A case was closed by them.
        """
        self._n_waiting += n_events
        old = time.monotonic() - self._at >= SECONDS_BETWEEN
        if (self._n_waiting >= EVENTS_BETWEEN or (closed and old)) and not self._busy:
            self._n_waiting, self._at = 0, time.monotonic()
            self._work = threading.Thread(target=self._renew, name="copy of a session")
            self._work.start()

    def finish(self) -> None:
        """Return when no copy is being made any more."""
        if self._work is not None:
            self._work.join()

    @property
    def _busy(self) -> bool:
        return self._work is not None and self._work.is_alive()

    def _renew(self) -> None:
        """Copy by a connection of its own, which sees what was stored when it began; nobody waits for it to write."""
        try:
            with closing(sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
                self._make(connection, checked=False)
        except (LesionLensError, sqlite3.Error) as error:
            self.problem = str(error)
        else:
            self.problem = ""

    def _make(self, connection: sqlite3.Connection, *, checked: bool) -> None:
        temporary = self._path.with_name(f".{self._path.name}.backup")
        try:
            _remove(temporary)
            with closing(sqlite3.connect(temporary)) as copy:
                connection.backup(copy)
                problem = "" if checked else copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if problem not in ("", "ok"):
                _remove(temporary)
                raise ReadError(
                    f"The session {self._path} was damaged while it was open: {problem}. {copies(self._path)}"
                )
            for number in range(0 if self._own else BACKUPS - 1, 0, -1):
                if _copy(self._path, number).exists():
                    _copy(self._path, number).replace(_copy(self._path, number + 1))
            temporary.replace(_copy(self._path, 1))
        except (OSError, sqlite3.Error) as error:
            with suppress(OSError):
                _remove(temporary)
            raise OutputError(
                f"The session {self._path.name} cannot be copied beside itself: {error}. Make room first."
            ) from None
        self._own = True


def _copy(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.backup-{number}")


def _remove(temporary: Path) -> None:
    """Remove what a copy that was not finished has left, its journal too."""
    for name in (temporary, temporary.with_name(f"{temporary.name}-journal")):
        name.unlink(missing_ok=True)


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
