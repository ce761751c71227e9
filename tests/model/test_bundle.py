"""Loading bundles: trust, weights, activation, device."""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lesionlens.errors import BundleError, ExplainError, InputError, UntrustedBundleError
from lesionlens.model import load_bundle
from lesionlens.model.device import choose_device
from lesionlens.model.reading import read_checkpoint as read_weights
from tiny_bundles import LOAD, SIGMOID, SOFTMAX, VOXELWISE_STATE, classifier, write_bundle


def test_bundle_from_outside_executes_nothing_unless_trusted(tmp_path: Path) -> None:
    """A config is code: without trust not even its imports run."""
    canary = tmp_path / "canary"
    bundle = write_bundle(tmp_path / "b", extra={"imports": [f"$open({str(canary)!r}, 'w').close()"]})

    with pytest.raises(UntrustedBundleError, match="--trust"):
        load_bundle(bundle)
    assert not canary.exists()

    load_bundle(bundle, trust=True)
    assert canary.exists()


def test_weights_with_code_are_refused_even_when_trusted(tmp_path: Path) -> None:
    """Trust is for the config; a pickle that calls something is never executed."""

    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "canary"),)

    bundle = write_bundle(tmp_path / "b")
    torch.save({"weight": Evil()}, bundle / "models" / "model.pt")

    with pytest.raises(BundleError, match=r"holds more than tensors and plain containers \(\w+.mkdir\)"):
        load_bundle(bundle, trust=True)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": None}, r"1 keys missing \(first: weight\)"),
        ({"extra": torch.zeros(1)}, r"1 not expected \(first: extra\)"),
        ({"weight": torch.zeros(3, 1, 1, 1, 1)}, r"weight has shape \(3, 1, 1, 1, 1\) in the file, \(2, 1, 1, 1, 1\)"),
    ],
)
def test_weights_that_do_not_fit_say_which_key(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """A network that runs with half of its weights would look like one that works."""
    state = {k: v for k, v in {**VOXELWISE_STATE, **change}.items() if v is not None}
    bundle = write_bundle(tmp_path / "b", state=state)

    with pytest.raises(BundleError, match=message):
        load_bundle(bundle, trust=True)


@pytest.mark.parametrize("wrap", ["model", "state_dict", "module."])
def test_usual_wrappings_of_weights_are_undone(tmp_path: Path, wrap: str) -> None:
    """Checkpoints and DataParallel wrap the same tensors."""
    wrapped = (
        {f"module.{k}": v for k, v in VOXELWISE_STATE.items()} if wrap == "module." else {wrap: dict(VOXELWISE_STATE)}
    )
    bundle = load_bundle(write_bundle(tmp_path / "b", state=wrapped), trust=True)

    assert torch.equal(bundle.network.state_dict()["bias"], VOXELWISE_STATE["bias"])


def test_safetensors_are_preferred_over_a_pickle(tmp_path: Path) -> None:
    """Where both are there, the file that cannot hold code is read."""
    folder = write_bundle(tmp_path / "b")
    save_file({k: v + 1 for k, v in VOXELWISE_STATE.items()}, folder / "models" / "model.safetensors")

    bundle = load_bundle(folder, trust=True)

    assert torch.equal(bundle.network.state_dict()["bias"], VOXELWISE_STATE["bias"] + 1)


@pytest.mark.parametrize(
    ("options", "activation", "reason"),
    [
        ({}, "softmax", "applies softmax"),
        ({"postprocessing": [SIGMOID]}, "sigmoid", "applies sigmoid"),
        ({"postprocessing": [{"_target_": "AsDiscreted", "keys": "pred", "argmax": True}]}, "softmax", "argmax"),
        ({"postprocessing": []}, "softmax", "2 output channels"),
        (
            {
                "network": {
                    "_target_": "torch.nn.Sequential",
                    "_args_": [{"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 2, "kernel_size": 1}],
                },
            },
            "softmax",
            "applies softmax",
        ),
    ],
)
def test_activation_is_decided_and_the_reason_kept(
    tmp_path: Path, options: dict[str, Any], activation: str, reason: str
) -> None:
    """Applying softmax twice, or not at all, gives probabilities that are wrong but look fine."""
    if "network" in options:
        options = {
            "network": "$torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1))",
            "extra": {"imports": ["$import torch"]},
            "state": {f"0.{k}": v for k, v in VOXELWISE_STATE.items()},
        }
    bundle = load_bundle(write_bundle(tmp_path / "b", **options), trust=True)

    assert bundle.activation.kind == activation
    assert reason in bundle.activation.reason


DISABLED = {**SIGMOID, "_disabled_": True}


@pytest.mark.parametrize(
    ("steps", "extra", "kind"),
    [
        ([DISABLED, SOFTMAX], {}, "softmax"),
        ([{**SIGMOID, "softmax": "$False", "sigmoid": "$True"}], {}, "sigmoid"),
        ([{**SIGMOID, "softmax": [False], "sigmoid": [True]}], {}, "sigmoid"),
        ([{**SIGMOID, "keys": ["label", "pred"], "sigmoid": [True, False], "softmax": [False, True]}], {}, "softmax"),
        ([{**SIGMOID, "sigmoid": "@independent", "softmax": "$not @independent"}], {"independent": True}, "sigmoid"),
        ("$@steps", {"steps": [SIGMOID]}, "sigmoid"),
        ([SIGMOID, {"_target_": "NoSuchWriterd", "keys": "pred"}], {}, "sigmoid"),
    ],
)
def test_activation_is_what_the_transform_does_not_what_its_text_says(
    tmp_path: Path, steps: Any, extra: dict[str, Any], kind: str
) -> None:
    """Configs switch steps off, compute flags, and refer to them; a step that cannot be built does not hide others."""
    folder = write_bundle(tmp_path / "b", postprocessing=steps, extra=extra)

    assert load_bundle(folder, trust=True).activation.kind == kind


def test_postprocessing_that_cannot_be_read_is_in_the_reason(tmp_path: Path) -> None:
    """The activation is then a guess, and a reader of the record must see it."""
    folder = write_bundle(tmp_path / "b", postprocessing=[{"_target_": "NoSuchActivationsd", "keys": "pred"}])

    reason = load_bundle(folder, trust=True).activation.reason

    assert "2 output channels and no activation in the config" in reason
    assert "postprocessing was not read" in reason


def test_zip_and_folder_load_alike(tmp_path: Path) -> None:
    """Both forms of a bundle have the same hashes."""
    folder = write_bundle(tmp_path / "b")
    archive = shutil.make_archive(str(tmp_path / "z"), "zip", folder)

    from_zip, from_folder = load_bundle(archive, trust=True), load_bundle(folder, trust=True)

    assert from_zip.weights_sha256 == from_folder.weights_sha256
    assert from_zip.bundle_sha256 == from_folder.bundle_sha256
    assert from_zip.weights_sha256 == hashlib.sha256((folder / "models" / "model.pt").read_bytes()).hexdigest()


def test_first_of_unnamed_exclusive_channels_is_the_background(tmp_path: Path) -> None:
    """By custom; channels that are independent have none, and neither have those of a classifier."""
    unnamed = {"0": "class 0", "1": "class 1"}
    by_softmax = load_bundle(write_bundle(tmp_path / "a", outputs=unnamed), trust=True).info
    by_sigmoid = load_bundle(write_bundle(tmp_path / "b", outputs=unnamed, postprocessing=[SIGMOID]), trust=True).info

    assert by_softmax.foreground == ("class 1",)
    assert "Channel 0 is taken for the background" in by_softmax.decisions[0]
    assert by_sigmoid.foreground == ("class 0", "class 1")
    assert not by_sigmoid.decisions


def test_a_trial_run_that_fails_is_on_record(tmp_path: Path) -> None:
    """What is then only assumed about the task must be seen."""
    network = "$torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.Unflatten(1, (3, 5)))"
    state = {"0.weight": torch.zeros(2, 1, 1, 1, 1), "0.bias": torch.zeros(2)}
    extra = {"imports": ["$import torch"]}
    folder = write_bundle(tmp_path / "b", network=network, state=state, extra=extra, output_format="probability")

    decisions = load_bundle(folder, trust=True).info.decisions

    assert any("taken for a segmentation" in decision and "NetworkError" in decision for decision in decisions)


def test_output_decides_what_the_metadata_do_not_say(tmp_path: Path) -> None:
    """A segmentation that announces its output as 'probability' gives maps all the same."""
    maps = load_bundle(write_bundle(tmp_path / "a", output_format="probability"), trust=True).info
    numbers = classifier(tmp_path / "b")
    path = numbers / "configs" / "metadata.json"
    path.write_text(path.read_text().replace('"format": "classification"', '"format": "probability"'))
    classes = load_bundle(numbers, trust=True).info

    assert (maps.task, maps.foreground) == ("segmentation", ("lesion",))
    assert (classes.task, classes.foreground) == ("classification", ("none", "high"))
    assert "the network's output does" in classes.decisions[0]


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("models/model.pt", "no weights"),
        ("configs/inference.json", "no inference config"),
        ("configs", "no MONAI bundle"),
    ],
)
def test_incomplete_bundles_are_named(tmp_path: Path, remove: str, message: str) -> None:
    """What is missing is said."""
    folder = write_bundle(tmp_path / "b")
    path = folder / remove
    shutil.rmtree(path) if path.is_dir() else path.unlink()

    with pytest.raises(BundleError, match=message):
        load_bundle(folder, trust=True)


def test_config_that_is_a_list_is_named(tmp_path: Path) -> None:
    """What was expected and what was found, not dict()'s complaint."""
    folder = write_bundle(tmp_path / "b")
    (folder / "configs" / "inference.json").write_text("[1, 2]")

    with pytest.raises(BundleError, match=r"inference\.json must hold named parts .*; found list"):
        load_bundle(folder, trust=True)


@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_weights_are_one_sentence(tmp_path: Path, legacy: bool, rng: np.random.Generator) -> None:
    """Flipped and missing bytes make torch raise almost anything; the user gets the path, and no advice to trust it."""
    path = tmp_path / "model.pt"
    torch.save(VOXELWISE_STATE, path, _use_new_zipfile_serialization=not legacy)
    whole = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    messages = []
    for _ in range(150):
        damaged = whole.copy()
        damaged[rng.integers(0, len(whole), 4)] = rng.integers(0, 256, 4)
        path.write_bytes(damaged[: rng.integers(1, len(whole) + 1)].tobytes())
        messages += refusal(path)

    assert len(messages) > 50
    assert all(str(path) in message and "\n" not in message for message in messages)
    assert not any("weights_only" in message for message in messages)


def refusal(path: Path) -> list[str]:
    """Return why weights are refused, if they are."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_weights(path)
    except BundleError as error:
        return [str(error)]
    return []


def test_weights_that_hold_code_are_named(tmp_path: Path) -> None:
    """A whole pickled network is refused; what it would import is said."""
    path = tmp_path / "model.pt"
    torch.save(torch.nn.Conv3d(1, 2, 1), path)

    with pytest.raises(BundleError, match=r"holds more than tensors.*torch\.nn.*state_dict\(\) alone"):
        read_weights(path)


EXPRESSION = "$monai.transforms.Compose([monai.transforms.LoadImaged(keys='image', ensure_channel_first=True)])"


@pytest.mark.parametrize("preprocessing", [EXPRESSION, LOAD], ids=["expression", "list"])
def test_preprocessing_may_be_an_expression_or_a_list(tmp_path: Path, preprocessing: Any) -> None:
    """The bundle's loader is replaced wherever it was made."""
    extra = {"imports": ["$import monai"], "preprocessing": preprocessing}
    bundle = load_bundle(write_bundle(tmp_path / "b", extra=extra), trust=True)

    assert bundle.loader.keys == ("image",)
    assert bundle.loader.channel_first == (preprocessing is EXPRESSION)
    assert not any("LoadImage" in type(step).__name__ for step in bundle.preprocessing.transforms)


@pytest.mark.parametrize(("indices", "refused"), [([0, 3, 1, 2], True), ([0, 1, 2, 3], False)])
def test_transposing_is_refused(tmp_path: Path, indices: list[int], refused: bool) -> None:
    """MONAI leaves the affine as it was, so that the map would lie many millimetres from the lesion."""
    step = {"_target_": "Transposed", "keys": "image", "indices": indices}
    folder = write_bundle(tmp_path / "b", steps=[step])
    if not refused:
        load_bundle(folder, trust=True)
        return

    with pytest.raises(BundleError, match=r"Transposed, which swaps axes .*use Orientationd"):
        load_bundle(folder, trust=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": {"_target_": "torch.nn.NoSuchLayer"}}, "'network_def'"),
        ({"steps": [{"_target_": "NoSuchTransformd", "keys": "image"}]}, "'preprocessing'"),
        ({"network": "$1 + 1"}, "must be a torch module; found int"),
    ],
)
def test_config_that_cannot_be_built_says_which_part(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """MONAI's errors are wrapped several times; the user gets the part and the root."""
    with pytest.raises(BundleError, match=message):
        load_bundle(write_bundle(tmp_path / "b", **options), trust=True)


def test_channel_is_found_by_name_or_number(tmp_path: Path) -> None:
    """Names in any case, numbers as text; others are answered with the list."""
    bundle = load_bundle(write_bundle(tmp_path / "b"), trust=True)

    assert [bundle.channel(t) for t in ("lesion", "LESION", 1, "1", "background")] == [1, 1, 1, 1, 0]
    for wrong in ("tumour", 2, "-1"):
        with pytest.raises(ExplainError, match=r"no class .* background, lesion"):
            bundle.channel(wrong)


def test_fastest_device_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA before MPS before the CPU; an absent one that was asked for is refused."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device().type == "cuda"
    assert choose_device("cuda:0").index == 0
    with pytest.raises(InputError, match="'cuda:1' is not available"):
        choose_device("cuda:1")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device().type == "mps"

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device() == torch.device("cpu")
    for wrong in ("cuda", "abacus"):
        with pytest.raises(InputError, match=f"{wrong!r}.*this machine has: cpu"):
            choose_device(wrong)


def test_network_is_ready_to_run(tmp_path: Path) -> None:
    """Evaluation mode and frozen weights: nothing that a caller could train by accident."""
    bundle = load_bundle(write_bundle(tmp_path / "b"), trust=True)

    assert not bundle.network.training
    assert not any(p.requires_grad for p in bundle.network.parameters())
