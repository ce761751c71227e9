"""A napari window with the LesionLens dock, and what a user does with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from napari.layers import Layer
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QApplication

from lesionlens.ui.layers import volume_layer
from lesionlens.ui.open import settle
from lesionlens.ui.widget import LesionLensWidget
from lesionlens.volume import Volume

# Far more than anything takes on an idle machine: only a hang reaches it.
WAIT_MS = 60_000


def point(viewer: Any, place: Any) -> None:
    """Move the mouse to a place in the units of the viewer, from somewhere else in the picture."""
    viewer.mouse_over_canvas = True
    viewer.cursor.position = tuple(mm + 1 for mm in place)
    viewer.cursor.position = tuple(place)


@dataclass
class Window:
    """The window under test and what a user does with it."""

    viewer: Any
    widget: LesionLensWidget
    qtbot: Any

    def open(self, volume: Volume) -> Layer:
        """Add a scan as the reader does."""
        return self.viewer.add_layer(Layer.create(*volume_layer(volume)))

    def click(self, button: Any) -> None:
        """Press a button."""
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def click_row(self, row: int, column: int = 1) -> None:
        """Click a row of the region table, as it is sorted right now."""
        table = self.widget.table.table
        rect = table.visualRect(table.model().index(row, column))
        self.qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())

    def wait_for_run(self) -> None:
        """Wait until nothing runs."""
        self.qtbot.waitUntil(lambda: self.widget.job is None, timeout=WAIT_MS)

    def layer(self, name: str) -> Any:
        """Return a layer by name."""
        return self.viewer.layers[name]

    @property
    def names(self) -> list[str]:
        """Names of the layers, lowest first."""
        return [layer.name for layer in self.viewer.layers]

    @property
    def pixels(self) -> Any:
        """The canvas as it is drawn: (rows, columns, 3) uint8."""
        settle()
        return self.viewer.screenshot(canvas_only=True, flash=False)[..., :3]


def dock_into(viewer: Any, qtbot: Any) -> Window:
    """Add the LesionLens dock to a viewer."""
    widget = LesionLensWidget(viewer)
    viewer.window.add_dock_widget(widget, name="LesionLens", area="right")
    return Window(viewer, widget, qtbot)


def close_dock(window: Window) -> None:
    """Stop what runs and delete the dock, unless the test has done so."""
    try:
        window.widget.cancel()
        window.widget.measurer.drop()
        window.qtbot.waitUntil(lambda: window.widget.job is None, timeout=WAIT_MS)
        window.viewer.window.remove_dock_widget(window.widget)
        window.widget.deleteLater()
    except (RuntimeError, LookupError):  # deleted already
        return
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
