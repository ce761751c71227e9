"""What the mouse does on the canvases: the common position follows it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lesionlens.display import DisplayView
from lesionlens.ui.layers import volume_of
from lesionlens.ui.navigation import mm_per_unit_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["follow_clicks", "lead", "move_to"]

_ZOOM_STEP = 1.2


def move_to(viewer: ViewerModel, position: Any) -> None:
    """Bring the common position to a place, to the nearest voxel centre of the topmost visible scan.

    At voxel centres all planes show the very voxel that the crosshair marks, and slabs lie evenly about it.

    Parameters
    ----------
    viewer
        The main viewer, which the others follow.
    position
        Display position in the viewer's units; where it lies beside the scan, the nearest in it.
    """
    point = np.array(position, dtype=np.float64)
    scans = [volume for layer in viewer.layers if layer.visible and (volume := volume_of(layer)) is not None]
    if scans and point.size >= 3:
        view = DisplayView(scans[-1].grid)
        to_mm = mm_per_unit_of(viewer)
        index = np.rint((point[-3:] * to_mm - view.translate) / view.scale)
        index = np.clip(index, 0, np.array(view.shape) - 1)
        point[-3:] = (index * view.scale + view.translate) / to_mm
    viewer.dims.point = tuple(point.tolist())


def lead(model: ViewerModel, move: Callable[[Any], None]) -> None:
    """Let the mouse lead the position from a view: click and drag move it, the wheel goes through the slices.

    With Shift a drag moves the picture, with Ctrl the wheel zooms.

    Parameters
    ----------
    model
        Of the view; it is ours, so that napari's own ways with the mouse may go.
    move
        Called with the display position.
    """
    camera = model.scene.camera
    camera.mouse_pan = camera.mouse_zoom = False
    for callbacks in (model.mouse_drag_callbacks, model.mouse_wheel_callbacks, model.mouse_double_click_callbacks):
        callbacks.clear()

    def on_press(viewer: ViewerModel, event: Any) -> Iterator[None]:
        if event.button != 1:
            return
        if "Shift" in event.modifiers:
            yield from _pan(viewer, event)
            return
        move(event.position)
        yield
        while event.type == "mouse_move":
            move(event.position)
            yield

    model.mouse_drag_callbacks.append(on_press)
    model.mouse_wheel_callbacks.append(_Wheel(move))


def follow_clicks(viewer: ViewerModel, clicked: Callable[[Any], None]) -> Callable[[], None]:
    """Call a method with the position of each click on the main canvas; a drag pans there, as ever in napari.

    While a tool is in use, such as a brush, clicks are for that.

    Returns
    -------
    Callable
        Ends it.
    """
    reference = weakref.WeakMethod(clicked)

    def on_press(viewer: ViewerModel, event: Any) -> Iterator[None]:
        active = viewer.layers.selection.active
        free = active is None or str(getattr(active, "mode", "pan_zoom")) == "pan_zoom"
        plain = event.button == 1 and not event.modifiers and viewer.dims.ndisplay == 2
        yield
        dragged = False
        while event.type == "mouse_move":
            dragged = True
            yield
        receive = reference()
        if receive is not None and free and plain and not dragged:
            receive(event.position)

    callbacks = viewer.mouse_drag_callbacks
    callbacks.append(on_press)
    return lambda: callbacks.remove(on_press) if on_press in callbacks else None


class _Wheel:
    """Goes through the slices, as many as notches were turned; pads turn by parts of a notch."""

    def __init__(self, move: Callable[[Any], None]) -> None:
        self._move = move
        self._turned = 0.0

    def __call__(self, viewer: ViewerModel, event: Any) -> None:
        """Turn by an event; towards the user to the next slice, as napari has it with Ctrl."""
        notches = float(event.delta[1])
        if "Control" in event.modifiers:
            _zoom_at(viewer, np.array(event.position), _ZOOM_STEP**notches)
            return
        self._turned -= float(np.clip(notches, -1, 1))
        slices, self._turned = int(self._turned), self._turned - int(self._turned)
        if slices and viewer.dims.ndim >= 3:
            point, axis = list(viewer.dims.point), viewer.dims.order[-3]
            point[axis] += viewer.dims.range[axis].step * slices
            self._move(point)


def _pan(viewer: ViewerModel, event: Any) -> Iterator[None]:
    """Keep what was under the mouse when it was pressed under it."""
    axes = list(viewer.dims.displayed)
    held = np.array(event.position)[axes]
    yield
    while event.type == "mouse_move":
        away = np.array(event.position)[axes] - held
        viewer.scene.camera.center = tuple((np.array(viewer.scene.camera.center[-2:]) - away).tolist())
        yield


def _zoom_at(viewer: ViewerModel, position: Any, factor: float) -> None:
    """Zoom so that what is under the mouse stays there."""
    camera = viewer.scene.camera
    held = position[list(viewer.dims.displayed)]
    centre = np.array(camera.center[-2:])
    camera.zoom *= factor
    camera.center = tuple((held + (centre - held) / factor).tolist())
