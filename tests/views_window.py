"""The dock *Views* in a window, and what a user sees in it."""

from __future__ import annotations

from typing import Any

from napari.layers import Layer
from numpy.typing import NDArray
from qtpy.compat import isalive
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication

from lesionlens.ui import convention
from lesionlens.ui.layers import volume_layer
from lesionlens.ui.views.dock import ViewsWidget
from lesionlens.ui.views.pane import Pane
from lesionlens.volume import Volume

LETTERS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "Inf": (2, -1)}


def dock_views(viewer: Any) -> ViewsWidget:
    """Open the dock."""
    widget = ViewsWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Views", area="bottom")
    return widget


def close_views(viewer: Any, widget: ViewsWidget) -> None:
    """Close the dock, unless the test has done so, and bring the convention back that all begin with."""
    convention.set_convention(convention.RADIOLOGICAL)
    if isalive(widget):
        viewer.window.remove_dock_widget(widget)
        widget.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


def open_scan(viewer: Any, volume: Volume) -> Any:
    """Add a scan as the reader does."""
    return viewer.add_layer(Layer.create(*volume_layer(volume)))


def letters(model: Any) -> dict[str, str]:
    """Return the letters on a canvas by their sides."""
    overlays = {side: model.canvas.overlays[f"lesionlens_edge_{side}"] for side in ("left", "right", "top", "bottom")}
    return {side: overlay.text for side, overlay in overlays.items() if overlay.visible}


def on_screen(model: Any, position: NDArray[Any]) -> tuple[float, float]:
    """Return where a display position lies from the middle of the canvas, in units to the right and downwards."""
    vertical, horizontal = model.dims.displayed
    down, right = model.scene.camera.orientation2d
    y, x = position[[vertical, horizontal]] - model.scene.camera.center[-2:]
    return float(x) * (1 if str(right) == "right" else -1), float(y) * (1 if str(down) == "down" else -1)


def copy_of(pane: Pane, name: str) -> Any:
    """Return a layer of a view."""
    return pane.model.layers[name]
