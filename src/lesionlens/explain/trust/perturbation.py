"""See whether the network needs what a map marks: deletion, insertion, and the marked part alone.

Deletion takes the voxels away in the order of the map, the strongest first, and asks the network after each step;
insertion puts them into an image without content in the same order. A map that marks what counts makes the target's
value fall early and rise early (Petsiuk et al., RISE, BMVC 2018). Both are compared with random orders, and the drop
with the marked part alone is that of Chattopadhay et al., Grad-CAM++, WACV 2018.

What differs: the target's value is measured on the scale between the image (1) and the image without content (0)
instead of by a probability, steps are finest at the beginning as lesions are small, the area is taken over the true
fractions, and random orders take away whole blocks of the map's stride, as the map does: single random voxels destroy
texture sooner than anything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from lesionlens.checks import Chart, Check, Curve, Verdict
from lesionlens.explain.explanation import plain
from lesionlens.explain.trust.subject import Subject, stages_of
from lesionlens.progress import Progress, silent

__all__ = ["FRACTIONS", "Perturbation", "filled", "fractions_for", "perturbation", "random_order", "ranking"]

# Share of the voxels that are taken away. A lesion of 1 mL is a thousandth of a head.
FRACTIONS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

# Of a large image, each pass of the network through which takes long: half as many, at the same places of the scale.
FEW_FRACTIONS = (0.0, 0.003, 0.03, 0.3, 1.0)
LARGE_VOXELS = 128**3

# Standard deviation of the blur that takes content away, as a share of the shortest side of a window: lesions of some
# centimetres dissolve, the shape and the brightness of the head stay.
FILL_SIGMA = 1 / 12

# The content has been taken away when the target's value falls by this share of its size at least; less is noise of
# the blur, and the scale between 1 and 0 would be one of nothing.
LEAST_FALL = 0.05


# An area differs from that of random orders when it does by this much of the whole range: the areas of random orders of
# a head differ by 0.01 to 0.03 among each other.
LEAST_GAIN = 0.05


@dataclass(frozen=True)
class Perturbation:
    """The target's value while the image is taken away and put in.

    Parameters
    ----------
    fractions
        Share of the voxels taken away or put in, from 0 to 1.
    deletion, insertion
        Values at these fractions in the order of the map.
    random_deletion, random_insertion
        The same in random orders, one tuple for each.
    marked_alone
        The value where each voxel is kept by its share of the map's largest value.
    """

    fractions: tuple[float, ...]
    deletion: tuple[float, ...]
    insertion: tuple[float, ...]
    random_deletion: tuple[tuple[float, ...], ...]
    random_insertion: tuple[tuple[float, ...], ...]
    marked_alone: float

    @property
    def whole(self) -> float:
        """The value for the image as it is."""
        return self.deletion[0]

    @property
    def empty(self) -> float:
        """The value for the image without content."""
        return self.deletion[-1]

    def scaled(self, values: Sequence[float]) -> tuple[float, ...]:
        """Return values on the scale from 0 (image without content) to 1 (image as it is); NaN where both are equal."""
        range_ = self.whole - self.empty
        return tuple((v - self.empty) / range_ if range_ else float("nan") for v in values)

    def area(self, values: Sequence[float]) -> float:
        """Return the area below scaled values over the true fractions, by the trapezoidal rule."""
        return float(np.trapezoid(self.scaled(values), self.fractions))

    @property
    def average_drop(self) -> float:
        """Share of the range that is lost with the marked part alone, 0 where it rises."""
        return max(0.0, 1 - self.scaled([self.marked_alone])[0])

    def check(self) -> Check:
        """Judge: clearly better than every random order, in both directions."""
        random = [
            (self.area(d), self.area(i)) for d, i in zip(self.random_deletion, self.random_insertion, strict=True)
        ]
        deletion, insertion = self.area(self.deletion), self.area(self.insertion)
        numbers = {
            "deletion_area": deletion,
            "insertion_area": insertion,
            "random_deletion_area": float(np.mean([d for d, _ in random])),
            "random_insertion_area": float(np.mean([i for _, i in random])),
            "average_drop": self.average_drop,
            "increase": float(self.marked_alone > self.whole),
            "value_whole": self.whole,
            "value_without_content": self.empty,
        }
        falls = deletion < min(min(d for d, _ in random), numbers["random_deletion_area"] - LEAST_GAIN)
        rises = insertion > max(max(i for _, i in random), numbers["random_insertion_area"] + LEAST_GAIN)
        return Check(
            "perturbation", *self._verdict(falls, rises, numbers), numbers, self._charts(), (*_NOTES, self._asked())
        )

    def _asked(self) -> str:
        """Say how often the network was asked."""
        inner, orders = len(self.fractions) - 2, 1 + len(self.random_deletion)
        fewer = f", instead of {len(FRACTIONS) - 2} as of smaller images" if self.fractions == FEW_FRACTIONS else ""
        return (
            f"The network was asked {2 * inner * orders + 3} times: at {inner} shares of the voxels{fewer}, in the"
            f" order of the map and in {orders - 1} random orders."
        )

    def _verdict(self, falls: bool, rises: bool, numbers: dict[str, float]) -> tuple[Verdict, str]:
        if self.whole - self.empty < LEAST_FALL * max(abs(self.whole), abs(self.empty)):
            return "unclear", "Blurring the whole image hardly lowers the target, so this check cannot tell."
        areas = (
            f"area {numbers['deletion_area']:z.2f} against {numbers['random_deletion_area']:z.2f} at random when it is"
            f" taken away, {numbers['insertion_area']:z.2f} against {numbers['random_insertion_area']:z.2f} when it is"
            " put in"
        )
        if falls and rises:
            return "passes", f"The network needs what the map marks more than other places: {areas}."
        if falls or rises:
            return "unclear", f"What the map marks counts in one direction only: {areas}."
        return "fails", f"What the map marks counts no more than other places: {areas}."

    def _charts(self) -> tuple[Chart, ...]:
        pairs = (("taken away", self.deletion, self.random_deletion), ("put in", self.insertion, self.random_insertion))
        return tuple(
            Chart(
                f"The network's answer while the image is {what}",
                f"share of the voxels {what}",
                "answer (1: image, 0: without content)",
                (
                    Curve("strongest of the map first", self.fractions, self.scaled(own)),
                    *(Curve("random order", self.fractions, self.scaled(other)) for other in others),
                ),
            )
            for what, own, others in pairs
        )


_NOTES = (
    "Content is taken away by a blur that keeps the head's shape and brightness; the same blur serves random orders.",
    "Random orders take away blocks of the map's stride.",
)


def fractions_for(shape: Sequence[int]) -> tuple[float, ...]:
    """Return the shares of the voxels that are tried for an image of a size: fewer for a large one."""
    return FRACTIONS if prod(shape) <= LARGE_VOXELS else FEW_FRACTIONS


def perturbation(
    subject: Subject,
    *,
    fractions: Sequence[float] | None = None,
    repeats: int = 2,
    seed: int = 0,
    fill: Tensor | None = None,
    progress: Progress = silent,
) -> Perturbation:
    """Take the image away and put it in, in the order of the map and in random orders.

    Parameters
    ----------
    subject
        What is checked.
    fractions
        Shares of the voxels, ascending from 0 to 1; by default :func:`fractions_for` the size of the image.
    repeats
        Random orders.
    seed
        Of these.
    fill
        (1, C, *spatial) image without content; by default :func:`filled`.
    progress
        Called for each of the ``2 (len(fractions) - 2) (repeats + 1) + 3`` passes of the network.
    """
    image = subject.inference.image
    fill = filled(image, subject.inside, subject.inference.plan.size) if fill is None else fill.to(image)
    shares = fractions_for(image.shape[2:]) if fractions is None else fractions
    inner = [f for f in shares if 0 < f < 1]
    step = stages_of(progress, "Taking the image away", 2 * len(inner) * (repeats + 1) + 3)
    counter = iter(range(2**62))

    def score(shown: Tensor) -> float:
        return subject.score(shown, progress=step(next(counter)))

    ends = score(image), score(fill)
    generator = np.random.default_rng(seed)
    orders = [ranking(subject.values, subject.inside)]
    orders += [random_order(subject.inside, subject.grain, generator) for _ in range(repeats)]
    deletions = [(ends[0], *map(score, _mixed(image, fill, order, inner)), ends[1]) for order in orders]
    insertions = [(ends[1], *map(score, _mixed(fill, image, order, inner)), ends[0]) for order in orders]
    kept = torch.from_numpy(np.clip(subject.values / max(float(subject.values.max()), 1e-30), 0, 1)).to(image)
    alone = score(fill + kept * (image - fill))
    step(next(counter))  # all done
    return Perturbation(
        (0.0, *inner, 1.0), deletions[0], insertions[0], tuple(deletions[1:]), tuple(insertions[1:]), alone
    )


def _mixed(image: Tensor, other: Tensor, order: NDArray[np.intp], fractions: Sequence[float]) -> Iterator[Tensor]:
    """Yield the image with the first voxels of an order replaced by another's, for each fraction."""
    flat, source = image.flatten(2), other.flatten(2)
    for fraction in fractions:
        chosen = torch.from_numpy(order[: round(fraction * len(order))]).to(image.device)
        shown = flat.clone()
        shown[:, :, chosen] = source[:, :, chosen]
        yield shown.view_as(image)


def ranking(values: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the flat indices of the voxels inside, the largest value first, equal ones in the order of the array."""
    voxels = np.flatnonzero(inside)
    return voxels[np.argsort(-values.ravel()[voxels], kind="stable")]


def random_order(inside: NDArray[np.bool_], grain: Sequence[float], generator: np.random.Generator) -> NDArray[np.intp]:
    """Return the flat indices of the voxels inside in a random order of blocks of ``grain`` voxels."""
    sizes = [max(1, round(g)) for g in grain]
    cells = generator.random([-(-n // size) for n, size in zip(inside.shape, sizes, strict=True)])
    for axis, size in enumerate(sizes):
        cells = cells.repeat(size, axis=axis)
    return ranking(cells[tuple(map(slice, inside.shape))].astype(np.float32), inside)


def filled(image: Tensor, inside: NDArray[np.bool_], size: Sequence[int]) -> Tensor:
    """Return an image without content: blurred inside, as it is outside.

    The blur is the mean of the voxels inside under a Gaussian of 1/12 of the shortest side of a window; voxels outside
    do not darken it.

    Parameters
    ----------
    image
        (1, C, *spatial).
    inside
        (*spatial) bool.
    size
        Voxels of a window along each axis.
    """
    sigma = FILL_SIGMA * min(size)
    weight = gaussian_filter(inside.astype(np.float32), sigma)
    channels = [
        np.where(inside, gaussian_filter(channel * inside, sigma) / np.maximum(weight, 1e-6), channel)
        for channel in plain(image[0])
    ]
    return torch.from_numpy(np.stack(channels)[None].astype(np.float32)).to(image)
