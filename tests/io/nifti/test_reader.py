from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from lesionlens.errors import ReadError
from lesionlens.io import list_series, read
from orientations import oblique

SHAPE = (7, 5, 4)
GRID = oblique(SHAPE, (0.9, 1.1, 3.0))
VALUES = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) - 40

# The file's affine is in single precision.
SINGLE_MM = 1e-4


def header(values: NDArray[Any], affine: NDArray[np.float64] = GRID.affine, **fields: object) -> nib.Nifti1Image:
    """Return an image with both forms coded as scanner coordinates in mm, and other header fields as given."""
    image = nib.Nifti1Image(values, affine, dtype=values.dtype)
    image.header.set_sform(affine, 1)
    image.header.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    for name, value in fields.items():
        image.header[name] = value
    return image


def file_of(image: nib.Nifti1Image, values: NDArray[Any] = VALUES) -> bytes:
    """Return header and voxels as they stand; nibabel's own writing would make them consistent first."""
    image.header["vox_offset"] = 352
    return bytes(image.header.binaryblock) + bytes(4) + values.tobytes(order="F")


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.NII", "two.dots.nii.gz"])
@pytest.mark.parametrize("version", [nib.Nifti1Image, nib.Nifti2Image], ids=["version 1", "version 2"])
def test_voxels_and_places_are_those_of_the_file(tmp_path: Path, name: str, version: type) -> None:
    """Both versions, packed or not, give the stored voxels on the stored grid."""
    image = version(VALUES, GRID.affine)
    image.header.set_xyzt_units("mm")
    path = tmp_path / name
    path.write_bytes(gzip.compress(image.to_bytes()) if name.endswith("gz") else image.to_bytes())

    volume = read(path)

    np.testing.assert_array_equal(volume.array, VALUES)
    assert volume.array.dtype == np.int16
    np.testing.assert_allclose(volume.grid.corners(), GRID.corners(), atol=SINGLE_MM)
    assert volume.name == name.rsplit(".nii", 1)[0].removesuffix(".NII")
    assert volume.source.format == "nifti"
    assert volume.source.files == (name,)
    assert volume.source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert volume.source.decisions == ()


@pytest.mark.parametrize("given", ["scan.hdr", "scan.img"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_a_pair_is_read_whichever_half_is_given(tmp_path: Path, given: str, packed: bool) -> None:
    """Header and voxels may lie in two files, either of which a user may pick."""
    nib.Nifti1Pair(VALUES, GRID.affine).to_filename(tmp_path / "scan.hdr")
    if packed:
        (tmp_path / "scan.img.gz").write_bytes(gzip.compress((tmp_path / "scan.img").read_bytes()))
        (tmp_path / "scan.img").unlink()
        given = given.replace(".img", ".img.gz")
    image = "scan.img.gz" if packed else "scan.img"

    volume = read(tmp_path / given)

    np.testing.assert_array_equal(volume.array, VALUES)
    assert volume.source.files == ("scan.hdr", image)
    assert volume.name == "scan"


TYPES: dict[str, tuple[type, type]] = {
    "uint8": (np.uint8, np.uint8),
    "int8": (np.int8, np.int8),
    "int16": (np.int16, np.int16),
    "uint16": (np.uint16, np.uint16),
    "int32": (np.int32, np.int32),
    "uint32": (np.uint32, np.uint32),
    "int64 that fits": (np.int64, np.int32),
    "uint64 that fits": (np.uint64, np.int32),
    "float32": (np.float32, np.float32),
    "float64": (np.float64, np.float32),
}


@pytest.mark.parametrize(("stored", "expected"), TYPES.values(), ids=TYPES.keys())
@pytest.mark.parametrize("order", ["<", ">"], ids=["little endian", "big endian"])
def test_every_scalar_type_in_both_byte_orders(tmp_path: Path, stored: type, expected: type, order: str) -> None:
    """Integers stay integers, real numbers become single precision, all in this machine's byte order."""
    values = np.abs(VALUES) if stored().dtype.kind == "u" else VALUES
    little = header(values.astype(stored))
    image = nib.Nifti1Image(values.astype(stored), GRID.affine, little.header.as_byteswapped(order))
    (tmp_path / "scan.nii").write_bytes(image.to_bytes())

    volume = read(tmp_path / "scan.nii")

    np.testing.assert_array_equal(volume.array, values)
    assert volume.array.dtype == expected
    assert volume.array.dtype.isnative
    np.testing.assert_allclose(volume.grid.corners(), GRID.corners(), atol=SINGLE_MM)


@pytest.mark.parametrize("stored", [np.int64, np.uint64])
def test_integers_beyond_32_bits_are_kept_and_it_is_said(tmp_path: Path, stored: type) -> None:
    """Nothing is cut off or rounded: single precision would make all of these the same number."""
    values = np.abs(VALUES).astype(stored) + stored(2**40)
    header(values).to_filename(tmp_path / "scan.nii")

    volume = read(tmp_path / "scan.nii")

    np.testing.assert_array_equal(volume.array, values.astype(np.int64))
    assert volume.array.dtype == np.int64
    assert volume.source.decisions == (
        f"64-bit integers from {values.min()} to {values.max()} are kept; calculations in single precision round them.",
    )


def test_integers_that_need_all_64_bits_are_refused(tmp_path: Path) -> None:
    """No signed type holds them, so they would turn negative."""
    values = np.full(SHAPE, 2**63, np.uint64)
    (tmp_path / "scan.nii").write_bytes(file_of(header(values), values))

    with pytest.raises(ReadError, match=r"Expected integers below 2\^63 in scan\.nii; found 9223372036854775808"):
        read(tmp_path / "scan.nii")


@pytest.mark.parametrize(("slope", "intercept"), [(0.5, 0.0), (2.0, -7.0), (-1.5, 3.25), (1.0, 10.0)])
def test_scaling_is_applied_once(tmp_path: Path, slope: float, intercept: float) -> None:
    """The value is stored * slope + intercept, in single precision."""
    image = header(VALUES)
    image.header.set_slope_inter(slope, intercept)
    (tmp_path / "scan.nii").write_bytes(file_of(image))

    volume = read(tmp_path / "scan.nii")

    np.testing.assert_array_equal(volume.array, VALUES * slope + intercept)
    assert volume.array.dtype == np.float32


@pytest.mark.parametrize(
    ("slope", "said"),
    [(0.0, ""), (np.nan, ""), (1.0, ""), (np.inf, "scl_slope is inf,"), (-np.inf, "scl_slope is -inf,")],
)
def test_no_scaling_keeps_the_integers(tmp_path: Path, slope: float, said: str) -> None:
    """A slope of 0 or NaN means that there is none; an infinite one means nothing, which is said."""
    image = header(VALUES)
    image.header["scl_slope"], image.header["scl_inter"] = slope, 0
    (tmp_path / "scan.nii").write_bytes(file_of(image))

    volume = read(tmp_path / "scan.nii")

    np.testing.assert_array_equal(volume.array, VALUES)
    assert volume.array.dtype == np.int16
    scaled = [decision for decision in volume.source.decisions if "scl_slope" in decision]
    assert [decision.endswith("the values are not scaled.") for decision in scaled] == [True] * bool(said)
    assert all(decision.startswith(said) for decision in scaled)


def turned(degrees: float) -> NDArray[np.float64]:
    """Return the grid's affine turned about z through the world's origin."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ GRID.affine


def test_the_sform_wins_and_the_disagreement_is_reported_in_mm(tmp_path: Path) -> None:
    """Two coordinate systems in one file: which one was used, and how far apart they are, is on record."""
    image = header(VALUES)
    image.header.set_qform(turned(5.0), 1)
    image.to_filename(tmp_path / "scan.nii")
    ends = [(i, j, k) for i in (0, 6) for j in (0, 4) for k in (0, 3)]
    apart = np.linalg.norm(apply_affine(GRID.affine, ends) - apply_affine(turned(5.0), ends), axis=1).max()

    volume = read(tmp_path / "scan.nii")

    np.testing.assert_allclose(volume.grid.corners(), GRID.corners(), atol=SINGLE_MM)
    assert volume.source.decisions == (f"The sform and the qform disagree by up to {apart:.3g} mm; the sform is used.",)


def test_rounding_of_the_quaternion_is_no_disagreement(tmp_path: Path) -> None:
    """Half turns are where single-precision quaternions are worst; a real file must not be called inconsistent."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ oblique((200, 200, 150), (1.0, 1.0, 1.0), degrees=0.01).affine
    header(np.zeros((200, 200, 150), np.uint8), affine).to_filename(tmp_path / "scan.nii")

    assert read(tmp_path / "scan.nii").source.decisions == ()


def test_the_qform_serves_where_there_is_no_sform(tmp_path: Path) -> None:
    """Many tools write the qform only."""
    image = header(VALUES, turned(5.0))
    image.header.set_sform(None, 0)
    image.to_filename(tmp_path / "scan.nii")

    volume = read(tmp_path / "scan.nii")

    np.testing.assert_allclose(volume.grid.affine, turned(5.0), atol=SINGLE_MM)
    assert volume.source.decisions == ("The sform is not set; the qform (code 1) is used.",)


def test_the_qform_serves_where_the_sform_cannot_be_inverted(tmp_path: Path) -> None:
    """A coded sform of zeros exists in the wild."""
    image = header(VALUES)
    image.header["srow_x"] = 0
    (tmp_path / "scan.nii").write_bytes(file_of(image))

    volume = read(tmp_path / "scan.nii")

    np.testing.assert_allclose(volume.grid.corners(), GRID.corners(), atol=SINGLE_MM)
    assert "The sform cannot be used (The affine cannot be inverted" in volume.source.decisions[0]


def test_the_sform_alone_is_taken_without_remark(tmp_path: Path) -> None:
    """The first rule applies: nothing to decide."""
    image = header(VALUES)
    image.header.set_qform(None, 0)
    image.to_filename(tmp_path / "scan.nii")

    volume = read(tmp_path / "scan.nii")

    np.testing.assert_allclose(volume.grid.corners(), GRID.corners(), atol=SINGLE_MM)
    assert volume.source.decisions == ()


@pytest.mark.parametrize("qfac", [0.0, 1.0, 7.0])
def test_a_qfac_that_is_not_minus_one_counts_as_one(tmp_path: Path, qfac: float) -> None:
    """The standard says so, and old files hold 0."""
    image = header(VALUES)
    image.header.set_sform(None, 0)
    image.header["pixdim"][0] = qfac
    (tmp_path / "scan.nii").write_bytes(file_of(image))

    np.testing.assert_allclose(read(tmp_path / "scan.nii").grid.corners(), GRID.corners(), atol=SINGLE_MM)


def test_a_sheared_sform_is_kept_and_said(tmp_path: Path) -> None:
    """Registration tools write shears; refusing them, as ITK does, locks users out."""
    sheared = GRID.affine @ np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    image = header(VALUES)
    image.header.set_sform(sheared, 2)
    image.header.set_qform(None, 0)
    (tmp_path / "scan.nii").write_bytes(file_of(image))

    volume = read(tmp_path / "scan.nii")

    np.testing.assert_allclose(volume.grid.affine, sheared, atol=SINGLE_MM)
    # The second axis gains 0.2 * 0.9 mm along the first: it leans by atan(0.18 / 1.1).
    leaning = np.degrees(np.arctan(0.18 / 1.1))
    assert volume.source.decisions == (
        f"The axes are not at right angles (by {leaning:.2g} degrees); they are kept as they are.",
    )


@pytest.mark.parametrize(
    ("code", "factor", "decision"),
    [
        (0, 1.0, "The header names no unit of length; millimetres are assumed."),
        (1, 1e3, "Lengths were converted from metres to millimetres."),
        (2, 1.0, None),
        (3, 1e-3, "Lengths were converted from micrometres to millimetres."),
        (2 + 8, 1.0, None),
    ],
    ids=["unknown", "metres", "millimetres", "micrometres", "millimetres and seconds"],
)
def test_lengths_are_brought_to_millimetres(tmp_path: Path, code: int, factor: float, decision: str | None) -> None:
    """The unit in the header counts for sform and qform alike."""
    in_file = np.diag([1 / factor, 1 / factor, 1 / factor, 1]) @ GRID.affine
    header(VALUES, in_file, xyzt_units=code).to_filename(tmp_path / "scan.nii")

    volume = read(tmp_path / "scan.nii")

    np.testing.assert_allclose(volume.grid.corners(), GRID.corners(), atol=SINGLE_MM)
    assert volume.source.decisions == ((decision,) if decision else ())


@pytest.mark.parametrize("shape", [(*SHAPE, 1), (*SHAPE, 1, 1)])
def test_trailing_axes_of_one_are_dropped(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """A 4D file with one volume is a 3D volume."""
    header(VALUES.reshape(shape)).to_filename(tmp_path / "scan.nii")

    np.testing.assert_array_equal(read(tmp_path / "scan.nii").array, VALUES)


def test_list_series_describes_a_file_by_its_header(tmp_path: Path) -> None:
    """Grid and orientation come from the header alone; compressed voxels may even be missing."""
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(file_of(header(VALUES))[:352]))

    (info,) = list_series(tmp_path / "scan.nii.gz")

    assert info.readable
    assert (info.format, info.shape, info.n_slices, info.axcodes) == ("nifti", SHAPE, 4, GRID.axcodes)
    np.testing.assert_allclose(info.spacing_mm, (0.9, 1.1, 3.0), atol=1e-6)
    assert info.files == ("scan.nii.gz",)


def test_list_series_says_why_a_file_is_no_volume(tmp_path: Path) -> None:
    """A single slice is listed with its shape and the reason why it cannot be read."""
    header(np.zeros((7, 5, 1), np.int16)).to_filename(tmp_path / "slice.nii.gz")

    (info,) = list_series(tmp_path / "slice.nii.gz")

    assert not info.readable
    assert info.shape == (7, 5, 1)
    assert "found a single slice" in str(info.verdict)


def test_simpleitk_agrees(tmp_path: Path) -> None:
    """An independent reader finds every voxel at the same place."""
    header(VALUES.astype(np.float32)).to_filename(tmp_path / "scan.nii.gz")
    image = SimpleITK.ReadImage(str(tmp_path / "scan.nii.gz"))

    volume = read(tmp_path / "scan.nii.gz")

    np.testing.assert_array_equal(volume.array, SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0))
    for ijk in ((0, 0, 0), (6, 0, 0), (0, 4, 0), (0, 0, 3), (6, 4, 3)):
        lps = image.TransformIndexToPhysicalPoint(ijk)
        np.testing.assert_allclose(volume.grid.world(ijk), np.multiply(lps, [-1, -1, 1]), atol=1e-3)


@pytest.mark.parametrize("name", ["ms/patient07_FLAIR", "stroke/M2208_T2w", "ct/example_ct", "ct/example_seg"])
def test_nibabel_agrees_on_real_files(shared_data: Path, name: str) -> None:
    """Voxels and affine of real scans are those that nibabel finds."""
    path = shared_data / f"{name}.nii.gz"
    image = nib.load(path)

    volume = read(path)

    np.testing.assert_array_equal(volume.array, np.asanyarray(image.dataobj).astype(volume.array.dtype))
    np.testing.assert_allclose(volume.grid.affine, image.affine, atol=1e-5)
