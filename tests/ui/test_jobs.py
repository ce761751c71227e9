"""Work in the background and the window that it must not freeze."""

from __future__ import annotations

import threading
from typing import Any

from lesionlens.progress import Progress
from lesionlens.ui import jobs
from lesionlens.ui.jobs import Job
from ui_window import WAIT_MS


def test_work_waits_for_a_busy_window_and_can_be_stopped_meanwhile(qtbot: Any) -> None:
    """The window is busy as long as this test does not let it work; closing it then must not wait for the work."""
    told, ended = threading.Event(), threading.Event()
    went_on: list[bool] = []

    def work(progress: Progress) -> None:
        told.set()
        try:
            progress("Working", 0, 1)
            went_on.append(True)
        finally:
            ended.set()

    job = Job("test", work)
    over: list[bool] = []
    job.cancelled.connect(lambda: over.append(True))
    job.start()
    assert told.wait(WAIT_MS / 1000)
    job.cancel()
    assert ended.wait(WAIT_MS / 1000)
    qtbot.waitUntil(lambda: job not in jobs._RUNNING, timeout=WAIT_MS)

    assert went_on == []
    assert over == [True]


def test_many_steps_are_told_a_few_at_a_time(qtbot: Any) -> None:
    """A thousand headers are read faster than the window could draw their numbers."""

    def work(progress: Progress) -> None:
        for done in range(1000):
            progress("Working", done, 1000)
        progress("Writing", 0, 1)

    job = Job("test", work)
    told: list[tuple[str, int]] = []
    job.progressed.connect(lambda stage, done, _: told.append((stage, done)))
    job.start()
    qtbot.waitUntil(lambda: job not in jobs._RUNNING, timeout=WAIT_MS)

    assert len(told) < 500
    assert told[0] == ("Working", 0)
    assert told[-1] == ("Writing", 0)
