"""Tensors that a layer hands on: what it was given is what it gives, and other paths of the network may use it too.

The gradient with respect to such a tensor has two parts. Uses after the layer lead to a leaf whose values are written
into the tensor. Uses before it lead to where the tensor came from, in a graph that begins at the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.autograd.graph import GradientEdge

__all__ = ["Before", "carrying_on"]


@dataclass(frozen=True)
class Before:
    """Where uses before the layer lead to.

    Parameters
    ----------
    edge
        Of the graph, where the tensor came from.
    image
        Where the graph begins. Its gradient is asked for and dropped: torch fails to go through a view that is written
        into, as the output of an instance norm is, if nothing is wanted beyond.
    """

    edge: GradientEdge
    image: Tensor

    def gradient(self, logits: Tensor, leaf: Tensor, seed: Tensor, *, keep: bool) -> Tensor:
        """Return the gradient of logits by all uses of the tensor; see ``Cut.gradient``."""
        places: Any = (leaf, self.edge, self.image)  # torch takes them together, its annotation either kind
        *parts, _ = torch.autograd.grad(logits, places, seed, retain_graph=keep, allow_unused=True)
        return torch.stack([part for part in parts if part is not None]).sum(dim=0)


def carrying_on(tensor: Tensor, leaf: Tensor, *, before: Before | None) -> Tensor:
    """Return what goes on from a layer that hands a tensor on, with its values taken from a leaf from here on."""
    try:
        with _unsafe_preserve_version_counter(tensor):  # values stay: what earlier uses have stored is still right
            return tensor.copy_(leaf)
    except RuntimeError:  # one of several views, or expanded: nobody can write into it, and all uses lead to one edge
        return leaf.clone() if before is None else tensor
