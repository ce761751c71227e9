"""Prediction and explanation of one scan from one preparation, for the pipeline."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch

from lesionlens.computing import EXACT, Computed, Computing
from lesionlens.detections import Detection
from lesionlens.errors import ExplainError
from lesionlens.heatmap import Heatmap
from lesionlens.methods import method_info
from lesionlens.model.activation import Activation
from lesionlens.model.anomaly.scoring import anomaly_map
from lesionlens.model.bundle import Bundle
from lesionlens.model.detection import detections
from lesionlens.model.explanation import explained
from lesionlens.model.inference import Inference, infer
from lesionlens.model.plan import planned
from lesionlens.model.prediction import class_probabilities, probabilities
from lesionlens.model.preprocess import Prepared, prepare
from lesionlens.model.suitability import doubts
from lesionlens.model.targets import check_place
from lesionlens.model.wish import Wish, check_layer, check_suits, check_wish
from lesionlens.progress import Progress, silent
from lesionlens.volume import Volume

__all__ = ["NO_MAP", "ModelOutput", "run_model"]

#: How a warning begins that says why a prediction comes without its explanation.
NO_MAP = "There is no attribution map: "

_NO_MEMORY = f"{NO_MAP}the prediction alone needs all the memory it may take (--memory), and an explanation needs more."


@dataclass(frozen=True, eq=False)
class ModelOutput:
    """What a bundle says about a scan.

    Parameters
    ----------
    probabilities
        One map per foreground class; empty for classification bundles.
    attributions
        Attribution maps, one per explained class; of a detection bundle also the boxes of every class; of an anomaly
        bundle its map.
    class_probabilities
        Per class, for classification bundles; otherwise empty.
    activation
        How the network's output became probabilities.
    detections
        The boxes that a detection bundle found, the surest first; None of other bundles.
    warnings
        One sentence for each thing that was asked for and could not be made.
    seconds
        Seconds per stage.
    computed
        How the network was computed.
    """

    probabilities: tuple[Heatmap, ...]
    attributions: tuple[Heatmap, ...]
    class_probabilities: dict[str, float]
    activation: Activation
    detections: tuple[Detection, ...] | None = None
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    computed: Computed | None = None


def run_model(
    bundle: Bundle,
    volume: Volume | Sequence[Volume],
    wish: Wish,
    *,
    computing: Computing = EXACT,
    progress: Progress = silent,
) -> ModelOutput:
    """Predict and explain; see :func:`~lesionlens.predict` and :func:`~lesionlens.explain` for the parameters.

    A method that was asked for and cannot explain the network is an error before the work. Who asks for none gets the
    prediction, and a warning.

    Raises
    ------
    ExplainError
        If what was asked for does not exist, or does not suit the network.
    """
    if bundle.info.anomaly is not None:
        return _anomaly(bundle, volume, wish, progress)
    check_wish(bundle, wish)
    warnings = _unsuited(bundle, wish)
    times = [time.perf_counter()]
    progress("Preprocessing", 0, 1)
    prepared = prepare(bundle, volume)
    warnings = warnings or _unsuited(bundle, wish, prepared)
    check_layer(bundle, prepared, wish.layer)
    check_place(bundle, prepared, wish.spec)
    progress("Preprocessing", 1, 1)
    times.append(time.perf_counter())
    attributions: tuple[Heatmap, ...] = ()
    if warnings:
        inference = infer(bundle, prepared, progress=progress, computing=computing)
    else:
        attributions, inference, warnings = _network(bundle, prepared, wish, computing, progress)
    if bundle.detector is not None and method_info(wish.method).kind != "detection":
        attributions += _boxes(bundle, prepared, inference)
    times.append(time.perf_counter())
    task = bundle.info.task
    maps = tuple(probabilities(bundle, inference, classes=computing.classes)) if task == "segmentation" else ()
    classes = class_probabilities(bundle, inference) if task == "classification" else {}
    found = detections(bundle, inference) if task == "detection" else None
    times.append(time.perf_counter())
    spent = [round(end - start, 3) for start, end in pairwise(times)]
    seconds = dict(zip(("preprocess", "network", "probabilities"), spent, strict=True))
    computed = inference.computed or _explained(bundle, computing)
    warnings = (*warnings, *doubts(bundle, prepared), *computed.notices)
    return ModelOutput(maps, attributions, classes, inference.activation, found, warnings, seconds, computed)


def _explained(bundle: Bundle, computing: Computing) -> Computed:
    """Say how the network ran that was explained in the same pass."""
    other = computing.engine not in ("torch", "auto")
    why = f"Engine {computing.engine!r} is for scans in several windows; PyTorch in fp32 ran."
    threads, budget = torch.get_num_threads(), computing.budget_bytes
    return Computed("torch", str(bundle.device), budget_bytes=budget, threads=threads, notices=(why,) * other)


def _anomaly(bundle: Bundle, volume: Volume | Sequence[Volume], wish: Wish, progress: Progress) -> ModelOutput:
    """Score anomaly, which has neither classes nor anything else to explain."""
    title, named = method_info(wish.method).title, not wish.why
    warnings = (f"{bundle.name} has no classes, so there is no {title} map, only that of anomaly.",) if named else ()
    times = [time.perf_counter()]
    progress("Preprocessing", 0, 1)
    prepared = prepare(bundle, volume)
    progress("Preprocessing", 1, 1)
    times.append(time.perf_counter())
    scored = anomaly_map(bundle, prepared, progress=progress)
    times.append(time.perf_counter())
    spent = [round(end - start, 3) for start, end in pairwise(times)]
    seconds = dict(zip(("preprocess", "network"), spent, strict=True))
    return ModelOutput((), (scored,), {}, bundle.activation, warnings=warnings, seconds=seconds)


def _unsuited(bundle: Bundle, wish: Wish, prepared: Prepared | None = None) -> tuple[str, ...]:
    """Return a warning where the method that stands for none cannot explain the network; refuse any other."""
    try:
        check_suits(bundle, wish, prepared)
    except ExplainError as error:
        if (wish.method != Wish().method and not wish.why) or wish.layer is not None:
            raise
        return (f"{NO_MAP}{error}",)
    return ()


def _network(
    bundle: Bundle, prepared: Prepared, wish: Wish, computing: Computing, progress: Progress
) -> tuple[tuple[Heatmap, ...], Inference, tuple[str, ...]]:
    """Predict, and explain where that can be done: a prediction is worth having without its explanation."""
    inference: Inference | None = None
    attributions: tuple[Heatmap, ...] = ()
    warnings: tuple[str, ...] = ()
    try:
        plan = planned(bundle, prepared, wish)
        if len(plan.windows) > 1:
            inference = infer(bundle, prepared, progress=progress, computing=computing)
            if inference.channels is not None:
                return (), inference, (_NO_MEMORY,)
        attributions, inference = explained(bundle, plan, inference, progress=progress)
    except ExplainError as error:
        warnings = (f"{NO_MAP}{error}",)
    return attributions, inference or infer(bundle, prepared, progress=progress, computing=computing), warnings


def _boxes(bundle: Bundle, prepared: Prepared, inference: Inference) -> tuple[Heatmap, ...]:
    """Show the boxes of every class beside whatever explains them: they are what a detection bundle concludes."""
    wish = Wish("boxes", tuple(range(len(bundle.info.outputs))))
    return explained(bundle, planned(bundle, prepared, wish), inference)[0]
