"""See whether a map stays when the scan hardly changes, and whether several methods agree.

The image is disturbed by noise, moved by some voxels, or mirrored; the map of the disturbed image is moved back and
compared with the map by rank correlation. The target moves along, so that the same region is explained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lesionlens.checks import Chart, Check, Curve
from lesionlens.explain.targets import Target
from lesionlens.explain.trust.similarity import rank_correlation
from lesionlens.explain.trust.subject import Subject, stages_of
from lesionlens.progress import Progress, silent

__all__ = ["AGREES_ABOVE", "STABLE_ABOVE", "Stability", "agreement", "stability"]

# A map that shares half of the variance of its ranks with that of nearly the same scan would be read the same way:
# a rank correlation of 0.7.
STABLE_ABOVE = 0.7

# Noise is so much of the standard deviation of the image: hardly visible, and less than between two scans.
NOISE = 0.05

# Voxels that the image is moved by, as a patient in the scanner would. Not a multiple of a stride above 1: a network
# must not be asked at the places of its own grid alone.
SHIFT = 3

# Methods that share less than a tenth of the variance of their ranks contradict each other; see different things.
AGREES_ABOVE = 0.3


@dataclass(frozen=True)
class Stability:
    """Rank correlations of a map with those of nearly the same image, moved back.

    Parameters
    ----------
    noise, shifts, flips
        One for each disturbance.
    """

    noise: tuple[float, ...]
    shifts: tuple[float, ...]
    flips: tuple[float, ...]

    def check(self) -> Check:
        """Judge by noise and shifts; mirror images are reported: a network need not know them."""
        worst, limit = min(*self.noise, *self.shifts), STABLE_ABOVE
        passes = worst >= limit
        sentence = (
            f"Under noise of {100 * NOISE:.0f} % the map keeps {min(self.noise):z.2f} of its order, moved by {SHIFT}"
            f" voxels {min(self.shifts):z.2f} ({'at' if passes else 'not at'} least {limit}), mirrored"
            f" {min(self.flips):z.2f}."
        )
        names = (
            *(f"noise {n + 1}" for n in range(len(self.noise))),
            *(f"moved along axis {n}" for n in range(len(self.shifts))),
            *(f"mirrored along axis {n}" for n in range(len(self.flips))),
        )
        values = (*self.noise, *self.shifts, *self.flips)
        curve = Curve("this map", tuple(map(float, range(len(values)))), values)
        chart = Chart(
            "The map of nearly the same scan", "what was done", "rank correlation", (curve,), names, limit, joined=False
        )
        numbers = {"worst_noise": min(self.noise), "worst_shift": min(self.shifts), "worst_flip": min(self.flips)}
        return Check("stability", "passes" if passes else "fails", sentence, numbers, (chart,), _NOTES)


_NOTES = ("Mirror images do not count for the verdict: a network may never have seen one.",)


def stability(subject: Subject, *, repeats: int = 2, seed: int = 0, progress: Progress = silent) -> Stability:
    """Disturb the image and compare the maps.

    Parameters
    ----------
    subject
        What is checked.
    repeats
        Draws of the noise.
    seed
        Of the noise.
    progress
        Called for each map: ``repeats`` and two for each axis.
    """
    image = subject.inference.image
    axes = range(image.ndim - 2)
    step = stages_of(progress, "Disturbing the image", repeats + 2 * len(axes))
    counter = iter(range(2**62))

    def likeness(shown: Tensor, back: Callable[[Tensor], Tensor] | None, inside: NDArray[np.bool_]) -> float:
        target = subject.target if back is None else _Moved(subject.target, back)
        found = subject.map(replace(subject.inference, image=shown), target, step(next(counter)))
        found = found if back is None else back(torch.from_numpy(found)[None, None])[0, 0].numpy()
        return rank_correlation(subject.values, found, inside)

    def moved(axis: int) -> float:
        voxels = min(SHIFT, subject.inside.shape[axis] // 2)
        kept = subject.inside.copy()
        np.moveaxis(kept, axis, 0)[kept.shape[axis] - voxels :] = False  # pushed over the border, to the other side
        return likeness(torch.roll(image, voxels, 2 + axis), _rolled(-voxels, 2 + axis), kept)

    found = Stability(
        tuple(likeness(image + added, None, subject.inside) for added in _noise(subject, repeats, seed)),
        tuple(moved(axis) for axis in axes),
        tuple(likeness(image.flip(2 + axis), _flipped(2 + axis), subject.inside) for axis in axes),
    )
    step(next(counter))  # all done
    return found


def _noise(subject: Subject, repeats: int, seed: int) -> Iterator[Tensor]:
    """Yield noise inside, by the spread of each channel there."""
    image = subject.inference.image
    generator = torch.Generator().manual_seed(seed)
    inside = torch.from_numpy(subject.inside).to(image.device)
    spread = image[0][:, inside].std(dim=1).view(1, -1, *(1 for _ in inside.shape))
    for _ in range(repeats):
        yield torch.randn(image.shape, generator=generator).to(image) * spread * NOISE * inside


def _rolled(voxels: int, axis: int) -> Callable[[Tensor], Tensor]:
    return lambda tensor: torch.roll(tensor, voxels, axis)


def _flipped(axis: int) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor.flip(axis)


@dataclass(frozen=True, eq=False)
class _Moved:
    """A target of logits that are first moved back; those of a classifier have no place."""

    target: Target
    back: Callable[[Tensor], Tensor]

    def __call__(self, logits: Tensor) -> Tensor:
        return self.target(self._back(logits))

    def describe(self, logits: Tensor) -> str:
        return self.target.describe(self._back(logits))

    def _back(self, logits: Tensor) -> Tensor:
        return self.back(logits) if logits.ndim > 2 else logits


def agreement(
    name: str,
    values: NDArray[np.float32],
    others: Mapping[str, NDArray[np.float32]],
    inside: NDArray[np.bool_] | None = None,
) -> Check:
    """Compare a map with those of other methods for the same target.

    Parameters
    ----------
    name
        Method of the map.
    values
        The map.
    others
        Maps of the same shape by method.
    inside
        Voxels that count; all by default.
    """
    found = {other: rank_correlation(values, map_, inside) for other, map_ in others.items()}
    least = min(found, key=lambda other: found[other])
    passes = found[least] >= AGREES_ABOVE
    words = "agrees with the other methods" if passes else "contradicts another method"
    places = tuple(map(float, range(len(found))))
    chart = Chart(
        "Agreement with other methods",
        "method",
        "rank correlation",
        (Curve(name, places, tuple(found.values())),),
        tuple(found),
        AGREES_ABOVE,
        joined=False,
    )
    sentence = f"The map {words}: least with {least}, by {found[least]:z.2f} (agreement from {AGREES_ABOVE})."
    return Check("agreement", "passes" if passes else "unclear", sentence, found, (chart,), _ONE_MAY_BE_RIGHT)


_ONE_MAY_BE_RIGHT = ("Methods that differ may both be right about different things, so a difference is no failure.",)
