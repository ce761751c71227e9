"""The dock *Review*: a reader goes through the cases of a session and judges every finding."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning
from qtpy.compat import isalive
from qtpy.QtCore import QEvent
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QMainWindow, QPushButton, QWidget

from lesionlens.errors import InputError, LesionLensError
from lesionlens.pipeline import RunOptions
from lesionlens.review.reading import seconds_to_verdict
from lesionlens.ui.appearance import default_styles
from lesionlens.ui.canvas import show_plane
from lesionlens.ui.docking import itself
from lesionlens.ui.key_dialog import KeyDialog
from lesionlens.ui.overlay_controls import OverlayControls
from lesionlens.ui.overlays import Overlays
from lesionlens.ui.parts import Note, Section, bring_into_sight, column_of, line, scrolled
from lesionlens.ui.review.actions import Actions
from lesionlens.ui.review.banner import Banners
from lesionlens.ui.review.close_guard import CloseGuard, end_reading
from lesionlens.ui.review.keys import ACTIONS, KEYS, keep_keys, load_keys
from lesionlens.ui.review.lists import CaseList, FindingTable, judged_words
from lesionlens.ui.review.panel import JudgingPanel
from lesionlens.ui.review.reviewer import Reviewer
from lesionlens.ui.review.shortcuts import Shortcuts
from lesionlens.ui.review.start_form import StartForm
from lesionlens.ui.review.together import TogetherForm
from lesionlens.ui.review.words import keep_words, say_words
from lesionlens.ui.taken_keys import taken_keys

if TYPE_CHECKING:
    import napari.viewer

    from lesionlens.results import CaseResult
    from lesionlens.review import Event

__all__ = ["ReviewWidget"]


class ReviewWidget(QWidget):
    """Judge findings by keys; what the dock says to be saved is on the disk.

    Parameters
    ----------
    viewer
        The viewer that the widget is docked in.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer = itself(viewer)
        self.window_of_viewer: QMainWindow = viewer.window._qt_window  # napari has no public name for it
        styles = default_styles(threshold=RunOptions(input=Path()).threshold)
        self.overlays = Overlays(viewer, styles)
        self.reviewer = Reviewer(viewer, self.overlays, self)
        self.actor = Actions(self.reviewer, self)
        self.start = StartForm()
        self.banners = Banners()
        self.progress = QLabel()
        self.case = QLabel()
        self.cases = CaseList()
        self.findings = FindingTable()
        self.panel = JudgingPanel()
        self.note = Note()
        self.saved = Note()
        self.goes_on = QCheckBox("A verdict leads to the next finding")
        self.goes_on.setChecked(True)
        self.edit_keys = QPushButton("Keys…")
        self.controls = OverlayControls(styles)
        self.together = TogetherForm()
        self.shortcuts = Shortcuts(self.window_of_viewer, self)
        self._categories: dict[str, None] = {}
        self._arrange()
        self._connect()
        self._take_keys()
        self._show()

    def open_session(self, path: str, reader: str) -> bool:
        """Open a session as a reader; say whether that went well. Why not is said in the dock."""
        try:
            self.reviewer.open_session(Path(path), reader)
        except LesionLensError as error:
            self.banners.fail(str(error), again=False)
            return False
        self.start.propose(path, reader)
        self.together.set_session(Path(path), reader)
        self.saved.say("" if self.reviewer.read_only else "Saved: nothing yet")  # the buttons below keep their place
        self._categories = {}
        self.start_section.heading.setChecked(False)
        self._focus_canvas()
        return True

    def event(self, event: QEvent) -> bool:
        """Store what is there to store before the dock is deleted; nobody shall draw on what is stored no more."""
        if event.type() == QEvent.Type.DeferredDelete:
            end_reading(self.guard, self.shortcuts, self.reviewer)
        return super().event(event)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802  # Qt's name
        """Listen to keys while the dock is seen."""
        self.shortcuts.listen(on=True)
        super().showEvent(event)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802  # Qt's name
        """Nobody judges by keys what they do not see."""
        self.shortcuts.listen(on=False)
        super().hideEvent(event)

    def _show(self) -> None:
        """Show how things stand in the session."""
        reviewer, reading = self.reviewer, self.reviewer.reading
        self.panel.allow(self.actor.allowed)
        self.banners.say_read_only(read_only=reading is not None and reviewer.read_only)
        self.banners.say_changed(reviewer.changed_files if reviewer.ready else (), outlines=reviewer.outlines_changed)
        self.banners.say_copies(reading.session.copy_problem if reading is not None else "")
        self.findings.setEnabled(reviewer.ready)
        if reading is None:
            return
        self.progress.setText(f"<b>{reading.progress}</b> · {reading.reader}")
        place = list(reading.statuses).index(reviewer.case) + 1
        status = reading.statuses[reviewer.case][0]
        name = reading.case.name if reading.case is not None and reviewer.ready else reviewer.case
        words = f"Case {place} of {len(reading.statuses)}: <b>{name}</b>, {status}"
        self.case.setText(f"{words} · {judged_words(reading.findings)}" if reviewer.ready else words)
        self.cases.show_cases(reading.statuses, reviewer.case)
        states = reading.findings if reviewer.ready else []
        current = reading.finding if reviewer.ready and not reviewer.drawing_new else ""
        self._categories |= {state.category: None for state in states if state.category}
        seconds = seconds_to_verdict(reading.events)
        others = reading.others
        self.findings.show_findings(states, reviewer.volumes_mm3, seconds, others, current)
        view, words = reviewer.view, others.get(current, "")
        self.panel.show_finding(
            reading.state.findings.get(current),
            place=(str(reading.session.path), reading.reader, reviewer.case, current),
            flagged=reading.state.flagged,
            hidden=view is not None and view.bare,
            tool="" if view is None else view.tool,
            categories=list(self._categories),
            others=words,
        )

    def _show_case(self, result: CaseResult | None) -> None:
        if result is not None:
            self.controls.set_threshold(result.threshold)
            self.controls.offer(list(result.labels), self.overlays.kinds)
        if self.reviewer.view is not None:
            self.reviewer.view.drawing.layer.events.mode.connect(self._show_tool)
            self.reviewer.view.drawing.undo_wanted.connect(lambda: self.actor.do("undo"))
            self.reviewer.view.drawing.redo_wanted.connect(lambda: self.actor.do("redo"))
        self._show()
        self._offer_readers()

    def _offer_readers(self) -> None:
        """Offer those who have closed the case, where somebody looks: to know it takes a look at all readers."""
        if self.together_section.heading.isChecked() and self.reviewer.ready:
            self.together.offer(() if self.reviewer.read_only else self.reviewer.at.finished)

    def _show_tool(self, _event: Any = None) -> None:
        self._show()

    def _acknowledge(self, event: Event, words: str) -> None:
        """Say that something is on the disk; only what is gets here."""
        if words:
            at = datetime.fromisoformat(event.at).astimezone()
            self.saved.say(f"Saved {at:%H:%M:%S} · {words}")
            self.note.say("")

    def _fail(self, message: str) -> None:
        can_try = self.reviewer.view is not None and self.reviewer.view.drawing.touched
        self.banners.fail(f"NOT SAVED. {message}" if message and self.reviewer.ready else message, again=can_try)
        if message:
            self.saved.say("")  # the red banner says what is not

    def _focus_canvas(self) -> None:
        self.viewer.window._qt_viewer.canvas.native.setFocus()

    def _take_keys(self) -> None:
        try:
            keys = load_keys()
        except InputError as error:
            show_warning(str(error))
            keys = dict(KEYS)
        self.keys = keys
        self.shortcuts.set_keys(keys)
        self.panel.set_keys(keys)
        self.banners.again.setText(f"Try again to save  {keys['save_again']}")

    def _edit_keys(self) -> None:
        taken = taken_keys(self.window_of_viewer, by_others_than="review")
        dialog = KeyDialog(ACTIONS, self.keys, lambda keys: keep_keys(keys, taken), parent=self)
        if dialog.exec():
            self._take_keys()
        dialog.deleteLater()

    def _connect(self) -> None:
        reviewer = self.reviewer
        reviewer.keep_words = lambda: keep_words(self.panel, reviewer)
        reviewer.changed.connect(self._show)
        reviewer.case_shown.connect(self._show_case)
        reviewer.stored.connect(self._acknowledge)
        reviewer.failed.connect(self._fail)
        reviewer.noted.connect(self.note.say)
        self.start.wanted.connect(self.open_session)
        self.shortcuts.pressed.connect(self.actor.do)
        self.panel.pressed.connect(self.actor.do)
        self.panel.said.connect(lambda kind, text: say_words(self.panel, reviewer, kind, text))
        self.panel.left.connect(self._focus_canvas)
        self.actor.text_wanted.connect(self.panel.write)
        self.banners.again.clicked.connect(lambda: self.actor.do("save_again"))
        self.cases.case_chosen.connect(reviewer.open_case)
        self.findings.finding_chosen.connect(reviewer.go_to)
        self.goes_on.toggled.connect(lambda on: setattr(self.actor, "goes_on", on))
        self.edit_keys.clicked.connect(self._edit_keys)
        self.together_section.opened.connect(self._offer_readers)
        self.together_section.opened.connect(lambda: bring_into_sight(self.together))
        self.together.wanted.connect(lambda of, fill: reviewer.decide_together(of, prefill=fill))
        self.controls.restyled.connect(lambda kind, changes: self.overlays.restyle(kind, **changes))
        self.controls.class_chosen.connect(self.overlays.show_class)
        self.controls.plane_chosen.connect(lambda plane: show_plane(self.viewer, plane))
        for moved in (self.viewer.scene.camera.events, self.viewer.dims.events):
            moved.connect(self._moved)
        self.guard = CloseGuard(self.window_of_viewer, lambda: reviewer.keep_words() and not reviewer.unsaved)

    def _moved(self, _event: Any = None) -> None:
        if isalive(self):  # type: ignore[no-untyped-call]  # napari's events do not know that the dock was closed
            self.reviewer.moved()

    def _arrange(self) -> None:
        self.start_section = Section("Session", self.start)
        self.start_section.open()
        bottom = QWidget()
        row = QHBoxLayout(bottom)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.goes_on, 1)
        row.addWidget(self.edit_keys)
        parts = (self.banners, self.start_section, self.progress, self.case, Section("Cases", self.cases))
        self.together_section = Section("Several readers, agreement, export", self.together)
        sections = (Section("Overlays", self.controls), self.together_section)
        rest = (self.findings, self.saved, self.note, self.panel, bottom, line(), *sections)
        scrolled(self, column_of(*parts), *rest)
