"""One reader at work on a session in a viewer: which case and which finding are shown."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from lesionlens.errors import LesionLensError
from lesionlens.review import Act, Session
from lesionlens.review.reading import Reading
from lesionlens.sessions import REGIONS
from lesionlens.ui.dialogs import main_window
from lesionlens.ui.questions import ask
from lesionlens.ui.review.case_view import CaseView
from lesionlens.ui.review.loading import CaseLoader, Loaded
from lesionlens.ui.review.recorder import Recorder
from lesionlens.ui.scans import Opened

if TYPE_CHECKING:
    import napari.viewer

    from lesionlens.ui.overlays import Overlays

__all__ = ["Reviewer"]


class Reviewer(Recorder):
    """Opens sessions and cases, and shows findings.

    Parameters
    ----------
    viewer
        Where cases are shown.
    overlays
        Shows the results of a case.

    Attributes
    ----------
    changed_files : tuple of str
        Results of the case that are not what they were.
    case_shown : Signal(object)
        A case was opened: its results, or None.
    """

    case_shown = Signal(object)

    def __init__(self, viewer: napari.viewer.Viewer, overlays: Overlays, parent: QObject) -> None:
        super().__init__(parent)
        self.changed_files: tuple[str, ...] = ()
        self._viewer = viewer
        self._overlays = overlays
        self._loader: CaseLoader | None = None
        self._sessions: list[Session] = []
        parent.destroyed.connect(partial(_close_all, self._sessions))

    @property
    def outlines_changed(self) -> bool:
        """Whether the regions of the case are others: a stroke is kept as a change of what the model drew."""
        return any(name.startswith(REGIONS) for name in self.changed_files)

    @property
    def volumes_mm3(self) -> dict[str, float]:
        """Volume of each finding of the open case as it is drawn now."""
        edited = {} if self.view is None else self.view.volumes.of(self.at.findings, self.at.events)
        return {**self.at.volumes_mm3, **edited}

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
        self.keep_words()
        self.keep_view()
        self._leave_case()
        if self._loader is not None:
            self._loader.stop()
        _close_all(self._sessions)
        self.reading, self.case = None, ""

    def open_case(self, case: str) -> None:
        """Go to a case."""
        if self._loader is None or not (self.flush() and self.keep_words()):
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

    def show_model(self) -> None:
        """Show the model's findings to a reader who has searched the case, once that is recorded."""
        if self.view is None or not self.store(self.at.reveal_model, "own search ended"):
            return
        self.view.show_model()
        waiting = self.at.waiting_after()
        if waiting is not None:
            self.go_to(waiting)
        self.noted.emit("These are the model's findings; judge them, and close the case once more.")

    def decide_together(self, of: Sequence[str], *, prefill: bool) -> None:
        """Show what other readers said of the case, once that is recorded, and go to what they do not agree on."""
        if self.view is None or not self.ready or self.read_only or not self.flush():
            return
        hidden = self.at.model_hidden
        if not self.store(partial(self.at.decide_together, of, prefill=prefill), f"shown what {', '.join(of)} said"):
            return
        if hidden:
            self.view.show_model()
        waiting = len(self.at.state.open)
        finding = self.at.waiting_after() or self.at.finding
        if finding:
            self.go_to(finding)
        self.noted.emit(f"{waiting} of {len(self.at.findings)} findings wait for your verdict.")

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
            bare = self.at.model_hidden
            self.view = CaseView(self._viewer, self._overlays, entry, loaded.answer, self, bare=bare)
            self.view.drawing.drawn.connect(self.flush)
            self.view.lines.drawn.connect(self.measure)
            self.view.drawing.lock(locked=self.read_only or self.outlines_changed)
            if not self.read_only:
                self.store(partial(self.at.record, Act("opened")), "")
            self._show_finding(resume=True)
        except LesionLensError as error:
            self._not_loaded(str(error))
        else:
            self.noted.emit("")
            if self.read_only:
                self.failed.emit("")  # elsewhere the event that was stored has said so
            self.case_shown.emit(None if bare else loaded.answer.result)
            if bare:
                self.noted.emit("Search the scan on your own first; closing the case shows the model's findings.")
        if before is not None:
            before.remove()
        following = self.at.incomplete_after(loaded.case)
        if following is not None and self._loader is not None:
            self._loader.prefetch(self.at.session.case(following))

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
