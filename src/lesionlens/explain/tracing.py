"""What the modules of a network give in one forward pass on zeros, on an image as small as the network takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lesionlens.errors import Cancelled
from lesionlens.explain.activations import Outputs
from lesionlens.explain.calling import called
from lesionlens.explain.capture import hookable, quiet
from lesionlens.explain.final import FinalKind, watching_activations
from lesionlens.explain.fingerprint import fingerprint

__all__ = ["Call", "Trace", "activation_behind", "other_trace", "probe_shapes", "small_trace", "trace_of", "zeros_for"]

# Small inputs that show a network's strides at a fraction of the cost of the real one; the true size is tried last. The
# long axis tells a stage of stride 32 (2 cells) from what has been pooled to one cell.
# Unequal axes also show up layers that keep their channels last.
_PROBE_SIZES = ((64, 32, 32), (96, 64, 64))

# A stage of stride 16 still has a cell along an axis of this many voxels.
_SMALLEST_AXIS = 16

_PASSING_ON = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Dropout3d)  # in evaluation mode


@dataclass(frozen=True)
class Trace:
    """One forward pass on zeros.

    Parameters
    ----------
    shape
        (1, C, *spatial) of the input.
    calls
        What ran, in order of completion.
    output
        Shape of the network's main output, (1, K) or (1, K, *spatial).
    final
        The activation module that gave the output; None where none did.
    activated_by
        Of modules whose output goes straight into an activation function that is no module: its name.
    """

    shape: tuple[int, ...]
    calls: list[Call]
    output: tuple[int, ...]
    final: FinalKind | None
    activated_by: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One module's part in one forward pass.

    Parameters
    ----------
    name, kind
        Dotted name and class of the module.
    is_head
        Whether it mixes channels, as the last one of a network does; a norm does not.
    passes_on
        Whether its output is its input.
    in_channels
        Second axis of its first argument; 0 where that is no tensor.
    out_shape
        Of its output; None unless that is one tensor of real numbers.
    same
        Names of the modules, in the order in which they ended, that gave this very tensor: its own, and those of outer
        modules that end in it, or inner ones.
    """

    name: str
    kind: str
    is_head: bool
    passes_on: bool
    in_channels: int
    out_shape: tuple[int, ...] | None
    same: Sequence[str] = ()


# Traces of networks that live, so that a network is probed once, not for every map.
_TRACES: WeakKeyDictionary[nn.Module, dict[Any, Trace]] = WeakKeyDictionary()


def small_trace(network: nn.Module, image_shape: tuple[int, ...]) -> Trace:
    """Trace the network on the smallest input that it accepts; once, as long as it stays the same.

    Parameters
    ----------
    network
        Any module with one tensor in.
    image_shape
        (1, C, *spatial) of the input, or of one window: what is tried last.
    """
    known = _TRACES.setdefault(network, {})
    key = (fingerprint(network), image_shape)
    if key not in known:
        known.clear()  # of another structure, or another window: one is enough
        known[key] = _traced_small(network, image_shape)
    return known[key]


def other_trace(network: nn.Module, shape: tuple[int, ...]) -> Trace:
    """Trace the network on zeros (1, C, *spatial) of another shape; once, as long as its small trace is the same."""
    known = _TRACES.setdefault(network, {})
    key = ("other", fingerprint(network), shape)
    if key not in known:
        known[key] = trace_of(network, shape)
    return known[key]


def _traced_small(network: nn.Module, image_shape: tuple[int, ...]) -> Trace:
    for shape in probe_shapes(image_shape):
        try:
            return trace_of(network, shape)
        except (MemoryError, Cancelled):  # a larger image would need more; nobody waits any more
            raise
        except Exception:  # a network is arbitrary code and may insist on its size in any way; try the next
            continue
    return trace_of(network, image_shape)


def activation_behind(network: nn.Module, layer: str, image_shape: tuple[int, ...]) -> str | None:
    """Return the activation function that follows a layer and is no module, such as ``"relu"``, or None.

    Parameters
    ----------
    network
        Any module with one tensor in.
    layer
        Dotted name.
    image_shape
        (1, C, *spatial) of the input, or of one window, in voxels.
    """
    return small_trace(network, image_shape).activated_by.get(layer)


def probe_shapes(image_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the shapes of small images with unequal axes, from the smallest."""
    sizes = [_unequal(tuple(min(pair) for pair in zip(image_shape[2:], size, strict=False))) for size in _PROBE_SIZES]
    return [(1, image_shape[1], *size) for size in sizes]


def _unequal(size: tuple[int, ...]) -> tuple[int, ...]:
    """Halve all axes but the first where all are the same; where that leaves too little, double the first."""
    if len(set(size)) > 1 or len(size) == 1:
        return size
    first = size[0]
    return (first, *(n // 2 for n in size[1:])) if first >= 2 * _SMALLEST_AXIS else (2 * first, *size[1:])


def trace_of(network: nn.Module, shape: tuple[int, ...]) -> Trace:
    """Run the network on zeros (1, C, *spatial) of a shape and note what its modules gave; it stays as it was."""
    network = hookable(network)
    calls: list[Call] = []
    outputs = Outputs()

    def hook_for(name: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        def record(module: nn.Module, args: tuple[object, ...], output: object) -> None:
            if not module._modules and args:
                outputs.took(args[0])
            same = outputs.gave(name, output) if isinstance(output, Tensor) else [name]
            calls.append(replace(_call(name, module, args, output), same=same))

        return record

    handles = [
        module.register_forward_hook(hook_for(name))
        for name, module in network.named_modules()
        if name and not isinstance(module, torch.jit.ScriptModule)  # TorchScript takes no hooks
    ]
    try:
        with quiet(network), watching_activations(network) as final, torch.no_grad(), outputs:
            output = called(network, zeros_for(network, shape))
            kind = final.kind(output)
    finally:
        for handle in handles:
            handle.remove()
    return Trace(shape, calls, tuple(output.shape), kind, outputs.activated_by)


def zeros_for(network: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """Return zeros of the type and on the device of a network's parameters; float32 of the CPU where it has none."""
    reference = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    return torch.zeros(shape, dtype=reference.dtype, device=reference.device)


def _call(name: str, module: nn.Module, args: tuple[object, ...], output: object) -> Call:
    first = args[0] if args else None
    return Call(
        name=name,
        kind=type(module).__name__,
        is_head=any(p is not None and p.ndim > 1 for p in module._parameters.values()),
        passes_on=isinstance(module, _PASSING_ON),
        in_channels=first.shape[1] if isinstance(first, Tensor) and first.ndim > 1 else 0,
        out_shape=tuple(output.shape) if isinstance(output, Tensor) and output.is_floating_point() else None,
    )
