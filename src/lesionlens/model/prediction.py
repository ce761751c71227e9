"""Probabilities: per voxel for segmentation bundles, per class for classification bundles."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlens import __version__
from lesionlens.computing import Computing, EngineName
from lesionlens.errors import BundleError
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.model.bundle import Bundle
from lesionlens.model.inference import Inference, infer, kept_channels
from lesionlens.model.preprocess import as_bundle, prepare
from lesionlens.model.slabs import file_array
from lesionlens.progress import Progress, silent
from lesionlens.volume import Volume

__all__ = ["class_probabilities", "classify", "predict", "probabilities", "versions"]

# Sums of softmax in float32 leave [0, 1] by a few units in the last place after interpolation.
_ROUNDING = 1e-6


def predict(
    bundle: Bundle,
    volume: Volume | Sequence[Volume],
    *,
    engine: EngineName = "torch",
    memory_gib: float | None = None,
    classes: Sequence[str] = (),
    progress: Progress = silent,
) -> list[Heatmap]:
    """Compute one probability map per foreground class, on the volume's grid.

    The bundle's own preprocessing, network and inferer run; the activation is applied on the network's grid, and the
    probabilities come back to the volume's grid trilinearly through both affines, never through a discretised mask.
    Outside what the network saw (cropped away by the bundle, padded or not) the probability is 0.

    Parameters
    ----------
    bundle
        A segmentation bundle.
    volume
        The scan, or one volume per input channel, all on one grid.
    engine
        ``"torch"`` computes what MONAI computes; ``"auto"``, ``"torch-folded"``, ``"torch-bf16"``, ``"openvino"`` and
        ``"openvino-bf16"`` are checked against it on the first window, see :mod:`lesionlens.computing`.
    memory_gib
        GiB that the prediction may take; beyond, windows are joined block by block, and in a file if need be.
    classes
        Names of the classes that are wanted; by default all but the background.
    progress
        Called after each window.

    Returns
    -------
    list of Heatmap
        kind ``"probability"``, float32 in [0, 1], in the order of the bundle's channels.

    Raises
    ------
    BundleError
        If the bundle is a classifier (use :func:`classify`), or does not do what it states.
    InputError
        If the volume does not suit the bundle.
    """
    as_bundle(bundle).require_classes("a probability for each voxel")
    computing = Computing(engine, memory_gib, tuple(classes))
    inference = infer(bundle, prepare(bundle, volume), progress=progress, computing=computing)
    return probabilities(bundle, inference, classes=classes)


def classify(bundle: Bundle, volume: Volume | Sequence[Volume], *, progress: Progress = silent) -> dict[str, float]:
    """Compute the probability of each class of a classification bundle.

    Returns
    -------
    dict
        Class name to probability in [0, 1], in the order of the bundle's channels.

    Raises
    ------
    BundleError
        If the bundle is a segmentation (use :func:`predict`).
    InputError
        If the volume does not suit the bundle.
    """
    as_bundle(bundle).require_classes("a probability for each class")
    return class_probabilities(bundle, infer(bundle, prepare(bundle, volume), progress=progress))


def probabilities(bundle: Bundle, inference: Inference, *, classes: Sequence[str] = ()) -> list[Heatmap]:
    """Bring the probabilities of an inference to the scan's grid; see :func:`predict`."""
    if bundle.info.task != "segmentation":
        raise BundleError(
            f"{bundle.name} is a {bundle.info.task} bundle: it gives one probability per class, not per voxel;"
            " use classify()."
        )
    volume = inference.prepared.volume
    values = inference.probabilities
    keep, held = kept_channels(bundle, classes), inference.channels
    computed = inference.computed
    maps = []
    for channel in keep:
        label = bundle.info.outputs[channel]
        row = channel if held is None else held.index(channel)
        array = inference.prepared.to_scan(values[row].numpy(), inference.prepared.grid)
        array = array.clip(0.0, 1.0) if array.min() >= -_ROUNDING and array.max() <= 1 + _ROUNDING else array
        if computed is not None and computed.on_disk:
            array = _in_file(array)
        words = "calibrated probability" if inference.activation.calibration else "probability"
        named = volume.with_array(array, name=f"{words} of {label}", unit="probability")
        maps.append(
            Heatmap(named, "probability", label, signed=False, provenance=_provenance(bundle, inference, label))
        )
    return maps


def _in_file(array: NDArray[np.float32]) -> NDArray[np.float32]:
    held = file_array(array.shape)
    held[...] = array
    return held


def class_probabilities(bundle: Bundle, inference: Inference) -> dict[str, float]:
    """Return the probability of each class of an inference; see :func:`classify`."""
    if bundle.info.task != "classification":
        raise BundleError(f"{bundle.name} is a {bundle.info.task} bundle: use predict().")
    values = inference.probabilities.tolist()
    if any(not math.isfinite(v) or not -_ROUNDING <= v <= 1 + _ROUNDING for v in values):
        raise BundleError(f"{bundle.name} gives {values} as class probabilities; they must lie in [0, 1].")
    return dict(zip(bundle.info.outputs, values, strict=True))


def _provenance(bundle: Bundle, inference: Inference, label: str) -> Provenance:
    activation = inference.activation
    return Provenance(
        bundle=bundle.title,
        bundle_sha256=bundle.bundle_sha256,
        weights_sha256=bundle.weights_sha256,
        method=activation.kind,
        target=f"{'calibrated ' * bool(activation.calibration)}probability of {label!r}",
        options={
            **({"temperature": activation.temperature} if activation.calibration else {}),
            "activation_in_network": activation.applied,
            "activation_reason": activation.reason,
            **_computed_options(bundle, inference),
        },
        versions=versions(),
        notes=tuple(filter(None, (activation.doubt, activation.calibration))),
    )


def _computed_options(bundle: Bundle, inference: Inference) -> dict[str, Any]:
    computed = inference.computed
    if computed is None:
        return {"device": str(bundle.device)}
    return {"device": computed.device, "engine": computed.engine}


def versions() -> dict[str, str]:
    """Versions of everything that computes values."""
    return dict(_versions())


@cache
def _versions() -> Mapping[str, str]:
    """Look the versions up once: that reads files, and every map of a hundred states them."""
    names = ("torch", "monai", "numpy", "scipy", "nibabel", "pydicom")
    return {"python": platform.python_version(), "lesionlens": __version__, **{name: version(name) for name in names}}
