"""Activation functions that Python calls, and what modules give to them."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from lesionlens.explain.calling import version

__all__ = ["NAMES", "UNGUIDED", "Outputs"]

# Functions whose gradients guided backprop holds above 0, and others that would need a rule of their own.
GUIDED = {
    "relu": (functional.relu, functional.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_),
    "relu6": (functional.relu6,),
    "leaky_relu": (functional.leaky_relu, functional.leaky_relu_),
    "prelu": (functional.prelu, torch.prelu, Tensor.prelu),
    "rrelu": (functional.rrelu, functional.rrelu_, torch.rrelu, torch.rrelu_),
    "elu": (functional.elu, functional.elu_, functional.selu, functional.selu_, functional.celu, functional.celu_),
}
UNGUIDED = {
    "gelu": (functional.gelu,),
    "silu": (functional.silu,),
    "mish": (functional.mish,),
    "softplus": (functional.softplus,),
    "hardswish": (functional.hardswish,),
    "sigmoid": (torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_, functional.sigmoid),
    "tanh": (torch.tanh, torch.tanh_, Tensor.tanh, Tensor.tanh_, functional.tanh),
    "clamp": (torch.clamp, torch.clamp_, Tensor.clamp, Tensor.clamp_, torch.clamp_min, Tensor.clamp_min),
}

NAMES: dict[Any, str] = {
    function: name for name, functions in (*GUIDED.items(), *UNGUIDED.items()) for function in functions
}

# These leave values below 0 as they are, or come behind a network's answer: a map of what goes in loses nothing.
_NOT_BETWEEN_LAYERS = {"sigmoid", "tanh", "clamp"}


class Outputs(TorchFunctionMode):
    """The tensors that modules give: which are the same, and which go straight into an activation that is no module."""

    def __init__(self) -> None:
        super().__init__()
        # By address, while it is that of the same tensor and nothing was written into it: the names of the modules.
        self._given: dict[int, tuple[weakref.ref[Tensor], int, list[str]]] = {}
        self.activated_by: dict[str, str] = {}  # name of a module -> that of the function

    def gave(self, name: str, output: Tensor) -> list[str]:
        """Note what a module gave, and return the names of all modules that gave this tensor, also of later ones."""
        names = self._givers(output, written=version(output))
        if names is None:
            names = []
            self._given[id(output)] = weakref.ref(output), version(output), names
        names.append(name)
        return names

    def took(self, argument: object) -> None:
        """Note what a module without inner ones was given: a function that it calls is no longer without a module."""
        for name in self._givers(argument) or []:
            self.activated_by.pop(name, None)

    def _givers(self, tensor: object, *, written: int | None = None) -> list[str] | None:
        known, before, names = self._given.get(id(tensor), (lambda: None, 0, []))
        return names if known() is tensor and written in (None, before) else None

    def __torch_function__(
        self, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function, and note whose output it activates."""
        name = NAMES.get(func)
        if name is not None and name not in _NOT_BETWEEN_LAYERS and args:
            self.activated_by.update(dict.fromkeys(self._givers(args[0]) or [], name))
        return func(*args, **(kwargs or {}))
