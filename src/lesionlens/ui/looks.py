"""The one rule by which overlays in a viewer look: a style for each kind, a limit for each scale, contours if wanted.

Whatever class, model, method, result or time point a map belongs to, and whoever put it into the viewer: maps of one
kind have one style, and maps on one scale (:mod:`lesionlens.scales`) one limit, so that equal colours mean equal
values. Everything is said through properties of layers; no map is copied and nothing is computed again.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari.layers import Layer

from lesionlens.scales import limit_of, scale_of
from lesionlens.styles import OverlayKind, Style
from lesionlens.ui.appearance import appearance, is_signed, kind_of, opacity_of
from lesionlens.ui.layers import contour_layer, heatmap_of, is_fixed, scan_of, set_if_other

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from lesionlens.heatmap import Heatmap

__all__ = ["Looks"]

# Room for three below each other on an ordinary canvas.
_BAR_PIXELS = (16.0, 110.0)
_BAR_POINTS = 8


class Looks:
    """Keeps the colours of all maps in a viewer as the styles say.

    Parameters
    ----------
    viewer
        Where the layers are.
    styles
        How each kind of overlay is shown; whoever changes it calls :meth:`restyle`.
    """

    def __init__(self, viewer: ViewerModel, styles: dict[OverlayKind, Style]) -> None:
        self._viewer = weakref.proxy(viewer)
        self.styles = styles
        self._contours: WeakKeyDictionary[Layer, Layer] = WeakKeyDictionary()
        self._waiting = False
        self._bars = False
        # After the canvas has drawn, or forgotten, the layer that it is about: lines come and go with it.
        self._events = viewer.layers.events
        self._events.inserted.connect(self._on_inserted, position="last")
        self._events.removed.connect(self._on_removed, position="last")
        self.restyle()

    @property
    def kinds(self) -> set[OverlayKind]:
        """Kinds of maps that the viewer has."""
        return {kind_of(heatmap) for _, heatmap in self._maps()}

    def stop(self, _sender: object = None) -> None:
        """Leave the layers as they are from now on: two that keep them to different styles would never agree."""
        self._waiting = True
        for layer in list(self._contours):
            layer.events.visible.disconnect(self._follow)
        self._contours.clear()
        self._events.inserted.disconnect(self._on_inserted)
        self._events.removed.disconnect(self._on_removed)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Wait until several layers have come or gone, and bring them to their styles once."""
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False
            self.restyle()

    def show_bars(self, *, visible: bool) -> None:
        """Show or hide a colour bar, with its name below, for every map that is shown in colours."""
        self._bars = visible
        if visible:
            self._viewer.canvas.overlay_tiling.top_right = "vertical"
        self.restyle()

    def restyle(self, kind: OverlayKind | None = None) -> None:
        """Bring all maps of a kind, or all, to their style; whether a layer is visible stays."""
        if self._waiting:
            return
        limits: dict[tuple[str, bool, bool], float] = {}
        maps = list(self._maps())
        for layer, heatmap in maps:
            style = self.styles[kind_of(heatmap)]
            if kind is not None and kind_of(heatmap) != kind:
                continue
            key = _group(heatmap, style)
            if key not in limits:
                limits[key] = limit_of(
                    (other for _, other in maps if _group(other, self.styles[kind_of(other)]) == key), both_signs=key[2]
                )
            self._draw(layer, heatmap, style, limits[key])

    def _draw(self, layer: Any, heatmap: Heatmap, style: Style, limit: float) -> None:
        colormap, limits = appearance(heatmap, style, limit=limit)
        if layer.colormap.name != colormap.name:  # one name stands for the same colours
            layer.colormap = colormap
        if tuple(layer.contrast_limits) != limits:
            layer.contrast_limits = limits
            # The handles of napari's own sliders can then reach every value.
            layer.contrast_limits_range = (min(0.0, limits[0]), limits[1])
        set_if_other(layer, "opacity", 0.0 if style.contour else opacity_of(heatmap, style))
        self._draw_bar(layer, visible=self._bars and not style.contour)
        self._draw_contour(layer, heatmap, style, limit)

    def _draw_bar(self, layer: Any, *, visible: bool) -> None:
        bar, name = layer.colorbar, layer.name_overlay
        if visible:
            bar.size, bar.font_size = _BAR_PIXELS, _BAR_POINTS
            name.position, name.font_size = bar.position, _BAR_POINTS
        bar.visible = name.visible = visible

    def _draw_contour(self, layer: Layer, heatmap: Heatmap, style: Style, limit: float) -> None:
        lines: Any = self._contours.get(layer)
        scan = scan_of(layer)
        if scan is None or (lines is None and not style.contour):
            return
        data, options, _ = contour_layer(heatmap, scan, style, limit=limit)
        if lines is None:
            lines = self._add(layer, data, options)
        # Lines that were drawn once stay, hidden: to make a layer takes longer than anything else here. What they are
        # comes before whether they are seen, so that they are drawn once.
        drawn: Any = lines.data
        wanted: Any = data
        if style.contour and (drawn.threshold, drawn.both_signs) != (wanted.threshold, wanted.both_signs):
            lines.data = data
            if drawn.both_signs != wanted.both_signs:  # the colours depend on nothing else that changes
                lines.colormap = options["colormap"]
        set_if_other(lines, "opacity", options["opacity"])
        set_if_other(lines, "visible", layer.visible and style.contour)

    def _add(self, layer: Layer, data: Any, options: dict[str, Any]) -> Layer:
        layers = self._viewer.layers
        chosen = set(layers.selection), layers.selection.active
        options = {**options, "name": f"Contour of {layer.name}", "visible": layer.visible}
        lines: Any = Layer.create(data, options, "labels")
        lines.units = layer.units
        lines.editable = False  # there is nothing to paint into
        self._contours[layer] = lines
        layer.events.visible.connect(self._follow)
        layers.insert(layers.index(layer) + 1, lines)
        layers.selection, layers.selection.active = chosen
        return lines

    def _follow(self, event: Any) -> None:
        """Show lines as long as the map that they belong to is switched on."""
        lines, heatmap = self._contours.get(event.source), heatmap_of(event.source)
        if lines is not None and heatmap is not None:
            set_if_other(lines, "visible", event.source.visible and self.styles[kind_of(heatmap)].contour)

    def _remove(self, layer: Layer) -> None:
        lines = self._contours.pop(layer, None)
        if lines is not None:
            layer.events.visible.disconnect(self._follow)
            if lines in self._viewer.layers:
                self._viewer.layers.remove(lines)

    def _on_inserted(self, event: Any) -> None:
        if heatmap_of(event.value) is not None:
            self.restyle()

    def _on_removed(self, event: Any) -> None:
        self._remove(event.value)
        for layer in [layer for layer, lines in self._contours.items() if lines is event.value]:
            self._contours.pop(layer)
            layer.events.visible.disconnect(self._follow)
            heatmap = heatmap_of(layer)
            layer.opacity = 1.0 if heatmap is None else opacity_of(heatmap, self.styles[kind_of(heatmap)])
        if heatmap_of(event.value) is not None:
            self.restyle()

    def _maps(self) -> Iterator[tuple[Layer, Heatmap]]:
        for layer in self._viewer.layers:
            heatmap = heatmap_of(layer)
            if heatmap is not None and not is_fixed(layer):
                yield layer, heatmap


def _group(heatmap: Heatmap, style: Style) -> tuple[str, bool, bool]:
    """Return what maps have in common whose colours compare; the dull ones of classes that are not seen do not."""
    return scale_of(heatmap).name, heatmap.unseen, is_signed(heatmap, style)
