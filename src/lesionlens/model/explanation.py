"""Attribution of a bundle's output on the scan's grid: the bridge between bundles and ``lesionlens.explain``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from lesionlens.errors import ExplainError
from lesionlens.explain import (
    PROBABILITIES_NOTE,
    Explanation,
    FromProbabilities,
    Target,
    Windows,
    apply_to_targets,
    existing_layer,
    layer_names,
    settled,
)
from lesionlens.explain import Inference as Explained
from lesionlens.explain import check_layer as check_layer_of
from lesionlens.explain.capture import FinalKind
from lesionlens.explain.trust.seen import seen
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.methods import Value, method_info, method_options
from lesionlens.model.activation import Activation, observed
from lesionlens.model.boundary import foreign_code
from lesionlens.model.bundle import Bundle
from lesionlens.model.inference import Inference, checked, infer, windows_of
from lesionlens.model.prediction import versions
from lesionlens.model.preprocess import Prepared, prepare
from lesionlens.model.targets import Wanted, channels_of, check_spec, chosen_channel, target_of
from lesionlens.progress import Progress, silent
from lesionlens.target import Over, ScoreName, TargetSpec
from lesionlens.volume import Grid, Volume

__all__ = [
    "Plan",
    "Wish",
    "check_layer",
    "check_wish",
    "explain",
    "explained",
    "explained_targets",
    "planned",
    "subject_of",
]

# Voxels of the images that a mistyped layer's alternatives are looked for with.
PROBE_SIZE = (64, 64, 64)


def explain(
    bundle: Bundle,
    volume: Volume | Sequence[Volume],
    *,
    method: str = "gradcam",
    target: str | int | Sequence[str | int] | None = None,
    score: ScoreName | None = None,
    over: Over | str | tuple[float, float, float] = "predicted",
    against: str | int | Sequence[str | int] = (),
    gamma: float = 1.0,
    layer: str | None = None,
    options: Mapping[str, Value] | None = None,
    progress: Progress = silent,
) -> Heatmap | list[Heatmap]:
    """Explain a class of a bundle's output as an attribution map on the volume's grid.

    For a classifier the target is the class's logit. For a segmentation it is the mean, over the voxels where the class
    is predicted, of the class's logit minus the strongest other logit (its own logit where classes are independent).
    Through a sliding window the map equals that of the whole assembled output.

    Parameters
    ----------
    bundle
        What to explain.
    volume
        The scan, or one volume per input channel, all on one grid.
    method
        One of ``lesionlens.methods.METHODS``; ``lesionlens methods`` lists them with what they cost and cannot say.
    target
        Class, by name or channel number. By default the class with most predicted voxels (segmentation) or the highest
        probability (classification). A list of classes, or ``"all"``, gives a list of maps from one pass.
    score, over, against, gamma
        Which number, over which voxels, against which other classes; see :class:`~lesionlens.TargetSpec`.
    layer
        Dotted name of the target layer, or several joined by ``+``; by default chosen by the kind of network, with the
        reason in the notes. Methods that explain the whole network take none.
    options
        Options of the method, such as ``{"samples": 25}``; the others have their defaults.
    progress
        Called after each window.

    Returns
    -------
    Heatmap, or a list of them
        kind ``"attribution"`` (of some methods ``"feature"`` or ``"attention"``), float32, raw: without unit and not
        normalised. 0 outside what the network saw.
        ``provenance.resolution_mm`` says how finely it can point.

    Raises
    ------
    ExplainError
        If the method, an option, the class or layer does not exist (the message lists those that do).
    InputError
        If the volume does not suit the bundle.
    """
    several = target == "all" or (target is not None and not isinstance(target, str | int))
    wanted = target if target is None or isinstance(target, str | int) else tuple(target)
    others = against if isinstance(against, str | int) else tuple(against)
    wish = Wish(method, wanted, layer, options or {}, TargetSpec(score, over, others, gamma))
    check_wish(bundle, wish)
    prepared = prepare(bundle, volume)
    check_layer(bundle, prepared, layer)
    plan = planned(bundle, prepared, wish)
    inference = infer(bundle, prepared, progress=progress) if len(plan.windows) > 1 else None
    heatmaps, _ = explained(bundle, plan, inference, progress=progress)
    return list(heatmaps) if several else heatmaps[0]


@dataclass(frozen=True)
class Wish:
    """What a user asked for; None leaves it to the bundle. The parameters are those of :func:`explain`.

    ``spec`` says which number is explained, over which voxels.
    """

    method: str = "gradcam"
    target: Wanted = None
    layer: str | None = None
    options: Mapping[str, Value] = field(default_factory=dict)
    spec: TargetSpec = field(default_factory=TargetSpec)


def check_wish(bundle: Bundle, wish: Wish) -> None:
    """Refuse what does not exist before any work is done.

    Raises
    ------
    ExplainError
        The message lists what exists.
    """
    info = method_info(wish.method)
    method_options(info, wish.options)
    channels_of(bundle, wish.target)
    check_spec(bundle, wish.spec)
    if wish.layer is None:
        return
    if not info.takes_layer:
        raise ExplainError(f"{info.title} explains the whole network; leave out the layer ({wish.layer!r}).")
    with foreign_code(bundle):
        for name in layer_names(wish.layer):
            existing_layer(bundle.network, name, (1, len(bundle.info.inputs), *PROBE_SIZE))


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


@dataclass(frozen=True, eq=False)
class Plan:
    """What is settled about an explanation before the network sees the scan.

    Parameters
    ----------
    wish
        What was asked for, with the layer that was chosen.
    prepared
        The input.
    windows
        How the network sees it.
    notes
        Why the layer was chosen.
    final
        The activation module that the network ends in; logits are read before it.
    """

    wish: Wish
    prepared: Prepared
    windows: Windows
    notes: tuple[str, ...]
    final: FinalKind | None


def planned(bundle: Bundle, prepared: Prepared, wish: Wish) -> Plan:
    """Choose windows and layer.

    Raises
    ------
    ExplainError
        If the inferer cannot be explained, or no layer can.
    """
    windows = windows_of(bundle.inferer, prepared.tensor.shape[2:])
    notes: tuple[str, ...] = ()
    with foreign_code(bundle, prepared):
        if wish.layer is None and method_info(wish.method).takes_layer:
            layer, why = bundle.default_layer(windows.size)
            wish = replace(wish, layer=layer)
            notes = (f"Layer {layer!r} was chosen: {why}.",)
        final = bundle.final_activation(windows.size)
    return Plan(wish, prepared, windows, notes, final)


def explained(
    bundle: Bundle, plan: Plan, inference: Inference | None, *, progress: Progress = silent
) -> tuple[tuple[Heatmap, ...], Inference]:
    """Explain a planned input, one map for each class asked for, and return the inference too: it costs no second pass.

    A network that sees the image whole is run once for both, with ``inference`` None. Through a sliding window the
    bundle's own inferer predicts, and the explanation then visits the windows again.
    """
    heatmaps, inference, _ = explained_targets(bundle, plan, inference, progress=progress)
    return heatmaps, inference


def explained_targets(
    bundle: Bundle, plan: Plan, inference: Inference | None, *, progress: Progress = silent
) -> tuple[tuple[Heatmap, ...], Inference, tuple[Target | None, ...]]:
    """Do the same and return the targets too, settled; None for a method that explains no class."""
    prepared, wish = plan.prepared, plan.wish
    subject, asked = subject_of(bundle, plan)
    # The engine reads a network before its own final activation: only without one it sees what the inferer gave.
    known = inference is not None and plan.final is None
    logits = inference.output[None].to(bundle.device) if inference is not None and known else None
    with foreign_code(bundle, prepared):
        results = apply_to_targets(
            subject,
            asked,
            method=wish.method,
            layer=wish.layer,
            options=wish.options,
            logits=logits,
            progress=progress,
        )
    if inference is None and asked[0].logits is not None:
        inference = checked(bundle, prepared, asked[0].logits, plan.final, before=True)
    inference = inference or infer(bundle, prepared, progress=progress)  # not every method needs the logits
    heatmaps = tuple(_to_scan(bundle, plan, inference, *pair) for pair in zip(results, asked, strict=True))
    return heatmaps, inference, tuple(chosen.kept for chosen in asked)


def subject_of(bundle: Bundle, plan: Plan) -> tuple[Explained, tuple[_Chosen, ...]]:
    """Return what is explained, for the engine, and the targets that were asked for: one where a method takes none."""
    prepared, wish = plan.prepared, plan.wish
    subject = Explained(bundle.network, prepared.tensor.to(bundle.device), plan.windows, prepared.grid.spacing_mm)
    channels = channels_of(bundle, wish.target) if method_info(wish.method).takes_target else (None,)
    return subject, tuple(_Chosen(bundle, plan, channel) for channel in channels)


def _sight(inference: Inference, chosen: _Chosen) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Say whether the model sees the class that is explained, for the record, and in words where it does not.

    The map of a class that is not seen looks like any other.
    """
    if not chosen.label:
        return {}, ()
    probability, strongest = inference.seen(chosen.channel)
    check = seen(chosen.label, probability, strongest=strongest)
    found = {"seen": check.verdict == "passes", "class_probability": probability}
    return found, () if found["seen"] else (check.sentence,)


class _Chosen:
    """A target that picks its class when it first sees the logits, and remembers them."""

    def __init__(self, bundle: Bundle, plan: Plan, wanted: int | None) -> None:
        self._bundle = bundle
        self._plan = plan
        self._wanted = wanted
        self._final = plan.final
        self._target: Target | None = None
        self.activation = bundle.activation
        self.logits: torch.Tensor | None = None
        self.channel = -1

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        return self._chosen(logits)(logits)

    def describe(self, logits: torch.Tensor) -> str:
        return self._chosen(logits).describe(logits)

    def settled(self, logits: torch.Tensor) -> Target:
        """Return the target with what it takes from these logits held fixed."""
        return settled(self._chosen(logits), logits)

    def _chosen(self, logits: torch.Tensor) -> Target:
        if self._target is None:
            self.logits = logits.detach()
            self.activation = observed(self._bundle.activation, self.logits[0], self._final)
            prepared, seen = self._plan.prepared, self._scores
            real = None if prepared.real is None else torch.from_numpy(prepared.real)
            self.channel = chosen_channel(self._bundle, self._wanted, self.logits, seen, real)
            target = target_of(
                self._bundle, prepared, self._plan.wish.spec, self.channel, seen=seen, output=self.logits
            )
            sigmoid = self.activation.kind == "sigmoid"
            self._target = FromProbabilities(target, sigmoid=sigmoid) if self.from_probabilities else target
        return self._target

    @property
    def _scores(self) -> Activation:
        """What the numbers that the target sees are: logits, read before a final module, or probabilities."""
        return replace(self.activation, applied=self.from_probabilities)

    @property
    def from_probabilities(self) -> bool:
        """Whether the network returns probabilities and no module gives its logits away."""
        return self.activation.applied and self._final is None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know about the network's output."""
        what = "log-odds" if self.activation.kind == "sigmoid" else "logarithms"
        seen = f"The network returns probabilities; the {what} of these are explained." * self.from_probabilities
        return tuple(filter(None, (seen, self.activation.doubt)))

    @property
    def kept(self) -> Target | None:
        """The target settled by these logits; None where the method explains none."""
        return None if self._target is None or self.logits is None else settled(self._target, self.logits)

    @property
    def label(self) -> str:
        """Name of the class; empty where the method explains none."""
        return "" if self._target is None else self._bundle.info.outputs[self.channel]


def _to_scan(bundle: Bundle, plan: Plan, inference: Inference, result: Explanation, chosen: _Chosen) -> Heatmap:
    """Bring a map from the network's grid, or from its own coarse grid, to the scan's."""
    prepared, volume = plan.prepared, plan.prepared.volume
    kept = (note for note in result.notes if note != PROBABILITIES_NOTE or not chosen.from_probabilities)
    sight, unseen = _sight(inference, chosen)
    result = replace(result, notes=(*plan.notes, *chosen.notes, *kept, *unseen))
    if result.coarse is not None:
        array = prepared.to_scan(result.coarse, _coarse_grid(prepared.grid, result))
    else:
        array = prepared.to_scan(result.values, prepared.grid)
    spacing = prepared.grid.spacing_mm
    resolution = tuple(float(s * mm / 2) for s, mm in zip(result.stride, spacing, strict=True))
    provenance = Provenance(
        bundle=bundle.title,
        bundle_sha256=bundle.bundle_sha256,
        weights_sha256=bundle.weights_sha256,
        method=result.method,
        target=result.target,
        layer=result.layer,
        resolution_mm=(resolution[0], resolution[1], resolution[2]),
        options={
            **method_options(method_info(result.method), plan.wish.options),
            "score": result.score,
            **_asked(plan.wish.spec),
            "stride_voxels": list(result.stride),
            "network_spacing_mm": list(spacing),
            "activation": chosen.activation.kind,
            "activation_in_network": chosen.activation.applied,
            **sight,
            "device": str(bundle.device),
        },
        versions=versions(),
        notes=result.notes,
    )
    label = chosen.label or f"layer {result.layer}"
    named = volume.with_array(array, name=f"{result.method} of {label}", unit="")
    return Heatmap(named, result.kind, label, signed=result.signed, provenance=provenance)


def _asked(spec: TargetSpec) -> dict[str, Any]:
    """Return for the record what was asked about the class, where it is not the default."""
    against = list(spec.against) if isinstance(spec.against, tuple) else [spec.against]
    return {
        "over": spec.over_text,
        **({"score_kind": spec.score} if spec.score else {}),
        **({"against": against, "gamma": spec.gamma} if against else {}),
    }


def _coarse_grid(grid: Grid, result: Explanation) -> Grid:
    """Place the cells of a coarse map: cell i is centred on network voxel S i + (S - 1) / 2."""
    assert result.coarse is not None
    to_voxel = np.eye(4)
    for axis, stride in enumerate(result.stride):
        to_voxel[axis, axis] = stride
        to_voxel[axis, 3] = (stride - 1) / 2
    shape = result.coarse.shape
    return Grid((shape[0], shape[1], shape[2]), grid.affine @ to_voxel)
