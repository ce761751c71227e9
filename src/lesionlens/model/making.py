"""A small bundle made around a network and its weights: for what comes as a class and a checkpoint alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lesionlens.errors import BundleError, OutputError

__all__ = ["Recipe", "make_bundle"]


@dataclass(frozen=True)
class Recipe:
    """What a network is, and how it wants to see a scan.

    Parameters
    ----------
    network
        ``"module:Class"``, ``"file.py:Class"`` (the file is copied into the bundle), or a name of MONAI, ``"UNet"``.
    weights
        File with its state dict, by itself or in a checkpoint, such as nnU-Net's ``checkpoint_final.pth``.
    classes
        Names of the output channels, the background among them.
    inputs
        Names of the input channels.
    arguments
        What the class is called with.
    spacing_mm
        Voxel size that the network wants; None for that of the scan.
    window
        Voxels along each axis that it sees at a time; None for all.
    intensity
        ``"none"``, ``"zscore"``, or ``(low, high)``: values that are cut off and brought to 0 and 1.
    """

    network: str
    weights: Path
    classes: tuple[str, ...]
    inputs: tuple[str, ...] = ("image",)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    spacing_mm: tuple[float, float, float] | None = None
    window: tuple[int, int, int] | None = None
    intensity: str | tuple[float, float] = "none"


def make_bundle(recipe: Recipe, folder: Path, *, overwrite: bool = False) -> Path:
    """Write a bundle; nothing of the network or its weights is executed.

    Raises
    ------
    BundleError
        If the network is no name, or the weights are no file that can be weights.
    OutputError
        If the folder holds something already, or cannot be written.
    """
    suffix = recipe.weights.suffix
    if not recipe.weights.is_file() or suffix not in (".pt", ".pth", ".safetensors"):
        raise BundleError(f"Expected weights as a file .pt, .pth or .safetensors; found {recipe.weights}.")
    if not recipe.classes:
        raise BundleError("A bundle needs the names of its classes, one for each output channel.")
    target, file = _target(recipe.network)
    texts = {"inference.json": _text(_config(recipe, target)), "metadata.json": _text(_metadata(recipe, folder.name))}
    if folder.exists() and not overwrite:
        raise OutputError(f"{folder} exists already; choose another folder, or --overwrite it.")
    if folder.exists() and not (folder / "configs").is_dir():
        raise OutputError(f"{folder} is no bundle, so that it is not overwritten; choose another folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".making-", dir=folder.parent) as temporary:
            fresh = Path(temporary) / "bundle"
            _fill(fresh, texts, recipe.weights, file)
            if folder.exists():
                folder.rename(Path(temporary) / "before")
            fresh.rename(folder)
    except OSError as error:
        raise OutputError(f"Cannot write {folder}: {error.strerror or error}; nothing was made.") from error
    return folder


def _fill(folder: Path, texts: Mapping[str, str], weights: Path, file: Path | None) -> None:
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    for name, text in texts.items():
        (folder / "configs" / name).write_text(text, encoding="utf-8")
    shutil.copyfile(weights, folder / "models" / f"model{weights.suffix}")
    if file is not None:
        (folder / "scripts").mkdir()
        (folder / "scripts" / "__init__.py").write_text("", encoding="utf-8")
        shutil.copyfile(file, folder / "scripts" / file.name)


def _target(network: str) -> tuple[str, Path | None]:
    """Return what a config calls, and the file to take along."""
    module, separator, name = network.rpartition(":")
    if not separator:
        module, name = "", network
    if not all(part.isidentifier() for part in name.split(".")):
        raise BundleError(f"Expected a network as module:Class, file.py:Class or a name of MONAI; found {network!r}.")
    if module.endswith(".py"):
        file = Path(module)
        if not file.is_file() or not file.stem.isidentifier():
            raise BundleError(f"Expected a Python file with the class {name}; found {module!r}.")
        return f"scripts.{file.stem}.{name}", file
    if module and not all(part.isidentifier() for part in module.split(".")):
        raise BundleError(f"Expected the dotted name of a module before the colon; found {module!r}.")
    return f"{module}.{name}" if module else name, None


def _config(recipe: Recipe, target: str) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        _step("LoadImaged"),
        _step("EnsureChannelFirstd"),
        _step("Orientationd", axcodes="RAS"),
    ]
    if recipe.spacing_mm is not None:
        steps.append(_step("Spacingd", pixdim=list(recipe.spacing_mm), mode="bilinear"))
    if recipe.intensity == "zscore":
        steps.append(_step("NormalizeIntensityd", channel_wise=True))
    elif not isinstance(recipe.intensity, str):
        low, high = recipe.intensity
        steps.append(_step("ScaleIntensityRanged", a_min=low, a_max=high, b_min=0.0, b_max=1.0, clip=True))
    elif recipe.intensity != "none":
        raise BundleError(f"Intensities are 'none', 'zscore' or LOW,HIGH; found {recipe.intensity!r}.")
    steps.append(_step("EnsureTyped"))
    window = {"_target_": "SlidingWindowInferer", "roi_size": recipe.window, "overlap": 0.5, "mode": "gaussian"}
    activation = "softmax" if len(recipe.classes) > 1 else "sigmoid"
    return {
        "network_def": {"_target_": target, **recipe.arguments},
        "preprocessing": {"_target_": "Compose", "transforms": steps},
        "inferer": {"_target_": "SimpleInferer"} if recipe.window is None else window,
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "Activationsd", "keys": "pred", activation: True}],
        },
    }


def _step(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": name, "keys": "image", **arguments}


def _metadata(recipe: Recipe, name: str) -> dict[str, Any]:
    source = {"type": "image", "num_channels": len(recipe.inputs), "channel_def": _numbered(recipe.inputs)}
    output = {"type": "image", "format": "segmentation", "num_channels": len(recipe.classes)}
    output["channel_def"] = _numbered(recipe.classes)
    formats = {"inputs": {"image": source}, "outputs": {"pred": output}}
    return {"name": name, "version": "0.0.1", "task": "segmentation", "network_data_format": formats}


def _numbered(names: Sequence[str]) -> dict[str, str]:
    return {str(index): name for index, name in enumerate(names)}


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"
