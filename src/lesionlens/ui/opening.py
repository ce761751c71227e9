"""Opening a scan in a viewer: read in the background, its picture on the canvas as far as it goes.

The picture is a layer of its own that says that it is loading. It holds grey levels, not values, and makes room for
the scan when that was read whole; nothing can be run on it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Layer
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QMainWindow, QProgressBar, QPushButton, QWidget

from lesionlens.report.preview import Preview
from lesionlens.ui.canvas import annotate
from lesionlens.ui.jobs import Job, start_job
from lesionlens.ui.layers import loading_layer
from lesionlens.ui.navigation import show_as_taken, show_slice
from lesionlens.ui.notices import show_failure
from lesionlens.ui.questions import ask
from lesionlens.ui.recent_dialog import RecentDialog, remember
from lesionlens.ui.scans import Opened, Question, Request, open_scan

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["Opening", "open_path", "open_recent"]

# The first picture is wanted at once. Drawing a later one takes as long as decoding some slices, and as much of the
# processor, so there are not many.
_FIRST_LOOK_MS = 50
_LOOK_MS = 1000
_BAR_WIDTH = 150
_TEXT_WIDTH = 230


def open_path(viewer: napari.viewer.Viewer, path: str) -> None:
    """Read a scan in the background; its layer is in the viewer when it is there."""
    Opening(viewer, Request(Path(path)))


def open_recent(viewer: napari.viewer.Viewer) -> None:
    """Ask for a case that was opened lately, and open it."""
    dialog = RecentDialog(_main_window(viewer))
    dialog.exec()
    request = dialog.request
    dialog.deleteLater()
    if request is not None:
        Opening(viewer, request)


class Opening(QObject):
    """One scan that is being opened; closing the window stops it.

    It has no parent and keeps no reference to the window, but is kept itself until it is over. As a child of the window
    it would be deleted with it, or on its own behalf; and where it held the last reference to a window that had been
    closed, its end would delete the window, and the window its children, of which it was one.

    Parameters
    ----------
    viewer
        Where it shall be shown.
    request
        What to open.

    Attributes
    ----------
    opened : Signal(object)
        The :class:`~lesionlens.ui.scans.Opened`, when its layer is there.
    failed : Signal(str)
        Why there is none; the user has been told.
    ended : Signal()
        Over, in whatever way: opened, failed, cancelled, or the user changed their mind.
    """

    opened = Signal(object)
    failed = Signal(str)
    ended = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, request: Request) -> None:
        super().__init__()
        self.layer: Layer | None = None
        self.line = _ProgressLine()
        self._viewer = viewer
        self._job: Job | None = None
        self._preview = Preview()
        self._drawn = 0
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._draw)
        self.line.cancel.clicked.connect(self.cancel)
        annotate(viewer)
        _openings.add(self)
        window = _main_window(viewer)
        window.statusBar().addPermanentWidget(self.line)
        window.destroyed.connect(self._let_go)
        self._begin(request)

    def cancel(self) -> None:
        """Stop reading, at the next slice."""
        self.line.stage.setText("Cancelling…")
        if self._job is not None:
            self._job.cancel()

    def _begin(self, request: Request) -> None:
        self._preview, self._request = Preview(), request
        self._job = start_job(
            _main_window(self._viewer),
            "LesionLens: opening a scan",
            partial(open_scan, request, on_slice=self._preview),
            done=self._answered,
            failed=self._fail,
        )
        self._job.progressed.connect(self.line.show_progress)
        self._job.cancelled.connect(self._end)
        self._timer.start(_FIRST_LOOK_MS)

    def _answered(self, answer: Opened | Question) -> None:
        if not self._is_open():
            self._end()
        elif isinstance(answer, Opened):
            self._show(answer)
        else:
            self._timer.stop()
            request = ask(answer, _main_window(self._viewer))
            if request is None or not self._is_open():
                self._end()
            else:
                self._begin(request)

    def _show(self, opened: Opened) -> None:
        """Put the scan where its picture was."""
        alone = not self._viewer.layers
        self._viewer.add_layer(Layer.create(*opened.layer))
        if self._request.remembered:
            remember(self._request)
        if alone:  # there was no picture, which would have been shown so
            show_as_taken(self._viewer, opened.volume)
        self._end()
        self.opened.emit(opened)

    def _fail(self, message: str) -> None:
        details = "" if self._job is None else self._job.details
        self._end()
        show_failure(message, details)
        self.failed.emit(message)

    def _end(self) -> None:
        layer, self.layer = self.layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
        if self._is_open():
            _main_window(self._viewer).statusBar().removeWidget(self.line)
            self.line.deleteLater()
        self._let_go()
        self.ended.emit()

    def _let_go(self) -> None:
        self._timer.stop()
        _openings.discard(self)

    def _is_open(self) -> bool:
        """Say whether the window takes layers: napari lets go of it on closing, Qt deletes it some time later."""
        return hasattr(self._viewer.window, "_qt_window")

    def _draw(self) -> None:
        """Show what has been decoded since the last look."""
        removed = self.layer is not None and self.layer not in self._viewer.layers
        if removed or not self._is_open():
            self.cancel()
        elif self._preview.first is not None and self._preview.done != self._drawn:
            self._drawn = self._preview.done
            if self.layer is None:
                self._show_first()
            else:
                self.layer.refresh(thumbnail=False, highlight=False, extent=False)

    def _show_first(self) -> None:
        self._timer.start(_LOOK_MS)
        alone = not self._viewer.layers
        self.layer = self._viewer.add_layer(Layer.create(*loading_layer(self._preview)))
        if alone and self._preview.first is not None:
            show_slice(self._viewer, self._preview.first.grid, self._preview.first.k)


# What is being opened.
_openings: set[Opening] = set()


def _main_window(viewer: napari.viewer.Viewer) -> QMainWindow:
    """Return what has a status bar and asks questions, for which napari has no public name."""
    window: QMainWindow = viewer.window._qt_window
    return window


class _ProgressLine(QWidget):
    """What is being read, how far it is, and a button to stop it: for the status bar."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = QLabel("Opening…")
        self.bar = QProgressBar()
        self.bar.setRange(0, 0)
        # Of fixed width: otherwise the whole window would be laid out anew at each step.
        self.bar.setFixedWidth(_BAR_WIDTH)
        self.stage.setFixedWidth(_TEXT_WIDTH)
        self.cancel = QPushButton("Cancel")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.stage, self.bar, self.cancel):
            layout.addWidget(part)

    def show_progress(self, stage: str, done: int, total: int) -> None:
        """Show how far it is."""
        self.stage.setText(f"{stage}… {done} of {total}" if total > 0 else f"{stage}…")
        self.bar.setRange(0, total)
        self.bar.setValue(done)
