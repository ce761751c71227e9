"""What a codestream of JPEG or its relatives says of itself, before any decoder sees it."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise

from pydicom.encaps import parse_basic_offsets, parse_fragments

from lesionlens.errors import ReadError

__all__ = ["codestream_size", "refuse_cut", "refuse_offsets", "with_all_coefficients"]

_AGAIN = "Export the series again."

# Markers of JPEG and JPEG-LS after which the size stands: start of frame, but not of tables or arithmetic conditioning.
_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}

# Markers without a length.
_ALONE = {0x01, *range(0xD0, 0xD9)}

# JPEG and JPEG-LS: start of image, start of scan, end of image.
_START, _SCAN, _END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"

# Start of a frame of sequential DCT, baseline and extended.
_SEQUENTIAL = (0xC0, 0xC1)

# The last bytes of a scan header: its first and last coefficient, and the bits it adds to them. In a sequential frame
# only the second is right.
_FIRST_ALONE, _ALL = b"\x00\x00\x00", b"\x00\x3f\x00"

# JPEG 2000: start of codestream, then at once the marker of the size.
_JPEG_2000 = b"\xff\x4f\xff\x51"


def codestream_size(content: bytes) -> tuple[int, int] | None:
    """Return rows and columns as a JPEG, JPEG-LS or JPEG 2000 image itself gives them.

    None where no image begins here, as in the further fragments of one, or where it does not say its size at its
    beginning.
    """
    at = content.find(_JPEG_2000)
    if at >= 0:
        numbers = [int.from_bytes(content[at + 8 + 4 * n : at + 12 + 4 * n], "big") for n in range(4)]
        right, bottom, left, top = numbers
        return bottom - top, right - left
    return _jpeg_size(content) if content.startswith(_START) else None


def refuse_cut(codestream: bytes, name: str) -> None:
    """Refuse a JPEG or JPEG-LS image that does not reach its end marker: decoders make up what is missing.

    Neither marker can occur within the coded pixels. Those of JPEG 2000 notice themselves.

    Raises
    ------
    ReadError
        If there is no end marker behind the last scan.
    """
    if codestream.startswith(_START) and codestream.rfind(_END) <= codestream.rfind(_SCAN):
        raise ReadError(f"A compressed image in {name} is cut off: it has no end marker. {_AGAIN}")


def refuse_offsets(table: bytes, pixel_data: bytes, n_frames: int, name: str) -> None:
    """Refuse an extended offset table that does not lead to the images as they stand.

    Frames stand in their order (PS3.3 C.7.6.3.1.8): a table that leads to one twice, or to a later one first, is wrong,
    and would put whole images into each other's places.

    Parameters
    ----------
    table
        ExtendedOffsetTable: for each frame the bytes from the first fragment to the one that it begins in.
    pixel_data
        PixelData: basic offset table and fragments.
    n_frames
        NumberOfFrames.
    name
        File name for messages.

    Raises
    ------
    ReadError
        If it is wrong.
    """
    stream = BytesIO(pixel_data)
    parse_basic_offsets(stream)
    first = stream.tell()
    starts = [place - first for place in parse_fragments(stream)[1]]
    found = [offset for (offset,) in struct.iter_unpack("<Q", table[: len(table) // 8 * 8])]
    rises = all(before < after for before, after in pairwise(found))
    if len(found) != n_frames or found[0] != 0 or not rises or not set(found) <= set(starts):
        raise ReadError(
            f"The extended offset table of {name} does not lead to its {n_frames} compressed images in their order: "
            f"which image is which is not known. {_AGAIN}"
        )


def with_all_coefficients(codestream: bytes) -> bytes:
    """Return a sequential JPEG image whose scan does not say that it ends with the first coefficient.

    A scan of a sequential frame holds all 64 coefficients, and its header has to say so (ITU T.81, table B.3). Some
    programs write 0 for the last one, as the 12-bit samples of NEMA show. Most decoders pass over that; the one in use
    refuses it. As no other number is allowed, setting it right guesses nothing.
    """
    sequential = False
    for marker, at in _segments(codestream):
        sequential = sequential or marker in _SEQUENTIAL
        if marker == _SCAN[1]:
            end = at + int.from_bytes(codestream[at : at + 2], "big")
            if sequential and codestream[end - 3 : end] == _FIRST_ALONE:
                return codestream[: end - 3] + _ALL + codestream[end:]
            break
    return codestream


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    for marker, at in _segments(content):
        if marker in _FRAMES:
            rows, columns = (int.from_bytes(content[at + n : at + n + 2], "big") for n in (3, 5))
            return (rows, columns) if rows and columns else None
    return None


def _segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield the markers that have a length, up to the coded pixels, and where that length stands."""
    at = len(_START)
    while found := re.compile(rb"\xff+([^\xff])", re.DOTALL).match(content, at):
        marker, at = found[1][0], found.end()
        if marker in _ALONE:
            continue
        yield marker, at
        at += int.from_bytes(content[at : at + 2], "big")
