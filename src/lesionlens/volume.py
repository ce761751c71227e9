"""Volumes on grids: voxel indices, world millimetres (RAS+), and the one resampler.

A :class:`Grid` is a shape and an affine that maps voxel indices ``(i, j, k)`` to world millimetres, RAS+:
x grows to the patient's right, y to the front, z to the head. Voxel centres lie at whole indices, so a voxel reaches
from ``i - 0.5`` to ``i + 0.5``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from lesionlens.errors import InputError, printable
from lesionlens.lattice import copied_where_voxels_coincide
from lesionlens.windowing import Window

__all__ = ["GeometryVerdict", "Grid", "Source", "Volume", "resample"]

# Two grids are the same when their corners agree within this many mm: far below any voxel, far above what a
# float32 affine (NIfTI stores the sform in single precision) loses at 500 mm from the origin (3e-5 mm).
SAME_GRID_MM = 1e-3

# An affine whose axes span less than this fraction of the box of their lengths is flat: it cannot be inverted safely.
MIN_RELATIVE_DETERMINANT = 1e-6

# No voxel lies a kilometre away, and none is smaller than a nanometre: such numbers are damage, and products of them
# would leave what a computer can count.
MOST_MM, LEAST_MM = 1e6, 1e-6

# A point this many voxels beyond the outer face of a grid still counts as inside: rounding of affines, not geometry.
EDGE_SLACK_VOXELS = 1e-3

# Weights of a trilinear interpolation add up to 1 within this; an invalid voxel of so little weight changes nothing.
_WEIGHT_SLACK = 1e-5

# Rows of the target that are resampled at a time keep the coordinates of a block below about 64 MB.
_BLOCK_VOXELS = 2_000_000

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular 3D grid of voxels in world space.

    Parameters
    ----------
    shape
        Voxels along ``(i, j, k)``, each at least 1.
    affine
        (4, 4) matrix, voxel index to world mm, RAS+. Stored as a read-only float64 copy.

    Raises
    ------
    InputError
        If the shape is not three positive integers, or the affine is not finite, not invertible, or its last row is
        not ``0 0 0 1``.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise InputError(f"A grid needs three axes of at least one voxel; found shape {tuple(self.shape)}.")
        affine = np.array(self.affine, dtype=np.float64)
        _check_affine(affine)
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along (i, j, k), in mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def axcodes(self) -> str:
        """Patient directions in which (i, j, k) grow, nearest letters, such as ``"RAS"`` or ``"LPS"``."""
        return "".join("LR"[s > 0] if a == 0 else "PA"[s > 0] if a == 1 else "IS"[s > 0] for a, s in self.axes())

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm³ (right for sheared grids too)."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape))

    def axes(self) -> tuple[tuple[int, int], ...]:
        """Return for each voxel axis the nearest world axis (0 R, 1 A, 2 S) and its sign (+1 or -1).

        Every world axis is used once: of the six assignments the one with the largest sum of cosines is taken, so an
        oblique grid close to 45 degrees still gets a valid permutation.
        """
        from itertools import permutations

        cosines = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        best = max(permutations(range(3)), key=lambda p: sum(abs(cosines[p[v], v]) for v in range(3)))
        return tuple((best[v], 1 if cosines[best[v], v] > 0 else -1) for v in range(3))

    def world(self, ijk: ArrayLike) -> NDArray[np.float64]:
        """Return the world position in mm (RAS+) of voxel indices.

        Parameters
        ----------
        ijk
            (..., 3) voxel indices, fractions allowed.
        """
        points = np.asarray(ijk, dtype=np.float64)
        return points @ self.affine[:3, :3].T + self.affine[:3, 3]

    def voxel(self, ras: ArrayLike) -> NDArray[np.float64]:
        """Return the voxel indices (..., 3), with fractions, of world positions ``ras`` (..., 3) in mm, RAS+."""
        points = np.asarray(ras, dtype=np.float64) - self.affine[:3, 3]
        found = np.linalg.solve(self.affine[:3, :3], points.reshape(-1, 3).T)
        return np.asarray(found.T.reshape(points.shape), dtype=np.float64)

    def contains(self, ras: ArrayLike) -> NDArray[np.bool_]:
        """Say for each world position (..., 3) whether it lies inside the grid's outer faces."""
        ijk = self.voxel(ras)
        upper = np.array(self.shape) - 0.5 + EDGE_SLACK_VOXELS
        return np.asarray(np.all((ijk >= -0.5 - EDGE_SLACK_VOXELS) & (ijk <= upper), axis=-1))

    def corners(self) -> NDArray[np.float64]:
        """Return the world positions (8, 3) in mm of the centres of the eight corner voxels."""
        ends = [(0, n - 1) for n in self.shape]
        return self.world([(i, j, k) for i in ends[0] for j in ends[1] for k in ends[2]])

    def same_as(self, other: Grid, *, tolerance_mm: float = SAME_GRID_MM) -> bool:
        """Say whether both grids have the same shape and corners that agree within ``tolerance_mm``."""
        if self.shape != other.shape:
            return False
        return bool(np.abs(self.corners() - other.corners()).max() <= tolerance_mm)


def _check_affine(affine: NDArray[np.float64]) -> None:
    if affine.shape != (4, 4):
        raise InputError(f"An affine has shape (4, 4); found {affine.shape}.")
    if not np.isfinite(affine).all():
        raise InputError(f"An affine must be finite; found {affine.tolist()}.")
    if np.abs(affine).max() > MOST_MM:
        raise InputError(f"Voxels lie within a kilometre; found an affine beyond, {affine.tolist()}.")
    if not np.array_equal(affine[3], [0, 0, 0, 1]):
        raise InputError(f"The last row of an affine is 0 0 0 1; found {affine[3].tolist()}.")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if lengths.min() < LEAST_MM or abs(np.linalg.det(affine[:3, :3])) < MIN_RELATIVE_DETERMINANT * lengths.prod():
        raise InputError(f"The affine cannot be inverted (axes of length 0 or in one plane): {affine.tolist()}.")


# What a verdict says of how its problems were handled.
_HANDLED = {
    "": "",
    "resample": "; resampled onto a regular grid at the true positions",
    "as-is": "; voxels kept as they are",
}


@dataclass(frozen=True)
class GeometryVerdict:
    """What loading found about the positions of the slices.

    Parameters
    ----------
    problems
        One sentence for each irregularity, with where it is; empty when the grid is regular.
    worst_error_mm
        Largest distance in mm between a voxel's place on the affine grid and its true place in the file. The grid is
        the one that was returned; for slices that were refused or resampled, the upright one that a program would
        assume that counts slices.
    handled
        What was done about the problems: ``"resample"``, ``"as-is"``, or empty where nothing was.
    """

    problems: tuple[str, ...] = ()
    worst_error_mm: float = 0.0
    handled: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "problems", tuple(map(printable, self.problems)))  # they name files

    @property
    def regular(self) -> bool:
        """True when nothing irregular was found."""
        return not self.problems

    @property
    def in_short(self) -> str:
        """What is irregular, without where: what comes before the colon of each problem."""
        return self._saying(dict.fromkeys(problem.partition(": ")[0] for problem in self.problems))

    def __str__(self) -> str:
        return self._saying(self.problems)

    def _saying(self, problems: Iterable[str]) -> str:
        if self.regular:
            return "regular"
        found = f"irregular: {'; '.join(problems)} (worst position error {self.worst_error_mm:.3g} mm)"
        return found + _HANDLED[self.handled]


@dataclass(frozen=True)
class Source:
    """Where a volume came from and what was decided on loading.

    Parameters
    ----------
    format
        ``"nifti"``, ``"nrrd"``, ``"metaimage"``, ``"dicom"`` or ``"memory"``.
    files
        Names relative to the folder given, in slice order for DICOM.
    sha256
        SHA-256 over the files' bytes in that order, hexadecimal; empty for arrays made in memory.
    uids
        SOPInstanceUIDs in slice order; empty unless DICOM.
    modality
        DICOM modality (``"MR"``, ``"CT"``), or empty when the format does not say.
    decisions
        One sentence for everything that was not obvious (which affine was used, what was left out).
    verdict
        What was found about the geometry.
    stack
        Name of the volume that was chosen of several in one series or file, such as ``"t=3"``; else empty.
    frame_of_reference
        DICOM FrameOfReferenceUID: positions of two images with the same one are comparable. Empty where there is none.
    series
        The series that was asked for of several, as it may be written down: a UID only as its digest. Else empty.
    identity
        Who the scan is of; empty unless it was asked for on reading.
    windows
        The windows that the files suggest for showing it, of the middle slice.
    """

    format: str = "memory"
    files: tuple[str, ...] = ()
    sha256: str = ""
    uids: tuple[str, ...] = field(default=(), repr=False)
    modality: str = ""
    decisions: tuple[str, ...] = ()
    verdict: GeometryVerdict = field(default_factory=GeometryVerdict)
    stack: str = ""
    frame_of_reference: str = field(default="", repr=False)
    series: str = ""
    identity: Mapping[str, str] = field(default_factory=dict)
    windows: tuple[Window, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "decisions", tuple(map(printable, self.decisions)))  # they name files


@dataclass(frozen=True, eq=False)
class Volume:
    """One 3D scalar image on one grid.

    Parameters
    ----------
    array
        (i, j, k) real numbers; kept without a copy where possible and made read-only as seen from here.
    grid
        The voxels' place in the world.
    name
        Short name for people; never a patient's.
    unit
        Unit of the values: ``"HU"``, ``"probability"``, or empty when arbitrary.
    source
        Where it came from.
    valid
        (i, j, k) True where the files hold data; None where they do everywhere. Other voxels hold a value that means
        nothing; they are measured nowhere.

    Raises
    ------
    InputError
        If the array is not real, the mask is not Boolean, or a shape differs from the grid's.
    """

    array: Array
    grid: Grid
    name: str = "volume"
    unit: str = ""
    source: Source = field(default_factory=Source)
    valid: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.dtype.kind not in "iuf":
            raise InputError(f"Volume {self.name!r} needs real numbers; found dtype {array.dtype}.")
        if array.shape != self.grid.shape:
            raise InputError(f"Volume {self.name!r} has shape {array.shape}, but its grid has {self.grid.shape}.")
        object.__setattr__(self, "name", printable(self.name))  # often that of a file
        object.__setattr__(self, "array", _read_only(array))
        if self.valid is not None:
            valid = np.asarray(self.valid)
            if valid.dtype != np.bool_ or valid.shape != self.grid.shape:
                raise InputError(
                    f"The validity mask of volume {self.name!r} is Boolean of shape {self.grid.shape}; found "
                    f"{valid.dtype} of shape {valid.shape}."
                )
            object.__setattr__(self, "valid", _read_only(valid))

    def with_array(self, array: ArrayLike, *, name: str | None = None, unit: str | None = None) -> Volume:
        """Return a volume with other values on the same grid, from the same source."""
        return replace(
            self,
            array=np.asarray(array),
            name=self.name if name is None else name,
            unit=self.unit if unit is None else unit,
        )

    def resampled(self, grid: Grid, *, order: int = 1, fill: float = 0.0) -> Volume:
        """Return this volume on another grid; see :func:`resample`.

        A voxel of the result is valid when every voxel that it was made from is.
        """
        array = resample(self.array, self.grid, grid, order=order, fill=fill)
        held: Array = np.broadcast_to(np.float32(1), self.grid.shape) if self.valid is None else self.valid
        valid = resample(held, self.grid, grid, order=order) > 1 - _WEIGHT_SLACK
        return replace(self, array=array, grid=grid, valid=None if valid.all() else valid)


def _read_only(array: Array) -> Array:
    view = array.view()
    view.setflags(write=False)
    return view


def resample(array: ArrayLike, source: Grid, target: Grid, *, order: int = 1, fill: float = 0.0) -> NDArray[np.float32]:
    """Bring values from one grid to another through both affines.

    Positions inside the outer faces of the source grid (up to half a voxel beyond the outer voxel centres) take the
    nearest edge value, as ``torch.nn.functional.interpolate`` does with ``align_corners=False``; positions beyond take
    ``fill``.

    Parameters
    ----------
    array
        (i, j, k) values on ``source``.
    source, target
        Where the values are, and where they are wanted.
    order
        1 for trilinear, 0 for the nearest voxel (labels).
    fill
        Value beyond the source grid.

    Returns
    -------
    numpy.ndarray
        (i, j, k) float32 on ``target``.

    Raises
    ------
    InputError
        If the array does not have the source grid's shape, or ``order`` is neither 0 nor 1.
    """
    values = np.asarray(array)
    if values.shape != source.shape:
        raise InputError(f"Values of shape {values.shape} do not lie on a grid of shape {source.shape}.")
    if order not in (0, 1):
        raise InputError(f"Resampling order is 0 (nearest) or 1 (trilinear); found {order}.")
    placed = source if source.same_as(target) else target
    index = np.asarray(np.linalg.solve(source.affine, placed.affine), dtype=np.float64)  # target -> source voxel
    values, out = values.astype(np.float32, copy=False), np.full(target.shape, fill, dtype=np.float32)
    if copied_where_voxels_coincide(values, index, out):
        return out
    rows = max(1, _BLOCK_VOXELS // (target.shape[1] * target.shape[2]))
    for first in range(0, target.shape[0], rows):
        block = out[first : first + rows]
        start = index[:3, 3] + index[:3, 0] * first
        ndimage.affine_transform(
            values, index[:3, :3], start, output_shape=block.shape, output=block, order=order, mode="nearest"
        )
        block[~_inside(index[:3, :3], start, block.shape, source.shape)] = fill
    return out


def _inside(
    matrix: NDArray[np.float64], start: NDArray[np.float64], shape: tuple[int, ...], source_shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Say for every voxel of a block whether it lies inside the outer faces of the source grid."""
    inside = np.ones(shape, dtype=bool)
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    for axis, n in enumerate(source_shape):
        position = start[axis] + matrix[axis, 0] * i + matrix[axis, 1] * j + matrix[axis, 2] * k
        inside &= (position >= -0.5 - EDGE_SLACK_VOXELS) & (position <= n - 0.5 + EDGE_SLACK_VOXELS)
    return inside


def frozen_mapping(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a read-only copy of a mapping, for the fields of value types."""
    return MappingProxyType(dict(values))
