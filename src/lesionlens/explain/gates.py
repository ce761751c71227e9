"""Attention gates: where an Attention U-Net lets the features of its skip connections through.

A gate is a map of one channel in [0, 1] that a block multiplies its input by (Oktay et al., 2018,
https://arxiv.org/abs/1804.03999). It is found by what it does, not by names: the output of a sigmoid module with one
channel, inside a block whose output equals one of its inputs times the gate, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lesionlens.errors import ExplainError
from lesionlens.explain.capture import hookable, quiet
from lesionlens.explain.final import reading_logits

__all__ = ["Gates", "watching_gates"]


class Gates:
    """The gates of a network; made by :func:`watching_gates`."""

    def __init__(self, logits: Callable[[Tensor], Tensor]) -> None:
        self._logits = logits
        self._sigmoid: Tensor | None = None  # the last one with one channel
        self._found: dict[str, Tensor] = {}

    def of(self, view: Tensor) -> dict[str, Tensor]:
        """Run the network, and return each gate (1, 1, *cells) by the name of its block, in the order they run.

        Raises
        ------
        ExplainError
            If there is none.
        """
        self._found, self._sigmoid = {}, None
        with torch.no_grad():
            self._logits(view)
        found, self._found, self._sigmoid = self._found, {}, None
        if not found:
            raise ExplainError(
                "The network has no attention gates: no block multiplies its input by a map of one channel from a "
                "sigmoid module inside it. Choose 'attention' for a transformer, else a CAM."
            )
        return found

    def see(self, _module: nn.Module, _args: object, output: Tensor) -> None:
        """Note the output of a sigmoid; a hook."""
        if output.ndim in (4, 5) and output.shape[1] == 1 and output.shape[2:].numel() > 1:
            self._sigmoid = output.detach().clone()

    def compare(self, name: str, args: tuple[Any, ...], named: dict[str, Any], output: object) -> None:
        """Look whether a block multiplied an input by the sigmoid that ran last; a hook."""
        gate = self._sigmoid
        if gate is None or not isinstance(output, Tensor) or output.shape[2:] != gate.shape[2:]:
            return
        inputs = [x for x in (*args, *named.values()) if isinstance(x, Tensor) and x.shape == output.shape]
        if any(torch.equal(x * gate, output) for x in inputs):
            self._found[name] = gate
            self._sigmoid = None


@contextmanager
def watching_gates(network: nn.Module) -> Iterator[Gates]:
    """Watch the attention gates of a network for the duration of the context, then restore everything."""
    network = hookable(network)
    modules = dict(network.named_modules())
    sigmoids = [name for name, module in modules.items() if isinstance(module, nn.Sigmoid)]
    around = {name for inner in sigmoids for name in _parents(inner)}
    with quiet(network), reading_logits(network) as logits, ExitStack() as hooks:
        gates = Gates(logits)
        for name in sigmoids:
            hooks.callback(modules[name].register_forward_hook(gates.see).remove)
        for name in around:
            hooks.callback(modules[name].register_forward_hook(_comparing(gates, name), with_kwargs=True).remove)
        yield gates


def _comparing(gates: Gates, name: str) -> Callable[..., None]:
    return lambda _module, args, named, output: gates.compare(name, args, named, output)


def _parents(name: str) -> Iterator[str]:
    """Yield the names of all modules around one, but for the network itself."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name
