"""Where the slices of a series lie: order, affine, and whether they lie on one regular grid.

Slices are ordered by their position along the normal of the images, never by file name or instance number. Voxel
``(i, j, k)`` is column i, row j of the k-th image; DICOM gives its place in LPS mm (PS3.3 C.7.6.2.1.1) as::

    position_k + i * spacing_between_columns * row_direction + j * spacing_between_rows * column_direction

The affine takes the mean step from the first to the last position and turns LPS into RAS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lesionlens.errors import IrregularSeriesError, ReadError
from lesionlens.io.dicom_header import Frame, Instance
from lesionlens.io.dicom_traits import CLOCK_TRAITS
from lesionlens.volume import GeometryVerdict

__all__ = ["Slice", "Stack", "lay_out"]

# A voxel of a regular series may lie this far from its place on the grid: scanners write positions with as little as
# one decimal (0.09 mm in space), and no model resolves a tenth of a millimetre.
POSITION_TOLERANCE_MM = 0.1

# ... but never further than this part of a step between slices: a missing slice displaces others by half a step at
# least, so it cannot hide below a fifth.
POSITION_TOLERANCE_STEPS = 0.2

# Images closer than this along the normal are at the same position; no scanner cuts slices this thin, and it is ten
# times the rounding of positions written with three decimals.
SAME_POSITION_MM = 0.01

# Angle between the stacking direction and the images' normal up to which a stack counts as upright: gantries tilt by
# 0.5 degrees and more, direction cosines with four decimals are good to 0.01 degrees.
TILT_TOLERANCE_DEGREES = 0.1

# Direction cosines may miss unit length and right angles by this much: values with 1e-4 are common in real files.
COSINE_TOLERANCE = 1e-3

# At most this many places are spelled out in a message.
_MOST_PLACES = 3

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

Vectors = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Slice:
    """One image of a series: a frame and the file that holds it."""

    instance: Instance
    frame: Frame

    @property
    def name(self) -> str:
        """File name, with the frame number (from 1) where the file holds several."""
        several = self.instance.n_frames > 1
        return f"{self.instance.name} frame {self.frame.index + 1}" if several else self.instance.name


@dataclass(frozen=True, eq=False)
class Stack:
    """The slices of a series in order.

    Parameters
    ----------
    slices
        Ordered along the normal.
    affine
        (i, j, k) = (column, row, slice) to RAS+ mm; only meaningful when the verdict is regular.
    verdict
        What was found about the positions.
    """

    slices: tuple[Slice, ...]
    affine: Vectors
    verdict: GeometryVerdict

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        first = self.slices[0].instance
        return first.columns, first.rows, len(self.slices)


def lay_out(slices: Sequence[Slice], label: str) -> Stack:
    """Order the slices of a series and judge their positions.

    Parameters
    ----------
    slices
        All images of one series, in any order.
    label
        Series for messages: ``"MR series 4"``.

    Raises
    ------
    ReadError
        If there is a single image, or one without position, orientation or pixel spacing.
    IrregularSeriesError
        If the images differ in size, pixel spacing or frame of reference, so that no grid can be drawn up at all.
    """
    _require_places(slices, label)
    _require_one_raster(slices, label)
    reference, strays = _reference_orientation(slices)
    normal = np.cross(reference[:3], reference[3:])
    ordered = sorted(slices, key=lambda s: _order(s, normal))
    positions = np.array([_position(s) for s in ordered])
    along = positions @ normal
    typical = _typical_step(along)
    if strays:
        problems, worst = _mixed(ordered, reference)
    elif np.diff(along).min() < SAME_POSITION_MM:
        problems, distinct = _duplicates(ordered, along)
        worst = _upright_error(positions[distinct], normal, typical)
    else:
        problems = _gaps(ordered, along, typical) + _tilt(positions, normal)
        worst = _upright_error(positions, normal, typical)
    affine = _affine(ordered[0], positions)
    if not problems:
        worst = _grid_error(ordered, affine)
        if worst > _tolerance(typical):
            steps = np.diff(along)
            problems = (f"uneven slice distances of {steps.min():.4g} to {steps.max():.4g} mm",)
    return Stack(tuple(ordered), _LPS_TO_RAS @ affine, GeometryVerdict(problems, worst))


def _order(item: Slice, normal: Vectors) -> tuple[float, str, int]:
    """Sort by place along the normal; names only make the order of duplicates repeatable."""
    return float(_position(item) @ normal), item.instance.name, item.frame.index


def _position(item: Slice) -> Vectors:
    return np.array(item.frame.position, dtype=np.float64)


def _orientation(item: Slice) -> Vectors:
    return np.array(item.frame.orientation, dtype=np.float64)


def _tolerance(typical: float) -> float:
    return min(POSITION_TOLERANCE_MM, POSITION_TOLERANCE_STEPS * typical)


def _require_places(slices: Sequence[Slice], label: str) -> None:
    if len(slices) == 1:
        raise ReadError(
            f"Expected a 3D volume; found a single slice in {label} ({slices[0].name}). Give a folder with all slices."
        )
    for item in slices:
        frame = item.frame
        for value, attribute in (
            (frame.position, "ImagePositionPatient"),
            (frame.orientation, "ImageOrientationPatient"),
            (frame.spacing, "PixelSpacing"),
        ):
            if value is None:
                raise ReadError(
                    f"{label} cannot be placed in space: {item.name} has no usable {attribute}. Export it again."
                )
        row, column = _orientation(item)[:3], _orientation(item)[3:]
        lengths = float(np.linalg.norm(row)), float(np.linalg.norm(column))
        errors = (abs(lengths[0] - 1), abs(lengths[1] - 1), abs(float(row @ column)))
        if max(errors) > COSINE_TOLERANCE:
            raise ReadError(
                f"{label} cannot be placed in space: ImageOrientationPatient of {item.name} is not two perpendicular "
                f"unit vectors ({list(frame.orientation or ())}). Export it again."
            )
        if min(frame.spacing or (0,)) <= 0:
            raise ReadError(
                f"{label} cannot be placed in space: PixelSpacing of {item.name} is {list(frame.spacing or ())}. "
                "Export it again."
            )


def _require_one_raster(slices: Sequence[Slice], label: str) -> None:
    """Refuse images that differ in size, pixel spacing or frame of reference."""
    first = slices[0]
    for item in slices:
        size, first_size = (item.instance.rows, item.instance.columns), (first.instance.rows, first.instance.columns)
        apart = np.abs(np.array(item.frame.spacing) - np.array(first.frame.spacing)) * np.array(first_size)
        if size != first_size:
            found = f"{first_size[0]}x{first_size[1]} pixels in {first.name}, {size[0]}x{size[1]} in {item.name}"
        elif apart.max() > POSITION_TOLERANCE_MM:
            found = f"PixelSpacing {first.frame.spacing} mm in {first.name}, {item.frame.spacing} in {item.name}"
        elif item.instance.frame_of_reference != first.instance.frame_of_reference:
            found = f"different frames of reference in {first.name} and {item.name}"
        else:
            continue
        raise IrregularSeriesError(f"The images of {label} do not fit together: {found}. Separate them into folders.")


def _reference_orientation(slices: Sequence[Slice]) -> tuple[Vectors, list[Slice]]:
    """Return the most common orientation, and the slices that deviate from it at a corner."""
    rounded = Counter(tuple(np.round(_orientation(s), 3) + 0.0) for s in slices)
    common = rounded.most_common(1)[0][0]
    reference = next(_orientation(s) for s in slices if tuple(np.round(_orientation(s), 3) + 0.0) == common)
    return reference, [s for s in slices if _turn_error(s, reference) > POSITION_TOLERANCE_MM]


def _turn_error(item: Slice, reference: Vectors) -> float:
    """Return how far in mm the far corner of an image moves when it takes the reference orientation."""
    extent = np.array([item.instance.columns - 1, item.instance.rows - 1]) * np.array(item.frame.spacing)[::-1]
    turn = _orientation(item) - reference
    return float(np.linalg.norm(turn[:3] * extent[0]) + np.linalg.norm(turn[3:] * extent[1]))


def _typical_step(along: Vectors) -> float:
    """Return the median distance between neighbouring positions in mm, images at the same position not counted."""
    steps = np.diff(along)
    apart = steps[steps >= SAME_POSITION_MM]
    return float(np.median(apart)) if apart.size else 0.0


def _upright_error(positions: Vectors, normal: Vectors, step: float) -> float:
    """Return the largest distance in mm of a slice from an upright grid: from the first slice, a step along the normal.

    This is what a program that counts slices, and so knows nothing of gaps and tilts, would get wrong.
    """
    grid = positions[0] + np.arange(len(positions))[:, None] * step * normal
    return float(np.linalg.norm(positions - grid, axis=1).max())


def _affine(first: Slice, positions: Vectors) -> Vectors:
    """Return the LPS affine of (column, row, slice)."""
    between_rows, between_columns = first.frame.spacing or (1.0, 1.0)
    orientation = _orientation(first)
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * between_columns
    affine[:3, 1] = orientation[3:] * between_rows
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(positions) - 1)
    affine[:3, 3] = positions[0]
    return affine


def _grid_error(ordered: Sequence[Slice], affine: Vectors) -> float:
    """Return the largest distance in mm between a corner voxel's true place and its place on the affine grid."""
    columns, rows = ordered[0].instance.columns - 1, ordered[0].instance.rows - 1
    worst = 0.0
    for k, item in enumerate(ordered):
        between_rows, between_columns = item.frame.spacing or (1.0, 1.0)
        orientation = _orientation(item)
        for i, j in ((0, 0), (columns, 0), (0, rows), (columns, rows)):
            true = _position(item) + i * between_columns * orientation[:3] + j * between_rows * orientation[3:]
            worst = max(worst, float(np.linalg.norm(true - (affine @ [i, j, k, 1])[:3])))
    return worst


def _mixed(ordered: Sequence[Slice], reference: Vectors) -> tuple[tuple[str, ...], float]:
    errors = [_turn_error(s, reference) for s in ordered]
    strays = [f"k={k} ({s.name})" for k, s in enumerate(ordered) if errors[k] > POSITION_TOLERANCE_MM]
    text = f"mixed orientation: {len(ordered) - len(strays)} slices lie one way, {len(strays)} another: {_some(strays)}"
    return (text,), max(errors)


def _duplicates(ordered: Sequence[Slice], along: Vectors) -> tuple[tuple[str, ...], list[int]]:
    """Return the problem, and the k to judge positions by: one volume of several, or all slices as they stand."""
    starts = [0, *(np.flatnonzero(np.diff(along) >= SAME_POSITION_MM) + 1).tolist()]
    groups = [ordered[a:b] for a, b in zip(starts, [*starts[1:], len(ordered)], strict=True)]
    sizes = {len(group) for group in groups}
    differing = _what_differs(max(groups, key=len))
    if len(sizes) == 1:
        text = f"{sizes.pop()} images at each of {len(groups)} positions, several volumes in one series{differing}"
        return (text,), starts
    places = [
        f"k={start} and k={start + 1} ({group[0].name}, {group[1].name})"
        for start, group in zip(starts, groups, strict=True)
        if len(group) > 1
    ]
    return (f"duplicate slices at one position: {_some(places)}{differing}",), list(range(len(ordered)))


def _what_differs(group: Sequence[Slice]) -> str:
    """Name the header values in which images at one position differ: they are what a user would choose by."""
    differing = []
    for word in group[0].frame.traits:
        values = {item.frame.traits.get(word, "") for item in group}
        if len(values) > 1:
            shown = sorted(values)[:_MOST_PLACES]
            more = ", …" if len(values) > len(shown) else ""
            differing.append(word if word in CLOCK_TRAITS else f"{word} ({', '.join(shown)}{more})")
    return f" that differ in {', '.join(differing)}" if differing else ""


def _gaps(ordered: Sequence[Slice], along: Vectors, typical: float) -> tuple[str, ...]:
    steps = np.diff(along)
    # Both ends of a step may be off by the tolerance.
    wrong = np.flatnonzero(np.abs(steps - typical) > 2 * _tolerance(typical))
    if wrong.size > len(steps) // 2 or (steps[wrong] < typical).any():
        return (f"uneven slice distances of {steps.min():.4g} to {steps.max():.4g} mm",)
    places = [
        f"between k={k} and k={k + 1} ({ordered[k].name}, {ordered[k + 1].name}) {steps[k]:.4g} mm"
        for k in wrong.tolist()
    ]
    return (f"gap: {_some(places)} instead of {typical:.4g} mm",) if places else ()


def _tilt(positions: Vectors, normal: Vectors) -> tuple[str, ...]:
    way = positions[-1] - positions[0]
    forward = float(way @ normal)
    sideways = float(np.linalg.norm(way - forward * normal))
    angle = float(np.degrees(np.arctan2(sideways, forward)))
    if angle <= TILT_TOLERANCE_DEGREES or sideways <= POSITION_TOLERANCE_MM:  # rounding makes short stacks lean
        return ()
    return (
        f"tilt: the slices are stacked {angle:.3g} degrees off their normal, {sideways:.3g} mm sideways from k=0 to "
        f"k={len(positions) - 1}",
    )


def _some(places: Sequence[str]) -> str:
    more = len(places) - _MOST_PLACES
    return ", ".join(places[:_MOST_PLACES]) + (f" and {more} more" if more > 0 else "")
