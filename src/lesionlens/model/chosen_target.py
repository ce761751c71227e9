"""The target of a bundle's output, picked when the logits are first seen."""

from __future__ import annotations

from dataclasses import replace

import torch

from lesionlens.explain import FromProbabilities, Target, settled
from lesionlens.model.activation import Activation, observed
from lesionlens.model.bundle import Bundle
from lesionlens.model.plan import Plan
from lesionlens.model.targets import chosen_channel, target_of

__all__ = ["ChosenTarget"]


class ChosenTarget:
    """A target that picks its class when it first sees the logits, and remembers them.

    Parameters
    ----------
    bundle
        Whose output it is of.
    plan
        What was asked, and of which input.
    wanted
        Output channel of the class; None for the strongest.

    Attributes
    ----------
    activation : Activation
        How logits become probabilities, as far as is known by now.
    logits : torch.Tensor or None
        (1, K) or (1, K, *spatial), what it saw first; None before that.
    channel : int
        Output channel of the class; -1 before it is chosen.
    """

    def __init__(self, bundle: Bundle, plan: Plan, wanted: int | None) -> None:
        self._bundle = bundle
        self._plan = plan
        self._wanted = wanted
        self._final = plan.final
        self._target: Target | None = None
        self.activation = bundle.activation
        self.logits: torch.Tensor | None = None
        self.channel = -1

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the target's value for logits (1, K) or (1, K, *spatial), a scalar tensor."""
        return self._chosen(logits)(logits)

    def describe(self, logits: torch.Tensor) -> str:
        """Return the target in words."""
        return self._chosen(logits).describe(logits)

    def settled(self, logits: torch.Tensor) -> Target:
        """Return the target with what it takes from these logits held fixed."""
        return settled(self._chosen(logits), logits)

    def _chosen(self, logits: torch.Tensor) -> Target:
        if self._target is None:
            self.logits = logits.detach()
            if self._bundle.detector is None:
                self.activation = observed(self._bundle.activation, self.logits[0], self._final)
            prepared, seen = self._plan.prepared, self._scores
            real = None if prepared.real is None else torch.from_numpy(prepared.real)
            self.channel = chosen_channel(self._bundle, self._wanted, self.logits, seen, real)
            target = target_of(
                self._bundle, prepared, self._plan.wish.spec, self.channel, seen=seen, output=self.logits
            )
            sigmoid = self.activation.kind == "sigmoid"
            self._target = FromProbabilities(target, sigmoid=sigmoid) if self.from_probabilities else target
        return self._target

    @property
    def _scores(self) -> Activation:
        """What the numbers that the target sees are: logits, read before a final module, or probabilities."""
        return replace(self.activation, applied=self.from_probabilities)

    @property
    def from_probabilities(self) -> bool:
        """Whether the network returns probabilities and no module gives its logits away."""
        return self.activation.applied and self._final is None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know about the network's output."""
        what = "log-odds" if self.activation.kind == "sigmoid" else "logarithms"
        seen = f"The network returns probabilities; the {what} of these are explained." * self.from_probabilities
        return tuple(filter(None, (seen, self.activation.doubt)))

    @property
    def kept(self) -> Target | None:
        """The target settled by these logits; None where the method explains none."""
        return None if self._target is None or self.logits is None else settled(self._target, self.logits)

    @property
    def label(self) -> str:
        """Name of the class; empty where the method explains none."""
        return "" if self._target is None else self._bundle.info.outputs[self.channel]
