"""The softmax or sigmoid that a network ends in, and the logits before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from torch import Tensor, nn

from lesionlens.explain.calling import called, with_classes

__all__ = ["FinalActivation", "FinalKind", "has_activation_modules", "reading_logits", "watching_activations"]

FinalKind = Literal["softmax", "log_softmax", "sigmoid"]

# Modules that turn logits into probabilities: a network that ends in one is read before it.
_FINAL_ACTIVATIONS = (nn.Softmax, nn.LogSoftmax, nn.Sigmoid)


class FinalActivation:
    """What the softmax and sigmoid modules of a network did in its last pass; made by :func:`watching_activations`.

    A module counts as final when its output *is* the output of the network: one that is registered last but runs
    earlier, such as an attention gate, does not.
    """

    def __init__(self) -> None:
        self._module: nn.Module | None = None
        self._input: Tensor | None = None
        self._output: Tensor | None = None

    def forget(self) -> None:
        """Let go of the last pass and its tensors."""
        self._module = self._input = self._output = None

    def remember(
        self, module: nn.Module, args: tuple[Tensor, ...], named: Mapping[str, Tensor], output: Tensor
    ) -> None:
        """Note one call; the forward hook of the modules."""
        self._module, self._input, self._output = module, args[0] if args else named["input"], output

    def before(self, output: Tensor) -> Tensor:
        """Return what went into the final activation, or ``output`` where there was none."""
        return self._input if self._input is not None and output is self._output else output

    def kind(self, output: Tensor) -> FinalKind | None:
        """Return which activation gave ``output``, or None."""
        if self._module is None or output is not self._output:
            return None
        if isinstance(self._module, nn.LogSoftmax):
            return "log_softmax"
        return "sigmoid" if isinstance(self._module, nn.Sigmoid) else "softmax"


def has_activation_modules(network: nn.Module) -> bool:
    """Whether a network has softmax or sigmoid modules, wherever they run."""
    return any(isinstance(module, _FINAL_ACTIVATIONS) for module in network.modules())


@contextmanager
def watching_activations(network: nn.Module) -> Iterator[FinalActivation]:
    """Watch the softmax and sigmoid modules of a network for the duration of the context."""
    final = FinalActivation()
    modules = [module for module in network.modules() if isinstance(module, _FINAL_ACTIVATIONS)]
    handles = [module.register_forward_hook(final.remember, with_kwargs=True) for module in modules]
    try:
        yield final
    finally:
        final.forget()
        for handle in handles:
            handle.remove()


@contextmanager
def reading_logits(network: nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
    """Yield a function that runs the network and returns its logits.

    The logits are the network's output with an axis of classes (see :mod:`lesionlens.explain.calling`), or the input of
    the softmax or sigmoid module that produced the output: the gradient of a probability vanishes where the network is
    sure.
    """
    with watching_activations(network) as final:

        def logits(image: Tensor) -> Tensor:
            final.forget()
            found = with_classes(final.before(called(network, image)), image)
            final.forget()
            return found.clone() if found.is_inference() else found  # the network's own inference_mode

        yield logits
