"""Regions against closed forms, scipy.ndimage and the 48 orientations of one scan."""

from __future__ import annotations

import csv
import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from lesionlens.errors import InputError
from lesionlens.heatmap import Heatmap, Kind, LabelMap, Provenance
from lesionlens.io import read
from lesionlens.regions import Region, label_regions, measure
from lesionlens.volume import GeometryVerdict, Grid, Source, Volume
from orientations import ORIENTATIONS, Orientation, oblique, reoriented

FULL = np.ones((3, 3, 3))  # scipy's structure for 26 neighbours
PLAIN = Grid((8, 9, 10), np.eye(4))


def make_map(array: NDArray[Any], grid: Grid, *, kind: Kind = "probability", signed: bool = False) -> Heatmap:
    """Return a heatmap with the array's own dtype."""
    return Heatmap(Volume(array, grid), kind, "lesion", signed, Provenance())


def blobs(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Return smooth random values in [0, 1], about a third of them above 0.55."""
    values = ndimage.gaussian_filter(rng.normal(size=shape), 1.2)
    return ((values - values.min()) / np.ptp(values)).astype(np.float32)


def empty_map(grid: Grid = PLAIN) -> NDArray[np.float32]:
    """Return a map of zeros."""
    return np.zeros(grid.shape, dtype=np.float32)


def box_scene(grid: Grid) -> tuple[Volume, Heatmap]:
    """Return a scan 0, 1, 2, ... and a box of 2 x 3 x 4 voxels from (1, 2, 3) on, with its peak in one corner."""
    scan = np.arange(grid.n_voxels, dtype=np.float64).reshape(grid.shape)
    probability = empty_map(grid)
    probability[1:3, 2:5, 3:7] = 0.75
    probability[2, 4, 6] = 0.875
    return Volume(scan, grid), make_map(probability, grid)


def test_a_box_has_the_numbers_worked_out_by_hand() -> None:
    """Every field of a region is checked against a value that needs no program."""
    grid = Grid((8, 9, 10), np.diag([-2.0, 3.0, 0.5, 1.0]))
    volume, probability = box_scene(grid)

    (region,) = measure(volume, probability)

    assert region.label == 1
    assert region.n_voxels == 24
    assert region.volume_mm3 == pytest.approx(24 * 3.0)
    assert region.centroid_ijk == (1.5, 3.0, 4.5)
    assert region.centroid_ras == (-3.0, 9.0, 2.25)
    assert region.bbox_ijk == ((1, 2, 3), (2, 4, 6))
    assert region.bbox_ras == ((-5.0, 4.5, 1.25), (-1.0, 13.5, 3.25))
    assert region.peak_ijk == (2, 4, 6)
    assert region.peak_ras == (-4.0, 12.0, 3.0)
    assert region.probability_mean == pytest.approx((23 * 0.75 + 0.875) / 24, rel=1e-12)
    assert region.probability_max == 0.875
    assert region.attribution_mean is None
    assert region.attribution_share is None
    assert region.touches_border is False


def test_intensity_of_a_box_has_the_closed_form_of_an_arithmetic_grid() -> None:
    """Mean, population SD, extremes and median of i*90 + j*10 + k follow from those of the three index ranges."""
    volume, probability = box_scene(PLAIN)

    intensity = measure(volume, probability)[0].intensity

    assert intensity.mean == pytest.approx(90 * 1.5 + 10 * 3 + 4.5, rel=1e-12)
    variance = 90**2 * (2**2 - 1) / 12 + 10**2 * (3**2 - 1) / 12 + (4**2 - 1) / 12
    assert intensity.sd == pytest.approx(np.sqrt(variance), rel=1e-12)
    assert (intensity.min, intensity.max) == (90 + 20 + 3, 180 + 40 + 6)
    assert intensity.median == (90 + 40 + 6 + 180 + 20 + 3) / 2  # 24 voxels: the middle two, halved


def test_slices_cut_the_bounding_box_out() -> None:
    """The inclusive ends of the box become half-open slices."""
    volume, probability = box_scene(PLAIN)
    (region,) = measure(volume, probability)

    cut = probability.array[region.slices]

    assert cut.shape == (2, 3, 4)
    assert cut.min() == 0.75


@pytest.mark.parametrize("threshold", [0.6, 0.7, 0.8])
def test_labels_agree_with_scipy(rng: np.random.Generator, threshold: float) -> None:
    """The partition is that of scipy.ndimage.label, and sizes never grow along the labels."""
    probability = make_map(blobs(rng, (40, 37, 31)), Grid((40, 37, 31), np.eye(4)))

    labels = label_regions(probability, threshold=threshold)

    theirs, n = ndimage.label(probability.array >= threshold, structure=FULL)
    pairs = np.unique(np.stack([labels[theirs > 0], theirs[theirs > 0]]), axis=1)
    assert n > 2
    assert pairs.shape[1] == n
    assert np.array_equal(np.unique(pairs[0]), np.arange(1, n + 1))
    assert np.array_equal(labels > 0, theirs > 0)
    assert (np.diff(np.bincount(labels.ravel())[1:]) <= 0).all()
    assert labels.dtype == np.uint32


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8])
def test_statistics_agree_with_scipy(rng: np.random.Generator, dtype: type, order: str) -> None:
    """Each statistic is recomputed with scipy.ndimage, for any scan type and memory layout."""
    grid = oblique((40, 37, 31), (0.7, 1.1, 3.0))
    scan = np.asarray(rng.uniform(0, 250, grid.shape).astype(dtype), order=order)
    probability = make_map(np.asarray(blobs(rng, grid.shape), order=order), grid)
    attribution = make_map(rng.normal(size=grid.shape), grid, kind="attribution", signed=True)
    labels = label_regions(probability, threshold=0.6)

    regions = measure(Volume(scan, grid), probability, threshold=0.6, attribution=attribution)

    index = np.arange(1, labels.max() + 1)
    wide = scan.astype(np.float64)
    p, a = probability.array.astype(np.float64), attribution.array
    intensity = np.array([dataclasses.astuple(region.intensity) for region in regions])
    ends = [partial(np.percentile, q=q) for q in (10, 90)]
    percentiles = [partial(ndimage.labeled_comprehension, func=f, out_dtype=float, default=0) for f in ends]
    plain = (ndimage.mean, ndimage.standard_deviation, ndimage.minimum, ndimage.median, ndimage.maximum)
    functions: list[Any] = [*plain, *percentiles]
    for column, function in zip(intensity.T, functions, strict=True):
        np.testing.assert_allclose(column, function(wide, labels, index), rtol=1e-11, atol=1e-9)
    assert [r.label for r in regions] == index.tolist()
    assert [r.n_voxels for r in regions] == ndimage.sum(labels > 0, labels, index).tolist()
    centroids = np.array(ndimage.center_of_mass(labels > 0, labels, index))
    np.testing.assert_allclose([r.centroid_ijk for r in regions], centroids, rtol=1e-12)
    np.testing.assert_allclose([r.centroid_ras for r in regions], grid.world(centroids), rtol=1e-12, atol=1e-10)
    assert [r.slices for r in regions] == ndimage.find_objects(labels)
    assert [r.peak_ijk for r in regions] == ndimage.maximum_position(p, labels, index)
    np.testing.assert_allclose([r.probability_mean for r in regions], ndimage.mean(p, labels, index), rtol=1e-12)
    assert [r.probability_max for r in regions] == list(ndimage.maximum(p, labels, index))
    np.testing.assert_allclose([r.attribution_mean for r in regions], ndimage.mean(a, labels, index), atol=1e-12)
    share = ndimage.sum(np.maximum(a, 0), labels, index) / np.maximum(a, 0).sum()
    np.testing.assert_allclose([r.attribution_share for r in regions], share, rtol=1e-11)


def world_facts(region: Region) -> dict[str, Any]:
    """Return everything about a region that does not depend on how the arrays are stored."""
    facts = dataclasses.asdict(region)
    return {name: value for name, value in facts.items() if not name.endswith("_ijk")}


@pytest.mark.parametrize("grid", [PLAIN, oblique((8, 9, 10), (0.8, 1.0, 4.0))], ids=["plain", "oblique"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_world_quantities_do_not_depend_on_the_orientation(
    rng: np.random.Generator, grid: Grid, orientation: Orientation
) -> None:
    """One scan stored in 48 ways has one set of regions in the world, in every figure."""
    scan, probability = rng.uniform(1, 9, grid.shape), separate_boxes(rng)
    attribution, uncertainty = rng.normal(size=(2, *grid.shape))
    atlas = rng.integers(0, 3, grid.shape)

    def run(how: Orientation) -> list[Region]:
        def stored(array: NDArray[Any]) -> tuple[NDArray[Any], Grid]:
            return reoriented(array, grid, how)

        return measure(
            Volume(*stored(scan)),
            make_map(*stored(probability)),
            attribution=make_map(*stored(attribution), kind="attribution", signed=True),
            uncertainty=make_map(*stored(uncertainty), kind="uncertainty"),
            anatomy=LabelMap(Volume(*stored(atlas)), "atlas", {1: "grey", 2: "white"}, Provenance()),
            shapes=True,
        )

    expected, found = run(ORIENTATIONS[0]), run(orientation)

    assert len(expected) == 3
    for one, other in zip(expected, found, strict=True):
        for name, value in world_facts(one).items():
            assert flat(world_facts(other)[name]) == pytest.approx(flat(value), rel=1e-9, abs=1e-9, nan_ok=True), name


def separate_boxes(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return three boxes of different sizes, so that their order does not hang on ties, one at the border."""
    probability = empty_map()
    for box in (np.s_[0:2, 0:3, 1:4], np.s_[4:7, 5:8, 5:9], np.s_[5:6, 1:3, 7:9]):
        probability[box] = rng.uniform(0.5, 1, probability[box].shape)
    return probability


def flat(value: Any) -> list[float]:
    """Return the numbers of nested values as one list; the ends of lines are none, as there are lines of one length."""
    if isinstance(value, dict):
        return [number for name, part in value.items() if name != "ends_ras" for number in flat(part)]
    if isinstance(value, tuple | list):
        return [number for part in value for number in flat(part)]
    return [float("nan") if value is None else float(sum(map(ord, value)) if isinstance(value, str) else value)]


def test_bbox_ras_of_one_oblique_voxel_holds_its_eight_corners() -> None:
    """The world box is that of the voxel's outer corners, not of its centre."""
    grid = oblique((8, 9, 10), (0.8, 1.0, 4.0))
    probability = empty_map(grid)
    probability[3, 4, 5] = 1

    (region,) = measure(Volume(empty_map(grid), grid), make_map(probability, grid))

    corners = grid.world([(3 + i, 4 + j, 5 + k) for i in (-0.5, 0.5) for j in (-0.5, 0.5) for k in (-0.5, 0.5)])
    np.testing.assert_allclose(region.bbox_ras, (corners.min(axis=0), corners.max(axis=0)), atol=1e-12)


def test_volume_of_a_sheared_grid_follows_the_determinant() -> None:
    """A sheared voxel has base times height, not the product of its edge lengths."""
    affine = np.array([[1.0, 0.0, 0.5, 0], [0, 2.0, 0.0, 0], [0, 0, 3.0, 0], [0, 0, 0, 1]])
    volume, probability = box_scene(Grid((8, 9, 10), affine))

    (region,) = measure(volume, probability)

    assert region.volume_mm3 == pytest.approx(24 * 6.0)


@pytest.mark.parametrize(
    ("second", "n_regions"),
    [((4, 4, 4), 1), ((4, 4, 3), 1), ((4, 3, 3), 1), ((5, 3, 3), 2), ((5, 4, 4), 2), ((3, 3, 5), 2)],
    ids=["corner", "edge", "face", "gap", "gap and corner", "gap along k"],
)
def test_voxels_that_touch_are_one_region(second: tuple[int, int, int], n_regions: int) -> None:
    """Faces, edges and corners connect; a voxel between does not."""
    probability = empty_map()
    probability[3, 3, 3] = probability[second] = 1

    labels = label_regions(make_map(probability, PLAIN), threshold=0.5)

    assert labels.max() == n_regions


def test_regions_of_equal_size_follow_the_array_order() -> None:
    """Labels are reproducible when sizes do not decide."""
    probability = empty_map()
    for voxel in [(6, 0, 0), (0, 0, 6), (0, 6, 0), (0, 0, 0)]:
        probability[voxel] = 1

    labels = label_regions(make_map(np.asfortranarray(probability), PLAIN), threshold=0.5)

    assert [labels[v] for v in [(0, 0, 0), (0, 0, 6), (0, 6, 0), (6, 0, 0)]] == [1, 2, 3, 4]


def test_a_value_at_the_threshold_counts_and_one_below_does_not() -> None:
    """The rule is "at or above", in the precision of the map: float32 0.7 is below the double 0.7."""
    probability = empty_map()
    probability[1, 1, 1] = np.float32(0.7)
    probability[5, 5, 5] = np.nextafter(np.float32(0.7), np.float32(0))

    labels = label_regions(make_map(probability, PLAIN), threshold=0.7)

    assert np.argwhere(labels).tolist() == [[1, 1, 1]]


def test_nothing_above_the_threshold_gives_no_region() -> None:
    """An empty finding is a result, not an error."""
    probability = make_map(empty_map() + np.float32(0.4), PLAIN)

    assert measure(Volume(empty_map(), PLAIN), probability) == []
    assert not label_regions(probability, threshold=0.5).any()


def test_a_map_above_the_threshold_everywhere_is_one_region() -> None:
    """A region may fill the grid; then it touches the border."""
    (region,) = measure(Volume(empty_map(), PLAIN), make_map(empty_map() + 1, PLAIN))

    assert region.n_voxels == PLAIN.n_voxels
    assert region.touches_border


@pytest.mark.parametrize(
    ("voxel", "touches"),
    [
        ((0, 4, 4), True),
        ((7, 4, 4), True),
        ((4, 0, 4), True),
        ((4, 8, 4), True),
        ((4, 4, 0), True),
        ((4, 4, 9), True),
        ((1, 4, 4), False),
        ((6, 7, 8), False),
        ((1, 1, 1), False),
    ],
)
def test_touching_the_border_is_said(voxel: tuple[int, int, int], touches: bool) -> None:
    """A region at an outer face may be cut off; one voxel inside it is not."""
    probability = empty_map()
    probability[voxel] = 1

    (region,) = measure(Volume(empty_map(), PLAIN), make_map(probability, PLAIN))

    assert region.touches_border is touches


def test_share_counts_positive_attribution_only() -> None:
    """Evidence against a class neither lowers a region's share nor the total."""
    volume, probability = box_scene(PLAIN)
    attribution = empty_map()
    attribution[1, 2, 3], attribution[1, 2, 4], attribution[7, 8, 9], attribution[7, 8, 8] = 3, -5, 1, -9

    (region,) = measure(volume, probability, attribution=make_map(attribution, PLAIN, kind="attribution", signed=True))

    assert region.attribution_share == 0.75
    assert region.attribution_mean == pytest.approx(-2 / 24)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_share_of_nothing_is_unknown(value: float) -> None:
    """Where no attribution is positive there is nothing to share; the mean stays."""
    volume, probability = box_scene(PLAIN)
    attribution = make_map(empty_map() + value, PLAIN, kind="attribution", signed=True)

    (region,) = measure(volume, probability, attribution=attribution)

    assert region.attribution_share is None
    assert region.attribution_mean == value


def test_an_attribution_map_can_define_the_regions() -> None:
    """It has attribution, with any finite threshold, and no probability."""
    values = empty_map()
    values[2:4, 2:4, 2:4] = 7
    values[6, 6, 6] = 4

    regions = measure(Volume(values, PLAIN), make_map(values, PLAIN, kind="attribution"), threshold=5)

    assert [r.n_voxels for r in regions] == [8]
    assert regions[0].probability_mean is None
    assert regions[0].probability_max is None
    assert regions[0].attribution_mean == 7
    assert regions[0].attribution_share == pytest.approx(56 / 60)


def test_given_labels_are_measured_as_they_are() -> None:
    """A reader's regions keep their labels, with gaps, apart or joined, whatever the threshold says."""
    labels = np.zeros(PLAIN.shape, dtype=np.int16)
    labels[0, 0, 0] = labels[5, 5, 5] = 900
    labels[2, 2, 2] = 7

    regions = measure(Volume(empty_map(), PLAIN), make_map(empty_map(), PLAIN), labels=labels)

    assert [(r.label, r.n_voxels) for r in regions] == [(7, 1), (900, 2)]


def test_spread_of_a_bright_even_region_keeps_its_digits() -> None:
    """Values near 1e8 that differ by 1 have the spread 0.5; sums of squares would lose it."""
    volume, probability = box_scene(PLAIN)
    scan = np.full(PLAIN.shape, 1e8)
    scan[1] += 1

    (region,) = measure(volume.with_array(scan), probability)

    assert region.intensity.sd == pytest.approx(0.5, rel=1e-9)


def test_many_regions_cost_no_pass_each(rng: np.random.Generator) -> None:
    """Twenty thousand regions of one voxel are all found, in the order of the array, with the right values."""
    grid = Grid((80, 80, 26), np.eye(4))
    probability = np.zeros(grid.shape, dtype=np.float32)
    probability[::2, ::2, ::2] = 1
    scan = rng.normal(size=grid.shape)

    regions = measure(Volume(scan, grid), make_map(probability, grid))

    assert len(regions) == 40 * 40 * 13
    assert [r.intensity.median for r in regions] == scan[::2, ::2, ::2].ravel().tolist()


def test_inputs_are_left_alone() -> None:
    """Measuring changes neither the scan nor the map nor the labels."""
    volume, probability = box_scene(PLAIN)
    labels = label_regions(probability, threshold=0.5)
    before = [array.copy() for array in (volume.array, probability.array, labels)]

    measure(volume, probability, labels=labels)

    assert all(np.array_equal(a, b) for a, b in zip(before, (volume.array, probability.array, labels), strict=True))


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.001, float("nan"), float("inf")])
def test_a_threshold_outside_the_probabilities_is_refused(threshold: float) -> None:
    """At 0 everything would be a lesion, above 1 nothing could be."""
    with pytest.raises(InputError, match=r"above 0 and at most at 1; found"):
        label_regions(make_map(empty_map(), PLAIN), threshold=threshold)


def test_probability_one_is_a_valid_threshold() -> None:
    """The upper end is included."""
    probability = empty_map()
    probability[1, 1, 1], probability[5, 5, 5] = 1, 0.99

    assert label_regions(make_map(probability, PLAIN), threshold=1.0).sum() == 1


@pytest.mark.parametrize("threshold", [float("nan"), float("-inf")])
def test_a_threshold_that_is_not_finite_is_refused_for_any_map(threshold: float) -> None:
    """Attributions have no range, but a threshold is a number."""
    with pytest.raises(InputError, match="finite number; found"):
        label_regions(make_map(empty_map(), PLAIN, kind="attribution"), threshold=threshold)


def test_a_negative_threshold_is_valid_for_attributions() -> None:
    """Signed maps may be cut below zero."""
    assert label_regions(make_map(empty_map(), PLAIN, kind="attribution"), threshold=-1.0).all()


def test_maps_on_another_grid_are_refused_with_the_distance() -> None:
    """Numbers of voxels that do not lie where the scan's lie would be wrong without a sign of it."""
    volume, probability = box_scene(PLAIN)
    moved = np.eye(4)
    moved[:3, 3] = (3, 0, 4)
    elsewhere = Grid(PLAIN.shape, moved)

    with pytest.raises(InputError, match=r"probability map of 'lesion' does not lie .* up to 5 mm off"):
        measure(volume, make_map(probability.array, elsewhere))
    with pytest.raises(InputError, match=r"attribution map of 'lesion' does not lie .* up to 5 mm off"):
        measure(volume, probability, attribution=make_map(empty_map(), elsewhere, kind="attribution"))
    with pytest.raises(InputError, match=r"it has shape \(2, 2, 2\), the scan \(8, 9, 10\)"):
        measure(volume, make_map(np.zeros((2, 2, 2), np.float32), Grid((2, 2, 2), np.eye(4))))


def test_a_grid_within_the_tolerance_is_accepted() -> None:
    """Rounding of a stored affine is no other place."""
    volume, probability = box_scene(PLAIN)
    nudged = np.eye(4)
    nudged[0, 3] = 5e-4

    assert len(measure(volume, make_map(probability.array, Grid(PLAIN.shape, nudged)))) == 1


def test_a_scan_value_that_is_not_finite_is_named_with_its_place() -> None:
    """A mean over NaN is no mean; outside the regions it does not matter."""
    volume, probability = box_scene(PLAIN)
    scan = volume.array.copy()
    scan[0, 0, 0] = np.nan
    assert len(measure(volume.with_array(scan), probability)) == 1

    scan[2, 3, 4] = np.inf
    with pytest.raises(InputError, match=r"holds 1 values inside regions that are not finite.* \(2, 3, 4\)"):
        measure(volume.with_array(scan), probability)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(PLAIN.shape), "are integers; found dtype float64"),
        (np.zeros((2, 2, 2), dtype=int), r"shape \(2, 2, 2\), but the scan has \(8, 9, 10\)"),
        (np.full(PLAIN.shape, -1), "or positive; found -1"),
    ],
)
def test_labels_that_do_not_suit_the_scan_are_refused(labels: NDArray[Any], message: str) -> None:
    """Labels come from files and readers too."""
    volume, probability = box_scene(PLAIN)

    with pytest.raises(InputError, match=message):
        measure(volume, probability, labels=labels)


def masked(volume: Volume, valid: NDArray[np.bool_]) -> Volume:
    """Return the scan with a validity mask."""
    return dataclasses.replace(volume, valid=valid)


def bar_scene() -> tuple[Volume, Heatmap, NDArray[np.bool_]]:
    """Return a scan, a bar of ten voxels along k at 0.75, and a mask that takes its fourth and fifth voxel away."""
    probability = empty_map()
    probability[4, 4, :] = 0.75
    scan = np.arange(PLAIN.n_voxels, dtype=np.float64).reshape(PLAIN.shape)
    scan[4, 4, 3:5] = np.nan  # what is not measured may be anything
    valid = np.ones(PLAIN.shape, dtype=bool)
    valid[:, :, 3:5] = False
    return Volume(scan, PLAIN), make_map(probability, PLAIN), valid


def test_regions_do_not_reach_into_voxels_without_data() -> None:
    """The bar falls into two regions, which are measured without the voxels between them."""
    volume, probability, valid = bar_scene()

    upper, lower = measure(masked(volume, valid), probability)

    assert (upper.n_voxels, lower.n_voxels) == (5, 3)
    assert (upper.bbox_ijk, lower.bbox_ijk) == (((4, 4, 5), (4, 4, 9)), ((4, 4, 0), (4, 4, 2)))
    assert lower.intensity.mean == volume.array[4, 4, :3].mean()


def test_labels_of_a_map_stay_out_of_voxels_without_data() -> None:
    """A map on a masked scan is labelled within the mask, and labels that reach out of it are cut."""
    volume, probability, valid = bar_scene()
    on_scan = masked(volume, valid).with_array(probability.array)

    labels = label_regions(Heatmap(on_scan, "probability", "lesion", False, Provenance()), threshold=0.5)

    assert labels[4, 4].tolist() == [2, 2, 2, 0, 0, 1, 1, 1, 1, 1]
    drawn = np.zeros(PLAIN.shape, dtype=np.uint8)
    drawn[4, 4, 1:5] = 7
    (region,) = measure(masked(volume, valid), probability, labels=drawn)
    assert (region.label, region.n_voxels) == (7, 2)


def test_attribution_without_data_counts_nowhere() -> None:
    """Shares are of the attribution where there is a scan."""
    volume, probability, valid = bar_scene()
    values = empty_map()
    values[4, 4, :] = 1.0
    attribution = make_map(values, PLAIN, kind="attribution", signed=True)

    regions = measure(masked(volume, valid), probability, attribution=attribution)

    assert [region.attribution_share for region in regions] == [5 / 8, 3 / 8]


@pytest.mark.parametrize(("last", "touches"), [(4, True), (3, False)], ids=["beside", "one away"])
def test_a_region_beside_voxels_without_data_touches_the_border(last: int, touches: bool) -> None:
    """Where the data end a lesion may go on, as at the face of the grid."""
    probability = empty_map()
    probability[3, 3, 2 : last + 1] = 1.0
    valid = np.ones(PLAIN.shape, dtype=bool)
    valid[:, :, 5:] = False

    (region,) = measure(Volume(np.zeros(PLAIN.shape), PLAIN, valid=valid), make_map(probability, PLAIN))

    assert region.touches_border is touches


def test_weighted_centroid_and_percentiles_follow_the_standard(shared_data: Path) -> None:
    """IBSI's digital phantom: how far the centroid moves when weighted, and its percentiles, to their tolerances."""
    folder = shared_data / "stats" / "ibsi1_digital_phantom"
    volume, mask = read(folder / "phantom.nii.gz"), read(folder / "mask.nii.gz")
    labels = LabelMap(mask.with_array(mask.array.astype(np.uint8)), "mask", {}, Provenance())

    (region,) = measure(volume, labels)

    assert region.centroid_weighted_ras is not None
    moved = np.linalg.norm(np.subtract(region.centroid_ras, region.centroid_weighted_ras))
    assert moved == pytest.approx(0.672, abs=0.004)
    intensity = region.intensity
    assert (intensity.mean, intensity.sd**2) == pytest.approx((2.15, 3.05), abs=0.005)
    assert (intensity.p10, intensity.median, intensity.p90, intensity.max) == (1, 1, 4, 6)


def test_first_order_figures_of_a_tumour_are_the_published_ones(shared_data: Path) -> None:
    """PyRadiomics' baseline of brain1; it divides variances by n too."""
    folder = shared_data / "stats" / "pyradiomics"
    with (folder / "baseline_firstorder.csv").open() as file:
        wanted = {r["featureName"].removeprefix("original_firstorder_"): r["brain1"] for r in csv.DictReader(file)}
    volume, label = read(folder / "brain1_image.nrrd"), read(folder / "brain1_label.nrrd")
    tumour = LabelMap(label.with_array((label.array == 1).astype(np.uint8)), "tumour", {}, Provenance())

    intensity = measure(volume, tumour)[0].intensity

    found = (
        intensity.mean,
        intensity.sd**2,
        intensity.min,
        intensity.median,
        intensity.max,
        intensity.p10,
        intensity.p90,
    )
    names = ("Mean", "Variance", "Minimum", "Median", "Maximum", "10Percentile", "90Percentile")
    assert found == pytest.approx([float(wanted[name]) for name in names])


def test_a_centroid_is_not_weighted_by_negative_intensities() -> None:
    """In Hounsfield units a weighted mean could lie outside the patient."""
    volume, probability = box_scene(PLAIN)

    (region,) = measure(Volume(np.asarray(volume.array) - 120, PLAIN), probability)

    assert region.centroid_weighted_ras is None


def test_volumes_at_probabilities_of_a_box() -> None:
    """23 voxels of 0.75 and one of 0.875, 2 mm³ each."""
    grid = Grid((8, 9, 10), np.diag([2.0, 1.0, 1.0, 1.0]))

    (region,) = measure(*box_scene(grid))

    assert region.volumes_at_mm3 == (48, 48, 0)
    assert region.probability_integral_mm3 == pytest.approx(2 * (23 * 0.75 + 0.875))


def test_a_region_at_a_threshold_has_its_whole_volume_there() -> None:
    """0.7 and 0.9 in single precision lie below the numbers in double precision; a region cut there is all of it."""
    grid = Grid((4, 4, 4), np.diag([2.0, 1.0, 1.0, 1.0]))
    probability = np.zeros(grid.shape, dtype=np.float32)
    probability[1:3, 1, 1] = 0.7
    probability[1:3, 2, 1] = 0.9

    (region,) = measure(Volume(probability, grid), make_map(probability, grid), threshold=0.7)

    assert region.volume_mm3 == 8
    assert region.volumes_at_mm3 == (8, 8, 4)


def test_flags_are_raised_where_they_should_be_and_nowhere_else() -> None:
    """A sheet, a speck and a solid block; a scan that was resampled and one that was not."""
    probability = empty_map()
    probability[2:7, 2:7, 2] = 1
    probability[1:3, 1:3, 6:7] = 1
    probability[4:7, 4:7, 5:9] = 1
    resampled = Source(verdict=GeometryVerdict(("tilt: 14 degrees",), 3.0, "resample"))

    solid, sheet, speck = measure(Volume(empty_map(), PLAIN), make_map(probability, PLAIN))

    assert (solid.one_slice, solid.few_voxels, solid.resampled) == (False, False, False)
    assert (sheet.one_slice, sheet.few_voxels) == (True, False)
    assert (speck.one_slice, speck.few_voxels) == (True, True)
    assert measure(Volume(empty_map(), PLAIN, source=resampled), make_map(probability, PLAIN))[0].resampled


def test_a_region_smaller_than_a_cell_of_the_map_is_flagged() -> None:
    """24 voxels of 1 mm³ against cells of 2 x 3 x 4 mm and a little more; without cells there is nothing to say."""
    volume, probability = box_scene(PLAIN)

    def flag(half_mm: tuple[float, float, float] | None) -> bool | None:
        made = Provenance(resolution_mm=half_mm)
        attribution = Heatmap(Volume(empty_map(), PLAIN), "attribution", "lesion", True, made)
        return measure(volume, probability, attribution=attribution)[0].below_attribution_cell

    assert flag((1.0, 1.5, 2.0)) is False
    assert flag((1.0, 1.5, 2.001)) is True
    assert flag(None) is None
    assert measure(volume, probability)[0].below_attribution_cell is None


def test_anatomy_is_named_with_its_share() -> None:
    """Of the 24 voxels of the box 12 lie in one label, 8 in another without a name, 4 in none."""
    volume, probability = box_scene(PLAIN)
    atlas = np.zeros(PLAIN.shape, np.int16)
    atlas[1:3, 2:5, 3:5], atlas[1:3, 3:5, 5:7] = 7, 9

    (region,) = measure(
        volume, probability, anatomy=LabelMap(Volume(atlas, PLAIN), "atlas", {7: "insula"}, Provenance())
    )

    assert region.anatomy == (("insula", 0.5), ("9", pytest.approx(1 / 3)))
