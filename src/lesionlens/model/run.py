"""Prediction and explanation of one scan from one preparation, for the pipeline."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from lesionlens.heatmap import Heatmap
from lesionlens.model.bundle import Bundle
from lesionlens.model.explanation import explain_prepared
from lesionlens.model.prediction import class_probabilities, probabilities
from lesionlens.model.preprocess import prepare
from lesionlens.progress import Progress, silent
from lesionlens.volume import Volume

__all__ = ["ModelOutput", "run_model"]


@dataclass(frozen=True, eq=False)
class ModelOutput:
    """What a bundle says about a scan.

    Parameters
    ----------
    probabilities
        One map per foreground class; empty for classification bundles.
    attributions
        Attribution maps, one per explained class.
    class_probabilities
        Per class, for classification bundles; otherwise empty.
    seconds
        Seconds per stage.
    """

    probabilities: tuple[Heatmap, ...]
    attributions: tuple[Heatmap, ...]
    class_probabilities: dict[str, float]
    seconds: dict[str, float] = field(default_factory=dict)


def run_model(
    bundle: Bundle,
    volume: Volume | Sequence[Volume],
    *,
    method: str = "gradcam",
    target: str | int | None = None,
    layer: str | None = None,
    progress: Progress = silent,
) -> ModelOutput:
    """Predict and explain; see :func:`~lesionlens.predict` and :func:`~lesionlens.explain` for the parameters."""
    times = [time.perf_counter()]
    progress("Preprocessing", 0, 1)
    prepared = prepare(bundle, volume)
    progress("Preprocessing", 1, 1)
    times.append(time.perf_counter())
    attribution, inference = explain_prepared(
        bundle, prepared, method=method, target=target, layer=layer, progress=progress
    )
    times.append(time.perf_counter())
    segmentation = bundle.info.task == "segmentation"
    maps = tuple(probabilities(bundle, inference)) if segmentation else ()
    classes = {} if segmentation else class_probabilities(bundle, inference)
    times.append(time.perf_counter())
    spent = [round(end - start, 3) for start, end in pairwise(times)]
    seconds = dict(zip(("preprocess", "network", "probabilities"), spent, strict=True))
    return ModelOutput(maps, (attribution,), classes, seconds)
