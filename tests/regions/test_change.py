"""Two time points: painted scenes whose truth is known, overlaps by brute force, and volumes that did not change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from lesionlens.errors import InputError
from lesionlens.heatmap import LabelMap, Provenance
from lesionlens.regions import LesionChange, compare_regions
from lesionlens.volume import Grid, Volume
from orientations import ORIENTATIONS, Orientation, oblique, reoriented

GRID = Grid((60, 20, 12), np.diag([1.0, 1.0, 2.0, 1.0]))
Box = tuple[slice, ...]


def labels_of(boxes: dict[int, Box], grid: Grid = GRID) -> LabelMap:
    """Return a label map of painted boxes."""
    array = np.zeros(grid.shape, np.uint16)
    for label, box in boxes.items():
        array[box] = label
    return LabelMap(Volume(array, grid), "lesion", {}, Provenance())


BEFORE = {
    1: np.s_[2:6, 2:6, 2:6],  # stays
    2: np.s_[10:14, 2:6, 2:6],  # doubles
    3: np.s_[18:22, 2:6, 2:6],  # is halved
    4: np.s_[26:30, 2:6, 2:6],  # vanishes
    5: np.s_[34:38, 2:6, 2:6],  # becomes one with the next
    6: np.s_[40:44, 2:6, 2:6],
    7: np.s_[48:56, 2:6, 2:6],  # falls apart
}
AFTER = {
    11: np.s_[2:6, 2:6, 2:6],
    12: np.s_[10:18, 2:6, 2:6],
    13: np.s_[18:22, 2:6, 2:4],
    15: np.s_[34:44, 2:6, 2:6],
    17: np.s_[48:51, 2:6, 2:6],
    18: np.s_[53:56, 2:6, 2:6],
    19: np.s_[26:30, 10:16, 2:6],  # new
}


def by_labels(changes: tuple[LesionChange, ...]) -> dict[tuple[tuple[int, ...], tuple[int, ...]], LesionChange]:
    """Return changes by what they connect."""
    return {(change.before, change.after): change for change in changes}


def test_a_painted_scene_is_told_as_it_was_painted() -> None:
    """Every kind of change once, with its volumes: 4 x 4 x 4 voxels of 2 mm³ are 128 mm³."""
    found = by_labels(compare_regions(labels_of(BEFORE), labels_of(AFTER)).changes)

    said = {key: (one.match, one.trend, one.before_mm3, one.after_mm3, one.shared_mm3) for key, one in found.items()}
    assert said == {
        ((1,), (11,)): ("matched", "stable", 128, 128, 128),
        ((2,), (12,)): ("matched", "grown", 128, 256, 128),
        ((3,), (13,)): ("matched", "shrunk", 128, 64, 64),
        ((4,), ()): ("vanished", "", 128, 0, 0),
        ((5, 6), (15,)): ("merged", "stable", 256, 320, 256),
        ((7,), (17, 18)): ("split", "stable", 256, 192, 192),
        ((), (19,)): ("new", "", 0, 192, 0),
    }
    assert found[(2,), (12,)].change_mm3 == 128
    assert found[(2,), (12,)].change_share == 1
    assert found[(), (19,)].change_share is None
    assert found[(), (19,)].centroid_ras == (27.5, 12.5, 7.0)
    assert found[(4,), ()].centroid_ras == (27.5, 3.5, 7.0)
    assert not any(one.few_voxels or one.touches_border for one in found.values())


def test_every_region_is_in_one_change_and_the_largest_come_first() -> None:
    """Nothing is left out, nothing counted twice."""
    changes = compare_regions(labels_of(BEFORE), labels_of(AFTER))

    assert sorted(label for one in changes.changes for label in one.before) == sorted(BEFORE)
    assert sorted(label for one in changes.changes for label in one.after) == sorted(AFTER)
    sizes = [max(one.before_mm3, one.after_mm3) for one in changes.changes]
    assert sizes == sorted(sizes, reverse=True)
    assert [changes.count(word) for word in ("new", "vanished", "merged", "split", "grown", "shrunk")] == [1] * 6


def test_two_and_two_that_overlap_crosswise_are_regrouped() -> None:
    """One of the first overlaps both of the second, and one of the second both of the first."""
    before = labels_of({1: np.s_[2:10, 2:6, 2:6], 2: np.s_[12:20, 2:6, 2:6]})
    after = labels_of({1: np.s_[2:5, 2:6, 2:6], 2: np.s_[8:14, 2:6, 2:6]})

    (change,) = compare_regions(before, after).changes

    assert (change.match, change.before, change.after) == ("regrouped", (1, 2), (1, 2))


@pytest.mark.parametrize(
    ("within_mm", "matches"), [(0.0, ["new", "vanished"]), (2.99, ["new", "vanished"]), (3.0, ["matched"])]
)
def test_what_moved_a_little_is_matched_within_the_distance(within_mm: float, matches: list[str]) -> None:
    """Last and first voxel are 3 mm apart: as far as two scans may lie amiss, and no further."""
    before, after = labels_of({1: np.s_[2:6, 2:6, 2:6]}), labels_of({1: np.s_[8:12, 2:6, 2:6]})

    found = compare_regions(before, after, within_mm=within_mm)

    assert sorted(one.match for one in found.changes) == matches


def random_labels(seed: int) -> NDArray[Any]:
    """Return the labels of smooth noise."""
    values = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(24, 20, 16)), 1.5)
    return np.asarray(ndimage.label(values > np.quantile(values, 0.85))[0])


@pytest.mark.parametrize("seed", range(3))
def test_families_are_what_overlaps_connect(seed: int) -> None:
    """Merging the labels of every voxel that two regions share, one after the other, until nothing changes."""
    grid = oblique((24, 20, 16), (0.8, 1.0, 2.0))
    one, other = random_labels(seed), random_labels(seed + 100)
    before, after = (LabelMap(Volume(array, grid), "x", {}, Provenance()) for array in (one, other))
    families = [{("b", n)} for n in range(1, one.max() + 1)] + [{("a", n)} for n in range(1, other.max() + 1)]
    for pair in {(a, b) for a, b in zip(one.flat, other.flat, strict=True) if a and b}:
        touched = [f for f in families if ("b", pair[0]) in f or ("a", pair[1]) in f]
        families = [f for f in families if f not in touched] + [set().union(*touched)]

    found = compare_regions(before, after).changes

    ours = {frozenset({("b", n) for n in c.before} | {("a", n) for n in c.after}) for c in found}
    assert ours == {frozenset(family) for family in families}
    for change in found:
        both = np.isin(one, change.before) & np.isin(other, change.after)
        assert change.shared_mm3 == pytest.approx(both.sum() * 1.6)
    assert len({change.match for change in found}) > 3


def ball(radius: float, seed: int, thick: float = 2.0) -> LabelMap:
    """Return a ball at a random place between the voxels."""
    grid = Grid((20, 20, 12), np.diag([1.0, 1.0, thick, 1.0]))
    centre = grid.world((np.array(grid.shape) - 1) / 2 + np.random.default_rng(seed).uniform(-0.5, 0.5, 3))
    points = grid.world(np.stack(np.indices(grid.shape), axis=-1)) - centre
    return LabelMap(Volume((np.linalg.norm(points, axis=-1) <= radius).astype(np.uint8), grid), "x", {}, Provenance())


@pytest.mark.parametrize("thick", [1.0, 2.0, 4.0])
def test_a_lesion_that_only_lies_otherwise_between_the_voxels_has_not_changed(thick: float) -> None:
    """Balls of one size are stable in 95 of 100 cases or more though no share is asked for; a larger ball is not."""
    pairs = [(ball(4.0, seed, thick), ball(4.0, seed + 1000, thick)) for seed in range(60)]
    trends = [compare_regions(*pair, least_change=0).changes[0].trend for pair in pairs]
    larger = [(ball(4.0, seed, thick), ball(5.5, seed + 1000, thick)) for seed in range(20)]
    grown = [compare_regions(*pair, least_change=0).changes[0].trend for pair in larger]

    assert trends.count("stable") >= 57
    assert grown.count("grown") >= 19


def test_the_limit_is_the_larger_of_share_and_error() -> None:
    """By hand for blocks of 4 x 4 x 4 and 4 x 4 x 5 voxels; the spread of predictions adds as squares do."""
    before, after = labels_of({1: BEFORE[1]}), labels_of({1: np.s_[2:6, 2:6, 2:7]})
    # 4 x 4 x 4 has 8 voxels inside and 16 in each outer slice; 4 x 4 x 5 has 12, and 20 in four of them
    border = 4 * ((56 + 68) / 4 + (3 * 32**2 + 32**2 + 2 * 40**2) / 90)

    doubled = labels_of({1: np.s_[2:6, 2:6, 2:10]})
    (plain,) = compare_regions(before, after, least_change=0).changes
    (unsure,) = compare_regions(before, after, least_change=0, sd_before={1: 30.0}, sd_after={1: 40.0}).changes
    (share,) = compare_regions(before, after, least_change=0.5).changes

    assert plain.limit_mm3 == pytest.approx(1.96 * np.sqrt(border))
    assert plain.trend == "stable"
    assert compare_regions(before, doubled, least_change=0).changes[0].trend == "grown"
    assert compare_regions(before, doubled, least_change=2).changes[0].trend == "stable"
    assert unsure.limit_mm3 == pytest.approx(1.96 * np.sqrt(border + 30**2 + 40**2))
    assert unsure.trend == share.trend == "stable"
    assert share.limit_mm3 == 64


def test_another_grid_is_brought_over_and_said_and_volumes_are_its_own() -> None:
    """Voxels half as large at the same places: the same lesions, each volume to its last voxel."""
    fine = Grid((120, 40, 24), np.diag([0.5, 0.5, 1.0, 1.0]) + np.eye(4, k=3) * 0)
    affine = fine.affine.copy()
    affine[:3, 3] = (-0.25, -0.25, -0.5)
    boxes = {n: tuple(slice(2 * s.start, 2 * s.stop) for s in box) for n, box in AFTER.items()}
    speck = np.s_[40:41, 38:39, 20:21]  # between the voxels of the grid before
    after = labels_of({**boxes, 99: speck}, Grid(fine.shape, affine))

    found = compare_regions(labels_of(BEFORE), after)

    said = {key: (one.match, one.trend, one.after_mm3) for key, one in by_labels(found.changes).items()}
    same = by_labels(compare_regions(labels_of(BEFORE), labels_of(AFTER)).changes)
    assert said.pop(((), (99,))) == ("new", "", 0.25)
    assert said == {key: (one.match, one.trend, one.after_mm3) for key, one in same.items()}
    assert "brought from 120 x 40 x 24 voxels to the 60 x 20 x 12" in found.notes[0]
    assert "1 region(s) after lie outside" in found.notes[1]


@pytest.mark.parametrize("orientation", ORIENTATIONS[::5])
def test_changes_do_not_depend_on_how_the_scans_are_stored(orientation: Orientation) -> None:
    """Before as it is, after in another order and direction of its axes."""
    after = labels_of(AFTER)
    array, grid = reoriented(after.array, GRID, orientation)

    found = compare_regions(labels_of(BEFORE), LabelMap(Volume(array, grid), "lesion", {}, Provenance()))

    assert found.changes == compare_regions(labels_of(BEFORE), after).changes


def test_nothing_before_and_nothing_after() -> None:
    """A healthy scan is a result."""
    empty, some = labels_of({}), labels_of({1: BEFORE[1]})

    assert compare_regions(empty, empty).changes == ()
    assert [one.match for one in compare_regions(empty, some).changes] == ["new"]
    assert [one.match for one in compare_regions(some, empty).changes] == ["vanished"]


def test_small_and_cut_off_regions_are_flagged() -> None:
    """Seven voxels at one time, and a region at a face."""
    small = compare_regions(labels_of({1: np.s_[2:6, 2:6, 2:6]}), labels_of({1: np.s_[2:9, 2, 2]})).changes[0]
    cut = compare_regions(labels_of({1: np.s_[0:4, 2:6, 2:6]}), labels_of({1: np.s_[1:5, 2:6, 2:6]})).changes[0]

    assert (small.few_voxels, small.touches_border) == (True, False)
    assert (cut.few_voxels, cut.touches_border) == (False, True)


@pytest.mark.parametrize("values", [{"within_mm": -1.0}, {"least_change": float("nan")}])
def test_what_is_no_distance_or_share_is_refused(values: dict[str, float]) -> None:
    """A typing error is said."""
    with pytest.raises(InputError, match="finite number from 0"):
        compare_regions(labels_of({}), labels_of({}), **values)
