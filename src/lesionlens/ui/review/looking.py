"""Where the viewer looks: at a finding, in its middle and at its size; kept and brought back when a reader goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.display import AXIAL, PLANES, DisplayView
from lesionlens.ui.navigation import go_to, mm_per_unit_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from lesionlens.volume import Volume

__all__ = ["bring_back", "look_at", "view_of"]

# A finding takes this part of the smaller side of the canvas; what is around it is needed to judge it.
_SHARE = 0.3
# However small it is, so much is seen: without landmarks nobody knows where they are.
_LEAST_VIEW_MM = 60.0


def look_at(viewer: ViewerModel, volume: Volume, ijk: ArrayLike, box: tuple[ArrayLike, ArrayLike]) -> None:
    """Bring a finding to the middle of the canvas, in the plane that is shown, and zoom to its size.

    Parameters
    ----------
    viewer
        Viewer that shows the volume.
    volume
        The scan.
    ijk
        Voxel to look at.
    box
        Lowest and highest voxel of the finding.
    """
    go_to(viewer, volume, ijk)
    per_unit = mm_per_unit_of(viewer)
    corners = DisplayView(volume.grid).position(np.array(box)) / per_unit
    voxel = np.array(DisplayView(volume.grid).scale) / per_unit
    sides = np.abs(corners[1] - corners[0]) + voxel
    shown = list(viewer.dims.displayed)[-2:]
    seen = np.maximum(sides[shown] / _SHARE, _LEAST_VIEW_MM / per_unit[shown])
    viewer.scene.camera.zoom = float(np.min(np.array(viewer.canvas.size) / seen))


def view_of(viewer: ViewerModel, volume: Volume) -> dict[str, Any]:
    """Return where the viewer looks: the point at the middle of the canvas in mm (RAS+), zoom, and plane."""
    position = np.array(viewer.dims.point[-3:], dtype=np.float64)
    shown = list(viewer.dims.displayed)[-2:]
    position[shown] = viewer.scene.camera.center[-2:]
    ijk = DisplayView(volume.grid).voxel_at(position * mm_per_unit_of(viewer))
    centre = volume.grid.world(ijk).tolist()
    return {"centre_ras": centre, "zoom": float(viewer.scene.camera.zoom), "plane": _plane(viewer)}


def bring_back(viewer: ViewerModel, volume: Volume, view: Mapping[str, Any]) -> None:
    """Look where somebody looked: plane, slice, middle of the canvas and zoom."""
    viewer.dims.ndisplay = 2
    viewer.dims.order = PLANES.get(view.get("plane", ""), AXIAL).order
    ijk = volume.grid.voxel(np.array(view["centre_ras"]))
    position: NDArray[np.float64] = DisplayView(volume.grid).position(ijk) / mm_per_unit_of(viewer)
    viewer.dims.point = (*viewer.dims.point[:-3], *position.tolist())
    viewer.scene.camera.center = tuple(position[list(viewer.dims.displayed)].tolist())
    viewer.scene.camera.zoom = view["zoom"]


def _plane(viewer: ViewerModel) -> str:
    order = tuple(viewer.dims.order[-3:])
    return next((plane.name for plane in PLANES.values() if plane.order == order), AXIAL.name)
