"""Where a voxel of a scan is in the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from lesionlens.display import DisplayView
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
    position = DisplayView(volume.grid).position(np.rint(ijk))
    # Other layers may add axes in front; the scan has the last three.
    viewer.dims.point = (*viewer.dims.point[:-3], *position.tolist())
    point = np.array(viewer.dims.point)
    viewer.scene.camera.center = tuple(point[list(viewer.dims.displayed)].tolist())
