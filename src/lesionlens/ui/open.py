"""A viewer with a scan, its results and the LesionLens dock: what the command line opens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import napari
from napari.layers import Layer
from qtpy.QtWidgets import QApplication

from lesionlens.heatmap import LabelMap
from lesionlens.ui.layers import overlay_layer, volume_layer
from lesionlens.ui.widget import LesionLensWidget

if TYPE_CHECKING:
    from lesionlens.heatmap import Heatmap
    from lesionlens.results import CaseResult
    from lesionlens.volume import Volume

__all__ = ["open_viewer", "save_screenshot", "settle"]

_TITLE = "LesionLens"
_DOCK_AREA = "right"
# A window in which the dock, the canvas and napari's own controls have room.
_WINDOW = (1500, 940)
# Layout, OpenGL and overlays each need a round of the event loop to settle.
_ROUNDS = 5


def open_viewer(
    volume: Volume,
    result: CaseResult | None = None,
    *,
    overlays: Sequence[Heatmap | LabelMap] = (),
    show: bool = True,
    block: bool = False,
) -> napari.Viewer:
    """Open napari with a scan, the LesionLens dock and, where there are some, results.

    Parameters
    ----------
    volume
        The scan.
    result
        Results of that scan; opens on the largest region.
    overlays
        Masks and maps from elsewhere, on the grid of the scan.
    show
        False keeps the window hidden.
    block
        True hands over to the user and returns when the window was closed.
    """
    viewer = napari.Viewer(title=_TITLE, show=show, show_welcome_screen=False)
    viewer.window.resize(*_WINDOW)
    viewer.add_layer(Layer.create(*volume_layer(volume)))
    for overlay in overlays:
        _add_overlay(viewer, overlay, volume)
    widget = LesionLensWidget(viewer)
    viewer.window.add_dock_widget(widget, name=_TITLE, area=_DOCK_AREA)
    if result is not None:
        widget.show_result(result)
        widget.table.choose_first()
    if show:
        settle()  # the canvas gets its final size only now
    viewer.reset_view()
    if block:
        napari.run()
    return viewer


def _add_overlay(viewer: napari.Viewer, overlay: Heatmap | LabelMap, scan: Volume) -> None:
    layer = Layer.create(*overlay_layer(overlay, scan))
    if isinstance(overlay, LabelMap):
        layer.contour = 1
        layer.editable = False  # painting would change what somebody else marked
    viewer.add_layer(layer)


def save_screenshot(viewer: napari.Viewer, path: str | Path) -> Path:
    """Save a picture of the whole window as PNG; an existing file is replaced."""
    settle()
    viewer.screenshot(str(path), canvas_only=False, flash=False)
    return Path(path)


def settle() -> None:
    """Let Qt lay out and draw everything that is waiting."""
    for _ in range(_ROUNDS):
        QApplication.processEvents()
