"""The dock *Views*: axial, coronal and sagittal, linked with each other and with the main viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtWidgets import QSplitter, QVBoxLayout, QWidget

from lesionlens.display import PLANES
from lesionlens.ui import convention
from lesionlens.ui.canvas import RESEARCH_USE_ONLY, annotate
from lesionlens.ui.docking import go_with_frame, itself, share_place
from lesionlens.ui.links import Connections
from lesionlens.ui.parts import Note
from lesionlens.ui.pointing import Pointing
from lesionlens.ui.slab import slab_of
from lesionlens.ui.under_cursor import spot_at
from lesionlens.ui.views.controls import Controls
from lesionlens.ui.views.linkage import Linkage, canvas_of
from lesionlens.ui.views.pane import Pane
from lesionlens.ui.views.words import spot_words

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["ViewsWidget"]

_SIZE = (420, 820)
_READOUT_HEIGHT = 90


class ViewsWidget(QWidget):
    """Axial, coronal and sagittal views of everything that the main viewer shows.

    The common position is that of the main viewer's sliders. All values, layers and styles are those of the main
    viewer: the dock owns no data.

    Parameters
    ----------
    viewer
        The viewer that the widget is docked in.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer = itself(viewer)
        main = canvas_of(viewer)
        annotate(viewer)
        self.controls = Controls()
        self.panes = [Pane(plane, main) for plane in PLANES.values()]
        self.readout = Note()
        self.failure = Note()
        self.linkage = Linkage(viewer, main, self.panes)
        self._splitter = QSplitter(Qt.Orientation.Vertical)
        self._later = _soon(self, self._write)
        self._fit_later = _soon(self, self.linkage.fit_again)
        self._ends = Connections()
        self._pointing = [Pointing() for _ in (viewer, *self.panes)]
        self._arrange()
        self._connect()
        share_place(self)
        go_with_frame(self)
        # Where napari's window is closed, Qt deletes what is in it without a word.
        self._window = main.window()
        self._window.installEventFilter(self)
        self._write()

    def sizeHint(self) -> QSize:  # noqa: N802  # Qt's name
        """Ask for room for three pictures below each other."""
        return QSize(*_SIZE)

    def shut(self) -> None:
        """Let go of the viewers and their drawings; doing it again changes nothing."""
        if not self._ends:
            return
        self._window.removeEventFilter(self)
        self._ends.stop()
        self.linkage.stop()
        for pane in self.panes:
            pane.close()

    def event(self, event: QEvent) -> bool:
        """Let go before Qt deletes what is inside: a canvas that is deleted with it leaks what it drew."""
        if event.type() == QEvent.Type.DeferredDelete:
            self.shut()
        return super().event(event)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802  # Qt's name
        """Let go before the window is deleted."""
        if event.type() == QEvent.Type.DeferredDelete:
            self.shut()
        return super().eventFilter(watched, event)

    def showEvent(self, event: Any) -> None:  # noqa: N802  # Qt's name
        """Show the whole scan once there is room for it."""
        super().showEvent(event)
        self._fit_later.start()

    def resizeEvent(self, event: Any) -> None:  # noqa: N802  # Qt's name
        """Lay the views out along the longer side."""
        super().resizeEvent(event)
        across = self.width() > self.height()
        self._splitter.setOrientation(Qt.Orientation.Horizontal if across else Qt.Orientation.Vertical)

    def _connect(self) -> None:
        viewers = [self.viewer, *(pane.model for pane in self.panes)]
        for viewer in viewers:
            for event in (viewer.cursor.events.position, viewer.events.mouse_over_canvas, viewer.dims.events.point):
                self._ends.add(event, self._write_later)
        for number, viewer in enumerate(viewers):
            self._follow_mouse(number, viewer)
        self._ends.add(self.viewer.layers.events, self._write_later)
        for pane in self.panes:
            self._ends.add(pane.model.canvas.events.size, self._resized)
        convention.follow(self, _show_convention)
        self.controls.slab_changed.connect(self.linkage.set_slab)
        self.controls.slab_changed.connect(self._write_later)
        self.controls.linked.toggled.connect(self.linkage.link)
        self.controls.crosshair.toggled.connect(self.linkage.show_crosshairs)
        self.controls.fit.clicked.connect(self.linkage.fit)
        self.controls.crosshair.setEnabled(not self.linkage.missing)
        self.failure.say(self.linkage.missing)

    def _follow_mouse(self, number: int, viewer: Any) -> None:
        def look(_event: Any = None) -> None:
            self._pointing[number].look(viewer)

        look()
        self._ends.add(viewer.cursor.events.position, look)
        self._ends.add(viewer.events.mouse_over_canvas, look)

    def _write_later(self, *_event: Any) -> None:
        self._later.start()

    def _resized(self, _event: Any = None) -> None:
        self._fit_later.start()

    def _write(self) -> None:
        """Say what is under the cursor, or under the crosshair where the mouse is elsewhere."""
        viewers = [self.viewer, *(pane.model for pane in self.panes)]
        for number, viewer in enumerate(viewers):
            spot = spot_at(viewer, viewer.cursor.position) if self._pointing[number].at_place else None
            if spot is not None:
                self.readout.say(spot_words(spot, source="Cursor", central=slab_of(viewer) is not None))
                return
        spot = spot_at(self.viewer, self.viewer.dims.point)
        self.readout.say(spot_words(spot, source="Crosshair", central=slab_of(self.panes[0].model) is not None))

    def _arrange(self) -> None:
        for pane in self.panes:
            self._splitter.addWidget(pane)
        # Rows come and go with the overlays; the pictures must not move with them.
        self.readout.setMinimumHeight(_READOUT_HEIGHT)
        self.readout.setAlignment(Qt.AlignmentFlag.AlignTop)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.controls)
        column.addWidget(self._splitter, 1)
        column.addWidget(self.readout)
        column.addWidget(self.failure)
        notice = Note(f"<b>{RESEARCH_USE_ONLY}</b>")
        notice.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column.addWidget(notice)


def _show_convention(dock: ViewsWidget) -> None:
    if isalive(dock):  # type: ignore[no-untyped-call]  # qtpy.compat has no hints
        dock.controls.show_convention()


def _soon(dock: ViewsWidget, step: Any) -> QTimer:
    """Return a timer that calls a step once, however often it is started before Qt is idle."""
    timer = QTimer(dock)
    timer.setSingleShot(True)
    timer.setInterval(0)
    timer.timeout.connect(step)
    return timer
