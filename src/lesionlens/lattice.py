"""Grids whose voxels coincide, turned by right angles, flipped, or shifted by whole voxels: values are copied."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["copied_where_voxels_coincide"]

# Centres that lie this near to each other are one: what affines in single precision lose over some hundred voxels.
SAME_VOXEL: Final = 1e-4


def copied_where_voxels_coincide(values: NDArray[Any], index: NDArray[np.float64], out: NDArray[Any]) -> bool:
    """Copy values to the voxels of another grid if those that both grids have coincide.

    Parameters
    ----------
    values
        (i, j, k) on the source.
    index
        (4, 4) from voxels of the target to voxels of the source.
    out
        (i, j, k) on the target; what lies beyond the source keeps its value.

    Returns
    -------
    bool
        Whether the voxels coincide; nothing is written where they do not.
    """
    whole = np.rint(index[:3]).astype(np.int64)
    turn, shift = np.abs(whole[:, :3]), whole[:, 3]
    if not ((turn.sum(axis=0) == 1).all() and (turn.sum(axis=1) == 1).all()):
        return False
    reach = np.array([*out.shape, 1])
    if float((np.abs(index[:3] - whole) @ reach).max()) > SAME_VOXEL:
        return False
    axes = turn.argmax(axis=0)  # of the source, for each of the target
    view = values.transpose(axes)
    here, there = [], []
    for axis, (of_source, n) in enumerate(zip(axes, view.shape, strict=True)):
        first = int(shift[of_source])
        if whole[of_source, axis] < 0:
            view, first = np.flip(view, axis), n - 1 - first
        start, end = max(0, -first), min(out.shape[axis], n - first)
        here.append(slice(start, max(start, end)))
        there.append(slice(start + first, max(start, end) + first))
    out[tuple(here)] = view[tuple(there)]
    return True
