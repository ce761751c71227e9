"""What to do with slices that do not lie on one regular grid: refuse them, resample them, or keep them as they are.

Resampling puts every slice where its own header says it lies, on an orthogonal grid whose first two axes are those of
the images and whose third is their normal. A tilted gantry moves the slices in their own plane; gaps and changing
distances move them along the normal. So there are two linear interpolations: of each slice between its own pixels, by
one fraction of a pixel, and between the two slices on either side of a plane of the grid. Linear functions of space
come out exactly. Nothing is extrapolated, and nothing is made up inside a gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlens.errors import InputError, IrregularSeriesError, ReadError
from lesionlens.io.boundary import one_line, reading
from lesionlens.io.dicom.geometry import Stack
from lesionlens.io.dicom.slices import LPS_TO_RAS, POSITION_TOLERANCE_MM, Slice, Vectors, step_tolerance_mm
from lesionlens.io.dicom.verdict import GAP_STEPS, gap_steps, grid_error_mm
from lesionlens.io.limits import require_memory
from lesionlens.io.policy import Irregular
from lesionlens.progress import Progress, silent
from lesionlens.volume import GeometryVerdict, Grid

__all__ = ["Layout", "lay_down", "nominal_grid"]

# A grid may have this many times the voxels of the slices. A tilt of 45 degrees takes 2 to 4 times, a few gaps as much
# again; beyond that positions are wrong, and most of the volume would be empty.
MOST_GROWTH = 16

# A slice that is off the pixels of the grid by less than this part of a pixel, or a plane off a slice by this part of
# a step, is on it: positions are written with six decimals, and the values change by no more than this.
_ON_IT = 1e-5

# Stands for padding while slices are resampled.
_NONE = np.float32(np.nan)

# A voxel that was resampled, and whether it is valid.
_RESAMPLED_BYTES = 5

Voxels = NDArray[Any]
Image = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the voxels of a series go.

    Parameters
    ----------
    grid
        Grid of the volume.
    verdict
        What was found, and how it was handled.
    decisions
        One sentence for everything that was decided.
    resampling
        How slices become planes of the grid; None where they are its planes already.
    """

    grid: Grid
    verdict: GeometryVerdict
    decisions: tuple[str, ...] = ()
    resampling: _Resampling | None = None

    def fill(
        self, values: Voxels, *, progress: Progress = silent
    ) -> tuple[Voxels, NDArray[np.bool_] | None, tuple[str, ...]]:
        """Return the voxels on the grid, which of them hold data (None: all), and a sentence about the others.

        Parameters
        ----------
        values
            (i, j, k) = (column, row, slice) as they are in the files.
        progress
            Called for each plane that is made.
        """
        if self.resampling is None:
            return values, None, ()
        return self.resampling.run(values, self.grid.shape, progress)


def lay_down(stack: Stack, label: str, irregular: Irregular = "refuse") -> Layout:
    """Decide how the slices of a series become a volume.

    Parameters
    ----------
    stack
        Slices in order, with their verdict.
    label
        Series for messages.
    irregular
        What to do when they do not lie on one regular grid.

    Raises
    ------
    IrregularSeriesError
        If they do not and shall be refused, or cannot be resampled.
    ReadError
        If no grid can be drawn up.
    """
    if stack.verdict.regular:
        return Layout(_placed(stack.shape, stack.affine, label), stack.verdict)
    if irregular == "as-is":
        return _as_is(stack, label)
    if irregular == "resample":
        return _resampled(stack, label)
    # Only what would help is offered: without one slice at each place there is nothing to resample.
    if not stack.typical_mm:
        raise IrregularSeriesError(
            f"Expected a 3D volume; found a single slice, {len(stack.slices)} times, in {label}: {_found(stack)}. Give "
            "a series with slices at several places."
        )
    if stack.tangled:
        todo = "Separate them into series; or choose "
    else:
        todo = (
            "Export the series again complete and alone; or choose irregular=resample (--irregular resample), which "
            "puts them on a regular grid at their true positions, or "
        )
    raise IrregularSeriesError(
        f"The slices of {label} do not lie on one regular grid: {_found(stack)}. {todo}irregular=as-is, which keeps "
        "the voxels and marks everything made from them as irregular.",
        problems=stack.verdict.problems,
        worst_error_mm=stack.verdict.worst_error_mm,
        choices=_ways(stack, label),
    )


def _ways(stack: Stack, label: str) -> tuple[Irregular, ...]:
    """Return what can be done with irregular slices: as they are they can always be kept."""
    try:
        _plan(stack, label)
    except ReadError:
        return ("as-is",)
    return "resample", "as-is"


def nominal_grid(stack: Stack, label: str) -> Grid:
    """Return the grid of a stack as its headers describe it: upright and evenly spaced where the slices are not."""
    return _placed(stack.shape, stack.affine if stack.verdict.regular else _places(stack)[0], label)


def _as_is(stack: Stack, label: str) -> Layout:
    worst = grid_error_mm(stack.slices, LPS_TO_RAS @ stack.affine)
    verdict = replace(stack.verdict, worst_error_mm=worst, handled="as-is")
    note = (
        "The slices lie irregularly and were kept as they are, with the affine of their mean step; it places voxels "
        f"{worst:.3g} mm at most from where they are."
    )
    return Layout(_placed(stack.shape, stack.affine, label), verdict, (note,))


def _resampled(stack: Stack, label: str) -> Layout:
    grid, resampling = _plan(stack, label)
    columns, rows, planes = grid.shape
    note = (
        f"The slices lie irregularly and were resampled at their true positions, linearly, onto a regular grid of "
        f"{columns} x {rows} x {planes} voxels with planes {stack.typical_mm:.4g} mm apart, the typical distance."
    )
    return Layout(grid, replace(stack.verdict, handled="resample"), (note,), resampling)


def _found(stack: Stack) -> str:
    return f"{'; '.join(stack.verdict.problems)}; worst position error {stack.verdict.worst_error_mm:.3g} mm"


def _placed(shape: tuple[int, int, int], affine: Vectors, label: str) -> Grid:
    try:
        return Grid(shape, affine)
    except InputError as error:
        raise ReadError(f"{label} cannot be placed in space: {one_line(error)} Export it again.") from error


def _plan(stack: Stack, label: str) -> tuple[Grid, _Resampling]:
    """Return the orthogonal grid that holds all slices at their true places, and how they come onto it.

    Its planes begin at the first slice and lie as far apart as slices typically do (the median), so that most of them
    coincide with a slice and keep its values. A tilt makes it larger in the plane, by whole pixels for the same reason.
    """
    if stack.tangled:
        raise IrregularSeriesError(
            f"The slices of {label} cannot be resampled, as there is no single slice at each place: {_found(stack)}. "
            "Separate them into series."
        )
    affine, shifts, along = _places(stack)
    low = np.floor(shifts.min(axis=0) + _ON_IT)
    more = np.ceil(shifts.max(axis=0) - _ON_IT) - low
    planes = int(along[-1] + 0.5) + 1
    size = np.array([*(np.array(stack.shape[:2]) + more), planes])
    if size.prod() > MOST_GROWTH * np.prod(stack.shape, dtype=float):
        raise IrregularSeriesError(
            f"The slices of {label} cannot be resampled: they lie so far apart that a regular grid would be more than "
            f"{MOST_GROWTH} times as large ({' x '.join(f'{n:.0f}' for n in size)} voxels): {_found(stack)}. Export "
            "the series again."
        )
    affine[:3, 3] += affine[:3, :2] @ low
    grid = _placed((int(size[0]), int(size[1]), planes), affine, label)
    return grid, _Resampling(shifts - low, along, stack.typical_mm, tuple(map(_padding, stack.slices)))


def _padding(item: Slice) -> tuple[np.float32, np.float32] | None:
    """Return the range of the padding values of a slice, rescaled like the others; None where there are none.

    What a Modality LUT makes of them cannot be told from what it makes of others.
    """
    if item.instance.padding is None or item.instance.modality_lut:
        return None
    low, high = sorted(end * item.frame.slope + item.frame.intercept for end in item.instance.padding)
    return np.float32(low), np.float32(high)


def _places(stack: Stack) -> tuple[Vectors, Vectors, Vectors]:
    """Return the affine of an upright grid that begins at the first slice, and the places of all slices on it.

    Returns
    -------
    affine
        (4, 4) to RAS+ mm.
    shifts
        (slice, 2) pixels by which each slice lies to higher columns and rows than the first.
    along
        (slice,) typical steps along the normal from the first slice.
    """
    affine = stack.affine.copy()
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    affine[:3, 2] = normal / np.linalg.norm(normal) * stack.typical_mm
    way = stack.positions_ras - stack.positions_ras[0]
    steps = np.linalg.solve(affine[:3, :3], way.T).T
    shifts, along = steps[:, :2], steps[:, 2]
    # What may be rounding in a regular series is rounding here too; interpolating for it would only blur the slices.
    shifts[:, np.abs(shifts).max(axis=0) * np.linalg.norm(affine[:3, :2], axis=0) <= POSITION_TOLERANCE_MM] = 0
    return affine, shifts, along


@dataclass(frozen=True, eq=False)
class _Resampling:
    """How slices become the planes of a regular grid.

    Parameters
    ----------
    shifts
        (slice, 2) columns and rows of the grid at which each slice begins, with fractions, not negative.
    along
        (slice,) ascending places in planes of the grid, with fractions; the first is 0.
    typical_mm
        Distance between planes.
    padding
        For each slice the lowest and highest value of pixels that are no part of it, or None.
    """

    shifts: Vectors
    along: Vectors
    typical_mm: float
    padding: tuple[tuple[np.float32, np.float32] | None, ...]

    def run(
        self, values: Voxels, shape: tuple[int, int, int], progress: Progress
    ) -> tuple[Voxels, NDArray[np.bool_] | None, tuple[str, ...]]:
        """Return the planes as one float32 array, which voxels hold data, and a sentence about those that do not."""
        fill = self._lowest(values)
        what = f"A volume of {' x '.join(map(str, shape))} voxels"
        require_memory(prod(shape) * _RESAMPLED_BYTES, what)
        with reading(f"{what} does not fit into memory"):
            # (plane, row, column) in memory, as slices are read, so that each plane is written in one piece.
            out = np.full(shape[::-1], fill, dtype=np.float32).transpose(2, 1, 0)
            valid = np.zeros(shape[::-1], dtype=np.bool_).transpose(2, 1, 0)
        # Planes go up, so the slices below and above the last one are the only ones that can be wanted again.
        place = lru_cache(maxsize=2)(lambda k: _moved(self._image(values, k), self.shifts[k]))
        for plane, slices in enumerate(self.weights(shape[2])):
            progress("Resampling slices", plane, shape[2])
            if not slices:
                continue
            placed = [(place(k), weight) for k, weight in slices]
            first = np.max([piece.first for piece, _ in placed], axis=0)
            last = np.min([piece.last for piece, _ in placed], axis=0)
            if (first >= last).any():
                continue
            window = (slice(first[0], last[0]), slice(first[1], last[1]), plane)
            made = np.asarray(sum(weight * piece.part(first, last) for piece, weight in placed))
            valid[window] = ~np.isnan(made)
            out[window] = np.where(valid[window], made, np.float32(fill))
        progress("Resampling slices", shape[2], shape[2])
        if valid.all():
            return out, None, ()
        share = 1 - np.count_nonzero(valid) / valid.size
        note = (
            f"{100 * share:.3g} % of the voxels lie beside the slices, on padding or in a gap wider than {GAP_STEPS:g} "
            f"typical steps; they hold no data, are not measured, and have the lowest value of the scan, {fill:g}."
        )
        return out, valid, (note,)

    def _image(self, values: Voxels, k: int) -> Image:
        """Return a slice, with NaN for padding: whatever is interpolated from it becomes NaN, too."""
        image = np.asarray(values[:, :, k], dtype=np.float32)
        padding = self.padding[k]
        return image if padding is None else np.where((image < padding[0]) | (image > padding[1]), image, _NONE)

    def _lowest(self, values: Voxels) -> float:
        """Return the lowest value that is no padding."""
        if not any(self.padding):
            return float(values.min())
        lowest = float(np.fmin.reduce([np.fmin.reduce(self._image(values, k), None) for k in range(values.shape[2])]))
        return lowest if np.isfinite(lowest) else float(values.min())

    def nearest(self, plane: int) -> tuple[int, ...]:
        """Return the slice that lies nearest to a plane."""
        return (int(np.abs(self.along - plane).argmin()),)

    def weights(self, planes: int) -> Iterator[tuple[tuple[int, float], ...]]:
        """Yield for each plane the slices that it is made of, with their weights; none where there is no data."""
        steps = np.diff(self.along)
        gaps = set(gap_steps(steps * self.typical_mm, self.typical_mm))
        near = step_tolerance_mm(self.typical_mm) / self.typical_mm
        for plane in range(planes):
            k = int(np.clip(np.searchsorted(self.along, plane, side="right") - 1, 0, len(steps) - 1))
            weight = float((plane - self.along[k]) / steps[k])
            # Within the tolerance a plane beside a gap, or beyond the last slice, is the slice that it lies next to.
            alone = near / steps[k] if k in gaps or weight > 1 else _ON_IT
            if abs(weight) <= alone:
                yield ((k, 1.0),)
            elif abs(weight - 1) <= alone:
                yield ((k + 1, 1.0),)
            elif k in gaps or weight > 1:
                yield ()
            else:
                yield (k, 1 - weight), (k + 1, weight)


@dataclass(frozen=True, eq=False)
class _Piece:
    """A slice on the pixels of the grid: values (column, row) and the first and last (exclusive) pixel it covers."""

    values: Image
    first: NDArray[np.int64]

    @property
    def last(self) -> NDArray[np.int64]:
        return self.first + self.values.shape

    def part(self, first: NDArray[np.int64], last: NDArray[np.int64]) -> Image:
        """Return the values from one pixel of the grid up to another, both inside."""
        (i, j), (i_end, j_end) = first - self.first, last - self.first
        return self.values[i:i_end, j:j_end]


def _moved(image: Image, shift: Vectors) -> _Piece:
    """Move an image by some pixels, with fractions, linearly; pixels that would need one beside it are left out."""
    first = np.zeros(2, dtype=np.int64)
    for axis, whole in enumerate(np.floor(shift + _ON_IT).astype(np.int64)):
        fraction = float(shift[axis] - whole)  # a float64 of numpy would widen the image
        first[axis] = whole
        if fraction > _ON_IT:
            pixels = np.moveaxis(image, axis, 0)
            image = np.moveaxis(fraction * pixels[:-1] + (1 - fraction) * pixels[1:], 0, axis)
            first[axis] += 1
    return _Piece(image, first)
