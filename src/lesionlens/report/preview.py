"""The picture of a scan that is still being read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lesionlens.io.early import EarlySlice
from lesionlens.report.paint import scan_window
from lesionlens.volume import Grid, Volume

__all__ = ["Preview"]

# Grey levels of an 8-bit picture above black, which stands for slices that are not there yet.
_LEVELS = 254


class Preview:
    """A picture that grows with the slices that are handed out: call it with each of them.

    It holds grey levels, not values, so nothing can be measured on it or mistaken for the scan. The window of the grey
    levels is that of the first slice: the middle one, which shows most.

    Attributes
    ----------
    first
        The first slice; None until it is there.
    array
        (i, j, k) uint8 on the grid of the scan: 0 for what has not been read, 1 to 255 from black to white of the
        window.
    done
        How many slices are there.
    """

    def __init__(self) -> None:
        self.first: EarlySlice | None = None
        self.array: NDArray[np.uint8] = np.zeros((0, 0, 0), dtype=np.uint8)
        self._window = 0.0, 1.0
        self._there: set[int] = set()

    @property
    def done(self) -> int:
        """Number of slices that are there."""
        return len(self._there)

    def __call__(self, early: EarlySlice) -> None:
        """Draw a slice."""
        first = self.first is None
        if first:
            self._window = _window(early)
            # (slice, row, column) in memory, so that each slice is written in one piece
            self.array = np.zeros(early.grid.shape[::-1], dtype=np.uint8).transpose(2, 1, 0)
        low, high = self._window
        grey = (early.values.astype(np.float32) - np.float32(low)) * np.float32(_LEVELS / (high - low))
        self.array[:, :, early.k] = 1 + np.clip(grey, 0, _LEVELS)
        self._there.add(early.k)
        if first:
            self.first = early  # last, for who looks on from another thread


def _window(early: EarlySlice) -> tuple[float, float]:
    columns, rows = early.values.shape
    return scan_window(
        Volume(early.values[:, :, np.newaxis], Grid((columns, rows, 1), early.grid.affine), unit=early.unit)
    )
