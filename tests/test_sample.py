from __future__ import annotations

import subprocess
import sys

import numpy as np
from scipy import ndimage

from lesionlens.io import read
from lesionlens.sample import sample_lesions, sample_scan


def test_the_sample_is_an_ordinary_clinical_scan() -> None:
    """It exercises what real scans do: integers, thick slices, an oblique affine, nothing undecided."""
    scan = read(sample_scan())

    assert scan.array.dtype == np.int16
    assert scan.name == "flair-sample"
    np.testing.assert_allclose(scan.grid.spacing_mm, (1, 1, 3), atol=1e-5)
    assert scan.grid.axcodes == "LAS"
    angles = np.degrees(np.arccos(np.abs(scan.grid.affine[:3, :3] / scan.grid.spacing_mm).max(axis=0)))
    assert angles.min() > 1
    assert scan.source.decisions == ()
    assert scan.source.verdict.regular


def test_the_mask_lies_on_the_scan_and_marks_its_brightest_white_matter() -> None:
    """Lesions of several sizes, all clearly brighter than the brain around them."""
    scan, mask = read(sample_scan()), read(sample_lesions())
    lesions = mask.array == 1
    labels, n = ndimage.label(lesions, np.ones((3, 3, 3)))
    volumes = np.bincount(labels.ravel())[1:] * scan.grid.voxel_volume_mm3
    around = ndimage.binary_dilation(lesions, iterations=5) & ~ndimage.binary_dilation(lesions, iterations=2)

    assert mask.grid.same_as(scan.grid)
    assert set(np.unique(mask.array)) == {0, 1}
    assert n == 22
    assert volumes.min() < 60
    assert volumes.max() > 600
    assert 7000 < volumes.sum() < 9000
    # Grey matter lies among the surroundings too, so this is brighter than grey matter.
    assert np.median(scan.array[lesions]) > 1.2 * np.percentile(scan.array[around], 90)
    centres = ndimage.center_of_mass(lesions, labels, range(1, n + 1))
    assert len({x > 0 for x in scan.grid.world(centres)[:, 0]}) == 2  # both sides


def test_the_sample_is_small() -> None:
    """It travels in every wheel."""
    assert sample_scan().stat().st_size + sample_lesions().stat().st_size < 1_500_000


def test_finding_the_sample_loads_nothing_heavy() -> None:
    """The command line and the plugin's discovery ask for the path only."""
    code = (
        "import sys; from lesionlens.sample import sample_scan; assert sample_scan().is_file(); "
        "print([m for m in ('numpy', 'nibabel', 'torch') if m in sys.modules])"
    )

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert shown.strip() == "[]"
