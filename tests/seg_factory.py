"""DICOM segmentations made from numbers alone, without highdicom, with their geometry known in closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from dicom_factory import AXIAL

SPACING = (0.8, 1.1)  # between columns, between rows
ORIGIN = np.array([-20.5, 31.25, -7.75])
SHAPE = (7, 6)  # columns, rows

Frame = tuple[int, int, NDArray[np.integer]]  # segment, plane, (column, row) values


def make_seg(
    path: Path,
    frames: Sequence[Frame],
    *,
    kind: str = "BINARY",
    orientation: tuple[float, ...] = AXIAL,
    step: float = 2.5,
    change: Callable[[Dataset], None] | None = None,
) -> Path:
    """Write a segmentation from numbers alone, without highdicom; frames in the order given."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = SegmentationStorage, "1.2.3.4"
    dataset.FrameOfReferenceUID, dataset.Modality, dataset.PatientName = "1.2.3", "SEG", "Secret^Patient"
    dataset.SegmentationType = kind
    if kind == "FRACTIONAL":
        dataset.SegmentationFractionalType, dataset.MaximumFractionalValue = "PROBABILITY", 200
    dataset.SegmentSequence = [segment(number) for number in sorted({number for number, _, _ in frames})]
    dataset.NumberOfFrames, (dataset.Columns, dataset.Rows) = len(frames), frames[0][2].shape
    dataset.SharedFunctionalGroupsSequence = [_shared(orientation, step)]
    dataset.PerFrameFunctionalGroupsSequence = [_own(number, k, orientation, step) for number, k, _ in frames]
    _set_pixels(dataset, np.stack([values.T for _, _, values in frames]))
    if change:
        change(dataset)
    dataset.save_as(path, enforce_file_format=True)
    return path


def segment(number: int) -> Dataset:
    """Return the description of a segment."""
    item = Dataset()
    item.SegmentNumber, item.SegmentLabel = number, f"organ {number}"
    return item


def _shared(orientation: tuple[float, ...], step: float) -> Dataset:
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SpacingBetweenSlices = [SPACING[1], SPACING[0]], step
    plane.ImageOrientationPatient = [round(x, 10) for x in orientation]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    return shared


def _own(number: int, k: int, orientation: tuple[float, ...], step: float) -> Dataset:
    own, place, identity = Dataset(), Dataset(), Dataset()
    normal = np.cross(orientation[:3], orientation[3:])
    place.ImagePositionPatient = [round(float(x), 6) for x in ORIGIN + k * step * normal]
    identity.ReferencedSegmentNumber = number
    own.PlanePositionSequence, own.SegmentIdentificationSequence = [place], [identity]
    return own


def _set_pixels(dataset: Dataset, frames: NDArray[np.integer]) -> None:
    binary = dataset.SegmentationType == "BINARY"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated = dataset.BitsStored = 1 if binary else 8
    dataset.HighBit = dataset.BitsStored - 1
    flat = frames.astype(np.uint8).ravel()
    packed = np.packbits(flat, bitorder="little") if binary else flat  # all frames in one run of bits
    dataset.PixelData = packed.tobytes() + bytes(len(packed) % 2)


def blob(*, seed: int, highest: int = 1) -> NDArray[np.integer]:
    """Return a random plane."""
    return np.random.default_rng(seed).integers(0, highest + 1, SHAPE)
