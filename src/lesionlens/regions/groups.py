"""The foreground voxels of a label array, sorted by region: every statistic is a sum or an extreme over a run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Groups"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Groups:
    """The foreground voxels of a label array, sorted by label: each region is one run of positions.

    Attributes
    ----------
    labels, sizes, starts
        For each region its label, its number of voxels and where its run begins.
    flat
        Positions in the flattened array, by label, then in array order.
    ijk
        The same positions as (3, n) voxel indices.
    """

    def __init__(self, labels: NDArray[Any]) -> None:
        flat_labels = labels.reshape(-1)
        foreground = np.flatnonzero(flat_labels)
        by_label = flat_labels[foreground]
        order = np.argsort(by_label, kind="stable")
        by_label = by_label[order]
        self.shape = labels.shape
        self.flat = foreground[order]
        self.ijk: Integers = np.stack(np.unravel_index(self.flat, labels.shape))
        self.starts: Integers = np.flatnonzero(np.diff(by_label, prepend=0))
        self.sizes: Integers = np.diff(self.starts, append=len(by_label))
        self.labels = by_label[self.starts]
        self.of_voxel = np.repeat(np.arange(len(self.starts)), self.sizes)

    def values(self, array: NDArray[Any]) -> Floats:
        """Return the array's values at the foreground voxels, in run order, as float64."""
        # An index array works for any memory layout without a copy of the whole array; reshape(-1) would not.
        return np.asarray(array[tuple(self.ijk)], dtype=np.float64)

    def sum(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the sum over each run, along the last axis."""
        return np.add.reduceat(values, self.starts, axis=-1)

    def mean(self, values: NDArray[Any]) -> Floats:
        """Return the mean over each run, along the last axis."""
        return self.sum(values) / self.sizes

    def extremes(self, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the lowest and highest value of each run, along the last axis."""
        return (
            np.minimum.reduceat(values, self.starts, axis=-1),
            np.maximum.reduceat(values, self.starts, axis=-1),
        )

    def quantile(self, ordered: Floats, q: float) -> Floats:
        """Return a quantile of each run of values that are sorted within each run.

        Between two values it is interpolated linearly (Hyndman and Fan, American Statistician 1996, type 7).
        """
        place = (self.sizes - 1) * q
        lower = np.floor(place).astype(np.int64)
        upper = np.minimum(lower + 1, self.sizes - 1)
        low, high = ordered[self.starts + lower], ordered[self.starts + upper]
        return np.asarray(low + (place - lower) * (high - low))
