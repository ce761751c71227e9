"""Which layers of a network can be explained, and which one to take when nobody says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from torch import nn

from lesionlens.errors import Cancelled, ExplainError, unknown_name
from lesionlens.explain.capture import cut_at, hookable
from lesionlens.explain.final import FinalKind, has_activation_modules
from lesionlens.explain.tracing import Call, Trace, other_trace, probe_shapes, small_trace, trace_of, zeros_for

__all__ = [
    "LayerInfo",
    "check_channels",
    "check_layer",
    "coarsest_first",
    "default_layer",
    "existing_layer",
    "final_activation",
    "layer_names",
    "list_layers",
    "misread_layers",
    "output_shape",
    "small_shape",
]


@dataclass(frozen=True)
class LayerInfo:
    """A layer that a map can be made of.

    Parameters
    ----------
    name
        Dotted name in the network.
    kind
        Class of the module.
    shape
        Its output (1, channels, *cells) for the image asked about.
    stride
        Voxels for each cell along each axis.
    same
        Names of the other modules that give this very tensor: outer ones that end in it, inner ones, and dropout behind
        it. Their maps are the same.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    stride: tuple[float, ...]
    same: tuple[str, ...] = ()


def list_layers(network: nn.Module, image_shape: Sequence[int]) -> list[LayerInfo]:
    """List the layers that can be explained, in the order in which they run.

    These are the modules that run once in a pass and give one tensor (1, channels, *cells) of more than one cell. A
    transformer's blocks that keep their channels last look alike; :func:`misread_layers` tells them apart, and methods
    refuse them.

    Parameters
    ----------
    network
        Any module with one tensor in.
    image_shape
        (1, C, *spatial) of the input, or of one window; the network runs once on zeros of this shape.
    """
    return _explainable(trace_of(network, tuple(image_shape)))


def default_layer(network: nn.Module, image_shape: Sequence[int]) -> tuple[str, str]:
    """Choose a layer to explain.

    For a classifier the last layer that still has positions, before they are pooled. For a network whose output is an
    image the coarsest features: its last layers only repeat the output. Without any downsampling, the layer before the
    head.

    Parameters
    ----------
    network
        Any module with one tensor in. It runs once on zeros, on a small image if it accepts one.
    image_shape
        (1, C, *spatial) of the input, or of one window.

    Returns
    -------
    name, reason : str
        The layer, and half a sentence on why.
    """
    trace = small_trace(network, tuple(image_shape))
    calls, shape, output = trace.calls, trace.shape, trace.output
    passing = {call.name for call in calls if call.passes_on}
    # A padding gives the cells of the layer before it, and some that hold nothing.
    explainable = [layer for layer in _explainable(trace) if not layer.kind.endswith(("Pad1d", "Pad2d", "Pad3d"))]
    candidates = [layer for layer in explainable if layer.name not in passing]
    turned = _turned(network, trace, candidates)
    layers = [layer for layer in candidates if layer.name not in turned]
    if not layers:
        raise ExplainError(
            "The network has no layer that a map can be made of, besides its output (none gives (N, channels, *cells))."
        )
    if len(output) == 2 or prod(output[2:]) == 1:
        unpooled = [layer for layer in layers if "pool" not in layer.kind.lower()]
        reason = "the last layer before positions are pooled"
        return _with_doubt(calls, (unpooled or layers)[-1].name, reason)
    if min(prod(layer.shape[2:]) for layer in layers) == prod(shape[2:]):
        front = _before_head(calls, layers) or layers[:1]
        return front[-1].name, "the last layer before the head of a network without downsampling"
    layer, where = _bottleneck(calls, layers), ""
    if _is_first_of_many(calls, layer.name):  # an embedding of patches: what has been learned comes after it
        later = [one for one in _before_head(calls, layers) if not _is_first_of_many(calls, one.name)]
        if later and min(prod(one.shape[2:]) for one in later) < prod(shape[2:]):
            layer, where = _bottleneck(calls, later), " behind the embedding"
    stride = " x ".join(f"{s:g}" for s in layer.stride)
    return _with_doubt(
        calls, layer.name, f"the coarsest features{where} (stride {stride}); later layers repeat the output"
    )


def coarsest_first(network: nn.Module, image_shape: Sequence[int]) -> tuple[list[LayerInfo], tuple[int, ...]]:
    """List the layers that can be explained from the coarsest to the finest, and of equal ones the last to run first.

    Parameters
    ----------
    network
        Any module with one tensor in. It runs once on zeros, on a small image if it accepts one.
    image_shape
        (1, C, *spatial) of the input, or of one window.

    Returns
    -------
    layers, shape
        Whole blocks, without what is inside them; and the shape of the image that they are listed for.
    """
    trace = small_trace(network, tuple(image_shape))
    layers = _explainable(trace)
    turned = _turned(network, trace, layers)
    cells = {layer.name: prod(layer.shape[2:]) for layer in layers if layer.name not in turned}
    inner = {name for name in cells if any(cells.get(outer) == cells[name] for outer in _outer_names(name))}
    passing = {call.name for call in trace.calls if call.passes_on}
    found = [layer for layer in layers if layer.name in cells.keys() - inner - passing]
    return sorted(reversed(found), key=lambda layer: cells[layer.name]), trace.shape


def _with_doubt(calls: list[Call], name: str, reason: str) -> tuple[str, str]:
    """Say where the chosen layer is the first of three or more: what it knows of the image is little."""
    if _is_first_of_many(calls, name):
        reason = "it is the only one that keeps positions in a form that is understood; everything comes after it"
    return name, reason


def _is_first_of_many(calls: list[Call], name: str) -> bool:
    """Say whether a layer is, or holds of those alone, the first of three or more modules that mix channels."""
    heads = [call.name for call in calls if call.is_head]
    return len(heads) > 2 and [head for head in heads if f"{head}.".startswith(f"{name}.")] == heads[:1]


def misread_layers(network: nn.Module, image_shape: Sequence[int]) -> set[str]:
    """Return the layers that :func:`list_layers` lists and of which maps would be wrong.

    Their second axis is not that of the channels, or cannot be shown to be: transformers' blocks keep channels last.

    Parameters
    ----------
    network
        Any module with one tensor in. It runs on zeros, on a small image if it accepts one.
    image_shape
        (1, C, *spatial) of the input, or of one window, in voxels.

    Returns
    -------
    set of str
        Their dotted names.
    """
    trace = small_trace(network, tuple(image_shape))
    return _turned(network, trace, _explainable(trace))


def existing_layer(network: nn.Module, name: str, image_shape: Sequence[int]) -> str:
    """Return the name of a layer if the network has such a layer.

    Parameters
    ----------
    network
        Any module with one tensor in.
    name
        Dotted name.
    image_shape
        (1, C, *spatial) of the input, or of one window, in voxels.

    Returns
    -------
    str
        The name.

    Raises
    ------
    ExplainError
        If there is no such layer; the message lists those that can be explained.
    """
    network = hookable(network)
    if name and name in dict(network.named_modules(remove_duplicate=False)):
        return name
    trace = small_trace(network, tuple(image_shape))
    # Outer blocks first: the many inner ones would push the end of the network out of the message.
    known = sorted((layer.name for layer in _explainable(trace)), key=lambda layer: layer.count("."))
    raise ExplainError(unknown_name("layer", name, known, lister="'lesionlens layers BUNDLE'"))


def check_layer(network: nn.Module, name: str, image_shape: Sequence[int]) -> None:
    """Refuse a layer that no map can be made of, by running zeros through it: small images first.

    Parameters
    ----------
    network
        Any module with one tensor in.
    name
        Dotted name of the layer.
    image_shape
        (1, C, *spatial) of the input, or of one window.

    Raises
    ------
    ExplainError
        The message says what is wrong with the layer.
    """
    _try_layer(network, name, tuple(image_shape))
    check_channels(network, name, image_shape)


def check_channels(network: nn.Module, name: str, image_shape: Sequence[int]) -> None:
    """Refuse a layer whose second axis is not, or cannot be shown to be, the channels.

    Costs a small forward pass of a network that was not probed before. See :func:`check_layer` for the parameters.

    Raises
    ------
    ExplainError
        A map of it would add up places and lie among the channels, and look like an answer.
    """
    trace = small_trace(network, tuple(image_shape))
    module = dict(hookable(network).named_modules(remove_duplicate=False)).get(name)
    names = {first for first, other in hookable(network).named_modules() if other is module}  # it may have several
    layers = [layer for layer in _explainable(trace) if layer.name in names]
    if _turned(network, trace, layers):
        raise ExplainError(
            f"Layer {name!r} does not keep its channels on the second axis ({layers[0].shape} for an image of"
            f" {trace.shape}), or cannot be shown to, so a map of it would be wrong; choose another layer."
        )


def _try_layer(network: nn.Module, name: str, image_shape: tuple[int, ...]) -> None:
    for shape in probe_shapes(image_shape):
        with suppress(Exception), cut_at(network, name) as cut:  # too small for the layer, or for the network
            cut.forward(zeros_for(network, shape))
            return
    with cut_at(network, name) as cut:
        cut.forward(zeros_for(network, image_shape))


def _turned(network: nn.Module, trace: Trace, layers: list[LayerInfo]) -> set[str]:
    """Return the layers whose second axis is not, or cannot be shown to be, the channels.

    A layer that keeps its channels last, (N, *cells, channels), has the same number of axes. On an image with unequal
    axes its strides come out unequal. Those alone are asked again with an image of another shape: the number of
    channels stays, the number of cells does not.
    """
    doubtful = [layer for layer in layers if len(set(layer.stride)) > 1]
    if not doubtful:
        return set()
    for shape in _other_shapes(trace.shape):
        try:
            again = {call.name: call.out_shape for call in other_trace(network, shape).calls}
        except Cancelled:
            raise
        except Exception:  # a network is arbitrary code and may insist on its size; try the next
            continue
        return {layer.name for layer in doubtful if (again.get(layer.name) or (0, 0))[1] != layer.shape[1]}
    return {layer.name for layer in doubtful}


def _other_shapes(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return image shapes in which every axis differs from the given one."""
    return [(*shape[:2], *(n * factor // 2 for n in shape[2:])) for factor in (4, 3, 1)]


def final_activation(network: nn.Module, image_shape: Sequence[int]) -> FinalKind | None:
    """Return the activation module whose output is the network's, or None; found by running it, as `default_layer`.

    Where there is one, every method reads the logits that go into it, not the probabilities that come out.

    Parameters
    ----------
    network
        Any module with one tensor in.
    image_shape
        (1, C, *spatial) of the input, or of one window, in voxels.

    Returns
    -------
    str or None
        ``"softmax"`` or ``"sigmoid"``; None where the network returns logits, or computes probabilities without a
        module, which cannot be seen.
    """
    if not has_activation_modules(network):
        return None
    return small_trace(network, tuple(image_shape)).final


def output_shape(network: nn.Module, image_shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of the network's output for a small image: (1, K) of a classifier, else (1, K, *spatial).

    See :func:`misread_layers` for the parameters.
    """
    return small_trace(network, tuple(image_shape)).output


def small_shape(network: nn.Module, image_shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape (1, C, *spatial) of a small image that the network accepts, or the one given.

    See :func:`misread_layers` for the parameters.
    """
    return small_trace(network, tuple(image_shape)).shape


def layer_names(layer: str) -> tuple[str, ...]:
    """Return the names in what a user wrote.

    Parameters
    ----------
    layer
        Dotted names joined by ``+``; spaces around them do not count.

    Examples
    --------
    >>> layer_names("encoder.2 + encoder.3")
    ('encoder.2', 'encoder.3')
    """
    return tuple(name.strip() for name in layer.split("+"))


def _explainable(trace: Trace) -> list[LayerInfo]:
    times = Counter(call.name for call in trace.calls)
    return [
        LayerInfo(
            name=call.name,
            kind=call.kind,
            shape=call.out_shape,
            stride=tuple(n / cells for n, cells in zip(trace.shape[2:], call.out_shape[2:], strict=True)),
            same=tuple(name for name in call.same if name != call.name),
        )
        for call in trace.calls
        if call.out_shape is not None
        and len(call.out_shape) == len(trace.shape)
        and call.out_shape[0] == 1
        and prod(call.out_shape[2:]) > 1
        and times[call.name] == 1
    ]


def _before_head(calls: list[Call], layers: list[LayerInfo]) -> list[LayerInfo]:
    """Return the layers that are complete before the last module that mixes channels."""
    head = max((i for i, call in enumerate(calls) if call.is_head), default=len(calls))
    done = {call.name for call in calls[:head]}
    return [layer for layer in layers if layer.name in done]


def _bottleneck(calls: list[Call], layers: list[LayerInfo]) -> LayerInfo:
    """Return the last of the coarsest layers with the most channels: whole blocks, and only features of that depth."""
    cells = min(prod(layer.shape[2:]) for layer in layers)
    joined = _concatenations(calls)
    coarsest = [layer for layer in layers if prod(layer.shape[2:]) == cells and layer.name not in joined]
    # The inside of a block may have more channels than the block gives (an inverted residual), but is not its result.
    names = {layer.name for layer in coarsest}
    blocks = [layer for layer in coarsest if not any(outer in names for outer in _outer_names(layer.name))]
    channels = max(layer.shape[1] for layer in blocks)
    return [layer for layer in blocks if layer.shape[1] == channels][-1]


def _outer_names(name: str) -> list[str]:
    """Return the names of the modules that contain a module: ``a.b.c`` is in ``a.b`` and ``a``."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _concatenations(calls: list[Call]) -> set[str]:
    """Return the modules that give their input and their last child's output as channels of one tensor.

    The skip connections of a U-Net do: at the lowest level their output is as coarse as the bottleneck, but only in
    part its features.
    """
    found = set()
    for child, call in pairwise(calls):
        if not child.name.startswith(f"{call.name}.") or child.out_shape is None or call.out_shape is None:
            continue
        if child.out_shape[2:] == call.out_shape[2:] and call.out_shape[1] == call.in_channels + child.out_shape[1]:
            found.add(call.name)
    return found
