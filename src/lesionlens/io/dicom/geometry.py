"""Where the slices of a series lie: order, affine, and whether they lie on one regular grid.

Slices are ordered by their position along the normal of the images, never by file name or instance number. The affine
takes the mean step from the first to the last position and turns LPS into RAS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lesionlens.errors import IrregularSeriesError, ReadError
from lesionlens.io.dicom.slices import (
    LPS_TO_RAS,
    POSITION_TOLERANCE_MM,
    Slice,
    Vectors,
    orientation_of,
    position_of,
    starts_of_positions,
    step_tolerance_mm,
    turn_error_mm,
)
from lesionlens.io.dicom.verdict import judge, judge_mixed
from lesionlens.volume import LEAST_MM, GeometryVerdict

__all__ = ["COSINE_TOLERANCE", "Stack", "lay_out"]

# Direction cosines may miss unit length and right angles by this much: values with 1e-4 are common in real files.
COSINE_TOLERANCE = 1e-3


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
    positions = np.array([position_of(s) for s in ordered])
    along = positions @ normal
    starts = starts_of_positions(along)
    typical = _typical_step(along[starts])
    affine = _affine(ordered[0], positions)
    verdict = (
        judge_mixed(ordered, reference) if strays else judge(ordered, affine, normal, starts=starts, typical=typical)
    )
    return Stack(
        slices=tuple(ordered),
        affine=LPS_TO_RAS @ affine,
        verdict=verdict,
        positions_ras=positions @ LPS_TO_RAS[:3, :3],
        typical_mm=typical,
        tangled=bool(strays) or len(starts) < len(ordered),
    )


def _order(item: Slice, normal: Vectors) -> tuple[float, str, int]:
    """Sort by place along the normal; names only make the order of duplicates repeatable."""
    return float(position_of(item) @ normal), item.instance.name, item.frame.index


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
        row, column = orientation_of(item)[:3], orientation_of(item)[3:]
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
    rounded = Counter(tuple(np.round(orientation_of(s), 3) + 0.0) for s in slices)
    common = rounded.most_common(1)[0][0]
    reference = next(orientation_of(s) for s in slices if tuple(np.round(orientation_of(s), 3) + 0.0) == common)
    return reference, [s for s in slices if turn_error_mm(s, reference) > POSITION_TOLERANCE_MM]


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


def _affine(first: Slice, positions: Vectors) -> Vectors:
    """Return the LPS affine of (column, row, slice)."""
    between_rows, between_columns = first.frame.spacing or (1.0, 1.0)
    orientation = orientation_of(first)
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * between_columns
    affine[:3, 1] = orientation[3:] * between_rows
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(positions) - 1)
    affine[:3, 3] = positions[0]
    return affine
