"""The main viewer and the views as one: layers, position, cameras, crosshairs and slabs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari.qt import QtViewer
from qtpy.QtWidgets import QApplication

from lesionlens.errors import InputError
from lesionlens.ui.links import Connections, Linked
from lesionlens.ui.slab import THIN, set_slab
from lesionlens.ui.views.cameras import Cameras
from lesionlens.ui.views.crosshair import Crosshair
from lesionlens.ui.views.mirror import Mirror
from lesionlens.ui.views.mouse import follow_clicks, lead, move_to

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from lesionlens.ui.views.pane import Pane

__all__ = ["Linkage", "canvas_of"]


def canvas_of(viewer: ViewerModel) -> QtViewer:
    """Return the canvas of a viewer, for which napari has no public name.

    Raises
    ------
    InputError
        If there is no window.
    """
    for widget in QApplication.allWidgets():
        if isinstance(widget, QtViewer) and widget.viewer is viewer:
            return widget
    raise InputError("Expected a napari window around the viewer; found none. Open the dock from napari's menu.")


class Linkage:
    """Keeps views in step with the main viewer, until it is stopped.

    Parameters
    ----------
    viewer
        The main viewer.
    main
        Its canvas.
    panes
        The views.

    Attributes
    ----------
    missing : str
        What this version of napari does not allow; empty where all is well.
    """

    def __init__(self, viewer: ViewerModel, main: QtViewer, panes: Sequence[Pane]) -> None:
        self.missing = ""
        self._viewer = viewer
        self._models: list[ViewerModel] = [pane.model for pane in panes]
        self._slab = (THIN, 0.0)
        self._fitted: list[float] = []
        self._position = Linked([viewer.dims, *(model.dims for model in self._models)], ("point",))
        self._mirrors = [Mirror(viewer, model, self._position.paused) for model in self._models]
        self.cameras = Cameras([viewer, *self._models])
        self.crosshairs = self._draw_crosshairs([(viewer, main), *((pane.model, pane) for pane in panes)])
        self._unlisten = follow_clicks(viewer, self.move_to)
        for model in self._models:
            lead(model, self.move_to)
        events = viewer.layers.events
        self._ends = Connections()
        for event in (events.inserted, events.removed):
            self._ends.add(event, self._align)
        self._ends.add(viewer.events.reset_view, self._fit_with_main)
        self._align()
        self.fit()

    def move_to(self, position: Any) -> None:
        """Bring the common position to a display position, in the viewer's units."""
        move_to(self._viewer, position)

    def set_slab(self, mode: str, wanted_mm: float) -> None:
        """Show slabs in all viewers; those that are opened later too."""
        self._slab = (mode, wanted_mm)
        set_slab([self._viewer, *self._models], mode, wanted_mm)

    def show_crosshairs(self, wanted: bool) -> None:  # Qt hands it over so
        """Show or hide the crosshairs."""
        for crosshair in self.crosshairs:
            crosshair.show(wanted)

    def link(self, linked: bool) -> None:  # Qt hands it over so
        """Zoom and move all cameras together, or each alone."""
        self.cameras.linked = linked
        if linked:
            self.fit()

    def fit(self) -> None:
        """Show the whole scan in all views, at one scale."""
        with self.cameras.apart():
            for model in self._models:
                model.reset_view()
            scale = min(model.scene.camera.zoom for model in self._models)
            for model in self._models:
                model.scene.camera.zoom = scale
        self._fitted = self._zooms()

    def fit_again(self) -> None:
        """Fit to canvases of another size, unless somebody has zoomed meanwhile."""
        if self._fitted == self._zooms():
            self.fit()

    def stop(self) -> None:
        """Let go of all viewers; the main viewer is left as if there had been no views."""
        self._ends.stop()
        # First: views that are emptied look for a place of their own, which is none for the main viewer.
        self.cameras.stop()
        self._position.stop()
        self._unlisten()
        if self._slab[0] != THIN:
            set_slab([self._viewer], THIN, 0.0)
        for crosshair in self.crosshairs:
            crosshair.stop()
        for mirror in self._mirrors:
            mirror.stop()
        self.crosshairs, self._mirrors = [], []

    def _draw_crosshairs(self, canvases: Sequence[tuple[ViewerModel, QtViewer]]) -> list[Crosshair]:
        try:
            return [Crosshair(model, canvas) for model, canvas in canvases]
        except AttributeError as error:  # how napari draws is its own affair, and may change
            self.missing = f"There is no crosshair: this version of napari draws in another way ({error})."
            return []

    def _align(self, _event: Any = None) -> None:
        """Bring views to the position, as their layers have come or gone."""
        first = len(self._viewer.layers) == 1
        with self._position.paused():
            for model in self._models:
                model.dims.point = self._viewer.dims.point
        if self._slab[0] != THIN:
            self.set_slab(*self._slab)
        if first:
            self.fit()

    def _fit_with_main(self, _event: Any = None) -> None:
        if self.cameras.linked:
            self.fit()

    def _zooms(self) -> list[float]:
        return [float(model.scene.camera.zoom) for model in self._models]
