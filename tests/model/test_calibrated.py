"""A bundle is calibrated on labelled scans, and says so in everything that it then gives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lesionlens as ll
from lesionlens.batch import verify
from lesionlens.calibration import Calibration, fit_temperature
from lesionlens.cli import main
from lesionlens.errors import BundleError, InputError
from lesionlens.heatmap import LabelMap, Provenance
from lesionlens.model import classify, load_bundle, predict
from lesionlens.model.activation import Activation
from lesionlens.model.calibrated import calibrate, calibrated
from lesionlens.volume import Grid, Volume
from tiny_bundles import RAS, VOXELWISE_STATE, blob, classifier, straight_grid, write_bundle

K = 2.0
GRID = Grid((40, 40, 24), np.diag([1.0, 1.0, 1.0, 1.0]))
IDENTITY = "$torch.nn.Sequential(torch.nn.Identity(), torch.nn.Conv3d(1, 2, 1))"


def labelled(seed: int) -> tuple[Volume, LabelMap]:
    """Return a scan whose values are logits, and a mask drawn with just their probabilities."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, GRID.shape).astype(np.float32)
    mask = rng.random(GRID.shape) < 1 / (1 + np.exp(-logits))
    scan = Volume(logits, GRID, f"scan {seed}")
    return scan, LabelMap(scan.with_array(mask.astype(np.uint8)), "lesion", {}, Provenance())


def too_sure(folder: Path, ending: str = "") -> Any:
    """Return a bundle whose lesion logit is K times the scan's value; optionally it ends in an activation module."""
    network = f"$torch.nn.Sequential(torch.nn.Identity(), torch.nn.Conv3d(1, 2, 1){ending})"
    state = {"1.weight": torch.tensor([0.0, K]).view(2, 1, 1, 1, 1), "1.bias": torch.zeros(2)}
    made = write_bundle(folder, network=network, state=state, steps=[RAS], extra={"imports": ["$import torch"]})
    return load_bundle(made, trust=True)


@pytest.mark.parametrize("ending", ["", ", torch.nn.Softmax(dim=1)"])
def test_a_bundle_that_is_too_sure_is_found_out_and_repaired(tmp_path: Path, ending: str) -> None:
    """T is K within 2 %, and the calibrated probability the one that the masks were drawn with."""
    bundle = too_sure(tmp_path / "b", ending)
    scan, _ = labelled(0)

    found = calibrate(bundle, [labelled(0), labelled(1)])

    assert found.temperature == pytest.approx(K, rel=0.02)
    assert (found.n_cases, found.kind, found.weights_sha256) == (2, "softmax", bundle.weights_sha256)
    assert found.scores["band"]["after"]["ece"] < 0.2 * found.scores["band"]["before"]["ece"]
    (heatmap,) = predict(calibrated(bundle, found), scan)
    expected = 1 / (1 + np.exp(-K * scan.array.astype(np.float64) / found.temperature))
    np.testing.assert_allclose(heatmap.array, expected, atol=1e-5)  # float32, through logarithms and back
    assert heatmap.volume.name == "calibrated probability of lesion"
    assert heatmap.provenance.options["temperature"] == found.temperature
    assert found.words in heatmap.provenance.notes
    (plain,) = predict(bundle, scan)
    assert plain.volume.name == "probability of lesion"
    assert "temperature" not in plain.provenance.options


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_the_temperature_is_the_best_for_what_is_applied(kind: Any) -> None:
    """A network that gives probabilities has rounded some of them to 0 and 1: they are fitted as they are divided."""
    rng = np.random.default_rng(0)
    z = rng.choice([-30.0, -3.0, -1.0, 1.0, 3.0, 30.0], 4000)
    true = rng.random(z.size) < 1 / (1 + np.exp(-z.clip(-4, 4) / 1.5))
    p = torch.sigmoid(torch.from_numpy(z).float())
    output = torch.stack([1 - p, p]) if kind == "softmax" else p[None]
    activation = Activation(kind, applied=True)

    fitted = fit_temperature(
        activation.logits(output).numpy().T, (np.stack([~true, true], 1) if kind == "softmax" else true[:, None]), kind
    )

    def loss(temperature: float) -> float:
        q = replace(activation, temperature=temperature).probabilities(output)[-1].double().numpy().clip(1e-12, 1)
        return -float(np.where(true, np.log(q), np.log1p(-q.clip(0, 1 - 1e-12))).mean())

    assert loss(fitted) < min(loss(0.97 * fitted), loss(fitted / 0.97))


def test_the_band_leaves_the_easy_background_out(tmp_path: Path) -> None:
    """Over all voxels a blob in an empty scan looks calibrated whatever its edge says."""
    state = {"1.weight": torch.tensor([0.0, 40.0]).view(2, 1, 1, 1, 1), "1.bias": torch.tensor([0.0, -20.0])}
    folder = write_bundle(tmp_path / "b", network=IDENTITY, state=state, extra={"imports": ["$import torch"]})
    bundle = load_bundle(folder, trust=True)
    grid = Grid((64, 64, 64), np.diag([1.0, 1.0, 1.0, 1.0]))
    scan = blob(grid, (32.0, 32.0, 32.0))
    drawn = np.random.default_rng(0).random(grid.shape) < 1 / (1 + np.exp(-(10 * scan.array.astype(float) - 5)))
    truth = drawn & (scan.array > 0.1)
    mask = LabelMap(scan.with_array(truth.astype(np.uint8)), "lesion", {}, Provenance())

    found = calibrate(bundle, [(scan, mask)])

    whole, band = (found.scores[name]["before"]["ece"] for name in ("all", "band"))
    assert band > 3 * whole
    assert found.temperature > 2


def test_other_weights_are_not_calibrated_by_it(tmp_path: Path) -> None:
    """A temperature of another network would be a lie with a label on it."""
    bundle = load_bundle(write_bundle(tmp_path / "b"), trust=True)

    with pytest.raises(BundleError, match="for x 1 with other weights, not for b"):
        calibrated(bundle, Calibration("x 1", "00", "softmax", 2.0, 1, 1, {}))


def test_a_classifier_is_calibrated_by_names(tmp_path: Path) -> None:
    """Logits of scans are 0 and 4 mean - 1; the probability follows the temperature."""
    bundle = load_bundle(classifier(tmp_path / "b"), trust=True)
    rng = np.random.default_rng(0)
    cases = []
    for mean in rng.uniform(-2, 3, 300):
        array = np.full((4, 4, 4), mean, np.float32)
        array[0, 0, 0] += 1e-3  # a constant scan is refused
        true = rng.random() < 1 / (1 + np.exp(-(4 * mean - 1) / 2))
        cases.append((Volume(array, Grid((4, 4, 4), np.eye(4))), "high" if true else "none"))

    found = calibrate(bundle, cases)

    assert found.temperature == pytest.approx(2, rel=0.35)  # 300 cases leave a standard error of about 12 %
    assert set(found.scores) == {"all"}
    scan = cases[0][0]
    plain, after = classify(bundle, scan)["high"], classify(calibrated(bundle, found), scan)["high"]
    assert np.log(after / (1 - after)) == pytest.approx(np.log(plain / (1 - plain)) / found.temperature, rel=1e-3)


def test_labels_that_do_not_suit_are_refused(tmp_path: Path) -> None:
    """Before a temperature is made of them."""
    bundle = load_bundle(write_bundle(tmp_path / "b"), trust=True)
    scan = blob(straight_grid(), (0.0, 0.0, 20.0))

    with pytest.raises(InputError, match="no labelled cases"):
        calibrate(bundle, [])
    with pytest.raises(InputError, match="need a mask, not the label 'lesion'"):
        calibrate(bundle, [(scan, "lesion")])
    mask = LabelMap(scan.with_array((scan.array > 0.5).astype(np.uint8)), "lesion", {}, Provenance())
    with pytest.raises(InputError, match="need a label, not a mask"):
        calibrate(load_bundle(classifier(tmp_path / "c"), trust=True), [(scan, mask)])


def test_calibrate_and_run_by_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a table of cases to a run whose record, note and name say that it is calibrated."""
    too_sure(tmp_path / "b")
    scan, mask = labelled(0)
    ll.write(scan, tmp_path / "scan.nii.gz")
    ll.write(mask.volume, tmp_path / "mask.nii.gz")
    (tmp_path / "cases.csv").write_text("scan,mask\nscan.nii.gz,mask.nii.gz\n")
    file = tmp_path / "calibration.json"
    command = ["calibrate", str(tmp_path / "b"), str(tmp_path / "cases.csv"), "--out", str(file), "--trust", "-q"]
    command += ["--diagram", str(tmp_path / "reliability.png")]

    assert main(command) == 0
    text = capsys.readouterr().out
    for path in (file, tmp_path / "reliability.png"):
        assert verify(file).right
        held = path.read_bytes()
        path.write_bytes(held[:-9] + bytes([held[-9] ^ 1]) + held[-8:])
        assert [one.split()[0] for one in verify(file).problems] == [path.name], "a flipped bit is found"
        path.write_bytes(held)
    assert {len(one) for one in json.loads(file.read_text())["inputs"][0].values()} == {64}
    assert main(command) == 1  # nothing is overwritten without being asked
    assert main(["run", str(tmp_path / "scan.nii.gz"), "-b", str(tmp_path / "b"), "--trust", "-q", "--layer", "0",
                 "--calibration", str(file), "--out", str(tmp_path / "out")]) == 0  # fmt: skip

    assert "it was too sure" in text
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")
    assert "ECE" in text
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["bundle"]["temperature"] == pytest.approx(K, rel=0.03)
    assert record["maps"][0]["target"] == "calibrated probability of 'lesion'"
    assert record["maps"][0]["notes"][0].startswith("Calibrated: logits were divided by the temperature")
    assert record["options"]["calibration"] == "calibration.json"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,mask\na,b\n", "needs the columns scan and mask"),
        ("scan,mask\n", "found: none"),
        ("scan,mask\na,\n", "Line 2 of"),
    ],
)
def test_a_table_that_says_too_little_is_refused(
    tmp_path: Path, table: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the network runs for an hour."""
    folder = write_bundle(tmp_path / "b", state=VOXELWISE_STATE)
    (tmp_path / "cases.csv").write_text(table)

    code = main(["calibrate", str(folder), str(tmp_path / "cases.csv"), "--out", str(tmp_path / "c.json"), "--trust"])

    assert code == 1
    assert message in capsys.readouterr().err
