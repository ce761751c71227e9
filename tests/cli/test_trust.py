from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import lesionlens as ll
from lesionlens.checks import CHECKS
from lesionlens.cli import main
from tiny_bundles import CENTRE, VOXELWISE_STATE, blob, straight_grid, write_bundle

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a scan with one bright blob, beside its mask."""
    folder = tmp_path_factory.mktemp("scan")
    volume = blob(straight_grid(), CENTRE)
    ll.write(volume.with_array((volume.array > 0.5).astype(np.uint8)), folder / "mask.nii.gz")
    ll.write(volume, folder / "map.nii.gz")
    return ll.write(volume, folder / "scan.nii.gz")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the path of the voxelwise bundle, whose layer '0' is the image itself."""
    folder = write_bundle(
        tmp_path_factory.mktemp("bundle") / "voxelwise",
        network="$torch.nn.Sequential(torch.nn.Identity(), torch.nn.Conv3d(1, 2, 1))",
        state={f"1.{k}": v for k, v in VOXELWISE_STATE.items()},
        extra={"imports": ["$import torch"]},
    )
    return str(folder)


def test_a_map_that_shows_the_image_is_flagged_in_words(
    scan: Path, bundle: str, tmp_path: Path, capsys: Capture
) -> None:
    """A network whose only features are the image has a map that stays whatever its weights are; the user reads why."""
    out = tmp_path / "out"
    words = ["trust", str(scan), "--bundle", bundle, "--trust", "--layer", "0", "--out", str(out), "--quiet"]
    assert main([*words, "--mask", str(scan.parent / "mask.nii.gz")]) == 0

    text = capsys.readouterr().out
    assert "Does the map change when the weights are destroyed?" in text
    assert "it shows the image rather than what the network learned" in text
    assert "Do not rely on this map." in text
    assert "of the evidence lies on the mask" in text
    assert {"trust.json", "trust.png"} <= {path.name for path in out.iterdir()}


def test_json_is_all_that_a_program_reads(scan: Path, bundle: str, tmp_path: Path, capsys: Capture) -> None:
    """--json prints one JSON text; --check leaves the other checks out."""
    words = ["trust", str(scan), "-b", bundle, "--trust", "--layer", "0", "--out", str(tmp_path / "out")]
    assert main([*words, "--check", "seen", "--check", "stability", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert [check["name"] for check in found["checks"]] == ["seen", "stability"]
    assert found["files"] == ["attribution_gradcam_lesion.nii.gz", "trust.json", "trust.png"]


def test_a_map_for_a_mask_is_refused(scan: Path, bundle: str, tmp_path: Path, capsys: Capture) -> None:
    """A probability map needs a threshold before it is a mask, and nobody has said which."""
    words = ["trust", str(scan), "-b", bundle, "--trust", "--out", str(tmp_path / "out")]

    assert main([*words, "--mask", str(scan.parent / "map.nii.gz"), "--quiet"]) == 1

    assert "Expected one mask of whole numbers in map.nii.gz" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_checks_are_named_by_the_help_and_refused_before_anything_is_read(tmp_path: Path, capsys: Capture) -> None:
    """The scan need not even exist."""
    assert main(["trust", "--help"]) == 0
    assert set(CHECKS) <= set(re.findall(r"[a-z]+", capsys.readouterr().out))

    assert main(["trust", str(tmp_path / "none.nii"), "--out", str(tmp_path / "out"), "--check", "layers"]) == 1
    assert "There is no check 'layers'" in capsys.readouterr().err


def test_a_lesion_is_asked_about_with_the_words_of_a_run(scan: Path, bundle: str, tmp_path: Path) -> None:
    """The same options as 'run' has, and they reach the record."""
    words = ["trust", str(scan), "-b", bundle, "--trust", "--layer", "0", "--check", "seen", "--quiet"]
    words += ["--over", "largest", "--score", "logit", "--against", "background", "--gamma", "0.5"]

    assert main([*words, "--out", str(tmp_path / "out")]) == 0

    options = json.loads((tmp_path / "out" / "trust.json").read_text())["map"]["options"]
    asked = {name: options[name] for name in ("over", "score_kind", "against", "gamma")}
    assert asked == {"over": "1", "score_kind": "logit", "against": ["background"], "gamma": 0.5}
