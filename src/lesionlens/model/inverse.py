"""The way back: a bundle's spatial transforms undone, one after the other, the last first.

What MONAI's ``Invertd`` does, with its results; only resampling by affines is done here, in float32 and in blocks,
where MONAI computes in float64 on the whole.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, InvertibleTransform, Lambda, Lambdad
from monai.transforms.utils import allow_missing_keys_mode
from monai.utils import TraceKeys
from numpy.typing import NDArray
from scipy import ndimage

from lesionlens.errors import BundleError
from lesionlens.model.separable import along_axes, scales_of

__all__ = ["Place", "Undo", "lost", "place", "undo_of"]

# Transforms that bend an image within its grid, and keep no note of how: neither shape nor affine show it.
_BENDING = re.compile(r"(Rand)?([23]DElastic|GridDistortion|SmoothDeform)(d|D|Dict)?")

#: How MONAI calls what happens beyond the edge, and how scipy does.
_EDGES = {"border": "nearest", "zeros": "grid-constant"}
# Voxels that are resampled at a time: their positions take 24 bytes each.
_BLOCK_VOXELS = 2**22


@dataclass(frozen=True, eq=False)
class Undo:
    """Brings values from a network's grid to the scan's by undoing what the preprocessing did.

    Parameters
    ----------
    preprocessing
        The transforms.
    keys
        Under which keys the image went through them; the first is the one that comes back.
    meta, operations
        What the prepared image knows of its place and of what was done to it.
    shape
        Voxels along each axis of the scan.
    name
        Of the bundle, for messages.
    """

    preprocessing: Compose
    keys: tuple[str, ...]
    meta: Mapping[str, Any]
    operations: Sequence[Mapping[str, Any]]
    shape: tuple[int, int, int]
    name: str

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (D, H, W) values of the network's grid as (i, j, k) float32 on the scan's.

        Raises
        ------
        BundleError
            If a transform cannot be undone.
        """
        tensor = MetaTensor(
            torch.from_numpy(np.array(values, dtype=np.float32))[None], meta=copy.deepcopy(dict(self.meta))
        )
        tensor.applied_operations = copy.deepcopy(list(self.operations))
        try:
            back = self._back({key: tensor if key == self.keys[0] else tensor.clone() for key in self.keys})
        except (MemoryError, BundleError):
            raise
        except Exception as error:  # transforms are arbitrary code
            raise BundleError(f"{_cannot(self.name)} ({_root(error)}).{_WAY_OUT}") from error
        found: NDArray[np.float32] = back[self.keys[0]].as_tensor().numpy().astype(np.float32, copy=False)[0]
        if found.shape != self.shape:
            raise BundleError(
                f"{_cannot(self.name)}: that gives {found.shape} voxels, and the scan has {self.shape}.{_WAY_OUT}"
            )
        return found

    def _back(self, data: dict[str, Any]) -> dict[str, Any]:
        with warnings.catch_warnings(), allow_missing_keys_mode(self.preprocessing):
            warnings.simplefilter("ignore", FutureWarning)
            if self.preprocessing.lazy:
                return dict(self.preprocessing.inverse(data))
            for step in reversed(self.preprocessing.transforms):
                if isinstance(step, InvertibleTransform):
                    data = self._undone(step, data)
        return data

    def _undone(self, step: Any, data: dict[str, Any]) -> dict[str, Any]:
        """Undo one transform of the images that it was applied to."""
        keys = [key for key in data if key in getattr(step, "keys", data)]
        if keys and all(_resampled_here(step, data[key]) for key in keys):
            return {**data, **{key: _resampled(data[key]) for key in keys}}
        return dict(step.inverse(data))


_WAY_OUT = " Leave it out of the bundle, or have results resampled through the affine of its output (--through-affine)."


def _cannot(name: str) -> str:
    return f"What the preprocessing of {name} did to the scan's voxels cannot be undone"


def _resampled_here(step: Any, tensor: MetaTensor) -> bool:
    """Say whether what is undone next is a linear resampling from one affine to another, as of ``Spacingd``."""
    if "Spacing" not in type(step).__name__ and "Resample" not in type(step).__name__:
        return False
    last = tensor.applied_operations[-1] if tensor.applied_operations else {}
    extra = last.get(TraceKeys.EXTRA_INFO, {})
    return (
        last.get(TraceKeys.CLASS_NAME) == "SpatialResample"
        and str(extra.get("mode")).rsplit(".", 1)[-1].lower() in ("bilinear", "1")
        and str(extra.get("padding_mode")).rsplit(".", 1)[-1].lower() in _EDGES
        and extra.get("src_affine") is not None
    )


def _resampled(tensor: MetaTensor) -> MetaTensor:
    """Undo one resampling."""
    operation = tensor.applied_operations.pop()
    extra = operation[TraceKeys.EXTRA_INFO]
    before = torch.as_tensor(extra["src_affine"]).detach().cpu().numpy().astype(np.float64)
    shape = tuple(int(n) for n in operation[TraceKeys.ORIG_SIZE])
    edge = _EDGES[str(extra["padding_mode"]).rsplit(".", 1)[-1].lower()]
    index = np.linalg.solve(_affine(tensor), before)  # voxel before -> voxel now
    values = tensor.as_tensor().numpy()
    out = np.empty((len(values), *shape), dtype=np.float32)
    rows = max(1, _BLOCK_VOXELS // (shape[1] * shape[2]))
    scales = scales_of(index)
    for channel, source in enumerate(values):
        for first in range(0, shape[0], rows):
            block = out[channel, first : first + rows]
            start = index[:3, 3] + index[:3, 0] * first
            if scales is not None:
                block[...] = along_axes(source, start, scales, block.shape, edge)
                continue
            ndimage.affine_transform(
                source, index[:3, :3], start, output_shape=block.shape, output=block, order=1, mode=edge
            )
    found = MetaTensor(torch.from_numpy(out), meta=tensor.meta)
    found.affine = torch.from_numpy(before)
    found.applied_operations = tensor.applied_operations
    return found


def undo_of(preprocessing: Compose, keys: tuple[str, ...], tensor: MetaTensor, shape: Sequence[int], name: str) -> Undo:
    """Remember what was done to an image, so that it can be undone.

    Parameters
    ----------
    preprocessing
        What was done.
    keys
        Of the loaded images.
    tensor
        The result.
    shape
        Voxels along each axis of the scan.
    name
        Of the bundle.
    """
    moved = {str(key) for step in preprocessing.transforms for key in getattr(step, "keys", ())}
    first = "image" if "image" in keys or keys[0] not in moved else keys[0]
    names = tuple(dict.fromkeys((first, *(key for key in ("image", keys[0]) if key in moved))))
    i, j, k = (int(n) for n in shape)
    return Undo(preprocessing, names, tensor.meta, tensor.applied_operations, (i, j, k), name)


Place = tuple[tuple[int, ...], NDArray[np.float64], int]


def place(image: object) -> Place | None:
    """Return an image's voxels along each axis, affine, and how many transforms it notes; None of what is no image."""
    if not isinstance(image, MetaTensor):
        return None
    return tuple(image.shape[1:]), _affine(image), len(image.applied_operations)


def _affine(image: MetaTensor) -> NDArray[np.float64]:
    """Return an image's affine as an array of its own."""
    found: NDArray[np.float64] = torch.as_tensor(image.affine).detach().cpu().numpy().astype(np.float64)
    return found


def lost(step: Any, before: Place | None, after: Place | None) -> bool:
    """Say whether a transform moved voxels without a note of how to move them back.

    Parameters
    ----------
    step
        The transform.
    before, after
        The :func:`place` of what went in, and of what came out.
    """
    if before is None or after is None or len(before[0]) != len(after[0]):
        return False
    if _BENDING.fullmatch(type(step).__name__):
        return True
    if before[0] == after[0] and np.allclose(before[1], after[1]):
        return False
    return after[2] <= before[2] or _calls_any(step)


def _calls_any(step: Any) -> bool:
    """Say whether a transform calls a function that nothing undoes."""
    if not isinstance(step, Lambda | Lambdad):
        return False
    inverse = getattr(step, "inv_func", None)
    functions = inverse if isinstance(inverse, list | tuple) else (inverse,)
    return all(getattr(one, "__name__", "") in ("no_collation", "") or one is None for one in functions)


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
