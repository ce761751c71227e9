"""NRRD (``.nrrd``, ``.nhdr``) and MetaImage (``.mha``, ``.mhd``): a text header, and voxels as NIfTI has them.

Both headers are lines of names and values, so they are read here. The libraries that read them take the whole file
twice into memory (pynrrd), follow file names out of the folder, or give up on axes that are not at right angles (ITK,
which serves the tests as an independent reader).

What is read: one number per voxel, in raw bytes or gzip (NRRD) and zlib (MetaImage), in the same file or in one beside
it. NRRD must name a space that is fixed to the patient; MetaImage is LPS+ by ITK's convention, and must give its axes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlens.errors import InputError, ReadError
from lesionlens.io.boundary import one_line, quiet, quoted, reading
from lesionlens.io.gzipped import GZIP_MAGIC
from lesionlens.io.image_file import ImageFile, shear_notes
from lesionlens.io.series import SeriesInfo
from lesionlens.io.voxels import Packing, Stored, opening
from lesionlens.progress import Progress, silent
from lesionlens.volume import Grid, Volume

__all__ = ["describe_itk", "read_itk"]

# A text header that is longer than this is none.
MOST_HEADER_BYTES = 1 << 20

# Voxels along one axis; NIfTI-1 counts to 32,767, and whole slides reach some hundred thousand.
MOST_VOXELS_ALONG = 2**31

# Bytes before the voxels; more than any disk has.
MOST_SKIPPED = 2**50

# Spaces of NRRD that are fixed to the patient, and how to come from them to RAS+.
_SPACES = {
    "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1),
}  # fmt: skip

_MM = {"mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "cm": 10.0, "m": 1e3, "um": 1e-3, "µm": 1e-3, "micron": 1e-3}

_NRRD_TYPES = {
    name: code
    for code, names in {
        "i1": "signed char|int8|int8_t",
        "u1": "uchar|unsigned char|uint8|uint8_t",
        "i2": "short|short int|signed short|signed short int|int16|int16_t",
        "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
        "i4": "int|signed int|int32|int32_t",
        "u4": "uint|unsigned int|uint32|uint32_t",
        "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
        "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
        "f4": "float",
        "f8": "double",
    }.items()
    for name in names.split("|")
}

# MET_LONG has four bytes on every machine.
_META_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip

# Fields of MetaImage, lower case, that may not say anything else.
_USUAL = {
    "objecttype": "image",
    "binarydata": "true",
    "elementnumberofchannels": "1",
    "elementtointensityfunctionslope": "1",
    "elementtointensityfunctionoffset": "0",
}

_AS_NIFTI = "Save it as NIfTI."


def read_itk(path: Path, *, stack: str | int | None = None, progress: Progress = silent) -> Volume:
    """Read one volume of an NRRD or MetaImage file.

    Raises
    ------
    AmbiguousStackError
        If the file holds several volumes and none was chosen.
    ReadError
        If no volume can be read; the message says why and what to do.
    """
    return _image(path).read(stack=stack, progress=progress)


def describe_itk(path: Path) -> SeriesInfo:
    """Return what the header of an NRRD or MetaImage file says, without reading its voxels."""
    return _image(path).describe()


def _image(path: Path) -> ImageFile:
    with opening(path.name), path.open("rb") as raw:
        start = raw.read(MOST_HEADER_BYTES)
    if not start:
        raise ReadError(f"{path.name} is empty (0 bytes). Copy the file again.")
    with reading(f"Cannot read {path.name}: its header is damaged", todo="Copy the file again."), quiet():
        return _nrrd(path, start) if path.suffix.lower() in (".nrrd", ".nhdr") else _metaimage(path, start)


def _nrrd(path: Path, start: bytes) -> ImageFile:
    if not start.startswith(b"NRRD"):
        raise ReadError(f"{path.name} is not an NRRD file: it does not begin with NRRD. Check the file.")
    end = re.search(rb"\r?\n\r?\n", start)
    fields = _fields(start[: end.start() if end else None], rb"^([^:#=\n]+):(?!=)(.*)$")
    sizes = [int(n) for n in _need(fields, "sizes", path).split()]
    spatial = _spatial_axes(fields, sizes, path)
    file = _voxel_file(path, fields.get("data file", fields.get("datafile", "")))
    encoding = _need(fields, "encoding", path).lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise ReadError(f"The encoding of {path.name} is {quoted(encoding)}; raw and gzip are read. {_AS_NIFTI}")
    if int(fields.get("line skip", 0)):
        raise ReadError(f"{path.name} skips lines of text before its voxels, which is not supported. {_AS_NIFTI}")
    stored = _stored(
        file or path,
        sizes,
        _dtype(_NRRD_TYPES, _need(fields, "type", path), path, big=fields.get("endian", "").lower() == "big"),
        start=0 if file else end.end() if end else len(start),
        skip=int(fields.get("byte skip", 0)),
        packing="" if encoding == "raw" else "gzip",
    )
    if stored.dtype.itemsize > 1 and fields.get("endian", "").lower() not in ("little", "big"):
        raise ReadError(f"{path.name} does not say its byte order (endian). {_AS_NIFTI}")
    mm, decisions = _millimetres(re.findall(r'"([^"]*)"', fields.get("space units", "")), path)
    world = np.diag(_SPACES[_space(fields, path)]) * mm
    origin = _vector(_need(fields, "space origin", path))
    return _placed(path, file, "nrrd", stored, world @ np.column_stack([*spatial, origin]), decisions)


def _space(fields: Mapping[str, str], path: Path) -> str:
    space = fields.get("space", "").lower()
    if space not in _SPACES:
        raise ReadError(
            f"{path.name} does not say how the patient lies in it (its space is {quoted(space) or 'not named'!r}), so "
            "left and right are unknown. Save it with a space of RAS, LAS or LPS, by a tool that knows how it was made."
        )
    return space


def _spatial_axes(fields: Mapping[str, str], sizes: list[int], path: Path) -> list[NDArray[np.float64]]:
    """Return the steps along the first three axes; several values for each voxel cannot be read."""
    _space(fields, path)
    found = re.findall(r"none|\([^()]*\)", _need(fields, "space directions", path).lower())
    kinds = fields.get("kinds", "").split()
    if len(found) != len(sizes):
        raise ReadError(f"{path.name} has {len(sizes)} axes but {len(found)} space directions. {_AS_NIFTI}")
    if len(found) < 3 or "none" in found[:3]:
        kind = kinds[found.index("none")] if "none" in found and len(kinds) == len(sizes) else "2D"
        raise ReadError(
            f"Expected one number for each voxel of a volume in {path.name}; found a {kind} axis among the first "
            "three. Save one of the images as a volume of its own."
        )
    if any(direction != "none" for direction in found[3:]):
        raise ReadError(f"{path.name} has more than three axes in space. {_AS_NIFTI}")
    return [_vector(direction) for direction in found[:3]]


def _vector(text: str) -> NDArray[np.float64]:
    x, y, z = (float(part) for part in text.strip().strip("()").split(","))
    return np.array([x, y, z])


def _metaimage(path: Path, start: bytes) -> ImageFile:
    end = re.search(rb"^[ \t]*ElementDataFile[ \t]*=[^\r\n]*(\r?\n|$)", start, re.MULTILINE)
    if not end or not re.match(rb"\s*\w+\s*=", start):
        raise ReadError(f"{path.name} is not a MetaImage file: it has no line ElementDataFile. Check the file.")
    fields = _fields(start[: end.end()], rb"^([^=\n]+)=(.*)$")
    _refuse_unusual(fields, path)
    sizes = [int(n) for n in _need(fields, "dimsize", path).split()]
    name = fields["elementdatafile"]
    file = None if name.upper() == "LOCAL" else _voxel_file(path, name)
    big = "true" in (fields.get("binarydatabyteordermsb", "").lower(), fields.get("elementbyteordermsb", "").lower())
    stored = _stored(
        file or path,
        sizes,
        _dtype(_META_TYPES, _need(fields, "elementtype", path).upper(), path, big=big),
        start=0 if file else end.end(),
        skip=int(fields.get("headersize", 0)),
        packing="zlib" if fields.get("compresseddata", "").lower() == "true" else "",
    )
    n = len(sizes)
    matrix = _numbers(fields, ("transformmatrix", "rotation", "orientation"), n * n, path).reshape(n, n)
    spacing = _numbers(fields, ("elementspacing",), n, path)
    origin = _numbers(fields, ("offset", "position", "origin"), n, path)
    if n < 3 or matrix[:3, 3:].any() or matrix[3:, :3].any():
        raise ReadError(f"The first three of the {n} axes of {path.name} are not those of space. {_AS_NIFTI}")
    unit = fields.get("distanceunits", "")
    mm, decisions = _millimetres([unit] if unit else [], path)
    steps = matrix[:3, :3].T * spacing[:3]  # the file gives one direction after the other
    world = np.diag([-mm, -mm, mm])
    return _placed(path, file, "metaimage", stored, world @ np.column_stack([steps, origin[:3]]), decisions)


def _refuse_unusual(fields: Mapping[str, str], path: Path) -> None:
    """Refuse what would change the values or their order if it were overlooked."""
    for field, expected in _USUAL.items():
        found = fields.get(field, expected).lower()
        if found != expected and not (expected.isdigit() and float(found) == float(expected)):
            raise ReadError(f"{path.name} has {field} = {quoted(found)}; {expected} is read. {_AS_NIFTI}")


def _numbers(fields: Mapping[str, str], names: tuple[str, ...], n: int, path: Path) -> NDArray[np.float64]:
    found = next((fields[name] for name in names if name in fields), None)
    if found is None:
        raise ReadError(f"{path.name} does not say where its voxels lie ({names[0]} is missing). {_AS_NIFTI}")
    numbers = np.array([float(part) for part in found.split()])
    if len(numbers) != n:
        raise ReadError(f"Expected {n} numbers as {names[0]} of {path.name}; found {len(numbers)}. {_AS_NIFTI}")
    return numbers


def _fields(header: bytes, line: bytes) -> dict[str, str]:
    """Return the fields of a text header by their names in lower case."""
    found = re.findall(line, header.replace(b"\r\n", b"\n"), re.MULTILINE)
    return {
        name.decode("ascii", "replace").strip().lower(): value.decode("utf-8", "replace").strip()
        for name, value in found
    }


def _need(fields: Mapping[str, str], name: str, path: Path) -> str:
    if not fields.get(name):
        raise ReadError(f"The header of {path.name} has no {name}. Copy the file again.")
    return fields[name]


def _dtype(types: Mapping[str, str], name: str, path: Path, *, big: bool) -> np.dtype[Any]:
    code = types.get(" ".join(name.split()) if name.isupper() else " ".join(name.lower().split()))
    if code is None:
        raise ReadError(
            f"The voxels of {path.name} are of type {quoted(name)}; one real number for each is read. {_AS_NIFTI}"
        )
    return np.dtype(code).newbyteorder(">" if big else "<")


def _voxel_file(path: Path, name: str) -> Path | None:
    """Return the file beside the header that holds the voxels; None where no file is named."""
    if not name:
        return None
    if name.upper().startswith("LIST") or "%" in name:
        raise ReadError(f"The voxels of {path.name} lie in several files, which is not supported. {_AS_NIFTI}")
    plain = name.removeprefix("./")
    if re.search(r"[/\\:]|^\.\.?$", plain) or not (path.parent / plain).is_file():
        where = "outside its folder" if re.search(r"[/\\:]|^\.", plain) else "missing beside it"
        raise ReadError(f"The voxels of {path.name} are in a file {where}. Put header and voxels into one folder.")
    return path.parent / plain


def _stored(file: Path, sizes: list[int], dtype: np.dtype[Any], *, start: int, skip: int, packing: Packing) -> Stored:
    if not sizes or min(sizes) < 1 or max(sizes) > MOST_VOXELS_ALONG or not -1 <= skip <= MOST_SKIPPED:
        found = quoted(str(sizes[:8]))
        raise ReadError(f"Cannot read {file.name}: its header gives impossible axes ({found}). Copy the file again.")
    shape = [*sizes, *[1] * (3 - len(sizes))]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    with opening(file.name), file.open("rb") as raw:
        raw.seek(start)
        if packing and raw.read(2) == GZIP_MAGIC:
            packing = "gzip"
    stored = Stored(file, tuple(shape), dtype, start, max(0, skip), packing)
    if skip == -1:  # the voxels end where the file ends
        if packing:
            raise ReadError(f"The header of {file.name} counts compressed bytes from the end. {_AS_NIFTI}")
        return Stored(file, tuple(shape), dtype, max(0, file.stat().st_size - stored.promised))
    return stored


def _millimetres(units: list[str], path: Path) -> tuple[float, tuple[str, ...]]:
    named = {unit.strip().lower() for unit in units} - {""}
    if not named:
        return 1.0, ("The header names no unit of length; millimetres are assumed.",)
    if len(named) > 1 or not named <= _MM.keys():
        found = quoted(", ".join(sorted(named)))
        raise ReadError(f"The lengths of {path.name} are in {found}; mm, cm, m and um are read. {_AS_NIFTI}")
    (unit,) = named
    return _MM[unit], () if _MM[unit] == 1 else (f"Lengths were converted from {unit} to millimetres.",)


def _placed(
    path: Path, file: Path | None, kind: str, stored: Stored, placed: NDArray[np.float64], decisions: tuple[str, ...]
) -> ImageFile:
    affine = np.vstack([placed, [0, 0, 0, 1]])
    problem = ""
    try:
        Grid((1, 1, 1), affine)
    except InputError as error:
        problem = f"{path.name} has no usable orientation: {one_line(error)} Correct the header."
    notes = decisions if problem else decisions + shear_notes(affine)
    files = (path, file) if file else (path,)
    return ImageFile(path, files, path.stem, kind, stored, None if problem else affine, notes, problem)
