"""The forward pass: a prepared input through the bundle's inferer, with progress and cancellation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import torch
from monai.data.utils import compute_importance_map
from monai.inferers import Inferer, SimpleInferer, SlidingWindowInferer, SlidingWindowInfererAdapt
from monai.utils import fall_back_tuple

from lesionlens.computing import EXACT, Computed, Computing
from lesionlens.errors import BundleError, ExplainError, InputError
from lesionlens.explain import Windows, watching_activations
from lesionlens.explain.calling import is_memory
from lesionlens.explain.final import FinalKind
from lesionlens.model.activation import Activation, observed
from lesionlens.model.attempts import attempts, with_inferer
from lesionlens.model.boundary import foreign_code, memory_sentence
from lesionlens.model.bundle import Bundle
from lesionlens.model.free import available_bytes
from lesionlens.model.memory import WORKSPACE, MemoryPlan, batch_of, planned_memory
from lesionlens.model.preprocess import Prepared
from lesionlens.model.runner import Runner
from lesionlens.model.slabs import joined_in_blocks
from lesionlens.progress import Progress, silent

__all__ = ["Inference", "checked", "infer", "kept_channels", "through_inferer", "windows_of"]


@dataclass(frozen=True, eq=False)
class Inference:
    """The network's assembled output for one input.

    Parameters
    ----------
    prepared
        What went in.
    output
        (K, D, H, W) for segmentation, (K,) for classification, (K + 6, anchors) for detection; float32, on the CPU.
    activation
        How it becomes probabilities, or that it holds them already.
    channels
        Of which output channels ``output`` holds the probabilities, where the windows were joined in blocks; None where
        it holds all outputs.
    computed
        How it was computed; None of what an explanation computed on its way.
    """

    prepared: Prepared
    output: torch.Tensor
    activation: Activation
    channels: tuple[int, ...] | None = None
    computed: Computed | None = None

    @property
    def probabilities(self) -> torch.Tensor:
        """The output as probabilities."""
        return self.activation.probabilities(self.output)

    def seen(self, channel: int) -> tuple[float, bool]:
        """Return how much the network sees of a class, padding aside.

        Returns
        -------
        probability : float
            Of the class; the highest of all voxels of a segmentation, or of all anchors of a detection.
        strongest : bool
            Whether it is the most probable class, of a segmentation at any voxel; False where classes are independent.
        """
        values, real = self.probabilities, self.prepared.real
        if self.channels is not None:
            channel = self.channels.index(channel)
        if real is not None and values.ndim == 4:
            values = values[:, torch.from_numpy(real)]
        values = values.reshape(len(values), -1)
        exclusive = self.activation.kind == "softmax"
        return float(values[channel].max()), exclusive and bool((values.argmax(dim=0) == channel).any())


def infer(
    bundle: Bundle, prepared: Prepared, *, progress: Progress = silent, computing: Computing = EXACT
) -> Inference:
    """Run the network through the bundle's own inferer, or join its windows in blocks where memory is short.

    Where memory runs out all the same, less is tried, with a notice: see :mod:`lesionlens.model.attempts`.

    Parameters
    ----------
    bundle, prepared
        What runs on what.
    progress
        Called after each batch of windows.
    computing
        By which engine, and in how much memory.

    Raises
    ------
    BundleError
        If the network's output does not have the channels that the metadata states, or is not finite.
    InputError
        If the image does not fit the network, or memory does not suffice.
    Cancelled
        If ``progress`` raises it.
    """
    if bundle.info.task == "classification" and isinstance(bundle.inferer, SlidingWindowInferer):
        raise BundleError(
            f"{bundle.name} is a classifier behind a {type(bundle.inferer).__name__}, whose windows' answers cannot be"
            " joined into one; its config needs a SimpleInferer, or a preprocessing that gives the size it wants."
        )
    notices: tuple[str, ...] = ()
    failed: BaseException | None = None
    for attempt in attempts(bundle, computing):
        if attempt.words:
            notices = (*notices, f"Memory ran out; {attempt.words}.")
        try:
            with foreign_code(attempt.bundle, prepared):
                try:
                    return _attempted(attempt.bundle, prepared, attempt.computing, notices, progress)
                except Exception as error:
                    if not is_memory(error):
                        raise
                    failed = error.with_traceback(None)  # its frames hold what is to be let go
        except MemoryError as error:
            failed = error.with_traceback(None)
    raise InputError(memory_sentence(bundle, prepared)) from failed


def _attempted(
    bundle: Bundle, prepared: Prepared, computing: Computing, notices: tuple[str, ...], progress: Progress
) -> Inference:
    windows = _blockable(bundle, prepared, computing)
    keep = kept_channels(bundle, computing.classes)
    plan = planned_memory(
        bundle,
        prepared,
        windows,
        kept=len(keep),
        budget_bytes=computing.budget_bytes,
        in_blocks=computing.in_blocks,
    )
    if bundle.device.type == "cpu" and plan.bytes > WORKSPACE * available_bytes():
        raise MemoryError  # before the system ends the program; what is foretold beside tensors may not come to pass
    total = _n_windows(bundle.inferer, prepared.tensor.shape[2:])
    if plan.batch != batch_of(bundle.inferer):
        bundle = with_inferer(bundle, sw_batch_size=plan.batch)
    with torch.no_grad(), watching_activations(bundle.network) as final:
        runner = Runner(bundle, computing, total=total, final=final, progress=progress)
        image = prepared.tensor.to(bundle.device)
        seen = windows if plan.in_blocks else _checkable(bundle, prepared, computing)
        if seen is not None:
            runner.look_at(seen, image)
        if plan.in_blocks and windows is not None:
            output = joined_in_blocks(
                image,
                windows,
                runner,
                runner.probabilities,
                keep=keep,
                batch=batch_of(bundle.inferer),
                on_disk=plan.on_disk,
            )
            found = _from_blocks(prepared, output, runner.activation, keep)
        else:
            assembled = torch.as_tensor(bundle.inferer(image, runner))
            found = checked(bundle, prepared, assembled, runner.kind)
    progress("Predicting", total, total)
    made = runner.computed(plan, budget_bytes=computing.budget_bytes)
    return replace(found, computed=replace(made, notices=(*notices, *made.notices, *_over(plan, computing))))


def _over(plan: MemoryPlan, computing: Computing) -> tuple[str, ...]:
    budget = computing.budget_bytes
    if budget is None or plan.predicted_bytes is None or plan.predicted_bytes <= budget:
        return ()
    return (
        f"The prediction was expected to take {plan.predicted_bytes / 2**30:.2g} GiB, more than the"
        f" {budget / 2**30:.2g} GiB it may; there is no way that takes less.",
    )


def _blockable(bundle: Bundle, prepared: Prepared, computing: Computing) -> Windows | None:
    """Lay out the windows if they can be joined in blocks, and it may come to that."""
    limited = computing.memory_gib is not None or computing.in_blocks
    if not limited or bundle.info.task != "segmentation" or not _slides(bundle.inferer) or bundle.inferer.with_coord:
        return None
    windows = windows_of(bundle.inferer, prepared.tensor.shape[2:])
    return windows if len(windows) > 1 else None


def _checkable(bundle: Bundle, prepared: Prepared, computing: Computing) -> Windows | None:
    """Lay out the windows if an engine is to be checked in the middle of the scan, one window at a time."""
    one = _slides(bundle.inferer) and not bundle.inferer.with_coord and batch_of(bundle.inferer) == 1
    if computing.engine == "torch" or bundle.detector is not None or not one:
        return None
    windows = windows_of(bundle.inferer, prepared.tensor.shape[2:])
    return windows if len(windows) > 1 else None


def kept_channels(bundle: Bundle, classes: Sequence[str] = ()) -> tuple[int, ...]:
    """Return the channels of which probabilities are wanted: the foreground, or the classes that were asked for.

    Raises
    ------
    ExplainError
        If there is no such class.
    """
    wanted = {bundle.channel(name) for name in classes}
    channels = range(len(bundle.info.outputs))
    return tuple(c for c in channels if (c in wanted if wanted else c != bundle.info.background))


def _from_blocks(prepared: Prepared, output: torch.Tensor, activation: Activation, keep: tuple[int, ...]) -> Inference:
    return Inference(prepared, output, replace(activation, applied=True, temperature=1.0), channels=keep)


def through_inferer(
    bundle: Bundle, prepared: Prepared, network: Callable[..., torch.Tensor], *, progress: Progress = silent
) -> torch.Tensor:
    """Join what ``network`` gives for the windows of a bundle's inferer: (1, K, D, H, W), or (1, K).

    Raises
    ------
    InputError
        If the image does not fit the network.
    Cancelled
        If ``progress`` raises it.
    """
    total = _n_windows(bundle.inferer, prepared.tensor.shape[2:])
    done = 0

    def counted(window: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        nonlocal done
        progress("Predicting", min(done, total), total)
        output = network(window, *args, **kwargs)
        done += window.shape[0]
        return output

    with foreign_code(bundle, prepared), torch.no_grad():
        output = torch.as_tensor(bundle.inferer(prepared.tensor.to(bundle.device), counted))
    progress("Predicting", total, total)
    return output


def checked(
    bundle: Bundle,
    prepared: Prepared,
    assembled: torch.Tensor,
    final: FinalKind | None = None,
    *,
    before: bool = False,
) -> Inference:
    """Take a network's assembled output (1, K, ...) for what the bundle states it is, or refuse it.

    Parameters
    ----------
    bundle, prepared
        What ran on what.
    assembled
        The output.
    final
        The activation module that the network ends in, if it does.
    before
        Whether ``assembled`` was read before that module.
    """
    output = assembled[0].detach().to(dtype=torch.float32, device="cpu").as_subclass(torch.Tensor)
    if bundle.info.task == "classification" and output.ndim > 1 and output[0].numel() == 1:
        output = output.flatten()  # a fully convolutional classifier keeps axes of one cell
    limits = _check_output(prepared, bundle, output)
    if bundle.detector is not None:  # offsets beside the logits would mislead whoever looks at the numbers
        return Inference(prepared, output, bundle.activation)
    activation = observed(bundle.activation, output, final, limits=limits)
    if before and final is not None:
        output = replace(activation, applied=False, temperature=1.0).probabilities(output)  # scaled once, later
        activation = replace(activation, applied=True)
    return Inference(prepared, output, activation)


def _check_output(prepared: Prepared, bundle: Bundle, output: torch.Tensor) -> tuple[float, float]:
    """Refuse what is no output of this bundle; return the least and greatest value."""
    segmentation = bundle.info.task == "segmentation"
    expected = (len(bundle.info.outputs), *(prepared.grid.shape if segmentation else ()))
    if bundle.detector is not None:
        expected = (len(bundle.info.outputs) + 2 * len(prepared.grid.shape), *output.shape[1:])
    if tuple(output.shape) != expected:
        same_channels = segmentation and output.ndim == 4 and output.shape[0] == expected[0]
        pad = " Let the preprocessing bring the scan to a size that the network keeps (DivisiblePadd)."
        correct = " Correct network_data_format in metadata.json, or the network."
        raise BundleError(
            f"{bundle.name} states a {bundle.info.task} with {len(bundle.info.outputs)} output channels"
            f" ({', '.join(bundle.info.outputs)}), so its network must give an output of shape {expected}; it gives an"
            f" output of shape {tuple(output.shape)}.{pad if same_channels else correct}"
        )
    low, high = (float(limit) for limit in output.aminmax())  # no copy of it, as of isfinite(output)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise BundleError(f"The network of {bundle.name} gives values that are not finite.")
    return low, high


def windows_of(inferer: Inferer, shape: Sequence[int]) -> Windows:
    """Lay out the windows of a bundle's inferer over an input of this spatial shape, by MONAI's rules.

    Raises
    ------
    ExplainError
        If the inferer is neither a plain forward nor a sliding window: others cannot be explained exactly.
    """
    if _slides(inferer) and not inferer.with_coord:
        size = _window_size(inferer, shape)
        weights = inferer.roi_weight_map
        if weights is None:
            weights = compute_importance_map(size, mode=inferer.mode, sigma_scale=inferer.sigma_scale, device="cpu")
        return Windows.sliding(
            shape,
            size,
            overlap=inferer.overlap,
            importance=weights.cpu(),
            pad_mode=str(inferer.padding_mode),
            pad_value=float(inferer.cval),
        )
    if type(inferer) is SimpleInferer:
        return Windows.whole(shape)
    raise ExplainError(
        f"Inference by {type(inferer).__name__} cannot be explained exactly;"
        " supported are SimpleInferer and SlidingWindowInferer (without with_coord)."
    )


def _slides(inferer: Inferer) -> TypeGuard[SlidingWindowInferer]:
    """Whether an inferer is the plain sliding window; of its children one runs 2D networks slice by slice."""
    return type(inferer) in (SlidingWindowInferer, SlidingWindowInfererAdapt)


def _window_size(inferer: SlidingWindowInferer, shape: Sequence[int]) -> tuple[int, ...]:
    size = fall_back_tuple(inferer.roi_size, tuple(shape))
    return tuple(int(n) for n in size)


def _n_windows(inferer: Inferer, shape: Sequence[int]) -> int:
    """Count the windows of an inferer, for progress; 1 where it is not a sliding window."""
    if not _slides(inferer):
        return 1
    return len(Windows.sliding(shape, _window_size(inferer, shape), overlap=inferer.overlap))
