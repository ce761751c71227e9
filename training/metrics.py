"""Figures that compare a lesion probability with the truth."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np

#: Borders of the lesion size classes in mm3; the last class is open.
SIZES_MM3 = (0, 10, 30, 100, 1000)


def dice(prediction: np.ndarray, truth: np.ndarray) -> float | None:
    """Dice overlap of two masks; None without any true lesion."""
    total = float(prediction.sum() + truth.sum())
    return 2 * float((prediction & truth).sum()) / total if truth.any() else None


def size_class(volume_mm3: float) -> str:
    """Name the size class of a lesion."""
    number = int(np.searchsorted(SIZES_MM3, volume_mm3, side="right")) - 1
    high = SIZES_MM3[number + 1] if number + 1 < len(SIZES_MM3) else None
    return f"{SIZES_MM3[number]}-{high} mm3" if high else f"over {SIZES_MM3[number]} mm3"


def lesion_counts(prediction: np.ndarray, truth: np.ndarray, voxel_mm3: float) -> dict[str, dict[str, int]]:
    """Count lesions found and false positives by size.

    A true lesion (26-connected) is found if the prediction touches it; a predicted one is false if it touches none.

    Returns
    -------
    dict
        Size class -> ``lesions``, ``found``, ``false``.
    """
    out = {size_class(s): {"lesions": 0, "found": 0, "false": 0} for s in SIZES_MM3}
    for mask, other, total, hits in ((truth, prediction, "lesions", "found"), (prediction, truth, "", "false")):
        labels = cc3d.connected_components(mask, connectivity=26)
        touched = np.zeros(labels.max() + 1, bool)
        touched[np.unique(labels[other & mask])] = True
        for number, volume in enumerate(np.bincount(labels.ravel()) * voxel_mm3):
            if number == 0:
                continue
            row = out[size_class(float(volume))]
            if total:
                row[total] += 1
            row[hits] += int(touched[number] if total else not touched[number])
    return out


def case_figures(probability: np.ndarray, truth: np.ndarray, voxel_mm3: float) -> dict[str, object]:
    """Overlap, volumes and lesion counts at a threshold of 0.5."""
    prediction = probability > 0.5
    overlap = dice(prediction, truth)
    return {
        "dice": None if overlap is None else round(overlap, 3),
        "true_ml": round(float(truth.sum()) * voxel_mm3 / 1000, 2),
        "predicted_ml": round(float(prediction.sum()) * voxel_mm3 / 1000, 2),
        "false_positive_ml": round(float((prediction & ~truth).sum()) * voxel_mm3 / 1000, 2),
        "lesions": lesion_counts(prediction, truth, voxel_mm3),
    }


@dataclass
class Reliability:
    """Sums over probability bins: how often voxels predicted with p are lesion.

    Voxels with p <= 0.01 are left out: they are nearly all voxels, nearly all right, and would hide the rest.
    """

    bins: int = 10

    def __post_init__(self) -> None:
        self.count = np.zeros(self.bins)
        self.sum_probability = np.zeros(self.bins)
        self.sum_truth = np.zeros(self.bins)

    def add(self, probability: np.ndarray, truth: np.ndarray) -> None:
        """Add one case."""
        kept = probability > 0.01
        p, t = probability[kept], truth[kept]
        number = np.minimum((p * self.bins).astype(int), self.bins - 1)
        self.count += np.bincount(number, minlength=self.bins)
        self.sum_probability += np.bincount(number, p, minlength=self.bins)
        self.sum_truth += np.bincount(number, t, minlength=self.bins)

    def figures(self) -> dict[str, object]:
        """Return expected calibration error and curve."""
        n = np.maximum(self.count, 1)
        predicted, observed = self.sum_probability / n, self.sum_truth / n
        error = float((self.count * np.abs(predicted - observed)).sum() / max(self.count.sum(), 1))
        return {
            "expected_calibration_error": round(error, 3),
            "predicted": predicted.round(3).tolist(),
            "observed": observed.round(3).tolist(),
            "voxels": self.count.astype(int).tolist(),
        }
