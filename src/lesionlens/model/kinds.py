"""Networks that want more than a volume, or less: classes by their numbers, channels of clicks, single slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from monai.inferers import SimpleInferer, SliceInferer, SlidingWindowInferer

from lesionlens.errors import BundleError
from lesionlens.model.activation import Activation
from lesionlens.model.catalogue import BundleInfo
from lesionlens.model.config import Parts
from lesionlens.model.metadata import stated_classes
from lesionlens.model.prompts import ClassPrompts, EmptyGuidance, asked_classes, guidance_channels, takes_classes

__all__ = ["by_slices", "prompted"]

# Voxels of a window of a network with prompts whose config does not say it, as VISTA3D was trained.
_WINDOW = (128, 128, 128)
_FLAT = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
_DEEP = (torch.nn.Conv3d, torch.nn.ConvTranspose3d)


def prompted(folder: Path, parts: Parts, info: BundleInfo, classes: Sequence[str]) -> tuple[Parts, BundleInfo]:
    """Give a network that wants more than an image what it wants, so that an image alone goes in.

    Raises
    ------
    BundleError
        If classes are named that it does not have, or of a network that has no such choice.
    """
    if takes_classes(parts.network):
        return _with_classes(folder, parts, info, classes)
    if classes:
        raise BundleError(
            f"{info.name} gives all of its {len(info.outputs)} classes at once: it takes no choice of classes. Leave it"
            " out, or name the class to explain with --target."
        )
    channels = guidance_channels(parts.config)
    if not channels:
        return parts, info
    decision = f"Nobody clicks: the {channels} channels of guidance that {info.name} takes beside the image are empty."
    inputs = info.inputs[: max(1, len(info.inputs) - channels)]
    found = replace(info, inputs=inputs, decisions=(*info.decisions, decision))
    return replace(parts, network=EmptyGuidance(parts.network, channels)), found


def _with_classes(folder: Path, parts: Parts, info: BundleInfo, classes: Sequence[str]) -> tuple[Parts, BundleInfo]:
    chosen = asked_classes(parts.config, stated_classes(folder), classes)
    if not chosen:
        raise BundleError(f"{info.name} is asked for classes by their numbers, and its metadata name none.")
    stated = parts.config.get("inferer")
    inferer = _windows(stated if isinstance(stated, dict) else {}, parts.config)
    names = tuple(chosen.values())
    decision = (
        f"The network is asked for {len(names)} of its classes ({', '.join(names[:5])}{', ...' * (len(names) > 5)});"
        f" choose others with --class. It slides a window of {inferer.roi_size} voxels."
    )
    activation = Activation("sigmoid", reason="each class is asked for by itself", source="config")
    decisions = (*info.decisions, decision)
    found = replace(info, outputs=names, background=None, task="segmentation", task_stated=True, decisions=decisions)
    network = ClassPrompts(parts.network, tuple(chosen))
    return replace(parts, network=network, inferer=inferer, activation=activation), found


def _windows(stated: Mapping[str, Any], config: Mapping[str, Any]) -> SlidingWindowInferer:
    """Return a sliding window like the one that a config describes for its own inferer with prompts."""

    def value(name: str, default: Any) -> Any:
        found = stated.get(name, default)
        return config.get(found[1:], default) if isinstance(found, str) and found.startswith("@") else found

    size = value("roi_size", _WINDOW)
    overlap = value("overlap", 0.25)
    size = tuple(size) if isinstance(size, list | tuple) and all(isinstance(n, int) for n in size) else _WINDOW
    return SlidingWindowInferer(size, overlap=overlap if isinstance(overlap, float) else 0.25)


def by_slices(parts: Parts, info: BundleInfo) -> tuple[Parts, BundleInfo]:
    """Let a network for slices see a volume slice by slice, along the last axis of its grid.

    Raises
    ------
    BundleError
        If its answers for slices cannot be joined into one for the volume.
    """
    if not _is_flat(parts.network) or isinstance(parts.inferer, SliceInferer):
        return parts, info
    if info.task != "segmentation":
        raise BundleError(
            f"{info.name} is a {info.task} of 2D images; LesionLens reads volumes, and the answers for slices are not"
            " the answer for the volume."
        )
    size = getattr(parts.inferer, "roi_size", None)
    if type(parts.inferer) not in (SimpleInferer, SlidingWindowInferer):
        return parts, info
    inferer = SliceInferer(
        spatial_dim=2,
        roi_size=(-1, -1) if size is None else size,
        overlap=getattr(parts.inferer, "overlap", 0.25),
        mode=getattr(parts.inferer, "mode", "constant"),
    )
    notice = "The network sees 2D images: the volume is shown slice by slice along its last axis."
    return replace(parts, inferer=inferer), replace(info, decisions=(*info.decisions, notice))


def _is_flat(network: torch.nn.Module) -> bool:
    kinds = [module for module in network.modules() if isinstance(module, _FLAT + _DEEP)]
    return bool(kinds) and not any(isinstance(module, _DEEP) for module in kinds)
