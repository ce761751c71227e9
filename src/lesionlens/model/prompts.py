"""Networks that want more than an image: class numbers (VISTA3D), or channels of clicks (DeepEdit)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.networks.nets import VISTA3D
from torch import Tensor, nn

from lesionlens.errors import BundleError

__all__ = ["ClassPrompts", "EmptyGuidance", "asked_classes", "guidance_channels", "takes_classes"]


class ClassPrompts(nn.Module):
    """Asks a VISTA3D network for classes by their numbers: an image goes in, one logit for each class comes out.

    Parameters
    ----------
    network
        A VISTA3D of MONAI.
    classes
        Numbers of the classes, in the order of the output channels.
    """

    def __init__(self, network: nn.Module, classes: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("classes", torch.tensor([[int(number)] for number in classes]), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, classes, D, H, W) of an image (N, 1, D, H, W)."""
        found = [self.network(one[None], class_vector=self.classes, transpose=True) for one in image]
        return torch.cat(found)


class EmptyGuidance(nn.Module):
    """Feeds a DeepEdit network without clicks: the channels of guidance are zero.

    Parameters
    ----------
    network
        Takes an image and channels of clicks.
    channels
        How many channels of clicks.
    """

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        self.network = network
        self.channels = channels

    def forward(self, image: Tensor) -> Any:
        """Return what the network gives for an image (N, C, D, H, W) that nobody clicked into."""
        clicks = image.new_zeros((image.shape[0], self.channels, *image.shape[2:]))
        return self.network(torch.cat((image, clicks), dim=1))


def takes_classes(network: nn.Module) -> bool:
    """Say whether a network wants the numbers of classes beside the image."""
    return isinstance(network, VISTA3D)


def guidance_channels(config: Mapping[str, Any]) -> int:
    """Return how many channels of clicks a config adds to the image; 0 for all but DeepEdit's."""
    names = config.get("label_names")
    if "deepedit" not in str(config.get("preprocessing", "")).lower() + " ".join(config).lower():
        return 0
    return len(names) if isinstance(names, dict) else 0


def asked_classes(config: Mapping[str, Any], names: Mapping[int, str], wanted: Sequence[str]) -> dict[int, str]:
    """Choose the classes that a network is asked for.

    Parameters
    ----------
    config
        The bundle's, which may name a class to begin with.
    names
        Names of the classes that the network was trained on, by their numbers; 0 is the background.
    wanted
        Names or numbers that a person asks for; without any those of the config, or else all.

    Raises
    ------
    BundleError
        If there is no such class.
    """
    known = {number: name for number, name in names.items() if number > 0}
    if not wanted:
        stated = _label_prompt(config)
        chosen = {number: known[number] for number in stated if number in known}
        return chosen or known
    by_name = {name.lower(): number for number, name in known.items()}
    found = {}
    for one in wanted:
        text = one.strip().lower()
        number = int(text) if text.isdigit() else by_name.get(text)
        if number not in known:
            raise BundleError(f"The bundle knows no class {one!r}; it knows {', '.join(known.values())}.")
        found[number] = known[number]
    return found


def _label_prompt(config: Mapping[str, Any]) -> list[int]:
    """Read the class numbers that a config asks for as an example; it is not executed."""
    import ast

    example = config.get("input_dict")
    if isinstance(example, str):
        try:
            example = ast.literal_eval(example.removeprefix("$"))
        except (ValueError, SyntaxError):
            return []
    prompt = example.get("label_prompt") if isinstance(example, dict) else None
    return [number for number in prompt if isinstance(number, int)] if isinstance(prompt, list) else []
