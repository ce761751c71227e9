"""Boxes and coarse maps on a grid of voxels: where they lie, how far they overlap, and how they are painted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

__all__ = ["Box", "CoarseMap", "intersection_over_union", "joined", "painted"]

# Voxels on the face of a box belong to it, also after the rounding of affines.
FACE_SLACK = 1e-4


@dataclass(frozen=True)
class Box:
    """A box that a detection network found.

    Parameters
    ----------
    low, high
        Its faces along each axis, in voxel indices of the network's grid, where whole numbers are centres of voxels.
    confidence
        Its score.
    index
        Its class.
    anchor, level
        The anchor that it was made from, counted over all levels, and that anchor's level, from 0.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    confidence: float
    index: int
    anchor: int
    level: int

    @property
    def centre(self) -> tuple[float, ...]:
        """Its centre, in voxel indices."""
        return tuple((a + b) / 2 for a, b in zip(self.low, self.high, strict=True))

    def holds(self, place: ArrayLike) -> bool:
        """Say whether a place (D), in voxel indices, lies in the box or on its faces."""
        point = np.asarray(place, dtype=np.float64)
        low, high = np.array(self.low) - FACE_SLACK, np.array(self.high) + FACE_SLACK
        return bool(((point >= low) & (point <= high)).all())

    @property
    def corners(self) -> NDArray[np.float64]:
        """Its corners (2 ** D, D), in voxel indices."""
        return np.array(list(product(*zip(self.low, self.high, strict=True))), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class CoarseMap:
    """Values on a grid that is coarser than the voxels.

    Parameters
    ----------
    values
        (*cells) float32.
    start
        Voxel index of the centre of the first cell along each axis.
    step
        Voxels from one cell to the next along each axis.
    """

    values: NDArray[np.float32]
    start: tuple[float, ...]
    step: tuple[float, ...]

    def at_voxels(self, shape: Sequence[int]) -> NDArray[np.float32]:
        """Return the value of the nearest cell at each voxel (*shape): between cells a score says nothing."""
        values = self.values
        for axis, n in enumerate(shape):
            nearest = np.floor((np.arange(n) - self.start[axis]) / self.step[axis] + 0.5).astype(int)
            values = values.take(nearest.clip(0, values.shape[axis] - 1), axis)
        return values


def joined(maps: Sequence[CoarseMap], shape: Sequence[int]) -> NDArray[np.float32]:
    """Return the highest value of several maps at each voxel (*shape)."""
    result: NDArray[np.float32] = np.maximum.reduce([one.at_voxels(shape) for one in maps])
    return result


def painted(boxes: Sequence[Box], shape: Sequence[int], to_voxels: ArrayLike | None = None) -> NDArray[np.float32]:
    """Give each voxel the highest confidence of the boxes that hold its centre, and 0 where there is none.

    A box that holds no centre is given to the voxel that its own centre lies in, so that none is invisible.

    Parameters
    ----------
    boxes
        What to paint.
    shape
        Voxels of the grid to paint on.
    to_voxels
        Affine (D + 1, D + 1) from the voxel indices of the boxes to those of the grid; the same grid by default.

    Returns
    -------
    numpy.ndarray
        (*shape) float32.
    """
    axes = len(shape)
    to_grid = np.eye(axes + 1) if to_voxels is None else np.asarray(to_voxels, dtype=np.float64)
    to_boxes: NDArray[np.float64] = np.linalg.inv(to_grid).astype(np.float64)
    result = np.zeros(tuple(shape), dtype=np.float32)
    for box in boxes:
        corners = box.corners @ to_grid[:axes, :axes].T + to_grid[:axes, axes]
        first = np.ceil(corners.min(axis=0) - FACE_SLACK).astype(int).clip(0, shape)
        stop = (np.floor(corners.max(axis=0) + FACE_SLACK).astype(int) + 1).clip(first, shape)
        inside = _inside(box, first, stop, to_boxes)
        if not inside.any():
            centre = np.rint(to_grid[:axes, :axes] @ np.array(box.centre) + to_grid[:axes, axes]).astype(int)
            if not ((centre >= 0) & (centre < shape)).all():
                continue  # beyond the grid
            first, stop, inside = centre, centre + 1, np.ones((1,) * axes, dtype=bool)
        block = result[tuple(slice(*ends) for ends in zip(first, stop, strict=True))]
        np.maximum(block, np.float32(box.confidence), out=block, where=inside)
    return result


def _inside(
    box: Box, first: NDArray[np.int_], stop: NDArray[np.int_], to_boxes: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which voxels of a block of the grid have their centre in a box."""
    axes = len(first)
    block = np.indices(tuple(stop - first)).reshape(axes, -1) + first[:, None]
    places = to_boxes[:axes, :axes] @ block + to_boxes[:axes, axes:]
    low, high = np.array(box.low)[:, None] - FACE_SLACK, np.array(box.high)[:, None] + FACE_SLACK
    inside: NDArray[np.bool_] = ((places >= low) & (places <= high)).all(axis=0).reshape(tuple(stop - first))
    return inside


def intersection_over_union(boxes: Tensor, other: Tensor) -> Tensor:
    """Return how far boxes (N, 2 D), lowest corners before highest, overlap with another (2 D): (N) in [0, 1]."""
    axes = len(other) // 2
    low = torch.maximum(boxes[:, :axes], other[:axes])
    high = torch.minimum(boxes[:, axes:], other[axes:])
    common = (high - low).clamp(min=0).prod(dim=1)
    sizes = (boxes[:, axes:] - boxes[:, :axes]).prod(dim=1)
    overlap: Tensor = common / (sizes + (other[axes:] - other[:axes]).prod() - common)
    return overlap
