"""What is explained: a scalar of a network's output.

A target is called with the logits and returns a scalar; ``describe`` puts it in words for the record. The logits are
those of the whole image, also when the network saw it through windows: (1, K) of a classifier, (1, K, *spatial) of a
segmentation network. Any object with these two methods is a target.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lesionlens.errors import ExplainError
from lesionlens.explain.scores import Score

__all__ = ["ClassLogit", "FromProbabilities", "RegionMargin", "Target", "check_logits", "reach", "settled"]

# Where nothing is predicted, this share of the voxels (and at least one) stands in for the region: on a head at 1 mm
# about 0.7 mL, the size of one small lesion.
TOP_SHARE = 1e-4

LOGIT, MARGIN = Score("logit"), Score("margin")


class Target(Protocol):
    """A scalar of the logits, differentiable, with words for it."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the scalar."""
        ...

    def describe(self, logits: Tensor) -> str:
        """Say what the scalar is, for the record."""
        ...


def settled(target: Target, logits: Tensor) -> Target:
    """Return a target with what it takes from the logits, such as the predicted region, held fixed.

    Whoever changes the network's input or features to see the target fall asks about the same voxels and competitors
    each time. A target of one's own may have a method ``settled(logits)`` for this; else it is returned as it is.
    """
    settle = getattr(target, "settled", None)
    return target if settle is None else cast("Target", settle(logits))


def reach(target: Target) -> Tensor | None:
    """Return the voxels (*spatial) bool outside of which the logits do not matter to a settled target, if known."""
    if isinstance(target, FromProbabilities):
        return reach(target.target)
    region = target.region if isinstance(target, RegionMargin) else None
    return None if region is None else torch.as_tensor(region, dtype=torch.bool)


@dataclass(frozen=True)
class ClassLogit:
    """The score of one class of a classifier: by default its logit.

    Parameters
    ----------
    index
        Channel of the logits (1, K).
    label
        Name of the class, for the record.
    score
        What is asked: logit, margin, probability, or a contrast with other classes.
    sigmoid
        Whether the classes are independent; a single channel always is.
    """

    index: int
    label: str = ""
    score: Score = LOGIT
    sigmoid: bool = False

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the class's score."""
        _check_class(self.index, logits)
        if logits[0, 0].numel() != 1:
            raise ExplainError(
                f"The logit of a class needs a classifier's output (1, K); found {tuple(logits.shape)}. "
                "Explain the margin over a region instead."
            )
        return self.score(_columns(logits), self.index, independent=self._independent(logits)).squeeze()

    def describe(self, logits: Tensor) -> str:
        """Return ``"logit of 'lesion'"``."""
        return self.score.describe(_columns(logits), self.index, self.label, independent=self._independent(logits))

    def settled(self, logits: Tensor) -> ClassLogit:
        """Return the target with its competing classes chosen."""
        return replace(self, score=self.score.settled(_columns(logits), self.index))

    def _independent(self, logits: Tensor) -> bool:
        return self.sigmoid or logits.shape[1] == 1


@dataclass(frozen=True, eq=False)
class RegionMargin:
    """The mean score of one class over a region: by default its logit minus the strongest other one, voxel by voxel.

    Softmax only sees differences of logits: a network may keep the logit of a class flat and decide by that of the
    background. The margin is what decides; its gradient does not depend on which of the two moves. It is not changed by
    classes that are nowhere the strongest other one. With a sigmoid every class decides for itself, and the margin is
    its own logit.

    Parameters
    ----------
    index
        Channel of the logits (1, K, *spatial).
    label
        Name of the class, for the record.
    region
        (*spatial) bool, array or tensor; None for the region where the network predicts the class (largest logit, or
        above 0 with a sigmoid), and where it does so nowhere, the voxels of largest margin.
    region_name
        What ``region`` is, for the record.
    sigmoid
        Whether the classes are independent; a single channel always is.
    within
        Voxels (*spatial) that count at all, so that padding is not explained; all by default.
    score
        What is asked at each voxel: margin, logit, probability, or a contrast with other classes.
    """

    index: int
    label: str = ""
    region: Tensor | NDArray[np.bool_] | None = None
    region_name: str = "the region"
    sigmoid: bool = False
    within: Tensor | None = None
    score: Score = MARGIN

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the mean score."""
        region, _ = self._where(logits)
        return self.score(_inside(logits, region), self.index, independent=self._independent(logits)).mean()

    def describe(self, logits: Tensor) -> str:
        """Return ``"margin of 'lesion' over the predicted region (1,234 voxels)"``."""
        region, name = self._where(logits)
        independent = self._independent(logits)
        what = self.score.describe(self._compared(logits, region), self.index, self.label, independent=independent)
        voxels = int(region.count_nonzero())
        return f"mean {what} over {name} ({voxels:,} voxel{'s' * (voxels != 1)})"

    def settled(self, logits: Tensor) -> RegionMargin:
        """Return the target with its region and its competing classes chosen."""
        region, name = self._where(logits)
        score = self.score.settled(self._compared(logits, region), self.index)
        return replace(self, region=region, region_name=name, score=score)

    def _compared(self, logits: Tensor, region: Tensor) -> Tensor:
        """Return the logits (K, n) by which competing classes are chosen: of the region, where any are left to choose.

        Where none are, only their number of classes is looked at, and no copy is made.
        """
        return _inside(logits, region) if self.score.similar and not self.score.against else _columns(logits)

    def _independent(self, logits: Tensor) -> bool:
        return self.sigmoid or logits.shape[1] == 1

    @torch.no_grad()
    def _where(self, logits: Tensor) -> tuple[Tensor, str]:
        """Return the region as (*spatial) bool and its name."""
        _check_class(self.index, logits)
        if logits.ndim < 4:
            raise ExplainError(
                f"A margin over a region needs a segmentation's output (1, K, *spatial); found {tuple(logits.shape)}. "
                "Explain the logit of a class instead."
            )
        if self.region is not None:
            return self._given(logits), self.region_name
        predicted = logits[0, self.index] > 0 if self._independent(logits) else _strongest(logits[0], self.index)
        within = torch.ones_like(predicted) if self.within is None else self.within.to(logits.device)
        predicted = predicted & within
        if bool(predicted.any()):
            return predicted, "the predicted region"
        margin = MARGIN(_columns(logits), self.index, independent=self._independent(logits))
        margin = margin.masked_fill(~within.flatten(), -torch.inf)
        count = max(1, round(TOP_SHARE * int(within.sum())))
        top = torch.zeros_like(margin, dtype=torch.bool)
        top[margin.topk(count).indices] = True
        return top.view(logits.shape[2:]), "the voxels closest to the class, which is predicted nowhere"

    def _given(self, logits: Tensor) -> Tensor:
        region = torch.as_tensor(self.region, dtype=torch.bool, device=logits.device)
        if region.shape != logits.shape[2:]:
            raise ExplainError(
                f"The region must have the shape of the network's output {tuple(logits.shape[2:])}; "
                f"found {tuple(region.shape)}."
            )
        if not bool(region.any()):
            raise ExplainError(f"{self.region_name.capitalize()} holds no voxel; there is nothing to explain.")
        return region


@dataclass(frozen=True, eq=False)
class FromProbabilities:
    """A target of a network that returns probabilities and cannot be read before them.

    The target is asked about ``log p`` (softmax) or ``log p - log (1 - p)`` (sigmoid). Margins of these are the margins
    of the logits that the network keeps to itself, and so are their gradients, unless a probability is so close to 0
    or 1 that a float32 cannot tell: there the gradient is 0.

    Parameters
    ----------
    target
        A target of logits.
    sigmoid
        Whether the classes are independent.
    """

    target: Target
    sigmoid: bool = False

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the target's value."""
        return self.target(self._logits(logits))

    def describe(self, logits: Tensor) -> str:
        """Return the target in words."""
        return self.target.describe(self._logits(logits))

    def settled(self, logits: Tensor) -> FromProbabilities:
        """Return the target with what it takes from the network's output held fixed."""
        return replace(self, target=settled(self.target, self._logits(logits)))

    def _logits(self, probabilities: Tensor) -> Tensor:
        if self.sigmoid:
            return torch.logit(probabilities, eps=torch.finfo(torch.float32).eps)
        return probabilities.clamp_min(torch.finfo(torch.float32).tiny).log()


def _columns(logits: Tensor) -> Tensor:
    """Return logits (1, K, ...) as (K, positions); a classifier has one."""
    return logits.reshape(logits.shape[1], -1)  # not logits[0], whose gradient is filled with zeros and copied


def _inside(logits: Tensor, region: Tensor) -> Tensor:
    """Return the logits (K, n) of a region (*spatial) bool; its gradient costs half of that of indexing with bool."""
    return _columns(logits).index_select(1, region.flatten().nonzero()[:, 0])


def _strongest(logits: Tensor, index: int) -> Tensor:
    """Return where a class (K, *spatial) is the first of the largest: ``argmax(dim=0) == index``, ten times as fast."""
    here = logits[index]
    found = torch.ones_like(here, dtype=torch.bool)
    if index > 0:
        found &= here > logits[:index].amax(dim=0)
    if index + 1 < logits.shape[0]:
        found &= here >= logits[index + 1 :].amax(dim=0)
    return found


def check_logits(logits: Tensor) -> None:
    """Refuse logits that are not those of one image.

    Parameters
    ----------
    logits
        What a network gave, or its windows together: (1, K) or (1, K, *spatial).

    Raises
    ------
    ExplainError
        If they have another number of images or no axis of classes.
    """
    if logits.ndim < 2 or logits.shape[0] != 1:
        raise ExplainError(
            "For one image a network must give (1, K) of a classifier, or (1, K, *spatial); "
            f"found {tuple(logits.shape)}. Where the first axis is that of the classes, wrap the network in a module "
            "that returns output[None]."
        )


def _check_class(index: int, logits: Tensor) -> None:
    check_logits(logits)
    classes = logits.shape[1]
    if not 0 <= index < classes:
        raise ExplainError(f"There is no class {index}; the network's output has {classes} (0 to {classes - 1}).")


def gradient_at(target: Target, logits: Tensor) -> tuple[float, Tensor]:
    """Return a target's value and its gradient with respect to the logits, in their shape, float32."""
    check_logits(logits)
    with torch.enable_grad():
        leaf = logits.detach().float().requires_grad_()
        score = target(leaf)
        if not isinstance(score, Tensor) or score.numel() != 1 or not score.requires_grad:
            raise ExplainError(
                f"A target must be a scalar that depends on the logits; {target.describe(logits)!r} is {score!r}."
            )
        (gradient,) = torch.autograd.grad(score.squeeze(), leaf)
    if not bool(torch.isfinite(score)):
        raise ExplainError(f"The {target.describe(logits)} is {score.item()}; it cannot be explained.")
    return float(score.detach()), gradient
