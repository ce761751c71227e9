"""Attribution of a bundle's output on the scan's grid: the bridge between bundles and ``lesionlens.explain``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from lesionlens.errors import ExplainError, unknown_name
from lesionlens.explain import METHODS, CamMap, ClassLogit, RegionMargin, Target, cam
from lesionlens.explain import Inference as Explained
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.model.bundle import Bundle
from lesionlens.model.inference import Inference, checked, infer, windows_of
from lesionlens.model.prediction import versions
from lesionlens.model.preprocess import Prepared, prepare
from lesionlens.progress import Progress, silent
from lesionlens.volume import Grid, Volume, resample

__all__ = ["explain", "explain_prepared"]


def explain(
    bundle: Bundle,
    volume: Volume | Sequence[Volume],
    *,
    method: str = "gradcam",
    target: str | int | None = None,
    layer: str | None = None,
    progress: Progress = silent,
) -> Heatmap:
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
        ``"gradcam"``: Grad-CAM (Selvaraju et al., ICCV 2017), without its final ReLU.
    target
        Class, by name or channel number. By default the class with most predicted voxels (segmentation) or the highest
        probability (classification).
    layer
        Dotted name of the target layer; by default chosen by the kind of network, with the reason in the notes.
    progress
        Called after each window.

    Returns
    -------
    Heatmap
        kind ``"attribution"``, float32, signed, raw: without unit and not normalised. 0 outside what the network saw.
        ``provenance.resolution_mm`` says how finely it can point.

    Raises
    ------
    ExplainError
        If the method, class or layer does not exist (the message lists those that do).
    InputError
        If the volume does not suit the bundle.
    """
    _check_request(bundle, method, target)
    prepared = prepare(bundle, volume)
    heatmap, _ = explain_prepared(bundle, prepared, method=method, target=target, layer=layer, progress=progress)
    return heatmap


def explain_prepared(
    bundle: Bundle,
    prepared: Prepared,
    *,
    method: str,
    target: str | int | None,
    layer: str | None,
    progress: Progress = silent,
) -> tuple[Heatmap, Inference]:
    """Explain a prepared input and return the inference too, so that prediction costs no second pass.

    A network that sees the image whole is run once for both. Through a sliding window the bundle's own inferer
    predicts, and the explanation then visits the windows again.
    """
    _check_request(bundle, method, target)
    windows = windows_of(bundle.inferer, prepared.tensor.shape[2:])
    explained = Explained(bundle.network, prepared.tensor.to(bundle.device), windows)
    chosen = _Chosen(bundle, target)
    reason: tuple[str, ...] = ()
    if layer is None:
        layer, why = bundle.default_layer(windows.size)
        reason = (f"Layer {layer!r} was chosen: {why}.",)
    inference, logits = None, None
    if len(windows) > 1:
        inference = infer(bundle, prepared, progress=progress)
        logits = None if bundle.activation == "none" else inference.logits[None].to(bundle.device)
    result = cam(explained, chosen, layer=layer, method=method, logits=logits, progress=progress)
    if inference is None:
        # The engine reads a network before its own final activation; only then its output is not the bundle's.
        seen = None if bundle.activation == "none" else chosen.logits
        inference = infer(bundle, prepared, progress=progress) if seen is None else checked(bundle, prepared, seen)
    result = replace(result, notes=(*reason, *result.notes))
    return _to_scan(bundle, prepared, result, chosen), inference


class _Chosen:
    """A target that picks its class when it first sees the logits, and remembers them."""

    def __init__(self, bundle: Bundle, wanted: str | int | None) -> None:
        self._bundle = bundle
        self._wanted = wanted
        self._target: Target | None = None
        self.logits: torch.Tensor | None = None
        self.channel = -1

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        return self._chosen(logits)(logits)

    def describe(self, logits: torch.Tensor) -> str:
        return self._chosen(logits).describe(logits)

    def _chosen(self, logits: torch.Tensor) -> Target:
        if self._target is None:
            self.logits = logits.detach()
            self.channel = _channel(self._bundle, self._wanted, self.logits)
            self._target = _target(self._bundle, self.channel)
        return self._target

    @property
    def label(self) -> str:
        """Name of the class."""
        return self._bundle.info.outputs[self.channel]


def _check_request(bundle: Bundle, method: str, target: str | int | None) -> None:
    """Refuse what does not exist before any work is done."""
    if method not in METHODS:
        raise ExplainError(unknown_name("method", method, METHODS))
    if target is not None:
        bundle.channel(target)


def _channel(bundle: Bundle, wanted: str | int | None, logits: torch.Tensor) -> int:
    if wanted is not None:
        return bundle.channel(wanted)
    if bundle.info.task == "classification":
        return int(logits[0].argmax())
    foreground = [c for c in range(len(bundle.info.outputs)) if c != bundle.info.background]
    if len(foreground) == 1:
        return foreground[0]
    if bundle.activation == "softmax":
        winners = logits[0].argmax(dim=0)
        sizes = [int((winners == c).sum()) for c in foreground]
    else:
        sizes = [int((logits[0, c] > 0).sum()) for c in foreground]
    return foreground[int(np.argmax(sizes))]


def _target(bundle: Bundle, channel: int) -> Target:
    label = bundle.info.outputs[channel]
    if bundle.info.task == "classification":
        return ClassLogit(channel, label)
    return RegionMargin(channel, label, sigmoid=bundle.activation == "sigmoid")


def _to_scan(bundle: Bundle, prepared: Prepared, result: CamMap, chosen: _Chosen) -> Heatmap:
    """Bring a map from the network's grid, or from its own coarse grid, to the scan's."""
    volume = prepared.volume
    if result.coarse is not None:
        array = resample(result.coarse, _coarse_grid(prepared.grid, result), volume.grid)
    else:
        array = resample(result.values, prepared.grid, volume.grid)
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
            "score": result.score,
            "stride_voxels": list(result.stride),
            "network_spacing_mm": list(spacing),
            "activation": bundle.activation,
            "device": str(bundle.device),
        },
        versions=versions(),
        notes=result.notes,
    )
    named = volume.with_array(array, name=f"{result.method} of {chosen.label}", unit="")
    return Heatmap(named, "attribution", chosen.label, signed=True, provenance=provenance)


def _coarse_grid(grid: Grid, result: CamMap) -> Grid:
    """Place the cells of a coarse map: cell i is centred on network voxel S i + (S - 1) / 2."""
    assert result.coarse is not None
    to_voxel = np.eye(4)
    for axis, stride in enumerate(result.stride):
        to_voxel[axis, axis] = stride
        to_voxel[axis, 3] = (stride - 1) / 2
    shape = result.coarse.shape
    return Grid((shape[0], shape[1], shape[2]), grid.affine @ to_voxel)
