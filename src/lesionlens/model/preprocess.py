"""From volumes to the network's input: the bundle's own transforms, on MONAI tensors that know their affine."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import ConcatItemsd, apply_transform
from monai.utils import MetaKeys, SpaceKeys
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional

from lesionlens.errors import BundleError, InputError
from lesionlens.heatmap import slug
from lesionlens.model.bounded import TooMuchMemoryError, bounded, check_padding, too_much
from lesionlens.model.bundle import Bundle
from lesionlens.model.free import available_bytes
from lesionlens.model.inverse import Undo, lost, place, undo_of
from lesionlens.model.suitability import asked_mm, check_modality, check_spacing
from lesionlens.volume import Grid, Volume, resample

__all__ = ["Prepared", "as_bundle", "prepare"]


# Of steps that draw random numbers: the same scan gives the same result.
_SEED = 0
# How MONAI names the step at which something failed.
_STEP = re.compile(r"applying transform <[\w.]*?(\w+) object")


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
    seen
        (i, j, k) bool on the volume's grid: False where a crop took the scan away and padding lies in its place; what
        the network says about padding is no finding. None where nothing of the kind happened.
    padding
        Zeros behind the last voxels of each axis, for a detection network that wants multiples of a size.
    undo
        Brings values from the network's grid to the scan's by undoing the preprocessing; None where they are resampled
        through the affines of both grids.
    padded
        Whether the preprocessing put voxels around the scan.
    """

    tensor: torch.Tensor
    grid: Grid
    volume: Volume
    seen: NDArray[np.bool_] | None = None
    padding: tuple[int, int, int] = (0, 0, 0)
    undo: Undo | None = None
    padded: bool = False

    @property
    def inner_shape(self) -> tuple[int, int, int]:
        """Voxels along each axis that the preprocessing gave."""
        i, j, k = (n - extra for n, extra in zip(self.grid.shape, self.padding, strict=True))
        return i, j, k

    @property
    def real(self) -> NDArray[np.bool_] | None:
        """Where the network's grid holds the scan, (D, H, W) bool: False in padding. None where nothing was padded."""
        if not self.padded:
            return None
        seen = np.ones(self.volume.grid.shape, dtype=np.bool_) if self.seen is None else self.seen
        return resample(seen, self.volume.grid, self.grid, order=0) > 0.5

    def to_scan(self, values: ArrayLike, grid: Grid, *, order: int = 1) -> NDArray[np.float32]:
        """Bring values on a grid of the network to the scan's; 0 wherever the network did not see the scan.

        ``order`` is that of :func:`~lesionlens.volume.resample`. From the network's own grid the preprocessing is
        undone step by step; cells of coarser maps, and values that are not interpolated, take the way through affines.
        """
        if self.undo is not None and order == 1 and grid is self.grid and np.shape(values) == grid.shape:
            return self.undo(np.asarray(values, dtype=np.float32))
        array = resample(values, grid, self.volume.grid, order=order)
        return array if self.seen is None else np.where(self.seen, array, np.float32(0))


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
        If the number of volumes is not the number of input channels, their grids differ, values are constant or not
        finite, or modality or voxel size are not those that the bundle is for.
    BundleError
        If a transform fails or loses the geometry.
    """
    channels = _volumes(bundle, volumes)
    _check(bundle, channels)
    check_modality(bundle, channels)
    if (asked := asked_mm(bundle)) is not None:  # before the work: a scan of metres would be resampled to terabytes
        check_spacing(bundle, channels[0], asked)
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
    padding = (0, 0, 0) if bundle.detector is None else bundle.detector.padding(array.shape[1:])
    array = functional.pad(array, [width for n in reversed(padding) for width in (0, n)])
    shape = tuple(int(n) for n in array.shape[1:])
    grid = Grid((shape[0], shape[1], shape[2]), np.asarray(tensor.affine, dtype=np.float64))
    check_spacing(bundle, channels[0], grid.spacing_mm)
    keys = bundle.loader.keys
    undo = undo_of(bundle.preprocessing, keys, tensor, channels[0].grid.shape, bundle.name)
    padded, over_crop = _padded(tensor.applied_operations)
    return Prepared(
        array[None].contiguous(),
        grid,
        channels[0],
        _seen(undo, tensor) if over_crop and not bundle.through_affine else None,
        (padding[0], padding[1], padding[2]),
        None if bundle.through_affine or bundle.detector is not None else undo,
        padded,
    )


def _padded(operations: Sequence[Mapping[str, Any]]) -> tuple[bool, bool]:
    """Say whether voxels were padded, and whether over voxels that an earlier step may have cropped away."""
    cropped = padded = over_crop = False
    for operation in operations:
        cropped |= any(_amounts(operation, "cropped"))
        pads = any(_amounts(operation, "padded"))
        padded, over_crop = padded or pads, over_crop or (cropped and pads)
    return padded, over_crop


def _amounts(node: object, name: str) -> Iterator[int]:
    """Yield all numbers that a recorded transform, or one inside it, keeps under a name."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from np.ravel(value).tolist() if key == name else _amounts(value, name)


def _seen(undo: Undo, tensor: MetaTensor) -> NDArray[np.bool_]:
    """Send a map of ones back through the inverse transforms: crops come back as zeros."""
    found: NDArray[np.bool_] = undo(np.ones(tensor.shape[1:], dtype=np.float32)) > 0.5
    return found


def as_bundle(bundle: object) -> Bundle:
    """Return what was given for a bundle, or refuse it."""
    if not isinstance(bundle, Bundle):
        raise InputError(f"Expected a Bundle; found {type(bundle).__name__}. Give what load_bundle() returns.")
    return bundle


def _volumes(bundle: object, volumes: object) -> tuple[Volume, ...]:
    """Refuse what is easily passed by mistake: a name, a path, an array."""
    as_bundle(bundle)
    found = (volumes,) if isinstance(volumes, Volume) else tuple(volumes) if isinstance(volumes, list | tuple) else ()
    if not found or not all(isinstance(one, Volume) for one in found):
        raise InputError(
            f"Expected a Volume, or a list with one per channel; found {type(volumes).__name__}. See read()."
        )
    return found


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
            raise InputError(
                f"{volume.name!r} is constant (every voxel is {low:g}); there is nothing to predict on."
                " Choose another file or series; 'lesionlens view' shows what is in them."
            )


def _run(bundle: Bundle, channels: tuple[Volume, ...]) -> torch.Tensor:
    keys = _channel_keys(bundle)
    data: dict[str, Any]
    if len(keys) == len(channels):
        data = {key: _tensor(bundle, (volume,)) for key, volume in zip(keys, channels, strict=True)}
    elif len(keys) == 1:
        data = {keys[0]: _tensor(bundle, channels)}
    else:
        raise BundleError(
            f"{bundle.name} loads {len(keys)} images ({', '.join(keys)}) for {len(channels)} input channels;"
            " this combination is not supported."
        )
    if bundle.loader.with_meta:
        data |= {f"{key}_meta_dict": dict(tensor.meta) for key, tensor in data.items()}
    bundle.preprocessing.set_random_state(seed=_SEED)
    try:
        with warnings.catch_warnings(), bounded(math.inf if bundle.info.embedded else available_bytes()):
            warnings.simplefilter("ignore", FutureWarning)
            result = _stepped(bundle, data)
    except BundleError:
        raise
    except Exception as error:  # transforms are arbitrary code
        if stopped := too_much(error):
            raise BundleError(_too_large(bundle, error, stopped)) from error
        if isinstance(error, MemoryError):
            raise
        reason = f"failed on {channels[0].name!r}: {_root(error)}"
        raise BundleError(f"The preprocessing of {bundle.name} {reason}.") from error
    joined = [step.name for step in bundle.preprocessing.transforms if isinstance(step, ConcatItemsd)]
    tensor = next(result[key] for key in ("image", *joined, keys[0]) if key in result)
    return _placed_like(tensor, result.get(keys[0]))


def _placed_like(tensor: Any, first: Any) -> torch.Tensor:
    """Let an image that was joined from several, by code that keeps no affine, lie where the first of them lies."""
    found: torch.Tensor = torch.as_tensor(tensor)
    noted = len(tensor.applied_operations) if isinstance(tensor, MetaTensor) else -1
    if not isinstance(first, MetaTensor) or first is tensor or found.shape[1:] != first.shape[1:]:
        return found
    if noted >= len(first.applied_operations):
        return found
    plain = found.as_tensor() if isinstance(found, MetaTensor) else found
    placed = MetaTensor(plain, meta=first.meta)
    placed.applied_operations = first.applied_operations
    return placed


def _stepped(bundle: Bundle, data: dict[str, Any]) -> dict[str, Any]:
    """Run the preprocessing step by step, and stop at one that moves voxels in a way that cannot be undone."""
    if bundle.preprocessing.lazy or bundle.through_affine:
        return dict(bundle.preprocessing(data))
    for step in bundle.preprocessing.transforms:
        before = {key: place(value) for key, value in data.items()}
        for image in (value for value in data.values() if isinstance(value, MetaTensor)):
            check_padding(step, image, available_bytes())
        done: Any = apply_transform(step, dict(data), map_items=False)
        if not isinstance(done, dict):
            raise BundleError(
                f"The preprocessing of {bundle.name} makes several images of one by {type(step).__name__}, as training"
                " does; a prediction needs one. Leave it out of the bundle."
            )
        data = done
        if any(lost(step, was, place(data.get(key))) for key, was in before.items()):
            raise BundleError(
                f"The preprocessing of {bundle.name} moves voxels by {type(step).__name__}, which cannot be undone, so"
                " results cannot be placed on the scan. Leave it out of the bundle, or have results resampled through"
                " the affine of its output (--through-affine)."
            )
    return data


def _too_large(bundle: Bundle, error: Exception, stopped: TooMuchMemoryError) -> str:
    """Say which step takes more memory than is free."""
    step = _STEP.search(str(error))
    where = "" if stopped is error else f"{step[1] if step else 'one of its steps'}: "
    return (
        f"The preprocessing of {bundle.name} was stopped at {where}{stopped}. Check the sizes in its config and the"
        " voxels of the scan, or use a machine with more memory."
    )


def _channel_keys(bundle: Bundle) -> tuple[str, ...]:
    """Return the keys of the images in the order of the bundle's channels.

    By their names where these are the channels'; else as the preprocessing joins them; else as it loads them.
    """
    keys = bundle.loader.keys
    by_name = {slug(key): key for key in keys}
    names = [slug(name) for name in bundle.info.inputs]
    if set(names) == set(by_name) and len(by_name) == len(keys):
        return tuple(by_name[name] for name in names)
    for step in bundle.preprocessing.transforms:
        if isinstance(step, ConcatItemsd) and set(step.keys) == set(keys):
            return tuple(map(str, step.keys))
    return keys


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
