"""Volumes and heatmaps to NIfTI files: raw values on the grid of the scan.

The same input gives the same bytes: the gzip header carries neither time nor name. (Another release of the compression
library may pack the same bytes differently.)
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from lesionlens.errors import OutputError
from lesionlens.heatmap import Heatmap
from lesionlens.io.atomic import atomic_path
from lesionlens.io.gzipped import gzip_writer
from lesionlens.volume import Grid, Volume

__all__ = ["write", "write_labels"]

# xyzt_units: millimetres.
_MILLIMETRES = 2

# What the world is, for sform and qform: the scanner's patient coordinates where the scan came as DICOM; otherwise only
# that the file is aligned to another one, the scan, which may lie in a template's space.
_SCANNER, _ALIGNED = 1, 2

# A quaternion holds rotations only: axes further from right angles than this cosine (0.02 mm over 200 mm) get no qform.
_RIGHT_ANGLE_COSINE = 1e-4

# NIfTI-1 counts voxels in 16 bits.
_LONGEST_AXIS = 32767

_CHUNK = 1 << 24  # bytes handed to the compressor at a time


def write(item: Heatmap | Volume, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write raw values as ``.nii`` or ``.nii.gz``, on the item's own grid.

    Real numbers are written as float32 without scaling, integers in the smallest type that holds them. The affine goes
    into the sform, and into the qform as well where the axes are at right angles.

    Parameters
    ----------
    item
        Heatmap or volume.
    path
        File to make, in a folder that exists.
    overwrite
        Replace an existing file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputError
        If the file exists, has another suffix, or cannot be written. Nothing half-written stays behind.

    Examples
    --------
    >>> write(cam, "cam.nii.gz")                           # doctest: +SKIP
    """
    volume = item.volume if isinstance(item, Heatmap) else item
    values = volume.array
    if isinstance(item, Heatmap) or values.dtype.kind == "f":
        values = values.astype(np.float32, copy=False)
    else:
        values = _smallest(values)
    title = f"{item.kind} {item.label}" if isinstance(item, Heatmap) else volume.name
    code = _SCANNER if volume.source.format == "dicom" else _ALIGNED
    return _write(values, volume.grid, Path(path), title=title, code=code, overwrite=overwrite)


def write_labels(
    labels: NDArray[np.integer[Any]],
    on: Volume | Grid,
    path: str | os.PathLike[str],
    *,
    title: str = "labels",
    overwrite: bool = False,
) -> Path:
    """Write a label array on the grid of its scan, in the smallest unsigned type that holds its largest label.

    Parameters
    ----------
    labels
        (i, j, k) integers from 0.
    on
        The scan that the labels lie on, or its grid.
    path, overwrite
        As for :func:`write`.
    title
        Goes into the header's description.

    Raises
    ------
    OutputError
        As for :func:`write`.
    """
    volume = on.with_array(labels, name=title, unit="") if isinstance(on, Volume) else Volume(labels, on, name=title)
    return write(volume, path, overwrite=overwrite)


def _smallest(values: NDArray[Any]) -> NDArray[Any]:
    """Return integers in the smallest type that holds them, unsigned where none is negative."""
    low, high = int(values.min()), int(values.max())
    kinds = (np.uint8, np.uint16, np.uint32) if low >= 0 else (np.int8, np.int16, np.int32)
    for kind in kinds:
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return values.astype(kind, copy=False)
    raise OutputError(f"Integers from {low} to {high} do not fit into 32 bits. Convert them to float32 first.")


def _write(values: NDArray[Any], grid: Grid, path: Path, *, title: str, code: int, overwrite: bool) -> Path:
    name = path.name.lower()
    if not name.endswith((".nii", ".nii.gz")):
        raise OutputError(f"Expected a file name ending in .nii or .nii.gz; found {path.name!r}. Change the name.")
    if max(grid.shape) > _LONGEST_AXIS:
        raise OutputError(f"NIfTI-1 holds at most {_LONGEST_AXIS} voxels along an axis; found shape {grid.shape}.")
    head = _header(values.dtype, grid, title, code)
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("wb") as raw:
        if name.endswith(".gz"):
            with gzip_writer(raw) as packed:
                _write_parts(packed, head, values)
        else:
            _write_parts(raw, head, values)
    return path


def _write_parts(stream: Any, head: bytes, values: NDArray[Any]) -> None:
    stream.write(head)
    data = np.ascontiguousarray(values.T).reshape(-1).view(np.uint8).data  # NIfTI counts i fastest
    for start in range(0, len(data), _CHUNK):
        stream.write(data[start : start + _CHUNK])


def _header(dtype: np.dtype[Any], grid: Grid, title: str, code: int) -> bytes:
    """Return the 352 bytes before the voxels: NIfTI-1 header and the empty list of extensions."""
    header = Nifti1Header(endianness="<")
    header.set_data_dtype(dtype)
    header.set_data_shape(grid.shape)
    header.set_zooms(grid.spacing_mm)
    header["xyzt_units"] = _MILLIMETRES
    header["vox_offset"] = 352
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["descrip"] = f"LesionLens {title}; research use only".encode("ascii", "replace")[:79]
    header["magic"] = b"n+1"
    header.set_sform(grid.affine, code)
    axes = grid.affine[:3, :3] / np.array(grid.spacing_mm)
    if np.abs((axes.T @ axes)[np.triu_indices(3, 1)]).max() <= _RIGHT_ANGLE_COSINE:
        header.set_qform(grid.affine, code)
    return bytes(header.binaryblock) + bytes(4)
