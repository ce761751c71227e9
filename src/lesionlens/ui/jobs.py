"""Work in the background: the only place with threads.

A :class:`Job` runs one function in a thread of napari's and reports by Qt signals, which arrive in the GUI's thread.
It never raises: whatever happens ends in exactly one of ``done``, ``failed`` and ``cancelled``, then ``ended``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari.qt.threading import create_worker
from napari.utils.notifications import show_warning
from qtpy.QtCore import QObject, QTimer, Signal
from superqt.utils import FunctionWorker

import lesionlens
from lesionlens.errors import Cancelled, LesionLensError
from lesionlens.progress import Progress

__all__ = ["Job", "readable", "start_job"]

logger = logging.getLogger(__name__)

# Thousands of headers are read in a second; drawing each step would take longer than reading it.
_TELL_EVERY_S = 0.1

# Decoders of compressed images hold Python's lock for a whole image, up to a tenth of a second, and the window needs
# the lock hundreds of times to draw once. So the work waits after each step that it tells until the window has nothing
# to do, but no longer than this; meanwhile it looks so often whether it has been stopped.
_PATIENCE_S = 5.0
_LOOK_S = 0.05

_PACKAGE = str(Path(lesionlens.__file__).parent)


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
    progressed : Signal(str, int, int)
        Stage, done, total.
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
    _waiting = Signal()

    def __init__(self, title: str, work: Callable[[Progress], object]) -> None:
        super().__init__()
        self._task = _Task(title, work, self._report)
        self._worker: Any = None
        self._idle = threading.Event()
        self._stage, self._next_time = "", 0.0
        self._waiting.connect(self._when_idle)

    def start(self) -> None:
        """Start the work."""
        _RUNNING.add(self)
        self._worker = create_worker(self._task, _start_thread=False, _worker_class=FunctionWorker, _ignore_errors=True)
        self._worker.warned.connect(_relay_warning)
        self._worker.finished.connect(self._finish)
        self._worker.start()

    def cancel(self) -> None:
        """Ask the work to stop; it does so at its next report of progress."""
        self._task.stop.set()

    def _report(self, stage: str, done: int, total: int) -> None:
        self._raise_if_stopped()
        if stage == self._stage and time.monotonic() < self._next_time:
            return
        self.progressed.emit(stage, done, total)
        began = time.monotonic()
        self._give_way()
        ended = time.monotonic()
        # At least half of the time is for the work, however slow the screen is.
        self._stage, self._next_time = stage, ended + max(_TELL_EVERY_S, ended - began)

    def _give_way(self) -> None:
        """Let the window do what it has to; called in the thread of the work."""
        self._idle.clear()
        self._waiting.emit()
        end = time.monotonic() + _PATIENCE_S
        while not self._idle.wait(_LOOK_S) and time.monotonic() < end:
            self._raise_if_stopped()

    def _when_idle(self) -> None:
        QTimer.singleShot(0, self._idle.set)  # Qt's way to say: when there is nothing else

    def _raise_if_stopped(self) -> None:
        if self._stopped():
            raise Cancelled("Stopped by the user.")

    def _stopped(self) -> bool:
        # The second is napari's own way to stop its workers, when the window closes.
        return self._task.stop.is_set() or bool(self._worker.abort_requested)

    def _finish(self) -> None:
        _RUNNING.discard(self)
        task = self._task
        if self._stopped() or isinstance(task.error, Cancelled):
            self.cancelled.emit()
        elif task.error is not None:
            self.failed.emit(readable(task.error))
        else:
            self.done.emit(task.result)
        self.ended.emit()


# A Qt object must be deleted in its own thread: without this, the last reference to a job whose window was closed
# would be dropped by the thread that runs it.
_RUNNING: set[Job] = set()


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
    owner.destroyed.connect(job.cancel)
    job.start()
    return job


class _Task:
    """The function that runs in the thread; keeps what came of it."""

    def __init__(self, title: str, work: Callable[[Progress], object], report: Progress) -> None:
        self.title = title
        self.stop = threading.Event()
        self.result: object = None
        self.error: Exception | None = None
        self._work = work
        self._report = report

    def __call__(self) -> None:
        try:
            self.result = self._work(self._report)
        except Exception as error:  # a thread has nobody to catch it; the user gets a sentence, the log the rest
            self.error = error
            if not isinstance(error, LesionLensError):
                logger.exception("%s failed", self.title)

    def __str__(self) -> str:
        return self.title


def readable(error: Exception) -> str:
    """Say in one sentence what went wrong."""
    if isinstance(error, LesionLensError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory for this; close other programs or use a smaller volume."
    return f"Something unexpected went wrong ({type(error).__name__}: {error}). The log has the details."


def _relay_warning(warned: tuple[Any, ...]) -> None:
    """Show warnings of LesionLens; those of the libraries below are for the log."""
    message, category, filename = warned[:3]
    if str(filename).startswith(_PACKAGE):
        show_warning(str(message))
    else:
        logger.info("%s: %s (%s)", category.__name__, message, filename)
