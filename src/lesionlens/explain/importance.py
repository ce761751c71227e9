"""Feature importance: how far the target falls when a part of the input is taken away.

A feature is a channel of the image (a modality), a set of voxels (an anatomical label, a region), or both. It is

ablated   replaced by what says little: the mean of its surroundings, of the channel, a blur, ...
permuted  [1]_: its voxels trade places, by the same permutation in all of its channels. All values stay, and only where
          they are is lost. Several permutations give a mean and a standard deviation.

A feature that is constant has nothing to lose: its fall is 0 exactly, and costs nothing.

.. [1] Breiman, Random Forests, Machine Learning 2001, for tables. What differs: voxels of one image are permuted, not
   cases of a data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lesionlens.errors import ExplainError
from lesionlens.explain.capture import quiet
from lesionlens.explain.explanation import Request
from lesionlens.explain.fills import BASELINES
from lesionlens.explain.final import reading_logits
from lesionlens.explain.perturbed import Perturbed
from lesionlens.methods import Value

__all__ = ["OPTIONS", "Fall", "Feature", "falls"]

# The shell around a set of voxels that stands for its surroundings, in voxels.
SHELL = 3

#: Options of the request, with their defaults.
OPTIONS: dict[str, Value] = {"how": "ablate", "fill": "surroundings", "repeats": 5, "seed": 0, "budget_mib": 1024}


@dataclass(frozen=True, eq=False)
class Feature:
    """A part of the image.

    Parameters
    ----------
    name
        What people call it.
    channel
        The channel that it is, or lies in; None for all.
    voxels
        (*spatial) bool: where it lies; None for everywhere.
    """

    name: str
    channel: int | None = None
    voxels: Tensor | None = None


@dataclass(frozen=True)
class Fall:
    """What taking a feature away did.

    Parameters
    ----------
    name
        The feature.
    fall
        The target's value minus its value without the feature: above 0 the feature speaks for the target.
    sd
        Standard deviation over permutations; 0 for ablation.
    """

    name: str
    fall: float
    sd: float = 0.0


def falls(request: Request, features: Sequence[Feature]) -> tuple[list[Fall], float, str]:
    """Take away one feature after another.

    Parameters
    ----------
    request
        What is explained; its options are :data:`OPTIONS`.
    features
        The parts of the image.

    Returns
    -------
    falls
        In the order of the features.
    score, target : float, str
        The target's value for the image itself, and the target in words.

    Raises
    ------
    ExplainError
        If an option is wrong, a feature does not fit the image, or a value is not finite.

    Examples
    --------
    >>> from torch import nn
    >>> from lesionlens.explain import ClassLogit, Inference
    >>> network = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten())
    >>> image = torch.stack([torch.full((4, 4, 4), 1.0), torch.full((4, 4, 4), 3.0)])[None]
    >>> request = Request(Inference(network, image), ClassLogit(1), "importance", options={**OPTIONS, "fill": "zero"})
    >>> falls(request, [Feature("T1", channel=0), Feature("FLAIR", channel=1)])[0]
    [Fall(name='T1', fall=0.0, sd=0.0), Fall(name='FLAIR', fall=3.0, sd=0.0)]
    """
    how = request.choice("how", ("ablate", "permute"))
    repeats = int(request.number("repeats", least=1)) if how == "permute" else 1
    for feature in features:
        _check(request.inference.image, feature)
    changed = _permuted(request, features, repeats) if how == "permute" else _ablated(request, features)
    with quiet(request.inference.network), reading_logits(request.inference.network) as forward:
        perturbed = Perturbed(request, forward)
        scores = list(perturbed.scores(changed, len(features) * repeats, "Taking away"))
        target = request.target.describe(perturbed.logits)
    fallen = (perturbed.score - torch.tensor(scores, dtype=torch.float64)).view(len(features), repeats)
    found = [
        Fall(feature.name, float(row.mean()), float(row.std(correction=0)))
        for feature, row in zip(features, fallen, strict=True)
    ]
    return found, perturbed.score, target


def _check(image: Tensor, feature: Feature) -> None:
    channels, shape = image.shape[1], tuple(image.shape[2:])
    if feature.channel is not None and not 0 <= feature.channel < channels:
        raise ExplainError(f"Feature {feature.name!r} is channel {feature.channel}; the image has 0 to {channels - 1}.")
    if feature.voxels is not None and tuple(feature.voxels.shape) != shape:
        raise ExplainError(
            f"Feature {feature.name!r} has the shape {tuple(feature.voxels.shape)}; the image has {shape} voxels."
        )


def _place(image: Tensor, feature: Feature) -> tuple[Any, ...]:
    """Return the index of a feature in (1, C, *spatial)."""
    channel = slice(None) if feature.channel is None else slice(feature.channel, feature.channel + 1)
    voxels = ... if feature.voxels is None else feature.voxels.to(image.device)
    return (slice(None), channel, voxels)


def _ablated(request: Request, features: Sequence[Feature]) -> Iterator[Tensor]:
    image, name = request.inference.image, request.choice("fill", _FILLS)
    for feature in features:
        changed, place = image.clone(), _place(image, feature)
        changed[place] = _FILLS[name](image, feature)[place].to(image.dtype)
        yield changed


def _permuted(request: Request, features: Sequence[Feature], repeats: int) -> Iterator[Tensor]:
    image = request.inference.image
    generator = torch.Generator().manual_seed(int(request.number("seed", least=0)))
    for feature in features:
        place = _place(image, feature)
        values = image[place].flatten(2)
        for _ in range(repeats):
            order = torch.randperm(values.shape[2], generator=generator).to(image.device)
            changed = image.clone()
            changed[place] = values[:, :, order].view(image[place].shape)
            yield changed


def _surroundings(image: Tensor, feature: Feature) -> Tensor:
    """Return each channel filled with its mean in a shell around the feature; without a shell with its mean."""
    if feature.voxels is None or not bool(feature.voxels.any()):
        return BASELINES["mean"](image)
    box = _around(feature.voxels)  # looking at the whole head takes as long as the network does
    inside, near = feature.voxels[box].to(image.device), image[(slice(None), slice(None), *box)]
    pool = functional.max_pool3d if inside.ndim == 3 else functional.max_pool2d
    grown = pool(inside[None, None].float(), 2 * SHELL + 1, stride=1, padding=SHELL)[0, 0] > 0
    shell = grown & ~inside
    if not bool(shell.any()):
        return BASELINES["mean"](image)
    mean = near[..., shell].double().mean(dim=2)
    return mean.view(*mean.shape, *[1] * inside.ndim).expand_as(image)


def _around(voxels: Tensor) -> tuple[slice, ...]:
    """Return the box around voxels (*spatial) bool and their shell."""
    low, high = voxels.nonzero().aminmax(dim=0)
    return tuple(slice(max(a - SHELL, 0), b + SHELL + 1) for a, b in zip(low.tolist(), high.tolist(), strict=True))


def _from(name: str) -> Callable[[Tensor, Feature], Tensor]:
    return lambda image, _: BASELINES[name](image)


_FILLS: dict[str, Callable[[Tensor, Feature], Tensor]] = {
    "surroundings": _surroundings,
    **{name: _from(name) for name in BASELINES},
}
