"""The command that compares two runs, from folders that runs wrote."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import lesionlens as ll
from lesionlens.cli import main
from lesionlens.pipeline import RunOptions, run_case
from lesionlens.results import write_case
from lesionlens.volume import Volume
from tiny_bundles import CENTRE, VOXELWISE_STATE, blob, oblique_grid, straight_grid, write_bundle

Capture = pytest.CaptureFixture[str]


def run_of(folder: Path, scan: Volume, *, bias: float = -5.0, threshold: float = 0.5) -> Path:
    """Write the results of a voxelwise network whose lesion's logit is 10 x and a bias."""
    network = "$torch.nn.Sequential(torch.nn.Identity(), torch.nn.Conv3d(1, 2, 1))"
    state = {"1.weight": VOXELWISE_STATE["weight"], "1.bias": torch.tensor([0.0, bias])}
    made = write_bundle(folder / "b", network=network, state=state, extra={"imports": ["$import torch"]})
    path = ll.write(scan, folder / "scan.nii.gz")
    options = RunOptions(path, bundle=str(made), layer="0", trust=True, thresholds={"lesion": threshold})
    return write_case(run_case(options), folder / "out")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the results of two models on one scan."""
    root, scan = tmp_path_factory.mktemp("runs"), blob(oblique_grid(), CENTRE)
    folders = root / "first", root / "second"
    for folder in folders:
        folder.mkdir()
    return run_of(folders[0], scan), run_of(folders[1], scan, bias=-3.0, threshold=0.75)


def test_two_models_are_compared_by_files_and_numbers(runs: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    """The difference map is that of the two probability maps, on their grid."""
    out = tmp_path / "out"

    assert main(["compare", *map(str, runs), "--out", str(out), "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    names = {"comparison.json", "confusion.png", "correlation_pearson.png", "correlation_spearman.png"}
    maps = {"difference_probability-lesion.nii.gz", "difference_attribution-gradcam-lesion.nii.gz"}
    assert {p.name for p in out.iterdir()} == names | maps
    first, second = (nib.load(folder / "probability_lesion.nii.gz") for folder in runs)
    image = nib.load(out / "difference_probability-lesion.nii.gz")
    expected = np.asarray(second.dataobj) - np.asarray(first.dataobj)
    np.testing.assert_array_equal(np.asarray(image.dataobj), expected)
    np.testing.assert_allclose(image.affine, first.affine, atol=1e-6)
    assert found["same_scan"]
    assert found["pairs"][0]["mean_difference"] == pytest.approx(float(expected.mean(dtype=np.float64)))
    a, b = (np.asarray(m.dataobj) >= limit for m, limit in ((first, 0.5), (second, 0.75)))  # each run's own
    rows = [[int((x & y).sum()) for y in (~b, b)] for x in (~a, a)]
    assert found["confusion_voxels"] == rows
    assert found["pairs"][0]["cut"] == "at or above 0.5 and 0.75"
    assert json.loads((out / "comparison.json").read_text())["pairs"] == found["pairs"]


def test_a_run_and_itself_are_the_same(runs: tuple[Path, Path], capsys: Capture) -> None:
    """No difference, Dice 1, correlation 1; without --out nothing is written."""
    assert main(["compare", str(runs[0]), str(runs[0])]) == 0

    text = capsys.readouterr().out
    assert "1.000" in text
    assert "+0 " in text


def test_another_grid_is_refused_with_both(runs: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    """One sentence says what lies where, and what to do; nothing is written."""
    other = run_of(tmp_path, blob(straight_grid(), CENTRE))

    assert main(["compare", str(runs[0]), str(other), "--out", str(tmp_path / "c")]) == 1

    error = capsys.readouterr().err
    assert "36x34x26 voxels of 1x1.1x1.8 mm" in error
    assert "40x38x24 voxels of 1x1.2x2 mm (RAS); maps are compared on one grid" in error
    assert not (tmp_path / "c").exists()


def test_a_folder_that_is_none_is_refused(runs: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    """A typing error has a way out."""
    assert main(["compare", str(runs[0]), str(tmp_path)]) == 1

    assert "record.json is missing; give a folder that 'run' wrote" in capsys.readouterr().err
