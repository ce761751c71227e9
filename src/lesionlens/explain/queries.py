"""Which tokens a map of attention is seen from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lesionlens.errors import ExplainError, unknown_name
from lesionlens.explain.explanation import Request
from lesionlens.explain.layouts import Layout
from lesionlens.explain.targets import gradient_at

__all__ = ["Queries", "chosen_queries", "has_class_token"]


@dataclass(frozen=True, eq=False)
class Queries:
    """Weights of the queries in each window of the image.

    Parameters
    ----------
    name
        Who looks, in words.
    of
        From the number of a window to weights (windows, n) of the tokens in the layout; None where nobody looks. They
        sum to 1, of a target over all windows of the image that do not overlap.
    target, score
        The target in words, and its value, where the queries are those of one.
    """

    name: str
    of: Callable[[int], Tensor | None]
    target: str = ""
    score: float | None = None


def has_class_token(layout: Layout) -> bool:
    """Whether one token alone sees nothing of the image: not so in windows, where such tokens are padding."""
    return len(layout.slots) == 1 and int((layout.slots < 0).sum()) == 1


def chosen_queries(request: Request, layout: Layout, wanted: str) -> Queries:
    """Return the queries that an option names: ``auto``, ``class``, ``target`` or ``all``.

    Raises
    ------
    ExplainError
        If there is no such option, no class token, or no output for each voxel.
    """
    known = {"class": _class_token, "target": _target, "all": _all}
    if wanted == "auto":
        wanted = _automatic(request, layout)
    if wanted not in known:
        raise ExplainError(unknown_name("query", wanted, ["auto", *known]))
    return known[wanted](request, layout)


def _automatic(request: Request, layout: Layout) -> str:
    if has_class_token(layout):
        return "class"
    spatial = tuple(request.known_logits().shape[2:])
    return "target" if spatial == request.inference.plan.shape else "all"


def _class_token(request: Request, layout: Layout) -> Queries:
    del request  # as all queries
    if not has_class_token(layout):
        blind = int((layout.slots < 0).sum())
        raise ExplainError(
            f"Block {layout.name!r} has no class token: one token that sees nothing of the image is expected, {blind} "
            f"in {len(layout.slots)} windows were found. Choose the query 'target' or 'all'."
        )
    weights = (layout.slots < 0).float()
    return Queries("the class token", lambda _: weights)


def _all(request: Request, layout: Layout) -> Queries:
    plan = request.inference.plan
    real = plan.pad(torch.ones((1, 1, *plan.shape), device=layout.slots.device), zeros=True)

    def of(index: int) -> Tensor:
        weights = layout.to_slots(_pooled(real[plan.places[index]], layout))
        return weights / weights.sum()

    return Queries("all tokens alike", of)


def _target(request: Request, layout: Layout) -> Queries:
    plan = request.inference.plan
    logits = request.known_logits()
    score, gradient = gradient_at(request.target, logits)
    if tuple(gradient.shape[2:]) != plan.shape:
        raise ExplainError(
            f"The query 'target' needs an output for each voxel of {plan.shape}; found {tuple(logits.shape)}. "
            "Choose the query 'all'."
        )
    strength = gradient.abs().sum(dim=1, keepdim=True)
    if not bool(strength.any()):
        raise ExplainError("The target depends on no voxel of the output; nothing can be seen from it.")
    padded = plan.pad(strength / strength.sum(), zeros=True)

    def of(index: int) -> Tensor | None:
        part = padded[plan.places[index]]
        return layout.to_slots(_pooled(part, layout)) if bool(part.any()) else None

    described = request.target.describe(logits)
    return Queries(f"the tokens of the target ({described})", of, described, score)


def _pooled(voxels: Tensor, layout: Layout) -> Tensor:
    """Return the sum of values (1, 1, *size) over the voxels of each cell, (cells)."""
    means = functional.interpolate(voxels, size=layout.grid, mode="area")
    return means.flatten() * (voxels.numel() / layout.cells)
