"""Distributions against numpy, and the curve of thresholds against counting at every one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from lesionlens.distributions import THRESHOLDS, intensity_limits, split_histogram, threshold_curve
from lesionlens.errors import Cancelled, InputError
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.regions import label_regions
from lesionlens.volume import Grid, Volume


def heatmap(array: Any, valid: Any = None) -> Heatmap:
    """Return a probability map with voxels of 1 x 2 x 3 mm."""
    values = np.asarray(array, dtype=np.float32)
    volume = Volume(values, Grid(values.shape, np.diag([1.0, 2.0, 3.0, 1.0])), "p", valid=valid)
    return Heatmap(volume, "probability", "lesion", False, Provenance())


def smooth(rng: np.random.Generator) -> Any:
    """Return a map with many hills of different height."""
    array = ndimage.gaussian_filter(rng.random((24, 30, 18)), 1.5)
    return (array - array.min()) / np.ptp(array)


@pytest.mark.parametrize("partly", [False, True])
def test_the_curve_is_what_cutting_at_every_threshold_gives(rng: np.random.Generator, partly: bool) -> None:
    """Volume by counting voxels one threshold at a time, regions by scipy, which shares no code with cc3d."""
    valid = rng.random((24, 30, 18)) > 0.1 if partly else None
    found = heatmap(smooth(rng), valid)

    curve = threshold_curve(found)

    for threshold, volume_mm3, count in zip(curve.thresholds, curve.volume_mm3, curve.count, strict=True):
        inside = found.array >= np.float32(threshold)
        inside = inside if valid is None else inside & valid
        assert volume_mm3 == 6.0 * np.count_nonzero(inside)
        assert count == ndimage.label(inside, np.ones((3, 3, 3)))[1]
    assert curve.count.max() > 5  # hills come apart, or the counts would say nothing


def test_the_curve_agrees_with_the_regions_that_are_shown(rng: np.random.Generator) -> None:
    """The same threshold gives the same number in the table and in the plot, values on the threshold included."""
    found = heatmap(np.round(smooth(rng), 2))
    curve = threshold_curve(found)

    for threshold in (0.3, 0.5, 0.7):
        assert curve.at(threshold)[2] == label_regions(found, threshold=threshold).max()


@pytest.mark.parametrize(("connectivity", "rank"), [(6, 1), (18, 2), (26, 3)])
def test_the_curve_counts_what_touches_by_the_rule(rng: np.random.Generator, connectivity: Any, rank: int) -> None:
    """The table counts by the user's rule; a plot beside it that counted by another would contradict it."""
    found = heatmap(rng.random((9, 8, 7)).astype(np.float32))
    curve = threshold_curve(found, connectivity=connectivity)

    for threshold, count in zip(curve.thresholds, curve.count, strict=True):
        inside = found.array >= np.float32(threshold)
        assert count == ndimage.label(inside, ndimage.generate_binary_structure(3, rank))[1]


def test_the_nearest_threshold_is_given_with_its_numbers() -> None:
    """A threshold between two steps is answered with the step it stands for."""
    curve = threshold_curve(heatmap(np.full((2, 2, 2), 0.42)), thresholds=(0.2, 0.4, 0.6))

    assert curve.at(0.43) == (0.4, 48.0, 1)
    assert curve.at(0.99) == (0.6, 0.0, 0)


def test_an_empty_map_has_no_regions_at_any_threshold() -> None:
    """A healthy scan is no error."""
    curve = threshold_curve(heatmap(np.zeros((3, 3, 3))))

    assert curve.thresholds.tolist() == list(THRESHOLDS)
    assert not curve.volume_mm3.any()
    assert not curve.count.any()


def test_counting_can_be_stopped(rng: np.random.Generator) -> None:
    """Whoever closes the window does not wait for a hundred searches."""

    def stop(stage: str, done: int, total: int) -> None:
        assert (stage, total) == ("Counting regions", 99)
        if done == 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        threshold_curve(heatmap(smooth(rng)), progress=stop)


@pytest.mark.parametrize("thresholds", [(), (0.5, 0.4), (0.5, 0.5)])
def test_thresholds_rise(thresholds: tuple[float, ...]) -> None:
    """Each search looks in the box of the one before."""
    with pytest.raises(InputError, match="thresholds that rise"):
        threshold_curve(heatmap(np.zeros((2, 2, 2))), thresholds=thresholds)


def test_a_histogram_counts_as_numpy_does_on_either_side(rng: np.random.Generator) -> None:
    """Both sides counted apart, over what is valid alone."""
    values, inside, valid = rng.normal(size=(9, 8, 7)), rng.random((9, 8, 7)) > 0.8, rng.random((9, 8, 7)) > 0.1

    found = split_histogram(values, inside, limits=(-1.0, 1.5), valid=valid, n_bins=25)

    edges = np.linspace(-1, 1.5, 26)
    for counts, beyond, side in (
        (found.inside, found.inside_beyond, inside & valid),
        (found.outside, found.outside_beyond, ~inside & valid),
    ):
        np.testing.assert_array_equal(counts, np.histogram(values[side], edges)[0])
        assert beyond == ((values[side] < -1) | (values[side] > 1.5)).sum()
        assert counts.sum() + beyond == side.sum()


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_whole_numbers_fall_into_bins_of_whole_width(dtype: Any) -> None:
    """250 values in 100 bins of 2.5 would give bins of two and three values in turn: a comb that is not there."""
    values = np.arange(250, dtype=dtype)

    found = split_histogram(values, np.zeros(250, dtype=bool), limits=(0, 249))

    assert np.diff(found.edges).tolist() == [3.0] * (len(found.edges) - 1)
    assert found.outside[:-1].tolist() == [3] * (len(found.outside) - 1)
    assert found.outside.sum() == 250


def test_probabilities_of_zero_and_one_are_no_whole_numbers() -> None:
    """A map that is certain everywhere still has a hundred bins."""
    found = split_histogram(np.array([0.0, 1.0]), np.array([False, True]), limits=(0, 1))

    assert len(found.edges) == 101
    assert found.inside[-1] == found.outside[0] == 1


def test_limits_hold_all_of_the_lesion_and_leave_padding_out() -> None:
    """Padding at -3000 HU would squeeze the tissue into two bins; a bright lesion must not be cut."""
    values = np.concatenate([np.linspace(0, 100, 9990), [-3000.0] * 5, [900.0] * 5])
    inside = values == 900

    low, high = intensity_limits(values, inside)

    assert 0 <= low < 2
    assert high == 900
    assert intensity_limits(values, inside, valid=~inside)[1] < 101


@pytest.mark.parametrize("values", [[5.0, 5.0], []])
def test_limits_are_a_range_whatever_there_is(values: list[float]) -> None:
    """An image of one value is drawn as well."""
    low, high = intensity_limits(np.array(values), np.zeros(len(values), dtype=bool))

    assert low < high


def test_what_cannot_be_counted_is_refused() -> None:
    """Shapes that differ, and a range that is none."""
    with pytest.raises(InputError, match=r"found \(2,\) and \(3,\)"):
        split_histogram(np.zeros(2), np.zeros(3), limits=(0, 1))
    with pytest.raises(InputError, match="found 1 and 1"):
        split_histogram(np.zeros(2), np.zeros(2), limits=(1, 1))


def test_volumes_are_those_of_the_grid(rng: np.random.Generator) -> None:
    """Voxels twice as wide hold twice the volume, in as many regions."""
    found = heatmap(smooth(rng))
    wide = replace(found.volume, grid=Grid(found.grid.shape, np.diag([2.0, 2.0, 3.0, 1.0])))
    narrow, other = threshold_curve(found), threshold_curve(replace(found, volume=wide))

    np.testing.assert_allclose(other.volume_mm3, 2 * narrow.volume_mm3)
    np.testing.assert_array_equal(other.count, narrow.count)
