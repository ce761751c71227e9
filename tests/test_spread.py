"""Statistics over several predictions, against numpy and numbers by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lesionlens.errors import InputError
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.spread import MEASURES, RunningSpread, Uncertainty, VolumeSpread, binary_entropy, volume_spreads
from lesionlens.volume import Grid, Volume

# Sums of a few float32 numbers up to 1.
ROUNDING = 1e-6
GRID = Grid((30, 12, 12), np.diag([2.0, 1.0, 1.0, 1.0]))


def spread_of(samples: NDArray[np.float32]) -> RunningSpread:
    """Return the running statistics of samples along the first axis."""
    spread = RunningSpread()
    for sample in samples:
        spread.add(sample)
    return spread


def random_samples() -> NDArray[np.float32]:
    """Return 7 samples of 50 probabilities, 0 and 1 among them."""
    samples = np.random.default_rng(3).random((7, 50)).astype(np.float32)
    samples[:, 0], samples[:, 1] = 0, 1
    return samples


def test_running_statistics_are_those_of_all_samples_at_once() -> None:
    """numpy, which sees all samples together and in double precision, is the oracle."""
    samples = random_samples()
    exact = samples.astype(np.float64)

    spread = spread_of(samples)

    inner = exact.clip(1e-300, 1 - 1e-16)
    entropies = -inner * np.log(inner) - (1 - inner) * np.log(1 - inner)
    mean = inner.mean(axis=0)
    entropy = -mean * np.log(mean) - (1 - mean) * np.log(1 - mean)
    np.testing.assert_allclose(spread.measure("mean"), exact.mean(axis=0), atol=ROUNDING)
    np.testing.assert_allclose(spread.measure("sd"), exact.std(axis=0, ddof=1), atol=ROUNDING)
    np.testing.assert_allclose(spread.measure("entropy"), entropy, atol=ROUNDING)
    np.testing.assert_allclose(spread.measure("mutual information"), entropy - entropies.mean(axis=0), atol=ROUNDING)


def test_entropy_is_mutual_information_and_expected_entropy() -> None:
    """The two reasons for doubt add up to all of it."""
    spread = spread_of(random_samples())

    both = spread.measure("mutual information") + spread.expected_entropy

    np.testing.assert_allclose(spread.measure("entropy"), both, atol=ROUNDING)


@pytest.mark.parametrize(
    ("samples", "entropy", "mutual", "sd"),
    [
        ([0.0, 1.0], np.log(2), np.log(2), np.sqrt(0.5)),  # each is sure, and they disagree
        ([0.5, 0.5], np.log(2), 0.0, 0.0),  # they agree that they do not know
        ([1.0, 1.0], 0.0, 0.0, 0.0),
    ],
)
def test_disagreement_and_shared_doubt_are_told_apart(
    samples: list[float], entropy: float, mutual: float, sd: float
) -> None:
    """The cases at the corners, by hand."""
    spread = spread_of(np.array(samples, np.float32))

    found = [float(spread.measure(name)) for name in ("entropy", "mutual information", "sd")]

    np.testing.assert_allclose(found, [entropy, mutual, sd], atol=ROUNDING)


def test_equal_samples_have_a_spread_of_exactly_zero() -> None:
    """Rounding must not look like doubt: no tolerance here."""
    sample = np.random.default_rng(0).random(1000).astype(np.float32)

    spread = spread_of(np.stack([sample] * 11))

    np.testing.assert_array_equal(spread.measure("mean"), sample)
    assert (spread.measure("sd") == 0).all()
    assert (spread.measure("mutual information") == 0).all()
    np.testing.assert_array_equal(spread.measure("entropy"), binary_entropy(sample))


def box(first: int, last: int) -> NDArray[np.bool_]:
    """Return a bar of 3 x 3 voxels from one index to another, both inclusive; a slice of it is 18 mm³."""
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[first : last + 1, 4:7, 4:7] = True
    return mask


def test_volumes_of_lesions_are_those_of_the_script() -> None:
    """Three samples of two lesions: one grows, one is missed once; a third lesion belongs to neither."""
    labels = box(2, 5).astype(np.int32) + 2 * box(20, 21)
    masks = [box(2, 5) | box(20, 21), box(2, 7) | box(20, 20) | box(12, 13), box(2, 3)]

    large, small = volume_spreads(labels, masks, GRID)

    volumes = np.array([[4, 6, 2], [2, 1, 0]]) * 18.0
    for number, (found, column) in enumerate(zip((large, small), volumes, strict=True), start=1):
        assert found == VolumeSpread(
            number,
            pytest.approx(column.mean()),
            pytest.approx(column.std(ddof=1)),
            pytest.approx(column.std(ddof=1) / column.mean()),
            pytest.approx((column > 0).mean()),
        )


def test_a_lesion_that_merges_two_is_shared_by_nearness() -> None:
    """A sample in which two lesions touch must not give all of it to one and nothing to the other."""
    labels = box(2, 5).astype(np.int32) + 2 * box(10, 13)

    left, right = volume_spreads(labels, [box(2, 13)] * 2, GRID)

    assert left.mean_mm3 == right.mean_mm3 == 6 * 18.0
    assert left.cov == right.cov == 0


def test_a_lesion_that_no_sample_has_has_no_cov() -> None:
    """Zero by zero is not zero spread."""
    (found,) = volume_spreads(box(2, 5).astype(np.int32), [np.zeros(GRID.shape, bool)] * 3, GRID)

    assert found == VolumeSpread(1, 0.0, 0.0, None, 0.0)


def uncertainty_of(masks: list[NDArray[np.bool_]]) -> Uncertainty:
    """Return what masks of a lesion, taken for probabilities, say together."""
    spread = spread_of(np.stack(masks).astype(np.float32))
    scan = Volume(np.zeros(GRID.shape, np.float32), GRID)
    maps = tuple(
        Heatmap(scan.with_array(spread.measure(m)), "uncertainty", "lesion", False, Provenance(method=m))
        for m in MEASURES
    )
    packed: dict[str, Any] = {"lesion": [np.packbits(mask) for mask in masks]}
    return Uncertainty("tta", ("a", "b", "c"), maps, {}, 0.5, (), packed)


def test_lesions_are_by_default_those_of_the_mean_map() -> None:
    """A lesion of one sample in three is none of the mean, and its voxels count for no other."""
    found = uncertainty_of([box(2, 5), box(2, 5), box(2, 5) | box(20, 25)])

    assert [(v.mean_mm3, v.cov) for v in found.volumes("lesion")] == [(72.0, 0.0)]
    assert found.total_volume("lesion").mean_mm3 == pytest.approx((4 + 4 + 10) / 3 * 18.0)


def test_each_lesion_is_painted_with_the_cov_of_its_volume() -> None:
    """Slices: 3, 3 and 5 of the first; 3, 0 and 0 of the second; the third is in no sample."""
    made = uncertainty_of([box(2, 4) | box(20, 22), box(2, 4), box(2, 6)])
    labels = box(2, 4) + 2 * box(20, 22) + 3 * box(27, 28).astype(np.int32)

    found = made.with_volume_maps({"lesion": labels}, {"lesion": made.volumes("lesion", labels)})

    painted = found.map_of("volume CoV", "lesion")
    volumes = [[3, 3, 5], [3, 0, 0], [1, 0, 0]]
    expected = [0.0, *(np.std(row, ddof=1) / np.mean(row) for row in volumes)]
    np.testing.assert_allclose(painted.array, np.array(expected)[labels], rtol=1e-6)
    assert painted.name == "uncertainty_volume-cov_lesion"
    assert found.maps[:-1] == made.maps
    assert [note for note in painted.provenance.notes if "region" in note] == [
        "No sample has region 3: the map shows the largest CoV of 3 samples there."
    ]


def test_a_map_that_does_not_exist_is_refused_with_those_that_do() -> None:
    """A typing error has a way out."""
    with pytest.raises(InputError, match="no uncertainty map 'variance of lesion'; choose one of: mean of lesion"):
        uncertainty_of([box(2, 5)] * 2).map_of("variance", "lesion")
