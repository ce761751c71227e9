"""DICOM series made from numbers alone, with their geometry known in closed form.

A :class:`Plan` says where the slices lie; :func:`make_series` writes them as files; :func:`voxel_ras` gives the true
place of any voxel straight from the formula of the standard (PS3.3 C.7.6.2.1.1), without the package under test.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage, generate_uid

# Direction cosines (growing column index, growing row index) in LPS for the usual ways to cut a patient.
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)

Change = Callable[[Dataset, int], None]


def oblique(degrees: tuple[float, float, float]) -> tuple[float, ...]:
    """Return direction cosines turned from axial by angles about x, y and z."""
    x, y, z = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    turn = about_z @ about_y @ about_x
    return (*turn[:, 0].tolist(), *turn[:, 1].tolist())


@dataclass(frozen=True)
class Plan:
    """A series to be: numbers in mm and LPS.

    ``shape`` is (columns, rows, slices); ``spacing`` is the distance between columns, rows and slices; ``offsets`` puts
    each slice at its own distances along (row direction, column direction, normal) and wins over regular steps.
    ``volume`` sets the files and values of several volumes in one series apart.
    """

    shape: tuple[int, int, int] = (7, 6, 5)
    spacing: tuple[float, float, float] = (0.8, 1.1, 2.5)
    orientation: tuple[float, ...] = AXIAL
    origin: tuple[float, float, float] = (-20.5, 31.25, -7.75)
    offsets: tuple[tuple[float, float, float], ...] | None = None
    modality: str = "MR"
    number: int | None = 4
    description: str = "FLAIR"
    uid: str = ""
    signed: bool = False
    bits: int = 16
    decimals: int = 6
    implicit: bool = False
    sop_class: str = ""
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "M")
    volume: int = 0
    change: Change | None = field(default=None, compare=False)

    @property
    def series_uid(self) -> str:
        """UID given, or one made from the number and description."""
        return self.uid or generate_uid(entropy_srcs=[f"{self.modality}-{self.number}-{self.description}"])

    def position(self, k: int) -> NDArray[np.float64]:
        """Place of the first pixel of slice ``k``, LPS mm."""
        row, column = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        normal = np.cross(row, column)
        a, b, c = (0.0, 0.0, k * self.spacing[2]) if self.offsets is None else self.offsets[k]
        return np.array(self.origin) + a * row + b * column + c * normal

    def values(self) -> NDArray[np.int64]:
        """Return stored values (i, j, k), different at every voxel, half of them negative where signed."""
        i, j, k = np.ogrid[: self.shape[0], : self.shape[1], : self.shape[2]]
        n = i + self.shape[0] * (j + self.shape[1] * k)
        values: NDArray[np.int64] = (n - n.max() // 2 if self.signed else n + 3) + 1000 * self.volume
        assert values.max() < 2 ** (self.bits - self.signed), "more voxels than the stored bits can number"
        return values


def voxel_ras(plan: Plan, ijk: tuple[float, float, int]) -> NDArray[np.float64]:
    """Return the place of a voxel in RAS mm by the standard's formula, term by term."""
    i, j, k = ijk
    row, column = np.array(plan.orientation[:3]), np.array(plan.orientation[3:])
    lps = plan.position(k) + i * plan.spacing[0] * row + j * plan.spacing[1] * column
    return lps * [-1, -1, 1]


def make_series(folder: Path, plan: Plan | None = None, *, names: Callable[[int], str] | None = None) -> list[Path]:
    """Write a series; return its files in slice order.

    Names default to digests without extension, so that their order says nothing about the slices'.
    """
    plan = plan or Plan()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k in range(plan.shape[2]):
        name = names(k) if names else hashlib.sha256(f"{plan.series_uid}{plan.volume}-{k}".encode()).hexdigest()[:12]
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        make_slice(plan, k).save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def make_slice(plan: Plan, k: int) -> Dataset:
    """Return slice ``k`` as a dataset that is ready to be written."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if plan.implicit else ExplicitVRLittleEndian
    dataset.SOPClassUID = plan.sop_class or (CTImageStorage if plan.modality == "CT" else MRImageStorage)
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[plan.series_uid, str(plan.volume), str(k)])
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
    dataset.SeriesInstanceUID = plan.series_uid
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame of reference"])
    dataset.Modality, dataset.SeriesNumber, dataset.SeriesDescription = plan.modality, plan.number, plan.description
    dataset.PatientName, dataset.PatientID = "Secret^Patient", "SECRET-ID"
    dataset.ImageType = list(plan.image_type)
    # Counts down, so that ordering by it would turn the volume over.
    dataset.InstanceNumber = plan.shape[2] - k
    dataset.ImagePositionPatient = [round(float(x), plan.decimals) for x in plan.position(k)]
    dataset.ImageOrientationPatient = [round(x, 10) for x in plan.orientation]
    dataset.PixelSpacing = [plan.spacing[1], plan.spacing[0]]
    dataset.SliceThickness = plan.spacing[2]
    _set_pixels(dataset, plan, plan.values()[:, :, k])
    if plan.change:
        plan.change(dataset, k)
    return dataset


def _set_pixels(dataset: Dataset, plan: Plan, values: NDArray[np.int64]) -> None:
    dataset.Columns, dataset.Rows = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, plan.bits, plan.bits - 1
    dataset.PixelRepresentation = int(plan.signed)
    stored = values.T.astype(np.int16 if plan.signed else np.uint16)
    if plan.signed and plan.bits < 16:
        stored = stored.view(np.uint16) & ((1 << plan.bits) - 1)
    dataset.PixelData = np.ascontiguousarray(stored).astype("<u2" if stored.dtype.kind == "u" else "<i2").tobytes()


def make_volumes(folder: Path, plans: Sequence[Plan]) -> None:
    """Write several volumes as one classic series."""
    for volume, plan in enumerate(plans):
        make_series(folder, replace(plan, uid=plans[0].series_uid, volume=volume))


def make_enhanced(
    path: Path,
    plan: Plan,
    *,
    order: Sequence[int] | None = None,
    shared: bool = True,
    volumes: int = 1,
    mark: Change | None = None,
) -> None:
    """Write the series as one enhanced multi-frame file, frames in the given order.

    With ``shared``, orientation and spacing stand once in the shared functional groups, else in every frame. Several
    ``volumes`` stand one after the other; ``mark`` writes into the groups of each frame to which volume it belongs.
    """
    from pydicom.uid import EnhancedMRImageStorage

    order = list(range(plan.shape[2]) if order is None else order)
    chosen = [(replace(plan, volume=volume + plan.volume), k) for volume in range(volumes) for k in order]
    first = make_slice(plan, 0)
    first.SOPClassUID = EnhancedMRImageStorage
    first.NumberOfFrames = len(chosen)
    first.PixelData = b"".join(make_slice(own, k).PixelData for own, k in chosen)
    common, frames = Dataset(), []
    _add_group(common if shared else Dataset(), plan)
    for own, k in chosen:
        frame = Dataset()
        frame.PlanePositionSequence = [Dataset()]
        frame.PlanePositionSequence[0].ImagePositionPatient = make_slice(plan, k).ImagePositionPatient
        frame.FrameContentSequence = [Dataset()]
        frame.FrameContentSequence[0].StackID = "1"
        if not shared:
            _add_group(frame, plan)
        if mark:
            mark(frame, own.volume)
        frames.append(frame)
    first.SharedFunctionalGroupsSequence, first.PerFrameFunctionalGroupsSequence = [common], frames
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(first, keyword)
    path.parent.mkdir(parents=True, exist_ok=True)
    first.save_as(path, enforce_file_format=True)


def make_mosaic(
    path: Path,
    plan: Plan,
    *,
    descending: bool = False,
    csa: int = 2,
    elements: dict[str, list[str]] | None = None,
    change: Change | None = None,
) -> None:
    """Write the volume as a Siemens mosaic: slice k of the plan is tile k.

    The stored position is that of a picture as large as the whole mosaic with the same centre. With ``descending`` the
    tiles follow each other against the normal of the images; ``csa`` is the format of the private header, and
    ``elements`` are more of it.
    """
    columns, rows, n = plan.shape
    side = int(np.ceil(np.sqrt(n)))
    order = range(n - 1, -1, -1) if descending else range(n)
    picture = np.zeros((side * columns, side * rows), dtype=np.int64)
    for tile, k in enumerate(order):
        row, column = divmod(tile, side)
        picture[column * columns : (column + 1) * columns, row * rows : (row + 1) * rows] = plan.values()[:, :, k]
    dataset = make_slice(plan, order[0])
    along_row, along_column = np.array(plan.orientation[:3]), np.array(plan.orientation[3:])
    shift = (
        along_row * plan.spacing[0] * (side - 1) * columns / 2 + along_column * plan.spacing[1] * (side - 1) * rows / 2
    )
    dataset.ImagePositionPatient = [round(float(x), plan.decimals) for x in plan.position(order[0]) - shift]
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    dataset.SpacingBetweenSlices, dataset.InstanceNumber = plan.spacing[2], plan.volume + 1
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[plan.series_uid, f"mosaic {plan.volume}"])
    _set_pixels(dataset, plan, picture)
    normal = np.cross(along_row, along_column) * (-1 if descending else 1)
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    header = {
        "EchoLinePosition": ["12"],
        "NumberOfImagesInMosaic": [str(n)],
        "SliceNormalVector": [f"{x:.8f}" for x in normal],
        **(elements or {}),
    }
    block.add_new(0x10, "OB", csa_bytes(header, csa))
    if change:
        change(dataset, plan.volume)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def make_united_mosaic(path: Path, plan: Plan, *, change: Change | None = None) -> None:
    """Write the volume as a mosaic of United Imaging: slice k of the plan is tile k, its place is item k of a list."""
    columns, rows, n = plan.shape
    across = int(np.ceil(np.sqrt(n)))
    picture = np.zeros((across * columns, -(-n // across) * rows), dtype=np.int64)
    for k in range(n):
        row, column = divmod(k, across)
        picture[column * columns : (column + 1) * columns, row * rows : (row + 1) * rows] = plan.values()[:, :, k]
    dataset = make_slice(plan, 0)
    del dataset.ImagePositionPatient
    dataset.ImageType, dataset.InstanceNumber = ["ORIGINAL", "PRIMARY", "M", "VFRAME"], plan.volume + 1
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[plan.series_uid, f"mosaic {plan.volume}"])
    _set_pixels(dataset, plan, picture)
    places = []
    for k in range(n):
        places.append(Dataset())
        places[-1].ImagePositionPatient = make_slice(plan, k).ImagePositionPatient
    dataset.private_block(0x0065, "Image Private Header", create=True).add_new(0x51, "SQ", places)
    if change:
        change(dataset, plan.volume)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def csa_bytes(elements: dict[str, list[str]], kind: int = 2) -> bytes:
    """Return a CSA header, format 1 or 2, as SPM and nibabel describe it; each element is filled up to six items."""
    filler, mark = 6, 77
    parts = [b"SV10\4\3\2\1"] if kind == 2 else []
    parts.append(struct.pack("<II", len(elements), mark))
    for name, values in elements.items():
        vr = b"SH" if name.endswith("Text") else b"FD" if "Vector" in name else b"US"
        parts.append(struct.pack("<64si4siii", name.encode(), len(values), vr, 0, filler, mark))
        for value in [*values, *[""] * (filler - len(values))]:
            text = value.encode() + b"\0" if value else b""
            length = len(text)
            lengths = (length, length, mark, length) if kind == 2 else (length + filler, 0, mark, length)
            parts.append(struct.pack("<4i", *lengths) + text + b"\0" * (-length % 4))
    return b"".join(parts) + b"\0" * 4


def _add_group(groups: Dataset, plan: Plan) -> None:
    """Add orientation and spacing as functional groups."""
    reference = make_slice(plan, 0)
    groups.PlaneOrientationSequence = [Dataset()]
    groups.PlaneOrientationSequence[0].ImageOrientationPatient = reference.ImageOrientationPatient
    groups.PixelMeasuresSequence = [Dataset()]
    groups.PixelMeasuresSequence[0].PixelSpacing = reference.PixelSpacing
