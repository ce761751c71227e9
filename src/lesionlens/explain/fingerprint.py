"""Tell whether a network is still built as it was."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["fingerprint"]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_SIMPLE = (bool, int, float, str, tuple, type(None))


def fingerprint(network: nn.Module) -> int:
    """Return a number that changes with a network's modules, their settings and hooks, and the shapes of its weights.

    Values of weights do not count, nor does the training mode. Costs a walk through the modules.
    """
    return hash(tuple(_of(name, module) for name, module in network.named_modules(remove_duplicate=False)))


def _of(name: str, module: nn.Module) -> tuple[Any, ...]:
    settings = tuple(
        (key, repr(value)) if isinstance(value, _SIMPLE) else (key, id(value))
        for key, value in module.__dict__.items()
        if key != "training" and (isinstance(value, _SIMPLE) or callable(value))
    )
    weights = tuple((p.shape, p.dtype, p.device) for p in module._parameters.values() if p is not None)
    hooks = tuple(tuple(module.__dict__.get(kind, ())) for kind in _HOOKS)
    return name, id(type(module)), settings, weights, hooks
