"""Session files of older versions: opened, kept as copies, and the same in every copy."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from lesionlens.errors import ReadError
from lesionlens.review import Act, Session
from lesionlens.review.file import take
from lesionlens.review.portable import copy_of, to_bytes
from lesionlens.review.schema import MIGRATIONS, VERSION

# What version 1 made, word for word.
VERSION_1 = """
BEGIN;
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
PRAGMA application_id = 1280078451;
PRAGMA user_version = 1;
COMMIT;
"""
ROWS = (
    (1, 1, "verdict", "lesion-1", '{"verdict": "accept"}', b""),
    (2, 1, "comment", "lesion-1", '{"text": "big"}', b""),
    (3, 3, "edit", "lesion-1", "{}", b"\x00\x01"),
    (4, 4, "undo", "", '{"step": 3}', b""),
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return a session file as version 1 left it."""
    path = tmp_path / "old.session"
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1)
    connection.executemany("INSERT INTO about VALUES (?, ?)", [("created", "2026-08-01"), ("title", "Old")])
    connection.execute("INSERT INTO cases VALUES ('case-001', 0, 'case-001', 'a.nii', 'a', '{\"scan\": \"ab\"}')")
    connection.execute("INSERT INTO findings VALUES ('case-001', 0, 'lesion-1', 'lesion', 1, '{}')")
    for number, step, kind, finding, value, mask in ROWS:
        row = (number, step, f"2026-08-01T00:00:0{number}+00:00", "Ann", "case-001", finding, kind, value, mask)
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    connection.commit()
    connection.close()
    return path


def version_of(path: Path) -> int:
    """Return the version that a file says it has."""
    connection = sqlite3.connect(path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(version)


def test_there_is_a_way_from_every_version() -> None:
    """None may be skipped, or files of that time could not be opened."""
    assert sorted(MIGRATIONS) == list(range(1, VERSION))


def test_an_old_session_is_brought_up_to_date(old: Path) -> None:
    """What was decided is there, a copy of the old file lies beside it, and the file goes on as a new one."""
    with Session.open(old) as session:
        events = session.events()
        assert [(e.id, e.step, e.act.kind, e.act.finding, e.act.mask) for e in events] == [
            (number, step, kind, finding, mask) for number, step, kind, finding, _, mask in ROWS
        ]
        assert len({event.uid for event in events}) == len(ROWS)
        assert session.state("case-001", "Ann").findings["lesion-1"].verdict == "accept"
        kept = session._rows("SELECT reader, case_id, status, last_event FROM standing")
        assert kept == [("Ann", "case-001", "partly", len(ROWS))]
        session.record("Ann", "case-001", [Act("done")])
    assert version_of(old) == VERSION
    assert version_of(old.with_name("old.session.backup-1")) == 1
    connection = sqlite3.connect(old)
    for statement in ("DELETE FROM events", "UPDATE events SET uid = ''"):
        with pytest.raises(sqlite3.IntegrityError, match="never"):
            connection.execute(statement)
    connection.close()


def test_copies_of_one_old_session_stay_copies(old: Path) -> None:
    """Two readers may have taken the file home before the update: their events have the same names."""
    twin = Path(shutil.copy(old, old.with_name("twin.session")))
    with Session.open(old) as one, Session.open(twin) as other:
        assert to_bytes(copy_of(one)) == to_bytes(copy_of(other))


def test_an_old_session_that_cannot_be_written_is_read_all_the_same(old: Path) -> None:
    """Somebody else has it: its content is brought up to date in memory, and the file is left alone."""
    before = old.read_bytes()
    lock = take(old)
    assert lock is not None
    with Session.open(old) as session:
        assert session.read_only
        assert session.state("case-001", "Ann").findings["lesion-1"].comments == ("big",)
    lock.release()

    assert old.read_bytes() == before


def test_a_migration_is_whole_or_not_at_all(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that fails in its middle leaves the old version."""

    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE events ADD COLUMN uid TEXT NOT NULL DEFAULT ''")
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setitem(MIGRATIONS, 1, fails)
        with pytest.raises(RuntimeError, match="power cut"):
            Session.open(old)

    assert version_of(old) == 1
    with Session.open(old) as session:
        assert len(session.events()) == len(ROWS)


def test_a_newer_version_is_refused_and_left_alone(old: Path) -> None:
    """By name, with its version and what to do; nothing in it or beside it changes."""
    connection = sqlite3.connect(old)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    before = old.read_bytes()

    for read_only in (False, True):
        with pytest.raises(ReadError, match=rf"old\.session was made by a newer LesionLens \(version {VERSION + 1}"):
            Session.open(old, read_only=read_only)

    assert old.read_bytes() == before
    assert not list(old.parent.glob("*backup*"))
