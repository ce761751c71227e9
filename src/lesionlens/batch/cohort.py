"""What all cases of a batch say together: quartiles, correlations of features, and cases unlike the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["COMPARED", "FEWEST_CASES", "FEWEST_REGIONS", "OF_REGIONS", "UNUSUAL", "Compared", "Correlations", "Outlier",
           "Spread", "outliers", "robust_z", "spread_of"]  # fmt: skip

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

# So many rows are looked at together: a case has few.
_ROWS: Final = 4096

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
OF_REGIONS: Final = ("intensity_mean", "shell_contrast", "sphericity", "uncertainty_mean")


@dataclass(frozen=True)
class Spread:
    """How many values there are, and where they lie."""

    n: int
    least: float
    quartile_1: float
    median: float
    quartile_3: float
    most: float


@dataclass(frozen=True, eq=False)
class Compared:
    """What cases are compared by: of a class (empty for all), with the numbers of the cases that have a value."""

    label: str
    feature: str
    cases: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Outlier:
    """A value of a case that is unlike those of the others.

    Parameters
    ----------
    case, label, feature
        Number of the case from 0, class (empty for all), and what was compared.
    value, median, z
        Of the case, of all cases, and the robust z-score.
    n
        How many cases have a value.
    """

    case: int
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


class Correlations:
    """Pearson's correlation of each two columns over the rows in which both are known, taken in one after the other.

    Sums of products are kept, of values less the mean of the first rows: a sum of squares far from 0 would lose the
    digits in which rows differ.

    Parameters
    ----------
    columns
        How many there are.
    """

    def __init__(self, columns: int) -> None:
        square = (columns, columns)
        self.n_rows = 0
        self._waiting: list[NDArray[np.float64]] = []
        self._n_waiting = 0
        self._shift: NDArray[np.float64] | None = None
        # (a, b): over the rows in which both are known, of values of a; products are of both.
        self._n, self._sum, self._squares, self._products = (np.zeros(square) for _ in range(4))
        self._least, self._most = np.full(square, np.inf), np.full(square, -np.inf)

    def add(self, rows: NDArray[np.float64]) -> None:
        """Take (rows, columns) values in; NaN where one was not measured."""
        self._waiting.append(rows)
        self.n_rows += len(rows)
        self._n_waiting += len(rows)
        if self._n_waiting >= _ROWS:
            self._take_in()

    def _take_in(self) -> None:
        rows = np.concatenate([np.empty((0, len(self._n))), *self._waiting])
        self._waiting, self._n_waiting = [], 0
        known = np.isfinite(rows)
        counts = known.astype(np.float64)
        if self._shift is None:
            self._shift = np.where(known, rows, 0).sum(axis=0) / np.maximum(counts.sum(axis=0), 1)
        values = np.where(known, rows - self._shift, 0)
        self._n += counts.T @ counts
        self._sum += values.T @ counts
        self._squares += (values**2).T @ counts
        self._products += values.T @ values
        for other in range(len(self._n)):
            both = known & known[:, [other]]
            self._least[:, other] = np.minimum(self._least[:, other], rows.min(axis=0, where=both, initial=np.inf))
            self._most[:, other] = np.maximum(self._most[:, other], rows.max(axis=0, where=both, initial=-np.inf))

    @property
    def n_known(self) -> NDArray[np.int64]:
        """In how many rows each column is known."""
        self._take_in()
        return np.diag(self._n).astype(np.int64)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(columns, columns); NaN where fewer than :data:`FEWEST_REGIONS` rows have both, or one does not vary."""
        self._take_in()
        enough = self._n >= FEWEST_REGIONS
        largest = np.maximum(np.abs(self._least), np.abs(self._most))
        with np.errstate(invalid="ignore", divide="ignore"):
            varies = enough & (self._most - self._least > _ROUNDING * largest)
            variance = self._squares - self._sum**2 / self._n
            found = (self._products - self._sum * self._sum.T / self._n) / np.sqrt(variance * variance.T)
        return np.where(varies & varies.T, found.clip(-1, 1), np.nan)


def outliers(compared: Iterable[Compared]) -> list[Outlier]:
    """Return what is unusual of the cases that are done, the most unusual first."""
    found: list[Outlier] = []
    for one in compared:
        scores = robust_z(one.values)
        for index in np.flatnonzero(np.abs(scores) > UNUSUAL):
            of_case = (int(one.cases[index]), one.label, one.feature, float(one.values[index]))
            found.append(Outlier(*of_case, float(np.median(one.values)), float(scores[index]), one.values.size))
    return sorted(found, key=lambda one: -abs(one.z))
