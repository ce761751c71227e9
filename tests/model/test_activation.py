"""Probabilities are made once, whoever makes them, and a network is explained by the logits behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lesionlens as ll
from lesionlens.model.activation import Activation, observed
from tiny_bundles import (
    CENTRE,
    SIGMOID,
    SLIDING,
    SOFTMAX,
    VOXELWISE_STATE,
    blob,
    classifier,
    straight_grid,
    write_bundle,
)

ARGMAX = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
STATE = {f"conv.{k}": v for k, v in VOXELWISE_STATE.items()}
MULTILABEL = {"0": "a", "1": "b"}
SCAN = blob(straight_grid(), CENTRE)
SINGLE = 1 / (1 + np.exp(-(10 * SCAN.array.astype(np.float64) - 5)))  # softmax over (0, z) is the sigmoid of z


def ending(folder: Path, how: str, **options: Any) -> Any:
    """Return the voxelwise network that ends in a certain way, as a bundle."""
    network = {"_target_": "tiny_networks.Ending", "how": how}
    return ll.load_bundle(write_bundle(folder, network=network, state=STATE, steps=[], **options), trust=True)


def module(folder: Path, last: str, **options: Any) -> Any:
    """Return the voxelwise network behind a final activation module, as a bundle."""
    network = f"$torch.nn.Sequential(torch.nn.Identity(), torch.nn.Conv3d(1, 2, 1), {last})"
    state = {f"1.{k}": v for k, v in VOXELWISE_STATE.items()}
    extra = {"imports": ["$import torch"]}
    return ll.load_bundle(
        write_bundle(folder, network=network, state=state, steps=[], extra=extra, **options), trust=True
    )


@pytest.mark.parametrize("inferer", [None, SLIDING], ids=["whole", "sliding"])
@pytest.mark.parametrize("steps", [[SOFTMAX], [ARGMAX], [], [SIGMOID]], ids=["softmax", "argmax", "nothing", "sigmoid"])
def test_softmax_by_a_function_is_not_applied_again(tmp_path: Path, steps: Any, inferer: Any) -> None:
    """A second softmax would squeeze all probabilities between 0.27 and 0.73, without a sign of it."""
    (heatmap,) = ll.predict(ending(tmp_path / "b", "softmax", postprocessing=steps, inferer=inferer), SCAN)

    np.testing.assert_allclose(heatmap.array, SINGLE, atol=1e-5)
    assert "softmax already" in heatmap.provenance.options["activation_reason"]


@pytest.mark.parametrize("inferer", [None, SLIDING], ids=["whole", "sliding"])
def test_sigmoid_by_a_function_is_not_applied_again(tmp_path: Path, inferer: Any) -> None:
    """A second sigmoid would make a lesion of the whole scan: no probability would be below 0.5."""
    bundle = ending(tmp_path / "b", "sigmoid", postprocessing=[], outputs=MULTILABEL, inferer=inferer)

    maps = ll.predict(bundle, SCAN)

    np.testing.assert_allclose(maps[1].array, SINGLE, atol=1e-5)
    assert "sigmoid already" in maps[1].provenance.options["activation_reason"]


@pytest.mark.parametrize("inferer", [None, SLIDING], ids=["whole", "sliding"])
@pytest.mark.parametrize("last", ["torch.nn.Softmax(dim=1)", "torch.nn.LogSoftmax(dim=1)"])
def test_network_that_ends_in_a_softmax_module_gets_no_second_one(tmp_path: Path, last: str, inferer: Any) -> None:
    """Its output is a probability already; its region is where the class is the strongest, not where p > 0."""
    bundle = module(tmp_path / "b", last, inferer=inferer)

    (heatmap,) = ll.predict(bundle, SCAN)
    cam = ll.explain(bundle, SCAN, layer="0")

    np.testing.assert_allclose(heatmap.array, SINGLE, atol=1e-5)
    assert "margin of 'lesion'" in cam.provenance.target
    assert f"({(SINGLE > 0.5).sum():,} voxels)" in cam.provenance.target


@pytest.mark.parametrize("inferer", [None, SLIDING], ids=["whole", "sliding"])
def test_labels_behind_a_sigmoid_module_are_explained_by_their_own_logits(tmp_path: Path, inferer: Any) -> None:
    """Class 'a' is flat: the margin over 'b' would explain 'a' by the absence of 'b'."""
    bundle = module(tmp_path / "b", "torch.nn.Sigmoid()", postprocessing=[], outputs=MULTILABEL, inferer=inferer)

    flat = ll.explain(bundle, SCAN, layer="0", target="a")
    heatmap = ll.explain(bundle, SCAN, layer="0", target="b")

    assert "mean logit of 'a'" in flat.provenance.target
    assert not flat.array.any()
    assert f"({(SINGLE > 0.5).sum():,} voxels)" in heatmap.provenance.target
    np.testing.assert_allclose(ll.predict(bundle, SCAN)[1].array, SINGLE, atol=1e-5)


@pytest.mark.parametrize("how", ["softmax", "sigmoid"])
@pytest.mark.parametrize("inferer", [None, SLIDING], ids=["whole", "sliding"])
def test_hidden_logits_are_explained_as_those_of_a_module(tmp_path: Path, how: str, inferer: Any) -> None:
    """Margins of log probabilities are margins of logits: the map is the same whether the logits can be seen or not."""
    last = {"softmax": "torch.nn.Softmax(dim=1)", "sigmoid": "torch.nn.Sigmoid()"}[how]
    options: dict[str, Any] = {"postprocessing": [], "inferer": inferer}
    options["outputs"] = MULTILABEL if how == "sigmoid" else None
    # The layer of the hidden one is the convolution; put the same layer before the module.
    hidden = ll.explain(ending(tmp_path / "hidden", how, **options), SCAN, layer="conv", target=1)
    seen = ll.explain(module(tmp_path / "seen", last, **options), SCAN, layer="1", target=1)

    assert hidden.provenance.target == seen.provenance.target
    scale = np.abs(seen.array).max()
    if inferer is None:
        np.testing.assert_allclose(hidden.array, seen.array, atol=1e-4 * scale)
        assert hidden.provenance.options["score"] == pytest.approx(seen.provenance.options["score"], rel=1e-4)
    assert any("network returns probabilities" in note for note in hidden.provenance.notes)
    assert not any("network returns probabilities" in note for note in seen.provenance.notes)


def test_gate_that_is_registered_last_is_not_the_end(tmp_path: Path) -> None:
    """An attention gate's sigmoid says nothing about the output, which needs its softmax."""
    bundle = ending(tmp_path / "b", "gate")

    (heatmap,) = ll.predict(bundle, SCAN)

    np.testing.assert_allclose(heatmap.array, SINGLE, atol=1e-5)
    assert heatmap.provenance.options["activation_in_network"] is False
    assert "margin of 'lesion'" in ll.explain(bundle, SCAN, layer="conv").provenance.target


def test_classification_within_0_and_1_is_followed_with_a_doubt(tmp_path: Path) -> None:
    """Two numbers can be logits in [0, 1] by chance: the config is followed, and the record says so."""
    folder = classifier(tmp_path / "b")
    torch.save({"2.weight": torch.tensor([[0.0], [1.0]]), "2.bias": torch.zeros(2)}, folder / "models" / "model.pt")

    found = observed(Activation("softmax", reason="postprocessing applies softmax"), torch.tensor([0.0, 0.4]))

    assert not found.applied
    assert "may be probabilities already" in found.doubt
    assert ll.classify(ll.load_bundle(folder, trust=True), SCAN)["none"] < 0.5


@pytest.mark.parametrize(
    ("output", "kind", "applied"),
    [
        ([[0.2, 0.6], [0.8, 0.4]], "softmax", True),
        ([[0.2, 0.6], [0.8, 0.5]], "sigmoid", True),  # one voxel does not sum to 1
        ([[-0.2, 0.6], [1.2, 0.4]], "softmax", False),  # sums to 1, but below 0
        ([[0.2, 0.6], [0.8, 1.5]], "softmax", False),
    ],
)
def test_output_shows_what_was_applied(output: list[list[float]], kind: str, applied: bool) -> None:
    """Each rule in both directions, on two voxels; the config names nothing."""
    found = observed(Activation("softmax"), torch.tensor(output))

    assert (found.kind, found.applied) == (kind, applied)


def test_softmax_that_the_config_names_is_applied_to_values_in_0_and_1() -> None:
    """Logits behind a clamp may lie in [0, 1]; the config knows better, and the record keeps the doubt."""
    found = observed(Activation("softmax", source="argmax"), torch.tensor([[0.2, 0.6], [0.8, 0.5]]))

    assert (found.kind, found.applied) == ("softmax", False)
    assert found.doubt


def test_named_sigmoid_is_applied_on_every_scan_alike() -> None:
    """One bright voxel elsewhere must not change how another is read: the config is followed, with a doubt if any."""
    stated, outputs = Activation("sigmoid", source="config"), torch.tensor([[0.9, 0.4], [0.3, 0.8]])

    inside, outside = observed(stated, outputs), observed(stated, outputs + torch.tensor([0.0, 0.7]))

    torch.testing.assert_close(inside.probabilities(outputs)[:, 0], torch.sigmoid(outputs)[:, 0])
    torch.testing.assert_close(outside.probabilities(outputs)[:, 0], torch.sigmoid(outputs)[:, 0])
    assert "may be probabilities already" in inside.doubt
    assert not outside.doubt
