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
from lesionlens.volume import LEAST_MM, GeometryVerdict

__all__ = ["LPS_TO_RAS", "Slice", "Stack", "gap_steps", "grid_error_mm", "lay_out", "step_tolerance_mm"]

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

# A step between slices more than this many typical ones wide may hide a missing slice (which makes it two steps wide);
# neighbouring steps of one series differ less for any other reason than a change of spacing.
GAP_STEPS = 1.5

# So many equal steps in a row are a spacing of their own, as where a head CT goes from 3 mm to 5 mm; fewer that are
# whole multiples of the typical step are slices that are missing.
SPACING_RUN = 3

# At most this many places are spelled out in a message.
_MOST_PLACES = 3

# DICOM counts to the left and back, the affines here to the right and front.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

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
        (i, j, k) = (column, row, slice) to RAS+ mm, with the mean step from the first slice to the last; exact when
        the verdict is regular, and for an even tilt, which shears it.
    verdict
        What was found about the positions; its error is that of ``affine`` when regular, else of an upright grid.
    positions_ras
        (slice, 3) true places of the first pixels, RAS+ mm.
    typical_mm
        Typical distance between neighbouring slices along their normal.
    tangled
        True where images share a position or lie in several orientations: they have no order to interpolate in.
    """

    slices: tuple[Slice, ...]
    affine: Vectors
    verdict: GeometryVerdict
    positions_ras: Vectors
    typical_mm: float
    tangled: bool

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
    starts = [0, *(np.flatnonzero(np.diff(along) >= SAME_POSITION_MM) + 1).tolist()]
    typical = _typical_step(along[starts])
    affine = _affine(ordered[0], positions)
    if strays:
        problems, worst = _mixed(ordered, reference)
    else:
        problems, judged = _duplicates(ordered, starts)
        problems += _spacings(ordered, along, starts, typical)
        problems += _tilt(positions[starts], normal) + _shift(ordered, positions, normal, starts, typical)
        worst = _upright_error(positions[judged], normal, typical)
    if not problems:
        worst = grid_error_mm(ordered, affine)
        if worst > step_tolerance_mm(typical):
            problems = (_uneven(np.diff(along), starts),)
    return Stack(
        slices=tuple(ordered),
        affine=LPS_TO_RAS @ affine,
        verdict=GeometryVerdict(problems, worst),
        positions_ras=positions @ LPS_TO_RAS[:3, :3],
        typical_mm=typical,
        tangled=bool(strays) or len(starts) < len(ordered),
    )


def gap_steps(steps: Vectors, typical: float) -> list[int]:
    """Return which steps between slices are gaps, where a slice may be missing.

    A gap is wider than :data:`GAP_STEPS` typical steps and either stands alone among narrower ones or is, with fewer
    than :data:`SPACING_RUN` in a row, a whole multiple of the typical step. Other wide steps are a spacing.

    Parameters
    ----------
    steps
        Distances between neighbouring slices along their normal in mm.
    typical
        The typical one.
    """
    gaps: list[int] = []
    for first, last in _runs(steps, typical):
        width = float(steps[first:last].mean())
        if width <= GAP_STEPS * typical:
            continue
        beside = [steps[n] for n in (first - 1, last) if 0 <= n < len(steps)]
        alone = last - first == 1 and width > GAP_STEPS * min(beside)
        off = abs(width - round(width / typical) * typical)
        if alone or (last - first < SPACING_RUN and off <= 2 * step_tolerance_mm(typical)):
            gaps.extend(range(first, last))
    return gaps


def _order(item: Slice, normal: Vectors) -> tuple[float, str, int]:
    """Sort by place along the normal; names only make the order of duplicates repeatable."""
    return float(_position(item) @ normal), item.instance.name, item.frame.index


def _position(item: Slice) -> Vectors:
    return np.array(item.frame.position, dtype=np.float64)


def _orientation(item: Slice) -> Vectors:
    return np.array(item.frame.orientation, dtype=np.float64)


def step_tolerance_mm(typical: float) -> float:
    """Return how far a slice may lie from its place where the typical step between slices is so many mm."""
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
        if min(frame.spacing or (0,)) < LEAST_MM:
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
    """Return the typical distance in mm between neighbouring positions, all different: the mean of those at the median.

    Of an even number the median is the lower one in the middle, a step that exists: the mean of 3 and 5 does not. The
    mean over all that are as wide removes their rounding, which would add up from plane to plane.
    """
    steps = np.diff(along)
    if not steps.size:
        return 0.0
    median = float(np.quantile(steps, 0.5, method="lower"))
    return float(steps[np.abs(steps - median) <= 2 * step_tolerance_mm(median)].mean())


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


def grid_error_mm(ordered: Sequence[Slice], affine: Vectors) -> float:
    """Return the largest distance in mm between a corner voxel's true place and its place on an LPS affine grid."""
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


def _duplicates(ordered: Sequence[Slice], starts: Sequence[int]) -> tuple[tuple[str, ...], list[int]]:
    """Return the problem, and the k to judge positions by: one volume of several, or all slices as they stand."""
    groups = [ordered[a:b] for a, b in zip(starts, [*starts[1:], len(ordered)], strict=True)]
    sizes = {len(group) for group in groups}
    if sizes == {1}:
        return (), list(starts)
    differing = _what_differs(max(groups, key=len))
    if len(sizes) == 1:
        text = f"{sizes.pop()} images at each of {len(groups)} positions, several volumes in one series{differing}"
        return (text,), list(starts)
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


def _spacings(ordered: Sequence[Slice], along: Vectors, starts: Sequence[int], typical: float) -> tuple[str, ...]:
    """Name the gaps, and where the spacing changes besides; ``starts`` are the first k at each position."""
    steps = np.diff(along[starts])
    if not steps.size or np.abs(steps - typical).max() <= 2 * step_tolerance_mm(typical):
        return ()
    gaps = gap_steps(steps, typical)
    problems = []
    if gaps:
        pairs = [(starts[n + 1] - 1, starts[n + 1], steps[n]) for n in gaps]
        places = [f"between k={a} and k={b} ({ordered[a].name}, {ordered[b].name}) {mm:.4g} mm" for a, b, mm in pairs]
        problems.append(f"gap: {_some(places)} instead of {typical:.4g} mm")
    rest = [(first, last) for first, last in _runs(steps, typical) if first not in gaps]
    widths = np.array([steps[first:last].mean() for first, last in rest])
    if np.ptp(widths) <= 2 * step_tolerance_mm(typical):
        return tuple(problems)
    if len(rest) > _MOST_PLACES:
        return (*problems, _uneven(np.delete(steps, gaps), [s for n, s in enumerate(starts) if n not in gaps]))
    parts = [f"{mm:.4g} mm from k={starts[a]} to k={starts[b]}" for (a, b), mm in zip(rest, widths, strict=True)]
    return (*problems, f"spacing changes: {', '.join(parts)}")


def _runs(steps: Vectors, typical: float) -> list[tuple[int, int]]:
    """Return the first step of each run of equal ones, and the step after its last."""
    runs: list[tuple[int, int]] = []
    for n, step in enumerate(steps):
        # Both ends of a step may be off by the tolerance.
        if runs and abs(step - steps[runs[-1][0]]) <= 2 * step_tolerance_mm(typical):
            runs[-1] = (runs[-1][0], n + 1)
        else:
            runs.append((n, n + 1))
    return runs


def _uneven(steps: Vectors, starts: Sequence[int]) -> str:
    """Name the range of the steps; ``starts`` are the k that they begin at."""
    low, high = (starts[int(n)] for n in (steps.argmin(), steps.argmax()))
    return (
        f"uneven slice distances of {steps.min():.4g} to {steps.max():.4g} mm, least after k={low}, most after k={high}"
    )


def _tilt(positions: Vectors, normal: Vectors) -> tuple[str, ...]:
    forward, beside = _beside(positions, normal)
    sideways = float(np.linalg.norm(beside[-1]))
    angle = float(np.degrees(np.arctan2(sideways, forward[-1])))
    if angle <= TILT_TOLERANCE_DEGREES or sideways <= POSITION_TOLERANCE_MM:  # rounding makes short stacks lean
        return ()
    return (
        f"tilt: the slices are stacked {angle:.3g} degrees off their normal, {sideways:.3g} mm sideways from k=0 to "
        f"k={len(positions) - 1}",
    )


def _shift(
    ordered: Sequence[Slice], positions: Vectors, normal: Vectors, starts: Sequence[int], typical: float
) -> tuple[str, ...]:
    """Name the slice that lies furthest beside the line from the first slice to the last."""
    forward, beside = _beside(positions[starts], normal)
    if len(starts) < 3:
        return ()
    off = np.linalg.norm(beside - np.outer(forward / forward[-1], beside[-1]), axis=1)
    if off.max() <= step_tolerance_mm(typical):
        return ()
    k = starts[int(off.argmax())]
    return (
        f"shift: slices lie up to {off.max():.3g} mm beside the line of the others, most k={k} ({ordered[k].name})",
    )


def _beside(positions: Vectors, normal: Vectors) -> tuple[Vectors, Vectors]:
    """Return how far each position lies along the normal from the first, and the (k, 3) way that it lies beside."""
    way = positions - positions[0]
    forward = way @ normal
    return forward, way - forward[:, None] * normal


def _some(places: Sequence[str]) -> str:
    more = len(places) - _MOST_PLACES
    return ", ".join(places[:_MOST_PLACES]) + (f" and {more} more" if more > 0 else "")
