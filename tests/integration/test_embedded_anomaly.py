"""The embedded anomaly bundle on real scans: its map finds lesions that nobody showed it, on a scale of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import lesionlens as ll
from lesionlens.volume import Grid, Volume


@pytest.fixture(scope="module")
def bundle() -> ll.Bundle:
    """Return the embedded bundle."""
    return ll.load_bundle("flair-anomaly")


def middle(volume: Volume) -> Volume:
    """Return the middle three fifths of a scan along each axis; the whole head would only be many more windows."""
    part = tuple(slice(n // 5, n - n // 5) for n in volume.grid.shape)
    array, affine = volume.array[part], volume.grid.affine.copy()
    affine[:3, 3] = volume.grid.world(np.array([one.start for one in part], float))
    return Volume(array, Grid(array.shape, affine), volume.name)


@pytest.fixture(scope="module")
def patient19(shared_data: Path) -> tuple[Volume, np.ndarray]:
    """Return a scan that its training has not seen, and where its lesions are."""
    scan, mask = (ll.read(shared_data / "ms" / f"patient19_{name}.nii.gz") for name in ("FLAIR", "gt"))
    return middle(scan), middle(mask).array > 0


def test_lesions_are_found_better_than_by_brightness(bundle: ll.Bundle, patient19: tuple[Volume, np.ndarray]) -> None:
    """A map that ranks voxels as the intensity does is worth nothing: these lesions are bright."""
    scan, truth = patient19
    scores = ll.score_anomaly(bundle, scan)
    head = scan.array > 0

    found = average_precision_score(truth[head], scores.array[head])
    trivial = average_precision_score(truth[head], scan.array[head])

    assert found > trivial + 0.05
    assert scores.volume.grid == scan.grid


def test_the_scale_is_not_the_scans_own(bundle: ll.Bundle, patient19: tuple[Volume, np.ndarray]) -> None:
    """Seven times the values is the same head. Outside of lesions hardly anything is unusual."""
    scan, truth = patient19
    scores = ll.score_anomaly(bundle, scan).array
    louder = ll.score_anomaly(bundle, scan.with_array(scan.array * np.float32(7))).array

    assert np.abs(louder - scores).max() < 0.01 * scores.max()
    assert (scores[truth] >= 1).mean() > 20 * (scores[~truth] >= 1).mean()
