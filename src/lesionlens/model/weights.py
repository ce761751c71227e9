"""Weights of a bundle, loaded as data: a pickle is never executed."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lesionlens.errors import BundleError

__all__ = ["find_weights", "load_weights"]

_NAMES = ("model.safetensors", "model.pt", "model.pth")
# Where training scripts commonly keep the network's parameters inside a checkpoint.
_WRAPPERS = ("state_dict", "model", "network", "model_state_dict", "model_state", "net", "weights")

# How torch names what it refuses to import from a pickle.
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


def find_weights(folder: Path) -> Path:
    """Return the weights file of an opened bundle: safetensors before pickles.

    Raises
    ------
    BundleError
        If there is none.
    """
    for name in _NAMES:
        if (folder / "models" / name).is_file():
            return folder / "models" / name
    script = folder / "models" / "model.ts"
    beside = " models/model.ts is TorchScript, which is not loaded: it is code." * script.is_file()
    raise BundleError(
        f"Bundle {folder.name} has no weights; expected one of models/{', models/'.join(_NAMES)}.{beside}"
    )


def load_weights(network: torch.nn.Module, path: Path) -> None:
    """Load weights into a network, all keys matching.

    Raises
    ------
    BundleError
        If the file holds more than tensors and plain containers, or its keys or shapes do not fit.
    """
    state = _state_dict(_read(path), path)
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


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except MemoryError:
            raise
        except Exception as error:  # see below
            raise BundleError(f"{path} cannot be read as safetensors: {error}.") from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # damaged pickles raise almost anything: IndexError, struct.error, AssertionError, ...
        raise BundleError(_sentence(path, error)) from None


def _sentence(path: Path, error: Exception) -> str:
    """Say why weights cannot be loaded; torch's own advice, to load them without protection, is not repeated."""
    code = _GLOBAL.search(str(error))
    if code:
        return (
            f"{path} holds more than tensors and plain containers ({code.group(1)}), which could execute code; save the"
            " network's state_dict() alone, or as safetensors."
        )
    if path.suffix != ".safetensors" and _is_torchscript(path):
        return f"{path} is a TorchScript archive; save the network's state_dict() instead."
    return (
        f"{path} cannot be read as weights ({type(error).__name__}); it is damaged or of another format. Get it again."
    )


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


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
