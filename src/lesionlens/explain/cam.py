r"""Class activation maps: one engine, one weighting function for each method.

Let ``A_k`` be the channels of a layer's output and ``T`` the target, a scalar of the network's logits. A CAM is

    map = sum_k W_k A_k

with weights ``W`` made from the activations and from the gradients ``dT / dA_k``. Grad-CAM [1]_ takes the mean gradient
over all positions ``i`` of the layer's output, one weight for each channel:

    alpha_k = (1 / Z) sum_i dT / dA_k,i

Values stay raw and signed: no ReLU, no scaling; to show only the positive part is a choice of the display.

Through windows
---------------
The logits of the image are a weighted mean of those of its windows (see :mod:`lesionlens.explain.windows`), so the
chain rule splits by windows: with ``s = dT / dz`` at the blended logits,

    dT / dA_k of window w = sum_v s(v) g_w(v) / G(v) dz_w(v) / dA_k

which needs one window at a time, and is exactly zero for windows that do not touch the target's region. All windows
together are the layer's output for the image: ``alpha_k`` is the mean over all positions of all windows, those without
gradient included, and each window's map is made with the same weights, so windows can be compared. The maps are brought
to the voxels of their windows by linear interpolation (cells are boxes of ``stride`` voxels with their value at the
centre) and blended like the logits. With one window this is plain Grad-CAM.

Memory does not grow with the number of windows, but for activations that are kept while they fit into ``KEEP_BYTES``.

.. [1] Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, ICCV 2017,
   https://arxiv.org/abs/1610.02391. What differs: no ReLU at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lesionlens.errors import ExplainError, unknown_name
from lesionlens.explain.capture import Cut, cut_at
from lesionlens.explain.inference import Inference
from lesionlens.explain.layers import default_layer, existing_layer
from lesionlens.explain.targets import Target, gradient_at
from lesionlens.progress import Progress, silent

__all__ = ["METHODS", "PROBABILITIES_NOTE", "CamMap", "Weighting", "cam"]

# Activations kept for the second pass instead of being computed twice. Far below what a network needs to run on one
# 128³ window, and enough for all windows of a head at the bottleneck of a U-Net.
KEEP_BYTES = 256 * 2**20

# Softmax in float16 may miss a sum of 1 by this much.
PROBABILITY_SLACK = 1e-2

PROBABILITIES_NOTE = "The network returns probabilities, whose gradients fade where it is sure, instead of logits."

Weighting = Callable[[Tensor, Tensor], Tensor]


def _gradcam(activation: Tensor, gradient: Tensor) -> Tensor:  # noqa: ARG001  every weighting takes both
    return gradient.flatten(2).mean(dim=2)


# Name -> weights (1, channels) from the activation and the gradient (1, channels, *cells) of one window, float32. A
# window without gradient must give zeros: its weights are not asked for, and count as zeros in the mean over windows.
METHODS: dict[str, Weighting] = {"gradcam": _gradcam}


@dataclass(frozen=True, eq=False)
class CamMap:
    """A class activation map on the grid of the image that the network saw.

    Parameters
    ----------
    values
        (*spatial) float32, raw and signed, without unit: evidence for the target above 0, against it below.
    coarse
        (*cells) float32: the map as the layer gives it, where the network saw the image whole; None otherwise.
    weights
        (channels) float32 weights of the layer's channels.
    stride
        Voxels of the image for each cell of the layer, along each axis. Cell ``c`` of ``coarse`` is centred on voxel
        ``stride * c + (stride - 1) / 2``. The map cannot point better than plus or minus ``stride / 2``.
    layer, method
        Names of the target layer and of the method.
    target
        The target in words.
    score
        The target's value.
    notes
        One sentence for each thing a reader must know.
    """

    values: NDArray[np.float32]
    coarse: NDArray[np.float32] | None
    weights: NDArray[np.float32]
    stride: tuple[float, ...]
    layer: str
    method: str
    target: str
    score: float
    notes: tuple[str, ...] = ()


def cam(
    inference: Inference,
    target: Target,
    *,
    layer: str | None = None,
    method: str = "gradcam",
    logits: Tensor | None = None,
    progress: Progress = silent,
) -> CamMap:
    """Make a class activation map.

    Parameters
    ----------
    inference
        The network, its image and its windows. The network is left exactly as it was, also after an error.
    target
        What to explain.
    layer
        Dotted name of the target layer; None for :func:`~lesionlens.explain.layers.default_layer`, which costs a small
        forward pass.
    method
        A key of ``METHODS``.
    logits
        ``inference.logits()`` if known already: saves one pass over the windows when there are several.
    progress
        Called for each window; raise ``Cancelled`` from it to stop.

    Raises
    ------
    ExplainError
        If the method, layer or target does not exist or suit, or values are not finite.

    Examples
    --------
    >>> from torch import nn
    >>> from lesionlens.explain import ClassLogit
    >>> head = [nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)]
    >>> network = nn.Sequential(nn.Conv3d(1, 4, 3, stride=2, padding=1), *head)
    >>> heat = cam(Inference(network, torch.rand(1, 1, 8, 8, 8)), ClassLogit(1), layer="0")
    >>> heat.values.shape, heat.coarse.shape, heat.stride
    ((8, 8, 8), (4, 4, 4), (2.0, 2.0, 2.0))
    """
    if method not in METHODS:
        raise ExplainError(unknown_name("method", method, METHODS))
    window_shape = (1, inference.image.shape[1], *inference.plan.size)
    if layer is None:
        layer, reason = default_layer(inference.network, window_shape)
        notes = [f"Layer {layer!r} was chosen: {reason}."]
    else:
        layer, notes = existing_layer(inference.network, layer, window_shape), []
    with cut_at(inference.network, layer) as cut:
        sweep = _Sweep(inference, cut, progress)
        logits = sweep.logits() if logits is None else _matching(logits, inference)
        score, seed = gradient_at(target, logits)
        weights = sweep.weights(METHODS[method], seed)
        values, coarse = sweep.blended(weights)
    return CamMap(
        values=_array(values[0, 0]),
        coarse=_array(coarse[0, 0]) if inference.plan.is_whole else None,
        weights=_array(weights[0]),
        stride=tuple(n / cells for n, cells in zip(inference.plan.size, coarse.shape[2:], strict=True)),
        layer=layer,
        method=method,
        target=target.describe(logits),
        score=score,
        notes=(*notes, *_findings(logits, weights, values)),
    )


@dataclass
class _Sweep:
    """The passes over the windows; activations of earlier passes are kept within ``KEEP_BYTES``."""

    inference: Inference
    cut: Cut
    progress: Progress
    kept: dict[int, Tensor] = field(default_factory=dict)
    kept_bytes: int = 0
    # Of the only window: logits still connected to the activation, so that one forward pass serves for everything.
    connected: tuple[Tensor, Tensor] | None = None

    def __post_init__(self) -> None:
        self.plan = self.inference.plan
        self.padded = self.plan.pad(self.inference.image)

    def logits(self) -> Tensor:
        """Return the blended logits."""
        return self.plan.blend(map(self._logits, self._steps("Predicting", range(len(self.plan)))))

    def _logits(self, index: int) -> Tensor:
        single = len(self.plan) == 1
        logits, activation = self.cut.forward(self._view(index), gradients=single)
        self._keep(index, activation)
        if single:
            self.connected = logits, activation
        return logits.detach()

    def weights(self, weighting: Weighting, seed: Tensor) -> Tensor:
        """Return the weights (1, channels), the mean over all windows.

        ``seed`` is the gradient of the target with respect to the blended logits.
        """
        whole = self.plan.is_whole  # then logits may have any shape
        padded = seed if whole else self.plan.pad(seed, zeros=True)
        touched = [0] if whole else [i for i, place in enumerate(self.plan.places) if bool(padded[place].any())]
        total = torch.zeros((), device=seed.device)
        for index in self._steps("Explaining", touched):
            part = seed if whole else padded[self.plan.places[index]] * self.plan.share(index).to(padded)
            total = total + self._window_weights(weighting, index, part)
        if not touched:
            total = total.expand(1, self._activation(0).shape[1])
        return total / len(self.plan)

    def _window_weights(self, weighting: Weighting, index: int, seed: Tensor) -> Tensor:
        logits, activation = self.connected or self.cut.forward(self._view(index))
        self._keep(index, activation)
        if logits.shape != seed.shape:
            raise ExplainError(
                f"Logits of shape {tuple(seed.shape)} were given, but the network's have shape {tuple(logits.shape)}."
            )
        (gradient,) = torch.autograd.grad(logits, activation, seed.to(logits))
        return weighting(activation.detach().float(), gradient.float())

    def blended(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map (1, 1, *spatial), and that of the last window before interpolation (1, 1, *cells)."""
        coarse = torch.empty(0)

        def fine(index: int) -> Tensor:
            nonlocal coarse
            coarse = _weighted_sum(self._activation(index), weights)
            return _interpolated(coarse, self.plan.size)

        values = self.plan.blend(map(fine, self._steps("Mapping", range(len(self.plan)))))
        return values, coarse

    def _steps(self, stage: str, indices: Sequence[int]) -> Iterator[int]:
        for done, index in enumerate(indices):
            self.progress(stage, done, len(indices))
            yield index
        self.progress(stage, len(indices), len(indices))

    def _view(self, index: int) -> Tensor:
        return self.plan.view(self.padded, index)

    def _activation(self, index: int) -> Tensor:
        kept = self.kept.get(index)
        return self.cut.encode(self._view(index)) if kept is None else kept

    def _keep(self, index: int, activation: Tensor) -> None:
        size = activation.numel() * activation.element_size()
        if index not in self.kept and (len(self.plan) == 1 or self.kept_bytes + size <= KEEP_BYTES):
            self.kept[index] = activation.detach()
            self.kept_bytes += size


def _weighted_sum(activation: Tensor, weights: Tensor) -> Tensor:
    """Return sum_k weights_k activation_k as (1, 1, *cells) float32."""
    with torch.autocast(activation.device.type, enabled=False):  # the caller's would compute it in bfloat16
        return torch.einsum("nk...,nk->n...", activation.float(), weights)[:, None]


def _interpolated(coarse: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bring a map (1, 1, *cells) to voxels (1, 1, *size): cells are boxes of voxels with their value at the centre."""
    if tuple(coarse.shape[2:]) == size:
        return coarse
    mode = "trilinear" if len(size) == 3 else "bilinear"
    return functional.interpolate(coarse, size=size, mode=mode, align_corners=False)


def _matching(logits: Tensor, inference: Inference) -> Tensor:
    """Return logits from the caller as plain numbers on the image's device."""
    several = len(inference.plan) > 1
    if logits.ndim < 2 or logits.shape[0] != 1 or (several and tuple(logits.shape[2:]) != inference.plan.shape):
        raise ExplainError(
            f"Logits must be those of the image, (1, K) or (1, K, {', '.join(map(str, inference.plan.shape))}); "
            f"found {tuple(logits.shape)}."
        )
    return logits.detach().as_subclass(Tensor).to(inference.image.device)


def _findings(logits: Tensor, weights: Tensor, values: Tensor) -> list[str]:
    """Refuse maps that are not finite, and say what is special about the others."""
    if not bool(torch.isfinite(values).all()):
        raise ExplainError("The map holds values that are not finite; the network overflows on this image.")
    notes = []
    classes = logits.shape[1]
    if classes > 1 and bool((logits >= 0).all()) and bool(((logits.sum(dim=1) - 1).abs() < PROBABILITY_SLACK).all()):
        notes.append(PROBABILITIES_NOTE)
    if not bool(weights.any()):
        notes.append("All gradients are zero: the target does not change with this layer. Choose another layer.")
    elif not bool((values > 0).any()):
        notes.append("The map holds no positive evidence for the target.")
    return notes


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().float().cpu().numpy()
    return array
