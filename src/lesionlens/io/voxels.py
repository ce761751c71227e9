"""Voxels that lie in a file as one run of numbers, plain or compressed: what NIfTI, NRRD and MetaImage have in common.

Everything that the header promises is compared with the size of the file before memory is taken for it. The file is
read once, front to back: it is hashed, unpacked and converted on the way, so that apart from a chunk of a few megabytes
nothing but the result is ever in memory.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lesionlens.errors import ReadError, counted
from lesionlens.io.boundary import reading
from lesionlens.io.gzipped import MOST_BYTES_FROM_ONE, GzipError, gzip_reader, zlib_reader
from lesionlens.io.limits import require_memory
from lesionlens.progress import Progress, silent

__all__ = ["Packing", "Stored", "hash_file", "opening", "read_voxels", "refuse_non_finite", "room_problem", "unpacking"]

Packing = Literal["", "gzip", "zlib"]

_CHUNK = 1 << 23  # bytes between two calls of progress

# Bytes that are converted at a time: the double precision in between takes up to eight times as many.
_SLAB = 1 << 21

# Bytes beyond the promised voxels that are unpacked to reach the checksum behind them, at least; else as many as were
# promised. Whoever packs more has a wrong header or wants to keep the reader busy.
_MOST_BYTES_BEYOND = 1 << 24


@dataclass(frozen=True)
class Stored:
    """Where the voxels of an image lie, and what they are.

    Parameters
    ----------
    path
        The file.
    shape
        Voxels along each axis, the fastest first; more than three axes when there are several volumes.
    dtype
        As stored, byte order included.
    start
        Byte of the file at which the (compressed) voxels begin.
    skip
        Bytes to pass over after that, counted uncompressed.
    packing
        ``"gzip"``, ``"zlib"``, or empty for plain bytes.
    slope, intercept
        value = stored * slope + intercept.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int = 0
    skip: int = 0
    packing: Packing = ""
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def volume_bytes(self) -> int:
        """Bytes that one volume takes, uncompressed."""
        return _product((self.dtype.itemsize, *self.shape[:3]))

    @property
    def promised(self) -> int:
        """Bytes from ``start`` to the end of the last volume, uncompressed."""
        return self.skip + self.volume_bytes * _product(self.shape[3:])


def read_voxels(
    stored: Stored, *, volume: int = 0, digest: Any = None, progress: Progress = silent
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return one volume as (i, j, k) numbers in this machine's byte order, scaled, and what was decided.

    Stored integers without scaling stay integers: 64-bit ones become int32 where all fit, else int64. Everything else
    becomes float32, scaled in double precision.

    Parameters
    ----------
    stored
        Where the voxels are.
    volume
        Which volume, counted as they lie in the file.
    digest
        Hash object that is fed with all bytes of the file.
    progress
        Called as the file is read.

    Raises
    ------
    ReadError
        If the file holds fewer voxels than promised or far more, is damaged, or does not fit into memory.
    """
    name = stored.path.name
    file_bytes = _check_room(stored)
    require_memory(
        stored.volume_bytes * _result_dtype(stored).itemsize // stored.dtype.itemsize, f"The voxels of {name}"
    )
    with reading(f"The voxels of {name} do not fit into memory", todo="Use a machine with more memory."):
        out = np.empty(stored.shape[:3], dtype=_result_dtype(stored), order="F")
    digest = hashlib.sha256() if digest is None else digest
    with opening(name), stored.path.open("rb", buffering=0) as raw:
        hashed = _Hashed(raw, digest)
        with _unpacked(hashed, stored) as stream:
            cursor = _Cursor(stream, stored, progress)
            cursor.pass_over(stored.skip + volume * stored.volume_bytes)
            _fill(out, stored, cursor)
            beyond = cursor.finish(file_bytes)
        while hashed.read(_CHUNK):  # what lies behind a compressed stream
            pass
    notes = (f"{name} holds {beyond:,} bytes beyond the voxels that its header promises; not used.",) if beyond else ()
    array, more = _narrowed(out, name)
    return array, notes + more


def refuse_non_finite(array: NDArray[Any], name: str) -> None:
    """Refuse values that are not finite, and say where the first one is."""
    with np.errstate(invalid="ignore", over="ignore"):  # two infinities add up to a number that is none
        if array.dtype.kind != "f" or np.isfinite(np.sum(array, dtype=np.float64)):
            return
    bad = ~np.isfinite(array)
    n = int(np.count_nonzero(bad))
    if n:
        first = tuple(int(x) for x in np.unravel_index(int(bad.ravel(order="F").argmax()), bad.shape, order="F"))
        raise ReadError(
            f"{name} holds {counted(n, 'voxel')} without a finite value (NaN or infinite), the first at {first}, which"
            " would spoil every result. Replace them, for example by 0, and save the file again."
        )


def hash_file(path: Path, digest: Any) -> None:
    """Feed a hash object with the bytes of a file."""
    with opening(path.name), path.open("rb") as raw:
        while chunk := raw.read(_CHUNK):
            digest.update(chunk)


def opening(name: str) -> Any:
    """Return a context in which an error means that the file cannot be opened or read."""
    return reading(f"Cannot read {name}", todo="Check the file and its permissions.")


def unpacking(name: str, packing: Packing = "gzip") -> Any:
    """Return a context in which an error means that the compressed bytes are damaged."""
    return reading(
        f"{name} is damaged: its {packing} compression cannot be undone",
        GzipError,
        todo="Copy or download the file again.",
    )


def room_problem(stored: Stored) -> str:
    """Say why a file cannot hold the voxels that its header promises, by its size alone; empty where it may."""
    present = _bytes_present(stored)
    if not stored.packing and present < stored.promised:
        return _truncated(stored, present)
    if stored.promised > MOST_BYTES_FROM_ONE * present:
        return (
            f"{stored.path.name} cannot hold what its header promises ({stored.promised:,} bytes from {present:,} "
            "compressed ones). Copy or download the file again."
        )
    return ""


def _check_room(stored: Stored) -> int:
    """Refuse what the file cannot hold, before any memory is taken for it; return the bytes that it has."""
    if problem := room_problem(stored):
        raise ReadError(problem)
    return _bytes_present(stored)


def _bytes_present(stored: Stored) -> int:
    with opening(stored.path.name):
        return max(0, os.stat(stored.path).st_size - stored.start)


def _truncated(stored: Stored, present: int) -> str:
    head = 0 if stored.packing else stored.start
    return (
        f"{stored.path.name} is truncated: its header promises {head + stored.promised:,} bytes, the file has "
        f"{head + present:,}. Copy or download the file again."
    )


class _Hashed(io.RawIOBase):
    """A file that feeds a hash with whatever is read from it."""

    def __init__(self, raw: io.FileIO, digest: Any) -> None:
        self._raw, self._digest = raw, digest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = self._raw.readinto(buffer) or 0
        self._digest.update(memoryview(buffer)[:n])
        return n


@contextmanager
def _unpacked(raw: Any, stored: Stored) -> Iterator[Any]:
    """Yield the stream of uncompressed bytes that begins at ``start``."""
    left = stored.start
    while left > 0:
        chunk = raw.read(min(left, _CHUNK))
        if not chunk:
            raise ReadError(_truncated(stored, 0))
        left -= len(chunk)
    if not stored.packing:
        yield raw
        return
    with unpacking(stored.path.name, stored.packing):
        yield gzip_reader(raw) if stored.packing == "gzip" else zlib_reader(raw)


class _Cursor:
    """A place in the stream of uncompressed bytes; refuses a stream that ends too early or much too late."""

    def __init__(self, stream: Any, stored: Stored, progress: Progress) -> None:
        self._stream, self._stored, self._progress = stream, stored, progress
        self._at = 0

    def read_into(self, view: memoryview) -> None:
        """Fill the view with the next bytes."""
        filled = 0
        while filled < len(view):
            got = self._stream.readinto(view[filled : filled + _CHUNK])
            if not got:
                raise ReadError(_truncated(self._stored, self._at))
            filled += got
            self._at += got
            self._progress("Reading", min(self._at, self._stored.promised), self._stored.promised)

    def pass_over(self, n: int) -> None:
        """Read bytes and forget them."""
        scratch = memoryview(bytearray(min(n, _CHUNK)))
        while n > 0:
            self.read_into(scratch[: min(n, _CHUNK)])
            n -= min(n, _CHUNK)

    def finish(self, file_bytes: int) -> int:
        """Read on to the end, where the checksum of compressed bytes is; return how many bytes there are too many."""
        stored = self._stored
        self.pass_over(stored.promised - self._at)
        if not stored.packing:
            return file_bytes - stored.promised
        beyond, most = 0, max(stored.promised, _MOST_BYTES_BEYOND)
        while chunk := self._stream.read(_CHUNK):
            beyond += len(chunk)
            if beyond > most:
                raise ReadError(
                    f"{stored.path.name} unpacks to far more than its header promises ({stored.promised:,} bytes). "
                    "Correct the header, or copy the file again."
                )
        return beyond


def _result_dtype(stored: Stored) -> np.dtype[Any]:
    plain = (stored.slope, stored.intercept) == (1.0, 0.0)
    if plain and stored.dtype.kind in "iu":
        return stored.dtype.newbyteorder("=")
    return np.dtype(np.float32)


def _fill(out: NDArray[Any], stored: Stored, cursor: _Cursor) -> None:
    """Read the voxels into their place: directly where they are stored as wanted, else through slabs of slices."""
    plain = (stored.slope, stored.intercept) == (1.0, 0.0)
    if plain and out.dtype == stored.dtype.newbyteorder("="):
        cursor.read_into(out.reshape(-1, order="F").view(np.uint8).data)
        if not stored.dtype.isnative:
            out.byteswap(inplace=True)
        return
    depth = max(1, _SLAB // max(1, stored.volume_bytes // out.shape[2]))
    slab = np.empty((*out.shape[:2], min(depth, out.shape[2])), dtype=stored.dtype, order="F")
    with np.errstate(over="ignore", invalid="ignore"):  # infinities are refused afterwards, by place
        for k in range(0, out.shape[2], depth):
            part = slab[:, :, : out.shape[2] - k]
            cursor.read_into(part.reshape(-1, order="F").view(np.uint8).data)
            out[:, :, k : k + depth] = part if plain else part * np.float64(stored.slope) + stored.intercept


def _narrowed(array: NDArray[Any], name: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return 64-bit integers as int32 where all fit, else as int64, which everything can calculate with."""
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8:
        return array, ()
    low, high = int(array.min()), int(array.max())
    if np.iinfo(np.int32).min <= low and high <= np.iinfo(np.int32).max:
        return array.astype(np.int32, order="F"), ()
    if high > np.iinfo(np.int64).max:
        raise ReadError(f"Expected integers below 2^63 in {name}; found {high}. Save it with a smaller type.")
    note = f"64-bit integers from {low} to {high} are kept; calculations in single precision round them."
    return array.view(np.int64), (note,)


def _product(numbers: tuple[int, ...]) -> int:
    n = 1
    for number in numbers:  # Python integers: a hostile header must not overflow
        n *= number
    return n
