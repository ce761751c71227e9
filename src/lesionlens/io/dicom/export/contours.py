"""Regions as an RT Structure Set: closed lines around them, slice by slice, for planning systems.

highdicom writes none, and rt-utils, which does, has had no release for years and needs OpenCV. The lines run half-way
between the centres of voxels inside and outside (marching squares), so that exactly the voxels of a region have their
centres inside. Several lines of a region in one plane count by exclusive or: one inside another is a hole.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage
from skimage.measure import approximate_polygon, find_contours

from lesionlens.io.boundary import quiet
from lesionlens.io.dicom.export.frames import Reference, SourceFrames
from lesionlens.io.dicom.export.masks import Segment
from lesionlens.io.dicom.export.objects import Algorithm, Place, one_line, patient_words
from lesionlens.volume import Array

__all__ = ["Structure", "structure_set"]

# A micrometre; a contour is no more exact than the voxels that it runs between.
_DECIMALS = 3

_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))

# Study and its component, as structure sets name them (retired elsewhere).
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"

Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Structure:
    """A region to be drawn: what it is, and the (i, j, k) labels of which it is one number."""

    segment: Segment
    labels: Array
    number: int


def structure_set(place: Place, structures: Sequence[Structure], algorithm: Algorithm) -> Dataset:
    """Return regions as an RT Structure Set.

    Parameters
    ----------
    place
        Where it belongs.
    structures
        At least one.
    algorithm
        What found them.
    """
    from highdicom.base import SOPClass

    image, frames = place.frames.images()[0], place.frames
    with quiet():
        made = SOPClass(
            sop_class_uid=RTStructureSetStorage,
            modality="RTSTRUCT",
            transfer_syntax_uid=ImplicitVRLittleEndian,  # no other has room for long lines
            **patient_words(image),
            **place.words(),
        )
        made.copy_patient_and_study_information(image)
    now = datetime.datetime.now()
    made.OperatorsName, made.FrameOfReferenceUID, made.PositionReferenceIndicator = "", frames.frame_of_reference, ""
    made.StructureSetLabel, made.StructureSetName = "Regions", place.series.description
    made.StructureSetDate, made.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    made.ApprovalStatus = "UNAPPROVED"
    made.ReferencedFrameOfReferenceSequence = [_referenced(frames)]
    made.StructureSetROISequence = [_roi(n, one, frames, algorithm) for n, one in enumerate(structures, 1)]
    made.ROIContourSequence = [_contours(n, one, frames) for n, one in enumerate(structures, 1)]
    made.RTROIObservationsSequence = [_observation(n) for n in range(1, len(structures) + 1)]
    found: Dataset = made
    return found


def _referenced(frames: SourceFrames) -> Dataset:
    """Return the images that the structures were found in."""
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = frames.series_uid
    series.ContourImageSequence = [_image(one) for one in frames.files]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY_CLASS, frames.study_uid
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = frames.frame_of_reference, [study]
    return frame


def _image(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference.class_uid, reference.uid
    if reference.frame:
        item.ReferencedFrameNumber = reference.frame
    return item


def _roi(number: int, structure: Structure, frames: SourceFrames, algorithm: Algorithm) -> Dataset:
    item = Dataset()
    item.ROINumber, item.ROIName = number, structure.segment.name
    item.ReferencedFrameOfReferenceUID = frames.frame_of_reference
    item.ROIGenerationAlgorithm = structure.segment.made
    who = "reader" if structure.segment.made == "MANUAL" else f"{algorithm.name} {algorithm.version}"
    item.ROIGenerationDescription = one_line(f"{who}, research use only")
    return item


def _observation(number: int) -> Dataset:
    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = number
    item.RTROIInterpretedType, item.ROIInterpreter = "", ""
    return item


def _contours(number: int, structure: Structure, frames: SourceFrames) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber, item.ROIDisplayColor = number, list(_COLOURS[(number - 1) % len(_COLOURS)])
    item.ContourSequence = []
    marked = np.asarray(structure.labels) == structure.number
    lines = [
        (k, points) for k in np.flatnonzero(marked.any(axis=(0, 1))).tolist() for points in _lines(marked[:, :, k])
    ]
    # All lines of a structure are of one kind; around holes they run the other way.
    kind = "CLOSED_PLANAR" if len({_area(points) > 0 for _, points in lines}) == 1 else "CLOSEDPLANAR_XOR"
    for k, points in lines:
        line = Dataset()
        if frames.own:
            line.ContourImageSequence = [_image(one) for one in frames.references[k]]
        line.ContourGeometricType = kind
        line.NumberOfContourPoints, line.ContourNumber = len(points), len(item.ContourSequence) + 1
        line.ContourData = _placed(points, k, frames).ravel().tolist()
        item.ContourSequence.append(line)
    return item


def _lines(marked: NDArray[np.bool_]) -> Iterator[Points]:
    """Yield the (n, 2) corners (i, j) of each closed line around the voxels of a plane; none on a straight line."""
    padded = np.pad(marked, 1).astype(np.float64)
    for line in find_contours(padded, 0.5, fully_connected="high"):  # type: ignore[no-untyped-call]  # has no hints
        corners: Points = approximate_polygon(line, 0)  # type: ignore[no-untyped-call]  # likewise
        yield corners[:-1] - 1  # the last point is the first


def _area(points: Points) -> float:
    """Return the area inside a line in voxels; below 0 where it runs the other way round."""
    i, j = points.T
    return float(i @ np.roll(j, -1) - j @ np.roll(i, -1)) / 2


def _placed(points: Points, k: int, frames: SourceFrames) -> Points:
    """Return the (n, 3) places, LPS mm, of points (i, j) in a plane."""
    row, column = frames.orientation[:3], frames.orientation[3:]
    between_rows, between_columns = frames.spacing_mm
    along = np.outer(points[:, 0] * between_columns, row) + np.outer(points[:, 1] * between_rows, column)
    placed: Points = (frames.positions[k] + along).round(_DECIMALS)
    return placed
