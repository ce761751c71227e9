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

import torch
from torch import Tensor
from torch.nn import functional

from lesionlens.errors import ExplainError
from lesionlens.explain.capture import Cut, cut_at
from lesionlens.explain.explanation import Explanation, Request, evidence_notes, finite, output_notes, plain
from lesionlens.explain.inference import Inference
from lesionlens.explain.targets import gradient_at
from lesionlens.progress import Progress

__all__ = ["METHODS", "Weighting", "interpolated", "run"]

# Activations kept for the second pass instead of being computed twice. Far below what a network needs to run on one
# 128³ window, and enough for all windows of a head at the bottleneck of a U-Net.
KEEP_BYTES = 256 * 2**20

Weighting = Callable[[Tensor, Tensor], Tensor]


def _gradcam(activation: Tensor, gradient: Tensor) -> Tensor:  # noqa: ARG001  every weighting takes both
    return gradient.flatten(2).mean(dim=2)


# Name -> weights (1, channels) from the activation and the gradient (1, channels, *cells) of one window, float32. A
# window without gradient must give zeros: its weights are not asked for, and count as zeros in the mean over windows.
METHODS: dict[str, Weighting] = {"gradcam": _gradcam}


def run(request: Request) -> Explanation:
    """Make a class activation map.

    Raises
    ------
    ExplainError
        If the layer does not suit, or values are not finite.
    """
    inference, target = request.inference, request.target
    (layer,) = request.layers
    with cut_at(inference.network, layer) as cut:
        sweep = _Sweep(inference, cut, request.progress)
        logits = sweep.logits() if request.logits is None else request.given_logits()
        score, seed = gradient_at(target, logits)
        weights = sweep.weights(METHODS[request.method], seed)
        values, coarse = sweep.blended(weights)
    return Explanation(
        values=plain(finite(values)[0, 0]),
        stride=tuple(n / cells for n, cells in zip(inference.plan.size, coarse.shape[2:], strict=True)),
        method=request.method,
        target=target.describe(logits),
        score=score,
        layer=layer,
        coarse=plain(coarse[0, 0]) if inference.plan.is_whole else None,
        weights=plain(weights[0]),
        notes=(*output_notes(logits), *_findings(weights, values)),
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
            return interpolated(coarse, self.plan.size)

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


def interpolated(coarse: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bring a map (1, 1, *cells) to voxels (1, 1, *size): cells are boxes of voxels with their value at the centre."""
    if tuple(coarse.shape[2:]) == size:
        return coarse
    mode = "trilinear" if len(size) == 3 else "bilinear"
    return functional.interpolate(coarse, size=size, mode=mode, align_corners=False)


def _findings(weights: Tensor, values: Tensor) -> list[str]:
    """Say what is special about a map."""
    if not bool(weights.any()):
        return ["All gradients are zero: the target does not change with this layer. Choose another layer."]
    return evidence_notes(values)
