"""A click on the canvas as a place in the patient."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lesionlens.display import DisplayView
from lesionlens.ui.navigation import mm_per_unit_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from lesionlens.volume import Volume

__all__ = ["ClickPicker", "place_of"]

Ras = tuple[float, float, float]


class ClickPicker:
    """Tells where the canvas was clicked, for as long as somebody wants to know.

    Parameters
    ----------
    viewer
        Whose canvas.
    picked
        Called with the display position of a click; it is not kept alive by the viewer.
    """

    def __init__(self, viewer: ViewerModel, picked: Callable[[Any], None]) -> None:
        self._viewer = weakref.ref(viewer)
        reference = weakref.WeakMethod(picked)

        def on_press(_viewer: ViewerModel, event: Any) -> Iterator[None]:
            yield
            dragged = False
            while event.type == "mouse_move":
                dragged = True
                yield
            receive = reference()
            if receive is not None and not dragged:  # a drag moves the picture
                receive(event.position)

        self._callback = on_press
        viewer.mouse_drag_callbacks.append(on_press)

    def stop(self) -> None:
        """Listen no more."""
        viewer = self._viewer()
        if viewer is not None and self._callback in viewer.mouse_drag_callbacks:
            viewer.mouse_drag_callbacks.remove(self._callback)


def place_of(viewer: ViewerModel, volume: Volume, position: Any) -> Ras | None:
    """Return the centre, in world mm, RAS+, of the scan's voxel at a display position; None outside of the scan."""
    mm = np.array(position)[-3:] * mm_per_unit_of(viewer)
    ijk = np.rint(DisplayView(volume.grid).voxel_at(mm))
    ras = volume.grid.world(ijk)
    if not bool(volume.grid.contains(ras)):
        return None
    r, a, s = ras.tolist()
    return r, a, s
