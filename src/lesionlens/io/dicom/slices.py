"""One image of a series with its place, and how far places may be off before they count as different.

Voxel ``(i, j, k)`` is column i, row j of the k-th image; DICOM gives its place in LPS mm (PS3.3 C.7.6.2.1.1) as::

    position_k + i * spacing_between_columns * row_direction + j * spacing_between_rows * column_direction
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lesionlens.io.dicom.header import Frame, Instance

__all__ = [
    "LPS_TO_RAS",
    "POSITION_TOLERANCE_MM",
    "POSITION_TOLERANCE_STEPS",
    "SAME_POSITION_MM",
    "Slice",
    "Vectors",
    "orientation_of",
    "position_of",
    "starts_of_positions",
    "step_tolerance_mm",
    "turn_error_mm",
]

# A voxel of a regular series may lie this far from its place on the grid: scanners write positions with as little as
# one decimal (0.09 mm in space), and no model resolves a tenth of a millimetre.
POSITION_TOLERANCE_MM = 0.1

# ... but never further than this part of a step between slices: a missing slice displaces others by half a step at
# least, so it cannot hide below a fifth.
POSITION_TOLERANCE_STEPS = 0.2

# Images closer than this along the normal are at the same position; no scanner cuts slices this thin, and it is ten
# times the rounding of positions written with three decimals.
SAME_POSITION_MM = 0.01

# DICOM counts to the left and back, the affines here to the right and front.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

Vectors = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Slice:
    """One image of a series: a frame and the file that holds it."""

    instance: Instance
    frame: Frame

    @property
    def name(self) -> str:
        """File name, with the frame number (from 1) where the file holds several."""
        several = self.instance.n_frames > 1
        return f"{self.instance.name} frame {self.frame.index + 1}" if several else self.instance.name


def position_of(item: Slice) -> Vectors:
    """Return the (3,) centre of the first pixel, LPS mm."""
    return np.array(item.frame.position, dtype=np.float64)


def orientation_of(item: Slice) -> Vectors:
    """Return the (6,) directions of growing column index and of growing row index, LPS."""
    return np.array(item.frame.orientation, dtype=np.float64)


def starts_of_positions(along: Vectors) -> list[int]:
    """Return the first k at each position; several images may share one.

    Parameters
    ----------
    along
        (k,) places in mm along the normal, ascending.
    """
    return [0, *(np.flatnonzero(np.diff(along) >= SAME_POSITION_MM) + 1).tolist()]


def step_tolerance_mm(typical: float) -> float:
    """Return how far a slice may lie from its place where the typical step between slices is so many mm."""
    return min(POSITION_TOLERANCE_MM, POSITION_TOLERANCE_STEPS * typical)


def turn_error_mm(item: Slice, reference: Vectors) -> float:
    """Return how far in mm the far corner of an image moves when it takes the reference orientation."""
    extent = np.array([item.instance.columns - 1, item.instance.rows - 1]) * np.array(item.frame.spacing)[::-1]
    turn = orientation_of(item) - reference
    return float(np.linalg.norm(turn[:3] * extent[0]) + np.linalg.norm(turn[3:] * extent[1]))
