"""Compare a map with what a reader marked.

Numbers of the literature, for volumes: the pointing game (Zhang et al., IJCV 2018), relevance mass and rank accuracy
(Arras et al., Information Fusion 2022), and the average precision over voxels (VxAP), the overlap of boxes
(Max3DBoxAcc) and the F1 over voxels (MaxF1) at the best threshold (Choe et al., CVPR 2020, brought to 3D). What
differs: box accuracy of a single scan is the overlap itself, the largest over thresholds and marked lesions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlens.checks import Chart, Check, Curve
from lesionlens.errors import InputError

__all__ = ["BETTER_THAN_CHANCE", "Localisation", "localisation"]

# A map that ranks voxels by chance has an average precision of the share of marked voxels: five times that is a map
# that finds the marks, though not their outline.
BETTER_THAN_CHANCE = 5.0

# The picture's curve has at most so many points, evenly spread over the recall.
CURVE_POINTS = 101

# Thresholds at which boxes are compared, in equal steps of the map's largest value.
BOX_THRESHOLDS = 20


@dataclass(frozen=True)
class Localisation:
    """How a map lies on a mask.

    Parameters
    ----------
    marked_share
        Share of the voxels that are marked: what chance gives.
    points_inside
        Whether the map's largest value is on the mask; a share where it is reached at several places.
    mass_accuracy
        Share of the map's positive sum on the mask.
    rank_accuracy
        Share of marked ones among the strongest voxels, as many as are marked; of equal ones where that many end, the
        share to expect.
    average_precision
        Area under precision and recall, VxAP.
    max_f1, max_f1_threshold
        Best F1 over voxels, and the value of the map from which it is reached.
    box_overlap
        Best intersection over union of the box around the map's largest connected part with that of a marked lesion.
    precision, recall
        The curve, at a few places for the picture.
    """

    marked_share: float
    points_inside: float
    mass_accuracy: float
    rank_accuracy: float
    average_precision: float
    max_f1: float
    max_f1_threshold: float
    box_overlap: float
    precision: tuple[float, ...]
    recall: tuple[float, ...]

    def check(self) -> Check:
        """Judge: the average precision must be well above chance."""
        names = ("marked_share", "points_inside", "mass_accuracy", "rank_accuracy", "average_precision", "max_f1")
        numbers = {name: getattr(self, name) for name in (*names, "max_f1_threshold", "box_overlap")}
        limit = min(BETTER_THAN_CHANCE * self.marked_share, (1 + self.marked_share) / 2)
        passes = self.average_precision >= limit
        sentence = (
            f"{100 * self.mass_accuracy:.0f} % of the evidence lies on the mask ({100 * self.marked_share:.2g} % of the"
            f" voxels), its strongest voxel {'too' if self.points_inside > 0 else 'does not'}; average precision"
            f" {self.average_precision:.2f} ({'at' if passes else 'not at'} least {limit:.2g}), best F1"
            f" {self.max_f1:.2f}, best overlap of boxes {self.box_overlap:.2f}."
        )
        curves = (
            Curve("this map", self.recall, self.precision),
            Curve("chance", (0.0, 1.0), (self.marked_share, self.marked_share)),
        )
        chart = Chart("The map against the mask", "recall", "precision", curves)
        return Check("localisation", "passes" if passes else "fails", sentence, numbers, (chart,), _NOTES)


_NOTES = (
    "A network may be right by evidence beside the lesion: this check compares with a reader, not with the network.",
)


def localisation(
    values: NDArray[np.floating], mask: NDArray[np.bool_], inside: NDArray[np.bool_] | None = None
) -> Localisation:
    """Compare a map with a mask.

    Parameters
    ----------
    values
        (i, j, k) real numbers, larger for stronger evidence.
    mask
        The same shape, bool.
    inside
        Voxels that count, such as those that the network saw; all by default.

    Raises
    ------
    InputError
        If the shapes differ, or the mask marks nothing or everything.
    """
    if values.shape != mask.shape or (inside is not None and inside.shape != mask.shape):
        raise InputError(f"A mask has the shape of the map, {values.shape}; found {mask.shape}.")
    inside = np.ones(mask.shape, dtype=bool) if inside is None else inside
    scores, marked = values[inside].astype(np.float64), mask[inside]
    if marked.all() or not marked.any():
        raise InputError(
            f"A mask must mark some voxels and leave others; found {int(marked.sum()):,} of {marked.size:,} marked."
        )
    thresholds, hits, taken = _by_threshold(scores, marked)
    precision, recall = hits / taken, hits / marked.sum()
    f1 = 2 * hits / (taken + marked.sum())
    positive = np.clip(scores, 0, None)
    best = int(f1.argmax())
    few = np.unique(np.searchsorted(recall, np.linspace(0, 1, CURVE_POINTS)).clip(0, len(hits) - 1))
    return Localisation(
        marked_share=float(marked.mean()),
        points_inside=float(marked[scores == scores.max()].mean()),
        mass_accuracy=float(positive[marked].sum() / positive.sum()) if positive.any() else 0.0,
        rank_accuracy=float(np.interp(marked.sum(), [0, *taken], [0, *hits]) / marked.sum()),
        average_precision=float(np.sum(np.diff(recall, prepend=0.0) * precision)),
        max_f1=float(f1[best]),
        max_f1_threshold=float(thresholds[best]),
        box_overlap=_box_overlap(np.where(inside, values, -np.inf), mask & inside),
        precision=tuple(precision[few].tolist()),
        recall=tuple(recall[few].tolist()),
    )


def _by_threshold(
    scores: NDArray[np.float64], marked: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct values, the largest first, with the marked and all voxels at or above each."""
    order = np.argsort(-scores, kind="stable")
    sorted_ = scores[order]
    last = np.append(np.flatnonzero(np.diff(sorted_)), len(sorted_) - 1)  # equal values are taken together
    return sorted_[last], np.cumsum(marked[order], dtype=np.int64)[last], last + 1


def _box_overlap(values: NDArray[np.floating], mask: NDArray[np.bool_]) -> float:
    """Return the best overlap of boxes over thresholds and marked lesions; 0 for a map without positive value."""
    import cc3d

    top = float(values.max())
    if top <= 0:
        return 0.0
    lesions = _boxes(cc3d.connected_components(mask.astype(np.uint8), connectivity=26))
    best = 0.0
    for threshold in np.arange(1, BOX_THRESHOLDS) / BOX_THRESHOLDS * top:
        largest = cc3d.largest_k((values >= threshold).astype(np.uint8), k=1, connectivity=26)
        (box,) = _boxes(largest)
        best = max(best, *(_overlap(box, lesion) for lesion in lesions))
    return best


_Box = tuple[NDArray[np.int64], NDArray[np.int64]]


def _boxes(labels: NDArray[Any]) -> list[_Box]:
    """Return the first voxel and the one after the last along each axis of each label's box."""
    import cc3d

    found = cc3d.statistics(np.ascontiguousarray(labels))["bounding_boxes"][1:]  # the first is the background
    return [(np.array([s.start for s in box]), np.array([s.stop for s in box])) for box in found if box is not None]


def _overlap(first: _Box, second: _Box) -> float:
    """Return the intersection of two boxes over their union, in voxels."""
    sides = np.minimum(first[1], second[1]) - np.maximum(first[0], second[0])
    common = float(np.prod(np.clip(sides, 0, None)))
    volumes = sum(float(np.prod(box[1] - box[0])) for box in (first, second))
    return common / (volumes - common)
