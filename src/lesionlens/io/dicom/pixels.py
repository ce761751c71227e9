"""From the pixel data of a DICOM file to stored values: decoding, unused bits, sign.

A file is taken apart into pictures, each of which any thread can decode. Uncompressed ones are taken from the file's
bytes, run lengths are decoded by pydicom's own Python, and codestreams in child processes, because their decoders are
not safe to have in this one (:mod:`lesionlens.io.dicom.decoders`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options, iter_pixels
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from lesionlens.errors import ReadError
from lesionlens.io.boundary import quiet, reading
from lesionlens.io.dicom.codestream import refuse_cut, refuse_offsets, with_all_coefficients
from lesionlens.io.dicom.decoder_child import decode_frame
from lesionlens.io.dicom.decoders import decoders
from lesionlens.io.dicom.elements import PIXEL_DATA, Elements, find_elements
from lesionlens.io.dicom.header import PYDICOM_ERRORS
from lesionlens.io.dicom.lut import looked_up
from lesionlens.io.dicom.parse import parse
from lesionlens.io.dicom.size import refuse_size

__all__ = ["Picture", "clean_bits", "one_by_one", "pictures_in"]

Decode = Callable[[], NDArray[Any]]

# What to install when a compressed transfer syntax has no decoder, by the beginning of its UID.
_DECODERS = {
    "1.2.840.10008.1.2.4.50": "pylibjpeg-libjpeg",  # JPEG baseline
    "1.2.840.10008.1.2.4.51": "pylibjpeg-libjpeg",  # JPEG extended
    "1.2.840.10008.1.2.4.57": "pylibjpeg-libjpeg",  # JPEG lossless
    "1.2.840.10008.1.2.4.70": "pylibjpeg-libjpeg",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.80": "pyjpegls",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81": "pyjpegls",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90": "pylibjpeg-openjpeg",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": "pylibjpeg-openjpeg",  # JPEG 2000
    "1.2.840.10008.1.2.4.201": "pylibjpeg-openjpeg",  # HTJ2K
    "1.2.840.10008.1.2.4.202": "pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg-openjpeg",
}

# pylibjpeg's RLE decoder panics on damaged data, in a way that no except clause but the widest stops; pydicom's own
# raises a normal error. Unused bits are removed here, because pydicom takes the lowest bits for the stored ones.
_RLE_OPTIONS = {"decoding_plugin": "pydicom", "correct_unused_bits": False}

_UNCOMPRESSED = (str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian))

_WORD_BITS = 16

# Without these nothing says what number a pixel is.
_BITS = ("BitsAllocated", "BitsStored", "PixelRepresentation")

_MONOCHROME = (b"MONOCHROME1", b"MONOCHROME2")

_AGAIN = "Export the series again."


@dataclass(frozen=True)
class Picture:
    """One frame of a file that is still to be decoded.

    Parameters
    ----------
    decode
        Returns (row, column) integers. May be called in any thread, and raises ReadError.
    slow
        True when another process decodes it, which others can do beside it.
    """

    decode: Decode
    slow: bool


def pictures_in(content: bytes, name: str, *, modality_lut: bool = False, widest: int = 0) -> Iterator[Picture]:
    """Take the frames of a file apart, in the order of the file.

    Parameters
    ----------
    content
        The whole file.
    name
        File name for messages.
    modality_lut
        Look the values up in the table that the file holds.
    widest
        BitsStored of that image of the volume which has most; in one with fewer, a bit beyond them is no noise.

    Yields
    ------
    Picture
        One frame after the other.

    Raises
    ------
    ReadError
        If there is no pixel data, no decoder for it, or it does not decode.
    """
    elements = None if modality_lut else find_elements(content)
    plain = None if elements is None else _plain(elements)
    if plain is not None:
        frames, bits = plain
        for frame in frames:
            yield Picture(partial(_cleaned, frame, bits, widest, name), slow=False)
        return
    dataset = parse(BytesIO(content))
    slow = _is_codestream(_transfer_syntax(dataset))
    for decode in _pictures(dataset, name, widest):
        yield Picture(partial(_looked_up, decode, dataset, name) if modality_lut else decode, slow)


def one_by_one(dataset: Dataset, name: str, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Yield frames of a multi-frame file as (row, column) integers without sign, one in memory at a time.

    Parameters
    ----------
    dataset
        A whole file.
    name
        File name for messages.
    indices
        Which frames, in the order of the file.

    Raises
    ------
    ReadError
        As :func:`pictures_in`.
    """
    syntax = _transfer_syntax(dataset)
    _require_decoder(syntax, name)
    refuse_size(dataset, syntax, name)
    wanted = frozenset(indices)
    with _damage(name, syntax), quiet():
        if not syntax.is_encapsulated:
            one_bit = int(dataset.BitsAllocated) == 1
            yield from _bit_frames(dataset, indices) if one_bit else iter_pixels(dataset, raw=True, indices=indices)
            return
        for index, frame in enumerate(_compressed(dataset, syntax, name)):
            if index in wanted:
                yield frame()


def _bit_frames(dataset: Dataset, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Yield frames of one bit for each value, which follow each other without a gap and may begin inside a byte.

    pydicom cuts them at bytes and refuses those that do not begin there.
    """
    shape = int(dataset.Rows), int(dataset.Columns)
    size = math.prod(shape)
    packed = np.frombuffer(dataset.PixelData, np.uint8)
    if 8 * len(packed) < int(dataset.NumberOfFrames) * size:
        raise ValueError(f"{len(packed)} bytes are less than {dataset.NumberOfFrames} images of {size} bits")
    for index in indices:
        byte, bit = divmod(index * size, 8)
        bits = np.unpackbits(packed[byte : byte + (bit + size + 7) // 8], bitorder="little")
        yield bits[bit : bit + size].reshape(shape)


def _looked_up(decode: Decode, dataset: Dataset, name: str) -> NDArray[Any]:
    return looked_up(decode(), dataset, name)


def _damage(name: str, syntax: UID) -> AbstractContextManager[None]:
    # What is wrong with a codestream only its decoder knows, and some refuse what others read.
    or_unknown = ", or of a kind that its decoder does not know" if _is_codestream(syntax) else ""
    return reading(f"The pixel data of {name} ({syntax.name}) is damaged{or_unknown}", *PYDICOM_ERRORS, todo=_AGAIN)


@dataclass(frozen=True)
class _Bits:
    """What a header says about the bits of its pixels: BitsAllocated, BitsStored, HighBit, PixelRepresentation."""

    allocated: int
    stored: int
    high: int
    signed: bool

    @property
    def consistent(self) -> bool:
        """True when the stored bits lie within the allocated ones."""
        return 0 < self.stored <= self.high + 1 <= self.allocated


def _plain(elements: Elements) -> tuple[NDArray[Any], _Bits] | None:
    """Return a view of the frames of an ordinary uncompressed file; None leaves any other to pydicom and its checks."""
    tag, start, length = elements.pixels
    photometric = elements.value(0x00280004).rstrip(b"\0 ")
    if tag != PIXEL_DATA or elements.syntax not in _UNCOMPRESSED or photometric not in _MONOCHROME:
        return None
    shorts = [elements.value(t) for t in (0x00280002, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280103)]
    n_frames, high_bit = elements.value(0x00280008).strip(b"\0 ") or b"1", elements.value(0x00280102)
    if any(len(value) != 2 for value in shorts) or len(high_bit) not in (0, 2) or not n_frames.isdigit():
        return None
    samples, rows, columns, allocated, stored, sign = (int.from_bytes(value, "little") for value in shorts)
    high = int.from_bytes(high_bit, "little") if high_bit else stored - 1
    bits = _Bits(allocated, stored, high, sign == 1)
    shape = (int(n_frames), rows, columns)
    size = math.prod(shape) * allocated // 8
    if samples != 1 or allocated not in (8, 16, 32) or sign > 1 or not bits.consistent or not size:
        return None
    if length not in (size, size + size % 2) or start + size > len(elements.content):
        return None
    values = np.frombuffer(elements.content, f"<u{allocated // 8}", math.prod(shape), start)
    return values.reshape(shape), bits


def _pictures(dataset: Dataset, name: str, widest: int) -> Iterator[Decode]:
    if "PixelData" not in dataset:
        raise ReadError(f"{name} holds no pixel data. Export the series again with its images.")
    syntax = _transfer_syntax(dataset)
    _require_decoder(syntax, name)
    refuse_size(dataset, syntax, name)
    _refuse_word_order(dataset, syntax, name)
    with _damage(name, syntax):
        bits = _bits(dataset)
        frames = _compressed(dataset, syntax, name) if syntax.is_encapsulated else _uncompressed(dataset, syntax)
        for frame in frames:
            yield partial(_decoded, frame, bits, widest, syntax, name)


def _refuse_word_order(dataset: Dataset, syntax: UID, name: str) -> None:
    """Refuse big endian values that are longer than a word.

    The standard swaps the bytes of words, and has the lower word first; some programs, pydicom among them, take the
    bytes of the whole value for swapped. Either gives plausible values from the other's files.
    """
    allocated = int(dataset.get("BitsAllocated") or 0)
    if syntax == ExplicitVRBigEndian and allocated > _WORD_BITS:
        raise ReadError(
            f"Cannot read the pixels: expected 8 or 16 bits for each value of the big endian file {name}; found "
            f"{allocated}, in which programs differ about the order of the words. Export the series as little endian."
        )


def _uncompressed(dataset: Dataset, syntax: UID) -> Iterator[Decode]:
    options = {**as_pixel_options(dataset), "correct_unused_bits": False}
    values, _ = get_decoder(syntax).as_array(dataset, raw=True, **options)
    for frame in values if values.ndim == 3 else values[np.newaxis]:
        yield partial(np.asarray, frame)


def _compressed(dataset: Dataset, syntax: UID, name: str) -> Iterator[Decode]:
    """Yield what decodes each frame; refuse frames beyond those that the header counts."""
    options = as_pixel_options(dataset)
    table, _ = options.pop("extended_offsets", (b"", b""))
    n_frames = options["number_of_frames"]
    if table:
        # Once it is known to be right nothing else needs it: the fragments say the same.
        refuse_offsets(table, dataset.PixelData, n_frames, name)
    options = {key: str(value) if isinstance(value, str) else int(value) for key, value in options.items()}
    options["number_of_frames"] = 1
    codestreams = generate_frames(dataset.PixelData, number_of_frames=n_frames)
    for codestream in islice(codestreams, n_frames):
        if _is_codestream(syntax):
            refuse_cut(codestream, name)
            yield partial(decoders().decode, with_all_coefficients(codestream), str(syntax), options)
        else:
            yield partial(decode_frame, codestream, str(syntax), {**options, **_RLE_OPTIONS})
    if any(codestreams):
        raise ReadError(f"{name} holds more compressed images than the {n_frames} that its header promises. {_AGAIN}")


def _is_codestream(syntax: UID) -> bool:
    """Say whether it is JPEG or a relative: decoded by C code, and holding the stored bits alone."""
    return syntax.is_encapsulated and syntax != RLELossless


def _decoded(frame: Decode, bits: _Bits, widest: int, syntax: UID, name: str) -> NDArray[Any]:
    with _damage(name, syntax):
        values = frame()
        if values.dtype.kind not in "iu" or not bits.consistent:
            raise ReadError(
                f"Expected integer pixels in {name}; found {values.dtype} with {bits.allocated} bits allocated, "
                f"{bits.stored} stored, highest bit {bits.high}. {_AGAIN}"
            )
        if _is_codestream(syntax):
            return _from_codestream(values, bits, name)
        return _cleaned(values, bits, widest, name)


def _cleaned(values: NDArray[Any], bits: _Bits, widest: int, name: str) -> NDArray[Any]:
    """Return the stored bits alone; refuse to cut off what other images of the volume count among theirs.

    Noise beyond the stored bits is in all images of a series. Where one promises fewer bits than the others and holds
    more, its header is wrong, and cutting would leave plausible values.
    """
    cleaned = clean_bits(values, stored=bits.stored, high=bits.high, signed=bits.signed)
    placed = cleaned << (bits.high + 1 - bits.stored) if bits.stored < widest else None
    if placed is not None and not np.array_equal(placed, values.astype(cleaned.dtype)):
        raise ReadError(
            f"{name} promises values of {bits.stored} bits, where other images of the volume have {widest}, and holds "
            f"more: its BitsStored is wrong. {_AGAIN}"
        )
    return cleaned


def _bits(dataset: Dataset) -> _Bits:
    missing = [keyword for keyword in _BITS if dataset.get(keyword) is None]
    if missing:
        raise ValueError(f"it has no {missing[0]}")
    stored = int(dataset.BitsStored)
    high = int(dataset.get("HighBit", stored - 1))
    return _Bits(int(dataset.BitsAllocated), stored, high, int(dataset.PixelRepresentation) == 1)


def _from_codestream(frames: NDArray[Any], bits: _Bits, name: str) -> NDArray[Any]:
    """Return decoded values; a codestream holds the stored bits and no others, so there is nothing to cut off."""
    low, high = int(frames.min()), int(frames.max())
    if low >= (-(2 ** (bits.stored - 1)) if bits.signed else 0) and high < 2 ** (bits.stored - bits.signed):
        return frames
    if bits.signed and low >= 0 and high < 2**bits.stored:  # decoded without regard to the sign
        return clean_bits(frames, stored=bits.stored, high=bits.stored - 1, signed=True)
    raise ReadError(
        f"The values of {name} ({low} to {high}) do not fit into the {bits.stored} bits that it promises. {_AGAIN}"
    )


def clean_bits(values: NDArray[Any], *, stored: int, high: int, signed: bool) -> NDArray[Any]:
    """Return the stored bits of each value alone, sign extended.

    Parameters
    ----------
    values
        Integers of 8, 16 or 32 bits as they are in the file; bits outside the stored ones can hold anything (old
        overlays, noise).
    stored
        BitsStored.
    high
        HighBit: index of the highest stored bit, from 0.
    signed
        PixelRepresentation is 1: two's complement.
    """
    bits = 8 * values.dtype.itemsize
    unsigned = values.view(np.dtype(f"u{values.dtype.itemsize}").newbyteorder(values.dtype.byteorder))
    if signed and stored == bits and values.dtype.isnative:
        return values.view(f"i{values.dtype.itemsize}")
    if stored < bits:
        unsigned = (unsigned >> (high + 1 - stored)) & ((1 << stored) - 1)
    unsigned = unsigned.astype(f"u{values.dtype.itemsize}", copy=False)
    if not signed:
        return unsigned
    sign = unsigned.dtype.type(1 << (stored - 1))
    extended: NDArray[Any] = ((unsigned ^ sign) - sign).view(f"i{values.dtype.itemsize}")
    return extended


def _transfer_syntax(dataset: Dataset) -> UID:
    """Return the transfer syntax; for files without preamble the one in which the header was written."""
    meta = getattr(dataset, "file_meta", None) or FileMetaDataset()
    if "TransferSyntaxUID" not in meta:
        implicit, little = dataset.original_encoding
        uncompressed = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        meta.TransferSyntaxUID = uncompressed if little else ExplicitVRBigEndian
        dataset.file_meta = meta
    return UID(meta.TransferSyntaxUID)


def _require_decoder(syntax: UID, name: str) -> None:
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if available:
        return
    package = _DECODERS.get(str(syntax))
    todo = f"Install it with: pip install {package}" if package else "Export the series uncompressed"
    found = syntax.name if syntax.name == syntax else f"{syntax.name} ({syntax})"
    raise ReadError(f"There is no decoder for the transfer syntax of {name}: {' '.join(found.split())}. {todo}.")
