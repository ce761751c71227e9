"""What a target asks of the logits at one position: a class's logit, its margin, its probability, or a contrast."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from lesionlens.errors import ExplainError

__all__ = ["Score", "ScoreKind", "class_name"]

ScoreKind = Literal["margin", "logit", "probability"]


@dataclass(frozen=True)
class Score:
    """A number for one class at each position, made from the logits of all classes there.

    Parameters
    ----------
    kind
        ``"margin"``: the class's logit minus the strongest other logit; the logit alone where classes are independent.
        ``"logit"``, ``"probability"``: of the class.
    against
        Competing classes, by channel. Then the number is the class's logit (of ``"probability"``: its probability)
        minus ``gamma`` times the mean of theirs, as Finer-CAM [1]_ contrasts a class with those it is mistaken for.
    similar
        Instead of ``against``: so many classes whose mean logits over the region are nearest to the class's own.
    gamma
        Strength of the contrast; 0 leaves the class alone.
    labels
        Names of all classes, for the record.

    References
    ----------
    .. [1] Zhang et al., Finer-CAM: Spotting the Difference Reveals Finer Details for Visual Explanation, CVPR 2025,
       https://arxiv.org/abs/2501.11309.
    """

    kind: ScoreKind = "margin"
    against: tuple[int, ...] = ()
    similar: int = 0
    gamma: float = 1.0
    labels: tuple[str, ...] = ()

    def __call__(self, logits: Tensor, index: int, *, independent: bool) -> Tensor:
        """Return the numbers (n) of class ``index`` from logits (K, n)."""
        chosen = self.settled(logits, index)
        if chosen.kind == "probability":
            numbers = torch.sigmoid(logits) if independent else torch.softmax(logits, dim=0)
        else:
            numbers = logits
        if chosen.against:
            return numbers[index] - self.gamma * numbers[list(chosen.against)].mean(dim=0)
        if chosen.kind == "margin" and not independent:
            others = torch.cat([numbers[:index], numbers[index + 1 :]])
            return numbers[index] - others.max(dim=0).values
        return numbers[index]

    def settled(self, logits: Tensor, index: int) -> Score:
        """Return the score with its competing classes chosen, by logits (K, n).

        Raises
        ------
        ExplainError
            If there are no such classes.
        """
        classes = logits.shape[0]
        if index in self.against:
            name = class_name(index, *self.labels[index : index + 1])
            raise ExplainError(f"Against {name} itself no class can be set; choose another one of the {classes}.")
        if any(not 0 <= c < classes for c in self.against):
            raise ExplainError(f"Classes to set against are among 0 to {classes - 1}; found {self.against}.")
        if not self.similar or self.against:
            return self
        if not 0 < self.similar < classes:
            raise ExplainError(f"Of {classes} classes there are not {self.similar} others that are similar to one.")
        distance = (logits.detach().mean(dim=1) - logits.detach().mean(dim=1)[index]).abs()
        distance[index] = torch.inf
        return replace(self, against=tuple(sorted(distance.argsort(stable=True)[: self.similar].tolist())))

    def describe(self, logits: Tensor, index: int, label: str, *, independent: bool) -> str:
        """Return ``"margin of 'lesion'"`` for logits (K, n)."""
        chosen = self.settled(logits, index)
        words = "logit" if chosen.kind == "margin" and (independent or chosen.against) else chosen.kind
        if not chosen.against:
            return f"{words} of {class_name(index, label)}"
        others = ", ".join(class_name(c, *self.labels[c : c + 1]) for c in chosen.against)
        mean = "the mean of those" if len(chosen.against) > 1 else "that"
        return f"{words} of {class_name(index, label)} minus {self.gamma:g} times {mean} of {others}"


def class_name(index: int, label: str = "") -> str:
    """Return how messages call a class."""
    return repr(label) if label else f"class {index}"
