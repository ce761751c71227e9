"""Maps against each other, judged by numpy, scipy and counting by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from lesionlens.compare import compare_maps, correlations, difference, hottest, overlap
from lesionlens.confusion import class_labels, confusion
from lesionlens.errors import InputError
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.volume import Grid, Volume

SHAPE = (9, 8, 7)
GRID = Grid(SHAPE, np.diag([1.0, 2.0, 3.0, 1.0]))


def values(seed: int) -> NDArray[np.float32]:
    """Return a map of random values in [-1, 1] with many ties."""
    return np.random.default_rng(seed).integers(-10, 11, SHAPE).astype(np.float32) / 10


def heatmap(
    array: NDArray[Any], *, kind: Any = "attribution", label: str = "lesion", method: str = "gradcam", **volume: Any
) -> Heatmap:
    """Return a map on the grid."""
    named = Volume(array.astype(np.float32), GRID, **volume)
    return Heatmap(named, kind, label, kind == "attribution", Provenance(bundle="b 1", method=method))


def probability(seed: int, label: str = "lesion") -> Heatmap:
    """Return a random probability map."""
    array = np.random.default_rng(seed).random(SHAPE)
    return heatmap(array, kind="probability", label=label, method="softmax", unit="probability")


def test_a_map_and_itself_do_not_differ() -> None:
    """The difference is 0 everywhere and the correlation 1."""
    one = heatmap(values(1))

    found = difference(one, one)

    assert (found.heatmap.array == 0).all()
    assert (found.mean, found.mean_absolute, found.largest, found.limit) == (0, 0, 0, 1)
    for kind in ("pearson", "spearman"):
        np.testing.assert_allclose(correlations([one, one], kind=kind), 1, atol=1e-12)  # sums in float64


@pytest.mark.parametrize("scale", ["raw", "largest"])
def test_swapping_the_maps_negates_the_difference(scale: Any) -> None:
    """Which of two came first is a matter of sign, and of nothing else."""
    a, b = heatmap(values(1)), heatmap(3 * values(2), method="hirescam")

    there, back = difference(a, b, scale=scale), difference(b, a, scale=scale)

    np.testing.assert_array_equal(there.heatmap.array, -back.heatmap.array)
    assert there.mean == -back.mean
    assert (there.limit, there.largest) == (back.limit, back.largest)


def test_maps_of_one_unit_are_subtracted_as_they_are() -> None:
    """After minus before, in probabilities; both can be shown on the limit of either."""
    a, b = probability(1), probability(2)

    found = difference(a, b)

    np.testing.assert_array_equal(found.heatmap.array, b.array - a.array)
    assert (found.heatmap.kind, found.heatmap.signed, found.heatmap.volume.unit) == ("difference", True, "probability")
    assert found.heatmap.provenance.options["scale"] == "raw"
    assert found.limit == max(a.array.max(), b.array.max())


def test_maps_of_two_methods_are_brought_to_one_scale_and_say_so() -> None:
    """A map and ten times the same map of another method say the same."""
    a, b = heatmap(values(1)), heatmap(10 * values(1), method="hirescam")

    found = difference(a, b)

    assert found.largest < 1e-6  # one division in float32
    assert found.limit == 1
    assert found.heatmap.provenance.notes == ("Both maps were divided by their own largest magnitude first.",)


def test_correlations_are_those_of_numpy_and_scipy() -> None:
    """Independent implementations, with ties."""
    arrays = [values(1), values(2), values(1) + values(2), -values(1)]

    pearson = correlations([heatmap(a) for a in arrays])
    spearman = correlations([heatmap(a) for a in arrays], kind="spearman")

    flat = np.stack([a.ravel().astype(np.float64) for a in arrays])
    np.testing.assert_allclose(pearson, np.corrcoef(flat), atol=1e-12)
    np.testing.assert_allclose(spearman, stats.spearmanr(flat.T).statistic, atol=1e-12)


def test_a_constant_map_correlates_with_nothing() -> None:
    """Not 0, which would say that the two have nothing to do with each other, and no warning of a division."""
    found = correlations([heatmap(values(1)), heatmap(np.full(SHAPE, 0.3))])

    assert found[0, 0] == pytest.approx(1)
    assert np.isnan(found[0, 1])
    assert np.isnan(found[1, 1])


def test_voxels_without_data_count_nowhere() -> None:
    """What lies where a scan has no data is no agreement."""
    valid = np.zeros(SHAPE, dtype=bool)
    valid[:5] = True
    a, b = (heatmap(values(seed), valid=valid) for seed in (1, 2))

    found = correlations([a, b])[0, 1]

    assert found == pytest.approx(np.corrcoef(a.array[:5].ravel(), b.array[:5].ravel())[0, 1])
    assert difference(a, b).mean == pytest.approx(float((b.array - a.array)[:5].mean(dtype=np.float64)))


def test_overlap_is_counted_by_hand() -> None:
    """4 voxels, 6 voxels, 3 of them in both."""
    a, b = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    a[0, 0, :4] = b[0, 0, 1:7] = True

    found = overlap(a, b)

    assert (found.first, found.second, found.both) == (4, 6, 3)
    assert found.dice == 2 * 3 / 10
    assert found.jaccard == 3 / 7
    assert overlap(a, ~a).dice == 0
    assert overlap(a & ~a, b & ~b).dice is None


def test_the_hottest_voxels_are_a_share_of_all() -> None:
    """Whatever the unit of a map; where little is above 0, less is taken."""
    array = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)

    assert np.flatnonzero(hottest(heatmap(array), 0.02)).tolist() == list(range(493, 504))
    assert not hottest(heatmap(array - 504), 0.02).any()


def test_confusion_is_counted_pair_by_pair() -> None:
    """Python's own counting is the oracle."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, (2, 1000))

    found = confusion(a, b, 4)

    counted = Counter(zip(a.tolist(), b.tolist(), strict=True))
    assert {(i, j): int(found[i, j]) for i in range(4) for j in range(4)} == counted
    np.testing.assert_array_equal(confusion(b, a, 4), found.T)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [([0, 1], [0], "shape"), ([0, 3], [0, 1], "integers from 0 to 2"), ([0.0, 1.0], [0, 1], "integers from 0 to 2")],
)
def test_answers_that_do_not_fit_are_refused(a: Any, b: Any, message: str) -> None:
    """A wrong number would be counted in another cell."""
    with pytest.raises(InputError, match=message):
        confusion(a, b, 3)


def test_the_most_probable_class_counts() -> None:
    """Where two classes reach the threshold; where none does, there is none."""
    first = heatmap(np.full(SHAPE, 0.6), kind="probability", label="a")
    array = np.full(SHAPE, 0.55)
    array[0], array[1] = 0.7, 0.1
    second = heatmap(array, kind="probability", label="b")

    found = class_labels([first, second], threshold=0.5)

    assert (found[0] == 2).all()
    assert (found[1:] == 1).all()
    assert (class_labels([first], threshold=0.61) == 0).all()


def test_each_class_has_its_own_threshold() -> None:
    """A loop over the voxels: the most probable of those that reach theirs; overlaps are cut there too."""
    a, b = probability(1, "a"), probability(2, "b")
    limits = {"a": 0.8, "b": 0.3}

    found = compare_maps([a, b], [a, b], thresholds=(limits, 0.5))

    rows, columns = (
        [
            max((p, n) for n, p, limit in ((1, x, of["a"]), (2, y, of["b"]), (0, 0, 0)) if p >= limit)[1]
            for x, y in zip(a.array.ravel(), b.array.ravel(), strict=True)
        ]
        for of in (limits, dict.fromkeys("ab", 0.5))
    )
    counts = Counter(zip(rows, columns, strict=True))
    assert found.confusion is not None
    assert found.confusion.tolist() == [[counts[row, column] for column in range(3)] for row in range(3)]
    assert [(pair.cut, pair.overlap.first) for pair in found.pairs] == [
        ("at or above 0.8 and 0.5", int((a.array >= np.float32(0.8)).sum())),
        ("at or above 0.3 and 0.5", int((b.array >= np.float32(0.3)).sum())),
    ]


def test_maps_that_speak_of_the_same_are_paired() -> None:
    """By method; else two methods of one class, else two classes; never what could be another."""
    first = [probability(1), heatmap(values(1)), heatmap(values(2), label="edema")]
    second = [probability(2), heatmap(values(3), method="hirescam"), heatmap(values(4), label="necrosis")]

    found = compare_maps(first, second)

    pairs = [(pair.first.name, pair.second.name) for pair in found.pairs]
    assert pairs == [
        ("probability_lesion", "probability_lesion"),
        ("attribution_gradcam_lesion", "attribution_hirescam_lesion"),
        ("attribution_gradcam_edema", "attribution_gradcam_necrosis"),
    ]
    assert len(found.names) == 6
    assert found.pearson.shape == (6, 6)
    assert found.names[3] == "B: probability of 'lesion'"


def test_a_run_and_itself_agree_in_everything() -> None:
    """Differences are 0, overlaps 1, and the confusion has nothing beside its diagonal."""
    maps = [probability(1), probability(2, "edema"), heatmap(values(1))]

    found = compare_maps(maps, maps)

    assert [(p.difference.largest, p.overlap.dice) for p in found.pairs] == [(0, 1)] * 3
    assert found.confusion is not None
    assert found.classes == ("none", "lesion", "edema")
    np.testing.assert_array_equal(found.confusion, np.diag(np.diag(found.confusion)))
    assert found.confusion.sum() == np.prod(SHAPE)


def test_classes_meet_by_their_names() -> None:
    """Two models may know the same classes in another order."""
    a, b = probability(1, "a"), probability(2, "b")

    there, turned = compare_maps([a, b], [a, b]), compare_maps([a, b], [b, a])

    np.testing.assert_array_equal(turned.confusion, there.confusion)


def test_another_grid_is_refused() -> None:
    """A difference of maps that lie elsewhere would look like a finding."""
    a = heatmap(values(1))
    moved = Volume(a.array, Grid(SHAPE, np.diag([1.0, 2.0, 3.5, 1.0])))

    with pytest.raises(InputError, match="to be compared with attribution of 'lesion' by gradcam"):
        difference(a, Heatmap(moved, "attribution", "lesion", True, Provenance(method="gradcam")))
