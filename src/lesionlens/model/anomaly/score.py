"""Raw scores of anomaly: of intensities, and of features; nothing here knows bundles or files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from lesionlens.errors import BundleError, unknown_name
from lesionlens.model.anomaly.spec import Deviation
from lesionlens.volume import Array, Grid, resample

__all__ = ["FeatureDistance", "Features", "deviating", "foreground", "smoothed", "template_difference"]

# Features that are compared with the kept ones at a time: 4,096 x 1,000 distances are 16 MB.
_AT_A_TIME = 4096


def deviating(difference: Tensor, deviation: Deviation) -> Tensor:
    """Keep the side of a difference (C, D, H, W) that counts, averaged over the channels: (D, H, W), not below 0."""
    if deviation == "brighter":
        return difference.clamp(min=0).mean(dim=0)
    return ((-difference).clamp(min=0) if deviation == "darker" else difference.abs()).mean(dim=0)


def smoothed(difference: Tensor, grid: Grid, sd_mm: float) -> Tensor:
    """Smooth a difference (C, D, H, W) by a Gaussian of this standard deviation in mm along the axes of its grid."""
    if sd_mm == 0:
        return difference
    sd = [0.0, *(sd_mm / np.asarray(grid.spacing_mm))]
    return torch.from_numpy(ndimage.gaussian_filter(difference.numpy(), sd, mode="nearest"))


def template_difference(image: Tensor, grid: Grid, arrays: Mapping[str, Array]) -> Tensor:
    """Return how many standard deviations an image (C, D, H, W) lies above a template at its place in the world.

    Where the template says nothing (outside of it, or a standard deviation of 0) the difference is 0.
    """
    mean, sd = np.asarray(arrays["mean"]), np.asarray(arrays["sd"])
    shape = mean.shape
    of_template = Grid((shape[0], shape[1], shape[2]), np.asarray(arrays["affine"], np.float64))
    known = resample((sd > 0).astype(np.float32), of_template, grid) > 0.999  # next to nothing there is nothing to say
    expected, spread = (resample(array, of_template, grid) for array in (mean, sd))
    safe = torch.from_numpy(np.where(known, spread, 1).astype(np.float32))
    away = (image - torch.from_numpy(expected)) / safe
    return torch.where(torch.from_numpy(known), away, torch.zeros(()))


class Features(nn.Module):
    """The features of some layers of a network, joined on the grid of the finest of them.

    Each voxel has the channels of all layers, coarser ones interpolated linearly between the centres of their cells,
    as PaDiM does it (Defard et al., ICPR Workshops 2021).

    Parameters
    ----------
    network
        Any network of one image.
    layers
        Dotted names of layers whose outputs are (N, C, d, h, w).

    Raises
    ------
    BundleError
        If there is no such layer, or its output has other axes.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        known = dict(network.named_modules())
        for name in layers:
            if name not in known:
                raise BundleError(unknown_name("layer", name, [n for n in known if n]))
        self.network = network
        self.layers = tuple(layers)

    def forward(self, image: Tensor) -> Tensor:
        """Return the features of an image (N, C, D, H, W) as (N, channels of all layers, d, h, w)."""
        found: dict[str, Tensor] = {}
        modules = dict(self.network.named_modules())
        hooks = [modules[name].register_forward_hook(_keeping(found, name)) for name in self.layers]
        try:
            self.network(image)
        finally:
            for hook in hooks:
                hook.remove()
        maps = []
        for name in self.layers:
            if name not in found or found[name].ndim != 5:
                what = f"gives an output of shape {tuple(found[name].shape)}" if name in found else "does not run"
                raise BundleError(f"Layer {name!r} {what}; anomaly needs features of shape (N, C, d, h, w).")
            maps.append(found[name].float())
        finest = max((m.shape[2:] for m in maps), key=lambda shape: shape.numel())
        return torch.cat([_brought(m, finest) for m in maps], dim=1)


class FeatureDistance(nn.Module):
    """How far the features of an image lie from those of a reference: one map on the image's own grid.

    Of a Gaussian the Mahalanobis distance, ``sqrt((f - m)^T P (f - m))`` (PaDiM, with one Gaussian for all places: the
    scans need not lie alike). Of kept features the Euclidean distance to the nearest one, each channel divided by its
    standard deviation (PatchCore: Roth et al., CVPR 2022, without its weighting by neighbours).

    Parameters
    ----------
    features
        What is compared.
    arrays
        ``mean`` and ``precision``, or ``features``, ``mean`` and ``sd``: see
        :class:`~lesionlens.anomaly_reference.Reference`.
    """

    def __init__(self, features: Features, arrays: Mapping[str, Array]) -> None:
        super().__init__()
        self.features = features
        for name, array in arrays.items():
            self.register_buffer(f"reference_{name}", torch.from_numpy(np.array(array, np.float32)))

    def forward(self, image: Tensor) -> Tensor:
        """Return the distance at each voxel of an image (N, C, D, H, W): (N, 1, D, H, W)."""
        found = self.features(image)
        buffers = {name: buffer.to(found.device) for name, buffer in self.named_buffers(recurse=False)}
        if found.shape[1] != len(buffers["reference_mean"]):
            raise BundleError(
                f"The anomaly reference is of {len(buffers['reference_mean'])} channels, the layers have"
                f" {found.shape[1]}; make the reference again."
            )
        rows = found.movedim(1, -1).reshape(-1, found.shape[1]) - buffers["reference_mean"]
        if "reference_precision" in buffers:
            square = torch.einsum("nc,cd,nd->n", rows, buffers["reference_precision"], rows)
            away = square.clamp(min=0).sqrt()
        else:
            kept = buffers["reference_features"]
            parts = (rows / buffers["reference_sd"]).split(_AT_A_TIME)
            away = torch.cat([torch.cdist(part, kept).amin(dim=1) for part in parts])
        distance = away.reshape(found.shape[0], 1, *found.shape[2:])
        return _brought(distance, image.shape[2:])


def _keeping(found: dict[str, Tensor], name: str):  # type: ignore[no-untyped-def]  # torch names no type of hooks
    def keep(_: nn.Module, __: object, output: Tensor) -> None:
        found[name] = output

    return keep


def _brought(values: Tensor, shape: torch.Size) -> Tensor:
    """Interpolate (N, C, d, h, w) to as many cells over the same extent."""
    if values.shape[2:] == shape:
        return values
    return functional.interpolate(values, size=tuple(shape), mode="trilinear", align_corners=False)


def foreground(image: Tensor, above: float | None) -> NDArray[np.bool_]:
    """Return where an input (C, D, H, W) is judged: (D, H, W) bool, any channel above the limit."""
    if above is None:
        return np.ones(tuple(image.shape[1:]), bool)
    return (image > above).any(dim=0).numpy()
