"""How docks of LesionLens come into a window: with the viewer itself, and as tabs of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["go_with_frame", "itself", "share_place"]

_OURS = "lesionlens."


def itself(viewer: napari.viewer.Viewer) -> napari.viewer.Viewer:
    """Return a viewer where napari hands over a stand-in, as ``napari -w`` does.

    What one dock notes about the stand-in no other dock would find.
    """
    found: napari.viewer.Viewer = getattr(viewer, "__wrapped__", viewer)
    return found


def share_place(dock: QWidget) -> None:
    """Let a dock share its place with those of LesionLens that are there, as tabs, when it comes into a window.

    napari puts docks below each other, where three of them leave each a few rows. Whoever moves one afterwards finds
    it where it was put.
    """
    dock.installEventFilter(_Place(dock))


def go_with_frame(dock: QWidget) -> None:
    """Delete a dock when the user closes its frame, so that what it draws, listens to and runs ends with it.

    napari takes the dock out of the frame and leaves it to Python, which deletes it some time later, or never.
    """
    dock.installEventFilter(_Frame(dock))


class _Frame(QObject):
    """Waits until a dock is taken out of its frame."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802  # Qt's name
        """Let the dock go after its frame."""
        if event.type() == QEvent.Type.ParentChange and watched is self.parent() and watched.parent() is None:
            watched.deleteLater()
        return super().eventFilter(watched, event)


class _Place(QObject):
    """Waits until a dock comes into a window, and then no more."""

    _framed = Signal()

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock)
        self._dock = dock
        # Once the frame is added and before it is shown: a dock with canvases takes seconds to draw, and would be seen
        # squeezed below the others.
        self._framed.connect(self._share, Qt.ConnectionType.QueuedConnection)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802  # Qt's name
        """Look to where the frame of the dock comes."""
        changed = event.type() == QEvent.Type.ParentChange and watched is self._dock
        if changed and isinstance(self._dock.parentWidget(), QDockWidget):
            self._dock.removeEventFilter(self)
            self._framed.emit()
        return super().eventFilter(watched, event)

    def _share(self) -> None:
        frame = self._dock.parentWidget()
        window = self._dock.window()
        if not isinstance(frame, QDockWidget) or not isinstance(window, QMainWindow) or frame.isFloating():
            return
        area = window.dockWidgetArea(frame)
        for other in window.findChildren(QDockWidget):
            if other is not frame and _ours(other) and not other.isFloating() and window.dockWidgetArea(other) == area:
                window.tabifyDockWidget(other, frame)
                frame.show()
                frame.raise_()
                return


def _ours(frame: QDockWidget) -> bool:
    """Say whether LesionLens is in a frame that is seen."""
    content = frame.widget()
    return content is not None and type(content).__module__.startswith(_OURS) and not frame.isHidden()
