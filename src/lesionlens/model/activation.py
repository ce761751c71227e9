"""How a network's output becomes probabilities: what the config states, and what the output itself shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from monai.transforms import Compose
from torch import Tensor

from lesionlens.explain.final import FinalKind

__all__ = ["Activation", "Kind", "observed", "stated"]

Kind = Literal["softmax", "sigmoid"]
Source = Literal["config", "argmax", "guess"]

# Softmax in float32 and the blend of windows miss a sum of 1 by about 1e-6. Logits that are all positive and sum to 1
# within this at every voxel do not happen; those of one classification do so about once in 10,000.
_SUM_SLACK = 1e-4
_ROUNDING = 1e-6
# The smallest probability of a softmax that still has a logarithm in float32.
_TINY = 1e-37


@dataclass(frozen=True)
class Activation:
    """How an output becomes probabilities.

    Parameters
    ----------
    kind
        ``"softmax"``: one class excludes the others. ``"sigmoid"``: every class decides for itself.
    applied
        Whether the output holds probabilities already, because the network applies the activation itself.
    reason
        What decided it.
    source
        Whether the config applies the activation by name, takes the argmax, or says nothing, so that it is a guess.
    doubt
        One sentence for the reader where neither config nor output decide; else empty.
    temperature
        What logits are divided by first; 1 unless the bundle was calibrated.
    calibration
        One sentence about that for the reader; empty where the temperature is 1.
    threshold
        Probability from which the postprocessing itself counts a voxel to a class; None where it does not say.
    """

    kind: Kind
    applied: bool = False
    reason: str = ""
    source: Source = "guess"
    doubt: str = ""
    temperature: float = 1.0
    calibration: str = ""
    threshold: float | None = None

    def probabilities(self, output: Tensor) -> Tensor:
        """Turn an output, channels first, into probabilities."""
        if self.applied and self.temperature == 1:
            return output
        output = self.logits(output)
        if self.temperature != 1:  # a copy of all outputs that nobody needs
            output = output / self.temperature
        return torch.softmax(output, dim=0) if self.kind == "softmax" else torch.sigmoid(output)

    def logits(self, output: Tensor) -> Tensor:
        """Return the logits of an output; of probabilities those that lead to them.

        What was rounded to 0 or 1 stays close to it.
        """
        if not self.applied:
            return output
        output = output.clamp(_TINY, 1)
        return output.log() if self.kind == "softmax" else torch.logit(output, eps=_ROUNDING / 10)


def stated(postprocessing: Sequence[Any], n_outputs: int) -> Activation:
    """Decide by the transforms of a bundle's postprocessing, as they were built.

    ``Activations`` decides; else an ``AsDiscrete`` (argmax: softmax, threshold: sigmoid); else the number of outputs
    (one: sigmoid, several: softmax).
    """
    steps = list(_flat(postprocessing))
    names: tuple[Kind, ...] = ("softmax", "sigmoid")
    for step in (s for s in steps if "Activations" in type(s).__name__):
        for name in names:
            if _flag(step, name) or getattr(_flag(step, "other"), "__name__", "") == name:
                reason = f"postprocessing applies {name}"
                return Activation(name, reason=reason, source="config", threshold=_threshold(steps))
    for step in (s for s in steps if "AsDiscrete" in type(s).__name__):
        if _flag(step, "argmax"):
            return Activation("softmax", reason="postprocessing takes the argmax", source="argmax")
        if _flag(step, "threshold") is not None:
            return Activation("sigmoid", reason="postprocessing thresholds every channel by itself")
    if n_outputs == 1:
        return Activation("sigmoid", reason="one output channel and no activation in the config")
    return Activation("softmax", reason=f"{n_outputs} output channels and no activation in the config")


def _threshold(steps: Sequence[Any]) -> float | None:
    """Return the threshold of an ``AsDiscrete`` behind an ``Activations``; behind anything else it may be of logits."""
    names = [type(step).__name__ for step in steps]
    first = next(n for n, name in enumerate(names) if "Activations" in name)
    for step in (step for step, name in zip(steps[first:], names[first:], strict=True) if "AsDiscrete" in name):
        found = None if _flag(step, "argmax") else _flag(step, "threshold")
        if isinstance(found, int | float) and not isinstance(found, bool) and 0 < found < 1:
            return float(found)
    return None


def _flat(steps: Sequence[Any]) -> Iterator[Any]:
    for step in steps:
        yield from _flat(step.flatten().transforms) if isinstance(step, Compose) else (step,)


def _flag(step: Any, name: str) -> Any:
    """Return a transform's option for the prediction; dictionary transforms hold one for each key."""
    value = getattr(step, name, None)
    if isinstance(value, list | tuple):
        keys = list(getattr(step, "keys", ()))
        position = keys.index("pred") if "pred" in keys else 0
        value = value[position] if position < len(value) else None
    return value


def observed(
    activation: Activation, output: Tensor, final: FinalKind | None = None, *, limits: tuple[float, float] | None = None
) -> Activation:
    """Correct what was stated by what the network shows, so that no activation is applied twice.

    Parameters
    ----------
    activation
        As stated.
    output
        The network's output, (K, ...).
    final
        The activation module that gave the output, if one did.
    limits
        Least and greatest value of the output, where they are known already.

    Notes
    -----
    A network may call ``torch.softmax`` or ``torch.sigmoid`` where nothing can be seen but the numbers. Channels that
    are not negative and sum to 1 at every voxel went through a softmax. A map with all values in [0, 1] may have gone
    through a sigmoid, or may be logits of a scan without extremes: there the config is followed, with a doubt, on every
    scan alike; only where it says nothing, a sigmoid is taken to have been applied. So may the few numbers of a
    classification: there what was stated is followed, with a doubt.
    """
    if final == "log_softmax":
        return replace(activation, kind="softmax", reason="the network ends in LogSoftmax")
    if final is not None:
        return replace(activation, kind=final, applied=True, reason=f"the network ends in {final.capitalize()}")
    low, high = limits or tuple(float(limit) for limit in output.aminmax())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        return activation
    if output.shape[0] > 1 and bool(((output.sum(dim=0) - 1).abs() < _SUM_SLACK).all()):
        reason = "the network's output is a softmax already: nowhere negative, and its channels sum to 1 everywhere"
        return replace(activation, kind="softmax", applied=True, reason=reason)
    if output.ndim > 1 and activation.source == "guess":
        reason = "the network's output is a sigmoid already: all its values lie in [0, 1]"
        return replace(activation, kind="sigmoid", applied=True, reason=reason)
    return _doubted(activation)


def _doubted(activation: Activation) -> Activation:
    doubt = (
        f"All outputs lie in [0, 1], so they may be probabilities already; a {activation.kind} was applied to them"
        f" because {activation.reason}."
    )
    return replace(activation, doubt=doubt)
