r"""Class activation maps whose channel weights come from forward passes, or from the features alone.

As in :mod:`lesionlens.explain.cam`, ``map = sum_k W_k A_k`` with the channels ``A_k`` of a layer; all windows together
are the layer's output for the image, the weights are the same in all windows, and the maps are blended like the logits.
``T`` is the target of the blended logits, with its region and its competing classes held fixed.

Ablation-CAM [1]_
    ``W_k = T - T(A_k = 0)``, the channel taken away in all windows at once. The paper divides by ``T``, the same for
    all channels, which for a target below zero would turn the map upside down.
Score-CAM [2]_
    ``W_k = T(X * H_k) - T(0)`` with the image ``X`` and ``H_k`` the channel, brought to the voxels and scaled to [0, 1]
    over the whole image: the paper's definition of the increase of confidence. A channel that is the same everywhere
    has weight 0. With ``softmax`` the weights go through a softmax over the channels, as in the paper's algorithm;
    then none is against the class.
EigenCAM [3]_
    ``W`` is the first right singular vector of the cells (all cells of all windows, channels), not centred. Its sign is
    arbitrary; here it is that with which the target rises, ``sum_k W_k mean_i dT/dA_ki > 0``, and a vector that does
    not change the target is refused. Otherwise it knows nothing of classes.
CAM [4]_
    ``W_k = Z dT/dA_k``, the weights of the class, for networks that average the layer over its ``Z`` cells and are
    linear after it. Whether one is, is tried: the gradient must be the same in all cells and for other features. The
    bias is left out, so the map's mean is the logit without it.

Channels are tried in batches that keep within ``budget_mib``; at least one at a time. Where what follows the layer
takes a batch of its own, what comes before runs once for all channels of a batch. Windows that the target does not
reach are left out.

.. [1] Desai and Ramaswamy, Ablation-CAM: Visual Explanations for Deep Convolutional Network via Gradient-free
   Localization, WACV 2020. What differs: no ReLU at the end, no division.
.. [2] Wang et al., Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks, CVPR Workshops
   2020, https://arxiv.org/abs/1910.01279. What differs: no ReLU at the end; the softmax is an option.
.. [3] Muhammad and Yeasin, Eigen-CAM: Class Activation Map using Principal Components, IJCNN 2020,
   https://arxiv.org/abs/2008.00299. What differs: the sign.
.. [4] Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016,
   https://arxiv.org/abs/1512.04150.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from lesionlens.errors import ExplainError
from lesionlens.explain.budget import AliveBytes, batches, peak_bytes
from lesionlens.explain.calling import NetworkError
from lesionlens.explain.capture import cut_at
from lesionlens.explain.explanation import Explanation, Request, evidence_notes, finite, output_notes, plain
from lesionlens.explain.fusion import over_layers
from lesionlens.explain.perturbed import reached_windows
from lesionlens.explain.sweep import Sweep
from lesionlens.explain.targets import Target, gradient_at, settled
from lesionlens.explain.tracing import activation_behind

__all__ = ["METHODS", "Rule", "Task", "run", "run_many"]

# Gradients of one channel that differ by less than this share of the largest are the same: rounding of single
# precision over the sum of some thousand cells.
SAME_GRADIENT = 1e-4

# A first component whose gradient is a smaller share of what its length allows does not change the target: rounding.
LEAST_SLOPE = 1e-6


@dataclass
class Task:
    """What a rule makes channel weights from.

    Parameters
    ----------
    request
        What was asked for.
    layer
        Name of the layer, for messages.
    sweep
        The passes over the windows.
    targets
        The targets, settled.
    logits
        The blended logits.
    notes
        What a rule has to say: one sentence each.
    """

    request: Request
    layer: str
    sweep: Sweep
    targets: list[Target]
    logits: Tensor
    notes: list[str] = field(default_factory=list)

    @cached_property
    def touched(self) -> set[int]:
        """The windows that may change a target."""
        return reached_windows(self.sweep.plan, self.targets)

    def scores(self, logits: Tensor) -> Tensor:
        """Return the targets' values (T, N) of a batch of blended logits."""
        with torch.no_grad():
            return torch.stack([torch.stack([t(one[None]).reshape(()) for one in logits]) for t in self.targets])

    def tried(self, each: int, logits_of: Callable[[range], Tensor]) -> Tensor:
        """Return the targets' values (T, channels) with each channel tried, batch by batch.

        Parameters
        ----------
        each
            Bytes that one channel takes.
        logits_of
            Gives the blended logits (N, K, ...) for a batch of channels.
        """
        channels, found = self.sweep.channels, []
        for batch in batches(channels, each=each, budget=self.request.budget_bytes):
            self.request.progress("Trying channels", batch.start, channels)
            found.append(self.scores(logits_of(batch)))
        self.request.progress("Trying channels", channels, channels)
        return torch.cat(found, dim=1)

    def blended(self, count: int, of_window: Callable[[int], Tensor]) -> Tensor:
        """Blend logits (N, K, ...) of the windows that matter; the others count as 0."""
        shape = (count, self.logits.shape[1], *self.sweep.plan.size)

        def outputs() -> Iterator[Tensor]:
            nothing = torch.zeros((), device=self.logits.device).expand(shape)
            for index in range(len(self.sweep.plan)):
                yield of_window(index) if index in self.touched else nothing

        return self.sweep.plan.blend(outputs())

    @property
    def bytes_of_logits(self) -> int:
        """Bytes that the blended logits of one channel take while they are added up."""
        return 4 * 2 * self.logits[0].numel()


Rule = Callable[[Task], Tensor]


def _ablationcam(task: Task) -> Tensor:
    own_batch, each = _what_follows(task)

    def logits_of(channels: range) -> Tensor:
        def without(features: Tensor) -> Tensor:
            copies = features.expand(len(channels), *features.shape[1:]).clone()
            copies[list(range(len(channels))), list(channels)] = 0
            return copies

        def window(index: int) -> Tensor:
            view = task.sweep.view(index)
            views = view if own_batch else view.expand(len(channels), *view.shape[1:]).clone()
            return task.sweep.cut.forward(views, gradients=False, change=without)[0]

        return task.blended(len(channels), window)

    return task.scores(task.logits) - task.tried(each + task.bytes_of_logits, logits_of)


# What a network raises when what follows a layer is given another batch than what comes before: skip connections that
# do not fit, shapes taken from the image. Anything else is no matter of the batch, and is not passed over.
_NO_FIT = (RuntimeError, ValueError, IndexError, AssertionError)


def _what_follows(task: Task) -> tuple[bool, int]:
    """Whether what follows the layer takes a batch of its own, and the bytes that one more in the batch takes."""
    view, before = task.sweep.view(0), 0

    def twice(features: Tensor) -> Tensor:
        nonlocal before
        alive.highest = before = alive.now
        return features.expand(2, *features.shape[1:]).clone()

    with AliveBytes() as alive:
        expected, _ = task.sweep.cut.forward(view.clone(), gradients=False)
    whole = alive.highest
    try:
        with AliveBytes() as alive:
            found, _ = task.sweep.cut.forward(view.clone(), gradients=False, change=twice)
    except NetworkError as error:
        if not isinstance(error.__cause__, _NO_FIT):
            raise
        return _whole_network(task, f"{type(error.__cause__).__name__} with a batch of its own", whole)
    # Beyond rounding, another result means that the network mixed the two up.
    if found.shape[0] == 2 and torch.allclose(found, expected.expand_as(found), rtol=1e-3, atol=1e-5):
        return True, (alive.highest - before) // 2
    return _whole_network(task, "another result with a batch of its own", whole)


def _whole_network(task: Task, reason: str, each: int) -> tuple[bool, int]:
    """Note that all of the network runs for each channel, which takes longer and changes no value."""
    task.notes.append(
        f"The whole network ran for each channel, not its end alone: behind {task.layer!r} it gives {reason}."
    )
    return False, each


def _scorecam(task: Task) -> Tensor:
    image, plan = task.sweep.inference.image, task.sweep.plan

    def logits_of_images(images: Tensor) -> Tensor:
        padded = plan.pad(images)
        return task.blended(
            len(images), lambda index: task.sweep.cut.forward(plan.view(padded, index), gradients=False)[0]
        )

    def logits_of(channels: range) -> Tensor:
        chosen = slice(channels.start, channels.stop)
        maps = plan.blend(
            task.sweep.to_voxels(task.sweep.activation(index)[:, chosen].float()) for index in range(len(plan))
        )
        axes = tuple(range(2, maps.ndim))
        low, high = maps.amin(dim=axes, keepdim=True), maps.amax(dim=axes, keepdim=True)
        masks = torch.where(high > low, (maps - low) / (high - low), 0)
        return logits_of_images(image * masks.transpose(0, 1).to(image))

    network = peak_bytes(lambda view: task.sweep.cut.forward(view, gradients=False), task.sweep.view(0))
    masked = 4 * 5 * image[0].numel()  # the channel, its mask twice, the masked image, and that padded
    tried = task.tried(network + masked + task.bytes_of_logits, logits_of)
    increase = tried - task.scores(logits_of_images(torch.zeros_like(image)))
    return increase.softmax(dim=1) if task.request.options["softmax"] else increase


def _eigencam(task: Task) -> Tensor:
    gram = torch.zeros((), dtype=torch.float64)
    for activation in task.sweep.activations():
        cells = activation[0].flatten(1).double()
        gram = gram + (cells @ cells.T).cpu()
    first = torch.linalg.eigh(gram).eigenvectors[:, -1]
    gradients = _summed_gradients(task).double().cpu()
    slopes = gradients @ first
    if bool((slopes.abs() <= LEAST_SLOPE * gradients.norm(dim=1)).any()):
        raise ExplainError(
            f"The strongest pattern of layer {task.layer!r} does not change the target, so EigenCAM's map has no sign;"
            " choose another layer or another method."
        )
    turned: Tensor = slopes.sign()[:, None] * first
    return turned.to(task.logits)


def _summed_gradients(task: Task) -> Tensor:
    """Return the sum of the targets' gradients over all cells, (T, channels)."""
    total = torch.zeros((len(task.targets), task.sweep.channels), device=task.logits.device)
    for number, target in enumerate(task.targets):
        _, seed = gradient_at(target, task.logits)
        for _, _, _, gradient in task.sweep.gradients([seed]):
            total[number] += gradient.flatten(2).sum(dim=2)[0]
    return total


def _cam(task: Task) -> Tensor:
    if len(task.sweep.plan) > 1:
        raise _no_cam(task)
    rows = []
    for target in task.targets:
        _, seed = gradient_at(target, task.logits)
        gradient, elsewhere = (_end_gradient(task, seed, change) for change in (None, _other_features))
        largest = gradient.abs().max()
        spread = (gradient.amax(dim=1) - gradient.amin(dim=1)).max()
        if max(spread, (gradient - elsewhere / _OTHER_SLOPE).abs().max()) > SAME_GRADIENT * largest:
            raise _no_cam(task)
        rows.append(gradient.sum(dim=1))
    return torch.stack(rows)


# Features that a ReLU or a largest value treats otherwise than those that are there, and the slope with which they
# follow these.
_OTHER_SLOPE = -2.0


def _other_features(features: Tensor) -> Tensor:
    return 1 + _OTHER_SLOPE * features


def _end_gradient(task: Task, seed: Tensor, change: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Return the gradient (channels, cells) of the logits, weighted with the seed, with respect to the layer."""
    logits, activation = task.sweep.cut.forward(task.sweep.view(0), change=change)
    if logits.shape != seed.shape:
        raise _no_cam(task)
    gradient = task.sweep.cut.gradient(logits, activation, seed.to(logits), keep=False)
    return gradient[0].flatten(1).float()


def _no_cam(task: Task) -> ExplainError:
    image = task.sweep.inference.image
    function = activation_behind(task.sweep.inference.network, task.layer, (1, image.shape[1], *task.sweep.plan.size))
    if function is not None:
        return ExplainError(
            f"CAM needs a network that averages layer {task.layer!r} over space and then decides linearly; in this one"
            f" an activation that is not a module ({function}) follows the layer, so there is none to choose before the"
            " pooling. Write the activation as a module, or choose another method, such as gradcam or hirescam."
        )
    return ExplainError(
        f"CAM needs a network that averages layer {task.layer!r} over space and then decides linearly; what follows"
        f" {task.layer!r} in this one does something else. Choose the layer before the pooling, or Grad-CAM, which"
        " equals CAM there up to a factor."
    )


# Name -> weights (T, channels) of the targets.
METHODS: dict[str, Rule] = {
    "ablationcam": _ablationcam,
    "cam": _cam,
    "eigencam": _eigencam,
    "scorecam": _scorecam,
}

# The others run under a network's own no_grad as well.
NEED_GRADIENTS = {"cam", "eigencam"}


def run(request: Request) -> Explanation:
    """Make a class activation map; see :func:`run_many`."""
    return run_many(request, [request.target])[0]


def run_many(request: Request, targets: Sequence[Target]) -> list[Explanation]:
    """Make class activation maps of several targets, from the same passes.

    Raises
    ------
    ExplainError
        If the layer or the network does not suit, or values are not finite.
    """
    return over_layers(request, targets, _of_layer)


def _of_layer(request: Request, targets: Sequence[Target], layer: str) -> list[Explanation]:
    with cut_at(request.inference.network, layer) as cut:
        sweep = Sweep(request.inference, cut, request.progress, graph=request.method in NEED_GRADIENTS)
        logits = sweep.logits() if request.logits is None else request.given_logits()
        scores = [gradient_at(target, logits)[0] for target in targets]
        task = Task(request, layer, sweep, [settled(target, logits) for target in targets], logits)
        weights = METHODS[request.method](task)
        values, coarse = sweep.blended(weights)
    said = (*output_notes(logits), *sweep.notes, *task.notes, *sweep.below_zero())
    found = Explanation(
        values=plain(finite(values)[0, 0]),
        stride=sweep.cells.stride,
        border=sweep.cells.border,
        method=request.method,
        layer=layer,
    )
    return [
        replace(
            found,
            values=plain(values[0, number]),
            target=target.describe(logits),
            score=score,
            coarse=plain(coarse[0, number]) if sweep.plan.is_whole else None,
            weights=plain(weights[number]),
            notes=(*said, *_findings(weights[number], values[0, number])),
        )
        for number, (target, score) in enumerate(zip(targets, scores, strict=True))
    ]


def _findings(weights: Tensor, values: Tensor) -> list[str]:
    """Say what is special about a map."""
    if not bool(weights.any()):
        return ["The target does not change with this layer. Choose another layer."]
    return evidence_notes(values)
