"""What a method is given and what it gives: the two values that all families share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lesionlens.errors import ExplainError, unknown_name
from lesionlens.explain.boxes import Box, CoarseMap
from lesionlens.explain.inference import Inference
from lesionlens.explain.targets import Target
from lesionlens.methods import Value
from lesionlens.progress import Progress, silent

__all__ = [
    "PROBABILITIES_NOTE",
    "Explanation",
    "Request",
    "evidence_notes",
    "finite",
    "fitting",
    "output_notes",
    "plain",
]

# Softmax in float16 may miss a sum of 1 by this much.
PROBABILITY_SLACK = 1e-2

PROBABILITIES_NOTE = "The network returns probabilities, whose gradients fade where it is sure, instead of logits."


@dataclass(frozen=True, eq=False)
class Request:
    """What is asked of a method.

    Parameters
    ----------
    inference
        The network, its image and its windows. The network is left exactly as it was, also after an error.
    target
        What to explain.
    method
        Name of the method, a key of ``lesionlens.methods.METHODS``.
    layers
        Dotted names of the target layers; of methods that have none: empty.
    options
        All options of the method, each of the type of its default.
    logits
        ``inference.logits()`` if known already: saves one pass over the windows when there are several.
    progress
        Called as work advances; raise ``Cancelled`` from it to stop.
    """

    inference: Inference
    target: Target
    method: str
    layers: tuple[str, ...] = ()
    options: Mapping[str, Value] = field(default_factory=dict)
    logits: Tensor | None = None
    progress: Progress = silent

    def number(self, name: str, *, least: float) -> float:
        """Return an option that is a number, or refuse it.

        Raises
        ------
        ExplainError
            If it is below ``least``, or not finite.
        """
        value = float(self.options[name])
        if not least <= value < inf:
            raise ExplainError(f"Option {name!r} of {self.method} must be at least {least:g}; found {value:g}.")
        return value

    def choice(self, name: str, known: Iterable[str]) -> str:
        """Return an option that is one of several words, or refuse it.

        Raises
        ------
        ExplainError
            The message lists the words.
        """
        names = list(known)
        if self.options[name] not in names:
            raise ExplainError(unknown_name(f"{name} for {self.method}", self.options[name], names))
        return str(self.options[name])

    @property
    def budget_bytes(self) -> int:
        """How many bytes of tensors the network may hold at once: the option ``budget_mib``."""
        return int(self.number("budget_mib", least=1) * 2**20)

    def known_logits(self) -> Tensor:
        """Return the blended logits (1, K, ...) float32: those that were given, else those of a pass of the network.

        Raises
        ------
        ExplainError
            If logits were given that are not those of the image.
        """
        return self.inference.logits(progress=self.progress) if self.logits is None else self.given_logits()

    def given_logits(self) -> Tensor:
        """Return the logits that were given, as plain numbers on the image's device."""
        assert self.logits is not None
        shape, several = self.inference.plan.shape, len(self.inference.plan) > 1
        given = self.logits
        if given.ndim < 2 or given.shape[0] != 1 or (several and tuple(given.shape[2:]) != shape):
            raise ExplainError(
                f"Logits must be those of the image, (1, K) or (1, K, {', '.join(map(str, shape))}); "
                f"found {tuple(given.shape)}."
            )
        return given.detach().as_subclass(Tensor).to(self.inference.image.device)


@dataclass(frozen=True, eq=False)
class Explanation:
    """A map on the grid of the image that the network saw.

    Parameters
    ----------
    values
        (*spatial) float32, raw, without unit; of attributions: evidence for the target above 0, against it below.
    stride
        Voxels of the image for each value of the map before it was brought to the voxels, along each axis: 1 where
        there is one for each voxel. The map cannot point better than plus or minus ``stride / 2``.
    method
        Name of the method.
    target
        The target in words; empty where there is none.
    score
        The target's value; None where there is none.
    layer
        Names of the target layers, joined by ``+``; empty where there is none.
    coarse
        (*cells) float32: the map as the layer gives it, where the network saw the image whole; None otherwise. Cell
        ``c`` is centred on voxel ``stride * c + (stride - 1) / 2 + border``.
    weights
        (channels) float32 weights of the layer's channels, of methods that have one for each.
    channels
        (C, *spatial) float32: the map of each channel of the image, of methods that have one; ``values`` joins them.
    kind
        What the values are.
    signed
        Whether values below zero mean evidence against.
    notes
        One sentence for each thing a reader must know.
    border
        Voxels by which the cells lie further along each axis than by the convention, since unpadded convolutions cut
        off as many; empty for 0 along each.
    levels
        Of score maps: those that ``values`` joins by the highest, each on its own grid. Empty of other maps.
    boxes
        Of boxes: those that ``values`` are painted with, the surest first. None of other maps.
    """

    values: NDArray[np.float32]
    stride: tuple[float, ...]
    method: str
    target: str = ""
    score: float | None = None
    layer: str = ""
    coarse: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] | None = None
    channels: NDArray[np.float32] | None = None
    kind: Literal["attribution", "feature", "attention", "detection"] = "attribution"
    signed: bool = True
    notes: tuple[str, ...] = ()
    border: tuple[float, ...] = ()
    levels: tuple[CoarseMap, ...] = ()
    boxes: tuple[Box, ...] | None = None


def plain(tensor: Tensor) -> NDArray[np.float32]:
    """Return a tensor as a float32 array without graph."""
    array: NDArray[np.float32] = tensor.detach().float().cpu().numpy()
    return array


def finite(values: Tensor) -> Tensor:
    """Return a map, or refuse it where it holds values that are not finite.

    Raises
    ------
    ExplainError
        Zeros in their place would look like an answer.
    """
    if not bool(torch.isfinite(values).all()):
        raise ExplainError("The map holds values that are not finite; the network overflows on this image.")
    return values


def fitting(seed: Tensor, logits: Tensor) -> Tensor:
    """Return the gradient with respect to a window's logits in their type.

    Raises
    ------
    ExplainError
        If it has another shape: then logits were given that are not those of this network.
    """
    if logits.shape != seed.shape:
        raise ExplainError(
            f"Logits of shape {tuple(seed.shape)} were given, but the network's have shape {tuple(logits.shape)}."
        )
    return seed.to(logits)


def output_notes(logits: Tensor) -> list[str]:
    """Say what is special about the logits (1, K, ...) that were explained."""
    if logits.shape[1] < 2 or bool((logits < 0).any()):
        return []
    sums_to_one = bool(((logits.sum(dim=1) - 1).abs() < PROBABILITY_SLACK).all())
    return [PROBABILITIES_NOTE] if sums_to_one else []


def evidence_notes(values: Tensor) -> list[str]:
    """Say where a map of evidence holds none for the target."""
    return [] if bool((values > 0).any()) else ["The map holds no positive evidence for the target."]
