"""A network, the image it saw, and the windows through which it saw it: what is to be explained."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from lesionlens.errors import ExplainError
from lesionlens.explain.capture import quiet, unwrapped
from lesionlens.explain.final import reading_logits
from lesionlens.explain.windows import Windows
from lesionlens.progress import Progress, silent

__all__ = ["Inference"]


@dataclass(frozen=True, eq=False)
class Inference:
    """One run of a network on one image.

    Parameters
    ----------
    network
        Any module with one tensor in and one tensor out; taken out of ``DataParallel`` and ``torch.compile``.
    image
        (1, C, D, H, W) or (1, C, H, W) real numbers, preprocessed, on the network's device. Never changed.
    windows
        How the network saw the image; None when it saw it whole.
    spacing_mm
        Distance between neighbouring voxels along each axis, for options in mm; None where there is none.

    Raises
    ------
    ExplainError
        If there is no network or no tensor, the image is not one image of 2 or 3 axes, or the windows or the spacing
        are those of another shape.
    """

    network: nn.Module
    image: Tensor
    windows: Windows | None = None
    spacing_mm: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.network, nn.Module) or not isinstance(self.image, Tensor):
            raise ExplainError(
                "A torch.nn.Module and the torch.Tensor that it sees are explained; found"
                f" {type(self.network).__name__} and {type(self.image).__name__}. Wrap a function in a module, and take"
                " torch.from_numpy() of an array."
            )
        if any(isinstance(p, nn.UninitializedParameter) for p in self.network.parameters()):
            raise ExplainError(
                "The network has lazy modules whose weights do not exist yet; load its weights, or run it once before."
            )
        image = self.image.detach().as_subclass(Tensor)  # MONAI's MetaTensor would carry its metadata into every result
        if image.ndim not in (4, 5) or image.shape[0] != 1 or not image.is_floating_point():
            raise ExplainError(
                "One image of real numbers (1, C, D, H, W) or (1, C, H, W) is explained at a time; "
                f"found shape {tuple(image.shape)} of {image.dtype}."
            )
        shape = tuple(image.shape[2:])
        if self.windows is not None and self.windows.shape != shape:
            raise ExplainError(f"The windows are for an image of {self.windows.shape} voxels; the image has {shape}.")
        if self.spacing_mm is not None and len(self.spacing_mm) != len(shape):
            raise ExplainError(f"The image has {len(shape)} axes; found a spacing of {self.spacing_mm} mm.")
        object.__setattr__(self, "network", unwrapped(self.network))
        object.__setattr__(self, "image", image)

    @cached_property
    def plan(self) -> Windows:
        """The windows, or the one window that is the whole image."""
        return Windows.whole(self.image.shape[2:]) if self.windows is None else self.windows

    def logits(self, *, progress: Progress = silent) -> Tensor:
        """Run the network and return its blended logits.

        Returns
        -------
        torch.Tensor
            (1, K, *spatial), or (1, K) of a classifier; float32, without graph. Equal to what MONAI's
            ``sliding_window_inference`` gives for the same windows, up to rounding; for a network that ends in a
            softmax or sigmoid module, the blend of what goes into it.
        """
        with quiet(self.network), reading_logits(self.network) as run, torch.no_grad():
            padded = self.plan.pad(self.image)

            def output(index: int) -> Tensor:
                progress("Predicting", index, len(self.plan))
                return run(self.plan.view(padded, index))

            logits = self.plan.blend(map(output, range(len(self.plan))))
        progress("Predicting", len(self.plan), len(self.plan))
        return logits
