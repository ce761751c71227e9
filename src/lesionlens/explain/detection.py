"""Detection: score maps, boxes with their confidence, and the score of one box as a target.

The maps are those of a :class:`~lesionlens.explain.detection_network.DetectionNetwork`; any other method can explain a
:class:`BoxScore`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor, nn

from lesionlens.errors import ExplainError
from lesionlens.explain.boxes import joined, painted
from lesionlens.explain.capture import quiet, unwrapped
from lesionlens.explain.detection_network import DetectionNetwork
from lesionlens.explain.explanation import Explanation, Request, finite
from lesionlens.explain.layers import coarsest_first, default_layer
from lesionlens.explain.scores import Score, class_name
from lesionlens.explain.targets import settled

__all__ = ["METHODS", "BoxScore", "box_layer", "chosen_layer", "run"]

LOGIT = Score("logit")


@dataclass(frozen=True, eq=False)
class BoxScore:
    """The score of one box for its class: by default the logit of the anchor that it was made from.

    Parameters
    ----------
    index
        The class.
    n_classes
        Number of classes of the network.
    label
        Name of the class, for the record.
    anchor
        Which anchor; None for the one with the highest logit of the class.
    name
        What the anchor is, for the record.
    score
        What is asked: logit, probability, or a contrast with other classes. The margin is the logit, as every class
        decides for itself.
    """

    index: int
    n_classes: int = 1
    label: str = ""
    anchor: int | None = None
    name: str = "the surest anchor"
    score: Score = LOGIT

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the score from the output (1, K + 2 D, N) of a :class:`DetectionNetwork`."""
        return self.score(self._columns(logits), self.index, independent=True).squeeze()

    def describe(self, logits: Tensor) -> str:
        """Return ``"logit of 'nodule' of box 1"``."""
        return f"{self.score.describe(self._columns(logits), self.index, self.label, independent=True)} of {self.name}"

    def settled(self, logits: Tensor) -> BoxScore:
        """Return the target with its anchor and its competing classes chosen."""
        columns = self._columns(logits)
        return replace(self, anchor=self._anchor(logits), score=self.score.settled(columns, self.index))

    def _columns(self, logits: Tensor) -> Tensor:
        anchor = self._anchor(logits)
        return logits[0, : self.n_classes, anchor : anchor + 1]

    def _anchor(self, logits: Tensor) -> int:
        if logits.ndim != 3 or not 0 <= self.index < self.n_classes <= logits.shape[1]:
            raise ExplainError(
                "The score of a box needs a detection network's output (1, K + 2 D, anchors) with class"
                f" {self.index} of {self.n_classes}; found {tuple(logits.shape)}."
            )
        if self.anchor is None:
            return int(logits[0, self.index].argmax())
        if not 0 <= self.anchor < logits.shape[2]:
            raise ExplainError(f"There is no anchor {self.anchor}; the network has {logits.shape[2]}.")
        return self.anchor


def box_layer(network: DetectionNetwork, image_shape: Sequence[int]) -> tuple[str, str]:
    """Choose the layer that explains boxes: the coarsest that the scores of all levels depend on.

    Features that are coarser serve some levels alone, and say nothing about the boxes of others.

    Parameters
    ----------
    network
        It runs on small images, if it accepts them.
    image_shape
        (1, C, *spatial) of the input.

    Returns
    -------
    name, reason : str
        The layer, and half a sentence on why.

    Raises
    ------
    ExplainError
        If all levels have no layer in common.
    """
    layers, shape = coarsest_first(network, image_shape)
    names = [layer.name for layer in layers]
    serving = _serving_all_levels(network, names, shape) if names else set()
    for layer in layers:
        if layer.name in serving:
            stride = " x ".join(f"{s:g}" for s in layer.stride)
            return layer.name, f"the coarsest features (stride {stride}) that all boxes depend on"
    raise ExplainError(
        "The levels of the detection network have no layer in common that a map can be made of; name a layer of the"
        " level that the box is of."
    )


def chosen_layer(network: nn.Module, image_shape: Sequence[int]) -> tuple[str, str]:
    """Choose a layer to explain by the kind of network; see :func:`box_layer` and ``default_layer``.

    Parameters
    ----------
    network
        Any module with one tensor in.
    image_shape
        (1, C, *spatial) of the input, or of one window, in voxels.

    Returns
    -------
    name, reason : str
        The layer's dotted name, and half a sentence on why.

    Raises
    ------
    ExplainError
        If no layer can be explained.
    """
    if isinstance(network, DetectionNetwork):
        return box_layer(network, image_shape)
    return default_layer(network, image_shape)


def _serving_all_levels(network: DetectionNetwork, names: Sequence[str], shape: tuple[int, ...]) -> set[str]:
    """Return the layers that the scores of every level have a gradient by, for an image of noise."""
    modules, kept = dict(network.named_modules()), dict[str, Tensor]()

    def keeping(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _args, output: kept.update({name: output})

    handles = [modules[name].register_forward_hook(keeping(name)) for name in names]
    try:
        with quiet(network):
            noise = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(next(network.parameters()))
            output = network(noise.requires_grad_())
            serving = set(kept)
            for level in network.level_slices(output.detach(), shape[2:]):
                score = output[0, : network.n_classes, level].sum()
                found = torch.autograd.grad(score, list(kept.values()), retain_graph=True, allow_unused=True)
                zero = {name for name, one in zip(kept, found, strict=True) if one is None or not bool(one.any())}
                serving -= zero
    finally:
        for handle in handles:
            handle.remove()
    return serving


def _score_map(network: DetectionNetwork, request: Request, output: Tensor, index: int) -> Explanation:
    """Join the score maps of all levels, or of one, by the highest score at each voxel."""
    shape = tuple(request.inference.image.shape[2:])
    maps, level = network.score_maps(output, shape, index), int(request.number("level", least=0))
    if level > len(maps):
        raise ExplainError(f"The network has levels 1 to {len(maps)} (0 for all of them); found {level}.")
    chosen = maps if level == 0 else maps[level - 1 : level]
    which = f"all {len(maps)} levels" if level == 0 else f"level {level} of {len(maps)}"
    finest = min(chosen, key=lambda one: prod(one.step))
    return Explanation(
        values=joined(chosen, shape),
        stride=finest.step,
        method=request.method,
        levels=chosen,
        notes=(f"The highest score of any anchor at each cell, over {which}.",),
    )


def _boxes(network: DetectionNetwork, request: Request, output: Tensor, index: int) -> Explanation:
    """Paint every box with its confidence; where boxes overlap, the highest counts."""
    shape = tuple(request.inference.image.shape[2:])
    found = tuple(box for box in network.boxes(output, shape) if box.index == index)
    least = network.rules.least_score
    empty = (f"No box of the class has a confidence above {least:g}: the map is 0 everywhere.",) if not found else ()
    return Explanation(
        values=painted(found, shape),
        stride=(1.0,) * len(shape),
        method=request.method,
        boxes=found,
        notes=("Each voxel has the highest confidence of the boxes that cover it.", *empty),
    )


METHODS = {"score_map": _score_map, "boxes": _boxes}


def run(request: Request) -> Explanation:
    """Make a map of what a detection network found of the target's class.

    Raises
    ------
    ExplainError
        If the network is none, or the target no score of a box.
    """
    network = unwrapped(request.inference.network)
    if not isinstance(network, DetectionNetwork):
        raise ExplainError(
            f"{request.method} shows boxes of a detection network; this one ({type(network).__name__}) gives none."
            " Choose another method."
        )
    output = finite(request.known_logits())
    target = settled(request.target, output)
    if not isinstance(target, BoxScore):
        raise ExplainError(f"{request.method} needs a BoxScore as its target; found {type(target).__name__}.")
    found = METHODS[request.method](network, request, output, target.index)
    best = float(torch.sigmoid(output[0, target.index].max()))
    label = class_name(target.index, target.label)
    return replace(found, target=f"confidence of {label}", score=best, kind="detection", signed=False)
