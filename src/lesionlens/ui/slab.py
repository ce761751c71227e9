"""Thick slices: the voxels of several slices as one, projected by napari.

Only scans are projected. Overlays stay those of the central slice, so that an outline never encloses what belongs to
another slice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lesionlens.display import DisplayView
from lesionlens.ui.layers import volume_of
from lesionlens.ui.navigation import mm_per_unit_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["MODES", "THIN", "Slab", "set_slab", "slab_of"]

THIN = "none"
# Names of napari's projections, and what radiologists call them.
MODES = {THIN: "Thin slices", "max": "MIP", "mean": "Mean", "min": "MinIP"}

# napari shows the voxels from round(p - left) up to, but not including, round(p + right), and one more where p + right
# is whole. With this part of a slice added to the right the last one is always among them.
_OVERHANG = 0.9


@dataclass(frozen=True)
class Slab:
    """What a canvas shows of a scan as one picture.

    Parameters
    ----------
    mode
        Key of :data:`MODES`.
    n_slices
        How many slices are projected.
    thickness_mm
        Their thickness together.
    """

    mode: str
    n_slices: int
    thickness_mm: float

    def __str__(self) -> str:
        return f"{MODES.get(self.mode, self.mode)} {self.thickness_mm:.1f} mm\n{self.n_slices} slices"


def set_slab(viewers: Iterable[ViewerModel], mode: str, wanted_mm: float) -> None:
    """Project the scans of viewers over slices that together are at least so thick.

    The fewest that are so thick and lie evenly about the central one: their number is odd.
    """
    for viewer in viewers:
        for layer in viewer.layers if mode != THIN else ():
            layer.projection_mode = mode if volume_of(layer) is not None else THIN  # napari would take the mean
        left, right = _margins(viewer, wanted_mm) if mode != THIN else (np.zeros(3), np.zeros(3))
        # Other layers may add axes in front; scans have the last three.
        front = (0.0,) * (viewer.dims.ndim - 3)
        if viewer.dims.ndim >= 3:
            viewer.dims.margin_left = (*front, *left.tolist())
            viewer.dims.margin_right = (*front, *right.tolist())


def slab_of(viewer: ViewerModel) -> Slab | None:
    """Return what the topmost visible scan shows as one picture; None where that is a single slice, or 3D."""
    if viewer.dims.ndisplay != 2 or viewer.dims.ndim < 3 or not any(viewer.dims.thickness):
        return None
    shown = [layer for layer in viewer.layers if layer.visible and volume_of(layer) is not None]
    if not shown or shown[-1].projection_mode == THIN:
        return None
    mode, view = str(shown[-1].projection_mode), _view_of(shown[-1])
    axis = viewer.dims.order[-3] - (viewer.dims.ndim - 3)
    if axis < 0:
        return None
    to_index = mm_per_unit_of(viewer)[axis] / view.scale[axis]
    place = (viewer.dims.point[axis - 3] * mm_per_unit_of(viewer)[axis] - view.translate[axis]) / view.scale[axis]
    low = max(round(place - viewer.dims.margin_left[axis - 3] * to_index), 0)
    end = place + viewer.dims.margin_right[axis - 3] * to_index
    stop = round(end) + int(np.isclose(round(end), end))
    n_slices = min(max(stop, low + 1), view.shape[axis]) - low
    return Slab(mode, n_slices, n_slices * view.scale[axis]) if n_slices > 1 else None


def _margins(viewer: ViewerModel, wanted_mm: float) -> tuple[Any, Any]:
    """Return how far slabs reach before and behind the central slice, for each axis of the scan, in viewer's units."""
    scans = [layer for layer in viewer.layers if volume_of(layer) is not None]
    if not scans:
        return np.zeros(3), np.zeros(3)
    spacing = np.array(_view_of(([layer for layer in scans if layer.visible] or scans)[-1]).scale)
    each_side = np.array([max(0, math.ceil((wanted_mm / mm - 1) / 2)) for mm in spacing])
    in_units = spacing / mm_per_unit_of(viewer)
    return each_side * in_units, (each_side + _OVERHANG) * in_units


def _view_of(layer: Any) -> DisplayView:
    volume = volume_of(layer)
    assert volume is not None  # asked of scans alone
    return DisplayView(volume.grid)
