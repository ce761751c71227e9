"""Detection networks with anchors: one output that can be explained, and boxes and score maps made of it.

A RetinaNet [1]_ holds a set of boxes of fixed shapes, the anchors, at every cell of some feature maps, its levels. For
each anchor it gives a logit for every class and the offset of a box from the anchor. :class:`DetectionNetwork` makes of
this one tensor (1, K + 2 D, anchors), so that every method can explain the score of a box: its first K channels are the
logits of the classes, the others the offsets along the D axes.

With the centre ``c`` and the size ``s`` of an anchor, weights ``w`` and ``v``, and offsets ``t`` and ``u``, along every
axis the box has the centre ``c + s t / w`` and the size ``s exp(u / v)``, with ``u / v`` at most ``log(1000 / 16)``.

References
----------
.. [1] Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, https://arxiv.org/abs/1708.02002. Boxes in 3D,
   their offsets and their choice are those of MONAI's ``RetinaNetDetector``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import log, prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from lesionlens.errors import ExplainError
from lesionlens.explain.boxes import Box, CoarseMap, intersection_over_union

__all__ = ["BoxRules", "DetectionNetwork", "dictionary_heads"]

# Centres of anchors lie on whole or half voxels; float32 places them exactly up to sizes of some million voxels.
CENTRE_SLACK = 1e-3

Levels = tuple[list[Tensor], list[Tensor]]
Heads = Callable[[nn.Module, Tensor], Levels]
Anchors = Callable[[Tensor, list[Tensor]], Tensor]


@dataclass(frozen=True)
class BoxRules:
    """How the numbers of a detection network become boxes.

    Parameters
    ----------
    weights
        What offsets are divided by: of the centre along each axis, then of the size.
    largest_log
        Greatest logarithm of the size of a box over that of its anchor.
    least_score
        Boxes need a score, the sigmoid of a logit, above this.
    candidates
        At most so many boxes of each level are looked at, those of highest score.
    overlap
        Of two boxes of a class with a larger intersection over union, the one with the lower score is dropped.
    most
        At most so many boxes are kept, of all classes together.
    first_voxel
        Where the centre of the first voxel lies in the coordinates of boxes: 0.5 where a box from 0 to n holds n
        voxels, 0 where the corners of boxes are voxel indices.
    """

    weights: tuple[float, ...] = (1.0,) * 6
    largest_log: float = log(1000 / 16)
    least_score: float = 0.05
    candidates: int = 1000
    overlap: float = 0.5
    most: int = 300
    first_voxel: float = 0.5


@dataclass(frozen=True, eq=False)
class _Layout:
    """Where the anchors of an image of one size lie: the same for all such images."""

    anchors: Tensor  # (N, 2 D): the lowest corners, then the highest, in the coordinates of boxes
    cells: tuple[tuple[int, ...], ...]  # of each level
    per_cell: int

    @property
    def ends(self) -> list[int]:
        """Where each level's anchors begin, and where the last one's end."""
        return [0, *accumulate(prod(cells) * self.per_cell for cells in self.cells)]


def dictionary_heads(classes: str = "classification", offsets: str = "box_regression") -> Heads:
    """Return a function that runs a network which gives a dictionary of two lists, or one list with both halves."""

    def heads(network: nn.Module, image: Tensor) -> Levels:
        output = network(image)
        if isinstance(output, list | tuple):
            half = len(output) // 2
            return list(output[:half]), list(output[half:])
        found = [output[key] for key in (classes, offsets)]
        first, second = ([maps] if isinstance(maps, Tensor) else list(maps) for maps in found)
        return first, second

    return heads


class DetectionNetwork(nn.Module):
    """A detection network that gives one tensor, with what is needed to make boxes of it.

    Parameters
    ----------
    network
        Takes an image (1, C, *spatial).
    anchors
        From the image and the class maps of all levels to the anchors (N, 2 D), cell by cell in the order of the
        levels, lowest corners before highest.
    n_classes
        Number of classes, K; there is no background among them.
    rules
        How boxes are made.
    divisible
        The image is padded with zeros at its end to multiples of this, along each axis.
    heads
        From network and image to class maps (1, A K, *cells) and offset maps (1, A 2 D, *cells) of all levels, with A
        anchors at each cell; by default the network gives both in a dictionary or list, as MONAI's ``RetinaNet``.
    in_windows
        Whether ``heads`` runs the network several times, on windows of an image of this shape, so that no layer has a
        single map; by default it never does.
    """

    def __init__(
        self,
        network: nn.Module,
        anchors: Anchors,
        n_classes: int,
        *,
        rules: BoxRules | None = None,
        divisible: Sequence[int] = (1, 1, 1),
        heads: Heads | None = None,
        in_windows: Callable[[Sequence[int]], bool] = lambda _: False,
    ) -> None:
        super().__init__()
        self.network = network
        self.n_classes = n_classes
        self.rules = rules or BoxRules()
        self.divisible = tuple(divisible)
        self.in_windows = in_windows
        self._anchors = anchors
        self._heads = heads or dictionary_heads()
        self._seen: dict[tuple[int, ...], tuple[list[torch.Size], int]] = {}  # by shape: class maps, anchors per cell
        self._last: tuple[tuple[int, ...], _Layout] | None = None

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of the classes and the offsets of every anchor, (B, K + 2 D, N), of B images."""
        missing = self.padding(image.shape[2:])
        if any(missing):
            image = functional.pad(image, [width for n in reversed(missing) for width in (0, n)])
        classes, offsets = self._heads(self.network, image)
        axes = image.ndim - 2
        per_cell = classes[0].shape[1] // self.n_classes
        self._seen[tuple(image.shape[2:])] = [maps.shape for maps in classes], per_cell
        flat = [_flat(classes, per_cell, self.n_classes), _flat(offsets, per_cell, 2 * axes)]
        return torch.cat(flat, dim=1)

    def padding(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the voxels that are missing at the end of each axis."""
        return tuple(-n % d for n, d in zip(shape, self.divisible, strict=True))

    def boxes(self, output: Tensor, shape: Sequence[int], *, within: Sequence[int] | None = None) -> tuple[Box, ...]:
        """Return the boxes of an image, the surest first.

        Parameters
        ----------
        output
            (1, K + 2 D, N) of this network.
        shape
            Voxels of the image that gave it.
        within
            Voxels along each axis that count, from the first on: boxes end with them. All by default.
        """
        layout, rules = self._layout(output, shape), self.rules
        found = [
            self._candidates(output[0].detach(), layout, level, within or shape) for level in range(len(layout.cells))
        ]
        boxes, scores, labels, anchors, levels = (torch.cat(parts) for parts in zip(*found, strict=True))
        kept = _suppressed(boxes, scores, labels, rules)
        axes = len(shape)
        places = (boxes - rules.first_voxel).tolist()
        return tuple(
            Box(
                low=tuple(places[i][:axes]),
                high=tuple(places[i][axes:]),
                confidence=float(scores[i]),
                index=int(labels[i]),
                anchor=int(anchors[i]),
                level=int(levels[i]),
            )
            for i in kept
        )

    def score_maps(self, output: Tensor, shape: Sequence[int], index: int) -> tuple[CoarseMap, ...]:
        """Return the highest score of a class over the anchors at each cell, for every level.

        Raises
        ------
        ExplainError
            If the anchors of a level do not lie on a regular grid in the order of its cells.
        """
        layout, found = self._layout(output, shape), []
        for level, anchors in enumerate(self.level_slices(output, shape)):
            cells = layout.cells[level]
            scores = torch.sigmoid(output[0, index, anchors].detach().float())
            first, step = _grid_of(layout.anchors[anchors], cells, shape, level)
            values = scores.view(*cells, layout.per_cell).amax(dim=-1).cpu().numpy()
            found.append(CoarseMap(values, tuple(c - self.rules.first_voxel for c in first), step))
        return tuple(found)

    def level_slices(self, output: Tensor, shape: Sequence[int]) -> tuple[slice, ...]:
        """Return the anchors of each level, for an output and the shape of the image that gave it."""
        layout = self._layout(output, shape)
        return tuple(slice(*ends) for ends in pairwise(layout.ends))

    def _candidates(self, output: Tensor, layout: _Layout, level: int, within: Sequence[int]) -> tuple[Tensor, ...]:
        """Return boxes, scores, classes, anchors and the level of what one level offers, the surest first."""
        start = layout.ends[level]
        part = output[:, start : layout.ends[level + 1]].float()
        scores = torch.sigmoid(part[: self.n_classes].T.flatten())
        above = torch.where(scores > self.rules.least_score)[0]
        order = scores[above].topk(min(self.rules.candidates, len(above))).indices
        chosen = above[order]
        anchors, labels = chosen // self.n_classes, chosen % self.n_classes
        boxes = _decoded(part[self.n_classes :, anchors].T, layout.anchors[start + anchors].to(part), self.rules)
        limit = torch.tensor((*within, *within)).to(boxes)
        boxes = torch.minimum(boxes.clamp(min=0), limit)
        axes = len(within)
        real = (boxes[:, axes:] >= boxes[:, :axes] + 1).all(dim=1)  # as MONAI: a box holds at least a voxel
        return tuple(
            values[real] for values in (boxes, scores[chosen], labels, start + anchors, torch.full_like(labels, level))
        )

    def _layout(self, output: Tensor, shape: Sequence[int]) -> _Layout:
        """Return where the anchors lie; those of one shape are kept, as there may be millions."""
        whole = tuple(n + missing for n, missing in zip(shape, self.padding(shape), strict=True))
        if whole not in self._seen:
            raise ExplainError(f"The network has not seen an image of {tuple(shape)} voxels yet; run it first.")
        if self._last is None or self._last[0] != whole:
            shapes, per_cell = self._seen[whole]
            nothing = output.new_zeros((), dtype=torch.float32)  # anchors depend on shapes; bfloat16 would round them
            maps = [nothing.expand(one) for one in shapes]
            anchors = self._anchors(nothing.expand(1, 1, *whole), maps).detach()
            self._last = whole, _Layout(anchors, tuple(tuple(one[2:]) for one in shapes), per_cell)
        layout = self._last[1]
        count = layout.ends[-1]
        if (
            not tuple(layout.anchors.shape)
            == (count, 2 * len(whole))
            == (output.shape[2], output.shape[1] - self.n_classes)
        ):
            raise ExplainError(
                f"A detection network with {layout.per_cell} anchors at each cell of {layout.cells} has {count} anchors"
                f" of {2 * len(whole)} numbers; found {tuple(layout.anchors.shape)}, and an output of"
                f" {tuple(output.shape)}."
            )
        return layout


def _flat(maps: list[Tensor], per_cell: int, channels: int) -> Tensor:
    """Bring maps (B, A channels, *cells) of all levels to (B, channels, N), the anchors of a cell side by side."""
    wrong = next((one for one in maps if one.shape[1] != per_cell * channels), None)
    if wrong is not None:
        raise ExplainError(
            f"A level with {per_cell} anchors at each cell must have {per_cell * channels} channels; found"
            f" {tuple(wrong.shape)}."
        )
    parts = [one.reshape(len(one), per_cell, channels, -1).permute(0, 2, 3, 1).flatten(2) for one in maps]
    return torch.cat(parts, dim=2)


def _decoded(offsets: Tensor, anchors: Tensor, rules: BoxRules) -> Tensor:
    """Return the boxes (N, 2 D) that lie at offsets (N, 2 D) from anchors (N, 2 D)."""
    axes = anchors.shape[1] // 2
    weights = torch.tensor(rules.weights).to(offsets)
    size = anchors[:, axes:] - anchors[:, :axes]
    centre = anchors[:, :axes] + size / 2 + size * offsets[:, :axes] / weights[:axes]
    half = size * (offsets[:, axes:] / weights[axes:]).clamp(max=rules.largest_log).exp() / 2
    return torch.cat([centre - half, centre + half], dim=1)


def _suppressed(boxes: Tensor, scores: Tensor, labels: Tensor, rules: BoxRules) -> list[int]:
    """Return the boxes that no surer box of their class overlaps too much, the surest first."""
    waiting, kept = scores.argsort(descending=True, stable=True), list[int]()
    while len(waiting) and len(kept) < rules.most:
        first, others = waiting[0], waiting[1:]
        kept.append(int(first))
        overlap = intersection_over_union(boxes[others], boxes[first])
        waiting = others[(overlap <= rules.overlap) | (labels[others] != labels[first])]
    return kept


def _grid_of(
    anchors: Tensor, cells: tuple[int, ...], shape: Sequence[int], level: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the centre of a level's first cell and the distance to the next along each axis, in box coordinates."""
    axes = len(cells)
    anchors = anchors.double().cpu().view(*cells, -1, 2 * axes)
    centres = (anchors[..., :axes] + anchors[..., axes:]) / 2
    first, step = [], []
    for axis, n in enumerate(cells):
        along = centres[(0,) * axis + (slice(None),) + (0,) * (axes - axis)][..., axis]
        first.append(float(along[0]))
        step.append(float(along[1] - along[0]) if n > 1 else float(shape[axis]))
    axes_of = [f + s * torch.arange(n) for f, s, n in zip(first, step, cells, strict=True)]
    expected = torch.stack(torch.meshgrid(*axes_of, indexing="ij"), dim=-1)
    if min(step) <= 0 or bool(((centres - expected[..., None, :]).abs() > CENTRE_SLACK).any()):
        raise ExplainError(
            f"The anchors of level {level + 1} do not lie on a regular grid in the order of its {cells} cells, so its"
            " scores cannot be placed; MONAI's anchors do, with indexing 'ij'."
        )
    return tuple(first), tuple(step)
