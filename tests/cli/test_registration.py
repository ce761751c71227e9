"""The command that measures where layers lie: stored once, applied by a run, left aside when asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lesionlens as ll
from lesionlens.cli import main
from lesionlens.volume import Grid, Volume
from tiny_bundles import write_bundle

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def case(tmp_path: Path) -> tuple[str, str]:
    """Return a bundle whose layer 0 lies half a voxel before the convention, and a scan."""
    folder = write_bundle(
        tmp_path / "mine",
        network=(
            "$torch.nn.Sequential(torch.nn.Conv3d(1, 1, 3, stride=2, padding=1, bias=False),"
            " torch.nn.Conv3d(1, 2, 1), torch.nn.Upsample(scale_factor=2))"
        ),
        state={
            "0.weight": torch.full((1, 1, 3, 3, 3), 1 / 27),
            "1.weight": torch.tensor([0.0, 10.0]).view(2, 1, 1, 1, 1),
            "1.bias": torch.tensor([0.0, -2.0]),
        },
        extra={"imports": ["$import torch"]},
    )
    grid = Grid((24, 24, 24), np.diag([1.0, 1.0, 2.0, 1.0]))
    array = np.random.default_rng(1).normal(size=grid.shape).astype(np.float32)
    scan = tmp_path / "scan.nii.gz"
    ll.write(Volume(array, grid), scan)
    return str(folder), str(scan)


def test_what_was_measured_is_applied_by_a_run(case: tuple[str, str], tmp_path: Path, capsys: Capture) -> None:
    """From the command to the record of a run, and back to the convention on request."""
    bundle, scan = case
    measure = ["measure-registration", bundle, "--trust", "--on", scan, "--layer", "0", "-q"]
    run = ["run", scan, "--bundle", bundle, "--trust", "--layer", "0", "-q"]

    assert main(measure) == 0
    said = capsys.readouterr().out
    assert main([*run, "--out", str(tmp_path / "a")]) == 0
    assert "layer '0', ±1 x 1 x 2 mm" in capsys.readouterr().out
    assert main([*run, "--out", str(tmp_path / "b"), "--no-registration"]) == 0

    assert "0: its cells lie (-0.50, -0.50, -0.50) voxels from the half-voxel convention" in said
    assert "Stored in" in said
    (applied, kept) = (_attribution(tmp_path / name) for name in "ab")
    np.testing.assert_allclose(applied["options"]["registration"]["offset_mm"], (-0.5, -0.5, -1.0), atol=0.02)
    assert "registration" not in kept["options"]
    options = [json.loads((tmp_path / name / "record.json").read_text())["options"] for name in "ab"]
    assert [one["registration"] for one in options] == [True, False]


def _attribution(out: Path) -> dict[str, Any]:
    maps: list[dict[str, Any]] = json.loads((out / "record.json").read_text())["maps"]
    return next(one for one in maps if one["kind"] == "attribution")


def test_measuring_again_is_asked_for(case: tuple[str, str], tmp_path: Path, capsys: Capture) -> None:
    """What maps already rest on is not replaced by chance; as JSON the file and the layers come out."""
    bundle, scan = case
    measure = ["measure-registration", bundle, "--trust", "--on", scan, "--layer", "0", "--positions", "32"]

    assert main([*measure, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(measure) == 1
    refused = capsys.readouterr().err
    assert main([*measure, "--json", "--overwrite", "--seed", "3"]) == 0

    assert first["layers"]["0"]["n"] == 32
    assert first["file"] == str(tmp_path / "mine.registration.json")
    assert "0 was measured already; measure it again with --overwrite" in refused
    assert json.loads(capsys.readouterr().out)["layers"]["0"] != first["layers"]["0"]


def test_a_layer_without_places_is_refused_and_nothing_is_stored(
    case: tuple[str, str], tmp_path: Path, capsys: Capture
) -> None:
    """A scan with too few cells along an axis measures nothing."""
    bundle, _ = case
    small = tmp_path / "small.nii.gz"
    grid = Grid((6, 24, 24), np.eye(4))
    ll.write(Volume(np.random.default_rng(1).normal(size=grid.shape).astype(np.float32), grid), small)

    assert main(["measure-registration", bundle, "--trust", "--on", str(small), "--layer", "0", "-q"]) == 1

    assert "is not measurable" in capsys.readouterr().err
    assert not (tmp_path / "mine.registration.json").exists()
