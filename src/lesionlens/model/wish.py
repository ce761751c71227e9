"""What a user asks of an explanation, and what is refused before any work is done."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from monai.inferers import SlidingWindowInferer

from lesionlens.errors import ExplainError
from lesionlens.explain import check_layer as check_layer_of
from lesionlens.explain import existing_layer, layer_names
from lesionlens.methods import MethodInfo, Value, default_method, method_info, method_options
from lesionlens.model.boundary import foreign_code
from lesionlens.model.bundle import Bundle
from lesionlens.model.detection import check_windows
from lesionlens.model.inference import windows_of
from lesionlens.model.preprocess import Prepared
from lesionlens.model.targets import Wanted, channels_of, check_spec
from lesionlens.target import TargetSpec

__all__ = ["Wish", "check_layer", "check_suits", "check_wish", "method_of"]

# Voxels of the images that a mistyped layer's alternatives are looked for with.
PROBE_SIZE = (64, 64, 64)


@dataclass(frozen=True)
class Wish:
    """What a user asked for; None leaves it to the bundle.

    The parameters are those of :func:`lesionlens.explain`; ``spec`` says which number is explained, over which voxels,
    ``registration`` whether measured offsets are applied, ``why`` why the method was chosen where none was named.
    """

    method: str = "gradcam"
    target: Wanted = None
    layer: str | None = None
    options: Mapping[str, Value] = field(default_factory=dict)
    spec: TargetSpec = field(default_factory=TargetSpec)
    registration: bool = True
    why: str = ""


def method_of(bundle: Bundle, method: str | None) -> tuple[str, str]:
    """Return the method that was named and no reason, or else the one that serves the bundle's task, and why."""
    return default_method(bundle.info.task) if method is None else (method, "")


def check_wish(bundle: Bundle, wish: Wish) -> None:
    """Refuse what does not exist before any work is done.

    Raises
    ------
    ExplainError
        The message lists what exists.
    """
    if bundle.info.anomaly is not None:
        raise ExplainError(
            f"{bundle.name} is an anomaly bundle: it has no classes, and its map is made by score_anomaly(), or by a"
            " run without --method."
        )
    info = method_info(wish.method)
    method_options(info, wish.options)
    channels_of(bundle, wish.target)
    check_spec(bundle, wish.spec)
    if not info.takes_target:
        _check_no_question(info, wish)
    if wish.layer is None:
        return
    if not info.takes_layer:
        raise ExplainError(f"{info.title} explains the whole network; leave out the layer ({wish.layer!r}).")
    with foreign_code(bundle):
        for name in layer_names(wish.layer):
            existing_layer(bundle.network, name, (1, len(bundle.info.inputs), *PROBE_SIZE))


def _check_no_question(info: MethodInfo, wish: Wish) -> None:
    """Refuse a question about a class where the map is of none: it would seem to be answered."""
    spec = wish.spec
    asked = {
        "target": wish.target,
        "score": spec.score,
        "over": None if spec.over == "predicted" else spec.over_text,
        "against": spec.against or None,
    }
    found = ", ".join(f"{name} {value!r}" for name, value in asked.items() if value is not None)
    if found:
        raise ExplainError(f"{info.title} makes the same map for every class; leave out: {found}.")


def check_layer(bundle: Bundle, prepared: Prepared, layer: str | None) -> None:
    """Refuse a layer that was asked for and that no map can be made of, before the network sees the scan."""
    if layer is None:
        return
    try:
        size = windows_of(bundle.inferer, prepared.tensor.shape[2:]).size
    except ExplainError:
        return  # not the layer's fault
    with foreign_code(bundle, prepared):
        for name in layer_names(layer):
            check_layer_of(bundle.network, name, (1, len(bundle.info.inputs), *size))


def check_suits(bundle: Bundle, wish: Wish, prepared: Prepared | None = None) -> None:
    """Refuse a method that cannot explain the bundle's network, as soon as the size of what it sees is known.

    Parameters
    ----------
    bundle, wish
        What is to explain what.
    prepared
        The input, if there is one yet; a sliding window needs none.

    Raises
    ------
    ExplainError
        The message says why not, and which methods would work.
    """
    if prepared is not None:
        check_windows(bundle, prepared, wish.method)
    window = _window(bundle, prepared)
    if window is None:
        return
    layer = wish.layer
    with foreign_code(bundle, prepared):
        if layer is None and method_info(wish.method).takes_layer:
            with suppress(ExplainError):  # without one the trial says so
                layer = bundle.default_layer(window)[0]
        bundle.suits(window).check(method_info(wish.method).name, layer=layer, options=wish.options)


def _window(bundle: Bundle, prepared: Prepared | None) -> tuple[int, ...] | None:
    """Return the voxels that the network sees at a time; None where that is not known."""
    if prepared is not None:
        with suppress(ExplainError):  # not the method's fault
            return windows_of(bundle.inferer, prepared.tensor.shape[2:]).size
        return None
    if type(bundle.inferer) is not SlidingWindowInferer or isinstance(bundle.inferer.roi_size, int):
        return None
    size = tuple(int(n or 0) for n in bundle.inferer.roi_size)
    return size if size and min(size) > 0 else None
