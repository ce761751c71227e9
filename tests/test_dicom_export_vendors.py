"""Objects on series of real scanners: no error, and the same voxels in the same place."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import SimpleITK

from dicom_results import complaints, on_scan, results_on, run_tool
from lesionlens.dicom_export import DicomFormat, export_dicom
from lesionlens.io import read_overlay
from lesionlens.io.policy import Irregular

SERIES: dict[str, Irregular] = {
    "failing/gantrytilting": "resample",
    "generic/anatomical/002_non_isotropic": "refuse",
    "generic/compressed_jpegls": "refuse",
    "hyperfine/anatomical": "refuse",
    "philips_enhanced/anatomical/001": "refuse",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SERIES)
def test_series_of_scanners_take_objects(shared_data: Path, tmp_path: Path, name: str) -> None:
    """Headers of scanners hold what no phantom has; objects on them keep the rules, and come back bit by bit."""
    source = shared_data / "dicom" / "vendor_pairs" / name
    made = results_on(tmp_path, source, irregular=SERIES[name])
    out = tmp_path / "out"
    export_dicom(made.results, source, out, formats=get_args(DicomFormat), identified=True)

    assert {path.name: complaints(path) for path in out.glob("*.dcm")} == {path.name: [] for path in out.glob("*.dcm")}
    for file, array in (
        ("seg_lesion.dcm", made.labels),
        ("attribution_gradcam_lesion.dcm", made.case.attributions[0].array),
    ):
        (back,) = read_overlay(out / file, made.volume)
        np.testing.assert_array_equal(back.array, array)
    arguments = ("--inputDICOM", out / "seg_lesion.dcm", "--outputDirectory", tmp_path, "--mergeSegments")
    run_tool("dcmqi", "segimage2itkimage", *arguments)
    (image,) = tmp_path.glob("*.nrrd")
    np.testing.assert_array_equal(on_scan(SimpleITK.ReadImage(str(image)), made.volume), made.labels)
