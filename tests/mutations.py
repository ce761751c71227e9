"""Ways to damage a file, blindly or by its structure; each takes bytes and a seeded generator and returns bytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from random import Random

from pydicom import config, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from lesionlens.io.boundary import quiet
from lesionlens.io.dicom.header import PYDICOM_ERRORS

__all__ = ["DICOM_WAYS", "NIFTI_WAYS", "PLAIN_WAYS", "TEXT_WAYS", "Way", "header", "nest"]

Way = Callable[[bytes, Random], bytes]

# What is written over lengths, sizes and counts.
_LENGTHS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)


def flip(content: bytes, rng: Random) -> bytes:
    """Replace a few bytes."""
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if damaged:
            damaged[rng.randrange(len(damaged))] = rng.choice((0, 255, rng.randrange(256)))
    return bytes(damaged)


def cut(content: bytes, rng: Random) -> bytes:
    """Lose the end."""
    return content[: rng.randrange(len(content) + 1)]


def drop(content: bytes, rng: Random) -> bytes:
    """Lose a part."""
    start = rng.randrange(len(content) + 1)
    return content[:start] + content[start + rng.choice((1, 2, 8, 64, 1000)) :]


def repeat(content: bytes, rng: Random) -> bytes:
    """Repeat a part."""
    start = rng.randrange(len(content) + 1)
    end = start + rng.choice((1, 2, 8, 64, 1000))
    return content[:end] + content[start:end] * rng.choice((1, 1, 50)) + content[end:]


def overwrite(content: bytes, rng: Random) -> bytes:
    """Write a length where something else stood."""
    fmt = rng.choice(("<H", "<I", ">H", ">I"))
    size = struct.calcsize(fmt)
    start = rng.randrange(max(1, len(content) - size))
    number = rng.choice(_LENGTHS) & (256**size - 1)
    return content[:start] + struct.pack(fmt, number) + content[start + size :]


def blank(content: bytes, rng: Random) -> bytes:
    """Set a part to zeros or ones, as failing disks do."""
    start = rng.randrange(len(content) + 1)
    part = len(content[start : start + rng.choice((4, 64, 512))])
    return content[:start] + rng.choice((b"\0", b"\xff")) * part + content[start + part :]


def early(way: Way) -> Way:
    """Return a way that damages nothing but the first 2000 bytes, where headers are."""

    def damage(content: bytes, rng: Random) -> bytes:
        return way(content[:2000], rng) + content[2000:]

    damage.__name__ = f"early {way.__name__}"
    return damage


def header(way: Way) -> Way:
    """Return a way that leaves the pixel data of DICOM (explicit, little endian) as it is."""

    def damage(content: bytes, rng: Random) -> bytes:
        end = content.find(b"\xe0\x7f\x10\x00O")
        return way(content, rng) if end < 0 else way(content[:end], rng) + content[end:]

    damage.__name__ = f"header {way.__name__}"
    return damage


PLAIN_WAYS: tuple[Way, ...] = (flip, cut, drop, repeat, overwrite, blank)
_EARLY = tuple(early(way) for way in (flip, drop, repeat, overwrite, blank))

# Elements that reading depends on; each is set to each of the values below.
_KEYWORDS = (
    "BitsAllocated", "BitsStored", "Columns", "ConcatenationUID", "FrameOfReferenceUID", "HighBit",
    "ImageOrientationPatient", "ImagePositionPatient", "InConcatenationNumber", "InConcatenationTotalNumber",
    "InstanceNumber", "Modality", "ModalityLUTSequence", "NumberOfFrames", "PerFrameFunctionalGroupsSequence",
    "PhotometricInterpretation", "PixelPaddingValue", "PixelRepresentation", "PixelSpacing", "RescaleIntercept",
    "RescaleSlope", "RescaleType", "Rows", "SOPClassUID", "SOPInstanceUID", "SamplesPerPixel", "SeriesDescription",
    "SeriesInstanceUID", "SeriesNumber", "SharedFunctionalGroupsSequence", "SpecificCharacterSet", "ImageType",
    "EchoTime", "DiffusionBValue", "AcquisitionTime", "PlanarConfiguration", "SliceThickness", "FrameIncrementPointer",
    "SpacingBetweenSlices", "SegmentSequence", "SegmentNumber", "ReferencedSegmentNumber", "SegmentationType",
    "MaximumFractionalValue", "LUTDescriptor", "LUTData", "DirectoryRecordSequence", "ReferencedFileID", "StackID",
    "DimensionIndexValues", "PixelData", "OverlayRows", "OverlayData", "ExtendedOffsetTable", "FloatPixelData",
)  # fmt: skip
_TAGS = [tag for tag in map(tag_for_keyword, _KEYWORDS) if tag is not None]

_VALUES = (
    b"", b" ", b"0", b"-1", b"1", b"3", b"1e999", b"-1e999", b"NaN", b"nan\\nan\\nan", b"inf\\0\\0", b"1e308\\1e308",
    b"1e308\\1e308\\1e308", b"1e150\\1e150\\1e150", b"1e-320\\1e-320", b"abc", b"9" * 400, b"9" * 5000, b"0\\0",
    b"0\\0\\0\\0\\0\\0", b"-0.8\\0.8", b"1\\0\\0\\0\\1\\0", b"1\\2\\3\\4\\5\\6\\7\\8", b"2147483648", b"65535",
    b"0\0", b"\1\0", b"\x0c\0", b"\x40\0", b"\xff\xff", b"\0\x80", b"\xff\xff\xff\xff", b"\0\0\xc0\x7f",
    b"\xff" * 8, b"\0" * 8, b"\x1b$B\xe9\xff", b"ISO 2022 IR 87\\none", b"ISO_IR 192", b"\n\r\t\0x", b"..\\..\\x",
    b"/etc\\passwd", b"1.2.840.10008.5.1.4.1.1.66.4", b"MOSAIC", b"\xfe\xff\0\xe0\xff\xff\xff\xff",
)  # fmt: skip

_VRS = (
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "OB", "OD", "OF", "OL", "OV", "OW", "PN",
    "SH", "SL", "SQ", "SS", "ST", "SV", "TM", "UC", "UI", "UL", "UN", "UR", "US", "UT", "UV",
)  # fmt: skip


def set_value(content: bytes, rng: Random) -> bytes:
    """Give an element of the data set, or of an item in it, a value that it must not have."""

    def change(dataset: Dataset) -> None:
        tag = rng.choice([*_TAGS, *(int(tag) for tag in dataset if int(tag) not in _GROUP_LENGTHS)])
        old = dataset.get_item(tag)
        vr = old.VR if old is not None and old.VR and rng.random() < 0.8 else rng.choice(_VRS)
        _put(dataset, tag, vr, rng.choice(_VALUES))

    return _restructured(content, rng, change)


def swap_vr(content: bytes, rng: Random) -> bytes:
    """Leave an element its bytes, and give it another value representation."""

    def change(dataset: Dataset) -> None:
        raw = [tag for tag in dataset if isinstance(dataset.get_item(tag), RawDataElement)]
        if raw:
            tag = rng.choice(raw)
            _put(dataset, int(tag), rng.choice(_VRS), dataset.get_item(tag).value or b"")

    return _restructured(content, rng, change)


def lose(content: bytes, rng: Random) -> bytes:
    """Delete an element."""

    def change(dataset: Dataset) -> None:
        if len(dataset):
            del dataset[rng.choice(list(dataset.keys()))]

    return _restructured(content, rng, change)


def items(content: bytes, rng: Random) -> bytes:
    """Lose, repeat or nest items of a sequence."""

    def change(dataset: Dataset) -> None:
        sequences = [element for element in dataset if element.VR == "SQ"]
        if not sequences:
            return
        chosen = rng.choice(sequences)
        found = list(chosen.value)
        what = rng.randrange(4)
        if what == 0 and found:
            found.pop(rng.randrange(len(found)))
        elif what == 1 and found:
            found += [rng.choice(found)] * rng.choice((1, 30))
        elif what == 2:
            found = [Dataset()] * rng.choice((0, 1, 3))
        else:
            _put(dataset, int(chosen.tag), "SQ", nest(rng.choice((5, 60, 700)), defined=rng.random() < 0.5))
            return
        chosen.value = found

    return _restructured(content, rng, change)


def nest(depth: int, *, defined: bool, tag: bytes = b"\x08\x00\x40\x11") -> bytes:
    """Return the value of a sequence (explicit, little endian) with as many sequences in each other."""
    inner = b""
    for _ in range(depth):
        if defined:
            item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(inner)) + inner
            inner = tag + b"SQ\0\0" + struct.pack("<I", len(item)) + item
        else:
            item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + inner + b"\xfe\xff\x0d\xe0\0\0\0\0"
            inner = tag + b"SQ\0\0\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0\0\0\0\0"
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(inner)) + inner


def syntax(content: bytes, rng: Random) -> bytes:
    """Name another transfer syntax than the one that was used, or none."""
    names = (b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99",
             b"1.2.840.10008.1.2.5", b"1.2.840.10008.1.2.4.90", b"1.2.3", b"", b"\xff\xfe")  # fmt: skip
    start = content.find(b"\x02\x00\x10\x00UI")
    if start < 0:
        return flip(content, rng)
    end = start + 8 + int.from_bytes(content[start + 6 : start + 8], "little")
    if rng.random() < 0.2:
        return content[:start] + content[end:]
    name = rng.choice(names)
    name += b"\0" * (len(name) % 2)
    return content[: start + 6] + struct.pack("<H", len(name)) + name + content[end:]


# Written by the library itself.
_GROUP_LENGTHS = {0x00020000}


def _put(dataset: Dataset, tag: int, vr: str, value: bytes) -> None:
    implicit, little = dataset.original_encoding
    element = RawDataElement(BaseTag(tag), vr, len(value), value, 0, bool(implicit), little is not False)
    dataset._dict[BaseTag(tag)] = element  # whatever the tag is: the checks are what shall be passed by


def _restructured(content: bytes, rng: Random, change: Callable[[Dataset], None]) -> bytes:
    """Return a file with a change in its data set or in an item; plain damage where it cannot be written again."""
    mode = config.settings.writing_validation_mode
    config.settings.writing_validation_mode = config.IGNORE
    try:
        with quiet():
            dataset = dcmread(BytesIO(content), force=True)
            place: Dataset = dataset
            while rng.random() < 0.6:
                inside = [item for element in place if element.VR == "SQ" for item in element.value]
                if not inside:
                    break
                place = rng.choice(inside)
            change(place)
            out = BytesIO()
            dataset.save_as(out, enforce_file_format=False)
            return out.getvalue()
    except (
        *PYDICOM_ERRORS,
        ArithmeticError,
        AttributeError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
        struct.error,
        zlib.error,
    ):  # fmt: skip - the library refuses to write many of them
        return early(overwrite)(content, rng)
    finally:
        config.settings.writing_validation_mode = mode


DICOM_WAYS: tuple[Way, ...] = (
    *PLAIN_WAYS, *(header(way) for way in PLAIN_WAYS), *_EARLY, *[set_value] * 9, swap_vr, swap_vr, lose, items, items,
    syntax,
)  # fmt: skip

# Fields of a NIfTI-1 header: (place, format).
_NIFTI = (
    (0, "i"), *((40 + 2 * n, "h") for n in range(8)), (70, "h"), (72, "h"), *((76 + 4 * n, "f") for n in range(8)),
    (108, "f"), (112, "f"), (116, "f"), (123, "B"), (252, "h"), (254, "h"),
    *((256 + 4 * n, "f") for n in range(6)), *((280 + 4 * n, "f") for n in range(12)), (344, "I"),
)  # fmt: skip
_FLOATS = (0.0, -1.0, 1e-38, 3e38, -3e38, float("nan"), float("inf"), 352.0, 353.5, 1e6, 1e12)
_WHOLE = (0, 1, -1, 2, 3, 4, 7, 8, 16, 64, 255, 512, 1536, 32767, -32768)


def nifti_field(content: bytes, rng: Random) -> bytes:
    """Give a field of a NIfTI header a value that it must not have."""
    damaged = bytearray(content)
    order = "<" if content[:4] in (b"\x5c\x01\0\0", b"\x1c\x02\0\0") else ">"
    for _ in range(rng.choice((1, 1, 2, 4))):
        place, kind = rng.choice(_NIFTI)
        number = rng.choice(_FLOATS) if kind == "f" else rng.choice(_WHOLE) & (256 ** struct.calcsize(kind) - 1)
        packed = struct.pack(order + kind.upper() if kind != "f" else order + kind, number)
        damaged[place : place + len(packed)] = packed
    return bytes(damaged)


NIFTI_WAYS: tuple[Way, ...] = (*PLAIN_WAYS, *_EARLY, *[nifti_field] * 8)

_WORDS = (
    b"0", b"-1", b"1e999", b"nan", b"inf", b"99999999999", b"9" * 5000, b"", b"raw", b"gzip", b"zlib", b"True", b"none",
    b"(0,0,0)", b"(1e200,0,0)", b"(nan,1,1)", b"..", b"/dev/zero", b"LIST", b"%03d.raw 1 9 1", b"uchar", b"double",
    b"MET_DOUBLE", b"1e200", b"1e-320", b"4 4 4", b"65535 65535 65535", b"\xff\xfe", b"block",
)  # fmt: skip


def text_field(content: bytes, rng: Random) -> bytes:
    """Replace a word, or a whole value, of a text header."""
    end = min((at for at in (content.find(b"\n\n"), content.find(b"LOCAL")) if at >= 0), default=len(content))
    lines = content[:end].split(b"\n")
    at = rng.randrange(len(lines))
    name, mark, value = lines[at].partition(b":" if b":" in lines[at] else b"=")
    words = value.split()
    if words and rng.random() < 0.6:
        words[rng.randrange(len(words))] = rng.choice(_WORDS)
        value = b" ".join(words)
    else:
        value = rng.choice(_WORDS)
    lines[at] = name + mark + b" " + value
    if rng.random() < 0.15:
        lines.pop(rng.randrange(len(lines)))
    return b"\n".join(lines) + content[end:]


TEXT_WAYS: tuple[Way, ...] = (*PLAIN_WAYS, *_EARLY, *[text_field] * 8)
