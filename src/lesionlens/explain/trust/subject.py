"""What is checked: a network, its image, what is explained, and a way to make the map again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import EllipsisType

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import sobel
from torch import Tensor

from lesionlens.errors import ExplainError
from lesionlens.explain.apply import apply_method
from lesionlens.explain.explanation import plain
from lesionlens.explain.inference import Inference
from lesionlens.explain.targets import FromProbabilities, RegionMargin, Target
from lesionlens.explain.trust.dependence import box_around, grid_of, reach_of
from lesionlens.methods import Value
from lesionlens.progress import Progress, silent

__all__ = ["FlatMapError", "MapMaker", "Subject", "edges", "focused", "inside_of", "map_of", "stages_of"]

#: Makes a map (*spatial) of a target, of the numbers of the image that the network saw.
MapMaker = Callable[[Inference, Target, Progress], NDArray[np.float32]]

# One value that so much of an image has is its surroundings (air that was set to zero, padding). They are left out:
# a map that is flat there would be like any other that is.
BACKGROUND_SHARE = 0.1

# Of an image that is seen whole the part that matters is looked for from this size on; smaller ones take seconds.
SMALL_VOXELS = 100**3
# A part that is larger than this share of the image would hardly save time.
WORTHWHILE = 0.75


class FlatMapError(ExplainError):
    """A map has the same value everywhere, so there is nothing to check."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A map, and all that is needed to make it again on another image or of another network.

    Parameters
    ----------
    inference
        The network, its image and its windows. The network is never changed.
    target
        What is explained; it must mean the same whatever the logits are, see
        :func:`~lesionlens.explain.targets.settled`.
    make
        Makes the map: :func:`map_of` a method, or any function, such as :func:`edges`.
    values
        (*spatial) float32, the map as it is.
    grain
        Voxels along each axis that the map cannot tell apart: its stride. By default 1.

    Raises
    ------
    ExplainError
        If the map has another shape, or (:class:`FlatMapError`) is the same everywhere: there is nothing to check.
    """

    inference: Inference
    target: Target
    make: MapMaker
    values: NDArray[np.float32]
    grain: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.values.shape != self.inference.plan.shape:
            raise ExplainError(
                f"The map has {self.values.shape} voxels, the image {self.inference.plan.shape}; they must be the same."
            )
        object.__setattr__(self, "grain", self.grain or (1.0,) * self.values.ndim)
        if not np.ptp(self.values[self.inside]) > 0:
            raise FlatMapError("The map has the same value everywhere, so there is nothing to check.")

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """(*spatial) bool: the image without its surroundings, which have one value throughout."""
        return inside_of(self.inference.image)

    def map(
        self, inference: Inference, target: Target | None = None, progress: Progress = silent
    ) -> NDArray[np.float32]:
        """Make the map again."""
        return self.make(inference, target or self.target, progress)

    def score(self, image: Tensor, progress: Progress = silent) -> float:
        """Return the target's value for another image (1, C, *spatial)."""
        logits = replace(self.inference, image=image).logits(progress=progress)
        with torch.no_grad():
            return float(self.target(logits))


def focused(inference: Inference, target: Target) -> tuple[Inference, Target] | None:
    """Return the part of an image that matters to a target, as an image of its own, with the region's part in it.

    Through windows that is the window that holds most of the region; of an image seen whole the box that the region
    depends on, see :mod:`~lesionlens.explain.trust.dependence`, where that is a small part of it. Dozens of passes
    through a head take minutes to hours, through such a part seconds.

    Parameters
    ----------
    inference
        A network and its image.
    target
        With a region, see :func:`~lesionlens.explain.targets.settled`.

    Returns
    -------
    tuple or None
        None where the image was seen whole and its parts depend on all of it, or the target has no region of its own.
    """
    margin = target.target if isinstance(target, FromProbabilities) else target
    if not isinstance(margin, RegionMargin) or margin.region is None:
        return None
    region = torch.as_tensor(margin.region, dtype=torch.bool)
    found = _box(inference, region) if inference.plan.is_whole else _fullest_window(inference, region)
    if found is None:
        return None
    image, inside, name = found
    part = replace(margin, region=inside, region_name=f"{margin.region_name} {name}".rstrip(), within=None)
    window = Inference(inference.network, image, spacing_mm=inference.spacing_mm)
    return window, replace(target, target=part) if isinstance(target, FromProbabilities) else part


def _fullest_window(inference: Inference, region: Tensor) -> tuple[Tensor, Tensor, str]:
    """Return the window that holds most of a region, and the region in it."""
    plan = inference.plan
    padded = plan.pad(region.float()[None, None], zeros=True)[0, 0] > 0
    best = max(range(len(plan)), key=lambda index: int(padded[plan.places[index]].sum()))
    return plan.view(plan.pad(inference.image), best), padded[plan.places[best]], "in one window"


def _box(inference: Inference, region: Tensor) -> tuple[Tensor, Tensor, str] | None:
    """Return the box of an image that a region depends on, and the region in it; None where that saves little."""
    image = inference.image
    if not bool(region.any()) or image.numel() < SMALL_VOXELS:
        return None
    reach = reach_of(inference.network, image.shape)
    grid = None if reach is None else grid_of(inference.network, image.shape)
    if reach is None or grid is None:
        return None
    place = box_around(region, reach, grid=grid)
    inside = region[place].clone()
    if inside.numel() > WORTHWHILE * region.numel():
        return None
    here: tuple[EllipsisType | slice, ...] = (..., *place)
    return image[here].clone(), inside, ""


def inside_of(image: Tensor) -> NDArray[np.bool_]:
    """Return where an image (1, C, *spatial) is not its surroundings, (*spatial) bool.

    These are the voxels that have the most frequent value in every channel, where it is the value of a tenth or more.
    """
    inside = torch.zeros(image.shape[2:], dtype=torch.bool)
    for channel in image[0].cpu():
        value, count = _most_frequent(channel)
        inside |= channel != value if count >= BACKGROUND_SHARE * channel.numel() else torch.ones_like(inside)
    found: NDArray[np.bool_] = inside.numpy()
    return found if found.any() else np.ones_like(found)


def _most_frequent(values: Tensor) -> tuple[float, int]:
    found, counts = torch.unique(values, return_counts=True)
    largest = int(counts.argmax())
    return float(found[largest]), int(counts[largest])


def map_of(method: str, *, layer: str | None = None, options: Mapping[str, Value] | None = None) -> MapMaker:
    """Return what makes the map of a method.

    Parameters
    ----------
    method, layer, options
        As of :func:`~lesionlens.explain.apply_method`.

    Returns
    -------
    callable
        Gives (*spatial) float32, raw and signed, on the grid of the image: without unit, or in that of the target.

    Raises
    ------
    ExplainError
        When it is called, if the method, layer or an option does not exist, or does not suit the network.
    """

    def make(inference: Inference, target: Target, progress: Progress) -> NDArray[np.float32]:
        return apply_method(inference, target, method=method, layer=layer, options=options, progress=progress).values

    return make


def edges(inference: Inference, target: Target, progress: Progress = silent) -> NDArray[np.float32]:
    """Return the edges of the image (Sobel magnitude): a map that looks sharp and knows nothing of the network.

    The control of the checks [1]_: one that lets it pass would let anything pass.

    Parameters
    ----------
    inference
        Whose image it is.
    target, progress
        Not looked at; every maker of maps takes them.

    Returns
    -------
    numpy.ndarray
        (*spatial) float32 from 0, in units of the image for each voxel: the root of the sum, over channels and axes, of
        squared Sobel derivatives.

    References
    ----------
    .. [1] Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, https://arxiv.org/abs/1810.03292
    """
    del target, progress  # as every maker of maps
    squares = [
        sobel(channel, axis) ** 2 for channel in plain(inference.image[0]) for axis in range(inference.image.ndim - 2)
    ]
    found: NDArray[np.float32] = np.sqrt(np.sum(squares, axis=0)).astype(np.float32)
    return found


def stages_of(progress: Progress, stage: str, total: int) -> Callable[[int], Progress]:
    """Return what makes the progress of each of ``total`` steps: inner work counts as no step, but can be stopped."""

    def step(done: int) -> Progress:
        progress(stage, done, total)
        return lambda _stage, _done, _total: progress(stage, done, total)

    return step
