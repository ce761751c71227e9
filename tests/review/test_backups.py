"""Copies beside a session: renewed while somebody reads, never in the way, never more than a few."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from lesionlens.review import Act, CaseEntry, Finding, Session, backups
from lesionlens.review.backups import BACKUPS, EVENTS_BETWEEN, SECONDS_BETWEEN


def comment(text: object) -> Act:
    """Return a comment."""
    return Act("comment", "lesion-1", {"text": str(text)})


def copy_of(path: Path, number: int) -> Path:
    """Return where a copy lies, the newest under 1."""
    return path.with_name(f"{path.name}.backup-{number}")


def texts_of(path: Path) -> list[str]:
    """Return the comments in a copy, by SQLite alone."""
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT json_extract(value, '$.text') FROM events ORDER BY id").fetchall()
    connection.close()
    return [text for (text,) in found]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a session of one case."""
    target = tmp_path / "reading.session"
    finding = Finding("lesion-1", "lesion", 1, {})
    Session.create(target, [CaseEntry("case-1", "case-1", "a", "b", {}, (finding,))]).close()
    return target


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a clock that shows what it holds."""
    now = [0.0]
    monkeypatch.setattr(backups.time, "monotonic", lambda: now[0])
    return now


def test_the_newest_copy_is_renewed_while_somebody_reads(path: Path, clock: list[float]) -> None:
    """After so many events, or at the end of a case when it is old; and not before."""
    with Session.open(path) as session:
        for n in range(EVENTS_BETWEEN):
            assert texts_of(copy_of(path, 1)) == []
            session.record("Ann", "case-1", [comment(n)])
        session._backups.finish()
        assert texts_of(copy_of(path, 1)) == [str(n) for n in range(EVENTS_BETWEEN)]

        closing = [Act("verdict", "lesion-1", {"verdict": "accept"}), Act("done")]
        session.record("Ann", "case-1", closing)
        session._backups.finish()
        assert len(texts_of(copy_of(path, 1))) == EVENTS_BETWEEN
        clock[0] = SECONDS_BETWEEN
        session.record("Ann", "case-1", closing)
        session._backups.finish()
        assert len(texts_of(copy_of(path, 1))) == EVENTS_BETWEEN + 4
        assert session.copy_problem == ""


def test_copies_of_earlier_sittings_are_not_pushed_out(path: Path) -> None:
    """However long somebody reads, the other copies are what earlier sittings have left."""
    for sitting in range(BACKUPS + 1):
        with Session.open(path) as session:
            for _ in range(3):
                session.record("Ann", "case-1", [comment(sitting)] * EVENTS_BETWEEN)
                session._backups.finish()

    last = [texts_of(copy_of(path, number))[-1] for number in range(1, BACKUPS + 1)]
    assert last == [str(BACKUPS - n) for n in range(BACKUPS)]
    assert not copy_of(path, BACKUPS + 1).exists()
    assert not list(path.parent.glob(".*.backup*"))


def test_nobody_waits_for_a_copy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are recorded while a copy is being made, and closing waits until it is whole."""
    going, go_on = threading.Event(), threading.Event()
    make = backups.Backups._make

    def slow(self: backups.Backups, connection: sqlite3.Connection, *, checked: bool) -> None:
        going.set()
        assert go_on.wait(10)
        make(self, connection, checked=checked)

    with Session.open(path) as session:
        monkeypatch.setattr(backups.Backups, "_make", slow)
        session.record("Ann", "case-1", [comment(0)] * EVENTS_BETWEEN)
        assert going.wait(10)
        session.record("Ann", "case-1", [comment(1)] * EVENTS_BETWEEN)
        assert len(session.events()) == 2 * EVENTS_BETWEEN
        assert texts_of(copy_of(path, 1)) == []
        go_on.set()

    assert texts_of(copy_of(path, 1))[:EVENTS_BETWEEN] == ["0"] * EVENTS_BETWEEN


def test_a_copy_that_cannot_be_made_is_said_and_stops_nobody(path: Path) -> None:
    """Something is in its place: the events are stored all the same, and the next copy works again."""
    with Session.open(path) as session:
        obstacle = path.with_name(f".{path.name}.backup")
        obstacle.mkdir()
        session.record("Ann", "case-1", [comment(0)] * EVENTS_BETWEEN)
        session._backups.finish()
        assert "cannot be copied" in session.copy_problem
        assert len(session.events()) == EVENTS_BETWEEN
        obstacle.rmdir()

        session.record("Ann", "case-1", [comment(1)] * EVENTS_BETWEEN)
        session._backups.finish()
        assert session.copy_problem == ""
    assert len(texts_of(copy_of(path, 1))) == 2 * EVENTS_BETWEEN


def test_a_damaged_session_takes_no_good_copy_away(path: Path) -> None:
    """A page that goes bad while somebody reads is said, and the copies stay as they were."""
    with Session.open(path) as session:
        session.record("Ann", "case-1", [comment(n) for n in range(EVENTS_BETWEEN - 1)])
    with Session.open(path) as session:
        good = copy_of(path, 1).read_bytes()
        (page,) = session._rows("SELECT rootpage FROM sqlite_schema WHERE name = 'events_of_case'")[0]
        (size,) = session._rows("PRAGMA page_size")[0]
        with path.open("r+b") as file:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)
        session._backups.recorded(EVENTS_BETWEEN, closed=False)
        session._backups.finish()

        assert "damaged while it was open" in session.copy_problem
        assert copy_of(path, 1).read_bytes() == good
