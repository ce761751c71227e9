"""Work in the background and the window that it must not freeze."""

from __future__ import annotations

import gc
import threading
from typing import Any

import napari
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QApplication

from lesionlens.progress import Progress
from lesionlens.ui import jobs
from lesionlens.ui.jobs import Job, start_job
from ui_window import WAIT_MS


def wait_for(job: Job, qtbot: Any) -> None:
    """Wait until a job is over."""
    qtbot.waitUntil(lambda: job not in jobs._running.jobs, timeout=WAIT_MS)


class Held:
    """Work that goes on until it is stopped or let go."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.ended = threading.Event()

    def __call__(self, progress: Progress) -> None:
        """Work."""
        try:
            while not self.go_on.wait(0.001):
                progress("Working", 0, 1)
        finally:
            self.ended.set()


def test_work_stops_while_the_window_is_busy(qtbot: Any) -> None:
    """The window is busy as long as this test does not let it work; what was cancelled must not wait for that."""
    work = Held()
    job = Job("test", work)
    over: list[bool] = []
    job.cancelled.connect(lambda: over.append(True))
    job.start()

    job.cancel()
    stopped = work.ended.wait(WAIT_MS / 1000)
    wait_for(job, qtbot)

    assert stopped
    assert over == [True]


def test_many_steps_are_told_a_few_at_a_time(qtbot: Any) -> None:
    """A thousand headers are read faster than the window could draw their numbers; the last one is always told."""

    def work(progress: Progress) -> None:
        for done in range(1000):
            progress("Working", done, 1000)
        progress("Writing", 0, 1)

    job = Job("test", work)
    told: list[tuple[str, int]] = []
    job.progressed.connect(lambda stage, done, _: told.append((stage, done)))
    job.start()
    wait_for(job, qtbot)

    assert 0 < len(told) < 500
    assert told[-1] == ("Writing", 0)


def test_work_ends_with_its_owner_and_tells_nobody(qtbot: Any) -> None:
    """When a window has been deleted no thread of it is left, and nothing is written into what was in it."""
    owner, work = QObject(), Held()
    told: list[Any] = []
    job = start_job(owner, "test", work, done=told.append, failed=told.append)
    for signal in (job.cancelled, job.ended):
        signal.connect(lambda: told.append("over"))

    owner.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)

    assert work.ended.is_set()
    assert job not in jobs._running.jobs
    qtbot.wait(2 * jobs._LOOK_MS)
    assert told == []


def test_garbage_dies_in_the_thread_of_the_window(qtbot: Any) -> None:
    """Closed windows are garbage full of Qt objects, which crash the process when another thread collects them."""
    died_in: list[int] = []

    class Cycle:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            died_in.append(threading.get_ident())

    def work(progress: Progress) -> None:
        Cycle()
        while not died_in:
            progress("Working", 0, 1)
            list(map(list, [()] * 10_000))  # so many objects at a time make Python collect

    job = Job("test", work)
    job.start()
    during = gc.isenabled()
    wait_for(job, qtbot)

    assert died_in == [threading.get_ident()]
    assert (during, gc.isenabled()) == (False, True)


def test_napari_lists_what_runs_while_it_runs(viewer: napari.Viewer, qtbot: Any) -> None:
    """It asks before a window is closed in which work would be lost, and not for ever after."""
    work = Held()
    job = Job("LesionLens: a test", work)
    manager = viewer.window._task_status_manager

    job.start()
    listed = manager.get_status()
    work.go_on.set()
    wait_for(job, qtbot)

    assert any("LesionLens: a test" in entry for entry in listed)
    assert not any("LesionLens: a test" in entry for entry in manager.get_status())
