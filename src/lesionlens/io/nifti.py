"""NIfTI files to volumes: ``.nii``, ``.nii.gz`` and ``.hdr``/``.img`` pairs, versions 1 and 2, both byte orders."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlens.errors import ReadError
from lesionlens.io.boundary import reading
from lesionlens.io.gzipped import GZIP_MAGIC, MOST_BYTES_FROM_ONE, GzipError, gzip_reader
from lesionlens.io.nifti_header import HEADER_BYTES, NiftiHeader, parse_header
from lesionlens.io.series import NIFTI_SUFFIXES, SeriesInfo
from lesionlens.progress import Progress, silent
from lesionlens.volume import GeometryVerdict, Source, Volume

__all__ = ["describe_nifti", "read_nifti"]

_CHUNK = 1 << 23  # bytes between two calls of progress


def read_nifti(path: Path, *, progress: Progress = silent) -> Volume:
    """Read one NIfTI file or pair as a volume; see :mod:`lesionlens.io.nifti_header` for the orientation rule.

    Stored integers without scaling keep their type (64-bit ones become int32 where they fit, else float32); everything
    else becomes float32. Several volumes, single slices, colours, complex and non-finite values are refused.

    Raises
    ------
    ReadError
        If the file cannot be read as one volume; the message says why and what to do.
    """
    files, header = _files_and_header(path)
    grid = header.grid()
    contents = [_content(file) for file in files]
    raw = _voxel_bytes(contents[-1], header, files[-1].name, progress)
    with reading(f"The voxels of {path.name} do not fit into memory"):
        array, notes = _values(raw, header)
    _refuse_non_finite(array, path.name)
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    source = Source(
        format="nifti",
        files=tuple(file.name for file in files),
        sha256=digest.hexdigest(),
        decisions=header.decisions + notes,
    )
    return Volume(array, grid, name=_stem(path), source=source)


def describe_nifti(path: Path) -> SeriesInfo:
    """Return what the header of a NIfTI file says, without reading its voxels."""
    files, header = _files_and_header(path)
    grid = None if header.problem else header.grid()
    return SeriesInfo(
        uid="",
        number=None,
        description=_stem(path),
        modality="",
        n_slices=header.shape[2],
        shape=header.shape,
        spacing_mm=grid.spacing_mm if grid else None,
        axcodes=grid.axcodes if grid else "",
        verdict=GeometryVerdict() if grid else header.problem,
        format="nifti",
        files=tuple(file.name for file in files),
    )


def _stem(path: Path) -> str:
    name = path.name
    for suffix in sorted(NIFTI_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def _files_of(path: Path) -> tuple[Path, ...]:
    """Return the single file, or header and image of a pair, whichever of the two was given."""
    name = path.name.lower()
    for end in (".hdr", ".img"):
        if name.endswith((end, f"{end}.gz")):
            break
    else:
        return (path,)
    stem = _stem(path)
    found = []
    for wanted in (".hdr", ".img"):
        names = [stem + suffix for suffix in (wanted, wanted.upper(), f"{wanted}.gz")]
        existing = [path.with_name(n) for n in names if path.with_name(n).is_file()]
        if not existing:
            raise ReadError(f"{path.name} is half of a pair: {names[0]} is missing beside it. Copy both files.")
        found.append(path if path in existing else existing[0])
    return tuple(found)


def _files_and_header(path: Path) -> tuple[tuple[Path, ...], NiftiHeader]:
    """Return the files of a volume and its header; reads only their beginning."""
    files = _files_of(path)
    header = parse_header(_head(files[0]), path.name)
    if len(files) == 1 and not header.single_file:
        raise ReadError(f"{path.name} is the header of a pair, its voxels are elsewhere. Give the .hdr/.img pair.")
    return files, header


def _head(path: Path) -> bytes:
    """Return the first bytes of a file, uncompressed."""
    with _opening(path), path.open("rb") as raw:
        start = raw.read(HEADER_BYTES)
        raw.seek(0)
        if start[:2] == GZIP_MAGIC:
            with _unpacking(path.name), gzip_reader(raw) as stream:
                start = stream.read(HEADER_BYTES)
    if not start:
        raise ReadError(f"{path.name} is empty (0 bytes). Copy the file again.")
    return start


def _content(path: Path) -> bytes:
    with _opening(path):
        return path.read_bytes()


def _opening(path: Path) -> AbstractContextManager[None]:
    return reading(f"Cannot read {path.name}", todo="Check the file and its permissions.")


def _unpacking(name: str) -> AbstractContextManager[None]:
    return reading(
        f"{name} is damaged: its gzip compression cannot be undone",
        GzipError,
        todo="Copy or download the file again.",
    )


@dataclass(frozen=True)
class _Room:
    """Bytes that the voxels need, and that their file has."""

    needed: int
    present: int

    def check(self, name: str) -> None:
        if self.present < self.needed:
            raise ReadError(
                f"{name} is truncated: its header promises {self.needed:,} bytes, the file has {self.present:,}. "
                "Copy or download the file again."
            )


def _voxel_bytes(content: bytes, header: NiftiHeader, name: str, progress: Progress) -> memoryview:
    """Return the bytes of the voxels; checks what the header promises before any memory is taken for it."""
    needed = header.offset + header.n_bytes
    if content[:2] != GZIP_MAGIC:
        _Room(needed, len(content)).check(name)
        progress("Reading", 1, 1)
        return memoryview(content)[header.offset : needed]
    if needed > MOST_BYTES_FROM_ONE * len(content):
        raise ReadError(
            f"{name} cannot hold what its header promises ({needed:,} bytes from {len(content):,} compressed ones). "
            "Copy or download the file again."
        )
    with _unpacking(name), gzip_reader(BytesIO(content)) as stream:
        view, filled = np.empty(needed, dtype=np.uint8).data, 0
        while filled < needed:
            got = stream.readinto(view[filled : filled + _CHUNK])
            if not got:
                _Room(needed, filled).check(name)
            filled += got
            progress("Reading", filled, needed)
        while stream.read(_CHUNK):  # to the end, where the checksum is
            pass
    return view[header.offset :]


def _values(raw: memoryview, header: NiftiHeader) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return the voxels as (i, j, k) numbers in native byte order, scaled as the header says, and what was decided."""
    stored = np.frombuffer(raw, dtype=header.dtype).reshape(header.shape, order="F")
    if (header.slope, header.intercept) != (1.0, 0.0):
        out = np.empty(stored.shape, dtype=np.float32, order="F")
        with np.errstate(over="ignore", invalid="ignore"):  # infinities are refused afterwards, by place
            for k in range(stored.shape[2]):  # slice by slice: double precision costs no memory
                out[:, :, k] = stored[:, :, k] * np.float64(header.slope) + header.intercept
        return out, ()
    if stored.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return stored.astype(np.float32, order="F", copy=False), ()
    if stored.dtype.itemsize == 8:
        return _narrow(stored)
    return stored.astype(stored.dtype.newbyteorder("="), order="F", copy=False), ()


def _narrow(stored: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return 64-bit integers as int32, or as float32 where they do not fit: torch has no uint64."""
    low, high = int(stored.min()), int(stored.max())
    bounds = np.iinfo(np.int32)
    if bounds.min <= low and high <= bounds.max:
        return stored.astype(np.int32, order="F"), ()
    note = f"64-bit integers from {low} to {high} were rounded to single precision."
    return stored.astype(np.float32, order="F"), (note,)


def _refuse_non_finite(array: NDArray[Any], name: str) -> None:
    if array.dtype.kind != "f":
        return
    bad = ~np.isfinite(array)
    n = int(np.count_nonzero(bad))
    if n:
        first = tuple(int(x) for x in np.unravel_index(int(bad.ravel(order="F").argmax()), bad.shape, order="F"))
        raise ReadError(
            f"{name} holds {n:,} voxels without a finite value (NaN or infinite), the first at {first}; they would "
            "spoil every result. Replace them, for example by 0, and save the file again."
        )
