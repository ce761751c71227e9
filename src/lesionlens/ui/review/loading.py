"""Cases of a session, read in the background; the next one before it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from lesionlens.progress import Progress
from lesionlens.results import read_record
from lesionlens.review import CaseEntry
from lesionlens.sessions import changed_of, path_of
from lesionlens.ui.jobs import Job, start_job
from lesionlens.ui.scans import Opened, Question, Request, open_scan

__all__ = ["CaseLoader", "Loaded", "read_scan_of"]


@dataclass(frozen=True)
class Loaded:
    """A case that was read.

    Parameters
    ----------
    case
        Its name.
    answer
        The scan and its results, or what has to be chosen first.
    changed
        Results that are not what they were when the session was made.
    """

    case: str
    answer: Opened | Question
    changed: tuple[str, ...] = ()


def read_scan_of(entry: CaseEntry, path: Path, progress: Progress, request: Request | None = None) -> Loaded:
    """Read a case of the session at a path, in the way in which its run has read it.

    Raises
    ------
    LesionLensError
        If it cannot be read, or the scan is not the one of the results.
    """
    results = path_of(entry.results, path)
    if request is None:
        options = read_record(results).get("options", {})
        request = Request(
            path_of(entry.scan, path),
            series=options.get("series"),
            stack=options.get("stack"),
            irregular=options.get("irregular", "refuse"),
            results=results,
            measured=False,
        )
    return Loaded(entry.id, open_scan(request, progress), changed_of(entry, path))


class CaseLoader(QObject):
    """Reads one case at a time and keeps one that nobody has asked for yet, no more: a scan may take gigabytes.

    Parameters
    ----------
    path
        The session.

    Attributes
    ----------
    loaded : Signal(object)
        The :class:`Loaded` that was asked for.
    failed : Signal(str)
        Why it could not be read.
    progressed : Signal(str, int, int)
        How far the reading of what was asked for is.
    """

    loaded = Signal(object)
    failed = Signal(str)
    progressed = Signal(str, int, int)

    def __init__(self, path: Path, parent: QObject) -> None:
        super().__init__(parent)
        self.kept: Loaded | None = None
        self._path = path
        self._wanted = ""
        self._reading = ""
        self._job: Job | None = None
        self._next: CaseEntry | None = None

    def want(self, entry: CaseEntry) -> None:
        """Ask for a case: it comes at once if it was read before it was asked for."""
        self._wanted, self._next = entry.id, None
        kept, self.kept = self.kept, None
        if kept is not None and kept.case == entry.id:
            self._give(kept)
        elif self._reading != entry.id:
            self._begin(entry)

    def prefetch(self, entry: CaseEntry) -> None:
        """Read a case that will be asked for, as soon as nothing else is being read."""
        self._next = entry
        self._go_on()

    def again(self, entry: CaseEntry, request: Request) -> None:
        """Read a case in the way that somebody has chosen."""
        self._wanted = entry.id
        self._begin(entry, request)

    def stop(self) -> None:
        """Stop what is being read and let go of everything."""
        self._wanted, self._reading, self.kept, self._next = "", "", None, None
        if self._job is not None:
            self._job.abandon()
            self._job = None

    def _begin(self, entry: CaseEntry, request: Request | None = None) -> None:
        if self._job is not None:
            self._job.cancel()
        self._reading = entry.id
        job = start_job(
            self,
            f"LesionLens: opening {entry.name}",
            partial(read_scan_of, entry, self._path, request=request),
            done=self._done,
            failed=partial(self._fail, entry.id),
        )
        self._job = job
        job.progressed.connect(self._tell)
        job.ended.connect(partial(self._ended, job))

    def _done(self, loaded: Loaded) -> None:
        if loaded.case != self._reading:
            return  # something else was asked for meanwhile
        if loaded.case == self._wanted:
            self._give(loaded)
        else:
            self.kept = loaded

    def _give(self, loaded: Loaded) -> None:
        self._wanted = ""
        self.loaded.emit(loaded)

    def _fail(self, case: str, message: str) -> None:
        """Say why; a case that nobody has asked for yet says it when it is asked for."""
        if case == self._wanted:
            self._wanted = ""
            self.failed.emit(message)

    def _tell(self, *step: Any) -> None:
        if self._reading == self._wanted:
            self.progressed.emit(*step)

    def _ended(self, job: Job) -> None:
        if self._job is job:
            self._job, self._reading = None, ""
            self._go_on()

    def _go_on(self) -> None:
        """Begin with the next case, unless something is being read, was asked for, or it is there already."""
        entry = self._next
        if self._job is None and not self._wanted and entry is not None:
            self._next = None
            if self.kept is None or self.kept.case != entry.id:
                self.kept = None
                self._begin(entry)
