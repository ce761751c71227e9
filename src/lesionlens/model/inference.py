"""The forward pass: a prepared input through the bundle's inferer, with progress and cancellation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.data.utils import compute_importance_map
from monai.inferers import Inferer, SimpleInferer, SlidingWindowInferer
from monai.utils import fall_back_tuple

from lesionlens.errors import BundleError, ExplainError, InputError
from lesionlens.explain import Windows
from lesionlens.model.bundle import Bundle
from lesionlens.model.preprocess import Prepared
from lesionlens.progress import Progress, silent

__all__ = ["Inference", "checked", "infer", "main_output", "windows_of"]


@dataclass(frozen=True, eq=False)
class Inference:
    """The network's assembled output for one input.

    Parameters
    ----------
    prepared
        What went in.
    logits
        (K, D, H, W) for segmentation, (K,) for classification; float32, on the CPU, before any activation.
    """

    prepared: Prepared
    logits: torch.Tensor


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
    total = _n_windows(bundle.inferer, prepared.tensor.shape[2:])
    done = 0

    def network(window: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        nonlocal done
        progress("Predicting", min(done, total), total)
        output = main_output(bundle.network(window, *args, **kwargs))
        done += window.shape[0]
        return output

    try:
        with torch.no_grad():
            output = bundle.inferer(prepared.tensor.to(bundle.device), network)
    except RuntimeError as error:
        raise _explain_failure(bundle, prepared, error) from error
    progress("Predicting", total, total)
    return checked(bundle, prepared, torch.as_tensor(output))


def checked(bundle: Bundle, prepared: Prepared, output: torch.Tensor) -> Inference:
    """Take a network's assembled output (1, K, ...) for what the bundle states it is, or refuse it."""
    logits = output[0].detach().to(dtype=torch.float32, device="cpu").as_subclass(torch.Tensor)
    _check_output(bundle, logits)
    return Inference(prepared, logits)


def _explain_failure(bundle: Bundle, prepared: Prepared, error: RuntimeError) -> InputError:
    shape = tuple(prepared.tensor.shape[1:])
    if "out of memory" in str(error).lower() or "can't allocate memory" in str(error).lower():
        return InputError(f"{bundle.name} ran out of memory on an input of {shape}; use a machine with more memory.")
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return InputError(f"{bundle.name} cannot process an input of {shape} (channels, x, y, z): {reason}")


def main_output(output: Any) -> torch.Tensor:
    """Return the main tensor of what a network gives: the first of several, ``pred`` of a dictionary."""
    if isinstance(output, dict):
        output = output.get("pred", next(iter(output.values())))
    if isinstance(output, (tuple, list)):
        output = output[0]
    if not torch.is_tensor(output):
        raise BundleError(f"The network must give a tensor; found {type(output).__name__}.")
    return output


def _check_output(bundle: Bundle, logits: torch.Tensor) -> None:
    ndim = 4 if bundle.info.task == "segmentation" else 1
    if logits.ndim != ndim or logits.shape[0] != len(bundle.info.outputs):
        raise BundleError(
            f"{bundle.name} states a {bundle.info.task} with {len(bundle.info.outputs)} output channels"
            f" ({', '.join(bundle.info.outputs)}); its network gives an output of shape {tuple(logits.shape)}."
        )
    if not bool(torch.isfinite(logits).all()):
        raise BundleError(f"The network of {bundle.name} gives values that are not finite.")


def windows_of(inferer: Inferer, shape: Sequence[int]) -> Windows:
    """Lay out the windows of a bundle's inferer over an input of this spatial shape, by MONAI's rules.

    Raises
    ------
    ExplainError
        If the inferer is neither a plain forward nor a sliding window: others cannot be explained exactly.
    """
    if isinstance(inferer, SlidingWindowInferer) and not inferer.with_coord:
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
        " supported are SimpleInferer and SlidingWindowInferer."
    )


def _window_size(inferer: SlidingWindowInferer, shape: Sequence[int]) -> tuple[int, ...]:
    size = fall_back_tuple(inferer.roi_size, tuple(shape))
    return tuple(int(n) for n in size)


def _n_windows(inferer: Inferer, shape: Sequence[int]) -> int:
    """Count the windows of an inferer, for progress; 1 where it is not a sliding window."""
    if not isinstance(inferer, SlidingWindowInferer):
        return 1
    return len(Windows.sliding(shape, _window_size(inferer, shape), overlap=inferer.overlap))
