"""What is refused before the network sees the scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import lesionlens as ll
from lesionlens.errors import ExplainError
from lesionlens.model import Wish
from lesionlens.model.run import run_model
from tiny_bundles import CENTRE, SLIDING, VOXELWISE_STATE, blob, straight_grid, write_bundle


def _voxelwise(folder: Path, inferer: dict[str, Any] | None) -> Any:
    """Return the voxelwise bundle, with a layer '0' that can be explained."""
    written = write_bundle(
        folder,
        network="$torch.nn.Sequential(torch.nn.Identity(), torch.nn.Conv3d(1, 2, 1))",
        state={f"1.{k}": v for k, v in VOXELWISE_STATE.items()},
        inferer=inferer,
        extra={"imports": ["$import torch"]},
    )
    return ll.load_bundle(written, trust=True)


@pytest.fixture(scope="module", params=[None, SLIDING], ids=["whole", "windows"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a bundle that sees scans whole, and one that sees them through windows."""
    return _voxelwise(tmp_path_factory.mktemp("bundle") / "voxelwise", request.param)


def _nothing(*_: object, **__: object) -> None:
    raise AssertionError("the network ran on the scan")


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("cam", "CAM needs a classifier"),
        ("attention", "no attention matrices"),
        ("attention_gates", "no attention gates"),
        ("guided_backprop", "needs ReLU-like activations"),
    ],
)
def test_a_method_that_cannot_work_is_refused_before_the_work(
    bundle: Any, method: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prediction takes minutes; the message says what would work instead."""
    for name in ("explanation.infer", "run.infer", "trust.infer", "explanation.explained", "run.explained"):
        monkeypatch.setattr(f"lesionlens.model.{name}", _nothing)
    scan = blob(straight_grid(), CENTRE)

    with pytest.raises(ExplainError, match=f"{reason}.*Methods that would work: .*occlusion"):
        run_model(bundle, scan, Wish(method))
    with pytest.raises(ExplainError, match=reason):
        ll.explain(bundle, scan, method=method)
    if method in ("cam", "guided_backprop"):  # the others explain no class, which trust refuses by itself
        with pytest.raises(ExplainError, match=reason):
            ll.trust(bundle, scan, method=method)
        with pytest.raises(ExplainError, match=reason):
            ll.trust(bundle, scan, layer="0", also=[method])


def test_a_window_is_known_before_the_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a sliding window not even the preprocessing runs."""
    bundle = _voxelwise(tmp_path / "windows", SLIDING)
    for name in ("explanation", "run", "trust"):
        monkeypatch.setattr(f"lesionlens.model.{name}.prepare", _nothing)

    with pytest.raises(ExplainError, match="no attention matrices"):
        ll.explain(bundle, blob(straight_grid(), CENTRE), method="attention")


def test_who_names_no_method_gets_the_prediction(tmp_path: Path) -> None:
    """A default that does not suit is no reason to leave with nothing; one that was asked for is."""
    bundle = ll.load_bundle(write_bundle(tmp_path / "inexplicable"), trust=True)
    scan = blob(straight_grid(), CENTRE)

    output = run_model(bundle, scan, Wish())

    assert not output.attributions
    assert len(output.probabilities) == 1
    (warning,) = output.warnings
    assert warning.startswith("There is no attribution map: The network has no layer")
    assert "Methods that would work: saliency" in warning
    with pytest.raises(ExplainError, match="The network has no layer"):
        run_model(bundle, scan, Wish("layercam"))
