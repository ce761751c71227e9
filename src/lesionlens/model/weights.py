"""Weights of a bundle, loaded as data: a pickle is never executed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from lesionlens.errors import BundleError
from lesionlens.model.programs import PROGRAMS
from lesionlens.model.reading import read_checkpoint

__all__ = ["find_weights", "load_weights"]

_NAMES = ("model.safetensors", "model.pt", "model.pth")
# Where training scripts commonly keep the network's parameters inside a checkpoint.
_WRAPPERS = ("state_dict", "model", "network", "model_state_dict", "model_state", "net", "weights", "network_weights")

# How a config names a file of weights: the end of a path below the bundle.
_IN_MODELS = re.compile(r"models/([\w.-]+\.(?:pt|pth|safetensors))['\"]?$")


def find_weights(folder: Path, config: Mapping[str, Any] | None = None) -> Path:
    """Return the weights file of an opened bundle: safetensors before pickles, and both before programs.

    Parameters
    ----------
    folder
        The bundle.
    config
        Its inference config, whose checkpoint loader may name another file in ``models``.

    Raises
    ------
    BundleError
        If there is none.
    """
    names = dict.fromkeys((*_NAMES, *_named(config), *PROGRAMS))
    for name in names:
        if (folder / "models" / name).is_file():
            return folder / "models" / name
    there = sorted(path.name for path in (folder / "models").glob("*") if path.is_file())
    beside = f" There is: {', '.join(there[:5])}." if there else ""
    raise BundleError(f"Bundle {folder.name} has no weights; expected one of models/{', models/'.join(names)}.{beside}")


def _named(node: Any) -> Iterator[str]:
    """Yield the file names that checkpoint loaders of a config end in; nothing of it is executed."""
    if isinstance(node, Mapping):
        text = node.get("load_path")
        if isinstance(text, str) and (found := _IN_MODELS.search(text)):
            yield found[1]
    for value in node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ():
        yield from _named(value)


def load_weights(network: torch.nn.Module, path: Path) -> None:
    """Load weights into a network, all keys matching.

    Raises
    ------
    BundleError
        If the file holds more than tensors and plain containers, or its keys or shapes do not fit.
    """
    state = _state_dict(read_checkpoint(path), path)
    expected = network.state_dict()
    if set(state) != set(expected):
        state = _without_prefix(state, "module.")
    missing, unexpected = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    if missing or unexpected:
        raise BundleError(
            f"The weights {path.name} do not fit the network: {len(missing)} keys missing{_first(missing)},"
            f" {len(unexpected)} not expected{_first(unexpected)}."
        )
    wrong = [k for k in state if tuple(state[k].shape) != tuple(expected[k].shape)]
    if wrong:
        shapes = f"{tuple(state[wrong[0]].shape)} in the file, {tuple(expected[wrong[0]].shape)} in the network"
        raise BundleError(f"The weights {path.name} do not fit the network: {wrong[0]} has shape {shapes}.")
    network.load_state_dict(state)


def _state_dict(content: Any, path: Path) -> dict[str, torch.Tensor]:
    for name in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not content or not all(torch.is_tensor(v) for v in content.values()):
        keys = f" of {', '.join(map(str, list(content)[:5]))}" if isinstance(content, Mapping) else ""
        raise BundleError(f"{path} must hold a state dict (names to tensors); found {type(content).__name__}{keys}.")
    return dict(content)


def _without_prefix(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Drop what DataParallel puts before every key."""
    return {k.removeprefix(prefix): v for k, v in state.items()}


def _first(keys: list[str]) -> str:
    return f" (first: {keys[0]})" if keys else ""
