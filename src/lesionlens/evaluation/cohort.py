"""All cases of a cohort together: means and rates with intervals, FROC and reliability."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lesionlens.calibration import Reliability
from lesionlens.evaluation.measuring import FROC_THRESHOLDS, SIZE_EDGES_MM3, CaseMeasures

__all__ = ["CONFIDENCE", "FROC_RATES", "N_RESAMPLES", "SIZE_NAMES", "Estimate", "Froc", "Stratum", "interval", "sum_up"]

#: Drawings of the cases; the ends of an interval then vary by about 1 % of its length from seed to seed.
N_RESAMPLES: Final = 2000
#: Share of cohorts whose true value the interval is to hold.
CONFIDENCE: Final = 0.95
#: False positives per case at which the sensitivities are averaged (van Ginneken et al., Medical Image Analysis 2010).
FROC_RATES: Final = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
#: Words for the sizes of lesions, the smallest first.
SIZE_NAMES: Final = tuple(
    name.format(*(f"{edge:g}" for edge in SIZE_EDGES_MM3))
    for name in ("below_{0}_mm3", "{0}_to_{1}_mm3", "from_{1}_mm3")
)
# Resamples that are in memory together.
_BATCH: Final = 100

_MEANS: Final = (
    "dice",
    "hausdorff95_mm",
    "average_surface_distance_mm",
    "volume_difference_mm3",
    "brier",
    "pointing_game",
    "mass_accuracy",
    "average_precision",
)

Floats = NDArray[np.float64]
# Takes (..., n) numbers of cases and returns (...) values.
Statistic = Callable[[NDArray[np.intp]], Floats]


@dataclass(frozen=True)
class Estimate:
    """A number of a cohort.

    Parameters
    ----------
    metric
        Its name.
    n_cases
        Cases in which it is defined, which it is made of.
    value, low, high
        The number and its interval; None where too few cases have one.
    """

    metric: str
    n_cases: int
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Froc:
    """Sensitivity against false positives per case at each threshold; empty where no case has a lesion.

    Parameters
    ----------
    thresholds, false_positives_per_case, sensitivity, low, high
        Of one length; the interval is that of the sensitivity.
    """

    thresholds: tuple[float, ...]
    false_positives_per_case: tuple[float, ...]
    sensitivity: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


@dataclass(frozen=True, eq=False)
class Stratum:
    """Cases that go together.

    Parameters
    ----------
    name
        What the column says of them; empty for all.
    cases
        Their names.
    estimates, froc
        What was found.
    reliability, reliability_near
        Of all voxels, and of those near lesions; None where there are none.
    """

    name: str
    cases: tuple[str, ...]
    estimates: tuple[Estimate, ...]
    froc: Froc
    reliability: Reliability
    reliability_near: Reliability | None

    def __getitem__(self, metric: str) -> Estimate:
        """Return an estimate by its name."""
        return next(one for one in self.estimates if one.metric == metric)


def interval(
    statistic: Statistic, n_cases: int, *, seed: int, n_resamples: int = N_RESAMPLES, confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Return the percentile interval of a statistic by the bootstrap over cases (Efron, Annals of Statistics 1979).

    Parameters
    ----------
    statistic
        Takes (..., n) numbers of cases and returns (...) values.
    n_cases
        How many there are.
    seed
        The same gives the same interval.
    n_resamples, confidence
        See :data:`N_RESAMPLES` and :data:`CONFIDENCE`.

    Returns
    -------
    tuple of float or None
        None for fewer than two cases.
    """
    from scipy.stats import bootstrap

    if n_cases < 2:
        return None

    def along(indices: NDArray[np.intp], axis: int = -1) -> Floats:
        return statistic(np.moveaxis(indices, axis, -1))

    found = bootstrap(
        (np.arange(n_cases),),
        along,
        n_resamples=n_resamples,
        batch=_BATCH,
        vectorized=True,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def sum_up(name: str, cases: Sequence[CaseMeasures], *, seed: int = 0, n_resamples: int = N_RESAMPLES) -> Stratum:
    """Sum up cases.

    Means are over the cases in which a number is defined; sensitivity and precision are over all lesions of all cases,
    and their intervals over cases, as lesions of one patient are alike.

    Parameters
    ----------
    name
        Of the stratum.
    cases
        At least one.
    seed, n_resamples
        Of the bootstrap.
    """

    def estimate(metric: str, counts: NDArray[np.bool_], make: Callable[[NDArray[np.intp]], Statistic]) -> Estimate:
        chosen = np.flatnonzero(counts)
        if not len(chosen):
            return Estimate(metric, 0, None, None, None)
        statistic = make(chosen)
        ends = interval(statistic, len(chosen), seed=seed, n_resamples=n_resamples) or (None, None)
        return Estimate(metric, len(chosen), float(statistic(np.arange(len(chosen)))), *ends)

    found = [estimate(metric, ~np.isnan(values), _mean_of(values)) for metric, values in _means(cases)]
    found += [estimate(metric, below > 0, _ratio_of(above, below)) for metric, above, below in _ratios(cases)]
    bins, froc = np.stack([case.bins for case in cases]), np.stack([case.froc for case in cases])
    n_lesions = _column(cases, "n_lesions")
    everyone = np.ones(len(cases), dtype=bool)
    found.append(estimate("ece", everyone, _ece_of(bins[:, 0])))
    found.append(estimate("ece_near", np.asarray(bins[:, 1, 0].any(axis=-1)), _ece_of(bins[:, 1])))
    if n_lesions.any():
        found.append(estimate("froc_score", everyone, _score_of(froc, n_lesions)))
    else:
        found.append(Estimate("froc_score", 0, None, None, None))
    curve = _froc(froc, n_lesions, seed, n_resamples)
    whole, near = bins.sum(axis=0)
    names = tuple(case.name for case in cases)
    return Stratum(name, names, tuple(found), curve, _reliability(whole), _reliability(near) if near[0].any() else None)


def _column(cases: Sequence[CaseMeasures], name: str) -> Floats:
    return np.array([np.nan if (value := case.numbers[name]) is None else value for case in cases], dtype=np.float64)


def _means(cases: Sequence[CaseMeasures]) -> list[tuple[str, Floats]]:
    found = [(name, _column(cases, name)) for name in _MEANS]
    found.append(("false_positives_per_case", _column(cases, "n_false_positives")))
    for size, words in enumerate(SIZE_NAMES):
        counts = np.array([case.count("false positive", size) for case in cases], dtype=np.float64)
        found.append((f"false_positives_per_case_{words}", counts))
    return found


def _ratios(cases: Sequence[CaseMeasures]) -> list[tuple[str, Floats, Floats]]:
    regions = _column(cases, "n_regions")
    found = [
        ("sensitivity", _column(cases, "n_detected"), _column(cases, "n_lesions")),
        ("precision", regions - _column(cases, "n_false_positives"), regions),
    ]
    for size, words in enumerate(SIZE_NAMES):
        counts = [(case.count("marked", size, detected=True), case.count("marked", size)) for case in cases]
        detected, marked = np.array(counts, dtype=np.float64).T
        found.append((f"sensitivity_{words}", detected, marked))
    return found


def _mean_of(values: Floats) -> Callable[[NDArray[np.intp]], Statistic]:
    return lambda chosen: lambda index: np.asarray(values[chosen[index]].mean(axis=-1))


def _ratio_of(above: Floats, below: Floats) -> Callable[[NDArray[np.intp]], Statistic]:
    return lambda chosen: (
        lambda index: np.asarray(above[chosen[index]].sum(axis=-1) / below[chosen[index]].sum(axis=-1))
    )


def _ece_of(bins: Floats) -> Callable[[NDArray[np.intp]], Statistic]:
    return lambda chosen: lambda index: _ece(bins[chosen[index]].sum(axis=-3))


def _ece(sums: Floats) -> Floats:
    """Return the expected calibration error of (..., 3, bins) sums: the gaps, weighted by their voxels."""
    return np.asarray(np.abs(sums[..., 1, :] - sums[..., 2, :]).sum(axis=-1) / sums[..., 0, :].sum(axis=-1))


def _reliability(sums: Floats) -> Reliability:
    held = np.where(sums[0] > 0, sums[0], np.nan)
    return Reliability(sums[1] / held, sums[2] / held, sums[0])


def _score_of(froc: NDArray[np.int64], n_lesions: Floats) -> Callable[[NDArray[np.intp]], Statistic]:
    def score(index: NDArray[np.intp]) -> Floats:
        """Return the mean, over the rates, of the highest sensitivity at no more false positives, 0 where none is.

        A drawing of cases without any lesion has no sensitivity, and counts as 0.
        """
        detected = froc[index, :, 0].sum(axis=-2) / np.maximum(n_lesions[index].sum(axis=-1), 1)[..., None]
        false = froc[index, :, 1].mean(axis=-2)
        best = [np.where(false <= rate, detected, 0).max(axis=-1) for rate in FROC_RATES]
        return np.asarray(np.mean(best, axis=0))

    return lambda chosen: lambda index: score(chosen[index])


def _froc(froc: NDArray[np.int64], n_lesions: Floats, seed: int, n_resamples: int) -> Froc:
    chosen = np.flatnonzero(n_lesions)
    if not len(chosen):
        return Froc((), (), (), (), ())
    sensitivity = froc[:, :, 0].sum(axis=0) / n_lesions.sum()
    ends: list[Any] = []
    for step in range(len(FROC_THRESHOLDS)):
        statistic = _ratio_of(froc[:, step, 0].astype(np.float64), n_lesions)(chosen)
        ends.append(interval(statistic, len(chosen), seed=seed, n_resamples=n_resamples) or (None, None))
    low, high = zip(*ends, strict=True)
    rate = froc[:, :, 1].mean(axis=0)
    return Froc(FROC_THRESHOLDS, tuple(rate.tolist()), tuple(sensitivity.tolist()), low, high)
