"""Whether the mouse points at a place of a canvas, or napari's cursor lies where nobody has put it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["Pointing"]


class Pointing:
    """Follows the mouse over one canvas.

    napari says that the mouse is over a canvas before it knows where, and keeps its last place when it has left: until
    the mouse moves again, in the plane that is shown, its cursor is anywhere.

    Attributes
    ----------
    at_place : bool
        The mouse is over the canvas, and has moved since it came or the plane was changed.
    """

    def __init__(self) -> None:
        self.at_place = False
        self._axes: tuple[int, ...] = ()
        self._last: list[float] = []

    def look(self, viewer: ViewerModel) -> None:
        """Take note of where the mouse is now; to be called whenever it moves, comes or leaves."""
        cursor = viewer.cursor.position  # while layers come and go it has fewer axes than the viewer, or more
        axes = tuple(axis for axis in viewer.dims.displayed if axis < len(cursor))
        place = [cursor[axis] for axis in axes]
        same = axes == self._axes
        moved = same and place != self._last
        self.at_place = bool(viewer.mouse_over_canvas) and same and (self.at_place or moved)
        self._axes, self._last = axes, place
