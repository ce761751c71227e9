"""What decoding the pixels of a DICOM file would take, compared with what is there, before any decoder sees them."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments
from pydicom.uid import UID, RLELossless

from lesionlens.errors import ReadError
from lesionlens.io.boundary import reading
from lesionlens.io.dicom.header import PYDICOM_ERRORS
from lesionlens.io.limits import MOST_PIXELS, MOST_RLE_RATIO, require_memory

__all__ = ["codestream_size", "refuse_cut", "refuse_size"]

_AGAIN = "Export the series again."

# Markers of JPEG and JPEG-LS after which the size stands: start of frame, but not of tables or arithmetic conditioning.
_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}

# Markers without a length.
_ALONE = {0x01, *range(0xD0, 0xD9)}

# JPEG and JPEG-LS: start of image, start of scan, end of image.
_START, _SCAN, _END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"

# JPEG 2000: start of codestream, then at once the marker of the size.
_JPEG_2000 = b"\xff\x4f\xff\x51"


def refuse_size(dataset: Dataset, syntax: UID, name: str) -> None:
    """Refuse images that would take more memory than there is, or than their bytes can hold.

    Parameters
    ----------
    dataset
        A whole file.
    syntax
        Its transfer syntax.
    name
        File name for messages.

    Raises
    ------
    ReadError
        If the header promises too much, or another size than the compressed images have.
    """
    with reading(f"Cannot read {name}", *PYDICOM_ERRORS, todo=_AGAIN):
        rows, columns, samples, bits = (
            int(dataset.get(keyword) or 0) for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
        )
        n_frames = int(dataset.get("NumberOfFrames") or 1)
        if min(rows, columns, samples, bits, n_frames) < 1:
            raise ReadError(
                f"{name} promises {n_frames} images of {columns} x {rows} pixels with {samples} samples of {bits} "
                f"bits, which cannot be. {_AGAIN}"
            )
        if rows * columns * samples > MOST_PIXELS:
            raise ReadError(
                f"{name} promises images of {columns} x {rows} pixels, more than {MOST_PIXELS:,} values each. {_AGAIN}"
            )
        need = n_frames * rows * columns * samples * -(-bits // 8)
        require_memory(need, f"The images of {name}")
        present = len(dataset.PixelData)
        if syntax == RLELossless and need > MOST_RLE_RATIO * present:
            raise ReadError(f"{name} promises {need:,} bytes of pixels, which {present:,} of RLE cannot hold. {_AGAIN}")
        if syntax.is_encapsulated and syntax != RLELossless:
            _refuse_other_size(dataset.PixelData, (rows, columns), name)
        promised = -(-n_frames * rows * columns * samples * bits // 8)
        if not syntax.is_encapsulated and present - promised >= max(2, min(rows, columns) * samples * bits // 8):
            raise ReadError(
                f"{name} holds {present:,} bytes of pixels, where its header promises {promised:,}: its size or number "
                f"of images is wrong. {_AGAIN}"
            )


def _refuse_other_size(pixel_data: bytes, expected: tuple[int, int], name: str) -> None:
    for fragment in generate_fragments(pixel_data):
        found = codestream_size(fragment)
        if found and found != expected:
            raise ReadError(
                f"The header of {name} promises images of {expected[1]} x {expected[0]} pixels, its compressed data "
                f"{found[1]} x {found[0]}. {_AGAIN}"
            )


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


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    at = 2
    while found := re.compile(rb"\xff+([^\xff])", re.DOTALL).match(content, at):
        marker, at = found[1][0], found.end()
        if marker in _ALONE:
            continue
        if marker in _FRAMES:
            rows, columns = (
                int.from_bytes(content[at + 3 : at + 5], "big"),
                int.from_bytes(content[at + 5 : at + 7], "big"),
            )
            return (rows, columns) if rows and columns else None
        at += int.from_bytes(content[at : at + 2], "big")
    return None
