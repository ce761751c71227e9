"""The overlays of one result in one viewer: which layers there are, and how they are shown right now."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Layer

from lesionlens.display import DisplayView
from lesionlens.styles import ANOMALY, REGIONS, UNCERTAINTY, OverlayKind, Style
from lesionlens.ui.appearance import kind_of
from lesionlens.ui.colours import outline
from lesionlens.ui.layers import (
    RULES_KEY,
    THRESHOLD_KEY,
    LayerData,
    heatmap_layer,
    heatmap_of,
    is_contour,
    is_foreign_image,
    is_length,
    labels_layer,
    scan_of,
    set_if_other,
    uncertainty_layer,
    volume_of,
)
from lesionlens.ui.looks import Looks

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from lesionlens.results import CaseResult
    from lesionlens.volume import Volume

__all__ = ["Overlays"]

# Marks layers that later results leave alone, in layer.metadata.
KEPT_KEY = "lesionlens_kept"
# In the metadata of masks and maps that somebody else made: no result takes their place.
ELSEWHERE_KEY = "lesionlens_elsewhere"
# The class of maps that speak of none: they are shown beside every one.
_EVERY_CLASS = ""


class Overlays:
    """Layers over a scan that change at once, without computing anything again.

    Parameters
    ----------
    viewer
        Where the layers are.
    styles
        How each kind of overlay is shown.
    """

    def __init__(self, viewer: ViewerModel, styles: dict[OverlayKind, Style]) -> None:
        self._viewer = weakref.proxy(viewer)
        self.styles = styles
        self.looks = Looks(viewer, styles)
        self.shown_class = ""
        self.selected_region: int | None = None
        self._layers: dict[tuple[OverlayKind, str], Layer] = {}
        self._outlined: WeakKeyDictionary[Layer, tuple[str, int | None]] = WeakKeyDictionary()

    @property
    def kinds(self) -> set[OverlayKind]:
        """Kinds of overlays that the shown class has, and of those that are switched in the layer list."""
        shown = (self.shown_class, _EVERY_CLASS)
        own = {kind for (kind, label), layer in self._layers.items() if label in shown and self._has(layer)}
        return own | (self.looks.kinds & {UNCERTAINTY, ANOMALY})

    def show(self, result: CaseResult, shown_class: str) -> None:
        """Put the overlays of a result on the scan, in place of earlier ones of the same scan."""
        active = self._viewer.layers.selection.active
        with self.looks.together():
            self._forget(result.volume)
            self._show(result)
            self.show_class(shown_class)
        # napari selects what was added last; the reader's window and level controls are those of the scan.
        self._viewer.layers.selection.active = active if active in self._viewer.layers else None

    def _show(self, result: CaseResult) -> None:
        units = self._units_of(result.volume)
        for heatmap in result.uncertainties:
            self._place(uncertainty_layer(heatmap, result.volume), units)
        for heatmap in (*result.attributions, *result.probabilities):
            kind = kind_of(heatmap)
            label = heatmap.label if heatmap.of_class else _EVERY_CLASS
            layer_data = heatmap_layer(heatmap, result.volume, self.styles[kind])
            layer_data[1]["metadata"] |= _rules(result, label)
            self._add(kind, label, layer_data, units)
        for label, labels in result.labels.items():
            measured = replace(self.styles[REGIONS], threshold=result.threshold_of(label))
            self._add(REGIONS, label, labels_layer(labels, label, result.volume, measured), units)

    def show_class(self, label: str) -> None:
        """Show the overlays of one class and hide those of the others."""
        self.shown_class = label
        self.select_region(None)
        for (kind, of_class), layer in self._layers.items():
            set_if_other(layer, "visible", self.styles[kind].visible and of_class in (label, _EVERY_CLASS))

    def restyle(self, kind: OverlayKind, **changes: Any) -> None:
        """Change colours, threshold, opacity, contour or visibility of one kind of overlay."""
        self.styles[kind] = style = replace(self.styles[kind], **changes)
        self.looks.restyle(kind)
        for (of_kind, label), layer in self._layers.items():
            if of_kind == kind:
                set_if_other(layer, "visible", style.visible and label in (self.shown_class, _EVERY_CLASS))
                if kind == REGIONS:
                    self._outline(layer, style)

    def forget(self) -> None:
        """Let go of all layers; nothing of their case is kept then."""
        self._layers, self.shown_class, self.selected_region = {}, "", None

    def keep(self) -> None:
        """Keep the maps that are there as layers of their own, which later results leave alone."""
        for layer in self._layers.values():
            heatmap = heatmap_of(layer)
            if heatmap is not None and self._has(layer) and not layer.metadata.get(KEPT_KEY):
                layer.metadata[KEPT_KEY] = True
                layer.name = f"{layer.name} ({heatmap.provenance.bundle})"

    def replace_regions(self, result: CaseResult) -> None:
        """Show the regions of a result that was measured at another threshold."""
        for label, labels in result.labels.items():
            layer = self._layers.get((REGIONS, label))
            if layer is not None:
                layer.data = DisplayView(result.volume.grid).to_display(labels)
        for (_, label), layer in self._layers.items():
            layer.metadata.update(_rules(result, label))
        self.select_region(None)

    def select_region(self, region: int | None) -> None:
        """Mark one region of the shown class, or none."""
        self.selected_region = region
        for (kind, _), layer in self._layers.items():
            if kind == REGIONS:
                self._colour(layer, self.styles[REGIONS])

    def _add(self, kind: OverlayKind, label: str, layer_data: LayerData, units: Any) -> None:
        layer = self._place(layer_data, units)
        if kind == REGIONS:
            self._outline(layer, self.styles[kind])
            layer.editable = False  # painting would change a result that carries a record of how it came about
        self._layers[kind, label] = layer

    def _place(self, layer_data: LayerData, units: Any) -> Layer:
        layer = Layer.create(*layer_data)
        if units is not None:
            layer.units = units
        self._viewer.add_layer(layer)
        return layer

    def _forget(self, scan: Volume) -> None:
        """Remove results of the same scan and hide those of others, which lie over it; masks from elsewhere stay."""
        for layer in self._layers.values():
            layer.visible = False
        for layer in list(self._viewer.layers):
            other = scan_of(layer)
            if is_contour(layer):
                continue  # it goes with its map
            if layer.metadata.get(KEPT_KEY):
                layer.visible = False
            elif layer.metadata.get(ELSEWHERE_KEY):
                continue
            elif other is not None and np.may_share_memory(other.array, scan.array):
                self._viewer.layers.remove(layer)
        self._layers = {}

    def _units_of(self, scan: Volume) -> Any:
        """Return the units that overlays of a scan must have instead of mm, or None.

        napari converts between lengths, but gives up on units where some layers are in pixels.
        """
        images = [layer for layer in self._viewer.layers if volume_of(layer) is scan or is_foreign_image(layer)]
        shown = next((i.units for i in images if np.may_share_memory(np.asarray(i.data), scan.array)), ())
        return None if all(map(is_length, shown)) else shown

    def _has(self, layer: Layer) -> bool:
        return layer in self._viewer.layers

    def _outline(self, layer: Any, style: Style) -> None:
        set_if_other(layer, "contour", int(style.contour))
        set_if_other(layer, "opacity", style.opacity)
        self._colour(layer, style)

    def _colour(self, layer: Any, style: Style) -> None:
        wanted = style.colours, self.selected_region
        if self._outlined.get(layer) != wanted:  # napari slices and uploads the labels anew for it
            self._outlined[layer] = wanted
            layer.colormap = outline(*wanted)


def _rules(result: CaseResult, label: str) -> dict[str, Any]:
    """Return what a layer notes of how the regions of its class were found: whoever compares finds them by the same."""
    return {THRESHOLD_KEY: result.threshold_of(label), RULES_KEY: result.rules} if label in result.labels else {}
