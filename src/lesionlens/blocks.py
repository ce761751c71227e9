"""Arrays of whole volumes, part by part: what is computed of a part as float64 is gone before the next one comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["blocks"]

# As float64 they take 1 MB, of which several fit into a processor's cache; Python's share of the time is still small.
_BLOCK: Final = 1 << 17


def blocks(array: NDArray[Any], *, most: int = _BLOCK) -> Iterator[tuple[slice, ...]]:
    """Yield indices that cut an array, and any other of its shape, into parts without overlap.

    The cuts lie across the axis that varies slowest in memory, so that each part lies in one piece there.

    Parameters
    ----------
    array
        Of any shape with an axis.
    most
        Elements of a part; one layer across that axis is a part even if it has more.
    """
    slow = int(np.argmax(np.abs(array.strides)))
    step = max(1, most * array.shape[slow] // max(array.size, 1))
    for start in range(0, array.shape[slow], step):
        yield tuple(slice(start, start + step) if axis == slow else slice(None) for axis in range(array.ndim))
