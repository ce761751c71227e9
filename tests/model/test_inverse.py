"""Results come back to the scan's grid as MONAI's own inversion brings them, whatever moved the voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lesionlens.errors import BundleError
from lesionlens.heatmap import Heatmap
from lesionlens.model import load_bundle, predict
from lesionlens.volume import Grid, Volume
from monai_runs import own_run, written
from orientations import oblique
from tiny_bundles import CENTRE, RAS, SIGMOID, blob, write_bundle

# What issue reports of the field call "equal": float32 against MONAI's float64 resampling.
TOLERANCE = 1e-4
SIZE = (17, 15, 12)


def _step(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": name, "keys": "image", **arguments}


SPACING = _step("Spacingd", pixdim=[1.5, 1.3, 1.2], mode="bilinear")
CROP = _step("CropForegroundd", source_key="image", select_fn="$lambda x: x > 0.2", margin=1)
#: Every transform of MONAI that moves voxels and can be undone, alone and together.
MOVING: dict[str, list[dict[str, Any]]] = {
    "Orientation": [_step("Orientationd", axcodes="PIR")],
    "Spacing": [SPACING],
    "Spacing, coarse": [_step("Spacingd", pixdim=[3.0, 3.0, 3.0], mode="bilinear")],
    "Spacing, zeros beyond": [_step("Spacingd", pixdim=[1.5, 1.3, 1.2], mode="bilinear", padding_mode="zeros")],
    "Spacing, nearest": [_step("Spacingd", pixdim=[1.5, 1.3, 1.2], mode="nearest")],
    "Spacing, upright": [_step("Spacingd", pixdim=[1.5, 1.5, 1.5], mode="bilinear", diagonal=True)],
    "Resize": [_step("Resized", spatial_size=[20, 12, 16], mode="trilinear")],
    "Resize by areas": [_step("Resized", spatial_size=[20, 12, 16])],
    "ResizeWithPadOrCrop": [_step("ResizeWithPadOrCropd", spatial_size=[12, 20, 12])],
    "CropForeground": [CROP],
    "CenterSpatialCrop": [_step("CenterSpatialCropd", roi_size=[12, 10, 8])],
    "SpatialCrop": [_step("SpatialCropd", roi_start=[2, 1, 3], roi_end=[14, 13, 10])],
    "SpatialPad": [_step("SpatialPadd", spatial_size=[24, 24, 16])],
    "DivisiblePad": [_step("DivisiblePadd", k=8)],
    "BorderPad": [_step("BorderPadd", spatial_border=[1, 2, 3])],
    "Flip": [_step("Flipd", spatial_axis=[0, 2])],
    "Rotate90": [_step("Rotate90d", k=1, spatial_axes=[0, 2])],
    "Rotate": [_step("Rotated", angle=[0.2, 0.0, 0.1], keep_size=False)],
    "Zoom": [_step("Zoomd", zoom=1.3, mode="trilinear", keep_size=False)],
    "Zoom, same size": [_step("Zoomd", zoom=0.8, mode="trilinear")],
    "Affine": [_step("Affined", rotate_params=[0.1, 0.2, 0.0], scale_params=[1.1, 1.0, 0.9], padding_mode="border")],
    "several": [RAS, SPACING, CROP, _step("SpatialPadd", spatial_size=[24, 24, 24])],
    "crop before spacing": [CROP, SPACING, _step("DivisiblePadd", k=4)],
    "two resamplings": [SPACING, _step("Resized", spatial_size=[16, 16, 16], mode="trilinear")],
}


def _scan() -> Volume:
    grid = oblique(SIZE, (1.2, 1.0, 1.8))
    affine = grid.affine.copy()
    affine[:3, 3] += np.array(CENTRE) - grid.world((np.array(SIZE) - 1) / 2)
    # Files hold float32, and MONAI places the corner or the centre of a resampled grid by the last digit.
    return blob(Grid(SIZE, affine.astype(np.float32).astype(np.float64)), CENTRE)


def _predicted(folder: Path, scan: Volume, **options: Any) -> list[Heatmap]:
    return predict(load_bundle(folder, **options), scan)


@pytest.mark.parametrize("name", MOVING)
def test_probabilities_are_those_of_monais_inversion(tmp_path: Path, name: str) -> None:
    """MONAI reads the file, moves the voxels, runs the network and moves them back by itself."""
    folder, scan = write_bundle(tmp_path / "b", steps=MOVING[name]), _scan()

    (found,) = _predicted(folder, scan)

    expected = own_run(folder, {"image": written(scan, tmp_path / "scan.nii.gz")}, kind="softmax")
    assert expected[1].max() > 0.9  # the blob was found, so that there is something to misplace
    np.testing.assert_allclose(found.volume.array, expected[1], atol=TOLERANCE)


@pytest.mark.parametrize("name", ["Orientation", "SpatialPad", "DivisiblePad", "BorderPad", "Flip", "Rotate90"])
def test_moved_whole_voxels_come_back_exactly(tmp_path: Path, name: str) -> None:
    """The network is 10 x - 5 at each voxel, so the answer is known by hand."""
    scan = _scan()

    (found,) = _predicted(write_bundle(tmp_path / "b", steps=MOVING[name]), scan)

    np.testing.assert_allclose(found.volume.array, 1 / (1 + np.exp(5 - 10 * scan.array)), atol=1e-6)


def test_what_was_cropped_away_comes_back_as_zero(tmp_path: Path) -> None:
    """Inside the crop the answer is known by hand, and the network saw nothing of the rest."""
    scan = _scan()

    (found,) = _predicted(write_bundle(tmp_path / "b", steps=MOVING["SpatialCrop"]), scan)

    expected = np.zeros(SIZE)
    inside = (slice(2, 14), slice(1, 13), slice(3, 10))
    expected[inside] = 1 / (1 + np.exp(5 - 10 * scan.array[inside]))
    np.testing.assert_allclose(found.volume.array, expected, atol=1e-6)


def test_channels_that_are_joined_come_back(tmp_path: Path) -> None:
    """The image is made of two that went through the transforms under other names."""
    keys = ["t1", "t2"]
    steps = [{**MOVING["several"][0], "keys": keys}, {**SPACING, "keys": keys}]
    joined = {"_target_": "ConcatItemsd", "keys": keys, "name": "image"}
    load = [{"_target_": name, "keys": keys} for name in ("LoadImaged", "EnsureChannelFirstd")]
    folder = write_bundle(
        tmp_path / "b",
        network={"_target_": "torch.nn.Conv3d", "in_channels": 2, "out_channels": 1, "kernel_size": 1},
        state=_sum_state(),
        inputs={"0": "T1", "1": "T2"},
        outputs={"0": "lesion"},
        postprocessing=[SIGMOID],
        extra={"preprocessing": {"_target_": "Compose", "transforms": [*load, *steps, joined]}},
    )
    scan = _scan()
    other = scan.with_array(np.flip(scan.array, axis=0).copy(), name="other")

    (found,) = predict(load_bundle(folder), [scan, other])

    files = {"t1": written(scan, tmp_path / "1.nii.gz"), "t2": written(other, tmp_path / "2.nii.gz")}
    np.testing.assert_allclose(found.volume.array, own_run(folder, files, kind="sigmoid")[0], atol=TOLERANCE)


def _sum_state() -> dict[str, Any]:
    import torch

    return {"weight": torch.tensor([4.0, 6.0]).view(1, 2, 1, 1, 1), "bias": torch.tensor([-5.0])}


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ([_step("Lambdad", func="$lambda x: x[:, 2:]")], "Lambdad"),
        ([SPACING, _step("Lambdad", func="$lambda x: x[:, :, 1:-1]"), RAS], "Lambdad"),
    ],
)
def test_what_cannot_be_undone_is_refused_by_name(tmp_path: Path, steps: list[dict[str, Any]], name: str) -> None:
    """A map in the wrong place is worse than none; who wants it nevertheless says so, and the record does."""
    folder, scan = write_bundle(tmp_path / "b", steps=steps), _scan()

    with pytest.raises(BundleError, match=rf"moves voxels by {name}, which cannot be undone.*--through-affine"):
        _predicted(folder, scan)
    bundle = load_bundle(folder, through_affine=True)
    assert "through the affine" in bundle.info.decisions[-1]
    assert predict(bundle, scan)[0].volume.array.shape == SIZE


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("GridDistortiond", {"num_cells": 4, "distort_steps": [[1.2] * 5] * 3}),
        ("RandGridDistortiond", {"prob": 1.0}),
        ("Rand3DElasticd", {"prob": 1.0, "sigma_range": [2, 3], "magnitude_range": [5, 9]}),
        ("RandSmoothDeformd", {"spatial_size": list(SIZE), "rand_size": [3, 3, 3], "prob": 1.0}),
    ],
)
def test_what_bends_an_image_within_its_grid_is_refused_by_name(
    tmp_path: Path, name: str, arguments: dict[str, Any]
) -> None:
    """Neither shape nor affine show that it did, so the map would lie beside what it is of."""
    folder, scan = write_bundle(tmp_path / "b", steps=[_step(name, **arguments)]), _scan()

    with pytest.raises(BundleError, match=rf"moves voxels by {name}, which cannot be undone"):
        _predicted(folder, scan)
    assert predict(load_bundle(folder, through_affine=True), scan)[0].volume.array.shape == SIZE


def test_steps_that_make_several_images_are_refused_by_name(tmp_path: Path) -> None:
    """As training crops a scan many times."""
    step = _step("RandSpatialCropSamplesd", roi_size=[8, 8, 8], num_samples=2, random_size=False)
    folder = write_bundle(tmp_path / "b", steps=[step])

    with pytest.raises(BundleError, match="makes several images of one by RandSpatialCropSamplesd"):
        _predicted(folder, _scan())


def test_steps_of_chance_give_the_same_result_every_time(tmp_path: Path) -> None:
    """Or a record could not be replayed."""
    step = _step("RandRotated", prob=1.0, range_x=0.4, range_y=0.4, keep_size=True)
    bundle, scan = load_bundle(write_bundle(tmp_path / "b", steps=[step])), _scan()

    first, second = (predict(bundle, scan)[0].volume.array for _ in range(2))

    np.testing.assert_array_equal(first, second)
    plain = predict(load_bundle(write_bundle(tmp_path / "c", steps=[])), scan)[0].volume.array
    assert np.abs(first - plain).max() > 0.01  # it does turn the image
