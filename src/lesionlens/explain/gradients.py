r"""Attributions from the gradient of the target with respect to the image.

With ``T`` the target and ``x`` the image:

saliency [1]_              dT / dx
SmoothGrad [2]_            mean over samples of dT / dx at x + noise
input x gradient [3]_      x dT / dx
integrated gradients [4]_  (x - b) integral from 0 to 1 of dT / dx at b + a (x - b) da
guided backprop [5]_       dT / dx, with only gradients above 0 let through behind each ReLU

Values stay raw and signed; magnitudes are a choice of the display. Each channel of the image has a map of its own. For
input x gradient and integrated gradients the map is their sum, which keeps completeness: the sum over all voxels is the
rise of the target from the baseline. Plain gradients of different channels have different units and may cancel; of them
the one with the largest magnitude is taken, with its sign, whose magnitude is the map of [1]_.

Integrals are computed by Gauss-Legendre quadrature; how far completeness is missed is in the notes.

Through windows
---------------
With ``s = dT / dz`` at the blended logits and ``g_w / G`` the share of window ``w`` (see
:mod:`lesionlens.explain.windows`),

    dT / dx = sum_w (s g_w / G) dz_w / dx

one window at a time; memory does not grow with their number. What falls on padding goes back to the voxels that were
repeated there.

The region of the target is that of the image itself, also where the network sees it noisy or faded: a target that
follows what is predicted would be another one at every sample.

.. [1] Simonyan et al., Deep Inside Convolutional Networks, ICLR 2014 workshop, https://arxiv.org/abs/1312.6034
.. [2] Smilkov et al., SmoothGrad, 2017, https://arxiv.org/abs/1706.03825. What differs: noise is relative to the
   standard deviation of each channel, not to its range, which one bright voxel changes.
.. [3] Shrikumar et al., Not Just a Black Box, 2016, https://arxiv.org/abs/1605.01713
.. [4] Sundararajan et al., Axiomatic Attribution for Deep Networks, ICML 2017, https://arxiv.org/abs/1703.01365
.. [5] Springenberg et al., Striving for Simplicity, ICLR 2015 workshop, https://arxiv.org/abs/1412.6806. What differs:
   the rule also holds for leaky and parametric ReLU and ELU, which the notes name. Adebayo et al., Sanity Checks for
   Saliency Maps, NeurIPS 2018, https://arxiv.org/abs/1810.03292, show that its maps hardly depend on the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lesionlens.errors import ExplainError
from lesionlens.explain.activations import NAMES, UNGUIDED
from lesionlens.explain.capture import quiet
from lesionlens.explain.explanation import Explanation, Request, evidence_notes, finite, fitting, output_notes, plain
from lesionlens.explain.fills import BASELINES
from lesionlens.explain.final import reading_logits
from lesionlens.explain.frugal import FrugalConvolutions
from lesionlens.explain.perturbed import reached_windows
from lesionlens.explain.targets import gradient_at, settled

__all__ = ["METHODS", "run"]

# A map whose sum misses the rise of the target by more than this share of it needs more steps.
COMPLETENESS = 0.05


def run(request: Request) -> Explanation:
    """Make a map from gradients with respect to the image.

    Raises
    ------
    ExplainError
        If an option is wrong, the network cannot be differentiated, or values are not finite.
    """
    network = request.inference.network
    with quiet(network), reading_logits(network) as forward:
        subject = _Subject(request, forward)
        channels, notes = METHODS[request.method](subject)
        logits = subject.logits
    finite(channels)
    if not bool(channels.any()):
        notes = [*notes, "All gradients are zero: the target does not change with the image."]
    values = channels.sum(dim=1) if request.method in _SUMMED else _largest(channels)
    return Explanation(
        values=plain(values[0]),
        stride=(1.0,) * len(request.inference.plan.shape),
        method=request.method,
        target=request.target.describe(logits),
        score=subject.score,
        channels=plain(channels[0]),
        notes=(*output_notes(logits), *notes, *evidence_notes(values)),
    )


def _largest(channels: Tensor) -> Tensor:
    """Return of (1, C, *spatial) the value of largest magnitude at each voxel, with its sign."""
    return channels.gather(1, channels.abs().argmax(dim=1, keepdim=True))[:, 0]


class _Subject:
    """The target as a function of the image; its region is settled by the image itself."""

    def __init__(self, request: Request, forward: Callable[[Tensor], Tensor]) -> None:
        self.request = request
        self.plan = request.inference.plan
        self.image = request.inference.image
        self._forward = forward
        self._known: tuple[float, Tensor] | None = None  # score and logits of the image itself
        self._target = request.target
        self._gradients = 1  # for progress: how many there will be, and how many there were
        self._done = 0
        self.dtype = torch.float32  # of what the network gives
        self.watched_by: TorchFunctionMode | None = None  # while the network runs, and at no other time

    @property
    def score(self) -> float:
        """The target's value for the image."""
        return self._settled()[0]

    @property
    def logits(self) -> Tensor:
        """The blended logits of the image."""
        return self._settled()[1]

    def expect(self, gradients: int) -> None:
        """Say how many gradients, of changed images, will be asked for."""
        self._gradients = gradients

    def score_of(self, image: Tensor) -> float:
        """Return the target's value for another image."""
        self._settled()
        with torch.no_grad():
            return float(self._target(self._blended(image)))

    def gradient(self, image: Tensor | None = None) -> Tensor:
        """Return dT/dx (1, C, *spatial) float32 at an image; at the image itself by default.

        Raises
        ------
        ExplainError
            If the network cannot be differentiated.
        """
        padded = self.plan.pad(self.image if image is None else image)
        passes = 0  # of windows through the network, before those with gradients
        if len(self.plan) > 1:
            self._settled()  # before other images: it says which windows matter
            passes = 0 if image is None else len(self._reached())
        per_gradient = passes + len(self._reached())

        def step(passes: int) -> None:
            done = self._done * per_gradient + passes
            self.request.progress("Explaining", done, self._gradients * per_gradient)

        step(0)
        alone = self._connected(padded, 0) if len(self.plan) == 1 else None  # one pass serves for everything
        seed = self._seed(image, alone, step)
        total = torch.zeros_like(padded, dtype=torch.float32)
        for number, (index, part) in enumerate(self.plan.split(seed)):
            step(passes + number)
            total[self.plan.places[index]] += _differentiated(*(alone or self._connected(padded, index)), part)
        self._done += 1
        step(0)
        return self._unpadded(total)

    def _seed(self, image: Tensor | None, alone: tuple[Tensor, Tensor] | None, step: Callable[[int], None]) -> Tensor:
        """Return the gradient of the target with respect to the blended logits."""
        if alone is not None:
            logits = self.plan.blend([alone[0].detach()])
            if image is None:
                self._settle(logits)
        else:
            logits = self.logits if image is None else self._blended(image, step)
        self._settled()
        return gradient_at(self._target, logits)[1]

    def _settled(self) -> tuple[float, Tensor]:
        return self._known or self._settle(self.request.known_logits())

    def _settle(self, logits: Tensor) -> tuple[float, Tensor]:
        if self._known is None:
            self._target = settled(self.request.target, logits)
            self._known = gradient_at(self._target, logits)[0], logits
        return self._known

    def _reached(self) -> set[int]:
        return reached_windows(self.plan, [self._target])

    def _blended(self, image: Tensor, step: Callable[[int], None] = lambda _: None) -> Tensor:
        """Return the blended logits of another image; windows that the target does not look at count as 0."""
        padded = self.plan.pad(image)
        passes = {index: number for number, index in enumerate(sorted(self._reached()))}

        def output(index: int) -> Tensor:
            if index in passes:
                step(passes[index])
                return self._run(self.plan.view(padded, index))
            return torch.zeros((), device=image.device).expand(1, self.logits.shape[1], *self.plan.size)

        with torch.no_grad():
            return self.plan.blend(map(output, range(len(self.plan))))

    def _connected(self, padded: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """Return a window's logits and the view that they are connected to."""
        view = self.plan.view(padded, index).requires_grad_()
        return self._run(view.clone()), view  # a copy: the network may write into its input, a leaf not

    def _run(self, view: Tensor) -> Tensor:
        scripted = isinstance(self.request.inference.network, torch.jit.ScriptModule)
        watched = nullcontext() if self.watched_by is None else self.watched_by
        with nullcontext() if scripted else FrugalConvolutions(), watched:
            logits = self._forward(view)
        self.dtype = logits.dtype
        return logits

    def _unpadded(self, gradient: Tensor) -> Tensor:
        """Bring a gradient with respect to the padded image to the image: the transpose of padding."""
        if self.plan.padded_shape == self.plan.shape:
            return gradient
        leaf = torch.zeros_like(self.image, dtype=torch.float32, requires_grad=True)
        (found,) = torch.autograd.grad(self.plan.pad(leaf), leaf, gradient)
        return found


def _differentiated(logits: Tensor, view: Tensor, seed: Tensor) -> Tensor:
    """Return the gradient of ``sum(seed * logits)`` with respect to the view, float32."""
    seed, gradient = fitting(seed, logits), None
    if logits.requires_grad:
        try:
            (gradient,) = torch.autograd.grad(logits, view, seed, allow_unused=True)
        except RuntimeError as error:
            if "checkpoint" not in str(error).lower():
                raise
    if gradient is None:
        raise ExplainError(
            "The output does not depend on the image through gradients (the network switches gradients off, "
            "detaches it, rounds it, or uses reentrant checkpointing); choose a method without gradients, such as "
            "occlusion."
        )
    return gradient.float()


Method = Callable[[_Subject], tuple[Tensor, Sequence[str]]]


def _saliency(subject: _Subject) -> tuple[Tensor, Sequence[str]]:
    return subject.gradient(), ()


def _input_x_gradient(subject: _Subject) -> tuple[Tensor, Sequence[str]]:
    return subject.image.float() * subject.gradient(), ()


def _smoothgrad(subject: _Subject) -> tuple[Tensor, Sequence[str]]:
    request, image = subject.request, subject.image
    samples, noise = int(request.number("samples", least=1)), request.number("noise", least=0)
    generator = torch.Generator().manual_seed(int(request.number("seed", least=0)))
    flat = image.float().flatten(2)
    sd = noise * flat.std(dim=2, correction=0).view(1, -1, *[1] * len(subject.plan.shape))
    subject.expect(samples)
    total = torch.zeros_like(image, dtype=torch.float32)
    for _ in range(samples):
        drawn = torch.randn(image.shape, generator=generator).to(image.device)  # the same on every device
        total += subject.gradient((image.float() + sd * drawn).to(image.dtype))
    return total / samples, ()


def _integrated_gradients(subject: _Subject) -> tuple[Tensor, Sequence[str]]:
    request, image = subject.request, subject.image
    steps = int(request.number("steps", least=1))
    name = request.choice("baseline", BASELINES)
    baseline = BASELINES[name](image)
    away = (image - baseline).float()
    subject.expect(steps)
    total = torch.zeros_like(away)
    for place, weight in zip(*np.polynomial.legendre.leggauss(steps), strict=True):
        faded = baseline.float() + (place + 1) / 2 * away
        total += weight / 2 * subject.gradient(faded.to(image.dtype))
    attribution = away * total
    return attribution, _completeness(subject, baseline, name, float(attribution.double().sum()))


def _completeness(subject: _Subject, baseline: Tensor, name: str, found: float) -> list[str]:
    """Say how far the sum of a map is from the rise of the target."""
    rise = subject.score - subject.score_of(baseline)
    gap = found - rise
    share = f" ({100 * gap / rise:+.2g} %)" if rise else ""
    notes = [
        f"From the baseline ({name}) to the image the target rises by {rise:.6g}; the map sums to {found:.6g}, "
        f"which misses it by {gap:.3g}{share}."
    ]
    if abs(gap) > COMPLETENESS * abs(rise):
        notes.append(_advice(subject, rise))
    return notes


def _advice(subject: _Subject, rise: float) -> str:
    """Say what to do about a map that does not add up."""
    precision = torch.finfo(subject.dtype).eps
    if precision <= torch.finfo(torch.float32).eps:
        return "The map does not add up: take more steps, or another baseline."
    largest = float(subject.logits.abs().max())
    kind = str(subject.dtype).removeprefix("torch.")
    told = (
        f"The map does not add up: the network computes in {kind}, which tells values near {largest:.3g} apart by"
        f" {precision * largest:.2g} at best; run it in float32."
    )
    near = precision * largest > COMPLETENESS * abs(rise)
    return told if near else f"{told[:-1]}, or take more steps or another baseline."


def _guided_backprop(subject: _Subject) -> tuple[Tensor, Sequence[str]]:
    subject.watched_by = guided = _Guided()
    gradient = subject.gradient()
    others = ", ".join(sorted(guided.passed))
    if not guided.seen:
        raise ExplainError(
            "Guided backprop needs ReLU-like activations, and none was seen when the network ran"
            f"{f' (only {others})' if others else ''}; choose another method, such as saliency."
        )
    notes = [f"Guided activations: {', '.join(sorted(guided.seen))}."]
    if others:
        notes.append(f"Not guided, as guided backprop has no rule for them: {others}.")
    return gradient, [*notes, "Guided backprop fails sanity checks: its maps show edges, whatever the network learned."]


class _Guided(TorchFunctionMode):
    """Holds gradients above 0 behind every ReLU-like function that Python calls, within modules and without.

    No module is touched: the hook sits on the tensor that the function gives, and goes with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.passed: set[str] = set()

    def __torch_function__(
        self, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function; hold the gradient of what it gives above 0 if it is one of them."""
        result = func(*args, **(kwargs or {}))
        name = NAMES.get(func)
        if name is None or not (isinstance(result, Tensor) and result.requires_grad):
            return result
        if name in UNGUIDED:
            self.passed.add(name)
        else:
            self.seen.add(name)
            result.register_hook(lambda gradient: gradient.clamp(min=0))  # type: ignore[no-untyped-call]  # torch's
        return result


# Name -> the map of each channel (1, C, *spatial) float32, and notes.
METHODS: dict[str, Method] = {
    "saliency": _saliency,
    "smoothgrad": _smoothgrad,
    "input_x_gradient": _input_x_gradient,
    "integrated_gradients": _integrated_gradients,
    "guided_backprop": _guided_backprop,
}
_SUMMED = {"input_x_gradient", "integrated_gradients"}
