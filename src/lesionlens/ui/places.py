"""Keeps the masks of a form and its clicked voxel in step with the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from lesionlens.errors import InputError
from lesionlens.ui.alive import follow_layers, is_alive, while_alive
from lesionlens.ui.masks import labels_on, scan_in
from lesionlens.ui.picking import ClickPicker, place_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Layer

    from lesionlens.ui.scan_form import ScanForm
    from lesionlens.ui.target_form import TargetForm

__all__ = ["Places"]


class Places(QObject):
    """Offers labels layers as masks, and takes over clicks on the chosen scan while the form asks for them.

    Parameters
    ----------
    viewer
        Whose layers and clicks.
    scan
        Says on which scan.
    asking
        What asks.
    also
        Other boxes that offer the labels layers on the scan: called with them.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        scan: ScanForm,
        asking: TargetForm,
        also: Callable[[list[Layer]], None] | None = None,
    ) -> None:
        super().__init__(asking)
        self._viewer = viewer
        self._scan = scan
        self._asking = asking
        self._also = also
        self._picker: ClickPicker | None = None
        follow_layers(viewer, self._offer)
        scan.volume_changed.connect(self._another_scan)
        asking.changed.connect(self._listen)
        asking.destroyed.connect(self._stop)
        self._offer()

    @while_alive
    def _offer(self, _event: Any = None) -> None:
        layers = labels_on(self._viewer.layers, self._scan.volume_layer)
        self._asking.offer_masks(layers)
        if self._also is not None:
            self._also(layers)

    def _another_scan(self) -> None:
        self._asking.show_point(None)
        self._offer()

    def _listen(self) -> None:
        """Listen to clicks while they count, and only then: they cost nothing elsewhere."""
        wanted = self._asking.picks
        if wanted and self._picker is None:
            self._picker = ClickPicker(self._viewer, self._clicked)
        elif not wanted:
            self._stop()

    def _stop(self) -> None:
        if self._picker is not None:
            self._picker.stop()
            self._picker = None

    def _clicked(self, position: Any) -> None:
        layer = self._scan.volume_layer
        if layer is None or not is_alive(self):
            return
        try:
            place = place_of(self._viewer, scan_in(layer), position)
        except InputError:  # a layer that is no scan to LesionLens; running it says so
            return
        if place is not None:
            self._asking.show_point(place)
