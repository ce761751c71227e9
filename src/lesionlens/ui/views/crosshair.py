"""Two thin lines that cross at the common position, with a gap so that they hide nothing there."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from vispy.scene.visuals import Line

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.qt import QtViewer

__all__ = ["Crosshair", "segments"]

# Like no colour of an overlay, and seen on black and on white.
_COLOUR = (0.55, 1.0, 0.25, 0.75)
_GAP_PIXELS = 12.0
# Above layers and below the texts.
_ORDER = 10**5


class Crosshair:
    """The lines on one canvas; they follow the position, the planes and the zoom.

    They are drawn beside napari's layers, not as one of them: nobody wants them in the layer list, or saved.

    Parameters
    ----------
    viewer
        What the canvas shows.
    canvas
        Where they are drawn.

    Raises
    ------
    AttributeError
        If this version of napari does not let draw on its canvas.
    """

    def __init__(self, viewer: ViewerModel, canvas: QtViewer) -> None:
        self._viewer = weakref.ref(viewer)
        self._line = Line(connect="segments", color=_COLOUR, method="gl", parent=canvas.canvas.view.scene)
        self._line.order = _ORDER
        self._line.set_gl_state("translucent", depth_test=False)
        self._wanted = True
        dims, camera = viewer.dims.events, viewer.scene.camera.events
        self._events = [dims.point, dims.order, dims.ndisplay, dims.range, dims.ndim, camera.zoom]
        for event in self._events:
            event.connect(self._draw)
        self._draw()

    @property
    def lines(self) -> NDArray[np.float64]:
        """The end points of its pieces, as :func:`segments` returns them; none while it is hidden."""
        viewer = self._viewer()
        return np.zeros((0, 2)) if viewer is None or not self._line.visible else segments(viewer)

    def show(self, wanted: bool) -> None:  # Qt hands it over so
        """Show or hide the lines."""
        self._wanted = wanted
        self._draw()

    def stop(self) -> None:
        """Take the lines away."""
        for event in self._events:
            event.disconnect(self._draw)
        self._events = []
        self._line.parent = None

    def _draw(self, _event: object = None) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        ends = segments(viewer) if self._wanted and viewer.layers else np.zeros((0, 2))
        self._line.visible = bool(len(ends))
        if len(ends):
            self._line.set_data(pos=ends[:, ::-1].astype(np.float32))  # vispy counts x, y, z


def segments(viewer: ViewerModel) -> NDArray[np.float64]:
    """Return the end points of the pieces of the lines, two for each piece.

    Returns
    -------
    numpy.ndarray
        (2 n, displayed axes) float64, in the viewer's units along its displayed axes.
    """
    axes = list(viewer.dims.displayed)
    if viewer.dims.ndim < 3:
        return np.zeros((0, 2))
    point = np.array(viewer.dims.point)[axes]
    gap = _GAP_PIXELS / viewer.scene.camera.zoom
    ends = []
    for number, axis in enumerate(axes):
        first, last, step = viewer.dims.range[axis]
        for start, stop in ((first - step / 2, point[number] - gap), (point[number] + gap, last + step / 2)):
            if start < stop:
                piece = np.array([point, point])
                piece[:, number] = start, stop
                ends.append(piece)
    return np.concatenate(ends) if ends else np.zeros((0, len(axes)))
