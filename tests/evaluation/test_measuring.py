"""One case against its mask: closed forms of boxes, MONAI, scikit-learn, scipy's labels, and comparing two times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.metrics import compute_dice
from scipy import ndimage
from sklearn.metrics import average_precision_score, brier_score_loss

import lesionlens as ll
from evaluated_runs import SHAPE, SPACING, boxes, write_results
from lesionlens.errors import InputError, ReadError
from lesionlens.evaluation import EvaluationCase, measure_case
from lesionlens.evaluation.measuring import FROC_THRESHOLDS
from lesionlens.heatmap import LabelMap, Provenance
from lesionlens.regions import compare_regions, find_regions
from lesionlens.results import read_maps

VOXEL = float(np.prod(SPACING))
EVERYWHERE = np.ones((3, 3, 3))


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> EvaluationCase:
    """Return a case of one cube of 6 voxels found one voxel beside where it is marked, and a false positive."""
    found = boxes(((5, 4, 4), (6, 6, 6), 0.9), ((16, 14, 10), (2, 2, 2), 0.6))
    mask = (boxes(((4, 4, 4), (6, 6, 6), 1.0)) > 0.5).astype(np.uint8)
    attribution = np.zeros(SHAPE, dtype=np.float32)
    attribution[5, 5, 5], attribution[16, 14, 10] = 3, 1
    return write_results(tmp_path_factory.mktemp("shifted"), "shifted", found, mask, attribution=attribution)


def test_a_cube_shifted_by_one_voxel_has_the_numbers_of_its_closed_forms(shifted: EvaluationCase) -> None:
    """5 of 6 layers overlap: 2 * 180 / (216 + 224); the other region shares nothing with the mask."""
    n = measure_case(shifted).numbers

    assert n["dice"] == pytest.approx(360 / 440)
    assert n["mask_volume_mm3"] == pytest.approx(216 * VOXEL)
    assert n["volume_mm3"] == pytest.approx(224 * VOXEL)
    assert n["volume_difference_mm3"] == pytest.approx(8 * VOXEL)
    assert (n["n_lesions"], n["n_detected"], n["n_regions"], n["n_false_positives"]) == (1, 1, 2, 1)
    assert (n["sensitivity"], n["precision"], n["threshold"]) == (1, 0.5, 0.5)
    # the strongest voxel lies on the mask, with three quarters of the positive sum
    assert (n["pointing_game"], n["mass_accuracy"]) == (1, 0.75)


def test_the_lesions_say_what_was_covered_and_what_is_false(shifted: EvaluationCase) -> None:
    """The rows of the table, by hand."""
    marked, false = measure_case(shifted).lesions

    assert (marked.kind, marked.volume_mm3, marked.covered) == ("marked", pytest.approx(216 * VOXEL), 180 / 216)
    assert (false.kind, false.volume_mm3, false.covered) == ("false positive", pytest.approx(8 * VOXEL), 0)
    assert (marked.size, false.size) == (1, 0)


def test_a_higher_threshold_leaves_the_false_positive_out_and_then_everything(shifted: EvaluationCase) -> None:
    """What is found depends on the threshold as on that of a run: a voxel at it belongs to a region."""
    at = {t: measure_case(shifted, threshold=t).numbers for t in (0.6, 0.7, 0.95)}

    assert [at[t]["n_false_positives"] for t in at] == [1, 0, 0]
    assert at[0.7]["dice"] == pytest.approx(360 / 432)
    assert (at[0.95]["dice"], at[0.95]["sensitivity"], at[0.95]["precision"]) == (0, 0, None)
    assert at[0.95]["hausdorff95_mm"] is None


def random_case(folder: Path, seed: int) -> EvaluationCase:
    """Return a case of smooth noise whose mask is like it, with many lesions."""
    rng = np.random.default_rng(seed)
    base, own = (ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.0) for _ in range(2))
    probability = np.clip(0.5 + 2 * (base + 0.5 * own - 0.3), 0, 1).astype(np.float32)
    return write_results(folder, f"random-{seed}", probability, (base > 0.3).astype(np.uint8), attribution=probability)


@pytest.mark.parametrize("seed", [0, 1])
def test_random_cases_have_the_numbers_of_other_packages(tmp_path: Path, seed: int) -> None:
    """Dice of MONAI, Brier score and average precision of scikit-learn, counts of scipy's labels."""
    case = random_case(tmp_path, seed)
    p, mask = (ll.read(path).array for path in (case.results / "probability_lesion.nii.gz", case.mask))
    mask = mask > 0
    found = measure_case(case)
    dice = compute_dice(*(torch.from_numpy(m)[None, None].float() for m in (p >= 0.5, mask)), include_background=True)
    (lesions, n_lesions), (regions, n_regions) = (ndimage.label(m, EVERYWHERE) for m in (mask, p >= 0.5))
    n_hit, n_true = (len(np.unique(a[(lesions > 0) & (regions > 0)])) for a in (lesions, regions))

    n = found.numbers
    assert n_lesions > 5
    assert n["dice"] == pytest.approx(float(dice))
    assert n["brier"] == pytest.approx(brier_score_loss(mask.ravel(), p.ravel()))
    assert n["average_precision"] == pytest.approx(average_precision_score(mask.ravel(), p.ravel()))
    assert (n["n_lesions"], n["n_detected"]) == (n_lesions, n_hit)
    assert (n["n_regions"], n["n_false_positives"]) == (n_regions, n_regions - n_true)
    far = ndimage.distance_transform_edt(~(mask | (p >= 0.5)), sampling=SPACING) > 5
    for (counts, _, sums), where in zip(found.bins, (np.ones_like(mask), ~far), strict=True):
        assert counts.sum() == where.sum()
        assert sums.sum() == pytest.approx(mask[where].sum())
    sizes = sorted(np.bincount(lesions.ravel())[1:] * VOXEL, reverse=True)
    assert [one.volume_mm3 for one in found.lesions if one.kind == "marked"] == pytest.approx(sizes)


def test_detection_is_what_comparing_two_times_calls_new_and_vanished(tmp_path: Path) -> None:
    """An independent part of the program: a lesion that was missed has vanished, a false positive is new."""
    case = random_case(tmp_path, 2)
    (heatmap, *_), _ = read_maps(case.results)
    regions = find_regions(heatmap, threshold=0.5).labels
    lesions = ndimage.label(ll.read(case.mask).array > 0, EVERYWHERE)[0]
    before, after = (
        LabelMap(heatmap.volume.with_array(a.astype(np.uint16)), "lesion", {}, Provenance()) for a in (lesions, regions)
    )
    changes = compare_regions(before, after)

    n = measure_case(case).numbers

    assert changes.count("vanished") > 0
    assert n["n_lesions"] - n["n_detected"] == changes.count("vanished")  # type: ignore[operator]  # both are there
    assert n["n_false_positives"] == changes.count("new")


def test_the_curve_has_at_each_threshold_what_scipy_counts(tmp_path: Path) -> None:
    """Regions are made anew at each threshold: those that merge lower down are one there."""
    case = random_case(tmp_path, 3)
    p, mask = (ll.read(path).array for path in (case.results / "probability_lesion.nii.gz", case.mask))
    lesions = ndimage.label(mask > 0, EVERYWHERE)[0]

    froc = measure_case(case).froc

    for step, threshold in enumerate(FROC_THRESHOLDS):
        regions, count = ndimage.label(p >= np.float32(threshold), EVERYWHERE)
        both = (lesions > 0) & (regions > 0)
        assert froc[step].tolist() == [len(np.unique(lesions[both])), count - len(np.unique(regions[both]))], threshold


def test_a_lesion_that_touches_in_a_corner_is_one(tmp_path: Path) -> None:
    """26 neighbours: two boxes corner to corner are one lesion, with a gap they are two."""
    corner = boxes(((4, 4, 4), (2, 2, 2), 1.0), ((6, 6, 6), (2, 2, 2), 1.0)) > 0.5
    apart = boxes(((4, 4, 4), (2, 2, 2), 1.0), ((7, 6, 6), (2, 2, 2), 1.0)) > 0.5
    counts = [
        measure_case(write_results(tmp_path, name, boxes(), mask.astype(np.uint8))).numbers["n_lesions"]
        for name, mask in (("corner", corner), ("apart", apart))
    ]

    assert counts == [1, 2]


def test_a_ball_that_is_found_a_little_smaller_has_the_dice_of_its_radii(tmp_path: Path) -> None:
    """Of concentric balls: 2 r³ / (r³ + R³), but for the voxels at their borders."""
    points = (np.indices(SHAPE) - (np.array(SHAPE)[:, None, None, None] - 1) / 2) * np.array(SPACING).reshape(
        3, 1, 1, 1
    )
    distance = np.linalg.norm(points, axis=0)
    p = np.where(distance < 8, 0.9, 0.1).astype(np.float32)
    case = write_results(tmp_path, "ball", p, (distance < 10).astype(np.uint8))

    n = measure_case(case).numbers

    assert n["dice"] == pytest.approx(2 * 8**3 / (8**3 + 10**3), abs=0.02)  # 0.677; voxels of 3 mm³ in 2100
    # every border voxel is 2 mm away but for the place of the voxels, at most half a diagonal each
    assert n["average_surface_distance_mm"] == pytest.approx(2, abs=0.5)


def test_without_lesions_there_is_no_dice_and_every_region_is_false(tmp_path: Path) -> None:
    """A score of 0 or 1 for a healthy scan would move the mean by something that is no overlap."""
    case = write_results(tmp_path, "healthy", boxes(((4, 4, 4), (2, 2, 2), 0.9)), np.zeros(SHAPE, dtype=np.uint8))

    n = measure_case(case).numbers

    assert (n["dice"], n["sensitivity"], n["pointing_game"], n["hausdorff95_mm"]) == (None,) * 4
    assert (n["n_lesions"], n["n_false_positives"], n["precision"]) == (0, 1, 0)


def test_one_number_of_a_mask_can_stand_for_the_class(tmp_path: Path) -> None:
    """Masks of several structures are common; what is not asked for is background."""
    found = boxes(((4, 4, 4), (4, 4, 4), 0.9))
    mask = (boxes(((4, 4, 4), (4, 4, 4), 1.0)) > 0.5) * 2 + (boxes(((12, 12, 8), (4, 4, 4), 1.0)) > 0.5) * 1
    case = write_results(tmp_path, "two", found, mask.astype(np.uint8))

    assert [measure_case(case, mask_value=v).numbers["dice"] for v in (2, 1, None)] == [1, 0, pytest.approx(2 / 3)]


def test_what_cannot_be_compared_is_refused(tmp_path: Path, shifted: EvaluationCase) -> None:
    """Several classes without a choice, a class that is none, results or a mask that are none."""
    several = write_results(tmp_path, "several", boxes(), np.zeros(SHAPE, dtype=np.uint8), classes=("a", "b"))
    with pytest.raises(InputError, match="choose one with --class"):
        measure_case(several)
    assert measure_case(several, label="b").label == "b"
    with pytest.raises(InputError, match="class 'c'"):
        measure_case(several, label="c")
    with pytest.raises(ReadError, match="holds no results"):
        measure_case(EvaluationCase("none", tmp_path, shifted.mask))
    with pytest.raises(ReadError, match="missing"):
        measure_case(EvaluationCase("none", shifted.results, tmp_path / "missing.nii.gz"))
