"""A class and its weights alone become a bundle that gives what the class gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lesionlens.cli import main
from lesionlens.errors import BundleError, OutputError, UntrustedBundleError
from lesionlens.model import load_bundle, predict
from lesionlens.model.making import Recipe, make_bundle
from lesionlens.volume import Grid
from tiny_bundles import VOXELWISE_STATE, blob

CODE = """
import pathlib
import torch

(pathlib.Path(__file__).parent.parent / "executed").touch()


class Net(torch.nn.Conv3d):
    def __init__(self, kernel):
        super().__init__(1, 2, kernel)
"""


def test_a_file_with_a_class_and_a_checkpoint_become_a_bundle(tmp_path: Path) -> None:
    """As nnU-Net keeps weights; nothing runs before the bundle is trusted, and then the answer is known by hand."""
    (tmp_path / "net.py").write_text(CODE)
    torch.save({"network_weights": VOXELWISE_STATE, "_best_ema": np.float64(1)}, tmp_path / "checkpoint_final.pth")
    words = ["--network", f"{tmp_path / 'net.py'}:Net", "--weights", str(tmp_path / "checkpoint_final.pth")]
    more = ["--classes", "background, lesion", "--arguments", '{"kernel": 1}', "--window", "8,8,8"]

    assert main(["bundles", "make", str(tmp_path / "mine"), *words, *more]) == 0

    with pytest.raises(UntrustedBundleError, match=r"scripts\.net\.Net"):
        load_bundle(tmp_path / "mine")
    assert not list(tmp_path.rglob("executed"))
    scan = blob(Grid((9, 8, 10), np.eye(4)), (4, 4, 5), radius_mm=2)
    (found,) = predict(load_bundle(tmp_path / "mine", trust=True), scan)
    assert found.label == "lesion"
    np.testing.assert_allclose(found.volume.array, 1 / (1 + np.exp(5 - 10 * scan.array)), atol=1e-6)


def test_a_network_of_monai_needs_no_trust(tmp_path: Path) -> None:
    """Its name and arguments are all that the config holds."""
    from monai.networks.nets import UNet

    arguments = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [4, 8], "strides": [2]}
    torch.save(UNet(**arguments).state_dict(), tmp_path / "w.pt")
    recipe = Recipe(
        "UNet", tmp_path / "w.pt", ("lesion",), ("FLAIR",), arguments, (2.0, 2.0, 2.0), (16, 16, 16), (0.0, 100.0)
    )

    bundle = load_bundle(make_bundle(recipe, tmp_path / "b"))

    with pytest.raises(OutputError, match="exists already"):
        make_bundle(recipe, tmp_path / "b")
    make_bundle(recipe, tmp_path / "b", overwrite=True)
    with pytest.raises(OutputError, match="is no bundle"):
        make_bundle(recipe, tmp_path, overwrite=True)
    assert isinstance(bundle.network, UNet)
    assert (bundle.info.inputs, bundle.info.outputs, bundle.activation.kind) == (("FLAIR",), ("lesion",), "sigmoid")
    assert [type(step).__name__ for step in bundle.preprocessing.transforms] == [
        *("EnsureChannelFirstd", "Orientationd", "Spacingd", "ScaleIntensityRanged", "EnsureTyped"),
    ]


@pytest.mark.parametrize(
    ("network", "weights", "message"),
    [
        ("os; import sys", "w.pt", "Expected a network"),
        ("no_such_file.py:Net", "w.pt", "Expected a Python file"),
        ("a/b:Net", "w.pt", "dotted name of a module"),
        ("UNet", "missing.pt", "Expected weights"),
        ("UNet", "w.onnx", "Expected weights"),
    ],
)
def test_what_is_no_network_or_no_weights_is_refused(tmp_path: Path, network: str, weights: str, message: str) -> None:
    """Nothing is written then."""
    for name in ("w.pt", "w.onnx"):
        (tmp_path / name).write_bytes(b"")

    with pytest.raises(BundleError, match=message):
        make_bundle(Recipe(network, tmp_path / weights, ("lesion",)), tmp_path / "b")
    assert not (tmp_path / "b").exists()
