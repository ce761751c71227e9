"""What lies around a region: a shell of stated thickness, and how the region stands out from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.volume import Volume

__all__ = ["SHELL_MM", "Surroundings", "measure_surroundings"]

# Wide enough for some voxels of a clinical scan on each side, narrow enough to stay in the same tissue.
SHELL_MM = 3.0


@dataclass(frozen=True)
class Surroundings:
    """The shell around one region: voxels whose centre is at most :data:`SHELL_MM` from one of the region's.

    Voxels of other regions, and those without data, do not belong to it.

    Parameters
    ----------
    n_voxels
        Number of voxels of the shell.
    mean, sd
        Their mean and population standard deviation, in the unit of the scan; None where there are none.
    contrast
        Mean of the region less mean of the shell.
    contrast_to_noise
        The contrast divided by the shell's standard deviation; None where that is 0.
    """

    n_voxels: int
    mean: float | None
    sd: float | None
    contrast: float | None
    contrast_to_noise: float | None


def measure_surroundings(labels: ArrayLike, volume: Volume) -> list[Surroundings]:
    """Measure the shell around every region of a label array, by label ascending.

    Parameters
    ----------
    labels
        (i, j, k) integers on the grid of the volume, 0 outside.
    volume
        The scan. Values that are not finite are left out.
    """
    from scipy.ndimage import find_objects

    array = np.asarray(labels)
    # The box of a ball of that radius: the rows of the inverse say how many voxels a mm can be along each axis.
    margin = np.ceil(SHELL_MM * np.linalg.norm(np.linalg.inv(volume.grid.affine[:3, :3]), axis=1)).astype(int)
    boxes = find_objects(array)
    found = []
    for label, box in enumerate(boxes, start=1):
        if box is not None:
            wide = tuple(slice(max(0, s.start - m), s.stop + m) for s, m in zip(box, margin, strict=True))
            found.append(_measure(array[wide], label, volume, wide))
    return found


def _measure(labels: NDArray[np.generic], label: int, volume: Volume, box: tuple[slice, ...]) -> Surroundings:
    values = np.asarray(volume.array[box], dtype=np.float64)
    counts = (labels == 0) & np.isfinite(values)
    if volume.valid is not None:
        counts &= volume.valid[box]
    inside = labels == label
    shell = values[_near(counts, inside, volume.grid.affine[:3, :3])]
    if not shell.size:
        return Surroundings(0, None, None, None, None)
    mean, sd = float(shell.mean()), float(shell.std())
    contrast = float(values[inside].mean()) - mean
    return Surroundings(int(shell.size), mean, sd, contrast, contrast / sd if sd > 0 else None)


def _near(
    candidates: NDArray[np.bool_], inside: NDArray[np.bool_], axes: NDArray[np.float64]
) -> tuple[NDArray[np.int64], ...]:
    """Return the indices of the candidates that are near a voxel inside; distances in mm on any grid, sheared too."""
    from scipy.ndimage import binary_erosion
    from scipy.spatial import KDTree

    # The nearest voxel of a region to one outside it has a neighbour outside.
    border = np.argwhere(inside & ~binary_erosion(inside, np.ones((3, 3, 3), bool)))
    where = np.argwhere(candidates)
    if not len(where):
        return tuple(where.T)
    reach = SHELL_MM * (1 + 1e-9)  # voxels at just that distance belong to it, whatever rounding says
    distance, _ = KDTree(border @ axes.T).query(where @ axes.T, distance_upper_bound=reach)
    return tuple(where[np.isfinite(distance)].T)
