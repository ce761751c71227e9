"""One view: an anatomical plane on a canvas of its own, with its name and place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from napari.components.overlays import TextOverlay
from napari.qt import QtViewer
from qtpy.QtCore import Qt

from lesionlens.display import DisplayView, Plane
from lesionlens.ui.canvas import annotate
from lesionlens.ui.layers import volume_of

if TYPE_CHECKING:
    from qtpy.QtGui import QDragEnterEvent, QDropEvent, QMouseEvent

__all__ = ["Pane", "keep_plane"]

_TITLE = "lesionlens_plane"
_TITLE_POINTS = 10
_SMALLEST = 160


class Pane(QtViewer):  # type: ignore[misc]  # napari has no type hints
    """A canvas that keeps to one plane.

    It takes no keys: they belong to the main viewer, wherever the mouse was last. What is dropped on it is opened
    there as well.

    Parameters
    ----------
    plane
        What it shows.
    main
        Canvas of the main viewer.
    """

    def __init__(self, plane: Plane, main: QtViewer) -> None:
        super().__init__(ViewerModel(title=plane.name))
        self.plane = plane
        self.model: ViewerModel = self.viewer
        self._main = main
        self.setMinimumSize(_SMALLEST, _SMALLEST)
        self.canvas.native.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.dims.hide()  # the wheel goes through the slices, and the room is needed
        annotate(self.model, bare=True)
        self.model.canvas.overlays[_TITLE] = TextOverlay(position="top_left", font_size=_TITLE_POINTS)
        keep_plane(self.model, plane)
        events = self.model.dims.events
        for event in (events.point, events.order, self.model.layers.events.inserted, self.model.layers.events.removed):
            event.connect(self._write)

    @property
    def title(self) -> str:
        """What is written at the top left: the plane and its place."""
        return str(self.model.canvas.overlays[_TITLE].text)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802  # Qt's name
        """Give the keys to the main viewer."""
        self._main.canvas.native.setFocus()
        super().mousePressEvent(event)

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:  # noqa: N802  # Qt's name
        """Take what the main canvas takes."""
        self._main.dragEnterEvent(event)

    def dropEvent(self, event: QDropEvent | None) -> None:  # noqa: N802  # Qt's name
        """Open in the main viewer what is dropped."""
        self._main.dropEvent(event)

    def _write(self, _event: Any = None) -> None:
        overlay = self.model.canvas.overlays[_TITLE]
        scans = [volume for layer in self.model.layers if (volume := volume_of(layer)) is not None]
        place = ""
        if scans and self.model.dims.ndim == 3:
            view = DisplayView(scans[-1].grid)
            axis = self.plane.order[0]
            place = f"\n{view.slice_place(axis, self.model.dims.current_step[axis])}"
        overlay.text = f"{self.plane.name.capitalize()}{place}"
        overlay.visible = bool(self.model.layers)


def keep_plane(model: ViewerModel, plane: Plane) -> None:
    """Let a viewer show one plane from now on; layers may add axes in front of the scan's three."""
    dims = model.dims

    def turn(_event: Any = None) -> None:
        front = dims.ndim - 3
        if front >= 0:
            dims.order = (*range(front), *(front + axis for axis in plane.order))

    for event in (dims.events.ndim, model.layers.events.inserted):
        event.connect(turn)
    turn()
