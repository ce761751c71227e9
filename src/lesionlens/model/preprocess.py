"""From volumes to the network's input: the bundle's own transforms, on MONAI tensors that know their affine."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.data import MetaTensor
from monai.utils import MetaKeys, SpaceKeys

from lesionlens.errors import BundleError, InputError
from lesionlens.model.bundle import Bundle
from lesionlens.volume import Grid, Volume

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """What goes into the network.

    Parameters
    ----------
    tensor
        (1, C, D, H, W) float32 on the CPU.
    grid
        Where the voxels (D, H, W) lie in the world.
    volume
        The first input volume: every result comes back to its grid.
    """

    tensor: torch.Tensor
    grid: Grid
    volume: Volume


def prepare(bundle: Bundle, volumes: Volume | Sequence[Volume]) -> Prepared:
    """Run a bundle's preprocessing.

    Parameters
    ----------
    bundle
        Whose transforms.
    volumes
        One volume, or one per input channel in the bundle's order, all on one grid.

    Raises
    ------
    InputError
        If the number of volumes is not the number of input channels, their grids differ, or values are constant or not
        finite.
    BundleError
        If a transform fails or loses the geometry.
    """
    channels = (volumes,) if isinstance(volumes, Volume) else tuple(volumes)
    _check(bundle, channels)
    tensor = _run(bundle, channels)
    if not isinstance(tensor, MetaTensor):
        raise BundleError(
            f"The preprocessing of {bundle.name} loses the image's affine, so its result cannot be placed on the scan."
        )
    if tensor.ndim != 4:
        raise BundleError(
            f"The preprocessing of {bundle.name} must give (channel, x, y, z); found shape {tuple(tensor.shape)}."
        )
    if tensor.shape[0] != len(bundle.info.inputs):
        raise BundleError(
            f"{bundle.name} states {len(bundle.info.inputs)} input channels, its preprocessing gives {tensor.shape[0]}."
        )
    array = tensor.as_tensor().to(dtype=torch.float32, device="cpu")
    if not bool(torch.isfinite(array).all()):
        raise InputError(
            f"The preprocessing of {bundle.name} gives values that are not finite for {channels[0].name!r};"
            " is it the kind of image that the bundle expects?"
        )
    shape = tuple(int(n) for n in array.shape[1:])
    grid = Grid((shape[0], shape[1], shape[2]), np.asarray(tensor.affine, dtype=np.float64))
    return Prepared(array[None].contiguous(), grid, channels[0])


def _check(bundle: Bundle, channels: tuple[Volume, ...]) -> None:
    expected = bundle.info.inputs
    if len(channels) != len(expected):
        raise InputError(
            f"{bundle.name} needs {len(expected)} input channel(s) ({', '.join(expected)});"
            f" found {len(channels)} volume(s)."
        )
    for volume in channels:
        if not volume.grid.same_as(channels[0].grid):
            raise InputError(f"Input channels must share one grid; {volume.name!r} differs from {channels[0].name!r}.")
        low, high = float(volume.array.min()), float(volume.array.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise InputError(f"{volume.name!r} holds values that are not finite (NaN or infinity); replace them first.")
        if low == high:
            raise InputError(f"{volume.name!r} is constant (every voxel is {low:g}); there is nothing to predict on.")


def _run(bundle: Bundle, channels: tuple[Volume, ...]) -> torch.Tensor:
    keys = bundle.loader.keys
    if len(keys) == len(channels):
        data = {key: _tensor(bundle, (volume,)) for key, volume in zip(keys, channels, strict=True)}
    elif len(keys) == 1:
        data = {keys[0]: _tensor(bundle, channels)}
    else:
        raise BundleError(
            f"{bundle.name} loads {len(keys)} images ({', '.join(keys)}) for {len(channels)} input channels;"
            " this combination is not supported."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            result = bundle.preprocessing(data)
    except MemoryError:
        raise
    except Exception as error:  # transforms are arbitrary code
        reason = f"failed on {channels[0].name!r}: {_root(error)}"
        raise BundleError(f"The preprocessing of {bundle.name} {reason}.") from error
    tensor: torch.Tensor = result["image"] if "image" in result else result[keys[0]]
    return tensor


def _tensor(bundle: Bundle, channels: tuple[Volume, ...]) -> MetaTensor:
    """Hand over the image as the bundle's loader would have done."""
    stacked = len(channels) > 1 or bundle.loader.channel_first
    arrays = [np.asarray(volume.array, dtype=np.float32) for volume in channels]
    array = np.stack(arrays) if stacked else arrays[0]
    affine = torch.from_numpy(channels[0].grid.affine.copy())
    meta = {
        MetaKeys.ORIGINAL_AFFINE: affine.clone(),
        MetaKeys.SPATIAL_SHAPE: np.asarray(channels[0].grid.shape),
        MetaKeys.ORIGINAL_CHANNEL_DIM: 0 if stacked else float("nan"),
        MetaKeys.SPACE: SpaceKeys.RAS,
        "filename_or_obj": channels[0].name,
    }
    # The copy keeps in-place transforms away from the read-only volume.
    return MetaTensor(torch.from_numpy(np.array(array)), affine=affine, meta=meta)


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
