"""Cohorts: intervals by closed forms and by drawing again, rates over all lesions, strata, FROC score."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lesionlens.calibration import reliability
from lesionlens.evaluation import CaseMeasures, LesionMeasure, interval, sum_up
from lesionlens.evaluation.cohort import FROC_RATES
from lesionlens.evaluation.measuring import FROC_THRESHOLDS

NUMBERS = (
    "dice", "hausdorff95_mm", "average_surface_distance_mm", "volume_difference_mm3", "brier", "pointing_game",
    "mass_accuracy", "average_precision", "ece", "ece_near",
)  # fmt: skip


def measures(
    name: str,
    *,
    dice: float | None = 0.5,
    marked: tuple[tuple[float, float], ...] = (),
    false: tuple[float, ...] = (),
    froc: list[tuple[int, int]] | None = None,
    bins: np.ndarray | None = None,
) -> CaseMeasures:
    """Return a case with lesions (volume, covered), false positives (volume), and what the curve counts."""
    lesions = [LesionMeasure("marked", n, *one) for n, one in enumerate(marked, start=1)]
    lesions += [LesionMeasure("false positive", n, volume, 0.0) for n, volume in enumerate(false, start=1)]
    n_detected = sum(covered > 0 for _, covered in marked)
    numbers = {
        **dict.fromkeys(NUMBERS),
        "dice": dice,
        "n_lesions": len(marked),
        "n_detected": n_detected,
        "n_regions": n_detected + len(false),
        "n_false_positives": len(false),
    }
    counts = froc or [(n_detected, len(false))] * len(FROC_THRESHOLDS)
    sums = np.ones((2, 3, 20)) if bins is None else bins
    return CaseMeasures(name, "b 1", "lesion", numbers, tuple(lesions), np.array(counts, dtype=np.int64), sums)


def mean_of(values: np.ndarray) -> object:
    """Return the statistic that is the mean of values."""
    return lambda index: values[index].mean(axis=-1)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    """Resampled means of many values are normal, with the standard deviation of the values by √n."""
    values = np.random.default_rng(0).normal(3, 2, 400)

    found = interval(mean_of(values), len(values), seed=1)  # type: ignore[arg-type]  # what mean_of() returns

    half = stats.norm.ppf(0.975) * values.std() / 20
    assert found is not None
    # quantiles of 2000 drawings vary by 5 % of the half width: sqrt(0.025 * 0.975 / 2000) / density / 1.96 = 0.031
    assert found == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_the_interval_holds_the_true_mean_as_often_as_it_says() -> None:
    """The property that a reader relies on; of 200 cohorts of 40, about 95 % (the percentile interval: 94 %)."""
    rng = np.random.default_rng(2)
    cohorts = rng.normal(0, 1, (200, 40))
    ends = [interval(mean_of(c), 40, seed=n, n_resamples=400) for n, c in enumerate(cohorts)]  # type: ignore[arg-type]
    held = np.mean([low < 0 < high for low, high in ends])  # type: ignore[misc]  # 40 cases have an interval

    # 95 % less 1 % by the normal in place of t (Student, 39 degrees), three standard deviations of 200 drawings: 5 %
    assert 0.89 < held < 0.99


def test_the_same_seed_gives_the_same_interval_and_one_case_has_none() -> None:
    """An interval that changes when the command is given again is none to quote."""
    values = np.random.default_rng(3).normal(size=12)
    found = [interval(mean_of(values), 12, seed=seed) for seed in (0, 0, 1)]  # type: ignore[arg-type]

    assert found[0] == found[1] != found[2]
    assert interval(mean_of(values), 1, seed=0) is None  # type: ignore[arg-type]


def test_an_interval_is_what_drawing_all_cohorts_gives() -> None:
    """Of three cases there are 27 drawings: the quantiles of their means are known exactly."""
    values = np.array([0.0, 1.0, 5.0])
    every = np.sort([np.mean([a, b, c]) for a in values for b in values for c in values])

    found = interval(mean_of(values), 3, seed=0)  # type: ignore[arg-type]

    assert found == pytest.approx((every[0], every[-1]))  # each end has 1 of 27, more than 2.5 %


def test_rates_are_over_all_lesions_and_means_over_the_cases_that_have_one() -> None:
    """One of one and one of three make two of four, not two thirds; a healthy case has no Dice but a false positive."""
    cases = [
        measures("a", dice=0.8, marked=((50, 0.5),)),
        measures("b", dice=0.4, marked=((2000, 0.1), (150, 0.0), (20, 0.0))),
        measures("c", dice=None, false=(10, 500)),
    ]

    found = sum_up("", cases)

    assert (found["dice"].value, found["dice"].n_cases) == (pytest.approx(0.6), 2)
    assert (found["sensitivity"].value, found["sensitivity"].n_cases) == (0.5, 2)
    assert found["precision"].value == 0.5  # 2 of 4 regions
    assert found["false_positives_per_case"].value == pytest.approx(2 / 3)
    assert found["false_positives_per_case_below_100_mm3"].value == pytest.approx(1 / 3)
    assert found["false_positives_per_case_from_1000_mm3"].value == 0
    sizes = [f"sensitivity_{words}" for words in ("below_100_mm3", "100_to_1000_mm3", "from_1000_mm3")]
    assert [found[name].value for name in sizes] == [0.5, 0, 1]
    assert found["pointing_game"] == type(found["dice"])("pointing_game", 0, None, None, None)
    assert found.cases == ("a", "b", "c")


def test_the_curve_and_its_score_are_those_counted_by_hand() -> None:
    """Two cases of two lesions; at each rate the best sensitivity that no more false positives allow."""
    steps = len(FROC_THRESHOLDS) - 3
    curve = [(2, 8), (1, 1), (1, 0), *[(0, 0)] * steps]
    cases = [measures(name, marked=((10, 1.0), (10, 1.0)), froc=curve) for name in "ab"]

    found = sum_up("", cases)

    assert found.froc.sensitivity[:4] == (1, 0.5, 0.5, 0)
    assert found.froc.false_positives_per_case[:4] == (8, 1, 0, 0)
    best = [1.0 if rate >= 8 else 0.5 for rate in FROC_RATES]
    assert found["froc_score"].value == pytest.approx(np.mean(best))
    assert (found.froc.low[1], found.froc.high[1]) == (0.5, 0.5), "both cases are alike, whatever is drawn"


def test_without_lesions_there_is_no_curve_and_no_score() -> None:
    """A cohort of healthy scans has false positives alone."""
    found = sum_up("", [measures("a", dice=None), measures("b", dice=None, false=(5,))])

    assert found.froc.thresholds == ()
    assert (found["froc_score"].value, found["sensitivity"].value) == (None, None)
    assert found["false_positives_per_case"].value == 0.5


def test_reliability_is_that_of_all_voxels_together() -> None:
    """Pooled sums of single cases are the reliability of their voxels in one array."""
    rng = np.random.default_rng(4)
    p = rng.uniform(size=(3, 500))
    y = rng.uniform(size=(3, 500)) < p**2
    each = [reliability(*pair) for pair in zip(p, y, strict=True)]
    sums = [np.stack([r.counts, r.mean_probability * r.counts, r.frequency * r.counts]) for r in each]

    near = [np.zeros((3, 20)), sums[1], sums[2]]  # the first has no voxel near a lesion
    pairs = [np.stack(pair) for pair in zip(sums, near, strict=True)]

    found = sum_up("", [measures(str(n), bins=one) for n, one in enumerate(pairs)])

    whole = reliability(p, y)
    np.testing.assert_allclose(found.reliability.mean_probability, whole.mean_probability)
    np.testing.assert_allclose(found.reliability.frequency, whole.frequency)
    assert found["ece"].value == pytest.approx(whole.expected_error)
    assert found["ece_near"].n_cases == 2
    assert found["ece_near"].value == pytest.approx(reliability(p[1:], y[1:]).expected_error)
    assert found["ece"].low < found["ece"].value < found["ece"].high  # type: ignore[operator]  # three cases
