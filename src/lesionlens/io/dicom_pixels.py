"""From the pixel data of DICOM files to values: decoding, unused bits, sign, rescaling."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels, pixel_array
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from lesionlens.errors import ReadError
from lesionlens.io.boundary import quiet, reading
from lesionlens.io.dicom_geometry import Slice
from lesionlens.io.dicom_header import PYDICOM_ERRORS, Instance
from lesionlens.io.dicom_lut import looked_up
from lesionlens.io.dicom_mosaic import tiles_of
from lesionlens.progress import Progress, silent

__all__ = ["OnImage", "clean_bits", "one_by_one", "read_image", "read_values", "stored_values"]

# Called with the place of an image in its series and its values, (i, j) = (column, row).
OnImage = Callable[[int, NDArray[Any]], None]

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
# raises a normal error.
_PLUGINS = {RLELossless: "pydicom"}

_AGAIN = "Export the series again."


def read_values(
    slices: Sequence[Slice], *, progress: Progress = silent, on_image: OnImage | None = None
) -> tuple[NDArray[Any], str]:
    """Decode the images of a series in the order given.

    Stored integers stay integers when no image is rescaled; otherwise every image is rescaled by its own slope and
    intercept and the result is float32. Each file is read once.

    Parameters
    ----------
    slices
        Images of equal size, in slice order.
    progress
        Called for each file.
    on_image
        Called with each image as soon as it is decoded.

    Returns
    -------
    values
        (i, j, k) = (column, row, slice).
    sha256
        Over the bytes of the files, in the order in which they first occur.

    Raises
    ------
    ReadError
        If an image cannot be decoded; the message names the file.
    """
    rescaled = any((s.frame.slope, s.frame.intercept) != (1.0, 0.0) for s in slices)
    by_file: dict[str, list[int]] = {}
    for k, item in enumerate(slices):
        by_file.setdefault(item.instance.name, []).append(k)
    digest = hashlib.sha256()
    stack: NDArray[Any] | None = None  # (slice, row, column), made when the first image shows its type
    for done, ks in enumerate(by_file.values()):
        progress("Reading slices", done, len(by_file))
        frames = _decode(slices[ks[0]], digest)
        for k in ks:
            values = _one_frame(frames, slices[k], at=slices[k].frame.index)
            if rescaled:
                values = _rescale(values, slices[k])
            if stack is None:
                with reading(f"{len(slices)} slices of shape {values.shape} do not fit into memory"):
                    stack = np.empty((len(slices), *values.shape), dtype=values.dtype)
            if not np.can_cast(values.dtype, stack.dtype):
                stack = stack.astype(np.promote_types(values.dtype, stack.dtype))
            stack[k] = values
            if on_image is not None:
                on_image(k, values.T)
    progress("Reading slices", len(by_file), len(by_file))
    if stack is None:
        raise ReadError("A series without images cannot be read.")
    return stack.transpose(2, 1, 0), digest.hexdigest()


def read_image(item: Slice) -> NDArray[np.float32]:
    """Decode one image of a series ahead of the others: (i, j) = (column, row), rescaled.

    Of a file with several frames only that one is decoded.

    Raises
    ------
    ReadError
        If it cannot be decoded; the message names the file.
    """
    instance = item.instance
    with reading(f"Cannot read {instance.name}", *PYDICOM_ERRORS, todo=_AGAIN), quiet():
        dataset = dcmread(instance.path, force=True)
        index = item.frame.index if instance.n_frames > 1 and instance.tiles == 1 else None
        frames = _values(instance, dataset, index=index)
        return _rescale(_one_frame(frames, item, at=item.frame.index if index is None else 0), item).T


def stored_values(dataset: Dataset, name: str, *, index: int | None = None) -> NDArray[Any]:
    """Return the stored values of a file as (frame, row, column) integers, noise in unused bits removed.

    Parameters
    ----------
    dataset
        A whole file.
    name
        File name for messages.
    index
        Decode this frame alone, as the only one returned.

    Raises
    ------
    ReadError
        If there is no pixel data, no decoder for it, or it does not decode.
    """
    if "PixelData" not in dataset:
        raise ReadError(f"{name} holds no pixel data. Export the series again with its images.")
    syntax = _transfer_syntax(dataset)
    _require_decoder(syntax, name)
    with reading(f"The pixel data of {name} ({syntax.name}) is damaged", *PYDICOM_ERRORS, todo=_AGAIN), quiet():
        raw = pixel_array(dataset, raw=True, index=index, decoding_plugin=_PLUGINS.get(syntax, ""))
        frames = raw if raw.ndim == 3 else raw[np.newaxis]
        bits = _bits(dataset)
        if frames.dtype.kind not in "iu" or not 0 < bits.stored <= bits.high + 1 <= bits.allocated:
            raise ReadError(
                f"Expected integer pixels in {name}; found {frames.dtype} with {bits.allocated} bits allocated, "
                f"{bits.stored} stored, highest bit {bits.high}. {_AGAIN}"
            )
        if syntax.is_encapsulated and syntax != RLELossless:
            return _from_codestream(frames, bits, name)
        return clean_bits(frames, stored=bits.stored, high=bits.high, signed=bits.signed)


def one_by_one(dataset: Dataset, name: str, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Yield frames of a multi-frame file as (row, column) integers without sign, one in memory at a time.

    Raises
    ------
    ReadError
        As :func:`stored_values`.
    """
    syntax = _transfer_syntax(dataset)
    _require_decoder(syntax, name)
    with reading(f"The pixel data of {name} ({syntax.name}) is damaged", *PYDICOM_ERRORS, todo=_AGAIN), quiet():
        yield from iter_pixels(dataset, raw=True, indices=indices, decoding_plugin=_PLUGINS.get(syntax, ""))


@dataclass(frozen=True)
class _Bits:
    """What a header says about the bits of its pixels: BitsAllocated, BitsStored, HighBit, PixelRepresentation."""

    allocated: int
    stored: int
    high: int
    signed: bool


def _bits(dataset: Dataset) -> _Bits:
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
    if stored < bits:
        unsigned = (unsigned >> (high + 1 - stored)) & ((1 << stored) - 1)
    unsigned = unsigned.astype(f"u{values.dtype.itemsize}", copy=False)
    if not signed:
        return unsigned
    sign = unsigned.dtype.type(1 << (stored - 1))
    extended: NDArray[Any] = ((unsigned ^ sign) - sign).view(f"i{values.dtype.itemsize}")
    return extended


def _decode(item: Slice, digest: Any) -> NDArray[Any]:
    """Read a file once: hash its bytes, return its stored values (frame, row, column)."""
    name = item.instance.name
    with reading(f"Cannot read {name}", *PYDICOM_ERRORS, todo=_AGAIN), quiet():
        content = item.instance.path.read_bytes()
        digest.update(content)
        dataset = dcmread(BytesIO(content), force=True)
        return _values(item.instance, dataset)


def _values(instance: Instance, dataset: Dataset, *, index: int | None = None) -> NDArray[Any]:
    """Return the images of a file, or one: tiles of a mosaic apart, values looked up where there is a table."""
    frames = stored_values(dataset, instance.name, index=index)
    if instance.tiles > 1:
        expected = (instance.rows * instance.tiles, instance.columns * instance.tiles)
        if frames.shape[1:] != expected:
            raise ReadError(f"Expected {expected} pixels in {instance.name}; found {frames.shape[1:]}. {_AGAIN}")
        frames = tiles_of(frames[0], instance.tiles, instance.n_frames)
    return looked_up(frames, dataset, instance.name) if instance.modality_lut else frames


def _one_frame(frames: NDArray[Any], item: Slice, *, at: int) -> NDArray[Any]:
    expected = (item.instance.rows, item.instance.columns)
    if at >= len(frames) or frames.shape[1:] != expected:
        raise ReadError(
            f"Expected {item.instance.n_frames} images of {expected} pixels in {item.instance.name}; found "
            f"{frames.shape}. {_AGAIN}"
        )
    image: NDArray[Any] = frames[at]
    return image


def _rescale(values: NDArray[Any], item: Slice) -> NDArray[np.float32]:
    slope, intercept = item.frame.slope, item.frame.intercept
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        raise ReadError(
            f"RescaleSlope {slope:g} and RescaleIntercept {intercept:g} of {item.name} give no values. {_AGAIN}"
        )
    with np.errstate(over="ignore"):
        scaled = (values * slope + intercept).astype(np.float32)  # double precision, rounded once
    if not np.isfinite(scaled).all():
        raise ReadError(f"RescaleSlope {slope:g} of {item.name} gives values beyond single precision. {_AGAIN}")
    return scaled


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
