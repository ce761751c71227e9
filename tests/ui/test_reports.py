"""A report from napari's menus: asked for, written beside the window's work, and said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QFileDialog

from lesionlens.batch import verify
from lesionlens.ui import commands, jobs
from reviewed_runs import write_run
from ui_window import WAIT_MS


def choose(monkeypatch: pytest.MonkeyPatch, folder: Path, file: Path | str) -> None:
    """Answer both questions."""
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(file), ""))


def wait(qtbot: Any) -> None:
    """Wait until nothing runs."""
    qtbot.waitUntil(lambda: not jobs._running.jobs, timeout=WAIT_MS)


def test_a_report_is_written_where_it_is_wanted(
    viewer: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is the sealed one of the command line; who closes a question gets nothing."""
    assert viewer is not None
    _, results = write_run(tmp_path, "scan", "one")
    choose(monkeypatch, results, "")
    commands.report()
    assert not jobs._running.jobs

    choose(monkeypatch, results, tmp_path / "a.html")
    commands.report()
    wait(qtbot)

    assert verify(tmp_path / "a.html").right
    assert any("The report is in" in str(one.message) for one in notification_manager.records)


def test_what_is_no_folder_of_results_is_said(
    viewer: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sentence, as for every other error."""
    assert viewer is not None
    choose(monkeypatch, tmp_path, tmp_path / "a.html")

    commands.report()
    wait(qtbot)

    assert any("holds none of record.json" in str(one.message) for one in notification_manager.records)
    assert not (tmp_path / "a.html").exists()
