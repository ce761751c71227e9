"""The forward pass: a prepared input through the bundle's inferer, with progress and cancellation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import torch
from monai.data.utils import compute_importance_map
from monai.inferers import Inferer, SimpleInferer, SlidingWindowInferer, SlidingWindowInfererAdapt
from monai.utils import fall_back_tuple

from lesionlens.errors import BundleError, ExplainError
from lesionlens.explain import Windows, main_output, watching_activations
from lesionlens.explain.capture import FinalKind
from lesionlens.model.activation import Activation, observed
from lesionlens.model.boundary import foreign_code
from lesionlens.model.bundle import Bundle
from lesionlens.model.preprocess import Prepared
from lesionlens.progress import Progress, silent

__all__ = ["Inference", "checked", "infer", "through_inferer", "windows_of"]


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
    """

    prepared: Prepared
    output: torch.Tensor
    activation: Activation

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
        if real is not None and values.ndim == 4:
            values = values[:, torch.from_numpy(real)]
        values = values.reshape(len(values), -1)
        exclusive = self.activation.kind == "softmax"
        return float(values[channel].max()), exclusive and bool((values.argmax(dim=0) == channel).any())


def infer(bundle: Bundle, prepared: Prepared, *, progress: Progress = silent) -> Inference:
    """Run the network through the bundle's own inferer.

    Raises
    ------
    BundleError
        If the network's output does not have the channels that the metadata states, or is not finite.
    InputError
        If the image does not fit the network.
    Cancelled
        If ``progress`` raises it.
    """
    if bundle.info.task == "classification" and isinstance(bundle.inferer, SlidingWindowInferer):
        raise BundleError(
            f"{bundle.name} is a classifier behind a {type(bundle.inferer).__name__}, whose windows' answers cannot be"
            " joined into one; its config needs a SimpleInferer, or a preprocessing that gives the size it wants."
        )
    kinds: set[FinalKind | None] = set()

    def network(window: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        output = main_output(bundle.network(window, *args, **kwargs))
        kinds.add(final.kind(output))
        return output

    with watching_activations(bundle.network) as final:
        output = through_inferer(bundle, prepared, network, progress=progress)
    return checked(bundle, prepared, output, kinds.pop() if len(kinds) == 1 else None)


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
    _check_output(prepared, bundle, output)
    if bundle.detector is not None:  # offsets beside the logits would mislead whoever looks at the numbers
        return Inference(prepared, output, bundle.activation)
    activation = observed(bundle.activation, output, final)
    if before and final is not None:
        output = replace(activation, applied=False, temperature=1.0).probabilities(output)  # scaled once, later
        activation = replace(activation, applied=True)
    return Inference(prepared, output, activation)


def _check_output(prepared: Prepared, bundle: Bundle, output: torch.Tensor) -> None:
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
    if not bool(torch.isfinite(output).all()):
        raise BundleError(f"The network of {bundle.name} gives values that are not finite.")


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
