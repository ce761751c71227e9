"""What a network keeps of a pass: outputs and features as attributes, and buffers that it updates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

__all__ = ["kept_buffers", "recorded"]


def recorded(modules: Iterable[nn.Module]) -> list[tuple[Any, Any, Tensor]]:
    """Return the tensors with a graph that modules keep as attributes, or in lists and dictionaries, and where."""
    found: list[tuple[Any, Any, Tensor]] = []
    for module in modules:
        attributes = module.__dict__
        for place in (attributes, *(value for value in attributes.values() if type(value) in (list, dict))):
            items = place.items() if isinstance(place, dict) else enumerate(place)
            found += [(place, key, x) for key, x in items if isinstance(x, Tensor) and x.grad_fn is not None]
    return found


@contextmanager
def kept_buffers(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Give modules their buffers back with the values that they had, whatever happens inside."""
    before = [
        (module._buffers, name, buffer, buffer._version, buffer.detach().clone())
        for module in modules
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        for buffers, name, buffer, written, values in before:
            if isinstance(buffers, dict):  # TorchScript gives a view of its own, and keeps its tensors
                buffers[name] = buffer
            if buffer._version != written:
                buffer.data.copy_(values)
