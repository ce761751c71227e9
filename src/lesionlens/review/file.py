"""The file of a session: taken by one process at a time, and checked before anything is changed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lesionlens.errors import ReadError
from lesionlens.review import schema
from lesionlens.review.backups import copies

__all__ = ["check", "connect", "in_memory", "recognise", "set_up", "take"]

# What SQLite says of a file whose content is wrong; a full disk, a lock or a lost network drive say nothing about that.
_PRIMARY = 0xFF  # extended codes have the primary one in their lowest byte


def take(path: Path) -> FileLock | None:
    """Return the right to write a session, or None where another process has it or nothing can be written there."""
    file = path.resolve()  # by a link it is the same session
    lock = FileLock(file.with_name(f".{file.name}.lock"), timeout=0)
    try:
        lock.acquire()
        with path.open("r+b"):
            return lock
    except (Timeout, OSError):
        lock.release()
        return None


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open a file; nothing in it is changed by that."""
    mode = "ro" if read_only else "rw"
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    if read_only and not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
        # SQLite wants to write beside a file even to read it; where nobody can, and nobody has, it need not.
        uri += "&immutable=1"
    try:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5)
    except sqlite3.Error as error:
        raise ReadError(f"{path} is not readable as a session: {error}. {copies(path)}") from None
    return connection


def in_memory(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Return a copy of a session that leaves the file as it is, and close the file."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    connection.backup(copy)
    connection.close()
    return copy


def recognise(path: Path) -> None:
    """Refuse what is no session, or is too new, by its first page alone; whether it is whole is seen at its opening.

    Raises
    ------
    ReadError
        If it is missing, no session, or of a newer version.
    """
    if not path.is_file():
        raise ReadError(f"There is no session {path}; make one with 'lesionlens review start'.")
    with closing(connect(path, read_only=True)) as connection, _read(path):
        _version(connection, path)


def check(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of a session; refuse what is none, is damaged, or is too new."""
    with _read(path):
        version = _version(connection, path)
        problems = [text for (text,) in connection.execute("PRAGMA integrity_check(1)") if text != "ok"]
    if problems:
        raise _damaged(path, problems[0])
    return version


def _version(connection: sqlite3.Connection, path: Path) -> int:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != schema.APPLICATION_ID:
        raise ReadError(f"{path} is no LesionLens session; choose a file that 'lesionlens review start' made.")
    if version > schema.VERSION:
        raise ReadError(f"{path} was made by a newer LesionLens (version {version} of sessions); update LesionLens.")
    return int(version)


@contextmanager
def _read(path: Path) -> Iterator[None]:
    """Tell a file that is damaged from one that cannot be read now."""
    try:
        yield
    except sqlite3.Error as error:
        primary = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
        if primary == sqlite3.SQLITE_NOTADB:
            raise ReadError(
                f"{path} is no LesionLens session, or is damaged at its beginning; choose a file that"
                f" 'lesionlens review start' made. {copies(path)}"
            ) from None
        if primary == sqlite3.SQLITE_CORRUPT:
            raise _damaged(path, str(error)) from None
        raise ReadError(
            f"The session {path} cannot be read now: {error}. Nothing says that it is damaged: make room where the"
            f" disk is full, close what holds it, and open it again. {copies(path)}"
        ) from None


def _damaged(path: Path, problem: str) -> ReadError:
    return ReadError(f"The session {path} is damaged: {problem}. {copies(path)}")


def set_up(connection: sqlite3.Connection, *, read_only: bool) -> None:
    """Make every commit reach the disk before it returns."""
    connection.execute("PRAGMA foreign_keys = ON")
    if not read_only:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
