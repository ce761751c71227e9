"""The window of the scan on the screen: its presets, what it is now, and how the mouse changes it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from lesionlens.ui.layers import volume_of, window_limits
from lesionlens.windowing import Window, dragged, presets, window_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from lesionlens.volume import Volume

__all__ = [
    "AUTOMATIC",
    "drag_window",
    "show_window",
    "shown_scan",
    "start_dragging",
    "step_window",
    "window_now",
    "windows_of",
]

#: The window that a scan opens with.
AUTOMATIC = "automatic"

_RIGHT, _MIDDLE = 2, 3
_PRESETS: WeakKeyDictionary[Volume, tuple[Window, ...]] = WeakKeyDictionary()


def shown_scan(viewer: ViewerModel) -> Layer | None:
    """Return the layer of the topmost scan that is switched on, or None."""
    return next((one for one in reversed(viewer.layers) if one.visible and volume_of(one) is not None), None)


def windows_of(layer: Layer) -> tuple[Window, ...]:
    """Return the windows that suit the scan of a layer, the one that it opened with first."""
    volume = volume_of(layer)
    if volume is None:
        return ()
    if volume not in _PRESETS:
        source = volume.source
        first = window_limits(layer)
        automatic = () if first is None else (window_of(first, AUTOMATIC, origin="LesionLens"),)
        found = presets(volume.array, modality=source.modality, unit=volume.unit, stored=source.windows)
        _PRESETS[volume] = (*automatic, *found)
    return _PRESETS[volume]


def window_now(layer: Layer) -> Window:
    """Return the window that a scan is shown with: the preset that looks like it, or one without a name."""
    low, high = (float(limit) for limit in layer.contrast_limits)
    return next((one for one in windows_of(layer) if one.shows((low, high))), None) or window_of((low, high))


def show_window(layer: Layer, window: Window) -> None:
    """Show a scan with a window; napari's own slider reaches as far as it does."""
    layer.contrast_limits = window.limits


def step_window(viewer: ViewerModel, step: int) -> None:
    """Show the scan with the next preset, or with one so many further; after the last comes the first."""
    layer = shown_scan(viewer)
    windows = () if layer is None else windows_of(layer)
    if layer is None or not windows:
        return
    now = window_now(layer)
    place = windows.index(now) + step if now in windows else 0
    show_window(layer, windows[place % len(windows)])


def start_dragging(viewer: ViewerModel) -> Callable[..., None]:
    """Let drags on a viewer's canvas change the window, and return what ends it; the viewer is not kept alive by it.

    With the middle button, or with Shift and the right one: neither does anything else in napari.
    """
    viewer.mouse_drag_callbacks.append(drag_window)
    return partial(_stop_dragging, weakref.ref(viewer))


def _stop_dragging(reference: weakref.ref[ViewerModel], _sender: object = None) -> None:
    viewer = reference()
    if viewer is not None and drag_window in viewer.mouse_drag_callbacks:
        viewer.mouse_drag_callbacks.remove(drag_window)


def drag_window(viewer: ViewerModel, event: Any) -> Iterator[None]:
    """Change the window during one drag: to the right wider, downwards darker."""
    modifiers = [str(modifier) for modifier in event.modifiers]
    layer = shown_scan(viewer)
    meant = (event.button == _MIDDLE and not modifiers) or (event.button == _RIGHT and modifiers == ["Shift"])
    if layer is None or not meant:
        return
    start, (x, y) = window_now(layer), event.pos[:2]
    yield
    while event.type == "mouse_move":
        column, row = event.pos[:2]
        show_window(layer, dragged(start, right=float(column - x), down=float(row - y)))
        event.handled = True
        yield
