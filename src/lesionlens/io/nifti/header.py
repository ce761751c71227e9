"""NIfTI-1 and NIfTI-2 headers: what the file promises, and where its voxels lie in the world.

The orientation rule, in this order:

1. the **sform**, if its code is above 0 and it can be inverted;
2. else the **qform**, if its code is above 0 and it is valid;
3. else the file is refused: its header says that it does not know left from right (as ANALYZE 7.5 never does), and a
   guess would put findings on the wrong side of the patient.

Where both are coded and disagree, the sform is used and the disagreement is reported in millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from lesionlens.errors import InputError, ReadError
from lesionlens.io.boundary import one_line, quiet, reading
from lesionlens.io.image_file import shear_notes
from lesionlens.volume import Grid

__all__ = ["HEADER_BYTES", "NiftiHeader", "parse_header"]

# The longer of the two headers (NIfTI-2).
HEADER_BYTES = 540

# sizeof_hdr, read in either byte order, tells the version.
_VERSIONS = {348: Nifti1Header, 540: Nifti2Header}

# The qform is a quaternion in single precision: near half a turn its rotation is only good to 3e-4, which is 0.06 mm
# at 200 mm from the origin. Less than this is rounding, not disagreement.
QFORM_AGREES_MM = 0.1

# xyzt_units, bits 0-2: unit of length and its size in mm. 0 means unknown.
_UNITS = {1: ("metres", 1e3), 2: ("millimetres", 1.0), 3: ("micrometres", 1e-3)}

_NOT_SET = "its code is 0"

# datatype codes that hold one real number, and those that do not, by name.
_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_REFUSED_TYPES = {
    1: "single bits", 32: "complex numbers", 128: "RGB colours", 1536: "128-bit floats", 1792: "complex numbers",
    2048: "complex numbers", 2304: "RGBA colours",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What a NIfTI header promises.

    Parameters
    ----------
    shape
        All axes with more than one voxel, at least three; more than three when the file holds several volumes.
    affine
        Voxel index to RAS+ mm; None when the header gives no usable orientation (``problem`` says why).
    dtype
        As stored, byte order included.
    offset
        Where the voxels begin in their file, in bytes.
    slope, intercept
        value = stored * slope + intercept; 1 and 0 when the header asks for no scaling.
    decisions
        One sentence for everything that was not obvious.
    problem
        Why there is no usable orientation; empty when there is one.
    single_file
        False for a ``.hdr``/``.img`` pair.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64] | None
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    decisions: tuple[str, ...]
    problem: str
    single_file: bool


def parse_header(raw: bytes, name: str) -> NiftiHeader:
    """Return what the first bytes of a file promise.

    Parameters
    ----------
    raw
        The first :data:`HEADER_BYTES` bytes, uncompressed, or all if there are fewer.
    name
        File name for messages.

    Raises
    ------
    ReadError
        If the bytes are no NIfTI header.
    """
    header = _header_struct(raw, name)
    with reading(f"Cannot read {name}: its NIfTI header is damaged", HeaderDataError, WrapStructError), quiet():
        dims = _dims(header, name)
        dtype = _dtype(header, name)
        slope, intercept, scaling = _scaling(header, name)
        affine, decisions, problem = _orientation(header, dims, name)
        return NiftiHeader(
            shape=dims,
            affine=affine,
            dtype=dtype,
            offset=_offset(header, name),
            slope=slope,
            intercept=intercept,
            decisions=(*scaling, *decisions),
            problem=problem,
            single_file=_is_single_file(header),
        )


def _header_struct(raw: bytes, name: str) -> Any:  # nibabel's header classes are typed only in part
    size = {int.from_bytes(raw[:4], order) for order in ("little", "big")} & _VERSIONS.keys()
    if not size:
        raise ReadError(f"{name} is not a NIfTI file: it does not begin with a NIfTI header. Check the file.")
    kind = _VERSIONS[size.pop()]
    if len(raw) < kind.template_dtype.itemsize:
        raise ReadError(f"{name} ends inside its NIfTI header ({len(raw)} bytes). Copy the file again.")
    with reading(f"Cannot read {name}: its NIfTI header is damaged", HeaderDataError, WrapStructError), quiet():
        header = kind.from_fileobj(BytesIO(raw[: kind.template_dtype.itemsize]), check=False)
    magic = bytes(header["magic"].item())[:3]
    if magic not in (b"n+1", b"ni1", b"n+2", b"ni2"):
        raise ReadError(
            f"{name} is not NIfTI but ANALYZE 7.5, which cannot tell left from right. "
            "Convert it with a tool that knows how it was made."
        )
    return header


def _dims(header: Any, name: str) -> tuple[int, ...]:
    dim = [int(n) for n in header["dim"]]
    n_axes = dim[0]
    if not 1 <= n_axes <= 7 or min(dim[1 : n_axes + 1]) < 1:
        raise ReadError(f"Cannot read {name}: its header gives impossible axes (dim = {dim}). Copy the file again.")
    shape = [*dim[1 : n_axes + 1], *[1] * (3 - n_axes)]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


def _dtype(header: Any, name: str) -> np.dtype[Any]:
    code = int(header["datatype"])
    if code in _REFUSED_TYPES:
        raise ReadError(
            f"Expected real numbers in {name}; found {_REFUSED_TYPES[code]}. Save one real number for each voxel "
            "(the magnitude of complex numbers, the image before it was coloured)."
        )
    if code not in _TYPES:
        raise ReadError(f"Cannot read {name}: NIfTI has no data type {code}. Copy the file again.")
    return np.dtype(_TYPES[code]).newbyteorder(header.endianness)


def _offset(header: Any, name: str) -> int:
    offset = float(header["vox_offset"])
    first = header.single_vox_offset if _is_single_file(header) else 0
    if not np.isfinite(offset) or offset < first or offset != int(offset):
        raise ReadError(f"Cannot read {name}: its voxels cannot begin at byte {offset:g}. Copy the file again.")
    return int(offset)


def _is_single_file(header: Any) -> bool:
    return bytes(header["magic"].item())[:2] == b"n+"


def _scaling(header: Any, name: str) -> tuple[float, float, tuple[str, ...]]:
    """Return slope and intercept, and what has to be said of them.

    The standard says that a slope of 0 means no scaling, and writers use NaN as well. Nobody means anything by an
    infinite one; nibabel passes over it, too, others make infinite values of it.
    """
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0, ()
    if np.isinf(slope):
        return 1.0, 0.0, (f"scl_slope is {slope:g}, by which nothing can be multiplied; the values are not scaled.",)
    if not np.isfinite(intercept):
        raise ReadError(f"Cannot read {name}: scl_slope is {slope:g} but scl_inter is {intercept}. Correct the header.")
    return slope, intercept, ()


def _orientation(
    header: Any, shape: tuple[int, ...], name: str
) -> tuple[NDArray[np.float64] | None, tuple[str, ...], str]:
    """Apply the orientation rule; return affine in mm, decisions, and the problem where no affine is usable."""
    unit, mm = _UNITS.get(int(header["xyzt_units"]) & 7, ("", 1.0))
    box = (shape[0], shape[1], shape[2])
    sform, s_reason = _valid(box, _sform(header), mm)
    qform, q_reason = _valid(box, _qform(header), mm)
    decisions = []
    if not unit:
        decisions.append("The header names no unit of length; millimetres are assumed.")
    elif mm != 1:
        decisions.append(f"Lengths were converted from {unit} to millimetres.")
    chosen = qform if sform is None else sform
    if chosen is None:
        return None, (), _no_orientation(name, s_reason, q_reason)
    if sform is None:
        why = "is not set" if s_reason == _NOT_SET else f"cannot be used ({s_reason})"
        decisions.append(f"The sform {why}; the qform (code {int(header['qform_code'])}) is used.")
    elif qform is None:
        if q_reason != _NOT_SET:
            decisions.append(f"The qform cannot be used ({q_reason}); the sform is used.")
    else:
        apart = float(np.linalg.norm(sform.corners() - qform.corners(), axis=1).max())
        if apart > QFORM_AGREES_MM:
            decisions.append(f"The sform and the qform disagree by up to {apart:.3g} mm; the sform is used.")
    return chosen.affine, (*decisions, *shear_notes(chosen.affine)), ""


def _valid(shape: tuple[int, int, int], affine: NDArray[Any] | str, mm: float) -> tuple[Grid | None, str]:
    """Return a grid in mm, or None and why there is none."""
    if isinstance(affine, str):
        return None, affine
    try:
        return Grid(shape, np.diag([mm, mm, mm, 1.0]) @ affine), ""
    except InputError as error:
        return None, one_line(error).rstrip(".")


def _sform(header: Any) -> NDArray[np.float64] | str:
    if int(header["sform_code"]) <= 0:
        return _NOT_SET
    return np.vstack([header["srow_x"], header["srow_y"], header["srow_z"], [0, 0, 0, 1]]).astype(np.float64)


def _qform(header: Any) -> NDArray[np.float64] | str:
    if int(header["qform_code"]) <= 0:
        return _NOT_SET
    header = header.copy()
    if header["pixdim"][0] not in (-1, 1):  # qfac: the standard says that anything else counts as 1
        header["pixdim"][0] = 1
    header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])
    try:
        return np.asarray(header.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError, ArithmeticError) as error:
        return one_line(error).rstrip(".")


def _no_orientation(name: str, s_reason: str, q_reason: str) -> str:
    if s_reason == q_reason == _NOT_SET:
        return (
            f"{name} does not say how the patient lies in it (sform_code and qform_code are 0), so left and right are "
            "unknown. Set one of them with a tool that knows how the file was made."
        )
    return f"{name} has no usable orientation: sform: {s_reason}; qform: {q_reason}. Correct the header."
