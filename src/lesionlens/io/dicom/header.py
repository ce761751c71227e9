"""The header of one DICOM file, reduced to what placing and decoding its images needs.

DICOM's patient coordinates are LPS+ (x to the left, y to the back, z to the head); they stay LPS up to the affine.
What names or describes the patient goes into no value; it is looked at to keep it out (:mod:`lesionlens.io.identity`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from lesionlens.errors import ReadError
from lesionlens.io.boundary import quiet, reading
from lesionlens.io.dicom.elements import find_elements, value_of
from lesionlens.io.dicom.parse import parse, refuse_endless
from lesionlens.io.dicom.scales import scale_notes
from lesionlens.io.dicom.traits import PRIVATE_TAGS, STANDARD_TRAITS, classic_traits
from lesionlens.io.identity import KEYWORDS, Identities
from lesionlens.volume import MOST_MM

__all__ = ["DICOMDIR", "PYDICOM_ERRORS", "Frame", "Instance", "Part", "numbers", "read_instance", "scaling_of", "text"]

# Those of pydicom's errors that do not descend from Python's own.
PYDICOM_ERRORS: tuple[type[Exception], ...] = (BytesLengthException, InvalidDicomError)

# UIDs and descriptions hold at most 64 characters, all printable. Anything else comes from a damaged length, and would
# draw the elements that follow, the patient's name among them, into messages and names.
_LONGEST_TEXT = 64

_LONGEST_LIST = 1024  # ImageType: up to 64 values of 16 letters

_UNDEFINED_LENGTH = 0xFFFFFFFF

_PADDING_BITS = 16  # of PixelPaddingValue: two bytes, with or without sign

# How the names of all storage classes that hold images go on, and of no other class.
_IMAGES = "Image Storage"

# Read from the file; everything else is skipped. Sequences come with their whole content.
_WANTED = (
    "BitsAllocated", "BitsStored", "Columns", "ConcatenationUID", "FrameOfReferenceUID",
    "HighBit", "ImageOrientationPatient", "ImagePositionPatient", "InConcatenationNumber",
    "InConcatenationTotalNumber", "LossyImageCompression", "Modality", "ModalityLUTSequence",
    "NumberOfFrames", "PerFrameFunctionalGroupsSequence", "PhotometricInterpretation", "PixelPaddingRangeLimit",
    "PixelPaddingValue", "PixelRepresentation", "PixelSpacing", "RealWorldValueMappingSequence", "RescaleIntercept",
    "RescaleSlope", "RescaleType", "Rows", "SOPClassUID", "SOPInstanceUID", "SamplesPerPixel", "SeriesDescription",
    "SeriesInstanceUID", "SeriesNumber", "SharedFunctionalGroupsSequence", "StudyInstanceUID", "Units",
    *STANDARD_TRAITS, *KEYWORDS,
)  # fmt: skip

_WANTED_TAGS = frozenset({*(int(Tag(keyword)) for keyword in _WANTED), *PRIVATE_TAGS})

# Headers of single images end long before this; those of multi-frame files, which go on, are few.
_MOST_OF_HEADERS = 1 << 16

# Values of ImageType with which makers mark a picture that holds many slices as tiles.
_MOSAIC_MARKS = frozenset({"MOSAIC", "VFRAME"})

# Media Storage Directory: an index of files that are found anyway.
DICOMDIR = "1.2.840.10008.1.3.10"


@dataclass(frozen=True)
class Frame:
    """One 2D image within a file.

    Parameters
    ----------
    index
        Number of the frame in its file, from 0.
    position
        ImagePositionPatient: centre of the first pixel, LPS mm; None when absent.
    orientation
        ImageOrientationPatient: direction of growing column index, then of growing row index, LPS; None when absent.
    spacing
        PixelSpacing: distance between rows, then between columns, in mm; None when absent.
    slope, intercept
        value = stored * slope + intercept.
    rescale_type
        What the values are afterwards (``"HU"``), or empty.
    traits
        What may tell this image from another one at the same position: ``{"echo time": "30"}``.
    """

    index: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    slope: float = 1.0
    intercept: float = 0.0
    rescale_type: str = ""
    traits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """Place of a file in a concatenation: its UID, the number of this part from 1, and of all parts (0: not said)."""

    uid: str
    number: int
    total: int


@dataclass(frozen=True)
class Instance:
    """One DICOM file.

    Parameters
    ----------
    path, name
        The file, and its name relative to the folder that was given.
    class_uid, class_name, uid, series_uid, frame_of_reference
        SOP class, its readable name, and the unique identifiers.
    number, description, modality
        Of the series.
    image_type
        Values of ImageType, upper case.
    rows, columns
        Size of each image; 0 when the file holds none.
    samples, photometric
        Values per pixel, and their meaning.
    n_frames
        Images in the file.
    padding
        Lowest and highest stored value of pixels that are no part of the image (PixelPaddingValue and
        PixelPaddingRangeLimit), or None.
    lossy
        True when the pixels were once compressed with loss.
    modality_lut
        True when values are looked up in a table instead of being rescaled.
    frames
        The images with their places; empty when the file describes none.
    concatenation
        Which of how many files this is, where one object is split into several; None otherwise.
    tiles
        A mosaic holds its images as tiles, so many side by side and so many below each other; (1, 1) otherwise.
    bits
        BitsStored: how many bits of each pixel count; 0 when absent.
    patient, study
        Numbers that tell patients and studies apart, within this process alone; 0 when the file does not say which.
    flaw
        Why the images cannot be placed, where that is not plain from the rest; empty otherwise.
    note
        What had to be assumed to place the images, or what their values leave out; empty otherwise.
    """

    path: Path
    name: str
    class_uid: str
    class_name: str
    uid: str
    series_uid: str
    frame_of_reference: str
    number: int | None
    description: str
    modality: str
    image_type: tuple[str, ...]
    rows: int
    columns: int
    samples: int
    photometric: str
    n_frames: int
    padding: tuple[float, float] | None
    lossy: bool
    modality_lut: bool
    frames: tuple[Frame, ...]
    concatenation: Part | None = None
    tiles: tuple[int, int] = (1, 1)
    bits: int = 0
    patient: int = field(default=0, repr=False)
    study: int = field(default=0, repr=False)
    flaw: str = ""
    note: str = ""


def read_instance(path: Path, name: str, identities: Identities | None = None) -> Instance:
    """Read the header of one DICOM file.

    Parameters
    ----------
    path, name
        The file, and how to call it.
    identities
        Told what the header says about the patient.

    Raises
    ------
    ReadError
        If the file is damaged.
    """
    failure = f"DICOM file {name} is damaged"
    todo = "Export it again, or take it out of the folder."
    with reading(failure, *PYDICOM_ERRORS, todo=todo), quiet(), path.open("rb") as stream:
        dataset, flaw, pixels = _header(stream)
        patient, study = _patient(dataset), hash(_raw(dataset, "StudyInstanceUID"))
        if identities is not None:
            identities.remember(dataset)
        class_uid = UID(_class_uid(dataset))
        flaw = flaw or _flaw(dataset, class_uid, pixels=pixels)
        if flaw:
            raise ReadError(f"{failure}: {flaw}. {todo}")
        instance = replace(_instance(dataset, class_uid, path, name), patient=patient, study=study)
        if instance.n_frames > 1 or _MOSAIC_MARKS.isdisjoint(instance.image_type):
            return instance
        from lesionlens.io.dicom.mosaic import with_tiles

        stream.seek(0)
        return with_tiles(instance, parse(stream, stop_before_pixels=True))


def _header(stream: BinaryIO) -> tuple[Dataset, str, bool]:
    """Return the wanted elements of a file, what shows that it lost its end, and whether pixels follow.

    Pydicom takes what is left of a file for all of it.
    """
    elements = find_elements(stream.read(_MOST_OF_HEADERS))
    if elements is not None:
        dataset = elements.dataset(_WANTED_TAGS)
        refuse_endless(dataset)
        return dataset, "", True
    stream.seek(0)
    dataset = parse(stream, tags=sorted(_WANTED_TAGS), stop_before_pixels=True)
    for element in map(dataset.get_item, dataset.keys()):  # before any value is asked for: it would be no raw one then
        if isinstance(element, RawDataElement) and _is_short(element):
            return dataset, f"it ends inside {keyword_for_tag(element.tag)}", True
    meta = getattr(dataset, "file_meta", None)
    if meta is not None and text(meta, "TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        return dataset, "", True  # all of it was taken for inflating
    position, size = stream.tell(), stream.seek(0, os.SEEK_END)
    return dataset, f"it ends after {size} bytes, inside its header" if position > size else "", position < size


def _class_uid(dataset: Dataset) -> str:
    """Return the SOP class; only a DICOMDIR has none in its data set, and says in its meta information what it is."""
    meta = getattr(dataset, "file_meta", None)
    of_index = meta is not None and text(meta, "MediaStorageSOPClassUID") == DICOMDIR
    return DICOMDIR if of_index else text(dataset, "SOPClassUID")


def _flaw(dataset: Dataset, class_uid: UID, *, pixels: bool) -> str:
    """Say what every DICOM file has and this one has not."""
    if not class_uid and "Rows" not in dataset:
        return "it does not say what it holds"
    missing = [keyword for keyword in ("Rows", "Columns") if not value_of(dataset, keyword)]
    missing += [] if pixels else ["pixels"]
    return f"it is of class {class_uid.name} but has no {missing[0]}" if missing and _IMAGES in class_uid.name else ""


def _is_short(element: RawDataElement) -> bool:
    """Say whether a value has fewer bytes than its length promises."""
    return element.value is not None and len(element.value) < element.length < _UNDEFINED_LENGTH


def _instance(dataset: Dataset, class_uid: UID, path: Path, name: str) -> Instance:
    n_frames = int(value_of(dataset, "NumberOfFrames") or 1)
    frames = _frames(dataset, n_frames, name)
    return Instance(
        path=path,
        name=name,
        class_uid=str(class_uid),
        class_name=str(class_uid.name) or "unknown object",
        uid=text(dataset, "SOPInstanceUID"),
        series_uid=text(dataset, "SeriesInstanceUID"),
        frame_of_reference=text(dataset, "FrameOfReferenceUID"),
        number=_integer(dataset, "SeriesNumber"),
        description=text(dataset, "SeriesDescription"),
        modality=text(dataset, "Modality"),
        image_type=tuple(
            part.strip().upper() for part in text(dataset, "ImageType", longest=_LONGEST_LIST).split("\\") if part
        ),
        rows=_integer(dataset, "Rows") or 0,
        columns=_integer(dataset, "Columns") or 0,
        samples=_integer(dataset, "SamplesPerPixel") or 1,
        photometric=text(dataset, "PhotometricInterpretation"),
        n_frames=n_frames,
        padding=_padding(dataset),
        lossy=text(dataset, "LossyImageCompression") == "01",
        modality_lut=bool(value_of(dataset, "ModalityLUTSequence")),
        frames=frames,
        concatenation=_part(dataset),
        bits=_integer(dataset, "BitsStored") or 0,
        note=" ".join(scale_notes(dataset, [(frame.slope, frame.intercept) for frame in frames])),
    )


def _frames(dataset: Dataset, n_frames: int, name: str) -> tuple[Frame, ...]:
    has_shared = "SharedFunctionalGroupsSequence" in dataset
    # Tiles of slides have shared groups alone: those say nothing of where each frame of several lies.
    if "PerFrameFunctionalGroupsSequence" in dataset or (has_shared and n_frames == 1):
        from lesionlens.io.dicom.enhanced import enhanced_frames

        return enhanced_frames(dataset, n_frames, name)
    if n_frames > 1:
        return ()  # without functional groups nothing says where each frame lies
    slope, intercept = scaling_of(dataset)
    frame = Frame(
        index=0,
        position=numbers(dataset, "ImagePositionPatient", 3),
        orientation=numbers(dataset, "ImageOrientationPatient", 6),
        spacing=numbers(dataset, "PixelSpacing", 2),
        slope=slope,
        intercept=intercept,
        rescale_type=_rescale_type(dataset),
        traits=classic_traits(dataset),
    )
    return (frame,)


def _rescale_type(dataset: Dataset) -> str:
    """Return what the values are after rescaling (PET says it elsewhere) or after the Modality LUT."""
    said = text(dataset, "Units") or text(dataset, "RescaleType")
    table = value_of(dataset, "ModalityLUTSequence")
    return text(table[0], "ModalityLUTType") if table and not said else said


def _patient(dataset: Dataset) -> int:
    """Return what tells patients apart and says nothing of them: Python salts the hashes of bytes anew each time.

    The bytes of the file are compared: to convert them takes pydicom longer than all else that is done with a header.
    """
    said = _raw(dataset, "PatientID") or _raw(dataset, "PatientName")
    return hash(said) if said else 0


def _raw(dataset: Dataset, keyword: str) -> bytes:
    """Return a text as the file holds it, without its padding and in lower case; to be asked for before its value."""
    tag = Tag(keyword)
    if tag not in dataset.keys():  # noqa: SIM118 - Dataset's own "in" is slow
        return b""
    value = dataset.get_item(tag).value
    return (value if isinstance(value, bytes) else str(value or "").encode()).strip(b" \0").lower()


def _part(dataset: Dataset) -> Part | None:
    number, total = _integer(dataset, "InConcatenationNumber"), _integer(dataset, "InConcatenationTotalNumber")
    uid = text(dataset, "ConcatenationUID")
    if total == 1 or not (uid or total):
        return None
    return Part(uid, number or 1, total or 0)


def text(dataset: Dataset, keyword: str, *, longest: int = _LONGEST_TEXT) -> str:
    """Return a value as one line, parts joined by backslashes as in the file; empty when absent or damaged."""
    value = value_of(dataset, keyword)
    if value is None:
        return ""
    parts = [value] if isinstance(value, str | bytes) or not hasattr(value, "__iter__") else list(value)
    line = " ".join("\\".join(str(part).strip() for part in parts).split())
    return line if line.isprintable() and len(line) <= longest else ""


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return exactly ``count`` numbers of a size that occurs in patients, or None when they are absent or others."""
    value = value_of(dataset, keyword)
    if value is None or isinstance(value, str | bytes) or not hasattr(value, "__len__") or len(value) != count:
        return None
    found = tuple(float(part) for part in value)
    return found if all(abs(number) <= MOST_MM for number in found) else None  # NaN is not


def scaling_of(dataset: Dataset) -> tuple[float, float]:
    """Return RescaleSlope and RescaleIntercept; 1 and 0 when absent."""
    return _number(dataset, "RescaleSlope", 1.0), _number(dataset, "RescaleIntercept", 0.0)


def _number(dataset: Dataset, keyword: str, absent: float) -> float:
    value = value_of(dataset, keyword)
    if value is None:
        return absent
    if hasattr(value, "__len__"):
        raise ValueError(f"its {keyword} is not one number")
    return float(value)


def _integer(dataset: Dataset, keyword: str) -> int | None:
    value = value_of(dataset, keyword)
    return None if value is None or value == "" else int(value)


def _padding(dataset: Dataset) -> tuple[float, float] | None:
    """Return the range of the padding values, in the sign of the pixels whatever sign they are written with."""
    value, limit = (value_of(dataset, keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    if not isinstance(value, int):
        return None
    low, high = sorted(_signed(int(end), dataset) for end in (value, limit if isinstance(limit, int) else value))
    return float(low), float(high)


def _signed(value: int, dataset: Dataset) -> int:
    value %= 1 << _PADDING_BITS
    signed = _integer(dataset, "PixelRepresentation") == 1
    return value - (1 << _PADDING_BITS) if signed and value >> (_PADDING_BITS - 1) else value
