"""What a network keeps of a pass: some store outputs for deep supervision, or features, as attributes of a module."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

__all__ = ["recorded"]


def recorded(modules: Iterable[nn.Module]) -> list[tuple[Any, Any, Tensor]]:
    """Return the tensors with a graph that modules keep as attributes, or in lists and dictionaries, and where."""
    found: list[tuple[Any, Any, Tensor]] = []
    for module in modules:
        attributes = module.__dict__
        for place in (attributes, *(value for value in attributes.values() if type(value) in (list, dict))):
            items = place.items() if isinstance(place, dict) else enumerate(place)
            found += [(place, key, x) for key, x in items if isinstance(x, Tensor) and x.grad_fn is not None]
    return found
