"""How a network is computed: by which engine, within how much memory; and what came of that, for the record."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from lesionlens.errors import InputError, unknown_name

__all__ = ["ENGINES", "EXACT", "Computed", "Computing", "EngineName"]

EngineName = Literal["auto", "torch", "torch-folded", "torch-bf16", "openvino", "openvino-bf16"]
ENGINES: Final[dict[EngineName, str]] = {
    "torch": "PyTorch in fp32: what MONAI computes",
    "auto": "the fastest that agrees with fp32 on the first window of the scan",
    "torch-folded": "PyTorch in fp32, with batch norms folded into the convolutions before them",
    "torch-bf16": "PyTorch in bf16, for processors that have it",
    "openvino": "OpenVINO in fp32, on the processor",
    "openvino-bf16": "OpenVINO in bf16, for processors that have it",
}


@dataclass(frozen=True)
class Computing:
    """How a network is to be computed.

    Parameters
    ----------
    engine
        What runs the network for predictions; explanations always use PyTorch in fp32.
    memory_gib
        GiB that a prediction may take at most; None does not limit it.
    classes
        Names of the classes of which probabilities are wanted; by default all but the background.
    skip
        Whether windows that hold one value only are computed once; see :mod:`lesionlens.model.engines.constant`.
    in_blocks
        Whether windows are joined block by block, as a run did that is to be repeated; None lets the memory decide.

    Raises
    ------
    InputError
        If there is no such engine, or the memory is not above 0.
    """

    engine: EngineName = "torch"
    memory_gib: float | None = None
    classes: tuple[str, ...] = ()
    skip: bool = True
    in_blocks: bool | None = None

    def __post_init__(self) -> None:
        if self.engine not in get_args(EngineName):
            raise InputError(unknown_name("engine", self.engine, get_args(EngineName)))
        if self.memory_gib is not None and not (math.isfinite(self.memory_gib) and self.memory_gib > 0):
            raise InputError(f"Memory is a number of GiB above 0; found {self.memory_gib}.")

    @property
    def budget_bytes(self) -> int | None:
        """The memory in bytes; None where it is not limited."""
        return None if self.memory_gib is None else int(self.memory_gib * 2**30)


# What MONAI computes, in the memory that it takes.
EXACT: Final = Computing()


@dataclass(frozen=True)
class Computed:
    """How a prediction was computed.

    Parameters
    ----------
    engine
        The one that ran.
    device
        Where.
    difference, tolerance
        Largest absolute difference of a probability from PyTorch in fp32 on the first window with content, and how
        large it may be; None where PyTorch in fp32 ran.
    windows, skipped
        How many windows there are, and how many of these hold one value only and were not computed each for itself.
    batch
        Windows that went through the network at a time.
    window_voxels
        Voxels of a window along each axis; None where the network saw the image whole.
    predicted_bytes, budget_bytes
        Memory that the prediction was expected to take beside what the process held before, and that it might take;
        None where that is not known or not limited.
    in_blocks
        Whether the windows were joined block by block, and probabilities kept instead of the network's outputs.
    on_disk
        Whether the result lay in a temporary file.
    threads
        That PyTorch computes with; another number may change the last digits.
    notices
        One sentence for each thing that went another way than was asked for.
    """

    engine: EngineName
    device: str
    difference: float | None = None
    tolerance: float | None = None
    windows: int = 1
    skipped: int = 0
    batch: int = 1
    window_voxels: tuple[int, ...] | None = None
    predicted_bytes: int | None = None
    budget_bytes: int | None = None
    in_blocks: bool = False
    on_disk: bool = False
    threads: int = 1
    notices: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return what the record of a run says about it."""
        size = self.window_voxels
        return {
            "engine": self.engine,
            "device": self.device,
            "largest_difference": self.difference,
            "tolerance": self.tolerance,
            "windows": self.windows,
            "windows_of_one_value": self.skipped,
            "batch": self.batch,
            "window_voxels": None if size is None else list(size),
            "predicted_bytes": self.predicted_bytes,
            "budget_bytes": self.budget_bytes,
            "in_blocks": self.in_blocks,
            "on_disk": self.on_disk,
            "threads": self.threads,
            "notices": list(self.notices),
        }
