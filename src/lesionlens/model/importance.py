"""Feature importance of a bundle: channels and labels of a scan, through ``lesionlens.explain.importance``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lesionlens.errors import InputError
from lesionlens.explain.explanation import Request
from lesionlens.explain.importance import OPTIONS, Fall, Feature, falls
from lesionlens.heatmap import FeatureFall, Heatmap, Importance, LabelMap, Provenance
from lesionlens.methods import Value
from lesionlens.model.boundary import foreign_code
from lesionlens.model.bundle import Bundle
from lesionlens.model.explanation import asked_options, subject_of
from lesionlens.model.inference import windows_of
from lesionlens.model.plan import Plan
from lesionlens.model.prediction import versions
from lesionlens.model.preprocess import Prepared, prepare
from lesionlens.model.targets import check_place
from lesionlens.model.wish import Wish, check_wish
from lesionlens.progress import Progress, silent
from lesionlens.volume import Volume, resample

__all__ = ["channel_importance", "check_question", "label_importance"]


def check_question(bundle: Bundle, volume: Volume | Sequence[Volume], wish: Wish) -> None:
    """Refuse what cannot be asked of a scan before the network sees it: a class, or a place outside the scan."""
    _prepared(bundle, volume, wish)


def channel_importance(
    bundle: Bundle,
    volume: Volume | Sequence[Volume],
    wish: Wish,
    *,
    options: dict[str, Value],
    progress: Progress = silent,
) -> Importance:
    """Take away one input channel after another; see :func:`lesionlens.feature_importance` for the parameters."""
    prepared = _prepared(bundle, volume, wish)
    features = [Feature(name, channel=index) for index, name in enumerate(bundle.info.inputs)]
    found = _fallen(bundle, prepared, features, wish, options, progress)
    return Importance(
        tuple(FeatureFall(fall.name, fall.fall, fall.sd) for fall in found.falls),
        found.score,
        found.provenance.options["class"],
        None,
        found.provenance,
    )


def label_importance(
    bundle: Bundle,
    volume: Volume | Sequence[Volume],
    labels: LabelMap,
    wish: Wish,
    *,
    options: dict[str, Value],
    progress: Progress = silent,
) -> Importance:
    """Take away one label after another, in all channels; see :func:`lesionlens.feature_importance`."""
    prepared = _prepared(bundle, volume, wish)
    if not labels.grid.same_as(prepared.volume.grid):
        raise InputError(
            f"The labels {labels.label!r} do not lie on the grid of {prepared.volume.name!r}; read them with"
            " lesionlens.read_overlay(path, volume), which brings them there."
        )
    numbers = [int(number) for number in np.unique(labels.array) if number > 0]
    if not numbers:
        raise InputError(f"The labels {labels.label!r} mark no voxel of {prepared.volume.name!r}.")
    names = {number: labels.names.get(number, f"{labels.label} {number}") for number in numbers}
    seen = _on_network(prepared, labels)
    features = [Feature(names[number], voxels=torch.from_numpy(seen == number)) for number in numbers]
    missing = [names[number] for number in numbers if not (seen == number).any()]
    notes = (f"Of these the network sees no voxel: {', '.join(missing)}.",) if missing else ()
    found = _fallen(bundle, prepared, features, wish, options, progress, notes)
    sizes = np.bincount(labels.array.astype(np.int64).ravel()) * labels.grid.voxel_volume_mm3
    rows = tuple(
        FeatureFall(fall.name, fall.fall, fall.sd, float(sizes[number]))
        for number, fall in zip(numbers, found.falls, strict=True)
    )
    heatmap = _painted(prepared.volume, labels, dict(zip(numbers, found.falls, strict=True)), found.provenance)
    return Importance(rows, found.score, heatmap.label, heatmap, found.provenance)


@dataclass(frozen=True)
class _Found:
    falls: list[Fall]
    score: float
    provenance: Provenance


def _prepared(bundle: Bundle, volume: Volume | Sequence[Volume], wish: Wish) -> Prepared:
    bundle.require_classes("feature importance")
    check_wish(bundle, wish)  # a wrong class is refused before any work
    prepared = prepare(bundle, volume)
    check_place(bundle, prepared, wish.spec)
    return prepared


def _fallen(
    bundle: Bundle,
    prepared: Prepared,
    features: list[Feature],
    wish: Wish,
    options: dict[str, Value],
    progress: Progress,
    notes: tuple[str, ...] = (),
) -> _Found:
    """Run the engine, and record what it was asked."""
    windows = windows_of(bundle.inferer, prepared.tensor.shape[2:])
    with foreign_code(bundle, prepared):
        plan = Plan(wish, prepared, windows, (), bundle.final_activation(windows.size))
        subject, (chosen,) = subject_of(bundle, plan)
        request = Request(subject, chosen, "importance", options={**OPTIONS, **options}, progress=progress)
        found, score, described = falls(request, features)
    provenance = Provenance(
        bundle=bundle.title,
        bundle_sha256=bundle.bundle_sha256,
        weights_sha256=bundle.weights_sha256,
        method=f"importance-{request.options['how']}",
        target=described,
        options={
            **request.options,
            "class": chosen.label,
            "score": score,
            **asked_options(wish.spec),
            "network_spacing_mm": list(prepared.grid.spacing_mm),
            "device": str(bundle.device),
        },
        versions=versions(),
        notes=(*chosen.notes, *notes),
    )
    return _Found(found, score, provenance)


def _on_network(prepared: Prepared, labels: LabelMap) -> NDArray[np.int64]:
    """Return the labels on the network's grid, 0 where it does not see the scan."""
    moved = resample(labels.array, labels.grid, prepared.grid, order=0).astype(np.int64)
    real = prepared.real
    return moved if real is None else np.where(real, moved, 0)


def _painted(volume: Volume, labels: LabelMap, found: dict[int, Fall], provenance: Provenance) -> Heatmap:
    """Paint each label with its fall."""
    falls_of = np.zeros(max(found) + 1, dtype=np.float32)
    for number, fall in found.items():
        falls_of[number] = fall.fall
    label = provenance.options["class"]
    named = volume.with_array(falls_of[labels.array], name=f"importance of {labels.label} for {label}", unit="")
    return Heatmap(named, "attribution", label, signed=True, provenance=provenance)
