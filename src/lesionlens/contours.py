"""The voxels of a map that a contour runs around, worked out slice by slice as they are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["ABOVE", "BELOW", "Cut"]

#: Labels of the voxels at or above the threshold, and of those at or below its negative.
ABOVE, BELOW = 1, 2


class Cut:
    """A map as labels, which holds no labels: they are made of whatever part is asked for.

    It looks like an array of uint8: :data:`ABOVE` at or above the threshold, :data:`BELOW` at or below its negative
    where both signs count, else 0. A voxel equal to the threshold belongs, as regions are measured.

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
        """Return the labels of a part."""
        part = np.asarray(self.values[key])
        found = (part >= self._at).astype(np.uint8)
        if self.both_signs:
            found[part <= -self._at] = BELOW
        return found

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the labels of the whole map, which is as large as a mask."""
        found = self[...]
        return found if dtype is None else found.astype(dtype)
