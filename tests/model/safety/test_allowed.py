"""Configs as the model zoo has them are known to be harmless, and are built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lesionlens.model import load_bundle
from lesionlens.model.check import check_bundle
from lesionlens.model.safety import judge
from lesionlens.model.safety.expressions import expression_problem
from lesionlens.model.safety.names import call_problem
from tiny_bundles import LOAD, write_bundle

DEVICE = "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"
#: Networks as bundles of the zoo name them, small.
NETWORKS: dict[str, Any] = {
    "UNet": {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2]},
    "SegResNet": {"spatial_dims": 3, "init_filters": 8, "in_channels": 1, "out_channels": 2},
    "monai.networks.nets.DynUNet": {
        **{"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "kernel_size": [3, 3, 3], "strides": [1, 2, 2]},
        **{"upsample_kernel_size": [2, 2], "filters": [4, 8, 16]},
    },
    "BasicUNet": {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "features": [4, 4, 4, 4, 4, 4]},
    "monai.networks.nets.swin_unetr.SwinUNETR": {"in_channels": 1, "out_channels": 2, "feature_size": 12},
    "VNet": {"spatial_dims": 3, "in_channels": 1, "out_channels": 2},
    "DenseNet121": {"spatial_dims": 3, "in_channels": 1, "out_channels": 2},
    "torch.nn.Conv3d": {"in_channels": 1, "out_channels": 2, "kernel_size": 1},
}
STEPS: list[dict[str, Any]] = [
    *LOAD,
    {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "RAS"},
    {"_target_": "Spacingd", "keys": "@image_key", "pixdim": [1.5, 1.5, 2.0], "mode": "bilinear"},
    {
        "_target_": "ScaleIntensityRanged",
        "keys": "@image_key",
        "a_min": -57,
        "a_max": 164,
        "b_min": 0,
        "b_max": 1,
        "clip": True,
    },
    {"_target_": "CropForegroundd", "keys": "@image_key", "source_key": "image", "select_fn": "$lambda x: x > 0"},
    {"_target_": "EnsureTyped", "keys": "@image_key", "device": "@device"},
]


def _stock(network: dict[str, Any]) -> dict[str, Any]:
    """Return the parts that bundles of the zoo have beside a network, those that LesionLens does not run too."""
    return {
        "imports": ["$import glob", "$import os", "$import numpy as np"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$list(sorted(glob.glob(@bundle_root + '/*.nii.gz')))",
        "image_key": "image",
        "device": DEVICE,
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": STEPS},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 32], "sw_batch_size": 4, "overlap": 0.5},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
            ],
        },
        "handlers": [{"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'"}],
        "evaluator": {"_target_": "SupervisedEvaluator", "network": "@network"},
        "run": ["$@evaluator.run()"],
        "initialize": ["$monai.utils.set_determinism(seed=123)", "$setattr(torch.backends.cudnn, 'benchmark', True)"],
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_stock_configs_are_harmless_and_built(tmp_path: Path, name: str) -> None:
    """What the zoo's bundles have in common needs nobody's trust, and gives the network that trust would give."""
    from pydoc import locate

    import monai

    network = {"_target_": name, **NETWORKS[name]}
    made = locate(name) or getattr(monai.networks.nets, name)
    bundle = write_bundle(tmp_path / "b", state=made(**NETWORKS[name]).state_dict(), extra=_stock(network))  # type: ignore[operator]

    found = check_bundle(bundle)

    assert not found.concerns
    assert found.problem == ""
    assert found.bundle is not None
    trusted = load_bundle(bundle, trust=True)
    assert type(found.bundle.network) is type(trusted.network)
    assert all(
        torch.equal(a, b) for a, b in zip(found.bundle.network.parameters(), trusted.network.parameters(), strict=True)
    )
    assert found.bundle.activation.kind == trusted.activation.kind
    assert [type(t) for t in found.bundle.preprocessing.transforms] == [
        type(t) for t in trusted.preprocessing.transforms
    ]


@pytest.mark.parametrize(
    "text",
    [
        DEVICE,
        "$@network_def.to(@device)",
        "$@bundle_root + '/models/model.pt'",
        "$lambda x: x > 0",
        "$@detector.set_target_keys(box_key='box', label_key='label')",
        "$monai.networks.nets.resnet.resnet50(spatial_dims=3, n_input_channels=1, conv1_t_size=[7, 7, 7])",
        "$@anchor_generator.num_anchors_per_location()[0]",
        "$[max(2 * 3, 16), 16 // 2, -1]",
        "$torch.float16",
        "$np.float32",
        "$None if @x is None else (1, 2)",
        "$lambda x: (x - x.mean()) / x.std().clamp(min=1e-6)",
        "$lambda x: torch.where(x[[2]] > 0, 4, torch.nan_to_num(x[[0]]))",
        "$monai.utils.CommonKeys.PRED",
        "$torch.from_numpy(@search['node_a'])",
        "$list(range(33, 57)) + [114, 120]",
    ],
)
def test_usual_expressions_are_harmless(text: str) -> None:
    """The subset is large enough for what configs of the zoo compute."""
    assert expression_problem(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("$open('x')", "the name open"),
        ("$@x.__class__", "the attribute __class__"),
        ("$[0] * 1000", "product"),
        ("$@x * 1000", "product"),
        ("$2 ** 9999999", "binop|pow"),
        ("$10000000000", "the number"),
        ("$[x for x in (1, 2)]", "listcomp"),
        ("$torch.load('x')", "torch.load"),
        ("$np.load('x')", "np.load"),
        ("$getattr(torch, 'os')", "the name getattr"),
        ("$list(range(1000000))", "a range that may be long"),
        ("$monai.utils.CommonKeys", "monai.utils.CommonKeys"),
        ("$monai.utils.module.PYDOC", "monai.utils.module"),
        ("$torch.from_file('x')", "torch.from_file"),
        ("$lambda x: x.flip(1)", "the attribute flip"),
        ("$np.fromfile('x')", "np.fromfile"),
        ("$monai.networks.nets.EfficientNetBN('efficientnet-b0')", "fetches weights"),
        ("$monai.networks.nets.UNet(**@x)", "not written out"),
        ("$'x'.format(1)", "the attribute format"),
        ("$" + "(" * 300 + ")" * 300, "no single expression"),
        ("$1; 2", "no single expression"),
    ],
)
def test_other_expressions_say_what_is_wrong_with_them(text: str, reason: str) -> None:
    """A person decides by the reason."""
    import re

    assert re.search(reason, expression_problem(text) or "")


@pytest.mark.parametrize(
    ("name", "harmless"),
    [
        ("UNet", True),
        ("monai.networks.nets.unet.UNet", True),
        ("SlidingWindowInferer", True),
        ("torch.nn.Linear", True),
        ("resnet18", True),
        ("os.system", False),
        ("builtins.eval", False),
        ("SaveImaged", False),
        ("TorchVision", False),
        ("monai.utils.optional_import", False),
        ("monai.bundle.run", False),
        ("torch.nn.init.os", False),
        ("torch.hub.load", False),
        ("monai.networks.nets._anything", False),
        ("NoSuchThing", False),
    ],
)
def test_names_that_may_be_called(name: str, harmless: bool) -> None:
    """Networks, transforms and inferers; nothing that reads, writes or calls what a text names."""
    assert (call_problem(name) is None) == harmless


def test_weights_from_the_net_are_switched_off_with_a_notice() -> None:
    """A bundle brings its weights; a network that would fetch others by default is told not to."""
    config = {"network_def": {"_target_": "EfficientNetBN", "model_name": "efficientnet-b0", "spatial_dims": 3}}

    judged = judge(config, ["network_def"])

    assert not judged.concerns
    assert judged.config["network_def"]["pretrained"] is False
    assert "pretrained is set to False" in judged.notices[0]
    assert "pretrained" not in config["network_def"]


def test_names_that_this_monai_does_not_have_are_said_to_be_unknown() -> None:
    """Trust would not help: the config is of another version, or misspelt."""
    problem = call_problem("FrobnicateD")
    assert problem is not None
    assert "no name of the MONAI that is installed" in problem
    assert "neither of MONAI" in (call_problem("os.system") or "")
