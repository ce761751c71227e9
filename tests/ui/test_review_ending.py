"""A dock *Review* that is closed, or a case that is left: what was drawn or written is stored, or its loss is said."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import pytest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QApplication, QMessageBox

from lesionlens.review import Session
from lesionlens.ui.review.close_guard import end_reading
from lesionlens.ui.review.keys import KEYS
from review_cases import blobs, make_session
from review_desk import Desk


@pytest.mark.parametrize(("unsaved", "kept"), [(False, True), (True, True), (False, False)])
def test_the_end_of_a_dock_stores_and_gives_back(notifications: list[Any], *, unsaved: bool, kept: bool) -> None:
    """First the keys and the window, then the storing; a session that holds what is not stored stays open."""
    dock = Mock()
    dock.reviewer.unsaved = unsaved
    dock.reviewer.keep_words.return_value = kept

    end_reading(dock.guard, dock.shortcuts, dock.reviewer)

    begun = [call.guard.leave(), call.shortcuts.stop(), call.reviewer.flush(), call.reviewer.keep_words()]
    stored = kept and not unsaved
    assert dock.mock_calls == begun + [call.reviewer.close_session()] * stored
    assert [("could not be saved" in str(one.message)) for one in notifications] == [True] * (not stored)


def begin_writing(desk: Desk) -> None:
    """Begin a comment and a category at the first finding and a comment at the second; keep none of them."""
    panel = desk.dock.panel
    desk.press(KEYS["comment"])
    desk.type("near a vessel")
    panel.category.setFocus()
    desk.type("vessel")
    desk.qtbot.mouseClick(panel.buttons["accept"], Qt.MouseButton.LeftButton)
    desk.press(KEYS["comment"])
    desk.type(" small ")


WRITTEN = [
    ("comment", "lesion-1", {"text": "near a vessel"}),
    ("category", "lesion-1", {"category": "vessel"}),
    ("comment", "lesion-2", {"text": "small"}),
]


def written(path: Path) -> list[Any]:
    """Return what the session has of what was written, sorted by finding, comments first."""
    with Session.open(path) as session:
        acts = [event.act for event in session.events() if event.act.kind in ("comment", "category")]
    return sorted(((act.kind, act.finding, act.value) for act in acts), key=lambda one: (one[1], one[0] != "comment"))


@pytest.mark.xvfb
def test_what_was_begun_is_kept_when_the_case_is_left(desk: Desk, tmp_path: Path) -> None:
    """A reader who writes and goes on has said it, with or without Enter."""
    path = make_session(tmp_path, blobs(3), blobs(2))
    dock = desk.open(path)
    begin_writing(desk)
    dock.panel.comment.clearFocus()
    desk.press(KEYS["next_case"])
    desk.wait()
    assert dock.reviewer.case == dock.reviewer.at.session.case_ids[1]
    assert dock.panel.comment.text() == ""
    dock.reviewer.close_session()
    assert written(path) == WRITTEN


@pytest.mark.xvfb
def test_what_was_begun_is_kept_when_the_dock_is_closed(desk: Desk, tmp_path: Path) -> None:
    """Words that nobody pressed Enter for are a reader's words all the same."""
    path = make_session(tmp_path, blobs(3))
    dock = desk.open(path)
    begin_writing(desk)
    desk.docks.remove(dock)
    desk.viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    assert written(path) == WRITTEN


@pytest.mark.xvfb
def test_a_window_that_closes_keeps_what_was_begun_or_asks(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the words cannot be stored the window stays, and so do they; nothing is stored twice."""
    path = make_session(tmp_path, blobs(3))
    dock = desk.open(path)
    begin_writing(desk)
    asked: list[str] = []
    buttons = QMessageBox.StandardButton
    monkeypatch.setattr(QMessageBox, "warning", lambda _window, _title, text, *_: asked.append(text) or buttons.Cancel)
    dock.reviewer.at.session._connection.execute("PRAGMA busy_timeout = 0")
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert dock.guard.eventFilter(desk.window, QCloseEvent())
        assert "wrote" in asked[0]
        assert "NOT SAVED" in dock.banners.failure.text()
        assert dock.panel.comment.text() == " small "
        other.execute("ROLLBACK")
    other.close()
    assert not dock.guard.eventFilter(desk.window, QCloseEvent())
    assert not dock.guard.eventFilter(desk.window, QCloseEvent())
    assert len(asked) == 1
    assert dock.panel.comment.text() == ""
    dock.reviewer.close_session()
    assert written(path) == WRITTEN
