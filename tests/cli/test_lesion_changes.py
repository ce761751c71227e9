"""Lesions of two runs against each other, from folders that runs wrote; and rules of regions through a run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lesionlens as ll
from lesionlens.cli import main
from lesionlens.report.lesion_changes import CHANGE_COLUMNS
from lesionlens.results import read_case
from lesionlens.volume import Grid, Volume
from tiny_bundles import VOXELWISE_STATE, write_bundle

Capture = pytest.CaptureFixture[str]
GRID = Grid((30, 16, 8), np.diag([1.0, 1.0, 2.0, 1.0]))
# What is bright before and after: one that grows, one that stays, one that goes, and one that comes.
BEFORE = (np.s_[2:6, 2:6, 2:6], np.s_[10:14, 2:6, 2:6], np.s_[20:24, 2:5, 2:5])
AFTER = (np.s_[2:8, 2:8, 2:6], np.s_[10:14, 2:6, 2:6], np.s_[20:24, 10:14, 2:6])


def painted(path: Path, boxes: tuple[tuple[slice, ...], ...], grid: Grid = GRID) -> Path:
    """Write a scan of bright boxes."""
    array = np.zeros(grid.shape, np.float32)
    for box in boxes:
        array[box] = 1
    return ll.write(Volume(array, grid), path)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle whose lesions are the bright voxels."""
    return write_bundle(
        tmp_path_factory.mktemp("bundle") / "voxelwise",
        network="$torch.nn.Sequential(torch.nn.Identity(), torch.nn.Conv3d(1, 2, 1))",
        state={f"1.{k}": v for k, v in VOXELWISE_STATE.items()},
        extra={"imports": ["$import torch"]},
    )


def run(bundle: Path, scan: Path, out: Path, *words: str) -> Path:
    """Run the bundle on a scan."""
    start = ["run", str(scan), "--bundle", str(bundle), "--layer", "0", "--trust", "-q", "--out", str(out)]
    assert main([*start, *words]) == 0
    return out


@pytest.fixture(scope="module")
def runs(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the results of two times."""
    root = tmp_path_factory.mktemp("times")
    scans = painted(root / "before.nii.gz", BEFORE), painted(root / "after.nii.gz", AFTER)
    return run(bundle, scans[0], root / "a"), run(bundle, scans[1], root / "b")


def test_two_times_are_told_as_they_were_painted(runs: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    """Table, JSON, picture and terminal say one thing."""
    out = tmp_path / "out"

    assert main(["compare-lesions", *map(str, runs), "--out", str(out)]) == 0

    shown = capsys.readouterr()
    assert "1 new, 1 vanished, 1 grown, 1 stable" in shown.out
    assert "scans that are not registered match nothing" in shown.err
    assert {path.name for path in out.iterdir()} == {
        "lesion_changes.csv",
        "lesion_changes.json",
        "lesion_changes_lesion.png",
    }
    with (out / "lesion_changes.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CHANGE_COLUMNS
    said = [(row["match"], row["trend"], float(row["before_mm3"]), float(row["after_mm3"])) for row in rows]
    assert said == [
        ("matched", "grown", 128, 288),
        ("matched", "stable", 128, 128),
        ("new", "", 0, 128),
        ("vanished", "", 72, 0),
    ]
    assert [row["change_share"] for row in rows] == ["1.25", "0.0", "", "-1.0"]
    found = json.loads((out / "lesion_changes.json").read_text("utf-8"))
    assert found["before"]["scan"] != found["after"]["scan"]
    changes = found["classes"]["lesion"]["changes"]
    assert [(c["match"], c["trend"], c["before_mm3"], c["after_mm3"]) for c in changes] == said
    assert np.asarray(Image.open(out / "lesion_changes_lesion.png")).std() > 5


def test_a_run_and_itself_have_no_change_and_that_is_said(runs: tuple[Path, Path], capsys: Capture) -> None:
    """Nothing is written without being asked for; one scan is no patient at two times."""
    assert main(["compare-lesions", str(runs[0]), str(runs[0]), "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert {change["trend"] for change in found["classes"]["lesion"]["changes"]} == {"stable"}
    assert "Both runs are of one scan" in found["notes"][0]


def test_what_else_changed_is_said(bundle: Path, runs: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    """Another grid and other rules change volumes by themselves."""
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 3] = 0.5
    scan = painted(tmp_path / "moved.nii.gz", AFTER, Grid(GRID.shape, affine))
    rules = ["--minimum-mm3", "10", "--merge-mm", "2", "--class-threshold", "lesion=0.6"]
    later = run(bundle, scan, tmp_path / "later", *rules)

    assert main(["compare-lesions", str(runs[0]), str(later), "--least-change", "0.1"]) == 0

    said = capsys.readouterr().err
    assert (
        "different rules (merge_mm 0.0 and 2.0, minimum_mm3 0.0 and 10.0, thresholds of classes of none and lesion 0.6)"
        in said
    )
    assert "brought from 30 x 16 x 8 voxels" in said


@pytest.mark.parametrize(("words", "message"), [(["--class", "tumour"], "tumour"), (["--within-mm", "-1"], "from 0")])
def test_what_cannot_be_compared_is_refused(
    runs: tuple[Path, Path], words: list[str], message: str, capsys: Capture
) -> None:
    """One sentence says why."""
    assert main(["compare-lesions", *map(str, runs), *words]) == 1
    assert message in capsys.readouterr().err


def test_rules_of_regions_go_from_the_command_line_to_the_record_and_back(
    bundle: Path, tmp_path: Path, capsys: Capture
) -> None:
    """What was merged, filled and left out is counted in the record, said on the terminal, and read back."""
    hollow = (np.s_[2:7, 2:7, 2:7], np.s_[9:12, 2:7, 2:7], np.s_[20:21, 2:3, 2:3])
    array = np.zeros(GRID.shape, np.float32)
    for box in hollow:
        array[box] = 1
    array[4, 4, 4] = 0
    scan = ll.write(Volume(array, GRID), tmp_path / "scan.nii.gz")
    ll.write(Volume((np.indices(GRID.shape)[0] >= 5).astype(np.uint8), GRID), tmp_path / "atlas.nii.gz")
    capsys.readouterr()
    rules = ["--connectivity", "6", "--fill-holes", "--merge-mm", "3", "--minimum-mm3", "4"]

    out = run(bundle, scan, tmp_path / "out", *rules, "--anatomy", str(tmp_path / "atlas.nii.gz"))

    said = capsys.readouterr()
    assert "(voxels touch by faces, holes filled, merged within 3 mm, at least 4 mm³)" in said.out
    assert "1 voxel of holes filled; 1 piece merged into another; 1 region left out as too small, 2 mm³" in said.out
    assert "1 region(s) below the least volume were left out" in said.err
    record = json.loads((out / "record.json").read_text("utf-8"))
    kept = {"connectivity": 6, "fill_holes": True, "merge_mm": 3.0, "minimum_mm3": 4.0, "anatomy": "atlas.nii.gz"}
    assert {name: record["options"][name] for name in kept} == kept
    assert record["region_steps"]["lesion"] == {
        "n_connected": 3,
        "n_filled_voxels": 1,
        "filled_mm3": 2.0,
        "n_joined": 1,
        "n_left_out": 1,
        "left_out_mm3": 2.0,
    }
    with (out / "regions.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert int(row["n_voxels"]) == 125 + 75
    assert "0.625" in row["anatomy"]  # 125 of 200 voxels
    again = read_case(out, ll.read(scan))
    assert (again.rules.connectivity, again.rules.merge_mm) == (6, 3.0)
    assert again.steps["lesion"].n_left_out == 1
    assert again.regions["lesion"][0].anatomy == (("1", 0.625),)


def test_a_region_that_is_asked_about_is_numbered_by_the_same_rules(bundle: Path, tmp_path: Path) -> None:
    """Of three pieces two become the largest region when merged: that is what is explained then."""
    scan = painted(tmp_path / "scan.nii.gz", (np.s_[2:5, 2:6, 2:6], np.s_[7:10, 2:6, 2:6], np.s_[18:22, 2:6, 2:6]))
    out = run(bundle, scan, tmp_path / "out", "--merge-mm", "3", "--over", "1")

    targets = [one["target"] for one in json.loads((out / "record.json").read_text("utf-8"))["maps"]]

    assert any("96 voxels" in target for target in targets), targets
