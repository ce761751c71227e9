r"""Class activation maps that weight a layer's channels, or its cells, by gradients.

Let ``A_k`` be the channels of a layer's output, ``T`` the target, a scalar of the network's logits, and
``g_k = dT / dA_k``. A CAM is

    map = sum_k W_k A_k

with weights ``W``, one for each channel or one for each cell ``i`` of each channel:

===========  ====================================================================  ===================================
Grad-CAM     ``W_k = (1 / Z) sum_i g_ki``                                          Selvaraju et al. [1]_
Grad-CAM++   ``W_k = sum_i a_ki relu(g_ki)``,                                      Chattopadhay et al. [2]_
             ``a_ki = g_ki^2 / (2 g_ki^2 + S_k g_ki^3)``, ``S_k = sum_j A_kj``
XGrad-CAM    ``W_k = sum_i A_ki g_ki / S_k``                                       Fu et al. [3]_
HiResCAM     ``W_ki = g_ki``                                                       Draelos and Carin [4]_
LayerCAM     ``W_ki = relu(g_ki)``                                                 Jiang et al. [5]_
===========  ====================================================================  ===================================

Values stay raw and signed: no ReLU at the end, no scaling; to show only the positive part is a choice of the display.
Grad-CAM++ leaves out the factor ``exp(T)`` that the paper's target has, the same for all channels, and divides
numerator and denominator by ``g^2``, which small gradients would lose in single precision: ``a = 1 / (2 + S g)``. Where
``g`` or, for XGrad-CAM, ``S`` is 0 but for rounding, so is the weight.

Through windows
---------------
The logits of the image are a weighted mean of those of its windows (see :mod:`lesionlens.explain.windows`), so the
chain rule splits by windows: with ``s = dT / dz`` at the blended logits,

    dT / dA_k of window w = sum_v s(v) g_w(v) / G(v) dz_w(v) / dA_k

which needs one window at a time, and is exactly zero for windows that do not touch the target's region. All windows
together are the layer's output for the image, and every formula above is applied to that: ``i`` and ``j`` run over all
cells of all windows, ``Z`` counts them, those without gradient included, and ``g`` is always the gradient of the target
of the assembled output. So gradients are never those of a window's own output, and what is not linear in them
(Grad-CAM++, LayerCAM) needs no other rule.

* Weights for each channel (Grad-CAM, Grad-CAM++, XGrad-CAM) are the same in all windows, so that windows can be
  compared; the maps are brought to the voxels of their windows by linear interpolation (cells are boxes of ``stride``
  voxels with their value at the centre) and blended like the logits.
* Weights for each cell (HiResCAM, LayerCAM) hold the window's share ``g_w / G`` already, so the maps of the windows are
  brought to voxels and added. HiResCAM's cells of all windows sum to ``sum g A``, which is the target of the assembled
  output exactly (up to a constant) where the network is linear behind the layer.

With one window all of them are the published methods.

.. [1] Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, ICCV 2017,
   https://arxiv.org/abs/1610.02391. What differs: no ReLU at the end.
.. [2] Grad-CAM++: Generalized Gradient-based Visual Explanations for Deep Convolutional Networks, WACV 2018,
   https://arxiv.org/abs/1710.11063. What differs: no ReLU at the end, no ``exp(T)``.
.. [3] Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation of CNNs, BMVC 2020,
   https://arxiv.org/abs/2008.02312. What differs: no ReLU at the end.
.. [4] Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks, 2020,
   https://arxiv.org/abs/2011.08891. What differs: no ReLU at the end.
.. [5] LayerCAM: Exploring Hierarchical Class Activation Maps for Localization, IEEE TIP 2021. What differs: no ReLU at
   the end (the gradients have theirs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lesionlens.errors import ExplainError
from lesionlens.explain.capture import cut_at
from lesionlens.explain.explanation import Explanation, Request, evidence_notes, finite, output_notes, plain
from lesionlens.explain.fusion import over_layers
from lesionlens.explain.sweep import Sweep
from lesionlens.explain.targets import Target, gradient_at, settled
from lesionlens.methods import BELOW_ZERO_NOTE

__all__ = ["METHODS", "Weighting", "Whole", "run", "run_many"]

# Gradients of several targets with respect to the logits are held together up to this size; then comes another sweep.
SEED_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Whole:
    """The layer's output for the image: the cells of all windows together.

    Parameters
    ----------
    cells
        Number of cells of all windows.
    sums
        (1, channels): the sum of each channel over all cells; 0 for methods that are not in ``READ_SUMS``.
    """

    cells: int
    sums: Tensor


Weighting = Callable[[Tensor, Tensor, Whole], Tensor]


def _gradcam(activation: Tensor, gradient: Tensor, whole: Whole) -> Tensor:  # noqa: ARG001  every weighting takes all
    return gradient.flatten(2).sum(dim=2) / whole.cells


def _gradcampp(activation: Tensor, gradient: Tensor, whole: Whole) -> Tensor:  # noqa: ARG001  every weighting takes all
    gradient = gradient.flatten(2)
    weights = gradient.relu() / (2 + whole.sums[..., None] * gradient)
    return torch.where(gradient > 0, weights, 0).sum(dim=2)


def _xgradcam(activation: Tensor, gradient: Tensor, whole: Whole) -> Tensor:
    weights = (activation * gradient).flatten(2).sum(dim=2) / whole.sums
    return torch.where(whole.sums == 0, 0, weights)  # a channel that is dead everywhere adds nothing to the map


def _hirescam(activation: Tensor, gradient: Tensor, whole: Whole) -> Tensor:  # noqa: ARG001  every weighting takes all
    return gradient


def _layercam(activation: Tensor, gradient: Tensor, whole: Whole) -> Tensor:  # noqa: ARG001  every weighting takes all
    return gradient.relu()


# Name -> weights from the activation and the gradient (1, channels, *cells) of one window, float32, and what there is
# to know about all windows. Weights (1, channels) are summed over the windows; weights (1, channels, *cells) hold for
# the window. A window without gradient must give zeros: its weights are not asked for.
METHODS: dict[str, Weighting] = {
    "gradcam": _gradcam,
    "gradcampp": _gradcampp,
    "hirescam": _hirescam,
    "layercam": _layercam,
    "xgradcam": _xgradcam,
}
# Of these the weight of a channel is a sum that may cancel: of its gradients, or of their products with its values.
# In front of a norm over the image both are 0, as neither a constant nor a factor passes it.
CANCELLING: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradcam": lambda _, gradient: gradient.flatten(2),
    "xgradcam": lambda activation, gradient: (activation * gradient).flatten(2),
}

# Sums of float32 gradients that are 0 come out at 1e-8 to 1e-6 of the sum of their magnitudes, before a group
# norm more: 1e-4 of 30,000 cells, 5e-4 of 260,000. Those of a network that really hears the mean of a channel are above
# 1e-4, also where a million cells cancel by chance. Between the two nobody can tell without more digits.
CANCELLED, DOUBTFUL = 1e-5, 1e-3

# These are told the sums, which take a pass over the layer.
READ_SUMS = {"gradcampp", "xgradcam"}
DIVIDE_BY_SUMS = {"xgradcam"}


def run(request: Request) -> Explanation:
    """Make a class activation map; see :func:`run_many`."""
    return run_many(request, [request.target])[0]


def run_many(request: Request, targets: Sequence[Target]) -> list[Explanation]:
    """Make class activation maps of several targets, from one forward pass through each window.

    Raises
    ------
    ExplainError
        If the layer does not suit, or values are not finite.
    """
    return over_layers(request, targets, _of_layer)


def _of_layer(request: Request, targets: Sequence[Target], layer: str) -> list[Explanation]:
    found: list[Explanation] = []
    with cut_at(request.inference.network, layer) as cut:
        sweep = Sweep(request.inference, cut, request.progress)
        logits = sweep.logits() if request.logits is None else request.given_logits()
        for group in _groups(targets, logits):
            found += _of_targets(request, [settled(target, logits) for target in group], sweep, logits)
    below = sweep.below_zero()  # behind the cut: the network is traced as it is
    return [replace(one, layer=layer, notes=(*one.notes, *below)) for one in found]


def _groups(targets: Sequence[Target], logits: Tensor) -> Iterator[Sequence[Target]]:
    size = max(1, SEED_BYTES // (4 * logits.numel()))
    return (targets[start : start + size] for start in range(0, len(targets), size))


def _of_targets(request: Request, targets: Sequence[Target], sweep: Sweep, logits: Tensor) -> list[Explanation]:
    asked = [gradient_at(target, logits) for target in targets]
    field, weighting = _Field(sweep, len(targets)), METHODS[request.method]
    # Before the gradients, not between them: a checkpointed layer is run again while they are computed.
    sums, divided = _sums(sweep, request.method) if request.method in READ_SUMS else (torch.zeros(()), [])
    for number, index, activation, gradient in sweep.gradients([seed for _, seed in asked]):
        whole = Whole(gradient.shape[2:].numel() * len(sweep.plan), sums)
        if request.method in CANCELLING:
            parts = CANCELLING[request.method](activation, gradient)
            field.count(number, sums=parts.sum(dim=2), sizes=parts.abs().sum(dim=2))
        field.add(number, index, activation, weighting(activation, gradient, whole))
    values, coarse = (finite(maps) for maps in field.maps())
    noted = (*output_notes(logits), *sweep.notes)
    below = [BELOW_ZERO_NOTE] * (request.method in READ_SUMS and sweep.lowest < 0) + divided
    return [
        Explanation(
            values=plain(values[0, number]),
            stride=sweep.cells.stride,
            border=sweep.cells.border,
            method=request.method,
            target=target.describe(logits),
            score=score,
            coarse=plain(coarse[0, number]) if sweep.plan.is_whole else None,
            weights=plain(field.weights[number]) if field.weights is not None else None,
            notes=(
                *noted,
                *below,
                *field.cancelled(number),
                *field.findings(number, values[0, number]),
            ),
        )
        for number, (target, (score, _)) in enumerate(zip(targets, asked, strict=True))
    ]


def _sums(sweep: Sweep, method: str) -> tuple[Tensor, list[str]]:
    """Return the sums of the channels, 0 where rounding alone is left of them, and a note about that.

    Raises
    ------
    ExplainError
        If a method divides by the sums, and nothing else is left of any.
    """
    sums, sizes = sweep.sums()
    nothing = sums.abs() <= CANCELLED * sizes
    cancelled = nothing & (sizes > 0)
    if method not in DIVIDE_BY_SUMS:
        return torch.where(nothing, 0, sums), []
    if bool(nothing.all()) and bool(cancelled.any()):
        raise ExplainError(
            f"XGrad-CAM divides by the sum of each channel, and those of layer {sweep.cut.layer!r} are nothing but"
            " rounding, as they are behind a norm over the image; choose the activation behind the norm, or Grad-CAM"
            " or HiResCAM."
        )
    return torch.where(nothing, 0, sums), _said_of_sums(sums, sizes, cancelled)


def _said_of_sums(sums: Tensor, sizes: Tensor, cancelled: Tensor) -> list[str]:
    """Say of how many channels the values cancel, or nearly do."""
    nearly = (sums.abs() <= DOUBTFUL * sizes) & ~cancelled & (sizes > 0)
    of = f"of {sums.numel()} channels the values"
    words = (
        (cancelled, f"{of} cancel; XGrad-CAM has no weight for these."),
        (nearly, f"{of} nearly cancel; XGrad-CAM divides by what is left, and their weights may be far too large."),
    )
    return [f"In {int(which.sum())} {text}" for which, text in words if bool(which.any())]


class _Field:
    """Weights of the targets as they come in, window by window: for the channels, or as maps of the window's cells."""

    def __init__(self, sweep: Sweep, targets: int) -> None:
        self._sweep = sweep
        self._targets = targets
        self._added: Tensor | None = None  # (1, T, *padded)
        self._coarse: Tensor | None = None  # (1, T, *cells) of the last window
        self.weights: Tensor | None = None  # (T, channels)
        self.found: set[int] = set()  # targets with a weight that is not zero
        # Of each target the sums over the cells that the weights are made of, and of their magnitudes, (1, channels).
        self._sums: dict[int, tuple[Tensor, Tensor]] = {}

    def count(self, number: int, *, sums: Tensor, sizes: Tensor) -> None:
        """Take what the weights of one target are sums of in one window."""
        known = self._sums.get(number)
        self._sums[number] = (sums, sizes) if known is None else (known[0] + sums, known[1] + sizes)

    def add(self, number: int, index: int, activation: Tensor, weights: Tensor) -> None:
        """Take the weights of one target in one window."""
        if bool(weights.any()):
            self.found.add(number)
        if weights.ndim == 2:
            if self.weights is None:
                self.weights = weights.new_zeros((self._targets, weights.shape[1]))
            self.weights[number] += weights[0]
            return
        plan = self._sweep.plan
        if self._added is None or self._coarse is None:
            self._added = weights.new_zeros((1, self._targets, *plan.padded_shape))
            self._coarse = weights.new_zeros((1, self._targets, *weights.shape[2:]))
        self._coarse[:, number] = (weights * activation).sum(dim=1)
        fine = self._sweep.to_voxels(self._coarse[:, number : number + 1])
        self._added[plan.places[index]][:, number] += fine[:, 0]

    def maps(self) -> tuple[Tensor, Tensor]:
        """Return the maps (1, T, *spatial), and those of the last window before interpolation (1, T, *cells)."""
        if self._added is not None and self._coarse is not None:
            return self._sweep.plan.crop(self._added), self._coarse
        if self.weights is None:  # no window has a gradient
            activation = self._sweep.activation(0)
            return self._sweep.blended(activation.new_zeros((self._targets, activation.shape[1])).float())
        return self._sweep.blended(self.weights)

    def cancelled(self, number: int) -> list[str]:
        """Say where the weights of a target are what rounding left of gradients that cancel."""
        if number not in self._sums or not bool(self._sums[number][1].any()):
            return []
        sums, sizes = self._sums[number]
        left = float(sums.abs().max() / sizes.max())
        if not 0 < left < DOUBTFUL:
            return []
        if left < CANCELLED:
            return [
                "The gradients of every channel cancel, as they do in front of a norm over the image: the weights are"
                " rounding errors, and the map means nothing. Choose the layer behind the norm, or HiResCAM."
            ]
        return [
            f"The gradients of every channel cancel but for {left:.0e} of their size, as they do in front of a norm"
            " over the image: the weights may be rounding errors, and the map may mean nothing. Compare it with that of"
            " the layer behind the norm, or with HiResCAM."
        ]

    def findings(self, number: int, values: Tensor) -> list[str]:
        """Say what is special about the map of a target."""
        if number not in self.found:
            return ["All gradients are zero: the target does not change with this layer. Choose another layer."]
        return evidence_notes(values)
