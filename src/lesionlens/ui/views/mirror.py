"""The layers of the main viewer once more in another viewer: views of the same arrays that follow every change."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels, Layer

from lesionlens.ui.links import Connections

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["Mirror"]

# What a copy takes over, in this order. Scans and overlays keep their values in one array for all viewers.
_PLACE = ("units", "scale", "translate", "rotate", "shear", "affine")
_LOOK = (
    "blending",
    "colormap",
    "contrast_limits",
    "gamma",
    "interpolation2d",
    "contour",
    "selected_label",
    "show_selected_label",
    "features",
    "projection_mode",
    "opacity",
    "visible",
    "name",
)
_FOLLOWED = frozenset({*_PLACE, *_LOOK})
# Events of drawn shapes, points and the like that change nothing in their picture.
_OF_THE_HAND = frozenset(
    {"thumbnail", "set_data", "highlight", "mode", "cursor", "cursor_size", "help", "editable", "locked", "loaded"}
    | {"mouse_pan", "mouse_zoom", "status", "scale_factor", "_extent_augmented", "_overlays", "reload"}
)


class Mirror:
    """Keeps the layers of another viewer in step with those of the main viewer.

    Copies cannot be edited: what is painted goes into the main viewer's layer, which keeps the steps to undo.

    Parameters
    ----------
    viewer
        The main viewer.
    model
        The other one; only this has layers put into it.
    quietly
        Entered while layers come and go, when the other viewer looks for a position of its own.
    """

    def __init__(
        self, viewer: ViewerModel, model: ViewerModel, quietly: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._viewer = weakref.ref(viewer)
        self._model = model
        self._quietly = quietly
        self._copies: dict[Layer, Layer] = {}
        self._drawn: dict[Layer, Any] = {}
        events = viewer.layers.events
        self._ends = Connections()
        self._ends.add(events.inserted, self._insert)
        self._ends.add(events.removed, self._remove)
        self._ends.add(events.reordered, self._sort)
        self._ends.add(events, self._follow)
        for layer in viewer.layers:
            self._add(layer)

    def stop(self) -> None:
        """Follow no more, and let go of the layers."""
        self._ends.stop()
        with self._quietly():
            self._model.layers.clear()
        self._copies.clear()
        self._drawn.clear()

    def _insert(self, event: Any) -> None:
        self._add(event.value)
        self._sort()

    def _add(self, layer: Layer) -> None:
        data, options, kind = layer.as_layer_data_tuple()
        copy = Layer.create(data, options, kind)
        self._copies[layer] = copy
        self._drawn[layer] = self._shown()
        if isinstance(layer, Image | Labels):
            self._take_over(layer, copy, [name for name in _LOOK if name != "name"])  # what the tuple leaves out
        copy.editable = False
        with self._quietly():
            self._model.add_layer(copy)
        self._model.layers.selection.clear()  # no tool of a layer takes the mouse

    def _remove(self, event: Any) -> None:
        self._drawn.pop(event.value, None)
        copy = self._copies.pop(event.value, None)
        if copy is not None:
            with self._quietly():
                self._model.layers.remove(copy)

    def _sort(self, _event: Any = None) -> None:
        viewer = self._viewer()
        layers = self._model.layers
        wanted = [self._copies[layer] for layer in viewer.layers if layer in self._copies] if viewer else []
        for index, copy in enumerate(wanted):
            if layers[index] is not copy:
                layers.move(layers.index(copy), index)

    def _follow(self, event: Any) -> None:
        """Take over what changed in a layer; napari tells of every change of any layer together."""
        layer = event.sources[0]
        copy = self._copies.get(layer) if isinstance(layer, Layer) else None
        if copy is None:
            return
        if not isinstance(layer, Image | Labels) and event.type not in _FOLLOWED | _OF_THE_HAND:
            self._draw_again(layer)
        elif event.type in _FOLLOWED:
            self._take_over(layer, copy, [event.type])
        elif event.type == "data":
            copy.data = layer.data
        elif event.type == "labels_update" or (event.type == "set_data" and self._in_place(layer)):
            copy.refresh(thumbnail=False, highlight=False, extent=False)

    def _in_place(self, layer: Layer) -> bool:
        """Say whether the values changed, since the main viewer shows what it showed before."""
        before, self._drawn[layer] = self._drawn.get(layer), self._shown()
        return bool(before == self._drawn[layer])

    def _shown(self) -> Any:
        """Return what decides which slice the main viewer shows."""
        viewer = self._viewer()
        if viewer is None:
            return None
        dims = viewer.dims
        return dims.point, dims.order, dims.ndisplay, dims.margin_left, dims.margin_right

    def _take_over(self, layer: Layer, copy: Layer, names: list[str]) -> None:
        for name in names:
            if hasattr(layer, name):
                setattr(copy, name, getattr(layer, name))

    def _draw_again(self, layer: Layer) -> None:
        """Put a new copy where the old one was: shapes and points have many properties that depend on each other."""
        with self._quietly():
            self._model.layers.remove(self._copies.pop(layer))
        self._add(layer)
        self._sort()
