"""The tables of a session file, and how older ones are brought up to date."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable

from lesionlens.review.standing import refill

__all__ = ["APPLICATION_ID", "MIGRATIONS", "VERSION", "create", "migrate"]

# Marks an SQLite file as a session ("LLrs"), so that no other program's file is taken for one.
APPLICATION_ID = 0x4C4C7273
VERSION = 3

_STAY = """
CREATE TRIGGER events_stay BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END;
"""
_NOT_CHANGED = """
CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
"""

# What :mod:`lesionlens.review.standing` keeps. Whoever changes what a state comes to empties it by a migration.
_STANDING = """
CREATE TABLE standing (
    reader TEXT NOT NULL, case_id TEXT NOT NULL REFERENCES cases (id),
    status TEXT NOT NULL CHECK (status IN ('untouched', 'partly', 'complete')), flagged INTEGER NOT NULL,
    last_event INTEGER NOT NULL, PRIMARY KEY (reader, case_id)
) WITHOUT ROWID;
"""

# ``uid`` names an event in every copy of a session; ``imported`` marks what came from another copy and holds neither
# names nor paths any more.
_TABLES = f"""
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
    value TEXT NOT NULL, mask BLOB NOT NULL, uid TEXT NOT NULL DEFAULT '', imported INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX events_of_case ON events (case_id, reader, id);
{_STAY}{_NOT_CHANGED}{_STANDING}"""


def _name_events(connection: sqlite3.Connection) -> None:
    """Version 1 to 2: give the session and each event a name of its own.

    The names are digests of what is there, so that two copies of one file get the same ones.
    """
    about = dict(connection.execute("SELECT name, value FROM about"))
    cases = connection.execute("SELECT id, pins FROM cases ORDER BY place").fetchall()
    session = _digest("session", about.get("created", ""), cases)
    connection.execute("INSERT OR IGNORE INTO about VALUES ('uid', ?)", (session,))
    connection.execute("ALTER TABLE events ADD COLUMN uid TEXT NOT NULL DEFAULT ''")
    connection.execute("ALTER TABLE events ADD COLUMN imported INTEGER NOT NULL DEFAULT 0")
    rows = connection.execute(
        "SELECT id, step, at, reader, case_id, finding, kind, value, hex(mask) FROM events"
    ).fetchall()
    connection.execute("DROP TRIGGER events_are_not_changed")
    connection.executemany(
        "UPDATE events SET uid = ? WHERE id = ?", [(_digest("event", session, row), row[0]) for row in rows]
    )
    connection.execute(_NOT_CHANGED)


def _keep_standings(connection: sqlite3.Connection) -> None:
    """Version 2 to 3: keep how far readers are beside the events."""
    connection.execute(_STANDING)
    refill(connection)


def _digest(*content: object) -> str:
    """Return a name made of content: 32 hexadecimal digits, as long as those that are drawn."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


# Version n to n + 1 under n; each runs inside one transaction with the new version number.
MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _name_events, 2: _keep_standings}


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
