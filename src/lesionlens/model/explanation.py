"""Attribution of a bundle's output on the scan's grid: the bridge between bundles and ``lesionlens.explain``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, overload

from lesionlens.explain import (
    PROBABILITIES_NOTE,
    Explanation,
    Target,
    apply_to_targets,
)
from lesionlens.explain import Inference as Explained
from lesionlens.explain.trust.seen import seen
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.methods import Value, method_info, method_options
from lesionlens.model.boundary import foreign_code
from lesionlens.model.bundle import Bundle
from lesionlens.model.chosen_target import ChosenTarget
from lesionlens.model.detection import found_on_scan
from lesionlens.model.inference import Inference, checked, infer
from lesionlens.model.placement import Placed, placed
from lesionlens.model.plan import Plan, planned
from lesionlens.model.prediction import versions
from lesionlens.model.preprocess import prepare
from lesionlens.model.targets import channels_of, check_place
from lesionlens.model.wish import Wish, check_layer, check_suits, check_wish, method_of
from lesionlens.progress import Progress, silent
from lesionlens.target import Over, ScoreName, TargetSpec, as_classes
from lesionlens.volume import Volume

__all__ = [
    "asked_options",
    "explain",
    "explained",
    "explained_targets",
    "subject_of",
]


@overload
def explain(  # type: ignore[overload-overlap]  # "all" is a text too, and gives a list
    bundle: Bundle,
    volume: Volume | Sequence[Volume],
    *,
    method: str | None = "gradcam",
    target: Literal["all"],
    score: ScoreName | None = None,
    over: Over | str | tuple[float, float, float] = "predicted",
    against: str | int | Sequence[str | int] = (),
    gamma: float = 1.0,
    layer: str | None = None,
    options: Mapping[str, Value] | None = None,
    registration: bool = True,
    progress: Progress = silent,
) -> list[Heatmap]: ...


@overload
def explain(  # type: ignore[overload-overlap]  # a text is a sequence of texts too, and gives one map
    bundle: Bundle,
    volume: Volume | Sequence[Volume],
    *,
    method: str | None = "gradcam",
    target: str | int | None = None,
    score: ScoreName | None = None,
    over: Over | str | tuple[float, float, float] = "predicted",
    against: str | int | Sequence[str | int] = (),
    gamma: float = 1.0,
    layer: str | None = None,
    options: Mapping[str, Value] | None = None,
    registration: bool = True,
    progress: Progress = silent,
) -> Heatmap: ...


@overload
def explain(
    bundle: Bundle,
    volume: Volume | Sequence[Volume],
    *,
    method: str | None = "gradcam",
    target: Sequence[str | int],
    score: ScoreName | None = None,
    over: Over | str | tuple[float, float, float] = "predicted",
    against: str | int | Sequence[str | int] = (),
    gamma: float = 1.0,
    layer: str | None = None,
    options: Mapping[str, Value] | None = None,
    registration: bool = True,
    progress: Progress = silent,
) -> list[Heatmap]: ...


def explain(
    bundle: Bundle,
    volume: Volume | Sequence[Volume],
    *,
    method: str | None = "gradcam",
    target: str | int | Sequence[str | int] | None = None,
    score: ScoreName | None = None,
    over: Over | str | tuple[float, float, float] = "predicted",
    against: str | int | Sequence[str | int] = (),
    gamma: float = 1.0,
    layer: str | None = None,
    options: Mapping[str, Value] | None = None,
    registration: bool = True,
    progress: Progress = silent,
) -> Heatmap | list[Heatmap]:
    """Explain a class of a bundle's output as an attribution map on the volume's grid.

    For a classifier the target is the class's logit. For a segmentation it is the mean, over the voxels where the class
    is predicted, of the class's logit minus the strongest other logit (its own logit where classes are independent).
    For a detection it is the logit of the surest box. Through a sliding window the map equals that of the whole
    assembled output.

    Parameters
    ----------
    bundle
        What to explain.
    volume
        The scan, or one volume per input channel, all on one grid.
    method
        One of ``lesionlens.methods.METHODS``; ``lesionlens methods`` lists them with what they cost and cannot say.
        None takes the one that serves the bundle's task, as a run does that names none: HiResCAM for detection.
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
    registration
        Put the cells of the layer where ``lesionlens measure-registration`` found them to lie, if it was run for these
        weights; ``provenance.options["registration"]`` then says so. False keeps the half-voxel convention.
    progress
        Called after each window.

    Returns
    -------
    Heatmap, or a list of them
        kind ``"attribution"`` (of some methods ``"feature"``, ``"attention"``, ``"detection"``), float32, raw: without
        unit and not normalised. 0 outside what the network saw.
        ``provenance.resolution_mm`` says how finely it can point.

    Raises
    ------
    ExplainError
        If the method, an option, the class or layer does not exist, or the network cannot be explained by the method
        (the message lists those that exist, or work).
    InputError
        If the volume does not suit the bundle.
    """
    wanted = as_classes(target)
    several = wanted == "all" or isinstance(wanted, tuple)
    name, why = method_of(bundle, method)
    spec = TargetSpec(score, over, against, gamma)
    wish = Wish(name, wanted, layer, options or {}, spec, registration, why)
    check_wish(bundle, wish)
    check_suits(bundle, wish)
    prepared = prepare(bundle, volume)
    check_suits(bundle, wish, prepared)
    check_layer(bundle, prepared, layer)
    check_place(bundle, prepared, spec)
    plan = planned(bundle, prepared, wish)
    inference = infer(bundle, prepared, progress=progress) if len(plan.windows) > 1 else None
    heatmaps, _ = explained(bundle, plan, inference, progress=progress)
    return list(heatmaps) if several else heatmaps[0]


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


def subject_of(bundle: Bundle, plan: Plan) -> tuple[Explained, tuple[ChosenTarget, ...]]:
    """Return what is explained, for the engine, and the targets that were asked for: one where a method takes none."""
    prepared, wish = plan.prepared, plan.wish
    subject = Explained(bundle.network, prepared.tensor.to(bundle.device), plan.windows, prepared.grid.spacing_mm)
    channels = channels_of(bundle, wish.target) if method_info(wish.method).takes_target else (None,)
    return subject, tuple(ChosenTarget(bundle, plan, channel) for channel in channels)


def _sight(inference: Inference, chosen: ChosenTarget) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Say whether the model sees the class that is explained, for the record, and in words where it does not.

    The map of a class that is not seen looks like any other.
    """
    if not chosen.label:
        return {}, ()
    probability, strongest = inference.seen(chosen.channel)
    check = seen(chosen.label, probability, strongest=strongest)
    found = {"seen": check.verdict == "passes", "class_probability": probability}
    return found, () if found["seen"] else (check.sentence,)


def _to_scan(bundle: Bundle, plan: Plan, inference: Inference, result: Explanation, chosen: ChosenTarget) -> Heatmap:
    """Bring a map from the network's grid, or from its own coarse grid, to the scan's."""
    prepared, volume = plan.prepared, plan.prepared.volume
    kept = (note for note in result.notes if note != PROBABILITIES_NOTE or not chosen.from_probabilities)
    sight, unseen = _sight(inference, chosen) if result.boxes is None else ({}, ())  # boxes have their confidence
    result = replace(result, notes=(*plan.notes, *chosen.notes, *kept, *unseen))
    if result.kind == "detection":
        found = Placed(found_on_scan(bundle, inference, result, chosen.channel), {}, ())
    else:
        found = placed(prepared, result, plan.registration)
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
            **asked_options(plan.wish.spec),
            **found.options,
            "stride_voxels": list(result.stride),
            **({"border_voxels": list(result.border)} if any(result.border) else {}),
            "network_spacing_mm": list(spacing),
            "activation": chosen.activation.kind,
            "activation_in_network": chosen.activation.applied,
            **sight,
            "device": str(bundle.device),
        },
        versions=versions(),
        notes=(*result.notes, *found.notes),
    )
    label = chosen.label or f"layer {result.layer}"
    named = volume.with_array(found.array, name=f"{result.method} of {label}", unit="")
    return Heatmap(named, result.kind, label, signed=result.signed, provenance=provenance)


def asked_options(spec: TargetSpec) -> dict[str, Any]:
    """Return for the record what was asked about the class, where it is not the default."""
    against = list(spec.against) if isinstance(spec.against, tuple) else [spec.against]
    return {
        "over": spec.over_text,
        **({"score_kind": spec.score} if spec.score else {}),
        **({"against": against, "gamma": spec.gamma} if against else {}),
    }
