"""Which slices a montage shows: worked out by hand on small scenes."""

from __future__ import annotations

import numpy as np
import pytest

from lesionlens.report.slices import choose_slices, crop_box, head_mask, region_areas, slice_that_shows

HEAD = np.ones((40, 4, 4), dtype=bool)


def areas(*regions: dict[int, float], n: int = 40) -> np.ndarray:
    """Return scores (n slices, regions) from the area of each region by slice."""
    scores = np.zeros((n, len(regions)))
    for column, region in enumerate(regions):
        for index, area in region.items():
            scores[index, column] = area
    return scores


def test_areas_count_voxels_by_slice_and_label() -> None:
    """The table of areas is what counting gives, for labels with gaps too."""
    labels = np.zeros((3, 4, 5), dtype=np.uint32)
    labels[0, :2, :2], labels[1, 0, 0], labels[2, 3, 1:4] = 1, 1, 9

    assert region_areas(labels).tolist() == [[4, 0], [1, 0], [0, 3]]


def test_no_region_gives_a_table_without_columns() -> None:
    """Nothing to show is a valid answer."""
    assert region_areas(np.zeros((3, 4, 5), dtype=int)).shape == (3, 0)


def test_the_slice_with_most_of_a_region_is_chosen() -> None:
    """One region is shown where it is largest."""
    scores = areas({10: 3, 11: 8, 12: 2})

    assert choose_slices(scores, HEAD, spacing_mm=5.0, fewest=0, most=1) == [11]


def test_every_region_gets_its_turn_before_a_large_one_gets_its_fourth_slice() -> None:
    """What was shown counts half: a small region is not crowded out by a large one."""
    large = {index: 8.0 for index in range(20)}
    scores = areas(large, {30: 3})

    # 8, then 4 for the large one; its third slice would score 2, less than the 3 of the small one.
    chosen = choose_slices(scores, HEAD, spacing_mm=1.0, fewest=0, most=3)

    assert 30 in chosen
    assert len([index for index in chosen if index < 20]) == 2


def test_thin_slices_keep_their_distance_and_thick_ones_may_be_neighbours() -> None:
    """Slices closer than 5 mm look alike."""
    scores = areas({index: 100.0 - abs(index - 20) for index in range(40)})

    thin = choose_slices(scores, HEAD, spacing_mm=1.0, fewest=0, most=3)
    thick = choose_slices(scores, HEAD, spacing_mm=8.0, fewest=0, most=3)

    assert np.diff(thin).tolist() == [5, 5]
    assert np.diff(thick).tolist() == [1, 1]


def test_without_scores_slices_spread_evenly_through_the_head() -> None:
    """A lesion-free scan is shown from its base to its top, not beyond."""
    head = np.zeros((40, 4, 4), dtype=bool)
    head[10:30] = True

    chosen = choose_slices(np.zeros((40, 0)), head, spacing_mm=1.0, fewest=5, most=12)

    assert chosen == [12, 16, 20, 24, 28]


def test_few_slices_that_matter_are_filled_up() -> None:
    """One region in one slice comes with context, and stays in."""
    chosen = choose_slices(areas({3: 2}), HEAD, spacing_mm=1.0, fewest=6, most=12)

    assert 3 in chosen
    assert len(chosen) == 6


def test_a_scan_with_few_slices_is_shown_whole() -> None:
    """More slices than there are cannot be shown, and none twice."""
    assert choose_slices(np.zeros((3, 0)), HEAD[:3], spacing_mm=8.0, fewest=6, most=12) == [0, 1, 2]
    assert choose_slices(areas({0: 1}, n=1), HEAD[:1], spacing_mm=8.0, fewest=6, most=12) == [0]


def test_no_more_slices_than_asked_for() -> None:
    """Many regions do not make a larger picture."""
    scores = areas(*({index: 1.0} for index in range(0, 40, 2)))

    assert len(choose_slices(scores, HEAD, spacing_mm=8.0, fewest=6, most=12)) == 12


def test_head_mask_finds_tissue_and_not_the_noise_of_air(rng: np.random.Generator) -> None:
    """Noise at 3 % of the signal is air."""
    scan = rng.normal(3, 1, (20, 20, 20))
    scan[5:15, 5:15, 5:15] = rng.normal(100, 5, (10, 10, 10))

    mask = head_mask(scan)

    assert mask[5:15, 5:15, 5:15].all()
    assert mask.sum() == 1000


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_a_scan_without_contrast_has_no_head(value: float) -> None:
    """Constant and empty scans are drawn whole instead of failing."""
    mask = head_mask(np.full((4, 5, 6), value))

    assert not mask.any()
    assert crop_box(mask, mask, spacing_mm=(1, 1)) == (slice(0, 5), slice(0, 6))


def test_the_crop_holds_head_and_overlay_with_a_margin_in_mm() -> None:
    """Seven millimetres around everything that matters, whatever the spacing."""
    head, shown = np.zeros((3, 50, 60), dtype=bool), np.zeros((3, 50, 60), dtype=bool)
    head[:, 20:30, 20:40] = True
    shown[1, 25, 50] = True

    rows, columns = crop_box(head, shown, spacing_mm=(2.0, 1.0))

    assert (rows, columns) == (slice(16, 34), slice(13, 58))


def test_the_slice_that_shows_most_of_several_overlays_is_found_along_any_axis() -> None:
    """Worked out by hand: a mask of 3 voxels in slice 4, a map that is seen in 2 voxels there and 4 in slice 1."""
    mask = np.zeros((6, 5, 4), dtype=np.int32)
    mask[4, :3, 0] = 2
    heat = np.full((6, 5, 4), 0.4)
    heat[4, 0, :2], heat[1, 2, :] = 0.5, 0.9

    assert slice_that_shows([(mask, 1.0), (heat, 0.5)], axis=0, now=0) == 4
    assert slice_that_shows([(heat, 0.5)], axis=0, now=0) == 1
    assert slice_that_shows([(heat, 0.5)], axis=1, now=4) == 2


def test_a_slice_that_shows_something_is_not_left() -> None:
    """Who looks at a part of a finding must not be taken elsewhere, nor who has nothing to see."""
    mask = np.zeros((6, 5, 4), dtype=np.int32)
    mask[4], mask[2, 0, 0] = 1, 1

    assert slice_that_shows([(mask, 1.0)], axis=0, now=2) is None
    assert slice_that_shows([(np.zeros_like(mask), 1.0)], axis=0, now=2) is None


def test_both_signs_of_a_difference_are_seen() -> None:
    """Where one map is far lower than the other, the difference has a colour as well."""
    difference = np.zeros((4, 3, 3))
    difference[3, 1, 1] = -0.8

    assert slice_that_shows([(difference, -0.05)], axis=0, now=0) == 3
    assert slice_that_shows([(difference, 0.05)], axis=0, now=0) is None
