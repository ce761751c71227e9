"""The surface area of the body that a region's voxels are a picture of.

The area of a mesh of voxels does not come nearer to that of a smooth body as voxels get smaller: its triangles keep few
directions. Here each voxel face at the border counts with the part of it that faces along the body's normal there,

    A = Σ |n · a|,

with a the area vector of a face and n the unit gradient of the mask after a Gaussian blur. On a plane, however it is
tilted, the sum is exact; it converges for smooth bodies as the normals do (Coeurjolly, Flin, Teytaud and Tougne,
"Multigrid Convergence and Surface Area Estimation", 2003). That takes a blur that shrinks with the voxels, but more
slowly: its standard deviation in mm is 0.7 h^(2/3) r^(1/3), with h the largest spacing and r the radius of the ball of
the region's volume. The paper's normals come from other filters; a blur takes any spacing.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lesionlens.volume import Grid

__all__ = ["smooth_surface_mm2"]

# Found on balls and ellipsoids: more rounds off small bodies (their area comes out too small), less leaves the stairs
# in the normals (too large).
_BLUR: Final = 0.7
# Where the Gaussian is cut, in standard deviations.
_REACH: Final = 3.0
# Of the area vectors and normals, below which a gradient is none but for rounding.
_FLAT: Final = 1e-9


def smooth_surface_mm2(mask: NDArray[np.bool_], grid: Grid) -> float:
    """Return the area of the surface of a body from its voxels.

    Parameters
    ----------
    mask
        (i, j, k), True inside; it ends at the faces of the array.
    grid
        Where it lies; any spacing, oblique and sheared too.
    """
    from scipy.ndimage import gaussian_filter

    radius = (3 * np.count_nonzero(mask) * grid.voxel_volume_mm3 / (4 * np.pi)) ** (1 / 3)
    blur = _BLUR * max(grid.spacing_mm) ** (2 / 3) * radius ** (1 / 3) / np.array(grid.spacing_mm)
    padded = np.pad(mask, [(n, n) for n in (np.ceil(_REACH * blur).astype(int) + 1).tolist()])
    blurred = gaussian_filter(padded.astype(np.float64), blur, mode="constant", truncate=_REACH)
    inverse = np.asarray(np.linalg.inv(grid.affine[:3, :3]), dtype=np.float64)
    slopes = np.gradient(blurred)
    # the rows of the inverse are the normals of the faces across each axis
    areas: NDArray[np.float64] = grid.voxel_volume_mm3 * inverse
    return float(sum(_faces(padded, slopes, inverse, areas[axis], axis) for axis in range(3)))


def _faces(
    mask: NDArray[np.bool_], slopes: Any, inverse: NDArray[np.float64], area: NDArray[np.float64], axis: int
) -> float:
    """Sum what the faces across one axis show of themselves along the normals."""
    lower = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
    upper = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
    border = mask[lower] != mask[upper]
    along_axes = np.stack([slope[lower][border] + slope[upper][border] for slope in slopes], axis=-1)
    normals = along_axes @ inverse
    length = np.linalg.norm(normals, axis=1)
    shown, whole = np.abs(normals @ area), float(np.linalg.norm(area))
    return float(np.divide(shown, length, out=np.full_like(length, whole), where=length > _FLAT * whole).sum())
