"""Checks of a bundle's map: the right map, the right class, the right window, and a network that stays as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lesionlens as ll
from lesionlens.checks import CHECKS
from lesionlens.errors import Cancelled, ExplainError, InputError
from lesionlens.explain.trust import localisation
from lesionlens.heatmap import LabelMap, Provenance
from lesionlens.volume import Volume
from tiny_bundles import CENTRE, RAS, SLIDING, blob, straight_grid, write_bundle
from tiny_networks import state_of

# Smooths the image in two ways and takes the brighter of the two for lesion: several channels, known by their weights.
NETWORK = "$torch.nn.Sequential(torch.nn.Conv3d(1, 6, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(6, 2, 1))"


def _state() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(4)
    first = 0.1 * torch.randn(6, 1, 3, 3, 3, generator=draw)
    first[0] += 1 / 27  # one channel is the mean of the neighbourhood
    head = torch.zeros(2, 6, 1, 1, 1)
    head[1, 0] = 10.0
    return {
        "0.weight": first,
        "0.bias": torch.zeros(6),
        "2.weight": head,
        "2.bias": torch.tensor([0.0, -4.0]),
    }


@pytest.fixture(scope="module", params=[None, SLIDING], ids=["whole", "windows"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a segmentation bundle that sees the image whole or through windows."""
    folder = write_bundle(
        tmp_path_factory.mktemp("bundle") / "smooth",
        network=NETWORK,
        state=_state(),
        steps=[RAS],
        inferer=request.param,
        extra={"imports": ["$import torch"]},
    )
    return ll.load_bundle(folder, trust=True)


@pytest.fixture(scope="module")
def scan() -> Volume:
    """Return a scan with a blob on noise."""
    volume = blob(straight_grid(), CENTRE)
    noise = np.random.default_rng(0).uniform(0, 0.1, volume.array.shape)
    return volume.with_array((volume.array + noise).astype(np.float32))


def marked(scan: Volume) -> LabelMap:
    """Return what a reader would mark."""
    return LabelMap(scan.with_array((scan.array > 0.5).astype(np.uint8)), "lesion", {}, Provenance())


def test_the_map_that_is_checked_is_the_map(bundle: Any, scan: Volume) -> None:
    """A verdict on another map than the one that people look at would be worse than none."""
    mask = marked(scan)
    before = state_of(bundle.network)

    report = ll.trust(bundle, scan, layer="1", mask=mask, also=["gradcam"])

    heatmap = ll.explain(bundle, scan, layer="1")
    np.testing.assert_array_equal(report.heatmap.array, heatmap.array)
    assert [check.name for check in report.checks] == list(CHECKS)
    assert report["localisation"] == localisation(heatmap.array, mask.array > 0).check()
    assert report["localisation"].verdict == report["perturbation"].verdict == report["seen"].verdict == "passes"
    assert report["agreement"].numbers["gradcam"] == pytest.approx(1)
    assert state_of(bundle.network) == before
    seen_through = len(SLIDING["roi_size"]) == 3 and type(bundle.inferer).__name__ == "SlidingWindowInferer"
    notes = " ".join(report["stability"].notes)
    assert ("Checked in the window of 24 x 24 x 24 voxels" in notes) == seen_through
    assert set(report.seconds) == {"randomisation", "perturbation", "stability", "localisation", "agreement"}


def test_the_map_of_a_narrower_question_is_checked(bundle: Any, scan: Volume) -> None:
    """Asked over a mask and with the logit alone, the map is the one that explain() makes of the same question."""
    core = LabelMap(scan.with_array((scan.array > 0.8).astype(np.uint8)), "core", {}, Provenance())
    asked: dict[str, Any] = {"layer": "1", "score": "logit", "over": core, "against": "background", "gamma": 0.5}

    report = ll.trust(bundle, scan, checks=["seen"], **asked)

    heatmap = ll.explain(bundle, scan, **asked)
    np.testing.assert_array_equal(report.heatmap.array, heatmap.array)
    assert report.heatmap.provenance.target == heatmap.provenance.target
    assert report.record()["map"]["options"]["over"] == "mask core"
    assert heatmap.provenance.options["score"] > 1.1 * ll.explain(bundle, scan, layer="1").provenance.options["score"]


def test_all_windows_can_be_asked_for(bundle: Any, scan: Volume) -> None:
    """Voxelwise networks say the same in one window and in all, but for what the window does not hold."""
    report = ll.trust(bundle, scan, layer="1", checks=["perturbation"], whole=True)

    assert [check.name for check in report.checks] == ["perturbation"]
    assert not any("Checked in the window" in note for note in report["perturbation"].notes)
    assert report.verdict == "passes"


def test_one_window_with_padding_is_all_there_is(tmp_path: Path, scan: Volume) -> None:
    """A scan that is smaller than the window is checked as a whole, though the window has another shape."""
    imports, inferer = {"imports": ["$import torch"]}, {**SLIDING, "roi_size": [48, 48, 48]}
    folder = write_bundle(tmp_path / "b", network=NETWORK, state=_state(), steps=[RAS], inferer=inferer, extra=imports)

    report = ll.trust(ll.load_bundle(folder, trust=True), scan, layer="1", checks=["perturbation"])

    assert not any("Checked in the window" in note for note in report["perturbation"].notes)


def test_a_class_that_is_not_seen_is_said_on_the_map(bundle: Any, scan: Volume) -> None:
    """The map of a healthy scan looks like any other; its notes travel with it."""
    faint = scan.with_array(scan.array * 0.1)

    report = ll.trust(bundle, faint, layer="1", checks=["seen"])

    assert report["seen"].verdict == report.verdict == "fails"
    assert any("does not see 'lesion'" in note for note in report.heatmap.provenance.notes)
    assert report["seen"].numbers["probability"] < 0.5
    assert ll.explain(bundle, faint, layer="1").provenance.notes == report.heatmap.provenance.notes
    assert not any("does not see" in note for note in ll.explain(bundle, scan, layer="1").provenance.notes)


def test_a_map_that_is_the_same_everywhere_leaves_its_checks_unclear(tmp_path: Path, scan: Volume) -> None:
    """A scan in which nothing is found has such a map, and whoever asks wants to know that nothing was found."""
    state = {**_state(), "2.weight": torch.zeros(2, 6, 1, 1, 1)}
    imports = {"imports": ["$import torch"]}
    folder = write_bundle(tmp_path / "b", network=NETWORK, state=state, steps=[RAS], inferer=None, extra=imports)

    report = ll.trust(ll.load_bundle(folder, trust=True), scan, layer="1", checks=["seen", "stability", "perturbation"])

    assert [check.verdict for check in report.checks] == ["fails", "unclear", "unclear"]
    assert all("the same value everywhere" in check.sentence for check in report.checks[1:])
    assert any("All gradients are zero" in note for note in report.heatmap.provenance.notes)


def test_a_classifier_is_judged_by_its_class(tmp_path: Path, scan: Volume) -> None:
    """Of three classes the strongest may have less than one half; the others are not seen."""
    folder = write_bundle(
        tmp_path / "b",
        network="$torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3), torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(),"
        " torch.nn.Linear(2, 3))",
        state={
            "0.weight": torch.randn(2, 1, 3, 3, 3, generator=torch.Generator().manual_seed(0)),
            "0.bias": torch.zeros(2),
            "3.weight": torch.zeros(3, 2) + torch.tensor([[0.0, 0.1]]),
            "3.bias": torch.tensor([0.0, 0.3, 0.1]),
        },
        outputs={"0": "none", "1": "low", "2": "high"},
        output_format="classification",
        extra={"imports": ["$import torch"]},
        steps=[],
    )
    bundle = ll.load_bundle(folder, trust=True)
    probabilities = ll.classify(bundle, scan)

    low, high = (ll.trust(bundle, scan, target=name, checks=["seen", "stability"]) for name in ("low", "high"))

    assert probabilities["low"] < 0.5
    assert (low["seen"].verdict, high["seen"].verdict) == ("passes", "fails")
    assert low["seen"].numbers["probability"] == pytest.approx(probabilities["low"])
    maps = ll.explain(bundle, scan, target=["high", "low"])
    assert [any("does not see" in note for note in one.provenance.notes) for one in maps] == [True, False]
    assert [one.unseen for one in maps] == [True, False]
    assert maps[0].provenance.options["class_probability"] == pytest.approx(probabilities["high"])
    with pytest.raises(ExplainError, match="one class is checked at a time; found 'all'"):
        ll.trust(bundle, scan, target="all")


def refused(stage: str, done: int, total: int) -> None:
    """Fail where the network is run."""
    raise AssertionError(f"{stage} was begun")


def test_what_does_not_exist_is_refused_before_the_work(bundle: Any, scan: Volume) -> None:
    """Nobody waits for minutes to read that a name was mistyped."""
    with pytest.raises(ExplainError, match="no check 'luck'"):
        ll.trust(bundle, scan, checks=["luck"])
    with pytest.raises(ExplainError, match="no method 'guess'"):
        ll.trust(bundle, scan, also=["guess"])
    with pytest.raises(ExplainError, match="needs a mask"):
        ll.trust(bundle, scan, checks=["localisation"])
    with pytest.raises(ExplainError, match="lies outside the scan, which spans"):
        ll.trust(bundle, scan, over=(500, 0, 0), progress=refused)
    other = marked(blob(straight_grid(), CENTRE)).volume
    moved = Volume(other.array[1:], other.grid.__class__((39, 38, 24), other.grid.affine))
    with pytest.raises(InputError, match="does not lie on the scan's grid"):
        ll.trust(bundle, scan, mask=LabelMap(moved, "lesion", {}, Provenance()))


def test_it_can_be_stopped_and_leaves_the_network_as_it_was(bundle: Any, scan: Volume) -> None:
    """A user who stops the checks goes on with the same network."""
    before = state_of(bundle.network)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "Destroying weights" and done == 2:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled, match="stopped"):
        ll.trust(bundle, scan, layer="1", progress=stop)
    assert state_of(bundle.network) == before
