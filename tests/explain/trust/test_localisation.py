from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from lesionlens.errors import InputError
from lesionlens.explain.trust import localisation

# Six voxels in a row, the strongest on the mask, one marked voxel late.
VALUES = np.array([0.9, 0.8, 0.7, 0.4, 0.2, -0.5]).reshape(6, 1, 1)
MASK = np.array([1, 0, 1, 0, 1, 0], dtype=bool).reshape(6, 1, 1)


def test_numbers_by_hand() -> None:
    """Six voxels: every number can be counted with a pencil."""
    found = localisation(VALUES, MASK)

    assert found.marked_share == 0.5
    assert found.points_inside == 1
    assert found.mass_accuracy == pytest.approx((0.9 + 0.7 + 0.2) / 3.0)
    assert found.rank_accuracy == pytest.approx(2 / 3)  # 0.9 and 0.7 of the three strongest
    assert found.average_precision == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)
    assert found.max_f1 == pytest.approx(2 * 3 / (5 + 3))  # five taken, all three found
    assert found.max_f1_threshold == pytest.approx(0.2)
    assert found.box_overlap == 1  # one marked voxel alone, at 0.85 of the largest value


def test_average_precision_is_sklearns(rng: np.random.Generator) -> None:
    """An independent implementation, with many equal values: those cannot be told apart and are taken together."""
    metrics = pytest.importorskip("sklearn.metrics")
    values = rng.integers(-3, 6, (7, 6, 5)).astype(np.float32)
    mask = rng.random(values.shape) < 0.2
    inside = rng.random(values.shape) < 0.8
    precision, recall, _ = metrics.precision_recall_curve(mask[inside], values[inside])
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)

    found = localisation(values, mask, inside)

    assert found.average_precision == pytest.approx(metrics.average_precision_score(mask[inside], values[inside]))
    assert found.max_f1 == pytest.approx(f1.max())


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_the_formulas_of_the_literature(seed: int) -> None:
    """Pointing game, relevance mass and rank accuracy as Quantus has them, written again as loops over the voxels."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(4, 5, 6))
    mask = rng.random(values.shape) < 0.3
    places = list(np.ndindex(values.shape))
    strongest_first = sorted(places, key=lambda place: -values[place])
    mass = sum(max(values[place], 0.0) for place in places if mask[place])

    found = localisation(values, mask)

    assert found.points_inside == mask[strongest_first[0]]
    assert found.mass_accuracy == pytest.approx(mass / sum(max(values[place], 0.0) for place in places))
    assert found.rank_accuracy == np.mean([mask[place] for place in strongest_first[: mask.sum()]])


def test_equal_values_are_ranked_by_no_place() -> None:
    """Most of a map may be 0: the mean over all orders of the equal ones, and the same for the mirror image of both."""
    values, mask = np.array([2.0, 1.0, 1.0, 1.0, 0.0]), np.array([0, 1, 1, 0, 1], dtype=bool)
    orders = [order for order in permutations(range(5)) if (np.diff(values[list(order)]) <= 0).all()]
    expected = np.mean([mask[list(order[:3])].mean() for order in orders])

    found = [localisation(values[::step, None, None], mask[::step, None, None]) for step in (1, -1)]

    assert found[0].rank_accuracy == pytest.approx(expected)
    assert found[0] == found[1]


def test_the_mask_itself_is_perfect_and_its_opposite_is_not() -> None:
    """Every number is 1 for a map that is the mask, and the verdict can say no."""
    mask = np.zeros((8, 8, 8), dtype=bool)
    mask[2:5, 3:6, 1:4] = True

    best, worst = localisation(mask.astype(float), mask), localisation(1.0 - mask, mask)

    names = ("points_inside", "mass_accuracy", "rank_accuracy", "average_precision", "max_f1", "box_overlap")
    assert [getattr(best, name) for name in names] == pytest.approx([1] * 6)
    assert best.check().verdict == "passes"
    assert worst.check().verdict == "fails"
    assert worst.points_inside == worst.mass_accuracy == 0


def test_chance_gives_the_marked_share_and_fails(rng: np.random.Generator) -> None:
    """The limit is a multiple of chance, so chance must be where the formula says it is."""
    mask = rng.random((30, 30, 30)) < 0.02

    found = localisation(rng.random(mask.shape), mask)

    assert found.average_precision == pytest.approx(0.02, abs=0.005)  # the error of 540 marked voxels
    assert found.check().verdict == "fails"


def test_boxes_overlap_by_the_closed_form() -> None:
    """Two cubes of side 4, one moved by 2 voxels along one axis, share 32 of 96 voxels."""
    mask = np.zeros((12, 12, 12), dtype=bool)
    mask[2:6, 2:6, 2:6] = True
    values = np.roll(mask, 2, axis=0) * 1.0
    values[11, 11, 11] = 0.5  # a speck is not the largest part

    assert localisation(values, mask).box_overlap == pytest.approx(32 / 96)


def test_any_of_several_lesions_may_be_found() -> None:
    """A map of one lesion of two has found its box, though not the box around both."""
    mask = np.zeros((12, 6, 6), dtype=bool)
    mask[1:3, 1:3, 1:3] = mask[8:11, 2:5, 2:5] = True
    values = np.zeros(mask.shape)
    values[8:11, 2:5, 2:5] = 1.0

    assert localisation(values, mask).box_overlap == 1


def test_a_map_without_positive_evidence_holds_none() -> None:
    """Nothing is divided by nothing; the order of the values still counts."""
    found = localisation(VALUES - 2, MASK)

    assert found.mass_accuracy == found.box_overlap == 0
    assert found.average_precision == localisation(VALUES, MASK).average_precision


@pytest.mark.parametrize("mask", [np.zeros((6, 1, 1), dtype=bool), np.ones((6, 1, 1), dtype=bool)])
def test_a_mask_of_nothing_or_everything_is_refused(mask: np.ndarray) -> None:
    """There is nothing to find, or nothing to miss."""
    with pytest.raises(InputError, match="some voxels"):
        localisation(VALUES, mask)
    with pytest.raises(InputError, match="shape of the map"):
        localisation(VALUES, MASK[:3])
