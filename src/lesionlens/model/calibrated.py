"""Bundles and calibration: the labelled logits that a temperature is fitted to, and a bundle that applies it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionlens.calibration import Calibration, fit_temperature, scores
from lesionlens.errors import BundleError, InputError
from lesionlens.heatmap import LabelMap
from lesionlens.model.bundle import Bundle
from lesionlens.model.inference import Inference, infer
from lesionlens.model.preprocess import Prepared, prepare
from lesionlens.progress import Progress, silent
from lesionlens.regions import check_same_grid
from lesionlens.volume import Volume, resample

__all__ = ["calibrate", "calibrated"]

# Voxels this near to a lesion, marked or predicted, are the band where calibration matters; the rest is mostly easy.
BAND_MM: Final = 5.0
# Voxels of a case that are kept, in the band and as many beside it: enough for errors of a thousandth, and so that no
# case outweighs the others.
_MOST_VOXELS: Final = 50_000

Case = tuple[Volume, LabelMap | str]


@dataclass(frozen=True, eq=False)
class _Labelled:
    """(n, classes) logits and truth of one case, and (n,) how many voxels each row stands for."""

    logits: NDArray[np.float64]
    truth: NDArray[np.float64]
    weights: NDArray[np.float64]


def calibrated(bundle: Bundle, calibration: Calibration) -> Bundle:
    """Return a bundle whose probabilities are calibrated, and say so.

    Raises
    ------
    BundleError
        If the calibration was made for other weights.
    """
    bundle.require_classes("a calibration")
    if calibration.weights_sha256 != bundle.weights_sha256:
        raise BundleError(
            f"The calibration is for {calibration.bundle} with other weights, not for {bundle.title} as it is here;"
            " calibrate this bundle."
        )
    activation = replace(bundle.activation, temperature=calibration.temperature, calibration=calibration.words)
    return replace(bundle, activation=activation)


def calibrate(bundle: Bundle, cases: Iterable[Case], *, progress: Progress = silent) -> Calibration:
    """Fit the temperature of a bundle to labelled cases.

    For a segmentation the temperature is fitted in the band within 5 mm of marked or predicted lesions: elsewhere
    voxels are many and easy. Padding and what the network did not see are left out.

    Parameters
    ----------
    bundle
        What predicts.
    cases
        Scans with what is true of them: for segmentations a mask on the scan's grid, in which the number n stands for
        the n-th foreground class (of a single class, any number above 0 does); for classifications the name of the
        class.
    progress
        Called as cases are predicted.

    Raises
    ------
    InputError
        If there are no cases, or a label does not suit the bundle.
    """
    bundle.require_classes("a calibration")
    whole: list[_Labelled] = []
    band: list[_Labelled] = []
    kinds = set()
    n_cases = 0
    for n_cases, (volume, label) in enumerate(cases, start=1):
        inference = infer(bundle, prepare(bundle, volume), progress=progress)
        kinds.add(inference.activation.kind)
        if isinstance(label, LabelMap):
            inside, near = _voxels(bundle, inference, label)
            rng = np.random.default_rng(n_cases)
            band.append(_labelled(bundle, inference, label, near, rng))
            # Apart: a draw from all voxels would have next to none of those that the model is unsure of.
            whole += [band[-1], _labelled(bundle, inference, label, inside & ~near, rng)]
        else:
            whole.append(_case(bundle, inference, label))
    if not whole:
        raise InputError("There are no labelled cases; name at least one scan with its mask or label.")
    kind = kinds.pop()
    fitted = _joined(band or whole)
    temperature = fit_temperature(fitted.logits, fitted.truth, kind)
    parts = {"all": _joined(whole)} | ({"band": fitted} if band else {})
    return Calibration(
        bundle=bundle.title,
        weights_sha256=bundle.weights_sha256,
        kind=kind,
        temperature=temperature,
        n_cases=n_cases,
        n_samples=len(fitted.logits),
        scores={
            name: {
                when: scores(part.logits, part.truth, kind, t, part.weights, background=bundle.info.background)
                for when, t in (("before", 1.0), ("after", temperature))
            }
            for name, part in parts.items()
        },
    )


def _logits(inference: Inference) -> NDArray[np.float64]:
    """Return logits (K, ...), the very ones that the temperature will divide."""
    return np.asarray(inference.activation.logits(inference.output).numpy(), dtype=np.float64)


def _voxels(bundle: Bundle, inference: Inference, mask: LabelMap) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return, on the network's grid, the voxels that show the scan, and those of them in the band."""
    if bundle.info.task != "segmentation":
        raise InputError(f"{bundle.name} is a {bundle.info.task} bundle; its cases need a label, not a mask.")
    prepared = inference.prepared
    numbers = _on_network(prepared, mask)
    ones = np.ones(prepared.volume.grid.shape, dtype=np.float32)
    inside = resample(ones, prepared.volume.grid, prepared.grid, order=0) > 0
    if prepared.real is not None:
        inside &= prepared.real
    p = inference.probabilities.numpy()
    lesion = numbers > 0
    for channel in _foreground(bundle):
        lesion |= p[channel] >= 0.5
    if not lesion.any():
        return inside, np.zeros_like(inside)
    far = ndimage.distance_transform_edt(~lesion, sampling=prepared.grid.spacing_mm)
    return inside, inside & (far <= BAND_MM)


def _on_network(prepared: Prepared, mask: LabelMap) -> NDArray[np.int64]:
    check_same_grid(f"The mask {mask.label!r}", mask.grid, prepared.volume.grid)
    return np.rint(resample(mask.array, mask.grid, prepared.grid, order=0)).astype(np.int64)


def _foreground(bundle: Bundle) -> list[int]:
    return [channel for channel in range(len(bundle.info.outputs)) if channel != bundle.info.background]


def _labelled(
    bundle: Bundle, inference: Inference, mask: LabelMap, voxels: NDArray[np.bool_], rng: np.random.Generator
) -> _Labelled:
    """Take logits and truth at some of the voxels."""
    chosen = _few(voxels, rng)
    classes = _foreground(bundle)
    numbers = _on_network(inference.prepared, mask)[chosen]
    if len(classes) == 1:
        numbers = (numbers > 0).astype(np.int64)
    elif numbers.size and numbers.max() > len(classes):
        raise InputError(
            f"The mask {mask.label!r} has the number {numbers.max()}; {bundle.name} has {len(classes)} foreground"
            f" classes, numbered from 1: {', '.join(bundle.info.foreground)}."
        )
    logits = _logits(inference)[:, chosen].T
    truth = np.zeros_like(logits)
    for number, channel in enumerate(classes, start=1):
        truth[:, channel] = numbers == number
    if bundle.info.background is not None:
        truth[:, bundle.info.background] = numbers == 0
    elif inference.activation.kind == "softmax" and (numbers == 0).any():
        raise InputError(f"{bundle.name} has no background, but voxels of the mask {mask.label!r} belong to no class.")
    each = np.count_nonzero(voxels) / max(len(logits), 1)
    return _Labelled(logits, truth, np.full(len(logits), each))


def _case(bundle: Bundle, inference: Inference, label: str) -> _Labelled:
    """Take logits and truth of a classification."""
    if bundle.info.task != "classification":
        raise InputError(
            f"{bundle.name} is a {bundle.info.task} bundle; its cases need a mask, not the label {label!r}."
        )
    logits = _logits(inference)[None]
    truth = np.zeros_like(logits)
    truth[0, bundle.channel(label)] = 1
    return _Labelled(logits, truth, np.ones(1))


def _few(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return a mask of at most so many of its voxels, at random."""
    places = np.flatnonzero(mask)
    if len(places) <= _MOST_VOXELS:
        return mask
    kept = np.zeros(mask.shape, dtype=bool)
    kept.reshape(-1)[rng.choice(places, _MOST_VOXELS, replace=False)] = True
    return kept


def _joined(parts: list[_Labelled]) -> _Labelled:
    return _Labelled(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("logits", "truth", "weights")))
