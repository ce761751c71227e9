"""What all cases of a batch say together: quartiles, correlations of features, and cases unlike the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.batch.summary import FEATURES, CaseSummary

__all__ = ["COMPARED", "FEWEST_CASES", "FEWEST_REGIONS", "UNUSUAL", "Outlier", "Spread", "correlation", "outliers",
           "robust_z", "spread_of"]  # fmt: skip

#: Robust z-scores beyond this are outliers: Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993).
UNUSUAL: Final = 3.5
#: The median absolute deviation of normally distributed values, as a share of their SD: the third quartile of N(0, 1).
_MAD_PER_SD: Final = 0.6744897501960817
#: Of fewer values half may be unlike the others, and a median says nothing of what is usual.
FEWEST_CASES: Final = 5
#: Correlations over fewer regions are close to 1 or -1 by chance: at 10, one in twenty beyond 0.63.
FEWEST_REGIONS: Final = 10
#: A spread below this share of the median is rounding, in 64-bit floats and what was made from 32-bit ones.
_ROUNDING: Final = 1e-6

#: What cases are compared by: columns of ``summary.csv``, class by class, ...
COMPARED: Final = (
    "n_regions",
    "total_volume_mm3",
    "largest_volume_mm3",
    "probability_max",
    "class_probability",
    "n_detections",
    "mask_dice",
)
# ... and the medians of these over the regions of a case: a scan on another scale, or of another kind, shows there.
_OF_REGIONS: Final = ("intensity_mean", "shell_contrast", "sphericity", "uncertainty_mean")


@dataclass(frozen=True)
class Spread:
    """How many values there are, and where they lie."""

    n: int
    least: float
    quartile_1: float
    median: float
    quartile_3: float
    most: float


@dataclass(frozen=True)
class Outlier:
    """A value of a case that is unlike those of the others.

    Parameters
    ----------
    case, label, feature
        Name of the case, class (empty for all), and what was compared.
    value, median, z
        Of the case, of all cases, and the robust z-score.
    n
        How many cases have a value.
    """

    case: str
    label: str
    feature: str
    value: float
    median: float
    z: float
    n: int


def spread_of(values: ArrayLike) -> Spread | None:
    """Return where values lie, quartiles between neighbours by linear interpolation; None where there are none."""
    array = np.asarray(values, dtype=np.float64)
    array = array[np.isfinite(array)]
    if not array.size:
        return None
    return Spread(array.size, *(float(value) for value in np.percentile(array, [0, 25, 50, 75, 100])))


def robust_z(values: ArrayLike) -> NDArray[np.float64]:
    """Return the robust z-score of each value: the distance from the median over the median absolute deviation.

    The deviation is scaled to be the SD of normally distributed values. Where there are fewer than
    :data:`FEWEST_CASES` values, or more than half of them are equal, none is unusual by this measure: all are NaN.
    """
    array = np.asarray(values, dtype=np.float64)
    known = array[np.isfinite(array)]
    if known.size < FEWEST_CASES:
        return np.full_like(array, np.nan)
    median = np.median(known)
    deviation = np.median(np.abs(known - median))
    if deviation <= _ROUNDING * abs(median):
        return np.full_like(array, np.nan)
    return np.where(np.isfinite(array), _MAD_PER_SD * (array - median) / deviation, np.nan)


def correlation(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Pearson's correlation of each two columns, over the rows in which both are known.

    Parameters
    ----------
    values
        (regions, features); NaN where one was not measured.

    Returns
    -------
    numpy.ndarray
        (features, features); NaN where fewer than :data:`FEWEST_REGIONS` rows have both, or one does not vary in them.
    """
    count = values.shape[1]
    found = np.full((count, count), np.nan)
    known = np.isfinite(values)
    for first in range(count):
        for second in range(first, count):
            rows = known[:, first] & known[:, second]
            pair = values[rows][:, [first, second]]
            if len(pair) < FEWEST_REGIONS or (np.ptp(pair, axis=0) <= _ROUNDING * np.abs(pair).max(axis=0)).any():
                continue
            found[first, second] = found[second, first] = np.asarray(np.corrcoef(pair, rowvar=False))[0, 1]
    return found


def outliers(summaries: Sequence[CaseSummary]) -> list[Outlier]:
    """Return what is unusual of the cases that are done, the most unusual first."""
    found: list[Outlier] = []
    for label, feature, values in _compared([one for one in summaries if one.status == "done"]):
        names, array = list(values), np.array(list(values.values()), dtype=np.float64)
        scores = robust_z(array)
        for index in np.flatnonzero(np.abs(scores) > UNUSUAL):
            of_case = (names[index], label, feature, float(array[index]))
            found.append(Outlier(*of_case, float(np.median(array)), float(scores[index]), array.size))
    return sorted(found, key=lambda one: -abs(one.z))


def _compared(done: Sequence[CaseSummary]) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    """Yield class, feature, and the value of each case that has one."""
    rows = [row for one in done for row in one.rows]
    for label in dict.fromkeys(str(row["class"]) for row in rows):
        own: list[dict[str, Any]] = [row for row in rows if row["class"] == label]
        for feature in COMPARED:
            yield label, feature, {row["case"]: float(row[feature]) for row in own if row[feature] is not None}
    for feature in _OF_REGIONS:
        column = FEATURES.index(feature)
        values = {one.name: one.regions[:, column] for one in done}
        measured = {name: found[~np.isnan(found)] for name, found in values.items()}
        medians = {name: float(np.median(found)) for name, found in measured.items() if len(found)}
        yield "", f"median {feature} of the regions", medians
