"""One reader at work on a session in a viewer: everything goes to the session first, and is shown when it is stored."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from lesionlens.errors import InputError, LesionLensError
from lesionlens.review import Act, Event, Session
from lesionlens.review.reading import Reading
from lesionlens.ui.dialogs import main_window
from lesionlens.ui.questions import ask
from lesionlens.ui.review.case_view import CaseView
from lesionlens.ui.review.loading import CaseLoader, Loaded
from lesionlens.ui.scans import Opened

if TYPE_CHECKING:
    import napari.viewer

    from lesionlens.ui.overlays import Overlays

__all__ = ["Reviewer"]

# A view is kept when it has rested for so long.
_REST_MS = 600


class Reviewer(QObject):
    """Opens cases, shows findings, and stores what is decided and drawn.

    Parameters
    ----------
    viewer
        Where cases are shown.
    overlays
        Shows the results of a case.

    Attributes
    ----------
    reading : Reading or None
        The reader's way through the session that is open.
    case : str
        The case that is shown or being opened.
    drawing_new : bool
        What is drawn next is a finding of its own.
    changed : Signal()
        What is to be shown has changed.
    case_shown : Signal(object)
        A case was opened: its results, or None.
    stored : Signal(object, str)
        An event is on the disk: it, and what it was, in words.
    failed : Signal(str)
        Something could not be stored or read; empty when that is over.
    noted : Signal(str)
        To be read, no failure.
    """

    changed = Signal()
    case_shown = Signal(object)
    stored = Signal(object, str)
    failed = Signal(str)
    noted = Signal(str)

    def __init__(self, viewer: napari.viewer.Viewer, overlays: Overlays, parent: QObject) -> None:
        super().__init__(parent)
        self.reading: Reading | None = None
        self.view: CaseView | None = None
        self.changed_files: tuple[str, ...] = ()
        self.case = ""
        self.drawing_new = False
        self._viewer = viewer
        self._overlays = overlays
        self._loader: CaseLoader | None = None
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.timeout.connect(self.keep_view)
        self._sessions: list[Session] = []
        parent.destroyed.connect(partial(_close_all, self._sessions))

    @property
    def read_only(self) -> bool:
        """Whether nothing can be recorded."""
        return self.reading is None or self.reading.session.read_only

    @property
    def ready(self) -> bool:
        """Whether the case that was asked for is shown."""
        case = None if self.reading is None else self.reading.case
        return self.view is not None and case is not None and case.id == self.case

    @property
    def unsaved(self) -> bool:
        """Whether the screen shows something that is drawn and not stored."""
        return self.view is not None and self.view.drawing.touched and not self.read_only

    @property
    def at(self) -> Reading:
        """Where the reader is, while a session is open."""
        if self.reading is None:
            raise InputError("No session is open; open one first.")
        return self.reading

    def open_session(self, path: Path, reader: str) -> None:
        """Open a session, and in it the case and the finding where the reader stopped.

        Raises
        ------
        LesionLensError
            If it cannot be opened, or the reader has no name.
        """
        self.close_session()
        session = Session.open(path)
        self._sessions.append(session)
        try:
            self.reading = Reading(session, reader)
        except BaseException:
            _close_all(self._sessions)
            raise
        self._loader = CaseLoader(path, self)
        self._loader.loaded.connect(self._loaded)
        self._loader.failed.connect(self._not_loaded)
        self._loader.progressed.connect(lambda stage, done, total: self.noted.emit(f"{stage}… {done} of {total}"))
        self.open_case(self.reading.first_case())

    def close_session(self) -> None:
        """Keep what is there to keep, and close the session."""
        if self.reading is None:
            return
        self.flush()
        self.keep_view()
        self._leave_case()
        if self._loader is not None:
            self._loader.stop()
        _close_all(self._sessions)
        self.reading, self.case = None, ""

    def open_case(self, case: str) -> None:
        """Go to a case."""
        if self._loader is None or not self.flush():
            return
        self.keep_view()
        self.case = case
        self.noted.emit("Opening…")
        self.changed.emit()
        self._loader.want(self.at.session.case(case))

    def go_to(self, finding: str) -> None:
        """Show a finding of the open case."""
        if self.ready and self.flush():
            self.drawing_new = False
            self.at.finding = finding
            self._show_finding()

    def say(self, kind: str, value: Any) -> bool:
        """Record a verdict, category, confidence or comment on the finding; say whether that was stored."""
        finding = self.at.finding
        if self.read_only or not self.ready or not self.flush():
            return False
        if self.drawing_new or not finding:
            self.noted.emit("There is no finding to judge yet; draw one first.")
            return False
        words = "comment" if kind == "comment" else str(value) if kind == "verdict" else f"{kind} {value}"
        return self.store(partial(self.at.judge, kind, value), f"{finding}: {words}")

    def flush(self) -> bool:
        """Store what was drawn since the last time; say whether all that the screen shows is stored."""
        view = self.view
        if view is None or self.read_only or not view.drawing.touched:
            return True
        name = next(self.at.new_names()) if self.drawing_new else self.at.finding
        act = view.change(name, new=self.drawing_new)
        if act is not None and not self.store(partial(self.at.record, act), f"{name}: stroke"):
            return False
        view.settle()
        if self.drawing_new and act is not None:
            self.drawing_new, self.at.finding = False, name
            view.drawing.rename(name)
            self.keep_view()
        self.changed.emit()
        return True

    def keep_view(self) -> None:
        """Store where the reader looks, if it is somewhere else than before."""
        self._rest.stop()
        if self.read_only or not self.ready or self.view is None:
            return
        view, events = self.view.view(), self.at.events
        last = next((event.act for event in reversed(events) if event.act.kind in ("viewed", "opened")), None)
        if last is None or last.finding != self.at.finding or dict(last.value) != view:
            self.store(partial(self.at.record, Act("viewed", self.at.finding, view)), "")

    def moved(self) -> None:
        """Keep the view when it has come to rest."""
        if self.ready:
            self._rest.start(_REST_MS)

    def store(self, act: Callable[[], Event | None], words: str) -> bool:
        """Do what stores something; say on the screen that it is stored, or why it is not."""
        try:
            event = act()
        except InputError as error:
            self.noted.emit(str(error))
            return False
        except LesionLensError as error:
            self.failed.emit(str(error))
            return False
        self.failed.emit("")
        if event is not None:
            self.stored.emit(event, words)
        self.changed.emit()
        return True

    def refresh(self) -> None:
        """Show the finding as it is now, without looking elsewhere."""
        if self.view is not None:
            self.view.refresh(self.at.finding, self.at.events)
        self.changed.emit()

    def _show_finding(self, *, resume: bool = False) -> None:
        if self.view is not None:
            self.view.show(self.at.finding, self.at.events, self.at.last_view() if resume else None)
        self.keep_view()
        self.changed.emit()

    def _loaded(self, loaded: Loaded) -> None:
        entry = self.at.session.case(loaded.case)
        if not isinstance(loaded.answer, Opened):
            request = ask(loaded.answer, main_window())
            if request is None or self._loader is None:
                self._not_loaded(f"{entry.name} was not opened: {loaded.answer.error}")
            else:
                self._loader.again(entry, request)
            return
        before, self.view = self.view, None
        self.at.open(loaded.case)
        self.changed_files = loaded.changed
        try:
            self.view = CaseView(self._viewer, self._overlays, entry, loaded.answer, self)
            self.view.drawing.drawn.connect(self.flush)
            self.view.drawing.lock(locked=self.read_only)
            if not self.read_only:
                self.store(partial(self.at.record, Act("opened")), "")
            self._show_finding(resume=True)
        except LesionLensError as error:
            self._not_loaded(str(error))
        else:
            self.noted.emit("")
            self.case_shown.emit(loaded.answer.result)
        if before is not None:
            before.remove()
        following = self.at.incomplete_after(loaded.case)
        if following is not None and self._loader is not None:
            QTimer.singleShot(0, partial(self._loader.prefetch, self.at.session.case(following)))

    def _not_loaded(self, message: str) -> None:
        self._leave_case()
        self.noted.emit("")
        self.failed.emit(message)
        self.changed.emit()

    def _leave_case(self) -> None:
        self._rest.stop()
        self.drawing_new = False
        view, self.view = self.view, None
        if view is not None:
            view.remove()


def _close_all(sessions: list[Session], _widget: object = None) -> None:
    """Close sessions, also when the dock has gone and took everything of Qt with it."""
    while sessions:
        sessions.pop().close()
