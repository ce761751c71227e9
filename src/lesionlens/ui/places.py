"""Keeps the form's masks and its clicked voxel in step with the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import QObject

from lesionlens.errors import InputError
from lesionlens.ui.layers import THRESHOLD_KEY
from lesionlens.ui.masks import labels_on, scan_in
from lesionlens.ui.picking import ClickPicker, place_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from lesionlens.ui.run_form import RunForm

__all__ = ["Places"]


class Places(QObject):
    """Offers labels layers as masks, and takes over clicks on the chosen scan while the form asks for them.

    Parameters
    ----------
    viewer
        Whose layers and clicks.
    form
        What asks.
    """

    def __init__(self, viewer: ViewerModel, form: RunForm) -> None:
        super().__init__(form)
        self._viewer = viewer
        self._form = form
        self._picker: ClickPicker | None = None
        events = viewer.layers.events
        for changed in (events.inserted, events.removed, events.reordered):
            changed.connect(self._offer)
        form.scan.volume_changed.connect(self._another_scan)
        form.asking.changed.connect(self._listen)
        form.destroyed.connect(self._stop)
        self._offer()

    def _offer(self, _event: Any = None) -> None:
        if isalive(self):  # type: ignore[no-untyped-call]  # napari's events do not know that the dock was closed
            layers = labels_on(self._viewer.layers, self._form.scan.volume_layer)
            self._form.asking.offer_masks(layers)
            self._form.regions.offer([layer for layer in layers if THRESHOLD_KEY not in layer.metadata])

    def _another_scan(self) -> None:
        self._form.asking.show_point(None)
        self._offer()

    def _listen(self) -> None:
        """Listen to clicks while they count, and only then: they cost nothing elsewhere."""
        wanted = self._form.asking.picks
        if wanted and self._picker is None:
            self._picker = ClickPicker(self._viewer, self._clicked)
        elif not wanted:
            self._stop()

    def _stop(self) -> None:
        if self._picker is not None:
            self._picker.stop()
            self._picker = None

    def _clicked(self, position: Any) -> None:
        layer = self._form.scan.volume_layer
        if layer is None or not isalive(self):  # type: ignore[no-untyped-call]  # qtpy.compat has no hints
            return
        try:
            place = place_of(self._viewer, scan_in(layer), position)
        except InputError:  # a layer that is no scan to LesionLens; running it says so
            return
        if place is not None:
            self._form.asking.show_point(place)
