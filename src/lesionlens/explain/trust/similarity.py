"""How alike two maps are: by the order of their values, and by their structure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from lesionlens.errors import InputError

__all__ = ["rank_correlation", "structural_similarity"]

# Ranks are taken of at most so many voxels, evenly spread: the correlation of 200,000 is known to about 0.002, and a
# whole head takes seconds to sort.
MOST_VOXELS = 200_000

# Width in voxels of the neighbourhoods that are compared, and the constants that keep quotients of nothing finite
# .
SSIM_WIDTH = 7
_K1, _K2 = 0.01, 0.03


def rank_correlation(
    first: NDArray[np.floating], second: NDArray[np.floating], inside: NDArray[np.bool_] | None = None
) -> float:
    """Return Spearman's rank correlation of two maps, ties with their mean rank.

    Parameters
    ----------
    first, second
        Real numbers of one shape.
    inside
        Voxels that count, bool of that shape; all by default.

    Returns
    -------
    float
        In [-1, 1]; 0 where one of the maps is constant: it says nothing of the other.
    """
    chosen = _chosen(first, second, inside)
    a, b = (_ranks(values.ravel()[chosen]) for values in (first, second))
    scale = np.sqrt((a @ a) * (b @ b))
    return float(np.clip(a @ b / scale, -1, 1)) if scale > 0 else 0.0


def _ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return ranks around 0, equal values with their mean rank."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts + len(values)) / 2.0)[which]
    return ranks


def _chosen(
    first: NDArray[np.floating], second: NDArray[np.floating], inside: NDArray[np.bool_] | None
) -> NDArray[np.intp]:
    if first.shape != second.shape or (inside is not None and inside.shape != first.shape):
        raise InputError(f"Maps to compare have one shape; found {first.shape} and {second.shape}.")
    voxels = np.arange(first.size) if inside is None else np.flatnonzero(inside)
    if len(voxels) < 2:
        raise InputError(f"Maps are compared at two voxels or more; found {len(voxels)}.")
    return voxels[:: -(-len(voxels) // MOST_VOXELS)]


def structural_similarity(
    first: NDArray[np.floating], second: NDArray[np.floating], inside: NDArray[np.bool_] | None = None
) -> float:
    r"""Return the mean structural similarity (SSIM) of two maps, each divided by its largest magnitude.

    Of neighbourhoods :math:`x, y` of 7 voxels along each axis, with means, variances and covariance,

    .. math:: \frac{(2 \bar x \bar y + c_1)(2 s_{xy} + c_2)}{(\bar x^2 + \bar y^2 + c_1)(s_x^2 + s_y^2 + c_2)}

    Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, IEEE TIP 2004. What differs:
    flat windows in all axes of the map, and values in [-1, 1], as evidence has a sign.

    Parameters
    ----------
    first, second
        Real numbers of one shape.
    inside
        Voxels whose neighbourhoods count, bool of that shape; all by default.

    Returns
    -------
    float
        1 for equal maps, near 0 for maps without common structure.
    """
    _chosen(first, second, inside)
    width = min(SSIM_WIDTH, *first.shape)
    x, y = (_scaled(values) for values in (first, second))
    x_mean, y_mean = uniform_filter(x, width), uniform_filter(y, width)
    n = width**x.ndim
    unbiased = n / max(n - 1, 1)
    x_var = unbiased * (uniform_filter(x * x, width) - x_mean**2)
    y_var = unbiased * (uniform_filter(y * y, width) - y_mean**2)
    both = unbiased * (uniform_filter(x * y, width) - x_mean * y_mean)
    c1, c2 = (_K1 * 2) ** 2, (_K2 * 2) ** 2  # the range of values is 2
    found = (2 * x_mean * y_mean + c1) * (2 * both + c2) / ((x_mean**2 + y_mean**2 + c1) * (x_var + y_var + c2))
    return float(found.mean() if inside is None else found[inside].mean())


def _scaled(values: NDArray[np.floating]) -> NDArray[np.float64]:
    largest = float(np.abs(values).max())
    return values.astype(np.float64) / (largest or 1.0)
