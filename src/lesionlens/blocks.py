"""Arrays of whole volumes, part by part: what is computed of a part as float64 is gone before the next one comes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["blocks", "pearson"]

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


def pearson(arrays: Sequence[NDArray[Any]], inside: NDArray[np.bool_], *, constant: float = 0.0) -> NDArray[np.float64]:
    """Return the Pearson correlation of every array with every other: first the means, then what lies around them.

    Parameters
    ----------
    arrays
        Numbers of one shape.
    inside
        Of that shape: what counts.
    constant
        An array that varies by less than this share of its length is constant; it correlates with nothing (NaN).
    """
    parts = list(blocks(arrays[0]))
    count = np.count_nonzero(inside)
    if not count:
        return np.full((len(arrays), len(arrays)), np.nan)
    mean = np.zeros(len(arrays))
    for part in parts:
        mean += [float(array[part][inside[part]].sum(dtype=np.float64)) / count for array in arrays]
    products, squares = np.zeros((len(arrays), len(arrays))), np.zeros(len(arrays))
    for part in parts:
        rows = np.stack([array[part][inside[part]] for array in arrays], dtype=np.float64)
        squares += (rows**2).sum(axis=1)
        rows -= mean[:, None]
        products += rows @ rows.T
    length = np.sqrt(np.diagonal(products))
    limit = constant * np.maximum(np.sqrt(squares), np.finfo(np.float64).tiny)
    length = np.where(length <= limit, np.nan, length)
    return np.asarray(products / np.outer(length, length))
