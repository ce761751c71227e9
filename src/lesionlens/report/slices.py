"""Which slices of a scan a montage shows, and how much of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["choose_slices", "crop_box", "head_mask", "region_areas", "slice_that_shows"]

# Closer slices look alike; thicker ones may be neighbours.
MIN_DISTANCE_MM = 5.0

# Tissue is brighter than this fraction of the way from the darkest to the brightest percent of the scan. Air in MR
# is below it (noise has some 2 to 5 % of the tissue's signal), cerebrospinal fluid in FLAIR may be too: only the
# outline of the head matters here.
TISSUE_FRACTION = 0.1

# A row, column or slice belongs to the head when it holds this fraction of the tissue of the fullest one: specks of
# noise do not widen the picture.
PROFILE_FRACTION = 0.03

# Room for the letters at the sides.
MARGIN_MM = 7.0


def head_mask(scan: NDArray[Any]) -> NDArray[np.bool_]:
    """Say for each voxel of a scan whether it is brighter than air; nowhere true for a constant scan."""
    finite = scan[np.isfinite(scan)]
    if not finite.size:
        return np.zeros(scan.shape, dtype=bool)
    dark, bright = np.percentile(finite, (1, 99))
    return np.asarray(scan > dark + TISSUE_FRACTION * (bright - dark))


def region_areas(labels: NDArray[Any]) -> NDArray[np.float64]:
    """Return for each slice (axis 0) and each region 1..n the number of the region's voxels in the slice.

    Parameters
    ----------
    labels
        (n slices, rows, columns) integers, 0 outside.

    Returns
    -------
    numpy.ndarray
        (n slices, n regions) float64.
    """
    found = np.nonzero(labels)
    names, which = np.unique(labels[found], return_inverse=True)
    counts = np.bincount(found[0] * len(names) + which, minlength=labels.shape[0] * len(names))
    return counts.reshape(labels.shape[0], len(names)).astype(np.float64)


def choose_slices(
    scores: NDArray[np.float64], head: NDArray[np.bool_], *, spacing_mm: float, fewest: int, most: int
) -> list[int]:
    """Choose the slices that matter most, and spread slices through the head where few matter.

    The slice with the highest score is taken, then again and again the next one at least :data:`MIN_DISTANCE_MM` away;
    what a taken slice shows counts half from then on, so that every region gets its turn.

    Parameters
    ----------
    scores
        (n slices, n items) not negative: how much of each item (a region, the attribution) each slice shows.
    head
        (n slices, rows, columns) True inside the head.
    spacing_mm
        Distance between neighbouring slices.
    fewest, most
        At least so many slices, as far as the scan has them, and at most.

    Returns
    -------
    list of int
        Slice indices, ascending.
    """
    weights = np.ones(scores.shape[1])
    distance = max(1, int(np.ceil(MIN_DISTANCE_MM / spacing_mm)))
    free = np.ones(len(scores), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < most:
        value = np.where(free, scores @ weights, 0)
        best = int(value.argmax())
        if value[best] <= 0:
            break
        chosen.append(best)
        free[max(0, best - distance + 1) : best + distance] = False
        weights[scores[best] > 0] /= 2
    return sorted(chosen + _spread(free, head, fewest - len(chosen)))


def slice_that_shows(shown: Sequence[tuple[NDArray[Any], float]], *, axis: int, now: int) -> int | None:
    """Return the slice that shows most of some overlays; None where the one that is shown shows any, or none does.

    Parameters
    ----------
    shown
        Each overlay as (slice, row, column) values, with the lowest value that is seen; where that is negative, its
        magnitude is the lowest magnitude.
    axis
        Axis 0..2 that the slices are perpendicular to.
    now
        Slice that is shown.
    """
    others = tuple(other for other in range(3) if other != axis)
    seen = [values >= least if least >= 0 else np.abs(values) >= -least for values, least in shown]
    counts = np.sum([mask.sum(axis=others) for mask in seen], axis=0)
    return None if counts[now] or not counts.any() else int(counts.argmax())


def crop_box(
    mask: NDArray[np.bool_], shown: NDArray[np.bool_], *, spacing_mm: tuple[float, float]
) -> tuple[slice, slice]:
    """Return the rows and columns that hold the head and everything shown, with a margin.

    Parameters
    ----------
    mask
        (n slices, rows, columns) True inside the head.
    shown
        (n slices, rows, columns) True where an overlay must not be cut off.
    spacing_mm
        Distance between rows and between columns.
    """
    rows = _extent(mask.sum(axis=(0, 2)), np.any(shown, axis=(0, 2)), spacing_mm[0])
    columns = _extent(mask.sum(axis=(0, 1)), np.any(shown, axis=(0, 1)), spacing_mm[1])
    return rows, columns


def _spread(free: NDArray[np.bool_], head: NDArray[np.bool_], wanted: int) -> list[int]:
    if wanted <= 0:
        return []
    inside = _extent(head.sum(axis=(1, 2)), np.zeros(len(head), dtype=bool), np.inf)
    candidates = np.flatnonzero(free)
    within = candidates[(candidates >= inside.start) & (candidates < inside.stop)]
    candidates = within if len(within) >= wanted else candidates
    # The middles of equal parts: the very ends of a head show little.
    places = (np.arange(wanted) + 0.5) * len(candidates) / wanted
    return np.unique(candidates[places.astype(int)]).tolist() if len(candidates) else []


def _extent(profile: NDArray[Any], keep: NDArray[np.bool_], spacing_mm: float) -> slice:
    inside = np.flatnonzero((profile > PROFILE_FRACTION * profile.max()) | keep)
    if not len(inside):
        return slice(0, len(profile))
    margin = int(np.ceil(MARGIN_MM / spacing_mm))
    return slice(max(0, int(inside[0]) - margin), min(len(profile), int(inside[-1]) + 1 + margin))
