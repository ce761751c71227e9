"""Slices that are handed out while the scan that they are of is still being read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from lesionlens.volume import Grid

__all__ = ["EarlySlice", "OnSlice"]


@dataclass(frozen=True, eq=False)
class EarlySlice:
    """One slice of a scan that is still being read.

    Parameters
    ----------
    grid, name, unit
        Those of the volume that reading will return.
    k
        Which slice of the grid.
    values
        (i, j) real numbers, as the volume will hold them.
    """

    grid: Grid
    name: str
    unit: str
    k: int
    values: NDArray[Any]


# Called with the middle slice first, then with each as it is decoded, in any order, from the thread that decodes it.
OnSlice = Callable[[EarlySlice], None]
