"""The images of a bundle: what stands in for its loader, and the transforms that follow it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.transforms import Compose, EnsureType, LoadImaged, ToTensor, Transpose, Transposed

from lesionlens.errors import BundleError
from lesionlens.model.components import components
from lesionlens.model.safety import STAND_IN

__all__ = ["Loader", "with_stand_in", "without_loader"]

# Keys of what is there in training and evaluation alone.
_OF_TRAINING = frozenset({"label", "labels", "mask"})


class Loader:
    """Stands in for a bundle's image loader: says how it would have handed over the image, reads nothing.

    MONAI's own readers lose slices of DICOM series in silence, so LesionLens reads volumes itself.

    Parameters
    ----------
    keys
        Dictionary keys of the images, one volume each.
    ensure_channel_first
        True when the loader adds the channel axis itself.
    image_only
        False when it puts what it knows of an image beside it, under ``<key>_meta_dict``.
    """

    def __init__(
        self,
        keys: str | Sequence[str],
        *_: object,
        ensure_channel_first: bool = False,
        image_only: bool = True,
        **__: object,
    ) -> None:
        names = (keys,) if isinstance(keys, str) else tuple(map(str, keys))
        self.keys = tuple(name for name in names if name not in _OF_TRAINING) or names
        self.channel_first = bool(ensure_channel_first)
        self.with_meta = image_only is False

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the data as they are."""
        return data


def with_stand_in(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config with :class:`Loader` in place of every ``LoadImaged``."""
    config = copy.deepcopy(config)
    for _, step in components(config):
        if step["_target_"].rsplit(".", 1)[-1] in STAND_IN:
            step["_target_"] = f"{__name__}.Loader"
    return config


def without_loader(preprocessing: Any, path: Path) -> tuple[Compose, Loader]:
    """Take the loader out of the preprocessing."""
    if isinstance(preprocessing, list | tuple):
        preprocessing = Compose(preprocessing)
    if not isinstance(preprocessing, Compose):
        raise BundleError(
            f"{path}: preprocessing must be a Compose or a list of transforms; found {_kind(preprocessing)}."
        )
    steps = [_stand_in(step) for step in preprocessing.flatten().transforms]
    loaders = [t for t in steps if isinstance(t, Loader)]
    ways = {t.channel_first for t in loaders}
    if len(ways) != 1:
        found = "none" if not loaders else "several that place the channels differently"
        raise BundleError(f"{path}: preprocessing needs a LoadImaged (of dictionaries); found {found}.")
    kept = [_with_affine(t) for t in steps if t not in loaders]
    _check_geometry(kept, path)
    keys = [key for loader in loaders for key in loader.keys]
    loader = Loader(keys, ensure_channel_first=ways.pop(), image_only=not any(one.with_meta for one in loaders))
    return Compose(kept, lazy=preprocessing.lazy, overrides=preprocessing.overrides), loader


def _with_affine(step: Any) -> Any:
    """Let a final conversion keep the image's affine: results are placed by it."""
    converter = getattr(step, "converter", None)
    if isinstance(converter, EnsureType | ToTensor):
        converter.track_meta = True
    if isinstance(converter, EnsureType):
        converter.data_type = "tensor"
    return step


def _stand_in(step: Any) -> Any:
    """Replace a loader that an expression has made, out of reach of :func:`with_stand_in`."""
    if not isinstance(step, LoadImaged):
        return step
    return Loader([str(key) for key in step.keys], ensure_channel_first=step._loader.ensure_channel_first)


def _check_geometry(steps: Sequence[Any], path: Path) -> None:
    """Refuse transforms that move voxels and leave the affine as it was."""
    for step in steps:
        indices = getattr(getattr(step, "transform", step), "indices", None)
        if isinstance(step, Transpose | Transposed) and list(indices or []) != sorted(indices or [0]):
            raise BundleError(
                f"{path}: preprocessing holds {type(step).__name__}, which swaps axes (indices {list(indices or [])})"
                " and leaves the affine unchanged, so maps would lie in the wrong place; use Orientationd instead."
            )


def _kind(value: object) -> str:
    """Say in a word what a value is."""
    return type(value).__name__
