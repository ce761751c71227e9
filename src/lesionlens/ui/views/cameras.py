"""Cameras of several viewers that show the same part of the patient, at their own sizes."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lesionlens.ui.links import Connections

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["Cameras"]

# Rounding of a sum of a few floats, and far below any voxel.
_SAME_MM = 1e-6


class Cameras:
    """Links zoom and centre of viewers in different planes, as far as they are in 2D.

    Zooming in twice doubles the scale of all, whatever the sizes of their canvases. Along an axis that two of them
    show they have the same centre. Where the common position comes to the centre of one, as by a click in a table, it
    does so in all, linked or not; where it leaves one that shows a part, that one follows.

    Parameters
    ----------
    viewers
        Whose cameras; they are not kept alive.
    """

    def __init__(self, viewers: Sequence[ViewerModel]) -> None:
        self.linked = True
        self._viewers = [weakref.ref(viewer) for viewer in viewers]
        self._zooms = [float(viewer.scene.camera.zoom) for viewer in viewers]
        self._points = [tuple(viewer.dims.point) for viewer in viewers]
        self._busy = False
        self._ends = Connections()
        for number, viewer in enumerate(viewers):
            camera = viewer.scene.camera.events
            steps = ((camera.center, self._centre), (camera.zoom, self._zoom), (viewer.dims.events.point, self._keep))
            for event, step in steps:
                self._ends.add(event, partial(step, number))

    def stop(self) -> None:
        """Let go of the cameras."""
        self._ends.stop()

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Let the cameras differ for a while, and take that for how they stand to each other from then on."""
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before
            self._zooms = [float(v.scene.camera.zoom) if (v := r()) else 1.0 for r in self._viewers]

    def _others(self, number: int) -> list[ViewerModel]:
        found = [(n, reference()) for n, reference in enumerate(self._viewers)]
        return [viewer for n, viewer in found if n != number and viewer is not None and viewer.dims.ndisplay == 2]

    def _flat(self, number: int) -> ViewerModel | None:
        """Return a viewer unless it is in 3D, where a camera means something else, or only follows."""
        viewer = self._viewers[number]()
        return None if self._busy or viewer is None or viewer.dims.ndisplay != 2 else viewer

    def _zoom(self, number: int, _event: object = None) -> None:
        viewer = self._flat(number)
        if viewer is None:
            return
        ratio = viewer.scene.camera.zoom / self._zooms[number]
        with self.apart():
            for other in self._others(number) if self.linked else ():
                other.scene.camera.zoom *= ratio

    def _centre(self, number: int, _event: object = None) -> None:
        viewer = self._flat(number)
        if viewer is None:
            return
        axes = viewer.dims.displayed
        centre = dict(zip(axes, viewer.scene.camera.center[-2:], strict=True))
        point = viewer.dims.point
        at_position = all(abs(centre[axis] - point[axis]) < _SAME_MM for axis in axes)
        if at_position:
            centre = dict(enumerate(point))
        if at_position or self.linked:
            with self.apart():
                for other in self._others(number):
                    _look_at(other, centre)

    def _keep(self, number: int, _event: object = None) -> None:
        """Keep the position on the canvas when it moves in the plane; whoever looks elsewhere may go on to do so."""
        viewer = self._viewers[number]()
        if viewer is None:
            return
        before, self._points[number] = self._points[number], tuple(viewer.dims.point)
        axes = list(viewer.dims.displayed)
        moved = len(before) != viewer.dims.ndim or any(before[axis] != viewer.dims.point[axis] for axis in axes)
        if self._flat(number) is None or not moved:
            return
        half = np.array(viewer.canvas.size) / 2 / viewer.scene.camera.zoom
        away = np.abs(np.array(viewer.dims.point)[axes] - viewer.scene.camera.center[-2:])
        if (away > half).any():
            with self.apart():
                _look_at(viewer, dict(enumerate(viewer.dims.point)))


def _look_at(viewer: ViewerModel, centre: dict[int, float]) -> None:
    camera = viewer.scene.camera
    seen = zip(viewer.dims.displayed, camera.center[-2:], strict=True)
    camera.center = tuple(float(centre.get(axis, old)) for axis, old in seen)
