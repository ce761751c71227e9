"""Windows joined slab by slab: of all outputs only those that still change are held, of all classes those asked for.

A voxel's output is settled when the last window over it has run. Windows follow each other along one axis; behind each
row of them a slab is settled, becomes probabilities, and makes room. What is kept lies in memory or in a file without
a name, which goes with the process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from math import prod
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from lesionlens.errors import BundleError, OutputError
from lesionlens.explain import Windows
from lesionlens.model.memory import slab_axis

__all__ = ["file_array", "joined_in_blocks"]

# Planes that become probabilities at a time.
_PLANES: Final = 4


def joined_in_blocks(
    image: Tensor,
    windows: Windows,
    run: Callable[[Tensor], Tensor],
    probabilities: Callable[[Tensor], Tensor],
    *,
    keep: Sequence[int],
    batch: int = 1,
    on_disk: bool = False,
) -> Tensor:
    """Run windows and join them.

    Parameters
    ----------
    image
        (1, C, *windows.shape).
    windows
        How the network sees it.
    run
        (N, C, *windows.size) to (N, K, *windows.size).
    probabilities
        Makes probabilities of joined outputs (K, ...).
    keep
        Channels of which the probabilities are kept.
    batch
        Windows that run at a time.
    on_disk
        Keep them in a file.

    Returns
    -------
    torch.Tensor
        (len(keep), *windows.shape) float32 on the CPU: equal to the probabilities of the windows joined as a whole, up
        to the order of sums.

    Raises
    ------
    BundleError
        If the outputs do not have the windows' size, or are not finite.
    OutputError
        If the disk is full.
    """
    axis, padded = slab_axis(windows), windows.pad(image)
    full = windows.padded_shape
    shape = (len(keep), *full)
    result = torch.from_numpy(file_array(shape)) if on_disk else torch.empty(shape)
    slab = _Slab(windows, axis)
    rows = _rows(windows, axis)
    for number, (start, row) in enumerate(rows):
        for some in _some(row, batch):
            outputs = run(torch.cat([windows.view(padded, n) for n in some]))
            slab.add(some, outputs)
        end = rows[number + 1][0] if number + 1 < len(rows) else full[axis]
        for place, settled in slab.settled(start, end):
            if not all(bool(torch.isfinite(limit)) for limit in settled.aminmax()):
                raise BundleError("The network gives values that are not finite.")
            thick = settled.shape[axis + 1]
            result.narrow(axis + 1, place, thick).copy_(probabilities(settled)[list(keep)])
        slab.move(end - start)
    return windows.crop(result)


class _Slab:
    """The sums of outputs over the voxels that windows may still change, from one place on along an axis."""

    def __init__(self, windows: Windows, axis: int) -> None:
        self._windows, self._axis = windows, axis
        self._sums: Tensor | None = None

    def add(self, numbers: Sequence[int], outputs: Tensor) -> None:
        """Add outputs of windows that begin where the slab does."""
        windows, axis = self._windows, self._axis
        if tuple(outputs.shape[2:]) != windows.size:
            raise BundleError(
                f"Windows of {windows.size} voxels can only be joined when the network's output has that size; found"
                f" output of shape {tuple(outputs.shape)}."
            )
        if self._sums is None:
            size = list(windows.padded_shape)
            size[axis] = windows.size[axis]
            self._sums = torch.zeros((outputs.shape[1], *size))
        for number, output in zip(numbers, outputs, strict=True):
            place: list[Any] = list(windows.places[number])
            place[axis + 1] = slice(0, windows.size[axis])
            self._sums[tuple(place)] += output.to("cpu", torch.float32) * windows.importance

    def settled(self, start: int, end: int) -> Iterator[tuple[int, Tensor]]:
        """Yield the joined outputs from ``start``, where the slab begins, to ``end``, some planes at a time."""
        assert self._sums is not None  # every row has a window
        for place in range(start, end, _PLANES):
            thick = min(_PLANES, end - place)
            count = self._windows.coverage.narrow(self._axis, place, thick)
            yield place, self._sums.narrow(self._axis + 1, place - start, thick) / count

    def move(self, by: int) -> None:
        """Let the slab begin so many planes later; plane by plane, as a copy of it would take as much again."""
        assert self._sums is not None
        axis, thick = self._axis + 1, self._sums.shape[self._axis + 1]
        for n in range(thick - by):
            self._sums.select(axis, n).copy_(self._sums.select(axis, n + by))
        self._sums.narrow(axis, thick - by, by).zero_()


def _rows(windows: Windows, axis: int) -> list[tuple[int, list[int]]]:
    """Return the windows that begin at one place along an axis, and that place, in order."""
    order = sorted(range(len(windows)), key=lambda n: windows.starts[n][axis])
    return [(start, list(row)) for start, row in groupby(order, key=lambda n: windows.starts[n][axis])]


def _some(row: Sequence[int], batch: int) -> Iterator[Sequence[int]]:
    return (row[n : n + batch] for n in range(0, len(row), batch))


def file_array(shape: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return an array of zeros whose memory is a file without a name in the folder for temporary files.

    Raises
    ------
    OutputError
        If the disk has no room for it: found out now, as a write into such memory could not be refused later.
    """
    size = prod(shape) * 4
    with tempfile.TemporaryFile(prefix="lesionlens-") as file:
        try:
            _reserve(file.fileno(), size)
        except OSError as error:
            raise OutputError(
                f"{size / 2**30:.1f} GiB are needed in {tempfile.gettempdir()} for probabilities ({error.strerror});"
                " make room, set TMPDIR to another disk, or ask for fewer classes."
            ) from error
        return np.memmap(file, dtype=np.float32, mode="r+", shape=tuple(shape))


def _reserve(descriptor: int, size: int) -> None:
    import os

    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # macOS
        os.truncate(descriptor, size)
