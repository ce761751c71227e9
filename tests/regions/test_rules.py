"""What counts as one region: against scipy.ndimage, distances between all voxels, and the 48 orientations."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from lesionlens.errors import InputError
from lesionlens.heatmap import Heatmap, LabelMap, Provenance
from lesionlens.regions import find_regions, measure
from lesionlens.rules import Connectivity, RegionRules, RegionSteps
from lesionlens.volume import Grid, Volume
from orientations import ORIENTATIONS, Orientation, oblique, reoriented

# How often scipy's structure steps to a neighbour: across one, two or three axes.
CONNECTIVITIES: tuple[tuple[Connectivity, int], ...] = ((6, 1), (18, 2), (26, 3))
# A hole is what the outside does not reach; of voxels that touch by corners, the outside goes by faces.
OUTSIDE = {6: 3, 18: 1, 26: 1}


def map_of(array: NDArray[Any], grid: Grid, valid: NDArray[np.bool_] | None = None) -> Heatmap:
    """Return a probability map."""
    volume = Volume(array.astype(np.float32), grid, valid=valid)
    return Heatmap(volume, "probability", "lesion", False, Provenance())


def blobs(seed: int, grid: Grid) -> Heatmap:
    """Return a map of smooth noise: ragged regions, some of one voxel, some with holes."""
    values = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=grid.shape), 1.0)
    return map_of((values - values.min()) / np.ptp(values), grid)


def hollow_blobs(seed: int, grid: Grid) -> Heatmap:
    """Return a map of regions of all sizes; those that are thick enough have a cavity."""
    rng = np.random.default_rng(seed)
    values = ndimage.gaussian_filter(rng.normal(size=grid.shape), 2.0)
    inside = values > np.quantile(values, 0.88)
    cavities = ndimage.binary_erosion(inside, np.ones((3, 3, 3)))
    specks = rng.random(grid.shape) > 0.995
    return map_of((inside & ~cavities) | specks, grid)


def same_partition(labels: NDArray[Any], theirs: NDArray[Any]) -> bool:
    """Whether two label arrays group the same voxels alike, whatever their numbers."""
    pairs = np.unique(np.stack([labels.ravel(), theirs.ravel()]), axis=1)
    return pairs.shape[1] == len(np.unique(labels)) == len(np.unique(theirs))


@pytest.mark.parametrize(("connectivity", "steps"), CONNECTIVITIES)
@pytest.mark.parametrize("fill", [False, True])
def test_connected_and_filled_regions_are_those_of_scipy(connectivity: Connectivity, steps: int, fill: bool) -> None:
    """Label and fill_holes with the structures that the numbers of neighbours stand for."""
    heatmap = blobs(1, Grid((30, 26, 22), np.eye(4)))
    inside = heatmap.array >= 0.47

    found = find_regions(heatmap, threshold=0.47, rules=RegionRules(connectivity, fill_holes=fill))

    whole = ndimage.binary_fill_holes(inside, ndimage.generate_binary_structure(3, OUTSIDE[connectivity]))
    mask = whole if fill else inside
    theirs, n = ndimage.label(mask, ndimage.generate_binary_structure(3, steps))
    assert same_partition(found.labels, theirs)
    assert found.steps.n_connected == n == found.labels.max()
    assert found.steps.n_filled_voxels == (whole.sum() - inside.sum() if fill else 0)
    assert whole.sum() > inside.sum(), "a test without holes would not test them"


def test_voxels_that_touch_by_corners_are_one_region_for_26_alone() -> None:
    """A pair by an edge and a pair by a corner, apart from each other."""
    array = np.zeros((9, 5, 5))
    array[1, 1, 1] = array[2, 2, 1] = array[5, 1, 1] = array[6, 2, 2] = 1
    heatmap = map_of(array, Grid(array.shape, np.eye(4)))

    counts = [find_regions(heatmap, threshold=0.5, rules=RegionRules(c)).steps.n_connected for c, _ in CONNECTIVITIES]

    assert counts == [4, 3, 2]


def shell(shape: tuple[int, int, int] = (9, 9, 9)) -> NDArray[np.float64]:
    """Return a hollow cube, whose inside is 3 x 3 x 3 voxels."""
    array = np.zeros(shape)
    array[2:7, 2:7, 2:7] = 1
    array[3:6, 3:6, 3:6] = 0
    return array


def test_a_cavity_is_filled_and_a_bowl_is_not() -> None:
    """Enclosed in all directions, or not; where there are no data, nobody knows."""
    closed, bowl = shell(), shell()
    bowl[4, 4, 6] = 0  # one way out
    unknown = np.ones(closed.shape, bool)
    unknown[4, 4, 4] = False
    grid, rules = Grid(closed.shape, np.diag([1.0, 2.0, 3.0, 1.0])), RegionRules(fill_holes=True)

    steps = [
        find_regions(heatmap, threshold=0.5, rules=rules).steps
        for heatmap in (map_of(closed, grid), map_of(bowl, grid), map_of(closed, grid, unknown))
    ]

    assert [s.n_filled_voxels for s in steps] == [27, 0, 0]
    assert steps[0].filled_mm3 == 27 * 6
    assert "27 voxels of holes filled" in steps[0].text


def test_a_bay_at_the_face_of_the_scan_is_no_hole() -> None:
    """What the scan cuts off may go on outside of it."""
    array = shell()[4:]

    found = find_regions(map_of(array, Grid(array.shape, np.eye(4))), threshold=0.5, rules=RegionRules(fill_holes=True))

    assert found.steps.n_filled_voxels == 0


def merged_by_hand(labels: NDArray[Any], grid: Grid, within_mm: float) -> NDArray[Any]:
    """Return labels of regions that are joined by any two voxels at most so far apart: all against all."""
    groups = [grid.world(np.argwhere(labels == n)) for n in range(1, labels.max() + 1)]
    near = [[cdist(a, b).min() <= within_mm + 1e-9 for b in groups] for a in groups]
    _, numbers = connected_components(coo_matrix(near), directed=False)
    return np.asarray(np.concatenate([[0], numbers + 1])[labels])


@pytest.mark.parametrize("within_mm", [2.0, 3.0, 4.5])
@pytest.mark.parametrize("connectivity", [6, 26])
def test_merging_joins_what_lies_near_and_nothing_else(within_mm: float, connectivity: Connectivity) -> None:
    """Every voxel against every other, on an oblique grid of unequal voxels."""
    grid = oblique((22, 18, 12), (0.8, 1.1, 2.0))
    heatmap = blobs(3, grid)
    plain = find_regions(heatmap, threshold=0.68, rules=RegionRules(connectivity)).labels

    found = find_regions(heatmap, threshold=0.68, rules=RegionRules(connectivity, merge_mm=within_mm))

    theirs = merged_by_hand(plain.astype(int), grid, within_mm)
    assert same_partition(found.labels, theirs)
    assert found.steps.n_joined == plain.max() - found.labels.max() > 0
    assert found.labels.max() > 1, "all in one would be no test of what stays apart"


@pytest.mark.parametrize(("within_mm", "n"), [(5.99, 2), (6.0, 1)])
def test_pieces_are_one_up_to_the_distance_and_not_beyond(within_mm: float, n: int) -> None:
    """Centres of three voxels of 2 mm: 6 mm from one to the other."""
    array = np.zeros((8, 5, 5))
    array[2, 2, 2] = array[5, 2, 2] = 1
    heatmap = map_of(array, oblique(array.shape, (2.0, 1.0, 1.0)))

    found = find_regions(heatmap, threshold=0.5, rules=RegionRules(merge_mm=within_mm))

    assert found.labels.max() == n
    assert np.count_nonzero(found.labels) == 2, "what lies between does not belong to it"


def test_regions_below_the_least_volume_are_left_out_and_counted() -> None:
    """A region of just that volume stays; the numbers of those that stay have no gaps."""
    array = np.zeros((20, 5, 5))
    for start, length in ((1, 5), (8, 3), (13, 2), (17, 1)):
        array[start : start + length, 2, 2] = 1
    heatmap = map_of(array, Grid(array.shape, np.diag([0.1, 1.0, 1.0, 1.0])))

    found = find_regions(heatmap, threshold=0.5, rules=RegionRules(minimum_mm3=0.3))

    assert np.bincount(found.labels.ravel())[1:].tolist() == [5, 3]
    assert found.steps.n_left_out == 2
    assert found.steps.left_out_mm3 == pytest.approx(0.3)
    assert found.steps.text == "2 regions left out as too small, 0.3 mm³ in all"


def test_no_voxel_is_lost_uncounted() -> None:
    """Marked and filled voxels are in a region, or among what was left out."""
    grid = oblique((30, 26, 22), (0.8, 1.1, 2.0))
    heatmap, rules = hollow_blobs(1, grid), RegionRules(6, True, 1.5, 40.0)

    found = find_regions(heatmap, threshold=0.5, rules=rules)

    marked = np.count_nonzero(heatmap.array >= 0.5) + found.steps.n_filled_voxels
    kept = np.count_nonzero(found.labels) * grid.voxel_volume_mm3
    assert kept + found.steps.left_out_mm3 == pytest.approx(marked * grid.voxel_volume_mm3)
    assert found.steps.n_connected == found.labels.max() + found.steps.n_joined + found.steps.n_left_out
    assert min(found.steps.n_left_out, found.steps.n_joined, found.steps.n_filled_voxels) > 0


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_rules_do_not_depend_on_how_a_map_is_stored(orientation: Orientation) -> None:
    """All 48 orders and directions of the axes give the same regions at the same places."""
    grid = oblique((16, 14, 12), (0.8, 1.1, 2.0))
    heatmap, rules = hollow_blobs(5, grid), RegionRules(18, True, 2.0, 8.0)
    stored, new = reoriented(heatmap.array, grid, orientation)

    before = find_regions(heatmap, threshold=0.5, rules=rules)
    after = find_regions(map_of(stored, new), threshold=0.5, rules=rules)

    moved, _ = reoriented(before.labels, grid, orientation)
    assert same_partition(after.labels, moved)
    assert dataclasses.astuple(after.steps) == pytest.approx(dataclasses.astuple(before.steps))
    assert before.labels.max() > 2
    assert min(before.steps.n_left_out, before.steps.n_joined, before.steps.n_filled_voxels) > 0


def test_measuring_takes_the_rules_and_refuses_them_for_labels() -> None:
    """What a reader has drawn is a region as it is; rules that were passed over in silence would mislead."""
    grid = Grid((20, 5, 5), np.eye(4))
    array = np.zeros(grid.shape)
    array[2:6, 2, 2] = array[8, 2, 2] = array[15, 2, 2] = 1
    heatmap = map_of(array, grid)
    scan = Volume(np.zeros(grid.shape), grid)
    mask = LabelMap(scan.with_array(array.astype(np.uint8)), "drawn", {}, Provenance())

    regions = measure(scan, heatmap, rules=RegionRules(merge_mm=3, minimum_mm3=2))

    assert [region.n_voxels for region in regions] == [5]
    assert regions[0].bbox_ijk == ((2, 2, 2), (8, 2, 2))
    with pytest.raises(InputError, match="labels of 'drawn' are regions already"):
        measure(scan, mask, rules=RegionRules())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"connectivity": 4}, "6, 18 or 26; found 4"),
        ({"merge_mm": -1.0}, "distance to merge within, in mm, .* found -1"),
        ({"minimum_mm3": float("nan")}, "least volume in mm³ .* found nan"),
        ({"minimum_mm3": float("inf")}, "found inf"),
    ],
)
def test_what_is_no_rule_is_refused(values: dict[str, Any], message: str) -> None:
    """A negative distance or an endless volume is a typing error."""
    with pytest.raises(InputError, match=message):
        RegionRules(**values)


def test_the_rules_are_said_in_words() -> None:
    """Default rules need no words, and nothing was done where nothing is said."""
    assert RegionRules().text == ""
    words = "voxels touch by faces, holes filled, merged within 2.5 mm, at least 40 mm³"
    assert RegionRules(6, True, 2.5, 40).text == words
    assert RegionSteps(n_connected=3).text == ""
    assert RegionRules.from_record({"threshold": 0.5}) == RegionRules()
