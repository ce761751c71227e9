"""Series made by numbers, converted by programs that share no code with ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from dicom_factory import CORONAL, SAGITTAL, Plan, make_series, oblique
from lesionlens.io import read
from lesionlens.volume import Volume

PLANS = {
    "axial": Plan(shape=(24, 20, 6), bits=14),
    "sagittal": Plan(shape=(24, 20, 6), bits=14, orientation=SAGITTAL),
    "coronal, signed": Plan(shape=(24, 20, 6), orientation=CORONAL, signed=True),
    "oblique": Plan(shape=(24, 20, 6), orientation=oblique((12.0, -7.0, 25.0)), spacing=(0.9, 1.3, 4.0)),
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


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_dcm2niix_agrees(tmp_path: Path, plan: Plan) -> None:
    """The field's reference converter finds the same voxels at the same places."""
    make_series(tmp_path / "in", plan)
    (tmp_path / "out").mkdir()
    converter = Path(sys.executable).with_name("dcm2niix")
    subprocess.run(
        [converter, "-b", "n", "-z", "n", "-f", "volume", "-o", tmp_path / "out", tmp_path / "in"],
        check=True,
        capture_output=True,
    )
    (converted,) = (tmp_path / "out").glob("*.nii")
    image = nib.load(converted)

    volume = read(tmp_path / "in")

    assert_same(volume, np.asanyarray(image.dataobj), image.affine)


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
