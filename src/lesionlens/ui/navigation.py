"""Where a voxel of a scan is in the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.display import DisplayView
from lesionlens.ui.layers import is_length
from lesionlens.volume import Volume

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["go_to"]


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
    position = DisplayView(volume.grid).position(np.rint(ijk)) / _mm_per_unit(viewer)
    # Other layers may add axes in front; the scan has the last three.
    viewer.dims.point = (*viewer.dims.point[:-3], *position.tolist())
    point = np.array(viewer.dims.point)
    viewer.scene.camera.center = tuple(point[list(viewer.dims.displayed)].tolist())


def _mm_per_unit(viewer: ViewerModel) -> NDArray[np.float64]:
    """Return the length in mm of the viewer's unit along the last three axes: the smallest of any layer's units."""
    units = (viewer.layers.units or ())[-3:]
    return np.array([(1.0 * u).to("mm").magnitude if is_length(u) else 1.0 for u in units] or [1.0])
