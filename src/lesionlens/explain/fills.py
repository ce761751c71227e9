"""Images that hold less: what a voxel is compared with, or replaced by."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["BASELINES", "blurred"]

# Standard deviation of the blurred baseline, as a share of each axis: 6 voxels of 96. Lesions and edges are gone, the
# head is still there.
BLUR_SHARE = 1 / 16

# A Gaussian ends where less than 0.3 % of it is left.
_REACH = 3.0


def blurred(image: Tensor, sd: Sequence[float]) -> Tensor:
    """Smooth an image with a Gaussian; beyond the border the outermost voxels go on.

    Parameters
    ----------
    image
        (N, C, *spatial).
    sd
        Standard deviation in voxels along each axis.
    """
    found = image.float()
    for axis, voxels in enumerate(sd, start=2):
        reach = int(_REACH * voxels + 0.5)
        offsets = torch.arange(-reach, reach + 1, device=image.device, dtype=torch.float32)
        kernel = torch.exp(-(offsets**2) / (2 * max(voxels, 1e-6) ** 2))
        lines = found.movedim(axis, -1)
        padded = functional.pad(lines.reshape(-1, 1, lines.shape[-1]), (reach, reach), mode="replicate")
        smooth = functional.conv1d(padded, (kernel / kernel.sum()).view(1, 1, -1))
        found = smooth.view(lines.shape).movedim(-1, axis)
    return found.to(image.dtype)


def _spread(image: Tensor, values: Tensor) -> Tensor:
    """Fill an image with one value for each channel (N, C)."""
    return values.view(*values.shape, *[1] * (image.ndim - 2)).expand_as(image).to(image.dtype)


#: Name -> the image (1, C, *spatial) without what is to be explained, in the same shape.
BASELINES: dict[str, Callable[[Tensor], Tensor]] = {
    "minimum": lambda image: _spread(image, image.flatten(2).amin(dim=2)),
    "mean": lambda image: _spread(image, image.float().flatten(2).mean(dim=2)),
    "blur": lambda image: blurred(image, [BLUR_SHARE * n for n in image.shape[2:]]),
    "zero": torch.zeros_like,
}
