"""Features: what a layer holds, whatever the target.

With ``A_k`` the channels of a layer's output (cells of all windows together):

activation_mean        mean over k of A_k
activation_channel     A_k of one channel
activation_strongest   the A_k with the largest norm, or the second, third, ... largest
activation_components  one principal component: the direction in which the cells of the layer differ most from one
                       another (or second, third, ... most); sum_k v_k (A_k - mean of A_k)

The sign of a principal component is arbitrary. Here it is the one in which it rises with the mean activation, so that
high values are where the layer is active; the notes say how far that holds. It says nothing about any class.

Through windows every window's map is brought to its voxels and blended like the logits, as for CAMs. Channels are
chosen, and components computed, from all windows together, so that windows can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor

from lesionlens.errors import ExplainError
from lesionlens.explain.capture import cut_at
from lesionlens.explain.explanation import Explanation, Request, finite, plain
from lesionlens.explain.sweep import Sweep

__all__ = ["METHODS", "run"]

# Channels that the notes name.
_NAMED = 5

# A component whose correlation with the mean activation is less than this has no sign of its own.
_NO_SIGN = 0.05


def run(request: Request) -> Explanation:
    """Make a map of what a layer holds.

    Raises
    ------
    ExplainError
        If the layer or an option does not suit, or values are not finite.
    """
    if len(request.layers) != 1:
        raise ExplainError(f"A map of features is one of a single layer; found {', '.join(request.layers)}.")
    with cut_at(request.inference.network, request.layers[0]) as cut:
        sweep = Sweep(request.inference, cut, request.progress)
        weights, offset, notes = METHODS[request.method](request, sweep)
        values, coarse = (found - offset for found in sweep.blended(weights[None].to(sweep.padded.device)))
    return Explanation(
        values=plain(finite(values)[0, 0]),
        stride=sweep.cells.stride,
        border=sweep.cells.border,
        method=request.method,
        layer=request.layers[0],
        coarse=plain(coarse[0, 0]) if sweep.plan.is_whole else None,
        weights=plain(weights),
        kind="feature",
        signed=bool((values < 0).any()),
        notes=(*sweep.notes, *notes, "The map shows what the layer holds, whatever the target."),
    )


Weights = tuple[Tensor, float, list[str]]


def _mean(_request: Request, sweep: Sweep) -> Weights:
    channels = sweep.channels
    return torch.full((channels,), 1 / channels), 0.0, [f"The mean of {channels} channels."]


def _channel(request: Request, sweep: Sweep) -> Weights:
    wanted = int(request.number("channel", least=0))
    notes = [f"Channel {wanted} of {sweep.channels} (counted from 0)."]
    return _one(wanted, sweep.channels, "channel", first=0), 0.0, notes


def _strongest(request: Request, sweep: Sweep) -> Weights:
    rank = int(request.number("rank", least=1))
    squares = sum(a.double().square().flatten(2).sum(dim=2)[0] for a in sweep.activations())
    assert isinstance(squares, Tensor)
    order = squares.argsort(descending=True, stable=True)
    shares = (100 * squares / squares.sum().clamp_min(torch.finfo(torch.float64).tiny)).tolist()
    named = ", ".join(f"{k} ({shares[k]:.3g} %)" for k in order[:_NAMED].tolist())
    at = _one(rank - 1, len(order), "rank", first=1)
    weights = torch.zeros(len(order))
    weights[order[int(at.argmax())]] = 1.0
    notes = [
        f"Channel {int(weights.argmax())}, number {rank} of {len(order)} by its norm.",
        f"The strongest channels, with their share of all squared activation: {named}.",
    ]
    return weights, 0.0, notes


def _components(request: Request, sweep: Sweep) -> Weights:
    wanted = int(request.number("component", least=1))
    mean, covariance = _moments(sweep)
    one = _one(wanted - 1, len(mean), "component", first=1)
    variances, directions = (part.flip(-1) for part in torch.linalg.eigh(covariance))  # largest first
    direction, variance = directions[:, int(one.argmax())], float(variances[int(one.argmax())])
    direction, with_mean = _turned(direction, covariance, variance)
    total = max(float(variances.clamp_min(0).sum()), torch.finfo(torch.float64).tiny)
    shares = ", ".join(f"{100 * max(value, 0) / total:.3g} %" for value in variances[:_NAMED].tolist())
    sign = (
        f"Its sign is the one that rises with the mean activation (correlation {with_mean:.2f})."
        if with_mean >= _NO_SIGN
        else "It does not go with the mean activation, so its sign means nothing; its largest weight is above 0."
    )
    notes = [f"Principal component {wanted} of {len(mean)}; the first explain {shares} of the variance.", sign]
    return direction.float(), float(direction @ mean), notes


def _moments(sweep: Sweep) -> tuple[Tensor, Tensor]:
    """Return mean (channels) and covariance (channels, channels) over all cells of all windows, float64."""
    cells, total, products = 0, torch.zeros(()), torch.zeros(())
    for activation in sweep.activations():
        flat = activation[0].flatten(1).cpu().double()
        cells += flat.shape[1]
        total = total + flat.sum(dim=1)
        products = products + flat @ flat.T
    mean = total / cells
    return mean, products / cells - mean[:, None] * mean


def _turned(direction: Tensor, covariance: Tensor, variance: float) -> tuple[Tensor, float]:
    """Return a component with its sign fixed, and its correlation with the mean activation."""
    with_mean = covariance.mean(dim=0)
    spread = sqrt(max(variance, 0) * max(float(covariance.mean()), 0))
    correlation = float(direction @ with_mean) / spread if spread > 0 else 0.0
    if abs(correlation) < _NO_SIGN:
        return direction * direction[direction.abs().argmax()].sign(), abs(correlation)
    return (direction if correlation > 0 else -direction), abs(correlation)


def _one(index: int, channels: int, name: str, *, first: int) -> Tensor:
    """Return weights that choose one of the channels, or refuse it."""
    if index >= channels:
        raise ExplainError(f"There is no {name} {index + first}; the layer has {first} to {channels - 1 + first}.")
    weights = torch.zeros(channels)
    weights[index] = 1.0
    return weights


# Name -> weights of the channels, what is subtracted, and notes.
METHODS: dict[str, Callable[[Request, Sweep], Weights]] = {
    "activation_mean": _mean,
    "activation_channel": _channel,
    "activation_strongest": _strongest,
    "activation_components": _components,
}
