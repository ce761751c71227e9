"""Lines around the voxels of a map that reach a threshold, drawn slice by slice as they are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["ABOVE", "BELOW", "Lines"]

#: Labels of the voxels at or above the threshold, and of those at or below its negative.
ABOVE, BELOW = 1, 2


class Lines:
    """A map as labels, which holds no labels: they are made of whatever part is asked for.

    It looks like an array of uint8: :data:`ABOVE` at or above the threshold, :data:`BELOW` at or below its negative
    where both signs count, else 0. A voxel equal to the threshold belongs, as regions are measured.

    Of a slice only the outermost voxels have their label: those that share an edge with one of another label. The line
    lies inside, so that its outer edge is the edge of the voxels that it runs around. Nothing lies beyond the border of
    a slice, so that there is no line along it. Other parts, which cannot be drawn as lines, have all their labels.

    Parameters
    ----------
    values
        (a, b, c) numbers; kept, not copied.
    threshold
        Compared in the precision of the values.
    both_signs
        Whether values below 0 count as well.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, values: NDArray[Any], threshold: float, *, both_signs: bool = False) -> None:
        self.values, self.threshold, self.both_signs = values, threshold, both_signs
        self._at = values.dtype.type(threshold) if values.dtype.kind == "f" else threshold
        self.shape, self.ndim, self.size = values.shape, values.ndim, values.size

    def __len__(self) -> int:
        """Return the length of the first axis, as of an array."""
        return len(self.values)

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Return the labels of a part; of a slice, its lines."""
        found = self._labels(np.asarray(self.values[key]))
        return _outermost(found) if found.ndim == 2 else found

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the labels of the whole map, which is as large as a mask."""
        found = self._labels(self.values)
        return found if dtype is None else found.astype(dtype)

    def _labels(self, part: NDArray[Any]) -> NDArray[np.uint8]:
        found = (part >= self._at).astype(np.uint8)
        if self.both_signs:
            found[part <= -self._at] = BELOW
        return found


def _outermost(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the labels (rows, columns) of those pixels alone that share an edge with another label."""
    edge = np.zeros(labels.shape, dtype=bool)
    for axis in (0, 1):
        before = (slice(None),) * axis + (slice(None, -1),)
        after = (slice(None),) * axis + (slice(1, None),)
        differs = labels[before] != labels[after]
        edge[before] |= differs
        edge[after] |= differs
    return np.where(edge, labels, np.uint8(0))
