"""Real series of several makers against the reference conversions that come with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from lesionlens.errors import AmbiguousStackError, IrregularSeriesError, ReadError
from lesionlens.io import list_series, read
from stored import stored_values

PAIRS = (
    "ge/anatomical/001",
    "ge/anatomical/001_implicit",
    "generic/anatomical/001",
    "generic/anatomical/001_implicit",
    "generic/anatomical/002_non_isotropic",
    "generic/compressed/001",
    "generic/compressed_j2k/001",
    "generic/compressed_jpegls/001",
    "generic/compressed_rle/001",
    "hyperfine/anatomical/001",
    "philips_enhanced/anatomical/001",
    "philips_enhanced/anatomical/001_implicit",
    "siemens/anatomical/001",
    "siemens/anatomical/001_implicit",
    "siemens_multiframe/anatomical/001",
    # Filed under "failing" because its tool wants four slices; two lie on a grid like any others.
    "failing/slicecount/001",
)


def canonical(
    array: NDArray[np.generic], affine: NDArray[np.float64]
) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """Return voxels and corner places (8, 3) after bringing the axes to the closest RAS order."""
    image = nib.as_closest_canonical(nib.Nifti1Image(array, affine, dtype=array.dtype))
    values = np.asanyarray(image.dataobj)
    ends = np.array([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (np.array(values.shape) - 1)
    return values, nib.affines.apply_affine(image.affine, ends)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("ending", ["_ground_truth", "_ground_truth_reoriented"])
def test_voxels_and_places_agree_with_the_reference(shared_data: Path, pair: str, ending: str) -> None:
    """Identical voxels, and corners within a thousandth of a millimetre, whatever maker, syntax or frame layout."""
    folder = shared_data / "dicom" / "vendor_pairs" / pair
    reference = nib.load(folder.with_name(folder.name + f"{ending}.nii.gz"))
    stored = np.asanyarray(reference.dataobj)
    expected, expected_corners = canonical(stored.reshape(stored.shape[:3]), reference.affine)

    volume = read(folder)

    values, corners = canonical(volume.array, volume.grid.affine)
    assert volume.source.verdict.regular
    np.testing.assert_allclose(corners, expected_corners, atol=1e-3)
    if expected.dtype.kind == "f":  # rescaled: the reference rounds in its own precision, ours once to float32
        np.testing.assert_allclose(values, expected, rtol=2e-7)
    else:
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize(
    ("name", "places"),
    [
        (
            "gantrytilting/001",
            [r"tilt: the slices are stacked 14 degrees off", "worst position error 3.63 mm"],
        ),
        ("sliceincrement/001", [r"gap: between k=2 and k=3 \(IM-0001-0009.* 10 mm instead of 5 mm", "error 5 mm"]),
        (
            "sliceincrement/002",
            [r"gap: between k=2 and k=3 \(IM-0001-0003.* 1.499 mm", r"tilt: .* 15.5 degrees"],
        ),
    ],
)
def test_irregular_series_are_refused_with_their_places(shared_data: Path, name: str, places: list[str]) -> None:
    """Real gaps and tilts are found where they are.

    The reference of ``sliceincrement/002`` is resampled onto an upright grid, so there is nothing to compare with.
    """
    folder = shared_data / "dicom" / "vendor_pairs" / "failing" / name

    for place in places:
        with pytest.raises(IrregularSeriesError, match=place):
            read(folder)


@pytest.mark.parametrize(
    ("name", "file"), [("gantrytilting/001", "v_Tilt_1.nii"), ("sliceincrement/002", "v_Tilt_Eq_1.nii")]
)
def test_real_tilts_are_resampled_as_dcm2niix_does(shared_data: Path, tmp_path: Path, name: str, file: str) -> None:
    """Same grid; same values but for its rounding to integers, and for the missing slice that it makes up."""
    folder = shared_data / "dicom" / "vendor_pairs" / "failing" / name
    converter = Path(sys.executable).with_name("dcm2niix")
    command = [converter, "-b", "n", "-z", "n", "-f", "v", "-o", tmp_path, folder]
    subprocess.run(command, check=True, capture_output=True)
    image = nib.load(tmp_path / file)

    volume = read(folder, irregular="resample")

    values, corners = canonical(volume.array, volume.grid.affine)
    theirs, their_corners = canonical(np.asanyarray(image.dataobj), image.affine)
    assert volume.valid is not None
    valid, _ = canonical(volume.valid.astype(np.uint8), volume.grid.affine)
    np.testing.assert_allclose(corners, their_corners, atol=1e-3)
    np.testing.assert_allclose(values[valid == 1], theirs[valid == 1], atol=0.51)
    assert valid.mean() > 0.79
    assert (valid.any(axis=(0, 1)) == ([True] * 4 if "tilting" in name else [True, True, True, False, True])).all()


def test_a_real_gap_is_left_empty(shared_data: Path) -> None:
    """The slices keep their values at their places; between them nothing is made up."""
    folder = shared_data / "dicom" / "vendor_pairs" / "failing" / "sliceincrement" / "001"

    volume, kept = read(folder, irregular="resample"), read(folder, irregular="as-is")

    assert volume.valid is not None
    assert volume.valid.all(axis=(0, 1)).tolist() == [True, True, True, False, True]
    np.testing.assert_array_equal(volume.array[:, :, [0, 1, 2, 4]], kept.array)
    np.testing.assert_allclose(volume.grid.world((0, 0, 4))[2], 38.1075, atol=1e-4)
    # The mean step is 20/3 mm: the third slice, at 10 mm, would be at 40/3.
    assert kept.source.verdict.worst_error_mm == pytest.approx(10 / 3, abs=1e-4)


def test_a_single_real_slice_is_refused(shared_data: Path) -> None:
    """One slice is no volume even when its header is complete."""
    with pytest.raises(ReadError, match="found a single slice in MR series 4"):
        read(shared_data / "dicom" / "vendor_pairs" / "ge" / "anatomical" / "001_single_slice")


@pytest.mark.parametrize(
    ("name", "number"), [("12bitUnsigned", 2), ("12bitUnsigned_0x0F0F", 3), ("12bitSigned_0x0F0F", 4)]
)
def test_noise_in_unused_bits_is_removed_from_real_pixels(shared_data: Path, name: str, number: int) -> None:
    """Against the reference conversion, tile by tile: the file is a mosaic of 6 x 6 tiles of 64 x 64 pixels."""
    folder = shared_data / "dicom" / "dcm_qa_12bit"
    reference = np.asanyarray(nib.load(folder / "Ref" / f"{number}.nii").dataobj)

    (mosaic,) = stored_values(folder / "In" / f"{name}.dcm")

    for k in range(reference.shape[2]):
        row, column = divmod(k, 6)
        tile = mosaic[64 * row : 64 * (row + 1), 64 * column : 64 * (column + 1)]
        np.testing.assert_array_equal(tile[::-1].T, reference[:, :, k])  # the reference has its rows upside down


def converted(folder: Path, out: Path, pattern: str) -> list[nib.Nifti1Image]:
    """Return what dcm2niix makes of a folder, ordered by name, axes in the closest RAS order.

    By default it gives Philips images another scale, from a private attribute; ``-p n`` keeps to the standard's slope.
    """
    converter = Path(sys.executable).with_name("dcm2niix")
    subprocess.run(
        [converter, "-b", "n", "-z", "n", "-p", "n", "-f", pattern, "-o", out, folder], check=True, capture_output=True
    )
    return [nib.as_closest_canonical(nib.load(path)) for path in sorted(out.glob("*.nii"))]


def test_a_real_time_series_in_four_files_agrees_with_dcm2niix(shared_data: Path, tmp_path: Path) -> None:
    """Siemens XA: each file is a time point."""
    folder = shared_data / "dicom" / "dcm_qa_enh" / "In" / "Siemens"
    (theirs,) = converted(folder, tmp_path, "time")

    (info,) = list_series(folder)
    with pytest.raises(AmbiguousStackError, match="holds 4 volumes"):
        read(folder)

    assert info.stacks == tuple(f"temporal position {n}" for n in (1, 2, 3, 4))
    assert info.shape == (64, 64, 6, 4)
    for n in range(4):
        volume = read(folder, stack=n)
        values, corners = canonical(volume.array, volume.grid.affine)
        expected, expected_corners = canonical(np.asanyarray(theirs.dataobj)[..., n], theirs.affine)
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_allclose(corners, expected_corners, atol=1e-3)


def test_two_contrasts_in_one_file_agree_with_dcm2niix(shared_data: Path, tmp_path: Path) -> None:
    """Philips: magnitude and field map in Hz, each with a slope of its own, shuffled in one file."""
    folder = shared_data / "dicom" / "dcm_qa_enh" / "In" / "Philips"
    magnitude, fieldmap = converted(folder, tmp_path, "map")

    (info,) = list_series(folder)

    assert info.stacks == ("echo time 0 ms", "echo time 1.52 ms")
    for name, theirs in (("echo time 1.52 ms", magnitude), ("echo time 0 ms", fieldmap)):
        volume = read(folder, stack=name)
        values, corners = canonical(volume.array, volume.grid.affine)
        expected, expected_corners = canonical(np.asanyarray(theirs.dataobj), theirs.affine)
        np.testing.assert_allclose(values, expected, atol=1e-3)
        np.testing.assert_allclose(corners, expected_corners, atol=1e-3)


def test_one_time_point_of_several_files_is_read(shared_data: Path) -> None:
    """Each file of this time series is a volume of its own, so naming one file is a choice."""
    volume = read(shared_data / "dicom" / "dcm_qa_enh" / "In" / "Siemens" / "XA10" / "6_2.dcm")

    assert volume.grid.shape == (64, 64, 6)
    assert volume.grid.axcodes == "LPS"
    np.testing.assert_allclose(volume.grid.spacing_mm[2], 2.4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("seg_image_ct_binary", "expected images, found Segmentation Storage"),
        ("seg_image_ct_true_fractional", "expected images, found Segmentation Storage"),
        ("sr_document", "expected images, found Comprehensive 3D SR Storage"),
        ("ct_image", r"found a single slice in CT series 1 \(ct_image.dcm\)"),
    ],
)
def test_results_in_dicom_are_not_taken_for_scans(shared_data: Path, name: str, message: str) -> None:
    """Segmentations and reports are refused by name; the image beside them has one slice only."""
    with pytest.raises(ReadError, match=message):
        read(shared_data / "dicom_seg" / f"{name}.dcm")


def test_a_folder_of_many_studies_is_listed_and_not_guessed(shared_data: Path) -> None:
    """Everything of the data folder at once: the list holds every series, reading asks for a choice."""
    folder = shared_data / "dicom" / "vendor_pairs"

    found = list_series(folder)

    assert len(found) == 15
    assert sum(info.readable for info in found) == 12
    with pytest.raises(ReadError, match=r"15 series in .* could be meant"):
        read(folder)
    wanted = next(info for info in found if info.number == 201)
    assert read(folder, series=201).grid.shape == wanted.shape
