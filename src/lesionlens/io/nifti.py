"""NIfTI files to volumes: ``.nii``, ``.nii.gz`` and ``.hdr``/``.img`` pairs, versions 1 and 2, both byte orders."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lesionlens.errors import ReadError
from lesionlens.io.gzipped import GZIP_MAGIC, gzip_reader
from lesionlens.io.nifti_header import HEADER_BYTES, NiftiHeader, parse_header
from lesionlens.io.series import NIFTI_SUFFIXES, SeriesInfo
from lesionlens.io.stack_choice import choose_stack, stack_names
from lesionlens.io.voxels import hash_file, opening, read_voxels, refuse_non_finite, unpacking
from lesionlens.progress import Progress, silent
from lesionlens.volume import GeometryVerdict, Source, Volume

__all__ = ["describe_nifti", "read_nifti"]


def read_nifti(path: Path, *, stack: str | int | None = None, progress: Progress = silent) -> Volume:
    """Read one volume of a NIfTI file or pair; see :mod:`lesionlens.io.nifti_header` for the orientation rule.

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
    files, header = _files_and_header(path)
    grid = header.grid()
    names = stack_names(header.shape[3:], path.name)
    chosen = choose_stack(stack, names, path.name)
    digest = hashlib.sha256()
    for file in files[:-1]:
        hash_file(file, digest)
    stored = header.stored(files[-1], "gzip" if _is_gzip(files[-1]) else "")
    array, notes = read_voxels(stored, volume=chosen, digest=digest, progress=progress)
    refuse_non_finite(array, path.name)
    name = names[chosen] if names else ""
    source = Source(
        format="nifti",
        files=tuple(file.name for file in files),
        sha256=digest.hexdigest(),
        decisions=((f"Of {len(names)} volumes, {name} was read.",) if names else ()) + header.decisions + notes,
        stack=name,
    )
    return Volume(array, grid, name=f"{_stem(path)} {name}".rstrip(), source=source)


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
        stacks=stack_names(header.shape[3:], path.name),
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
