"""NIfTI files to volumes: ``.nii``, ``.nii.gz`` and ``.hdr``/``.img`` pairs, versions 1 and 2, both byte orders."""

from __future__ import annotations

from pathlib import Path

from lesionlens.errors import ReadError
from lesionlens.io.gzipped import GZIP_MAGIC, gzip_reader
from lesionlens.io.image_file import ImageFile
from lesionlens.io.nifti.header import HEADER_BYTES, parse_header
from lesionlens.io.series import NIFTI_SUFFIXES, SeriesInfo
from lesionlens.io.voxels import Stored, opening, unpacking
from lesionlens.progress import Progress, silent
from lesionlens.volume import Volume

__all__ = ["describe_nifti", "read_nifti"]


def read_nifti(path: Path, *, stack: str | int | None = None, progress: Progress = silent) -> Volume:
    """Read one volume of a NIfTI file or pair; see :mod:`lesionlens.io.nifti.header` for the orientation rule.

    Stored integers without scaling keep their values and, up to 32 bits, their type; everything else becomes float32.
    Single slices, colours, complex and non-finite values are refused.

    Parameters
    ----------
    path
        The file, or either half of a pair.
    stack
        Which of several volumes, by name (``"t=3"``, ``"t=3, u=1"``) or by index in file order.
    progress
        Called as the file is read.

    Raises
    ------
    AmbiguousStackError
        If the file holds several volumes and none was chosen.
    ReadError
        If no volume can be read; the message says why and what to do.
    """
    return _image(path).read(stack=stack, progress=progress)


def describe_nifti(path: Path) -> SeriesInfo:
    """Return what the header of a NIfTI file says, without reading its voxels."""
    return _image(path).describe()


def _image(path: Path) -> ImageFile:
    files = _files_of(path)
    header = parse_header(_head(files[0]), path.name)
    if len(files) == 1 and not header.single_file:
        raise ReadError(f"{path.name} is the header of a pair, its voxels are elsewhere. Give the .hdr/.img pair.")
    stored = Stored(
        files[-1],
        header.shape,
        header.dtype,
        skip=header.offset,
        packing="gzip" if _is_gzip(files[-1]) else "",
        slope=header.slope,
        intercept=header.intercept,
    )
    return ImageFile(path, files, _stem(path), "nifti", stored, header.affine, header.decisions, header.problem)


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


def _head(path: Path) -> bytes:
    """Return the first bytes of a file, uncompressed."""
    with opening(path.name), path.open("rb") as raw:
        start = raw.read(HEADER_BYTES)
        raw.seek(0)
        if start[:2] == GZIP_MAGIC:
            with unpacking(path.name), gzip_reader(raw) as stream:
                start = stream.read(HEADER_BYTES)
    if not start:
        raise ReadError(f"{path.name} is empty (0 bytes). Copy the file again.")
    return start


def _is_gzip(path: Path) -> bool:
    with opening(path.name), path.open("rb") as raw:
        return raw.read(2) == GZIP_MAGIC
