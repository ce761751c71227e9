"""How a volume is shown: a flipped, axis-permuted view closest to radiological display, without resampling.

A display array has the axes ``(slice, row, column)``:

====== ===================== ============================== =====================
axis   grows towards         in an axial picture            position in mm
====== ===================== ============================== =====================
slice  head (+S)             next picture                   S
row    back (-A)             downwards, front at the top    -A
column patient's left (-R)   to the right, R on the left    -R
====== ===================== ============================== =====================

Positions in mm are what napari calls world coordinates: ``position = translate + scale * index``. For a grid that is
parallel to the world axes they are the RAS coordinates with the signs of the table. napari cannot slice rotated grids
in 2D, so an oblique grid is shown along its own axes, as if straightened about its centre, where positions agree with
RAS; elsewhere only the grid's affine tells the truth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.errors import InputError
from lesionlens.volume import Grid

__all__ = ["AXIAL", "CORONAL", "PLANES", "SAGITTAL", "DisplayView", "Plane", "from_display", "to_display"]

# World axis (0 R, 1 A, 2 S) and direction in which the display axes (slice, row, column) grow.
WORLD_AXES = (2, 1, 0)
DIRECTIONS = (1, -1, -1)
_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
# Places are multiples of this part of the spacing: napari counts slices by dividing and rounding down, and would leave
# out the last one where extent / spacing comes out just below a whole number. A thousand slices move by 1e-5 of one.
_UNIT = 2.0**-24


@dataclass(frozen=True)
class Plane:
    """How a display array is turned into pictures of one anatomical plane.

    Parameters
    ----------
    name
        ``"axial"``, ``"coronal"`` or ``"sagittal"``.
    order
        Display axes as (slider, downwards or upwards, sideways): napari's ``viewer.dims.order``.
    orientation
        Where these axes grow on the screen: (depth, vertical, horizontal), napari's ``viewer.camera.orientation``. The
        depth keeps a 3D rendering from being mirrored.
    edges
        Patient directions at the (left, right, top, bottom) of the picture.
    """

    name: str
    order: tuple[int, int, int]
    orientation: tuple[str, str, str]
    edges: tuple[str, str, str, str]

    def pictures(self, display: NDArray[Any]) -> NDArray[Any]:
        """Return a (slice, row, column) display array as pictures (n, downwards, to the right), a view.

        For drawing without napari, which takes :attr:`order` and :attr:`orientation` instead.
        """
        stack = display.transpose(self.order)
        return stack if self.orientation[1] == "down" else stack[:, ::-1]


AXIAL = Plane("axial", (0, 1, 2), ("away", "down", "right"), ("R", "L", "A", "P"))
CORONAL = Plane("coronal", (1, 0, 2), ("away", "up", "right"), ("R", "L", "S", "I"))
SAGITTAL = Plane("sagittal", (2, 0, 1), ("towards", "up", "right"), ("A", "P", "S", "I"))
PLANES = {plane.name: plane for plane in (AXIAL, CORONAL, SAGITTAL)}


@dataclass(frozen=True, eq=False)
class DisplayView:
    """The display axes of one grid: which voxel axis each is, whether it is flipped, and its place in mm.

    Parameters
    ----------
    grid
        Grid to show.

    Attributes
    ----------
    voxel_axes
        For each display axis (slice, row, column) the voxel axis 0..2 it shows.
    flipped
        For each display axis whether it runs against that voxel axis.
    shape
        Shape of the display array.
    scale
        Distance in mm between neighbours along each display axis: napari's ``layer.scale``.
    translate
        Position in mm of display index (0, 0, 0): napari's ``layer.translate``.

    Examples
    --------
    >>> view = DisplayView(volume.grid)                                                # doctest: +SKIP
    >>> viewer.add_image(view.to_display(volume.array), scale=view.scale,              # doctest: +SKIP
    ...                  translate=view.translate, units="mm")
    """

    grid: Grid
    voxel_axes: tuple[int, int, int] = field(init=False)
    flipped: tuple[bool, bool, bool] = field(init=False)
    shape: tuple[int, int, int] = field(init=False)
    scale: tuple[float, float, float] = field(init=False)
    translate: tuple[float, float, float] = field(init=False)

    def __post_init__(self) -> None:
        nearest = self.grid.axes()
        voxel_axes = tuple([world for world, _ in nearest].index(world) for world in WORLD_AXES)
        flipped = tuple(nearest[axis][1] != sign for axis, sign in zip(voxel_axes, DIRECTIONS, strict=True))
        scale = np.array(self.grid.spacing_mm)[list(voxel_axes)]
        unit = 2.0 ** np.floor(np.log2(scale)) * _UNIT
        scale = np.round(scale / unit) * unit
        shape = np.array(self.grid.shape)[list(voxel_axes)]
        centre = self.grid.world((np.array(self.grid.shape) - 1) / 2)
        translate = np.round((centre[list(WORLD_AXES)] * DIRECTIONS - scale * (shape - 1) / 2) / unit) * unit
        for name, values in (("voxel_axes", voxel_axes), ("flipped", flipped)):
            object.__setattr__(self, name, values)
        for name, array in (("shape", shape), ("scale", scale), ("translate", translate)):
            object.__setattr__(self, name, tuple(array.tolist()))

    @property
    def tilt_deg(self) -> float:
        """Largest angle in degrees between a voxel axis and the world axis it is shown as; 0 unless oblique."""
        directions = self.grid.affine[:3, :3] / np.array(self.grid.spacing_mm)
        cosines = [abs(directions[world, axis]) for world, axis in zip(WORLD_AXES, self.voxel_axes, strict=True)]
        return float(np.degrees(np.arccos(min(1.0, *cosines))))

    def to_display(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an (i, j, k) array as (slice, row, column): a view of the same memory."""
        _check_shape(array, self.grid.shape, "(i, j, k)")
        return array.transpose(self.voxel_axes)[self._flips()]

    def from_display(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a (slice, row, column) array as (i, j, k): the exact inverse of :meth:`to_display`, also a view."""
        _check_shape(array, self.shape, "(slice, row, column)")
        return array[self._flips()].transpose(np.argsort(self.voxel_axes))

    def display_index(self, ijk: ArrayLike) -> NDArray[np.float64]:
        """Return the display indices (..., 3) of voxel indices (..., 3); fractions allowed."""
        index = np.asarray(ijk, dtype=np.float64)[..., list(self.voxel_axes)]
        return np.where(self.flipped, np.array(self.shape) - 1 - index, index)

    def voxel_index(self, display: ArrayLike) -> NDArray[np.float64]:
        """Return the voxel indices (..., 3) of display indices (..., 3); fractions allowed."""
        index = np.asarray(display, dtype=np.float64)
        index = np.where(self.flipped, np.array(self.shape) - 1 - index, index)
        return index[..., np.argsort(self.voxel_axes)]

    def position(self, ijk: ArrayLike) -> NDArray[np.float64]:
        """Return the display positions (..., 3) in mm of voxel indices, for ``viewer.dims.point`` and the camera."""
        return self.display_index(ijk) * self.scale + self.translate

    def voxel_at(self, position: ArrayLike) -> NDArray[np.float64]:
        """Return the voxel indices (..., 3), with fractions, at display positions (..., 3) in mm."""
        return self.voxel_index((np.asarray(position, dtype=np.float64) - self.translate) / self.scale)

    def slice_place(self, axis: int, index: int) -> str:
        """Say where a slice lies: the nearest patient direction and the distance from the origin, ``"S 12.0 mm"``.

        Parameters
        ----------
        axis
            Display axis 0..2 that the slice is perpendicular to.
        index
            Display index along it. On an oblique grid the slice's centre is named.
        """
        middle = (np.array(self.shape, dtype=np.float64) - 1) / 2
        middle[axis] = index
        world = WORLD_AXES[axis]
        mm = round(float(self.grid.world(self.voxel_index(middle))[world]), 1)
        return f"{_LETTERS[world][mm >= 0]} {abs(mm):.1f} mm"

    def _flips(self) -> tuple[slice, slice, slice]:
        slices, rows, columns = (slice(None, None, -1 if flip else 1) for flip in self.flipped)
        return slices, rows, columns


def to_display(array: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """Return an (i, j, k) array on ``grid`` as (slice, row, column), without a copy."""
    return DisplayView(grid).to_display(array)


def from_display(array: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """Return a (slice, row, column) array as (i, j, k) on ``grid``, without a copy."""
    return DisplayView(grid).from_display(array)


def _check_shape(array: NDArray[Any], shape: tuple[int, int, int], axes: str) -> None:
    if array.shape != shape:
        raise InputError(f"An {axes} array of this grid has shape {shape}; found {array.shape}.")
