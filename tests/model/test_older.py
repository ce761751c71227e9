"""Configs of other versions of MONAI, and of machines with a GPU, are read as what they mean here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lesionlens.errors import BundleError, UntrustedBundleError
from lesionlens.model import load_bundle, predict
from lesionlens.model.older import adapted
from lesionlens.model.reading import read_inside
from lesionlens.model.safety import READER
from tiny_bundles import CENTRE, LOAD, VOXELWISE, blob, straight_grid, write_bundle

CPU = torch.device("cpu")


def _adapted(config: dict[str, Any], folder: Path = Path("b"), device: str = "cpu") -> tuple[dict[str, Any], str]:
    found, notices = adapted(config, folder, torch.device(device))
    return found, " ".join(notices)


def test_arguments_that_monai_gave_up_are_left_out_with_a_notice() -> None:
    """SwinUNETR takes any size today; a config that names one means the same network."""
    config = {"network_def": {"_target_": "SwinUNETR", "img_size": 96, "in_channels": 1, "out_channels": 2}}

    found, said = _adapted(config)

    assert found["network_def"] == {"_target_": "SwinUNETR", "in_channels": 1, "out_channels": 2}
    assert "SwinUNETR has no img_size any more" in said
    assert config["network_def"]["img_size"] == 96  # type: ignore[index]  # what was given stays as it was


def test_arguments_that_are_known_or_foreign_stay() -> None:
    """UNETR still wants its img_size, and what nobody knows is for MONAI to refuse."""
    config = {"network_def": {"_target_": "UNETR", "img_size": 96, "nonsense": 1}}

    found, said = _adapted(config)

    assert found == config
    assert not said


@pytest.mark.parametrize("ending", ["d", "D", "Dict"])
def test_transforms_that_monai_gave_up_are_called_by_todays_name(tmp_path: Path, ending: str) -> None:
    """``AddChanneld`` was in every config for years; the answer is that of the config of today."""
    load = [LOAD[0], {"_target_": f"AddChannel{ending}", "keys": "image", "meta_keys": "image_meta_dict"}]
    old = {"preprocessing": {"_target_": "Compose", "transforms": load}}
    scan = blob(straight_grid(), CENTRE)

    bundle = load_bundle(write_bundle(tmp_path / "old", extra=old))

    today = load_bundle(write_bundle(tmp_path / "today", steps=[]))
    assert np.array_equal(predict(bundle, scan)[0].volume.array, predict(today, scan)[0].volume.array)
    assert f"AddChannel{ending} is EnsureChannelFirst{ending} today" in " ".join(bundle.info.decisions)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$torch.device('cuda')", "$torch.device('cpu')"),
        ("$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')", "$torch.device('cpu')"),
        ('$@net.to(torch.device("cuda:1"))', "$@net.to(torch.device('cpu'))"),
        ("$torch.float16", "$torch.float32"),
        ("$np.float16", "$np.float32"),
        ("$torch.device('cpu')", "$torch.device('cpu')"),
        ("a text about cuda and torch.float16", "a text about cuda and torch.float16"),
    ],
)
def test_what_is_meant_for_a_gpu_runs_on_a_cpu(text: str, expected: str) -> None:
    """A config names the machine that it was written on."""
    assert _adapted({"x": [text]})[0] == {"x": [expected]}


def test_half_precision_stays_where_there_is_a_gpu() -> None:
    """There it is what the bundle was made for."""
    assert _adapted({"x": "$torch.float16"}, device="cuda")[0] == {"x": "$torch.float16"}


def _with_architecture(folder: Path, path: str = "$@bundle_root + '/models/search.pt'") -> Path:
    """Write a bundle whose network is made of numbers in a checkpoint, loaded to a GPU, as DiNTS is."""
    extra = {
        "search_path": path,
        "search": "$torch.load(@search_path, map_location=torch.device('cuda'))",
        "network_def": {**VOXELWISE, "kernel_size": "$@search['kernel']", "in_channels": "$len(@search['edges'])"},
    }
    bundle = write_bundle(folder, extra=extra)
    torch.save({"kernel": 1, "edges": np.ones((1, 2))}, bundle / "models" / "search.pt")
    return bundle


def test_checkpoints_that_a_config_loads_are_read_as_data(tmp_path: Path) -> None:
    """Without trust: arrays of numpy come along, the GPU is not needed, and nothing is executed."""
    bundle = load_bundle(_with_architecture(tmp_path / "b"))

    assert isinstance(bundle.network, torch.nn.Conv3d)
    assert any("is read as plain data" in text for text in bundle.info.decisions)


def test_checkpoints_outside_the_bundle_are_refused(tmp_path: Path) -> None:
    """A config must not read what it does not bring along, not even with a root of its own."""
    bundle = _with_architecture(tmp_path / "b", "../search.pt")
    torch.save({"kernel": 1, "edges": np.ones((1, 2))}, tmp_path / "search.pt")

    with pytest.raises(BundleError, match="is not in the bundle"):
        load_bundle(bundle)
    own_root = {"x": {"_target_": READER, "path": "search.pt", "root": str(tmp_path)}}
    assert _adapted(own_root, bundle)[0]["x"]["root"] == str(bundle)


def test_checkpoints_with_code_are_refused(tmp_path: Path) -> None:
    """Numbers of numpy are let through, and nothing else is."""

    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            import os

            return os.mkdir, (str(tmp_path / "CANARY"),)

    torch.save({"edges": np.ones(2), "evil": Evil()}, tmp_path / "search.pt")

    with pytest.raises(BundleError, match="holds more than tensors"):
        read_inside("search.pt", str(tmp_path))
    assert not (tmp_path / "CANARY").exists()
    torch.save({"edges": np.array([Evil()], dtype=object)}, tmp_path / "search.pt")
    with pytest.raises(BundleError, match=r"holds more than tensors|cannot be read as weights"):
        read_inside("search.pt", str(tmp_path))
    assert not (tmp_path / "CANARY").exists()


def test_a_bundle_for_another_monai_says_so(tmp_path: Path) -> None:
    """Whoever reads 'unexpected keyword' does not think of versions."""
    import json

    bundle = write_bundle(tmp_path / "b", network={"_target_": "UNet", "spatial_dims": 3, "of_tomorrow": 1})
    metadata = bundle / "configs" / "metadata.json"
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "monai_version": "9.9.9"}))

    with pytest.raises(BundleError, match=r"made for MONAI 9\.9\.9; installed is"):
        load_bundle(bundle)


def test_an_unknown_transform_is_named(tmp_path: Path) -> None:
    """It may be of a newer MONAI, or of nobody."""
    bundle = write_bundle(tmp_path / "b", steps=[{"_target_": "NoSuchTransformd", "keys": "image"}])

    with pytest.raises(UntrustedBundleError, match="NoSuchTransformd"):
        load_bundle(bundle)
    with pytest.raises(BundleError, match="NoSuchTransformd"):
        load_bundle(bundle, trust=True)
