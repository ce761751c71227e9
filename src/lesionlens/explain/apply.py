"""One door to all methods: check what was asked, choose what was not, and run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

from torch import Tensor

from lesionlens.errors import ExplainError
from lesionlens.explain.calling import noting_choices
from lesionlens.explain.detection import chosen_layer
from lesionlens.explain.explanation import Explanation, Request
from lesionlens.explain.inference import Inference
from lesionlens.explain.layers import check_channels, existing_layer, layer_names
from lesionlens.explain.suits import check_hooks
from lesionlens.explain.targets import Target
from lesionlens.methods import MethodInfo, Value, method_info, method_options
from lesionlens.progress import Progress, silent

__all__ = ["apply_method", "apply_to_targets"]


def apply_method(
    inference: Inference,
    target: Target,
    *,
    method: str = "gradcam",
    layer: str | None = None,
    options: Mapping[str, Value] | None = None,
    logits: Tensor | None = None,
    progress: Progress = silent,
) -> Explanation:
    """Explain a target of a network's output with any method.

    Parameters
    ----------
    inference
        The network, its image and its windows. The network is left exactly as it was, also after an error.
    target
        What to explain.
    method
        A key of ``lesionlens.methods.METHODS``.
    layer
        Dotted name of the target layer, or several joined by ``+``; None for
        :func:`~lesionlens.explain.detection.chosen_layer`, which costs a small forward pass. Methods without a layer
        refuse one.
    options
        Options of the method; the others have their defaults.
    logits
        ``inference.logits()`` if known already: saves one pass over the windows when there are several.
    progress
        Called as work advances; raise ``Cancelled`` from it to stop.

    Raises
    ------
    ExplainError
        If the method, an option, a layer or the target does not exist or suit, or values are not finite.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from lesionlens.explain import ClassLogit
    >>> head = [nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)]
    >>> network = nn.Sequential(nn.Conv3d(1, 4, 3, stride=2, padding=1), *head)
    >>> heat = apply_method(Inference(network, torch.rand(1, 1, 8, 8, 8)), ClassLogit(1), layer="0")
    >>> heat.values.shape, heat.coarse.shape, heat.stride
    ((8, 8, 8), (4, 4, 4), (2.0, 2.0, 2.0))
    """
    chosen: dict[str, Any] = {"method": method, "layer": layer, "options": options, "logits": logits}
    return apply_to_targets(inference, [target], progress=progress, **chosen)[0]


def apply_to_targets(
    inference: Inference,
    targets: Sequence[Target],
    *,
    method: str = "gradcam",
    layer: str | None = None,
    options: Mapping[str, Value] | None = None,
    logits: Tensor | None = None,
    progress: Progress = silent,
) -> list[Explanation]:
    """Explain several targets, such as all classes, with any method: the maps that each alone would give.

    Methods of the CAM families run the network forward once for all targets; the others once for each. See
    :func:`apply_method` for the parameters.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from lesionlens.explain import ClassLogit
    >>> network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    >>> inference = Inference(network, torch.rand(1, 1, 8, 8, 8))
    >>> maps = apply_to_targets(inference, [ClassLogit(0), ClassLogit(1)], layer="0")
    >>> [heat.target for heat in maps]
    ['logit of class 0', 'logit of class 1']
    """
    info = method_info(method)
    _check_asked(targets, layer)
    check_hooks(inference.network, info)
    with noting_choices() as choices:
        try:
            found = _applied(inference, targets, info, layer, method_options(info, options or {}), logits, progress)
        except ExplainError as error:
            error.args = (" ".join((str(error), *sorted(choices))),)  # it may be for the choice that it fails
            raise
    return [replace(one, notes=(*sorted(choices), *one.notes)) for one in found]


def _applied(
    inference: Inference,
    targets: Sequence[Target],
    info: MethodInfo,
    layer: str | None,
    options: dict[str, Value],
    logits: Tensor | None,
    progress: Progress,
) -> list[Explanation]:
    layers, notes = _layers(info, inference, layer)
    request = Request(inference, targets[0], info.name, layers, options, logits, progress)
    home = _home(info)
    if hasattr(home, "run_many"):
        found: list[Explanation] = home.run_many(request, targets)
    else:
        if len(targets) > 1 and info.takes_target:
            request = replace(request, logits=request.known_logits())
        found = [home.run(replace(request, target=target)) for target in targets]
    return [replace(one, notes=(*notes, *one.notes)) for one in found]


def _check_asked(targets: object, layer: object) -> None:
    """Refuse what is no target or no name of a layer, as a class number or a module is."""
    if not isinstance(targets, Sequence) or not all(callable(one) and hasattr(one, "describe") for one in targets):
        wrong = ", ".join(map(repr, targets)) if isinstance(targets, Sequence) else repr(targets)
        raise ExplainError(f"A target is such as ClassLogit(1) or RegionMargin(1), several are a list; found {wrong}.")
    if not targets:
        raise ExplainError("There is nothing to explain: give at least one target.")
    if layer is not None and not isinstance(layer, str):
        raise ExplainError(
            f"A layer is named as in network.named_modules(), such as 'encoder.2'; found {type(layer).__name__}."
        )


def _layers(info: MethodInfo, inference: Inference, layer: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the layers to explain, and why they were chosen."""
    shape = (1, inference.image.shape[1], *inference.plan.size)
    if not info.takes_layer:
        if layer is not None:
            raise ExplainError(f"{info.title} explains the whole network; leave out the layer ({layer!r}).")
        return (), ()
    if layer is None:
        chosen, reason = chosen_layer(inference.network, shape)
        return (chosen,), (f"Layer {chosen!r} was chosen: {reason}.",)
    names = tuple(existing_layer(inference.network, name, shape) for name in layer_names(layer))
    for name in names:
        check_channels(inference.network, name, shape)
    return names, ()


def _home(info: MethodInfo) -> Any:
    return import_module(f"lesionlens.explain.{info.family}")
