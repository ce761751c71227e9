"""Where a voxel of a scan is in the viewer, and what is under the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.display import PLANES, DisplayView
from lesionlens.ui.layers import is_length, volume_of
from lesionlens.volume import Grid, Volume

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["go_to", "mm_per_unit_of", "readout", "show_slice"]

# Letters of the directions in which R, A and S grow, and of their opposites.
_SIDES = (("R", "L"), ("A", "P"), ("S", "I"))


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
    viewer.scene.camera.center = tuple(point[list(viewer.dims.displayed)].tolist())


def show_slice(viewer: ViewerModel, grid: Grid, k: int) -> None:
    """Show slice ``k`` of a scan in 2D, in the plane that it was taken in."""
    view = DisplayView(grid)
    across = view.voxel_axes.index(2)
    viewer.dims.ndisplay = 2
    viewer.dims.order = next(plane.order for plane in PLANES.values() if plane.order[0] == across)
    viewer.reset_view()
    middle = (*((np.array(grid.shape[:2]) - 1) // 2).tolist(), k)
    viewer.dims.point = (view.position(middle) / mm_per_unit_of(viewer)).tolist()


def readout(viewer: ViewerModel) -> str:
    """Say what is under the cursor: its true place in mm, through the affine, and the value of the scan's voxel there.

    The topmost visible scan that reaches there counts; empty where there is none.
    """
    position = np.array(viewer.cursor.position[-3:])
    if position.shape != (3,):
        return ""
    position = position * mm_per_unit_of(viewer)
    for layer in reversed(viewer.layers):
        volume = volume_of(layer)
        text = "" if volume is None or not layer.visible else _at(volume, position)
        if text:
            return text
    return ""


def _at(volume: Volume, position: NDArray[np.float64]) -> str:
    """Describe a display position in mm of a scan; empty outside of it."""
    ijk = DisplayView(volume.grid).voxel_at(position)
    ras = volume.grid.world(ijk)
    if not volume.grid.contains(ras):
        return ""
    i, j, k = np.clip(np.rint(ijk).astype(int), 0, np.array(volume.grid.shape) - 1)
    sides = [f"{letters[int(mm < 0)]} {abs(mm):.1f} mm" for letters, mm in zip(_SIDES, ras, strict=True)]
    held = volume.valid is None or volume.valid[i, j, k]
    value = f"{volume.array[i, j, k]:.6g} {volume.unit}".rstrip() if held else "no data"
    return "\n".join([*sides, value])  # one below the other, to keep clear of the letter at the top


def mm_per_unit_of(viewer: ViewerModel) -> NDArray[np.float64]:
    """Return the length in mm of the viewer's unit along the last three axes: the smallest of any layer's units."""
    units = (viewer.layers.units or ())[-3:]
    return np.array([(1.0 * u).to("mm").magnitude if is_length(u) else 1.0 for u in units] or [1.0])
