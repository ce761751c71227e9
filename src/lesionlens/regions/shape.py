"""The shape of regions: mesh, surface, diameters and axes, in world mm on any grid, oblique and sheared ones too.

The mesh is the surface at half height of the region's mask (marching cubes, Lewiner et al., J. Graphics Tools 2003):
its vertices lie halfway between a voxel inside and one outside. Diameters are distances between such vertices, so that
one voxel has the diameter of one voxel and not of none. Names and definitions follow the Image Biomarker
Standardisation Initiative (IBSI; Zwanenburg et al., Radiology 2020) where it has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.errors import InputError
from lesionlens.regions.surface import smooth_surface_mm2
from lesionlens.volume import Grid

__all__ = ["Segment", "Shape", "measure_shapes"]

Point = tuple[float, float, float]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_HALF = 0.5
# Distances between so many points at once take 64 MB.
_BLOCK_PAIRS = 8_000_000


@dataclass(frozen=True)
class Segment:
    """A straight line between two points.

    Parameters
    ----------
    length_mm
        Its length.
    ends_ras
        Both ends in world mm, RAS+.
    """

    length_mm: float
    ends_ras: tuple[Point, Point]


@dataclass(frozen=True)
class Shape:
    """The shape of one region.

    Parameters
    ----------
    label
        The region's value in the label array.
    mesh_volume_mm3
        Volume inside the mesh (IBSI RNU0).
    surface_mm2
        Area of the mesh (IBSI C0JK).
    smooth_surface_mm2
        Area of a smooth body with these voxels; see :mod:`lesionlens.regions.surface`.
    sphericity
        Area of a ball of the mesh's volume, divided by the area of the mesh (IBSI QCFX): 1 for a ball, less for others.
    smooth_sphericity
        Area of a ball of the volume of the voxels, divided by the area of the smooth body: near 1 for a ball.
    axes_mm
        Lengths of the major, minor and least axis: four times the standard deviation of the voxel centres along their
        principal directions (IBSI TDIC, P9VJ, 7J51), which are the axes of a solid ellipsoid of that spread.
    elongation, flatness
        Minor and least axis divided by the major one (IBSI Q3CK, N17B): both are 1 for a ball, the first is 0 for a
        row of voxels, the second for a sheet too. None for one voxel, which has no axes.
    diameter
        The two points of the mesh that are furthest apart (IBSI L0JK).
    axial_diameter
        The two points of the outline in one slice that are furthest apart, in the slice where that is most. Slices are
        the planes of the grid that are closest to axial ones.
    axial_perpendicular
        The longest line in that slice at a right angle to the axial diameter, from outline to outline (WHO's second
        diameter).
    n_slices
        Number of those slices that hold a voxel.
    """

    label: int
    mesh_volume_mm3: float
    surface_mm2: float
    smooth_surface_mm2: float
    sphericity: float
    smooth_sphericity: float
    axes_mm: Point
    elongation: float | None
    flatness: float | None
    diameter: Segment
    axial_diameter: Segment
    axial_perpendicular: Segment
    n_slices: int


def measure_shapes(labels: ArrayLike, grid: Grid) -> list[Shape]:
    """Measure the shape of every region of a label array.

    Parameters
    ----------
    labels
        (i, j, k) integers, 0 outside.
    grid
        Where they lie.

    Returns
    -------
    list of Shape
        By label ascending.

    Raises
    ------
    InputError
        If the labels are not integers of the grid's shape.
    """
    from scipy.ndimage import find_objects

    array = np.asarray(labels)
    if array.dtype.kind not in "iu" or array.shape != grid.shape:
        raise InputError(
            f"Region labels are integers of shape {grid.shape}; found {array.dtype} of shape {array.shape}."
        )
    boxes = find_objects(array)
    return [
        _measure(array[box] == label, label, _moved(grid, box))
        for label, box in enumerate(boxes, start=1)
        if box is not None
    ]


def _moved(grid: Grid, box: tuple[slice, ...]) -> Grid:
    """Return the grid of a part."""
    affine = grid.affine.copy()
    affine[:3, 3] = grid.world([s.start for s in box])
    i, j, k = (s.stop - s.start for s in box)
    return Grid((i, j, k), affine)


def _measure(mask: Mask, label: int, grid: Grid) -> Shape:
    vertices, faces = _mesh(mask, grid)
    volume, surface = _volume_and_surface(vertices, faces)
    smooth = smooth_surface_mm2(mask, grid)
    axes = _axes(mask, grid)
    ratios = (axes[1] / axes[0], axes[2] / axes[0]) if axes[0] > 0 else (None, None)
    across = next(axis for axis, (world, _) in enumerate(grid.axes()) if world == 2)
    axial, perpendicular = _axial_diameters(mask, grid, across)
    return Shape(
        label=label,
        mesh_volume_mm3=volume,
        surface_mm2=surface,
        smooth_surface_mm2=smooth,
        sphericity=_sphericity(volume, surface),
        smooth_sphericity=_sphericity(np.count_nonzero(mask) * grid.voxel_volume_mm3, smooth),
        axes_mm=axes,
        elongation=ratios[0],
        flatness=ratios[1],
        diameter=_segment(*_furthest(vertices)),
        axial_diameter=axial,
        axial_perpendicular=perpendicular,
        n_slices=int(np.count_nonzero(mask.any(axis=tuple(a for a in range(3) if a != across)))),
    )


def _mesh(mask: Mask, grid: Grid) -> tuple[Floats, NDArray[np.int64]]:
    """Return vertices (n, 3) in world mm and faces (m, 3) of the surface at half height."""
    from skimage.measure import marching_cubes

    padded = np.pad(mask, 1).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(padded, _HALF)  # type: ignore[no-untyped-call]  # the library has no types
    return grid.world(vertices.astype(np.float64) - 1), faces.astype(np.int64)


def _volume_and_surface(vertices: Floats, faces: NDArray[np.int64]) -> tuple[float, float]:
    a, b, c = np.moveaxis((vertices - vertices.mean(axis=0))[faces], 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    # Tetrahedra from the middle to each face; on a grid that mirrors, all faces look inwards.
    return float(abs(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) / 6), float(area)


def _sphericity(volume: float, surface: float) -> float:
    return float((36 * np.pi * volume**2) ** (1 / 3) / surface)


def _axes(mask: Mask, grid: Grid) -> Point:
    centres = grid.world(np.argwhere(mask))
    centres -= centres.mean(axis=0)
    # IBSI's reference values are those of the sample covariance (n - 1), PyRadiomics divides by n
    spread = np.linalg.eigvalsh(centres.T @ centres / max(len(centres) - 1, 1))
    # What rounding leaves of a spread that is none, below zero or above, is none.
    spread[spread < spread.max() * np.finfo(np.float64).eps * 8] = 0
    least, minor, major = (4 * np.sqrt(spread)).tolist()
    return major, minor, least


def _segment(a: Floats, b: Floats) -> Segment:
    first, last = sorted((tuple(a.tolist()), tuple(b.tolist())))
    return Segment(float(np.linalg.norm(a - b)), (first, last))


def _axial_diameters(mask: Mask, grid: Grid, across: int) -> tuple[Segment, Segment]:
    """Return the longest line in one slice, and the longest at a right angle to it in the same slice."""
    cuts = list(_cuts(mask, grid, across))
    longest = [_furthest(np.concatenate(cut.outlines)) for cut in cuts]
    best = max(range(len(cuts)), key=lambda n: float(np.linalg.norm(np.subtract(*longest[n]))))
    ends, cut = longest[best], cuts[best]
    return _segment(*map(cut.world, ends)), _segment(*map(cut.world, _longest_across(cut.outlines, *ends)))


@dataclass(frozen=True, eq=False)
class _Cut:
    """A region in one slice: its outlines, closed, (n, 2) mm along two directions at a right angle to each other."""

    outlines: list[Floats]
    origin: Floats
    directions: Floats

    def world(self, point: Floats) -> Floats:
        """Return where in the world a point of the slice is."""
        return np.asarray(self.origin + point @ self.directions)


def _cuts(mask: Mask, grid: Grid, across: int) -> Iterator[_Cut]:
    """Cut a region into its slices across a voxel axis."""
    from skimage.measure import find_contours

    first, second = (axis for axis in range(3) if axis != across)
    step, other = grid.affine[:3, first], grid.affine[:3, second]
    along = step / np.linalg.norm(step)
    beside = other - (other @ along) * along  # the axes of a sheared grid are at no right angle
    directions = np.stack([along, beside / np.linalg.norm(beside)])
    to_mm = np.stack([step, other]) @ directions.T
    for at in np.flatnonzero(mask.any(axis=(first, second))).tolist():
        padded = np.pad(mask.take(at, axis=across), 1).astype(np.float32)
        # voxels that touch by a corner belong together, as in a region
        found = find_contours(padded, _HALF, fully_connected="high")  # type: ignore[no-untyped-call]  # likewise
        yield _Cut([(outline - 1) @ to_mm for outline in found], grid.world(np.eye(3)[across] * at), directions)


def _furthest(points: Floats) -> tuple[Floats, Floats]:
    """Return the two of (n, d) points that are furthest apart: they are corners of the convex hull."""
    from scipy.spatial import ConvexHull

    corners = points[ConvexHull(points).vertices]
    best, ends = -1.0, (0, 0)
    step = max(1, _BLOCK_PAIRS // len(corners))
    for begin in range(0, len(corners), step):
        squares = ((corners[begin : begin + step, None] - corners[None]) ** 2).sum(axis=-1)
        i, j = np.unravel_index(int(squares.argmax()), squares.shape)
        if squares[i, j] > best:
            best, ends = float(squares[i, j]), (begin + int(i), int(j))
    return corners[ends[0]], corners[ends[1]]


def _longest_across(outlines: list[Floats], a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Return the longest line at a right angle to the one from a to b, between two points of outlines (n, 2).

    How wide the outlines are is a piecewise convex function of the place along the line that bends at their corners
    alone: it is largest at one of them.
    """
    along = (b - a) / np.linalg.norm(b - a)
    turned = np.stack([along, [-along[1], along[0]]])
    starts, stops = (
        np.concatenate([outline[part] for outline in outlines]) @ turned.T for part in (slice(-1), slice(1, None))
    )
    best, line = -1.0, np.zeros((2, 2))
    for place in np.unique(starts[:, 0]):
        crossed = (np.minimum(starts[:, 0], stops[:, 0]) <= place) & (place <= np.maximum(starts[:, 0], stops[:, 0]))
        one, two = starts[crossed], stops[crossed]
        run = two[:, 0] - one[:, 0]
        share = np.divide(place - one[:, 0], run, out=np.zeros_like(run), where=run != 0)
        # an edge along the line is crossed at both of its ends
        sides = np.concatenate([one[:, 1] + share * (two[:, 1] - one[:, 1]), two[run == 0, 1]])
        if np.ptp(sides) > best:
            best = float(np.ptp(sides))
            line = np.array([[place, sides.min()], [place, sides.max()]]) @ turned
    return line[0], line[1]
