"""Networks that are programs: TorchScript and exported graphs. They are code, and run only when trusted."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Self

import torch

from lesionlens.errors import BundleError

__all__ = ["PROGRAMS", "Exported", "is_program", "load_program"]

#: Names of the files in ``models`` that hold a network as a program, and what they are.
PROGRAMS = {"model.ts": "TorchScript", "model.pt2": "an exported program"}


def is_program(path: Path) -> bool:
    """Say whether a file of weights is a program."""
    return path.suffix in (".ts", ".pt2")


class Exported(torch.nn.Module):
    """A graph of ``torch.export``, which has no train and eval modes of its own, and often a fixed batch of one."""

    def __init__(self, graph: torch.nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def train(self, mode: bool = True) -> Self:
        """Leave the graph as it is: it was exported in one mode, and refuses another."""
        self.training = mode
        return self

    def forward(self, image: torch.Tensor) -> Any:
        """Run the graph on one image after the other."""
        found = [self.graph(one[None]) for one in image]
        return torch.cat(found) if isinstance(found[0], torch.Tensor) else found[0]


def _script(path: Path, device: torch.device) -> torch.nn.Module:
    loaded: torch.nn.Module = torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]  # torch's own
    return loaded


def load_program(path: Path, device: torch.device) -> torch.nn.Module:
    """Load a network that is a program; the caller has made sure that it is trusted.

    Raises
    ------
    BundleError
        If it cannot be loaded.
    """
    try:
        if path.suffix == ".pt2":
            return Exported(torch.export.load(path).module())
        with warnings.catch_warnings():  # that there is something newer helps nobody who has such a file
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            return _script(path, device)
    except MemoryError:
        raise
    except Exception as error:  # damaged archives raise almost anything
        line = " ".join(str(error).split())[:200] or type(error).__name__
        raise BundleError(f"{path} cannot be loaded as {PROGRAMS.get(path.name, 'a program')}: {line}.") from error
