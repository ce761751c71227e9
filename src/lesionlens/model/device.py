"""Which processor runs the network."""

from __future__ import annotations

import torch

from lesionlens.errors import InputError

__all__ = ["choose_device"]


def choose_device(requested: str | None = None) -> torch.device:
    """Choose where the network runs.

    Parameters
    ----------
    requested
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; by default CUDA where there is one, else MPS, else the CPU.

    Raises
    ------
    InputError
        If the requested device does not exist here.
    """
    if requested is None:
        return torch.device(_available()[0])
    try:
        device = torch.device(requested)
    except RuntimeError:
        raise InputError(f"There is no device {requested!r}; this machine has: {', '.join(_available())}.") from None
    if device.type not in _available() or (device.index or 0) >= _count(device.type):
        raise InputError(f"Device {requested!r} is not available; this machine has: {', '.join(_available())}.")
    return device


def _available() -> list[str]:
    """Device types of this machine, fastest first."""
    names = ["cuda"] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, "cpu"]


def _count(device_type: str) -> int:
    return torch.cuda.device_count() if device_type == "cuda" else 1
