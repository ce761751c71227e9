"""The passes over the windows that class activation maps are made of: logits, gradients, and maps brought to voxels.

All windows together are the layer's output for the image. One window is in memory at a time, whatever their number, but
for activations that are kept for a later pass while they fit into ``KEEP_BYTES``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf

import torch
from torch import Tensor

from lesionlens.explain.capture import Cut
from lesionlens.explain.cells import Cells, cells_of
from lesionlens.explain.explanation import finite, fitting
from lesionlens.explain.inference import Inference
from lesionlens.explain.tracing import activation_behind
from lesionlens.progress import Progress

__all__ = ["Sweep"]

# Activations kept for the next pass instead of being computed twice. Far below what a network needs to run on one
# 128³ window, and enough for all windows of a head at the bottleneck of a U-Net.
KEEP_BYTES = 256 * 2**20


@dataclass
class Sweep:
    """The passes over the windows of an image, through a network that is cut at one layer.

    Parameters
    ----------
    inference
        The network, its image and its windows.
    cut
        The network, cut at the layer.
    progress
        Called as work advances.
    graph
        Whether gradients will be asked for: of a single window the first pass then serves for them too.
    """

    inference: Inference
    cut: Cut
    progress: Progress
    graph: bool = True
    kept: dict[int, Tensor] = field(default_factory=dict)
    kept_bytes: int = 0
    lowest: float = inf  # value of the layer that was read so far
    # Of the only window: logits still connected to the activation, so that one forward pass serves for everything.
    connected: tuple[Tensor, Tensor] | None = None

    known_cells: Cells | None = None

    def __post_init__(self) -> None:
        self.plan = self.inference.plan
        self.padded = self.plan.pad(self.inference.image)

    def logits(self) -> Tensor:
        """Return the blended logits."""
        return self.plan.blend(map(self._logits, self.steps("Predicting", range(len(self.plan)))))

    def _logits(self, index: int) -> Tensor:
        single = self.graph and len(self.plan) == 1
        logits, activation = self.cut.forward(self.view(index), gradients=single)
        self.lowest = min(self.lowest, float(activation.detach().min()))
        self._keep(index, activation)
        if single:
            self.connected = logits, activation
        return logits.detach()

    def gradients(self, seeds: Sequence[Tensor]) -> Iterator[tuple[int, int, Tensor, Tensor]]:
        """Yield seed number, window, activation and gradient for each window that a target touches.

        Parameters
        ----------
        seeds
            Of each target: its gradient with respect to the blended logits.

        Yields
        ------
        number, index : int
            Which of the seeds, and which window.
        activation, gradient : torch.Tensor
            (1, channels, *cells) float32 of that window. Windows that are not yielded have gradient zero.
        """
        count = len(self.plan)
        for index, parts in self._parts(seeds):
            self.progress("Explaining", index, count)
            logits, activation = self.connected or self.cut.forward(self.view(index))
            self._keep(index, activation)
            self.lowest = min(self.lowest, float(activation.detach().min()))
            mine = [number for number, part in enumerate(parts) if bool(part.any())]
            for number in mine:
                keep = self.connected is not None or number != mine[-1]
                seed = fitting(parts[number], logits)
                gradient = self.cut.gradient(logits, activation, seed, keep=keep)
                yield number, index, activation.detach().float(), gradient.float()
        self.progress("Explaining", count, count)

    def _parts(self, seeds: Sequence[Tensor]) -> Iterator[tuple[int, Sequence[Tensor]]]:
        """Yield each window that a target touches, with the gradients with respect to its logits, one of each target.

        Of the only window they are the seeds themselves: no copy is made.
        """
        if self.plan.is_whole:
            yield 0, seeds
            return
        for index, parts in self.plan.split(torch.cat(list(seeds))):
            yield index, [parts[number : number + 1] for number in range(len(parts))]

    def blended(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Weight the channels of all windows alike, and blend the maps as the logits were.

        Parameters
        ----------
        weights
            (T, channels), one row for each target.

        Returns
        -------
        values, coarse : torch.Tensor
            (1, T, *spatial) float32, and the maps of the last window before interpolation, (1, T, *cells).
        """
        coarse = torch.empty(0)

        def fine(index: int) -> Tensor:
            nonlocal coarse
            activation = self.activation(index)
            with torch.autocast(activation.device.type, enabled=False):  # the caller's would compute it in bfloat16
                coarse = torch.einsum("nk...,tk->nt...", activation.float(), weights)
            return self.to_voxels(coarse)

        values = self.plan.blend(map(fine, self.steps("Mapping", range(len(self.plan)))))
        return values, coarse

    def steps(self, stage: str, indices: Sequence[int]) -> Iterator[int]:
        """Yield the indices and report each as progress."""
        for done, index in enumerate(indices):
            self.progress(stage, done, len(indices))
            yield index
        self.progress(stage, len(indices), len(indices))

    def view(self, index: int) -> Tensor:
        """Return one window of the image."""
        return self.plan.view(self.padded, index)

    @cached_property
    def channels(self) -> int:
        """Number of channels of the layer."""
        return self.activation(0).shape[1]

    @property
    def cells(self) -> Cells:
        """Where the layer's cells lie on a window."""
        return self._cells_for(self.activation(0)) if self.known_cells is None else self.known_cells

    def _cells_for(self, coarse: Tensor) -> Cells:
        if self.known_cells is None:
            self.known_cells = cells_of(self.inference.network, self.cut, self.view(0), coarse.shape[2:])
        return self.known_cells

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know about where the cells lie."""
        return (self.cells.note,) * bool(self.cells.note)

    def to_voxels(self, coarse: Tensor) -> Tensor:
        """Bring maps of a window (N, T, *cells) to its voxels (N, T, *size)."""
        return self._cells_for(coarse).to_voxels(coarse, self.plan.size)

    def activation(self, index: int) -> Tensor:
        """Return the layer's output (1, channels, *cells) for one window, without graph."""
        kept = self.kept.get(index)
        return self.cut.encode(self.view(index)) if kept is None else kept

    def activations(self) -> Iterator[Tensor]:
        """Yield the layer's output (1, channels, *cells) for each window, float32, and keep what fits."""
        for index in self.steps("Reading the layer", range(len(self.plan))):
            activation = self.activation(index)
            self._keep(index, activation)
            self.lowest = min(self.lowest, float(activation.detach().min()))
            yield finite(activation.float())

    def below_zero(self) -> list[str]:
        """Say where the layer, as far as it was read, holds values below 0 that an activation behind it takes away."""
        shape = (1, self.inference.image.shape[1], *self.plan.size)
        function = activation_behind(self.inference.network, self.cut.layer, shape) if self.lowest < 0 else None
        if function is None:
            return []
        return [
            f"Layer {self.cut.layer!r} holds values below 0: an activation that is not a module ({function}) follows"
            " this layer, and a map of what it gives cannot be made. Write it as a module to explain that."
        ]

    def sums(self) -> tuple[Tensor, Tensor]:
        """Return the sums of each channel, and of its magnitudes, over all cells of all windows, (1, channels)."""
        flat = (activation.flatten(2) for activation in self.activations())
        parts = [torch.stack((cells.sum(dim=2), cells.abs().sum(dim=2))) for cells in flat]
        sums, sizes = torch.stack(parts).sum(dim=0)
        return sums, sizes

    def _keep(self, index: int, activation: Tensor) -> None:
        size = activation.numel() * activation.element_size()
        if index not in self.kept and (len(self.plan) == 1 or self.kept_bytes + size <= KEEP_BYTES):
            self.kept[index] = activation.detach()
            self.kept_bytes += size
