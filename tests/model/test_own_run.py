"""Bundles that ship, and a trained one from outside, give what MONAI's own run of them gives."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lesionlens.io import read
from lesionlens.model import load_bundle, predict
from lesionlens.model.catalogue import embedded_root
from lesionlens.sample import sample_scan
from lesionlens.volume import Grid, Volume
from monai_runs import own_run, written
from tiny_bundles import VOXELWISE, VOXELWISE_STATE, write_bundle

TOLERANCE = 1e-4


def _part_of_the_sample() -> Volume:
    """Return every third voxel of the middle of the sample scan: small, and a real head."""
    scan = read(sample_scan())
    low = [n // 4 for n in scan.grid.shape]
    cut = tuple(slice(n // 4, n - n // 4, 3) for n in scan.grid.shape)
    affine = scan.grid.affine @ np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = scan.grid.world(np.array(low, dtype=float))
    array = np.ascontiguousarray(scan.array[cut], dtype=np.float32)
    i, j, k = array.shape
    return Volume(array, Grid((i, j, k), affine.astype(np.float32).astype(np.float64)), name="part")


def test_what_the_embedded_segmentation_does_to_voxels_is_undone_as_monai_does(tmp_path: Path) -> None:
    """With a network of one voxel in its place, all else of the bundle is as it ships."""
    theirs, said = (
        json.loads((embedded_root() / "flair-lesions" / "configs" / name).read_text())
        for name in ("inference.json", "metadata.json")
    )
    folder = write_bundle(tmp_path / "b", network=VOXELWISE, state=VOXELWISE_STATE)
    (folder / "configs" / "inference.json").write_text(
        json.dumps({"preprocessing": theirs["preprocessing"], "network_def": VOXELWISE, **_PLAIN})
    )
    metadata = folder / "configs" / "metadata.json"
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "lesionlens": said["lesionlens"]}))
    scan = _part_of_the_sample()

    (found,) = predict(load_bundle(folder, trust=True), scan)  # its brightness is measured by code of its own

    expected = own_run(folder, {"image": written(scan, tmp_path / "scan.nii.gz")}, kind="softmax")[1]
    assert expected.max() > 0.5
    np.testing.assert_allclose(found.volume.array, expected, atol=TOLERANCE)


def _middle(scan: Volume, size: int) -> Volume:
    low = [max(0, (n - size) // 2) for n in scan.grid.shape]
    array = scan.array[tuple(slice(n, n + size) for n in low)].astype(np.float32)
    affine = scan.grid.affine.copy()
    affine[:3, 3] = scan.grid.world(np.array(low, dtype=float))
    i, j, k = array.shape
    return Volume(array, Grid((i, j, k), affine.astype(np.float32).astype(np.float64)), name="middle")


_PLAIN: dict[str, Any] = {
    "inferer": {"_target_": "SimpleInferer"},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [{"_target_": "Activationsd", "keys": "pred", "softmax": True}],
    },
}


@pytest.mark.slow
def test_the_embedded_segmentation_gives_what_monai_gives(tmp_path: Path) -> None:
    """The whole of it, weights and windows included."""
    scan = _part_of_the_sample()
    folder = tmp_path / "b"
    shutil.copytree(embedded_root() / "flair-lesions", folder)

    (found,) = predict(load_bundle("flair-lesions", device="cpu"), scan)

    expected = own_run(folder, {"image": written(scan, tmp_path / "scan.nii.gz")}, kind="softmax")[1]
    np.testing.assert_allclose(found.volume.array, expected, atol=TOLERANCE)


@pytest.mark.slow
def test_a_trained_bundle_from_outside_gives_what_monai_gives(shared_data: Path, tmp_path: Path) -> None:
    """On the middle of a scan that it was made for; it pads to 256 voxels, which take too long here."""
    folder = tmp_path / "arc"
    shutil.copytree(shared_data / "bundles" / "arc_meshnet26_t2_stroke", folder)
    config = (folder / "configs" / "inference.json").read_text()
    (folder / "configs" / "inference.json").write_text(re.sub(r"\[\s*256,\s*256,\s*256\s*\]", "[64, 64, 64]", config))
    scan = _middle(read(shared_data / "stroke" / "M2208_T2w.nii.gz"), 48)

    bundle = load_bundle(folder, device="cpu", trust=True)
    maps = predict(bundle, scan)

    expected = own_run(folder, {"image": written(scan, tmp_path / "s.nii.gz")}, kind=bundle.activation.kind)
    for one in maps:
        channel = bundle.channel(one.label)
        np.testing.assert_allclose(one.volume.array, expected[channel], atol=TOLERANCE)
