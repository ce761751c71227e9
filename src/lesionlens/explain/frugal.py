"""Do less for the backward pass: what the gradients of frozen weights would need is needed by nobody.

A convolution keeps its input for the gradient of its weights, also where these are frozen. The gradient of the input
needs the weights alone, so only the shape of the input is kept; values of gradients stay the same to the last bit. In
a U-Net that is about a third of everything that is stored.

The backward pass of a parametric ReLU computes the gradient of its slope for every cell, also where the slope is
frozen. With one slope for all channels it is a leaky ReLU of this slope, the same to the last bit, which computes none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["FrugalConvolutions"]

_CONVOLUTIONS = {
    torch.conv1d,
    torch.conv2d,
    torch.conv3d,
    torch.conv_transpose1d,
    torch.conv_transpose2d,
    torch.conv_transpose3d,
}
_PARAMETRIC_RELUS = {functional.prelu, torch.prelu, Tensor.prelu}
_ALL = _CONVOLUTIONS | _PARAMETRIC_RELUS


@dataclass(frozen=True)
class _Hollow:
    """The place of a tensor whose values nobody needs."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def filled(self) -> Tensor:
        """Return a tensor of that layout whose values mean nothing."""
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=self.device)


class FrugalConvolutions(TorchFunctionMode):
    """Lets convolutions with frozen weights keep no input, and activations compute no gradient of frozen slopes.

    Where something else looks after stored tensors, such as checkpointing, which counts them, nothing is changed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._hooks = _stored_tensor_hooks()

    def beginning_later(self, until: ExitStack) -> Callable[[], None]:
        """Return what begins the mode in the midst of a forward pass; it ends with ``until``.

        It does nothing where the network has begun a mode of its own meanwhile: modes end in the reverse order of
        their beginning, so one must not begin inside another that ends before it.
        """
        depth = torch._C._len_torch_function_stack
        begun = depth()

        def begin() -> None:
            if depth() == begun:
                until.enter_context(self)

        return begin

    def __torch_function__(
        self, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function; one with frozen weights does what the gradient of its input needs, and no more."""
        named = dict(kwargs or {})
        if func not in _ALL or not torch.is_grad_enabled() or _stored_tensor_hooks() != self._hooks:
            return func(*args, **named)
        given: list[Any] = [
            args[place] if place < len(args) else named.get(name)
            for place, name in enumerate(("input", "weight", "bias"))
        ]
        image, weight, bias = given
        if func in _PARAMETRIC_RELUS:
            leaky = _is_leaky(image, weight)
            return functional.leaky_relu(image, weight.item()) if leaky else func(*args, **named)
        frozen = not any(isinstance(t, Tensor) and t.requires_grad for t in (weight, bias))
        if not (frozen and isinstance(image, Tensor) and isinstance(weight, Tensor)) or image.shape == weight.shape:
            return func(*args, **named)
        with torch.autograd.graph.saved_tensors_hooks(*self._hooks_for(image.shape)):
            return func(*args, **named)

    def _hooks_for(self, shape: torch.Size) -> tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]:
        """Return hooks that keep tensors of this shape hollow, and leave all others to who looked after them before."""
        keep, give = self._hooks or (lambda tensor: tensor, lambda kept: kept)

        def pack(tensor: Tensor) -> Any:
            if tensor.shape != shape:
                return keep(tensor)
            return _Hollow(tensor.shape, tensor.stride(), tensor.dtype, tensor.device)

        return pack, lambda kept: kept.filled() if isinstance(kept, _Hollow) else give(kept)


def _is_leaky(image: Any, weight: Any) -> bool:
    """Whether a parametric ReLU has one frozen slope, and nothing will cast the two to another type."""
    if not (isinstance(image, Tensor) and isinstance(weight, Tensor)) or weight.requires_grad or weight.numel() != 1:
        return False
    return image.dtype == weight.dtype and not torch.is_autocast_enabled(image.device.type)


def _stored_tensor_hooks() -> Any:
    """Return the hooks (pack, unpack) that look after stored tensors now, or None.

    torch has no public way to ask. Where a release has lost the private one, no two answers are the same, and so
    nothing is changed.
    """
    ask = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return object() if ask is None else ask(False)
