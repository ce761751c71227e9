"""The tables of a session file, and how older ones are brought up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

__all__ = ["APPLICATION_ID", "MIGRATIONS", "VERSION", "create", "migrate"]

# Marks an SQLite file as a session ("LLrs"), so that no other program's file is taken for one.
APPLICATION_ID = 0x4C4C7273
VERSION = 1

_TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE cases (
    id TEXT PRIMARY KEY, place INTEGER NOT NULL UNIQUE, name TEXT NOT NULL,
    scan TEXT NOT NULL, results TEXT NOT NULL, pins TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE findings (
    case_id TEXT NOT NULL REFERENCES cases (id), place INTEGER NOT NULL, id TEXT NOT NULL,
    class TEXT NOT NULL, label INTEGER NOT NULL, statistics TEXT NOT NULL,
    PRIMARY KEY (case_id, id)
) WITHOUT ROWID;
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, step INTEGER NOT NULL, at TEXT NOT NULL, reader TEXT NOT NULL,
    case_id TEXT NOT NULL REFERENCES cases (id), finding TEXT NOT NULL, kind TEXT NOT NULL,
    value TEXT NOT NULL, mask BLOB NOT NULL
);
CREATE INDEX events_of_case ON events (case_id, reader, id);
CREATE TRIGGER events_stay BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END;
CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
"""

# Version n to n + 1 under n; each runs inside one transaction with the new version number.
MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {}


def create(connection: sqlite3.Connection) -> None:
    """Make the tables of a new file."""
    connection.executescript(f"BEGIN;{_TABLES}PRAGMA application_id = {APPLICATION_ID};COMMIT;")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring a file of an older version up to date, version by version."""
    for old in range(version, VERSION):
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            MIGRATIONS[old](connection)
            connection.execute(f"PRAGMA user_version = {old + 1}")
