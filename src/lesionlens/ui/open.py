"""A viewer with a scan, its results and the LesionLens dock: what the command line opens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import napari
import numpy as np
from napari.layers import Layer
from qtpy.QtWidgets import QApplication

from lesionlens.heatmap import LabelMap
from lesionlens.report.slices import slice_that_shows
from lesionlens.ui.layers import heatmap_of, overlay_layer, volume_layer
from lesionlens.ui.navigation import go_to_slice, show_as_taken
from lesionlens.ui.notices import show_failure, show_notes
from lesionlens.ui.opening import Opening
from lesionlens.ui.overlays import ELSEWHERE_KEY
from lesionlens.ui.widget import LesionLensWidget

if TYPE_CHECKING:
    from lesionlens.heatmap import Heatmap
    from lesionlens.results import CaseResult
    from lesionlens.ui.scans import Opened, Request
    from lesionlens.volume import Volume

__all__ = ["add_overlay", "open_viewer", "save_screenshot", "settle", "view_scan"]

_TITLE = "LesionLens"
_DOCK_AREA = "right"
# A window in which the dock, the canvas and napari's own controls have room.
_WINDOW = (1500, 940)
# Layout, OpenGL and overlays each need a round of the event loop to settle.
_ROUNDS = 5
# Of maps with both signs, less than this part of the largest magnitude says little.
_SIGNED_FROM = 0.05


def open_viewer(
    volume: Volume,
    result: CaseResult | None = None,
    *,
    overlays: Sequence[Heatmap | LabelMap] = (),
    show: bool = True,
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
    """
    viewer, widget = _window(show=show)
    viewer.add_layer(Layer.create(*volume_layer(volume)))
    show_as_taken(viewer, volume)
    _show_over(viewer, widget, volume, result, overlays)
    if show:
        settle()  # the canvas gets its final size only now
    viewer.reset_view()
    return viewer


def view_scan(request: Request) -> str:
    """Open napari with the LesionLens dock at once, read a scan in it, and return when the window was closed.

    What has to be chosen is asked in the window.

    Returns
    -------
    str
        Why the scan, or what was to be shown over it, could not be read, which the window has said as well; empty where
        nothing went wrong.
    """
    viewer, widget = _window(show=True)
    settle()
    failures: list[str] = []
    opening = Opening(viewer, request)
    opening.opened.connect(partial(_opened, viewer, widget, failures))
    opening.failed.connect(failures.append)
    napari.run()
    return "".join(failures)


def _window(*, show: bool) -> tuple[napari.Viewer, LesionLensWidget]:
    viewer = napari.Viewer(title=_TITLE, show=show, show_welcome_screen=False)
    viewer.window.resize(*_WINDOW)
    widget = LesionLensWidget(viewer)
    viewer.window.add_dock_widget(widget, name=_TITLE, area=_DOCK_AREA)
    return viewer, widget


def _opened(viewer: napari.Viewer, widget: LesionLensWidget, failures: list[str], opened: Opened) -> None:
    if opened.failure:
        failures.append(opened.failure)
        show_failure(opened.failure, f"{opened.failure}\n\nThe scan is shown alone.")
    _show_over(viewer, widget, opened.volume, opened.result, opened.overlays)
    show_notes(note for overlay in opened.overlays for note in overlay.provenance.notes)


def _show_over(
    viewer: napari.Viewer,
    widget: LesionLensWidget,
    volume: Volume,
    result: CaseResult | None,
    overlays: Sequence[Heatmap | LabelMap],
) -> None:
    if result is not None:
        widget.show_result(result)
    # On top: a reader's outline would not be seen below the colours of a map.
    layers = [add_overlay(viewer, overlay, volume) for overlay in overlays]
    if result is not None:
        widget.table.choose_first()
    elif layers:
        _bring_into_sight(viewer, layers, volume)


def _bring_into_sight(viewer: napari.Viewer, layers: Sequence[Layer], scan: Volume) -> None:
    """Go to a slice that shows what lies over a scan, unless this one does."""
    axis = viewer.dims.order[-3]
    shown = [(np.asarray(layer.data), _least_shown(layer)) for layer in layers]
    index = slice_that_shows(shown, axis=axis, now=int(viewer.dims.current_step[axis]))
    if index is not None:
        go_to_slice(viewer, scan.grid, index)


def _least_shown(layer: Layer) -> float:
    """Return the lowest value that has a colour in an overlay's layer; where both signs have, minus a magnitude."""
    if heatmap_of(layer) is None:
        return 1.0  # labels
    low, high = layer.contrast_limits
    return float(low) if low >= 0 else -_SIGNED_FROM * float(high)


def add_overlay(viewer: napari.Viewer, overlay: Heatmap | LabelMap, scan: Volume) -> Layer:
    """Lay a mask or map that somebody else made over a scan, and return its layer."""
    layer = Layer.create(*overlay_layer(overlay, scan))
    if isinstance(overlay, LabelMap):
        layer.contour = 1
        layer.editable = False  # painting would change what somebody else marked
    layer.metadata[ELSEWHERE_KEY] = True
    return viewer.add_layer(layer)


def save_screenshot(viewer: napari.Viewer, path: str | Path) -> Path:
    """Save a picture of the whole window as PNG; an existing file is replaced."""
    settle()
    viewer.screenshot(str(path), canvas_only=False, flash=False)
    return Path(path)


def settle() -> None:
    """Let Qt lay out and draw everything that is waiting."""
    for _ in range(_ROUNDS):
        QApplication.processEvents()
