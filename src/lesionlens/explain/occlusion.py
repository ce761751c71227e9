"""Occlusion [1]_: how far the target falls when a box of the image is covered.

A box slides over the image; the fall belongs to all of its voxels, and a voxel has the mean over the boxes that cover
it. No gradients and no hooks are needed, so any network can be asked. Values have the unit of the target: logits, as a
rule.

What a box is covered with decides what is asked. A constant such as 0 is itself a striking object in a scan; the mean
of the surroundings takes away what is in the box and adds least. Boxes that this does not change cost nothing.

.. [1] Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014,
   https://arxiv.org/abs/1311.2901. What differs: the fill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from math import ceil
from types import EllipsisType

import torch
from torch import Tensor

from lesionlens.errors import ExplainError
from lesionlens.explain.capture import quiet
from lesionlens.explain.explanation import Explanation, Request, evidence_notes, finite, output_notes, plain
from lesionlens.explain.fills import BASELINES, blurred
from lesionlens.explain.final import reading_logits
from lesionlens.explain.perturbed import Perturbed
from lesionlens.method_info import LENGTH

__all__ = ["METHODS", "run"]

Box = tuple[slice, ...]
Source = Callable[[Box], Tensor]


def run(request: Request) -> Explanation:
    """Make a map by covering parts of the image.

    Raises
    ------
    ExplainError
        If an option is wrong, or values are not finite.
    """
    size, stride = _geometry(request)  # refused before the network runs
    source = METHODS[request.method](request, size)
    with quiet(request.inference.network), reading_logits(request.inference.network) as forward:
        return _explained(request, Perturbed(request, forward), source, size, stride)


def _geometry(request: Request) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return size and stride of the boxes in voxels."""
    size = _lengths(request, "size")
    stride = _lengths(request, "stride") if request.options["stride"] else tuple(max(1, n // 2) for n in size)
    if any(step > n for step, n in zip(stride, size, strict=True)):
        raise ExplainError(
            f"A stride of {stride} voxels leaves gaps between boxes of {size} voxels; take a smaller one."
        )
    return size, stride


def _explained(
    request: Request, perturbed: Perturbed, source: Source, size: tuple[int, ...], stride: tuple[int, ...]
) -> Explanation:
    """Cover box after box, and put the falls together."""
    shape = request.inference.plan.shape
    boxes = _boxes(shape, size, stride)
    covered = _covered(request.inference.image, boxes, source)
    total, count = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape)
    for box, score in zip(boxes, perturbed.scores(covered, len(boxes), "Occluding"), strict=True):
        total[box] += perturbed.score - score
        count[box] += 1
    values = finite(total / count)
    said = (
        f"{len(boxes):,} boxes of {_by(size)} voxels, one every {_by(stride)}, covered by: {request.options['fill']}."
    )
    same = [] if bool(values.any()) else ["The target stays the same whichever box is covered."]
    return Explanation(
        values=plain(values),
        stride=tuple(map(float, stride)),
        method=request.method,
        target=request.target.describe(perturbed.logits),
        score=perturbed.score,
        notes=(*output_notes(perturbed.logits), said, *same, *evidence_notes(values)),
    )


def _lengths(request: Request, name: str) -> tuple[int, ...]:
    """Return an option such as ``"32"``, ``"32x32x16"`` or ``"20mm"`` in voxels along each axis."""
    shape, spacing = request.inference.plan.shape, request.inference.spacing_mm
    text = str(request.options[name]).strip()
    found = LENGTH.fullmatch(text)
    numbers = [float(number) for number in found["numbers"].split("x")] if found else []
    numbers = numbers * len(shape) if len(numbers) == 1 else numbers
    if found is None or len(numbers) != len(shape) or not all(numbers):
        raise ExplainError(
            f"Option {name!r} of {request.method} is a length above 0 in voxels or mm, for all axes or for each of "
            f"{len(shape)}: '32', '32x32x16' or '20mm'; found {text!r}."
        )
    if found["unit"] == "mm":
        if spacing is None:
            raise ExplainError(f"Option {name!r} is in mm, but the image has no spacing; give it in voxels.")
        numbers = [mm / each for mm, each in zip(numbers, spacing, strict=True)]
    return tuple(min(max(1, round(number)), full) for number, full in zip(numbers, shape, strict=True))


def _boxes(shape: tuple[int, ...], size: tuple[int, ...], stride: tuple[int, ...]) -> list[Box]:
    """Return boxes that begin at multiples of the stride until all is covered; the last ones end with the image."""
    axes = [
        [slice(i * step, min(i * step + n, full)) for i in range(1 + ceil((full - n) / step))]
        for full, n, step in zip(shape, size, stride, strict=True)
    ]
    return list(product(*axes))


def _covered(image: Tensor, boxes: list[Box], source: Source) -> Iterator[Tensor]:
    """Yield the image with each box covered."""
    for box in boxes:
        changed = image.clone()
        changed[_at(box)] = source(box).to(image.dtype)
        yield changed


def _surroundings(image: Tensor, size: tuple[int, ...]) -> Source:
    """Cover with the mean of each channel around the box, half a box wide."""
    margin = [max(1, n // 2) for n in size]

    def source(box: Box) -> Tensor:
        outer = tuple(slice(max(s.start - m, 0), s.stop + m) for s, m in zip(box, margin, strict=True))
        inside, around = (image[_at(part)].double().flatten(2) for part in (box, outer))
        voxels = around.shape[2] - inside.shape[2]
        ring = around.sum(dim=2) - inside.sum(dim=2)
        mean = ring / voxels if voxels else inside.mean(dim=2)  # without a ring the box is the image
        return mean.view(*mean.shape, *[1] * len(box))

    return source


def _from(filled: Tensor) -> Source:
    return lambda box: filled[_at(box)]


_FILLS: dict[str, Callable[[Tensor, tuple[int, ...]], Source]] = {
    "surroundings": _surroundings,
    # As wide as the box: what is in it spreads far beyond it.
    "blur": lambda image, size: _from(blurred(image, size)),
    "minimum": lambda image, _: _from(BASELINES["minimum"](image)),
    "mean": lambda image, _: _from(BASELINES["mean"](image)),
    "zero": lambda image, _: _from(BASELINES["zero"](image)),
}


def _at(box: Box) -> tuple[EllipsisType | slice, ...]:
    """Return the index of a box in (1, C, *spatial)."""
    return (..., *box)


def _by(lengths: tuple[int, ...]) -> str:
    return " x ".join(map(str, lengths))


def _occlusion(request: Request, size: tuple[int, ...]) -> Source:
    return _FILLS[request.choice("fill", _FILLS)](request.inference.image, size)


# Name -> what boxes of a size are covered with.
METHODS: dict[str, Callable[[Request, tuple[int, ...]], Source]] = {"occlusion": _occlusion}
