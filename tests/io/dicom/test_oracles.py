"""Series made by numbers, converted by programs that share no code with ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from pydicom.dataset import Dataset

from dicom_factory import CORONAL, SAGITTAL, Plan, make_enhanced, make_series, oblique, voxel_ras
from lesionlens.io import read
from lesionlens.volume import Volume

PLANS = {
    "axial": Plan(shape=(24, 20, 6), bits=14),
    "sagittal": Plan(shape=(24, 20, 6), bits=14, orientation=SAGITTAL),
    "coronal, signed": Plan(shape=(24, 20, 6), orientation=CORONAL, signed=True),
    "oblique": Plan(shape=(24, 20, 6), orientation=oblique((12.0, -7.0, 25.0)), spacing=(0.9, 1.3, 4.0)),
    "prone": Plan(shape=(24, 20, 6), orientation=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0), modality="CT", signed=True),
    "feet first, decubitus": Plan(shape=(24, 20, 6), orientation=(0.0, 1.0, 0.0, 1.0, 0.0, 0.0), modality="CT"),
    "oblique, implicit": Plan(shape=(24, 20, 6), orientation=oblique((65.0, 20.0, -40.0)), implicit=True),
}


def canonical(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bring voxels and affine to the closest RAS order."""
    image = nib.as_closest_canonical(nib.Nifti1Image(array, affine, dtype=array.dtype))
    return np.asanyarray(image.dataobj), image.affine


def assert_same(volume: Volume, array: np.ndarray, affine: np.ndarray) -> None:
    """Compare two volumes after bringing both to one orientation."""
    ours, ours_affine = canonical(volume.array, volume.grid.affine)
    theirs, theirs_affine = canonical(array, affine)
    np.testing.assert_array_equal(ours, theirs)
    # dcm2niix writes its affine in single precision.
    np.testing.assert_allclose(ours_affine, theirs_affine, atol=1e-4)


def converted(folder: Path, into: Path, ending: str = "") -> nib.Nifti1Image:
    """Return what dcm2niix makes of a folder: the file that it gives this ending."""
    into.mkdir()
    converter = Path(sys.executable).with_name("dcm2niix")
    command = [converter, "-b", "n", "-z", "n", "-f", "volume", "-o", into, folder]
    subprocess.run(command, check=True, capture_output=True)
    return nib.load(into / f"volume{ending}.nii")


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_dcm2niix_agrees(tmp_path: Path, plan: Plan) -> None:
    """The field's reference converter finds the same voxels at the same places."""
    make_series(tmp_path / "in", plan)
    image = converted(tmp_path / "in", tmp_path / "out")

    volume = read(tmp_path / "in")

    assert_same(volume, np.asanyarray(image.dataobj), image.affine)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("order", [range(6), range(5, -1, -1)], ids=["upwards", "downwards"])
def test_dcm2niix_agrees_on_enhanced_files(tmp_path: Path, order: range, shared: bool) -> None:
    """Groups for all frames, or in each; frames from either end."""
    path = tmp_path / "in" / "all.dcm"
    make_enhanced(path, PLANS["oblique"], order=order, shared=shared)
    image = converted(tmp_path / "in", tmp_path / "out")

    assert_same(read(path), np.asanyarray(image.dataobj), image.affine)


def test_where_dcm2niix_counts_shuffled_frames_the_formula_decides(tmp_path: Path) -> None:
    """Of frames in any order without dimension indices it takes the first for an end; their positions say where."""
    path, plan = tmp_path / "in" / "all.dcm", PLANS["oblique"]
    make_enhanced(path, plan, order=[3, 0, 5, 4, 1, 2])
    image = converted(tmp_path / "in", tmp_path / "out")

    volume = read(path)

    np.testing.assert_array_equal(volume.array, plan.values())
    for ijk in np.ndindex(2, 2, 6):
        np.testing.assert_allclose(volume.grid.world(ijk), voxel_ras(plan, ijk), atol=1e-5)
    ours, theirs = (canonical(volume.array, affine)[1] for affine in (volume.grid.affine, image.affine))
    assert np.abs(ours - theirs).max() > 1  # mm: otherwise dcm2niix has changed, and is an oracle here too


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_simpleitk_agrees(tmp_path: Path, plan: Plan) -> None:
    """ITK sorts by position too, and keeps (column, row, slice) in LPS."""
    make_series(tmp_path, plan)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path), plan.series_uid))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()

    volume = read(tmp_path)

    assert_same(volume, SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), np.diag([-1, -1, 1, 1]) @ affine)


def tilted(degrees: float, turn: tuple[float, float, float]) -> Plan:
    """Return a CT whose gantry leans by so many degrees to higher rows, as dcm2niix wants it.

    It straightens signed pixels only, and only where instance numbers grow with the slices.
    """

    def number(dataset: Dataset, k: int) -> None:
        dataset.InstanceNumber = k + 1

    lean = float(np.tan(np.radians(degrees)))
    offsets = tuple((0.0, 4.0 * k * lean, 4.0 * k) for k in range(6))
    return Plan(
        shape=(24, 20, 6), modality="CT", signed=True, offsets=offsets, orientation=oblique(turn), change=number
    )


@pytest.mark.parametrize("turn", [(-14.0, 0.0, 0.0), (0.0, 0.0, 0.0)], ids=["tilted images", "straight images"])
def test_dcm2niix_straightens_a_tilted_gantry_onto_the_same_grid(
    tmp_path: Path, turn: tuple[float, float, float]
) -> None:
    """Same grid, and values that it rounds to integers where ours keep the fraction."""
    make_series(tmp_path / "in", tilted(-14.0, turn))
    image = converted(tmp_path / "in", tmp_path / "out", "_Tilt_1")

    volume = read(tmp_path / "in", irregular="resample")

    ours, ours_affine = canonical(volume.array, volume.grid.affine)
    theirs, theirs_affine = canonical(np.asanyarray(image.dataobj), image.affine)
    valid, _ = canonical(volume.valid.astype(np.uint8), volume.grid.affine)
    np.testing.assert_allclose(ours_affine, theirs_affine, atol=1e-4)
    assert valid.mean() > 0.7
    np.testing.assert_allclose(ours[valid == 1], theirs[valid == 1], atol=0.51)


def test_where_dcm2niix_moves_a_tilted_series_the_formula_decides(tmp_path: Path) -> None:
    """Of a gantry that leans to higher rows it keeps the last slice on whole pixels, and says that it was the first.

    Its grid is ours, its values lie up to a pixel beside the places that the standard gives (1.0.20260724).
    """
    plan = tilted(14.0, (0.0, 0.0, 0.0))
    make_series(tmp_path / "in", plan)
    image = converted(tmp_path / "in", tmp_path / "out", "_Tilt_1")

    volume = read(tmp_path / "in", irregular="resample")

    theirs, affine = np.asanyarray(image.dataobj)[:, ::-1], image.affine @ np.diag([1, -1, 1, 1])
    affine[:3, 3] += image.affine[:3, 1] * (image.shape[1] - 1)
    np.testing.assert_allclose(volume.grid.affine, affine, atol=1e-4)
    i, j, k = np.indices(volume.grid.shape)
    # The stored values are a linear function of column, row and slice, and slice k begins so many rows further down.
    truth = plan.values()[0, 0, 0] + i + 24 * (j - 4.0 * k * np.tan(np.radians(14.0)) / 1.1) + 24 * 20 * k
    np.testing.assert_allclose(volume.array[volume.valid], truth[volume.valid], atol=1e-3)
    rows = 5 * 4.0 * np.tan(np.radians(14.0)) / 1.1
    # The median, as its first and last row are repeated.
    assert np.median((theirs - truth)[volume.valid] / 24) == pytest.approx(rows - np.ceil(rows), abs=0.51 / 24)
