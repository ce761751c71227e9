"""Where a voxel of a scan is in the viewer."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.display import PLANES, DisplayView
from lesionlens.ui.layers import is_length

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from lesionlens.volume import Grid, Volume

__all__ = ["go_to", "go_to_slice", "mm_per_unit_of", "show_as_taken", "show_slice"]


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


def show_as_taken(viewer: ViewerModel, volume: Volume) -> None:
    """Show the middle slice of a DICOM series in the plane that it was taken in; other files do not know of one."""
    if volume.source.format == "dicom":
        show_slice(viewer, volume.grid, volume.grid.shape[2] // 2)


def go_to_slice(viewer: ViewerModel, grid: Grid, index: int) -> None:
    """Show a slice of a scan, in the plane and the part of it that are on the canvas.

    Parameters
    ----------
    viewer
        Viewer that shows the scan.
    grid
        Grid of the scan.
    index
        Display index along the axis that the slider goes through.
    """
    view = DisplayView(grid)
    axis = viewer.dims.order[-3] - (viewer.dims.ndim - 3)
    mm = view.translate[axis] + view.scale[axis] * index
    viewer.dims.set_point(viewer.dims.order[-3], mm / mm_per_unit_of(viewer)[axis])


def mm_per_unit_of(viewer: ViewerModel) -> NDArray[np.float64]:
    """Return the length in mm of the viewer's unit along the last three axes: the smallest of any layer's units."""
    units = (viewer.layers.units or ())[-3:]  # none where some layers have lengths and others pixels
    return np.array([_mm(unit) for unit in units]) if len(units) == 3 else np.ones(3)


@cache
def _mm(unit: Any) -> float:
    """Return the length of a unit in mm, 1 where it is none; asked at every slice, and slow to find out."""
    return float((1.0 * unit).to("mm").magnitude) if is_length(unit) else 1.0
