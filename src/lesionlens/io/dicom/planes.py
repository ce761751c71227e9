"""The planes of segmentations and parametric maps: one regular, upright grid that all frames lie on, or a refusal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

from lesionlens.errors import InputError, ReadError
from lesionlens.io.boundary import one_line
from lesionlens.io.dicom.geometry import COSINE_TOLERANCE
from lesionlens.io.dicom.header import Frame
from lesionlens.io.dicom.slices import LPS_TO_RAS, POSITION_TOLERANCE_MM, SAME_POSITION_MM, Vectors
from lesionlens.volume import Grid

__all__ = ["GAP", "MOST_VOXELS", "lay_out_planes", "shared_groups"]

# A grid of more voxels than this (1024 x 1024 x 1024) is no scan's but comes from a wrong position or size.
MOST_VOXELS = 2**30

# Planes further apart than this many times their thickness leave gaps that are worth a note.
GAP = 1.5

_AGAIN = "Export it again."


def shared_groups(dataset: Dataset) -> Dataset:
    """Return the functional groups that all frames share; empty where there are none."""
    return next(iter(dataset.get("SharedFunctionalGroupsSequence") or []), Dataset())


def lay_out_planes(dataset: Dataset, frames: Sequence[Frame], name: str) -> tuple[Grid, list[int], tuple[str, ...]]:
    """Return the one regular grid that all frames lie on, the slice index of each frame, and what was noticed.

    Raises
    ------
    ReadError
        If the frames lie on no such grid.
    """
    row, column, positions = _directions(frames, name)
    spacing = frames[0].spacing or ()
    normal = np.cross(row, column)
    distances = positions @ normal
    step, notes = _step(dataset, np.sort(distances), name)
    k = np.rint((distances - distances.min()) / step).astype(int)
    origin = positions[distances.argmin()]
    off = np.linalg.norm(origin + np.outer(k * step, normal) - positions, axis=1).max()
    if off > POSITION_TOLERANCE_MM:
        raise ReadError(
            f"The frames of {name} do not lie on one regular, upright grid: one is {off:.3g} mm off its plane "
            f"({step:.4g} mm between planes). {_AGAIN}"
        )
    shape = (int(dataset.Columns), int(dataset.Rows), int(k.max()) + 1)
    if shape[0] * shape[1] * shape[2] > MOST_VOXELS:
        raise ReadError(f"{name} would make a volume of shape {shape}; a position or size in it is wrong. {_AGAIN}")
    # The mean step from the first plane to the last, as scans are laid out: rounding of positions makes it lean a bit.
    way = (positions[distances.argmax()] - origin) / k.max() if k.max() else normal * step
    affine = np.eye(4)
    affine[:3] = np.column_stack([row * spacing[1], column * spacing[0], way, origin])
    try:
        return Grid(shape, LPS_TO_RAS @ affine), k.tolist(), notes
    except InputError as error:
        raise ReadError(f"{name} cannot be placed in space: {one_line(error)} {_AGAIN}") from error


def _directions(frames: Sequence[Frame], name: str) -> tuple[Vectors, ...]:
    """Return the directions of rows and columns, which all frames share, and the position of each frame; LPS."""
    if any(None in (frame.orientation, frame.spacing, frame.position) for frame in frames):
        raise ReadError(f"The frames of {name} do not say where they lie in the patient. {_AGAIN}")
    for what, found in (("orientation", [f.orientation for f in frames]), ("spacing", [f.spacing for f in frames])):
        if np.ptp(np.array(found), axis=0).max() > COSINE_TOLERANCE:
            raise ReadError(f"The frames of {name} differ in {what}, so they make no volume. {_AGAIN}")
    row, column = np.array(frames[0].orientation).reshape(2, 3)
    row, column = row / np.linalg.norm(row), column / np.linalg.norm(column)
    if not abs(row @ column) <= COSINE_TOLERANCE:  # NaN as well
        raise ReadError(f"Rows and columns of {name} are not at right angles. {_AGAIN}")
    return row, column, np.array([frame.position for frame in frames])


def _step(dataset: Dataset, distances: Vectors, name: str) -> tuple[float, tuple[str, ...]]:
    """Return the distance between neighbouring planes of the grid: as declared, else the smallest that there is."""
    measures = next(iter(shared_groups(dataset).get("PixelMeasuresSequence") or []), Dataset())
    declared, thickness = (
        abs(float(measures.get(keyword) or 0)) for keyword in ("SpacingBetweenSlices", "SliceThickness")
    )
    gaps = np.diff(distances)
    gaps = gaps[gaps > SAME_POSITION_MM]
    if not len(gaps):
        if not declared and not thickness:
            raise ReadError(f"{name} marks a single plane and does not say how thick it is. {_AGAIN}")
        return declared or thickness, ()
    step = float(gaps.min())
    if declared and abs(step - declared * round(step / declared)) <= POSITION_TOLERANCE_MM:
        step /= max(1, round(step / declared))
    span = float(distances[-1] - distances[0])
    step = span / round(span / step)  # over the whole stack: the rounding of one position does not add up
    if not thickness or step <= GAP * thickness:
        return step, ()
    gap_note = f"Planes of {thickness:.3g} mm lie {step:.3g} mm apart; what lies between counts to the nearest plane."
    return step, (gap_note,)
