from __future__ import annotations

import gzip
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from dicom_factory import Plan, make_series
from lesionlens.errors import OutputError
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.io import read, write, write_labels
from lesionlens.io.nifti import writer
from lesionlens.volume import Grid, Volume
from orientations import ORIENTATIONS, Orientation, oblique, reoriented

GRID = oblique((7, 5, 4), (0.9, 1.1, 3.0))
VALUES = np.linspace(-1.5, 2.5, 140, dtype=np.float32).reshape(7, 5, 4)

# The file's affine is in single precision.
SINGLE_MM = 1e-4


def heatmap(values: NDArray[np.float32] = VALUES, grid: Grid = GRID) -> Heatmap:
    """Return a signed map."""
    return Heatmap(Volume(values, grid), "attribution", "lesion", True, Provenance(method="gradcam"))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_survives_writing_and_reading(tmp_path: Path, orientation: Orientation) -> None:
    """Raw values and true places come back for each of the 48 axis orders of an oblique grid."""
    values, grid = reoriented(VALUES, GRID, orientation)

    written = write(heatmap(values, grid), tmp_path / "cam.nii.gz")
    back = read(written)

    np.testing.assert_array_equal(back.array, values)
    np.testing.assert_allclose(back.grid.affine, grid.affine, atol=SINGLE_MM)
    assert back.source.decisions == ()


@pytest.mark.parametrize("name", ["cam.nii", "cam.nii.gz", "CAM.NII.GZ"])
def test_other_programs_read_what_was_written(tmp_path: Path, name: str) -> None:
    """Nibabel and ITK, which use different forms of the affine, find every value at its place."""
    path = write(heatmap(), tmp_path / name)
    content = path.read_bytes()
    image = nib.Nifti1Image.from_bytes(content if name.endswith(".nii") else gzip.decompress(content))

    np.testing.assert_array_equal(np.asanyarray(image.dataobj), VALUES)
    assert image.get_data_dtype() == np.float32
    np.testing.assert_allclose(image.get_sform(), GRID.affine, atol=SINGLE_MM)
    np.testing.assert_allclose(image.get_qform(), GRID.affine, atol=SINGLE_MM)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert b"research use only" in bytes(image.header["descrip"].item())
    itk = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(itk).transpose(2, 1, 0), VALUES)
    for ijk in ((0, 0, 0), (6, 0, 0), (0, 4, 0), (0, 0, 3)):
        lps = itk.TransformIndexToPhysicalPoint(ijk)
        np.testing.assert_allclose(np.multiply(lps, [-1, -1, 1]), GRID.world(ijk), atol=1e-3)


def test_sheared_grids_get_no_qform(tmp_path: Path) -> None:
    """A quaternion cannot hold a shear: a wrong second coordinate system is worse than none."""
    sheared = Grid(GRID.shape, GRID.affine @ np.array([[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))

    path = write(heatmap(grid=sheared), tmp_path / "cam.nii")

    image = nib.load(path)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (2, 0)
    np.testing.assert_allclose(read(path).grid.affine, sheared.affine, atol=SINGLE_MM)


def test_a_nearly_upright_grid_keeps_its_qform(tmp_path: Path) -> None:
    """Rounding of direction cosines is no shear."""
    affine = GRID.affine.copy()
    affine[0, 1] += 5e-5

    path = write(heatmap(grid=Grid(GRID.shape, affine)), tmp_path / "cam.nii")

    assert int(nib.load(path).header["qform_code"]) == 2


def test_maps_on_dicom_scans_are_in_scanner_coordinates(tmp_path: Path) -> None:
    """DICOM's world is the scanner's; for other scans only the alignment to them is claimed."""
    make_series(tmp_path / "dicom", Plan())
    scan = read(tmp_path / "dicom")
    values = np.zeros(scan.grid.shape, np.float32)

    path = write(Heatmap(scan.with_array(values), "probability", "x", False, Provenance()), tmp_path / "p.nii")
    labels = write_labels(values.astype(np.int32), scan, tmp_path / "l.nii")

    assert int(nib.load(path).header["sform_code"]) == 1
    assert int(nib.load(labels).header["sform_code"]) == 1
    assert int(nib.load(write(heatmap(), tmp_path / "c.nii")).header["sform_code"]) == 2


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, np.uint8),
        (0, 255, np.uint8),
        (0, 256, np.uint16),
        (0, 65536, np.uint32),
        (-1, 100, np.int8),
        (-1024, 3071, np.int16),
        (-1, 2**31 - 1, np.int32),
    ],
)
def test_integers_are_written_in_the_smallest_type(tmp_path: Path, low: int, high: int, expected: type) -> None:
    """Labels take one byte where one suffices, and no value changes."""
    values = np.zeros(GRID.shape, np.int64)
    values[0, 0, 0], values[6, 4, 3] = low, high

    path = write(Volume(values, GRID, name="labels"), tmp_path / "labels.nii.gz")

    assert nib.load(path).get_data_dtype() == expected
    np.testing.assert_array_equal(read(path).array, values)


def test_integers_beyond_32_bits_are_refused(tmp_path: Path) -> None:
    """Nothing is cut off silently."""
    with pytest.raises(OutputError, match=r"Integers from 0 to 4294967296 do not fit into 32 bits"):
        write(Volume(np.full(GRID.shape, 2**32) * (np.arange(4) > 0), GRID), tmp_path / "labels.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_labels_are_written_on_a_grid_alone(tmp_path: Path) -> None:
    """Label arrays need no volume around them."""
    labels = np.arange(140, dtype=np.uint32).reshape(GRID.shape)

    path = write_labels(labels, GRID, tmp_path / "regions.nii.gz")

    np.testing.assert_array_equal(read(path).array, labels)
    assert read(path).array.dtype == np.uint8
    assert read(path).grid.same_as(GRID)


def test_double_precision_is_written_as_single(tmp_path: Path) -> None:
    """Real numbers are float32 in every output."""
    path = write(Volume(VALUES.astype(np.float64), GRID), tmp_path / "x.nii")

    assert nib.load(path).get_data_dtype() == np.float32


@pytest.mark.parametrize("order", ["C", "F"])
def test_same_input_gives_same_bytes(tmp_path: Path, order: str) -> None:
    """Neither time, nor name, nor memory layout shows in the file."""
    first = write(heatmap(), tmp_path / "first.nii.gz")
    second = write(heatmap(np.array(VALUES, order=order)), tmp_path / "second.nii.gz")

    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", ["cam.img", "cam.gz", "cam", "cam.nii.bz2", "cam.nrrd"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    """A suffix that promises another format is a mistake."""
    with pytest.raises(OutputError, match=f"ending in .nii or .nii.gz; found '{name}'"):
        write(heatmap(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_kept_unless_overwriting_is_allowed(tmp_path: Path) -> None:
    """Results are never lost silently."""
    path = tmp_path / "cam.nii"
    path.write_text("precious")

    with pytest.raises(
        OutputError, match=r"cam\.nii exists already. Choose another name, or allow it with --overwrite"
    ):
        write(heatmap(), path)
    assert path.read_text() == "precious"

    write(heatmap(), path, overwrite=True)
    np.testing.assert_array_equal(read(path).array, VALUES)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """The error says where, before any work is lost."""
    with pytest.raises(OutputError, match=r"Cannot write .*gone.*: No such file or directory"):
        write(heatmap(), tmp_path / "gone" / "cam.nii")


def test_axes_too_long_for_the_format_are_refused(tmp_path: Path) -> None:
    """NIfTI-1 counts in 16 bits."""
    grid = Grid((40000, 1, 1), np.eye(4))

    with pytest.raises(OutputError, match="at most 32767 voxels along an axis; found shape"):
        write(Volume(np.zeros(grid.shape, np.uint8), grid), tmp_path / "x.nii")


@pytest.fixture
def failing_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the disk full after the header."""

    def full(stream: BinaryIO, head: bytes, values: object) -> None:
        del values
        stream.write(head)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "_write_parts", full)


@pytest.mark.usefixtures("failing_disk")
@pytest.mark.parametrize("name", ["cam.nii", "cam.nii.gz"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    """Half a file would look like a result."""
    with pytest.raises(OutputError, match=r"No space left on device. Choose a place that you may write to"):
        write(heatmap(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []
