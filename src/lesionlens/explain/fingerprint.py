"""Tell whether a network is still built as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

__all__ = ["fingerprint"]

_OURS = __name__.rpartition(".")[0] + "."
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_SIMPLE = (bool, int, float, str, tuple, type(None))


def fingerprint(network: nn.Module) -> int:
    """Return a number that changes with a network's modules, their settings and hooks, and the shapes of its weights.

    Values of weights do not count, nor do the training mode and the hooks by which this package watches for a while.
    Costs a walk through the modules.
    """
    return hash(tuple(_of(name, module) for name, module in network.named_modules(remove_duplicate=False)))


def _of(name: str, module: nn.Module) -> tuple[Any, ...]:
    settings = tuple(
        (key, repr(value)) if isinstance(value, _SIMPLE) else (key, id(value))
        for key, value in module.__dict__.items()
        if key != "training" and (isinstance(value, _SIMPLE) or callable(value))
    )
    weights = tuple((p.shape, p.dtype, p.device) for p in module._parameters.values() if p is not None)
    hooks = tuple(_of_others(module.__dict__.get(kind, {})) for kind in _HOOKS)
    return name, id(type(module)), settings, weights, hooks


def _of_others(hooks: Mapping[int, Any]) -> tuple[int, ...]:
    """Return the numbers of the hooks that are not this package's, which are new ones for every run."""
    return tuple(key for key, hook in hooks.items() if not getattr(hook, "__module__", "").startswith(_OURS))
