from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from lesionlens.errors import InputError
from lesionlens.explain.trust import rank_correlation, structural_similarity
from lesionlens.explain.trust import similarity as module


def test_rank_correlation_is_spearmans_with_ties(rng: np.random.Generator) -> None:
    """Maps have many equal values; an independent implementation says what their ranks give."""
    first = rng.integers(0, 5, (6, 5, 4)).astype(np.float32)
    second = first + rng.normal(size=first.shape)
    inside = rng.random(first.shape) > 0.3

    found = rank_correlation(first, second, inside)

    assert found == pytest.approx(spearmanr(first[inside], second[inside]).statistic, abs=1e-12)


def test_rank_correlation_sees_the_order_alone(rng: np.random.Generator) -> None:
    """A map on another scale is the same map, one with the opposite order its opposite."""
    values = rng.normal(size=(4, 4, 4))

    assert rank_correlation(values, np.exp(3 * values)) == pytest.approx(1)
    assert rank_correlation(values, -values) == pytest.approx(-1)


def test_a_constant_map_says_nothing_of_another(rng: np.random.Generator) -> None:
    """A quotient of zeros would be NaN and would pass every comparison unseen."""
    values = rng.normal(size=(4, 4, 4))

    assert rank_correlation(values, np.ones_like(values)) == 0


def test_large_maps_are_thinned_evenly(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole head would take seconds to sort; a tenth of its voxels says the same within the error of so many."""
    first = rng.normal(size=(40, 40, 40))
    second = first + rng.normal(size=first.shape)
    whole = rank_correlation(first, second)

    monkeypatch.setattr(module, "MOST_VOXELS", 6400)

    assert rank_correlation(first, second) == pytest.approx(whole, abs=4 / np.sqrt(6400))


def test_structural_similarity_is_that_of_skimage(rng: np.random.Generator) -> None:
    """An independent implementation of the formula, away from the borders, which it leaves out."""
    metrics = pytest.importorskip("skimage.metrics")
    first = rng.uniform(-1, 1, (12, 13, 14))
    second = 0.7 * first + 0.3 * rng.uniform(-1, 1, first.shape)
    first, second = first / np.abs(first).max(), second / np.abs(second).max()
    inner = np.zeros(first.shape, dtype=bool)
    inner[3:-3, 3:-3, 3:-3] = True

    expected = metrics.structural_similarity(first, second, data_range=2.0, win_size=7)

    assert structural_similarity(first, second, inner) == pytest.approx(expected, abs=1e-9)
    assert structural_similarity(first, 5 * first) == pytest.approx(1)
    assert structural_similarity(first, rng.uniform(-1, 1, first.shape)) < 0.2


@pytest.mark.parametrize("compare", [rank_correlation, structural_similarity])
def test_maps_of_other_shapes_are_refused(compare: object) -> None:
    """Numpy would stretch a map of one slice over the other."""
    assert callable(compare)
    with pytest.raises(InputError, match="one shape"):
        compare(np.zeros((4, 4, 4)), np.zeros((4, 4, 1)))
    with pytest.raises(InputError, match="two voxels"):
        compare(np.zeros((4, 4, 4)), np.zeros((4, 4, 4)), np.zeros((4, 4, 4), dtype=bool))
