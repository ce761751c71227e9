"""From an anomaly bundle and a scan to a map: raw scores on the network's grid, in units of the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lesionlens.anomaly_reference import Reference
from lesionlens.errors import BundleError
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.model.anomaly.score import (
    FeatureDistance,
    Features,
    deviating,
    foreground,
    smoothed,
    template_difference,
)
from lesionlens.model.anomaly.spec import AnomalySpec
from lesionlens.model.bundle import Bundle
from lesionlens.model.inference import through_inferer
from lesionlens.model.prediction import versions
from lesionlens.model.preprocess import Prepared, prepare
from lesionlens.progress import Progress, silent
from lesionlens.volume import Array, Volume

__all__ = ["anomaly_map", "judged_part", "raw_scores", "score_anomaly", "spec_of"]

_UNIT = "reference units"


def score_anomaly(bundle: Bundle, volume: Volume | Sequence[Volume], *, progress: Progress = silent) -> Heatmap:
    """Score how far each voxel of a scan lies from what the bundle knows of scans in which nothing is wrong.

    The unit comes from the bundle's reference scans, never from the scan itself: a scan like them stays below 1
    except at the stated share of its voxels (one in 1,000 by default), however its own values are spread.

    Parameters
    ----------
    bundle
        An anomaly bundle.
    volume
        The scan, or one volume per input channel, all on one grid.
    progress
        Called after each window.

    Returns
    -------
    Heatmap
        Kind ``"anomaly"``, float32 on the volume's grid, not below 0, in units of the reference. 0 where nothing is
        judged: outside of what the network saw, and where its input is air.

    Raises
    ------
    BundleError
        If the bundle scores no anomaly, or has no reference.
    InputError
        If the volume does not suit the bundle.
    """
    spec_of(bundle)
    return anomaly_map(bundle, prepare(bundle, volume), progress=progress)


def spec_of(bundle: Bundle) -> AnomalySpec:
    """Return how a bundle scores anomaly, or raise :class:`BundleError` if it does not."""
    if bundle.info.anomaly is None:
        raise BundleError(
            f"{bundle.name} is a {bundle.info.task} bundle and scores no anomaly; use predict() or classify()."
        )
    return bundle.info.anomaly


def anomaly_map(bundle: Bundle, prepared: Prepared, *, progress: Progress = silent) -> Heatmap:
    """Score a prepared scan; see :func:`score_anomaly`."""
    spec, reference = spec_of(bundle), _reference(bundle)
    scores = raw_scores(bundle, prepared, reference.arrays, progress=progress)
    unit = reference.unit(spec.level)
    array = prepared.to_scan((scores / unit).numpy(), prepared.grid).clip(0)
    volume = prepared.volume.with_array(array, name=f"anomaly, {spec.label}", unit=_UNIT)
    return Heatmap(volume, "anomaly", spec.label, signed=False, provenance=_provenance(bundle, spec, reference, unit))


def raw_scores(
    bundle: Bundle, prepared: Prepared, arrays: Mapping[str, Array], *, progress: Progress = silent
) -> Tensor:
    """Score a prepared scan before any scale.

    Parameters
    ----------
    bundle, prepared
        What runs on what.
    arrays
        What the reference compares with; see :class:`~lesionlens.anomaly_reference.Reference`.
    progress
        Called after each window.

    Returns
    -------
    torch.Tensor
        (D, H, W) float32 on the network's grid, not below 0; 0 where nothing is judged.
    """
    spec, image = spec_of(bundle), prepared.tensor[0]
    if spec.of_features:
        network = FeatureDistance(Features(bundle.network, spec.layers), arrays)
        away = _assembled(bundle, prepared, network, progress, channels=1)
    elif spec.method == "template":
        away = template_difference(image, prepared.grid, arrays)
    else:
        away = image - _assembled(bundle, prepared, bundle.network, progress, channels=len(image))
    scores = deviating(smoothed(away, prepared.grid, spec.smooth_mm), spec.deviation)
    return torch.where(torch.from_numpy(judged_part(bundle, prepared)), scores, torch.zeros(()))


def judged_part(bundle: Bundle, prepared: Prepared) -> NDArray[np.bool_]:
    """Return where a prepared scan is judged, (D, H, W) bool: not in air, nor where padding lies over the scan."""
    judged = foreground(prepared.tensor[0], spec_of(bundle).above)
    return judged if prepared.real is None else judged & prepared.real


def _assembled(bundle: Bundle, prepared: Prepared, network: nn.Module, progress: Progress, *, channels: int) -> Tensor:
    output = through_inferer(bundle, prepared, network, progress=progress)[0].float().cpu()
    expected = (channels, *prepared.grid.shape)
    if tuple(output.shape) != expected:
        raise BundleError(
            f"To score anomaly the network of {bundle.name} must give an output of shape {expected} for this scan; it"
            f" gives {tuple(output.shape)}."
        )
    if not bool(torch.isfinite(output).all()):
        raise BundleError(f"The network of {bundle.name} gives values that are not finite.")
    return output


def _reference(bundle: Bundle) -> Reference:
    if bundle.reference is None:
        raise BundleError(
            f"{bundle.name} has no reference, so its scores have no scale: make one from scans in which nothing is"
            " wrong, by lesionlens bundles reference."
        )
    return bundle.reference


def _provenance(bundle: Bundle, spec: AnomalySpec, reference: Reference, unit: float) -> Provenance:
    share = f"{100 * spec.level:g} %"
    return Provenance(
        bundle=bundle.title,
        bundle_sha256=bundle.bundle_sha256,
        weights_sha256=bundle.weights_sha256,
        method=spec.method,
        target=f"distance from {reference.n_scans} scans in which nothing is wrong",
        layer=", ".join(spec.layers),
        options={
            "deviation": spec.deviation,
            "smooth_mm": spec.smooth_mm,
            "above": spec.above,
            "level": spec.level,
            "raw_score_of_1": unit,
            "reference_scans": reference.n_scans,
            "reference_voxels": reference.n_voxels,
            "device": str(bundle.device),
        },
        versions=versions(),
        notes=(
            f"1 is the score that {share} of the voxels of {reference.n_scans} reference scans lie below; it is no"
            " probability, and says nothing about what is there.",
        ),
    )
