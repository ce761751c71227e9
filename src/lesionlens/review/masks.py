"""Voxels of edits, packed: which voxels changed, as runs, compressed.

A mask is stored as the difference from the one before. So every stroke is small and saved at once, and the model's own
mask is always there: it is what is left when no difference is applied.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.errors import ReadError

__all__ = ["apply_mask", "pack_change"]

Mask = NDArray[np.bool_]
# Of the runs, little-endian on every machine.
_COUNT = np.dtype("<u4")
_SHAPE = np.dtype("<u4")
_AXES = 3


def pack_change(before: ArrayLike, after: ArrayLike) -> bytes:
    """Pack the difference of two masks of one shape.

    Parameters
    ----------
    before, after
        (i, j, k) Boolean.

    Returns
    -------
    bytes
        The shape, then the lengths of runs of voxels that are the same and that differ, in turn, in array order;
        compressed by zlib.
    """
    first, second = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    if first.shape != second.shape or first.ndim != _AXES:
        raise ValueError(f"masks of one (i, j, k) shape, found {first.shape} and {second.shape}")
    differs = np.ascontiguousarray(first ^ second).reshape(-1)
    edges = np.flatnonzero(np.diff(differs, prepend=False)) if differs.size else np.empty(0, np.int64)
    runs = np.diff(edges, prepend=0, append=differs.size)
    return zlib.compress(np.asarray(first.shape, _SHAPE).tobytes() + runs.astype(_COUNT).tobytes())


def apply_mask(before: ArrayLike, packed: bytes) -> Mask:
    """Return the mask after a packed change.

    Raises
    ------
    ReadError
        If the change is damaged or was made for a mask of another shape.
    """
    mask = np.asarray(before, dtype=bool)
    runs = _runs(packed, mask.shape)
    flips = np.zeros(len(runs), dtype=bool)
    flips[1::2] = True
    changed: Mask = np.repeat(flips, runs).reshape(mask.shape)
    return mask ^ changed


def _runs(packed: bytes, shape: tuple[int, ...]) -> NDArray[Any]:
    size = int(np.prod(shape))
    # No change needs more runs than voxels and one; a damaged one must not unpack to more.
    most = _AXES * _SHAPE.itemsize + (size + 2) * _COUNT.itemsize
    try:
        raw = zlib.decompressobj().decompress(packed, most)
        numbers = np.frombuffer(raw, _COUNT)
    except (zlib.error, ValueError) as error:
        raise ReadError(f"A saved edit is damaged ({error}); the edits before it are whole.") from None
    if tuple(numbers[:_AXES].tolist()) != shape:
        raise ReadError(f"A saved edit is of a mask of shape {tuple(numbers[:_AXES].tolist())}; found one of {shape}.")
    runs = numbers[_AXES:]
    if int(runs.sum(dtype=np.int64)) != size:
        raise ReadError("A saved edit is damaged: it does not cover the mask; the edits before it are whole.")
    return runs
