"""Bundles shaped like those of the model zoo: each has a trap, and each gives the probabilities that it means."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lesionlens.errors import BundleError, MissingPackageError, UntrustedBundleError
from lesionlens.model import load_bundle, predict
from lesionlens.model.catalogue import hash_files
from lesionlens.volume import Grid, Volume
from tiny_bundles import CENTRE, LOAD, SIGMOID, SOFTMAX, VOXELWISE, VOXELWISE_STATE, blob, straight_grid, write_bundle

ARGMAX = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
INVERT = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"}
SAVE = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"}


@pytest.fixture(scope="module")
def scan() -> Volume:
    """Return a blob on a grid that is small enough for every test here."""
    affine = straight_grid().affine.copy()
    affine[:3, 3] = np.array(CENTRE) - affine[:3, :3] @ [8, 8, 5]
    return blob(Grid((16, 16, 10), affine), CENTRE)


def _closed_form(scan: Volume) -> Any:
    """Return what the voxelwise network says, 10 x - 5, as a probability."""
    return 1 / (1 + np.exp(5 - 10 * scan.array))


def _lesion(folder: Path, scan: Volume, **options: Any) -> Any:
    maps = {one.label: one.volume.array for one in predict(load_bundle(folder, **options), scan)}
    return maps["lesion"]


@pytest.mark.parametrize(
    "steps",
    [
        [SOFTMAX, INVERT, ARGMAX, SAVE],
        [SOFTMAX, ARGMAX, INVERT, SAVE],  # inverted after the argmax
        [ARGMAX, {"_target_": "KeepLargestConnectedComponentd", "keys": "pred"}, INVERT, SAVE],  # no activation at all
        [],
    ],
    ids=["stock", "argmax-before-inversion", "argmax-alone", "nothing"],
)
def test_masks_are_never_made_of_what_should_be_probabilities(
    tmp_path: Path, scan: Volume, steps: list[dict[str, Any]]
) -> None:
    """Whatever the bundle makes discrete, and when: the maps are the softmax of the logits."""
    folder = write_bundle(tmp_path / "b", postprocessing=steps, extra={"output_dir": "eval"})

    np.testing.assert_allclose(_lesion(folder, scan), _closed_form(scan), atol=1e-6)


def test_overlapping_classes_are_independent_and_have_no_background(tmp_path: Path, scan: Volume) -> None:
    """Of tumours, one class lies within another: their probabilities do not sum to one."""
    folder = write_bundle(
        tmp_path / "b",
        network={**VOXELWISE, "out_channels": 3},
        state={"weight": torch.tensor([10.0, 5.0, 10.0]).view(3, 1, 1, 1, 1), "bias": torch.tensor([-5.0, 0.0, -9.0])},
        outputs={"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing tumor"},
        postprocessing=[SIGMOID, INVERT, {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}, SAVE],
        extra={"output_dir": "eval"},
    )

    maps = {one.label: one.volume.array for one in predict(load_bundle(folder), scan)}

    assert list(maps) == ["Tumor core", "Whole tumor", "Enhancing tumor"]
    np.testing.assert_allclose(maps["Whole tumor"], 1 / (1 + np.exp(-5 * scan.array)), atol=1e-6)
    assert (maps["Whole tumor"] >= maps["Tumor core"]).all()


def test_steps_that_stand_elsewhere_in_the_config_are_found(tmp_path: Path, scan: Volume) -> None:
    """A config may keep its steps in a list of its own, and the key of the output in MONAI's names."""
    key = {"pred": "$monai.utils.CommonKeys.PRED"}
    steps = {"steps": [{**SIGMOID, "keys": "@pred"}]}
    folder = write_bundle(tmp_path / "b", postprocessing="$@steps", extra={**key, **steps})  # type: ignore[arg-type]

    assert load_bundle(folder).activation.kind == "sigmoid"


@pytest.mark.parametrize("name", ["channel_def", "label_def", "list", "none"])
def test_class_names_are_found_wherever_they_are(tmp_path: Path, name: str) -> None:
    """``channel_def``, ``label_def`` in its place, a list, or neither: then numbers."""
    folder = write_bundle(tmp_path / "b")
    path = folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    output = metadata["network_data_format"]["outputs"].pop("pred")
    names = output.pop("channel_def")
    if name != "none":
        output["label_def" if name == "label_def" else "channel_def"] = (
            list(names.values()) if name == "list" else names
        )
    metadata["network_data_format"]["outputs"]["segmentation"] = output  # not called pred
    path.write_text(json.dumps(metadata))

    expected = ("class 0", "class 1") if name == "none" else ("background", "lesion")
    assert load_bundle(folder).info.outputs == expected


def test_weights_under_another_name_are_found(tmp_path: Path, scan: Volume) -> None:
    """The config's checkpoint loader says which file it is; the one under a usual name goes first."""
    loader = {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/tuned_FT.pt'"}
    folder = write_bundle(tmp_path / "b", extra={"handlers": [loader]})
    (folder / "models" / "model.pt").rename(folder / "models" / "tuned_FT.pt")

    np.testing.assert_allclose(_lesion(folder, scan), _closed_form(scan), atol=1e-6)
    (folder / "models" / "tuned_FT.pt").unlink()
    with pytest.raises(BundleError, match=r"has no weights; expected one of .*tuned_FT\.pt"):
        load_bundle(folder)


def test_plain_checkpoints_with_numbers_of_numpy_are_weights(tmp_path: Path, scan: Volume) -> None:
    """nnU-Net keeps its weights beside its losses, which are numbers of numpy."""
    folder = write_bundle(tmp_path / "b")
    content = {
        "network_weights": VOXELWISE_STATE,
        "_best_ema": np.float64(0.9),
        "logging": {"losses": [np.float32(1.0)], "curve": np.zeros(3)},
        "init_args": {"fold": 0, "plans": {"patch": [1, 2, 3]}},
    }
    torch.save(content, folder / "models" / "model.pt")

    np.testing.assert_allclose(_lesion(folder, scan), _closed_form(scan), atol=1e-6)


def test_half_precision_runs_on_a_cpu(tmp_path: Path, scan: Volume) -> None:
    """Weights in float16, a network cast to it, and an image cast to it."""
    steps = [{"_target_": "CastToTyped", "keys": "image", "dtype": "$torch.float16"}]
    network = f"$torch.nn.Conv3d({VOXELWISE['in_channels']}, {VOXELWISE['out_channels']}, 1).half()"
    state = {key: value.half() for key, value in VOXELWISE_STATE.items()}
    folder = write_bundle(tmp_path / "b", network=network, state=state, steps=steps)

    found = _lesion(folder, scan, device="cpu")

    np.testing.assert_allclose(found, _closed_form(scan), atol=1e-6)  # the weights are whole numbers


SCRIPT = """
import torch
from scripts.parts import KERNEL


class Net(torch.nn.Conv3d):
    def __init__(self):
        super().__init__(1, 2, KERNEL)
"""


def _with_scripts(folder: Path, *, code: str = SCRIPT, kernel: str = "KERNEL = 1\n") -> Path:
    bundle = write_bundle(folder, network={"_target_": "scripts.nets.Net"})
    (bundle / "scripts").mkdir()
    (bundle / "scripts" / "__init__.py").write_text("")
    (bundle / "scripts" / "nets.py").write_text(code)
    (bundle / "scripts" / "parts.py").write_text(kernel)
    return bundle


def test_scripts_of_a_bundle_need_trust_and_do_not_clash(tmp_path: Path, scan: Volume) -> None:
    """Every bundle calls its package 'scripts': the second must not get the first one's, and nothing is left behind."""
    import sys

    one, two = _with_scripts(tmp_path / "one"), _with_scripts(tmp_path / "two", kernel="KERNEL = (1, 1, 1)\n")
    before, sha256 = list(sys.path), hash_files(one)

    with pytest.raises(UntrustedBundleError, match=r"scripts\.nets\.Net"):
        load_bundle(one)
    for folder, size in ((one, (1, 1, 1)), (two, (1, 1, 1))):
        bundle = load_bundle(folder, trust=True)
        assert bundle.network.kernel_size == size
        assert type(bundle.network).__module__ == "scripts.nets"
        np.testing.assert_allclose(predict(bundle, scan)[0].volume.array, _closed_form(scan), atol=1e-6)
    first, second = (type(load_bundle(folder, trust=True).network) for folder in (one, two))
    assert first is not second
    assert sys.path == before
    assert "scripts.nets" not in sys.modules
    assert hash_files(one) == sha256
    assert not list(one.rglob("__pycache__"))


def test_a_module_named_like_a_library_does_not_replace_it(tmp_path: Path) -> None:
    """Not even of a trusted bundle: what torch means is not for a bundle to say."""
    bundle = _with_scripts(tmp_path / "b")
    for name in ("torch", "monai", "json"):
        (bundle / name).mkdir()
        (bundle / name / "__init__.py").write_text("raise RuntimeError('shadowed')")

    assert load_bundle(bundle, trust=True).network.kernel_size == (1, 1, 1)


def test_missing_packages_are_named_with_the_line_that_installs_them(tmp_path: Path) -> None:
    """With the version that the bundle was made with; an import that nothing needs is left out instead."""
    bundle = _with_scripts(tmp_path / "b", code=f"import no_such_package_of_lesionlens\n{SCRIPT}")
    path = bundle / "configs" / "metadata.json"
    versions = {"optional_packages_version": {"no_such_package_of_lesionlens": "0.6.7"}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **versions}))

    with pytest.raises(MissingPackageError, match=r"made with version 0\.6\.7.*pip install no_such_package_of_les"):
        load_bundle(bundle, trust=True)
    idle = _with_scripts(tmp_path / "idle")
    config = json.loads((idle / "configs" / "inference.json").read_text())
    config["imports"] = ["$import no_such_package_of_lesionlens"]
    (idle / "configs" / "inference.json").write_text(json.dumps(config))
    assert load_bundle(idle, trust=True).network.kernel_size == (1, 1, 1)


@pytest.mark.parametrize("kind", ["script", "export"])
def test_networks_that_are_programs_run_when_they_are_trusted(tmp_path: Path, scan: Volume, kind: str) -> None:
    """TorchScript and exported graphs are code; the answer is that of the network that they were made of."""
    network = torch.nn.Conv3d(1, 2, 1)
    network.load_state_dict(VOXELWISE_STATE)
    folder = write_bundle(tmp_path / "b", inferer={"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 8]})
    (folder / "models" / "model.pt").unlink()
    example = torch.zeros(1, 1, 8, 8, 8)
    if kind == "script":
        with warnings.catch_warnings():  # there is something newer
            warnings.simplefilter("ignore")
            torch.jit.trace(network, example).save(folder / "models" / "model.ts")
    else:
        torch.export.save(torch.export.export(network.eval(), (example,)), folder / "models" / "model.pt2")

    with pytest.raises(UntrustedBundleError, match="the network itself is code"):
        load_bundle(folder)
    np.testing.assert_allclose(_lesion(folder, scan, trust=hash_files(folder)), _closed_form(scan), atol=1e-6)


def test_networks_of_slices_see_a_volume_slice_by_slice(tmp_path: Path, scan: Volume) -> None:
    """A config for 2D images has a plain inferer; voxel by voxel the answer is that of the volume."""
    flat = {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": 1}
    state = {"weight": VOXELWISE_STATE["weight"][..., 0], "bias": VOXELWISE_STATE["bias"]}
    folder = write_bundle(tmp_path / "b", network=flat, state=state)

    bundle = load_bundle(folder)

    np.testing.assert_allclose(predict(bundle, scan)[0].volume.array, _closed_form(scan), atol=1e-6)
    assert "slice by slice" in bundle.info.decisions[-1]


@pytest.mark.parametrize(
    ("source", "output", "reason"),
    [
        ({"type": "noise", "format": "latent"}, {}, "random numbers"),
        ({}, {"format": "magnitude"}, "it makes images"),
        ({}, {"type": "tuples", "format": "points"}, "landmarks"),
        ({"spatial_shape": [64, 64], "num_channels": 3}, {}, "2D images of 3 channels"),
    ],
)
def test_bundles_for_something_else_are_refused_before_trust(
    tmp_path: Path, source: dict[str, Any], output: dict[str, Any], reason: str
) -> None:
    """Nobody should be asked to trust what cannot be used."""
    folder = write_bundle(tmp_path / "b", network={"_target_": "scripts.nets.Generator"})
    path = folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["network_data_format"]["inputs"]["image"].update(source)
    metadata["network_data_format"]["outputs"]["pred"].update(output)
    path.write_text(json.dumps(metadata))

    with pytest.raises(BundleError, match=reason) as caught:
        load_bundle(folder)
    assert not isinstance(caught.value, UntrustedBundleError)


def test_guidance_of_clicks_is_empty_where_nobody_clicks(tmp_path: Path, scan: Volume) -> None:
    """DeepEdit's network sees the image and a channel for each class; without clicks these are zero."""
    clicks = [{"_target_": f"{name}DeepEditd", "guidance": "guidance"} for name in ("AddGuidanceFromPoints",)]
    weight = torch.tensor([[0.0, 7.0, 7.0], [10.0, 7.0, 7.0]]).view(2, 3, 1, 1, 1)
    folder = write_bundle(
        tmp_path / "b",
        network={**VOXELWISE, "in_channels": "$len(@label_names) + 1"},
        state={"weight": weight, "bias": VOXELWISE_STATE["bias"]},
        inputs={"0": "image", "1": "clicks", "2": "more clicks"},
        extra={
            "label_names": {"lesion": 1, "background": 0},
            "deepedit_transforms": clicks,
            "preprocessing": {"_target_": "Compose", "transforms": "$@load + @deepedit_transforms"},
            "load": LOAD,
        },
    )

    np.testing.assert_allclose(_lesion(folder, scan), _closed_form(scan), atol=1e-6)
