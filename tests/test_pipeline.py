"""What a run makes of its options before and behind the network: thresholds, engine, memory, classes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anomaly_bundles import anomaly_bundle
from lesionlens.errors import ExplainError, InputError
from lesionlens.model import Bundle, load_bundle
from lesionlens.options import RunOptions
from lesionlens.pipeline import run_case
from lesionlens.results import read_case, write_case
from lesionlens.volume import Volume
from tiny_bundles import CENTRE, SLIDING, blob, straight_grid, write_bundle
from tiny_networks import SmallUNet

DISCRETE = {"_target_": "AsDiscreted", "keys": "pred"}

# What the makers of the bundle state for its one class.
STATED = 0.8


@pytest.fixture(scope="module")
def scan() -> Volume:
    """Return a blob from 0 to 1."""
    return blob(straight_grid(), CENTRE)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return the voxelwise bundle, which states a threshold."""
    folder = write_bundle(tmp_path_factory.mktemp("pipeline") / "bundle", inferer=SLIDING)
    path = folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["lesionlens"] = {"thresholds": {"lesion": STATED, "spleen": 0.1, "background": "high"}}
    path.write_text(json.dumps(metadata))
    return load_bundle(folder, trust=True, device="cpu")


def options(**values: object) -> RunOptions:
    """Return options of a run that explains nothing it need not."""
    return replace(RunOptions(Path("scan"), trust=True), **values)  # type: ignore[arg-type]  # each test's own


def voxels_from(scan: Volume, threshold: float) -> int:
    """Count by hand: the network's logit is 10 x - 5."""
    return int((scan.array >= 0.5 + np.log(threshold / (1 - threshold)) / 10).sum())


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, STATED),
        ({"thresholds": {"Lesion": 0.3}}, 0.3),
        ({"threshold": 0.6}, 0.6),
        ({"threshold": 0.6, "thresholds": {"lesion": 0.3}}, 0.3),
    ],
)
def test_class_has_its_own_threshold(
    asked: dict[str, object], expected: float, scan: Volume, bundle: Bundle, tmp_path: Path
) -> None:
    """Asked for, else the bundle's, unless another threshold was asked for all; it survives the way to the disk."""
    result = run_case(options(**asked), volume=scan, bundle=bundle)

    (region,) = result.regions["lesion"]
    assert region.n_voxels == voxels_from(scan, expected)
    assert result.threshold_of("lesion") == expected
    assert result.record["thresholds"] == ({} if asked == {"threshold": 0.6} else {"lesion": expected})
    again = read_case(write_case(result, tmp_path / "out"), scan)
    assert again.threshold_of("lesion") == expected


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"thresholds": {"spleen": 0.3}}, ExplainError, "spleen"),
        ({"thresholds": {"lesion": 0.0}}, InputError, "0.0 for 'lesion'"),
        ({"only": ("spleen",)}, ExplainError, "spleen"),
        ({"engine": "tensorrt"}, InputError, "tensorrt"),
    ],
)
def test_what_cannot_be_is_refused_before_the_network_runs(
    asked: dict[str, object], error: type[Exception], words: str, scan: Volume, bundle: Bundle
) -> None:
    """A mistyped class or number costs no minutes."""
    stages: list[str] = []

    with pytest.raises(error, match=words):
        run_case(
            options(**asked), volume=scan, bundle=bundle, progress=lambda stage, _done, _total: stages.append(stage)
        )

    assert "Predicting" not in stages


@pytest.fixture(scope="module")
def explainable(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a small U-Net, which has layers to explain."""
    network = {"_target_": "tiny_networks.SmallUNet", "classes": 2}
    folder = tmp_path_factory.mktemp("pipeline") / "unet"
    made = write_bundle(folder, inferer=SLIDING, network=network, state=SmallUNet(2).state_dict())
    return load_bundle(made, trust=True, device="cpu")


def test_blocks_and_the_whole_agree_and_the_record_says_which(scan: Volume, explainable: Bundle) -> None:
    """Where windows are joined in blocks there is no explanation, but a warning; the probabilities are the same."""
    whole = run_case(options(memory_gib=2.0), volume=scan, bundle=explainable)
    blocks = run_case(options(memory_gib=2.0, in_blocks=True), volume=scan, bundle=explainable)

    found = whole.record["computing"]
    assert (found["engine"], found["largest_difference"], found["windows"]) == ("torch", None, 9)
    assert 0 < found["predicted_bytes"] < found["budget_bytes"] == 2 * 2**30
    assert (found["in_blocks"], blocks.record["computing"]["in_blocks"]) == (False, True)
    assert (len(whole.attributions), len(blocks.attributions)) == (1, 0)
    assert any("needs all the memory" in warning for warning in blocks.warnings)
    assert np.abs(whole.probabilities[0].array - blocks.probabilities[0].array).max() < 1e-5


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return an anomaly bundle whose score is the scan less 0.25."""
    spec = {"method": "reconstruction", "deviation": "brighter", "label": "bright"}
    folder = tmp_path_factory.mktemp("pipeline") / "odd"
    return load_bundle(anomaly_bundle(folder, spec, scaled=True, inferer=SLIDING), trust=True, device="cpu")


@pytest.mark.parametrize(
    ("asked", "least"), [({}, 1.0), ({"threshold": 2.0}, 2.0), ({"thresholds": {"bright": 3.0}}, 3.0)]
)
def test_regions_of_an_anomaly_map(
    asked: dict[str, object], least: float, scan: Volume, odd: Bundle, tmp_path: Path
) -> None:
    """They lie where the score, known by hand, is at least its unit or what was asked for; the disk keeps them."""
    bright = scan.with_array(4 * scan.array)
    score = bright.array - 0.25

    result = run_case(options(**asked), volume=bright, bundle=odd)

    (region,) = result.regions["bright"]
    assert region.n_voxels == (score >= least).sum()
    assert region.anomaly_max == pytest.approx(score.max(), abs=1e-5)
    assert region.anomaly_mean == pytest.approx(score[score >= least].mean(), abs=1e-5)
    assert region.probability_max is None
    again = read_case(write_case(result, tmp_path / "out"), bright)
    assert again.regions == result.regions
    assert again.threshold_of("bright") == least


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}, {"threshold": 0.8}], 0.8),
        ([{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}, {"threshold": 0.5}], 0.5),
        ([{"threshold": 0.8}], 0.5),  # of logits: nobody knows
        ([{"_target_": "Activationsd", "keys": "pred", "softmax": True}, {"argmax": True}], 0.5),
    ],
)
def test_the_bundles_own_postprocessing_has_the_threshold(
    steps: list[dict[str, object]], expected: float, scan: Volume, tmp_path: Path
) -> None:
    """A voxel that the bundle itself would mark is marked."""
    folder = write_bundle(tmp_path / "bundle", inferer=SLIDING, postprocessing=[{**DISCRETE, **one} for one in steps])

    result = run_case(options(), volume=scan, bundle=load_bundle(folder, trust=True, device="cpu"))

    assert result.threshold_of("lesion") == expected
    (region,) = result.regions["lesion"]
    assert region.n_voxels == voxels_from(scan, expected)
