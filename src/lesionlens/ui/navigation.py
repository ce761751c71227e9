"""Where a voxel of a scan is in the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.display import PLANES, DisplayView
from lesionlens.ui.layers import is_length

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from lesionlens.volume import Grid, Volume

__all__ = ["go_to", "mm_per_unit_of", "show_slice"]


def go_to(viewer: ViewerModel, volume: Volume, ijk: ArrayLike) -> None:
    """Show the slice of a voxel and bring the voxel to the centre of the canvas.

    Parameters
    ----------
    viewer
        Viewer that shows the volume.
    volume
        The scan.
    ijk
        Voxel index; fractions are rounded to the voxel that holds the point.
    """
    position = DisplayView(volume.grid).position(np.rint(ijk)) / mm_per_unit_of(viewer)
    # Other layers may add axes in front; the scan has the last three.
    viewer.dims.point = (*viewer.dims.point[:-3], *position.tolist())
    point = np.array(viewer.dims.point)
    camera = viewer.scene.camera
    camera.center = tuple(point[list(viewer.dims.displayed)].tolist())
    # Said also where the centre was there already: views of other planes follow it (lesionlens.ui.views.cameras).
    camera.events.center(value=camera.center)


def show_slice(viewer: ViewerModel, grid: Grid, k: int) -> None:
    """Show slice ``k`` of a scan in 2D, in the plane that it was taken in."""
    view = DisplayView(grid)
    across = view.voxel_axes.index(2)
    viewer.dims.ndisplay = 2
    viewer.dims.order = next(plane.order for plane in PLANES.values() if plane.order[0] == across)
    viewer.reset_view()
    middle = (*((np.array(grid.shape[:2]) - 1) // 2).tolist(), k)
    viewer.dims.point = (view.position(middle) / mm_per_unit_of(viewer)).tolist()


def mm_per_unit_of(viewer: ViewerModel) -> NDArray[np.float64]:
    """Return the length in mm of the viewer's unit along the last three axes: the smallest of any layer's units."""
    units = (viewer.layers.units or ())[-3:]
    return np.array([(1.0 * u).to("mm").magnitude if is_length(u) else 1.0 for u in units] or [1.0])
