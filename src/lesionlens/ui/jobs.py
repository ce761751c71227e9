"""Work in the background: the only place with threads.

A :class:`Job` runs one function in a thread and reports by Qt signals. The thread knows nothing of Qt: it leaves what
it has to say in plain attributes, and the job, which lives in the GUI's thread, looks there some times a second.
It never raises: whatever happens ends in exactly one of ``done``, ``failed`` and ``cancelled``, then ``ended``.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import napari
from napari.utils.task_status import Status
from qtpy.QtCore import QCoreApplication, QObject, QTimer, Signal

from lesionlens.errors import Cancelled, LesionLensError
from lesionlens.progress import Progress

__all__ = ["Job", "readable", "start_job"]

logger = logging.getLogger(__name__)

# How often to look at what the work says, and how often at most to tell it on: where there is a canvas, Qt draws the
# whole window for each new word in it, which takes the processor from the work.
_LOOK_MS = 50
_TELL_EVERY_S = 0.5

# How long a window that closes waits for its work to stop, which happens at the next step that it tells.
_PATIENCE_S = 2.0


class Job(QObject):
    """One function running in the background.

    Parameters
    ----------
    title
        What napari lists when the window is closed meanwhile.
    work
        Called in a background thread with a progress callback; it must not touch Qt or layers.

    Attributes
    ----------
    details : str
        Where in the program it failed, for whoever wants to know; empty where it did not.
    progressed : Signal(str, int, int)
        Stage, done, total; not each step that the work tells, but the last one whenever the job looks.
    done : Signal(object)
        What ``work`` returned.
    failed : Signal(str)
        One readable sentence.
    cancelled, ended : Signal()
        Stopped by the user; over, in whatever way.
    """

    progressed = Signal(str, int, int)
    done = Signal(object)
    failed = Signal(str)
    cancelled = Signal()
    ended = Signal()

    def __init__(self, title: str, work: Callable[[Progress], object]) -> None:
        super().__init__()
        self._task = _Task(title, work)
        self._thread = threading.Thread(target=self._task, name=title, daemon=True)
        self.details = ""
        self._told: _Step | None = None
        self._next_time = 0.0
        self._tell_napari = _listed(title, self._task.stop.set)
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self._look)

    def start(self) -> None:
        """Start the work."""
        _running.add(self)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.abandon)
        self._tell_napari(Status.BUSY)
        self._thread.start()
        self._timer.start()

    def cancel(self) -> None:
        """Ask the work to stop; it does so at its next report of progress."""
        self._task.stop.set()

    def abandon(self) -> None:
        """Stop the work, wait a little for that, and report nothing any more: who wanted it is gone."""
        self.blockSignals(True)
        self.cancel()
        self._thread.join(_PATIENCE_S)
        self._look()

    def _look(self) -> None:
        over = not self._thread.is_alive()  # before the step, so that the last one is not missed
        step, now = self._task.step, time.monotonic()
        if step is not None and step is not self._told and (over or now >= self._next_time):
            self._told, self._next_time = step, now + _TELL_EVERY_S
            self.progressed.emit(*step)
        if not over:
            _collect_garbage()
        elif _running.discard(self):
            self._finish()

    def _finish(self) -> None:
        self._timer.stop()
        self._tell_napari(Status.COMPLETED)
        task = self._task
        if task.stop.is_set() or isinstance(task.error, Cancelled):
            self.cancelled.emit()
        elif task.error is not None:
            self.details = "".join(traceback.format_exception(task.error))
            self.failed.emit(readable(task.error))
        else:
            self.done.emit(task.result)
        self.ended.emit()


_Step = tuple[str, int, int]


class _Running:
    """The jobs that run, kept until they end, whatever becomes of the windows that started them."""

    def __init__(self) -> None:
        self.jobs: set[Job] = set()
        self._meanwhile = ExitStack()

    def add(self, job: Job) -> None:
        if not self.jobs:
            self._meanwhile.enter_context(_threads_leave_qt_alone())
        self.jobs.add(job)

    def discard(self, job: Job) -> bool:
        """Let go of a job; say whether it was there."""
        if job not in self.jobs:
            return False
        self.jobs.discard(job)
        if not self.jobs:
            self._meanwhile.close()
        return True


_running = _Running()


@contextmanager
def _threads_leave_qt_alone() -> Iterator[None]:
    """Keep threads off Qt inside the block where Python itself would bring them to it.

    Python collects garbage in whatever thread happens to need memory. Windows that were closed leave Qt objects in it,
    and when those die outside of the GUI's thread the process crashes, at some time later. So it is collected by the
    GUI's thread alone (:func:`_collect_garbage`). And napari shows warnings in its window; those that come up here are
    the libraries', and for the log.
    """
    automatic = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = _log_warning
            yield
    finally:
        if automatic:
            gc.enable()


def _collect_garbage() -> None:
    """Collect the oldest garbage that is due, as Python does by itself when it is allowed to."""
    counts = gc.get_count()
    due = [n for n, most in enumerate(gc.get_threshold()) if most and counts[n] > most]
    if due:
        gc.collect(due[-1])


def _log_warning(message: Warning | str, category: type[Warning], filename: str, *_: object, **__: object) -> None:
    logger.info("%s: %s (%s)", category.__name__, message, filename)


def _listed(title: str, cancel: Callable[[], object]) -> Callable[[Status], object]:
    """Return a way to tell napari, which lists what runs when its window is closed, how the work stands."""
    viewer = napari.current_viewer()
    if viewer is None:
        return lambda _: None
    window = viewer.window  # which has no public name for it; napari's own workers use the same
    task = window._register_task_status("LesionLens", Status.PENDING, title, cancel_callback=cancel)
    return lambda status: window._update_task_status(task, status, title)


def start_job(
    owner: QObject,
    title: str,
    function: Callable[[Progress], object],
    *,
    done: Callable[[Any], None],
    failed: Callable[[str], None],
) -> Job:
    """Start a job that ends with its owner: closing the window stops what runs in it."""
    job = Job(title, function)
    job.done.connect(done)
    job.failed.connect(failed)
    owner.destroyed.connect(job.abandon)
    job.start()
    return job


class _Task:
    """The function that runs in the thread; keeps how far it is and what came of it.

    It holds no Qt object, so that none can die with the thread.
    """

    def __init__(self, title: str, work: Callable[[Progress], object]) -> None:
        self.title = title
        self.stop = threading.Event()
        self.step: _Step | None = None
        self.result: object = None
        self.error: Exception | None = None
        self._work = work

    def __call__(self) -> None:
        try:
            self.result = self._work(self._report)
        except Exception as error:  # a thread has nobody to catch it; the user gets a sentence, the log the rest
            self.error = error
            if not isinstance(error, LesionLensError):
                logger.exception("%s failed", self.title)

    def _report(self, stage: str, done: int, total: int) -> None:
        if self.stop.is_set():
            raise Cancelled("Stopped by the user.")
        self.step = stage, done, total


def readable(error: Exception) -> str:
    """Say in one sentence what went wrong."""
    if isinstance(error, LesionLensError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory for this; close other programs or use a smaller volume."
    return f"Something unexpected went wrong ({type(error).__name__}: {error}). The log has the details."
