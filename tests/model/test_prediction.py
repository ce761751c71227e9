"""Probabilities in the right place, whatever the bundle's transforms do and however the scan is stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, SpatialPadd

from lesionlens.errors import BundleError, Cancelled, ExplainError, InputError
from lesionlens.model import classify, explain, load_bundle, predict
from lesionlens.volume import Volume
from orientations import COVERING, ORIENTATIONS, reoriented
from tiny_bundles import (
    CENTRE,
    LOAD,
    RAS,
    SIGMOID,
    SLIDING,
    VOXELWISE_STATE,
    blob,
    centre_of_mass,
    classifier,
    oblique_grid,
    straight_grid,
    write_bundle,
)

SPACING = {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 1.5], "mode": "bilinear"}
CROP = {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "margin": 4, "allow_smaller": True}
PAD = {"_target_": "ResizeWithPadOrCropd", "keys": "image", "spatial_size": [40, 30, 44]}
RESIZE = {"_target_": "Resized", "keys": "image", "spatial_size": [32, 36, 28], "mode": "trilinear"}
SCALE = {"_target_": "ScaleIntensityd", "keys": "image", "minv": 0.0, "maxv": 1.0}

STEPS: dict[str, list[dict[str, Any]]] = {
    "orientation": [RAS],
    "spacing": [RAS, SPACING],
    "crop": [RAS, CROP],
    "pad": [RAS, PAD],
    "resize": [RAS, RESIZE],
    "all": [RAS, SPACING, CROP, PAD, SCALE],
}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the voxelwise network behind every kind of spatial preprocessing."""
    root = tmp_path_factory.mktemp("bundles")
    return {
        name: load_bundle(write_bundle(root / name, steps=steps, inferer=SLIDING), trust=True)
        for name, steps in STEPS.items()
    }


@pytest.mark.parametrize(
    ("make_grid", "orientation"),
    [*((straight_grid, one) for one in COVERING), *((oblique_grid, one) for one in ORIENTATIONS)],
)
def test_probability_lies_on_the_lesion_in_every_orientation(
    bundles: dict[str, Any], orientation: Any, make_grid: Any
) -> None:
    """A map that is flipped or shifted misleads: the blob stays at its world point through all transforms."""
    scan = blob(make_grid(), CENTRE)
    array, grid = reoriented(scan.array, scan.grid, orientation)

    (heatmap,) = predict(bundles["all"], Volume(array, grid))

    assert heatmap.grid.same_as(grid)
    found = centre_of_mass(heatmap.array > 0.5, grid)
    np.testing.assert_allclose(found, CENTRE, atol=0.5)  # mm; voxels are 1 to 2 mm


@pytest.mark.parametrize("make_grid", [straight_grid, oblique_grid])
@pytest.mark.parametrize("name", STEPS)
def test_probabilities_equal_monais_own_inversion(bundles: dict[str, Any], name: str, make_grid: Any) -> None:
    """MONAI's Invertd, an independent way back, gives the same map wherever the network saw the scan."""
    scan = blob(make_grid(), CENTRE)

    (ours,) = predict(bundles[name], scan)

    expected = monai_inverted(bundles[name], scan)
    seen = predict_ones(bundles[name], scan) > 0.999
    assert seen.mean() > 0.2
    np.testing.assert_allclose(ours.array[seen], expected[seen], atol=1e-4)


def monai_inverted(bundle: Any, scan: Volume) -> np.ndarray:
    """Return the lesion's probability by MONAI alone: transforms, softmax, Invertd without discretising."""
    transform = Compose(list(bundle.preprocessing.transforms))
    meta = {"original_channel_dim": float("nan")}
    tensor = MetaTensor(torch.tensor(np.array(scan.array)), affine=torch.tensor(np.array(scan.grid.affine)), meta=meta)
    data = transform({"image": tensor})
    with torch.no_grad():
        logits = bundle.inferer(data["image"][None], bundle.network)[0]
    pred = torch.softmax(logits, dim=0)
    data["pred"] = MetaTensor(pred, meta=data["image"].meta, applied_operations=data["image"].applied_operations)
    invert = Invertd(keys="pred", transform=transform, orig_keys="image", nearest_interp=False)
    return np.asarray(invert(data)["pred"][1])


def predict_ones(bundle: Any, scan: Volume) -> np.ndarray:
    """Return 1 where the network saw the scan: what a map of ones becomes on its way back."""
    from lesionlens.model.preprocess import prepare
    from lesionlens.volume import resample

    prepared = prepare(bundle, scan)
    return resample(np.ones(prepared.grid.shape, dtype=np.float32), prepared.grid, scan.grid)


def test_probability_is_zero_where_the_bundle_cropped_the_scan_away(tmp_path: Path) -> None:
    """Outside what the network saw there is no evidence for a lesion; the centre of the crop is still found."""
    crop = {"_target_": "CenterSpatialCropd", "keys": "image", "roi_size": [20, 20, 10]}
    state = {**VOXELWISE_STATE, "bias": torch.tensor([0.0, 5.0])}  # lesion everywhere
    bundle = load_bundle(write_bundle(tmp_path / "b", steps=[RAS, crop], state=state), trust=True)
    scan = blob(straight_grid(), CENTRE)

    (heatmap,) = predict(bundle, scan)

    inside = np.zeros(scan.grid.shape, dtype=bool)
    inside[10:30, 9:29, 7:17] = True
    assert (heatmap.array[inside] > 0.99).all()
    assert (heatmap.array[~inside] == 0).all()


def test_probability_is_the_closed_form_of_the_voxelwise_network(bundles: dict[str, Any]) -> None:
    """Without resampling p = sigmoid(10 x - 5) at every voxel."""
    scan = blob(straight_grid(), CENTRE)

    (heatmap,) = predict(bundles["orientation"], scan)

    expected = 1 / (1 + np.exp(-(10 * scan.array.astype(np.float64) - 5)))
    np.testing.assert_allclose(heatmap.array, expected, atol=1e-6)
    assert heatmap.kind == "probability"
    assert heatmap.label == "lesion"
    assert not heatmap.signed


def test_sigmoid_classes_are_all_foreground(tmp_path: Path) -> None:
    """Overlapping classes without background each get a map of their own."""
    folder = write_bundle(
        tmp_path / "b", steps=[], postprocessing=[SIGMOID], outputs={"0": "oedema", "1": "tumour core"}
    )
    scan = blob(straight_grid(), CENTRE)

    maps = predict(load_bundle(folder, trust=True), scan)

    assert [m.name for m in maps] == ["probability_oedema", "probability_tumour-core"]
    np.testing.assert_allclose(maps[0].array, 0.5)  # logit 0
    np.testing.assert_allclose(maps[1].array, 1 / (1 + np.exp(5 - 10 * scan.array)), atol=1e-6)


def test_several_channels_are_taken_in_order(tmp_path: Path) -> None:
    """The second volume weighs twice: swapping them changes the map as the closed form says."""
    folder = write_bundle(
        tmp_path / "b",
        network={"_target_": "torch.nn.Conv3d", "in_channels": 2, "out_channels": 1, "kernel_size": 1},
        state={"weight": torch.tensor([1.0, 2.0]).view(1, 2, 1, 1, 1), "bias": torch.zeros(1)},
        inputs={"0": "T1", "1": "FLAIR"},
        outputs={"0": "lesion"},
        postprocessing=[],
    )
    bundle = load_bundle(folder, trust=True)
    grid = straight_grid()
    t1, flair = blob(grid, CENTRE), blob(grid, (0.0, 0.0, 10.0))

    (heatmap,) = predict(bundle, (t1, flair))

    expected = 1 / (1 + np.exp(-(t1.array + 2.0 * flair.array)))
    np.testing.assert_allclose(heatmap.array, expected, atol=1e-6)
    with pytest.raises(InputError, match=r"needs 2 input channel\(s\) \(T1, FLAIR\); found 1"):
        predict(bundle, t1)
    with pytest.raises(InputError, match="share one grid"):
        predict(bundle, (t1, blob(oblique_grid(), CENTRE)))


@pytest.mark.parametrize(
    ("values", "message"),
    [(np.nan, "not finite"), (np.inf, "not finite"), (None, "is constant.*Choose another")],
)
def test_scans_that_cannot_be_predicted_on_are_named(
    bundles: dict[str, Any], values: float | None, message: str
) -> None:
    """One NaN would spread over the whole map, and a constant image has nothing in it."""
    array = np.zeros(straight_grid().shape, dtype=np.float32)
    if values is not None:
        array[3, 4, 5] = values

    with pytest.raises(InputError, match=message):
        predict(bundles["all"], Volume(array, straight_grid(), name="scan"))


def test_volume_is_left_alone(bundles: dict[str, Any]) -> None:
    """Transforms work in place; the scan of the caller must not."""
    array = np.array(blob(straight_grid(), CENTRE).array) * 100
    before = array.copy()

    predict(bundles["all"], Volume(array, straight_grid()))

    np.testing.assert_array_equal(array, before)


def test_progress_counts_windows_and_cancels(bundles: dict[str, Any]) -> None:
    """A user sees how far it is and can stop it between two windows."""
    scan = blob(straight_grid(), CENTRE)
    seen: list[tuple[int, int]] = []

    predict(bundles["all"], scan, progress=lambda stage, done, total: seen.append((done, total)))

    assert seen[0] == (0, seen[0][1])
    assert seen[-1] == (seen[0][1], seen[0][1])
    assert len(seen) == seen[0][1] + 1 > 3

    def stop(stage: str, done: int, total: int) -> None:
        if done == 2:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled, match="stopped"):
        predict(bundles["all"], scan, progress=stop)


def test_network_with_other_channels_than_stated_is_refused(tmp_path: Path) -> None:
    """Naming channel 1 'lesion' when the network has three would be a guess."""
    outputs = {"0": "background", "1": "lesion", "2": "oedema"}
    bundle = load_bundle(write_bundle(tmp_path / "b", outputs=outputs), trust=True)

    with pytest.raises(BundleError, match=r"3 output channels .* shape \(2,"):
        predict(bundle, blob(straight_grid(), CENTRE))


def test_preprocessing_that_loses_the_affine_is_refused(tmp_path: Path) -> None:
    """Without an affine the map could only be placed by guess."""
    steps = [RAS, {"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x.as_tensor()", "track_meta": False}]
    bundle = load_bundle(write_bundle(tmp_path / "b", steps=steps), trust=True)

    with pytest.raises(BundleError, match="loses the image's affine"):
        predict(bundle, blob(straight_grid(), CENTRE))


def test_input_that_the_network_cannot_take_is_one_sentence(tmp_path: Path) -> None:
    """A network with three input channels behind one-channel metadata fails with shapes, not with a traceback."""
    folder = write_bundle(
        tmp_path / "b",
        network={"_target_": "torch.nn.Conv3d", "in_channels": 3, "out_channels": 2, "kernel_size": 1},
        state={"weight": torch.zeros(2, 3, 1, 1, 1), "bias": torch.zeros(2)},
    )

    with pytest.raises(InputError, match=r"cannot process an input of \(1, 40, 38, 24\)"):
        predict(load_bundle(folder, trust=True), blob(straight_grid(), CENTRE))


@pytest.mark.parametrize("how", ["tuple", "dict"])
def test_output_beside_the_main_one_is_left_alone(tmp_path: Path, how: str) -> None:
    """Networks add hidden states to their answer; the map and its explanation are those of the answer."""
    network = {"_target_": "tiny_networks.Ending", "how": how}
    state = {f"conv.{k}": v for k, v in VOXELWISE_STATE.items()}
    bundle = load_bundle(write_bundle(tmp_path / "b", network=network, state=state, steps=[]), trust=True)
    scan = blob(straight_grid(), CENTRE)

    (heatmap,) = predict(bundle, scan)

    np.testing.assert_allclose(heatmap.array, 1 / (1 + np.exp(5 - 10 * scan.array)), atol=1e-6)
    assert explain(bundle, scan, layer="conv").label == "lesion"


def test_whatever_a_network_raises_is_one_sentence(tmp_path: Path) -> None:
    """Networks check sizes with ValueError, assert, anything: the bundle is named, in every function."""
    network = {"_target_": "tiny_networks.Ending", "how": "fails"}
    state = {f"conv.{k}": v for k, v in VOXELWISE_STATE.items()}
    bundle = load_bundle(write_bundle(tmp_path / "b", network=network, state=state), trust=True)

    for work in (predict, explain):
        with pytest.raises(
            InputError, match=r"^b cannot process an input of \(1, 40, 38, 24\).*divisible by 16\. It st"
        ):
            work(bundle, blob(straight_grid(), CENTRE))


def test_networks_of_single_slices_are_predicted_with(tmp_path: Path) -> None:
    """MONAI's SliceInferer runs a 2D network slice by slice; it cannot be explained exactly, and says so."""
    folder = write_bundle(
        tmp_path / "b",
        network={"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": 1},
        state={**VOXELWISE_STATE, "weight": VOXELWISE_STATE["weight"][..., 0]},
        inferer={"_target_": "SliceInferer", "roi_size": [16, 16], "spatial_dim": 2},
        steps=[],
    )
    bundle, scan = load_bundle(folder, trust=True), blob(straight_grid(), CENTRE)

    (heatmap,) = predict(bundle, scan)

    np.testing.assert_allclose(heatmap.array, 1 / (1 + np.exp(5 - 10 * scan.array)), atol=1e-6)
    with pytest.raises(ExplainError, match="SliceInferer cannot be explained exactly"):
        explain(bundle, scan)


@pytest.mark.parametrize("inferer", [None, SLIDING], ids=["whole", "sliding"])
def test_output_of_another_size_than_the_input_is_refused(tmp_path: Path, inferer: Any) -> None:
    """A map of half the size lies on no grid that anybody stated."""
    folder = write_bundle(
        tmp_path / "b",
        network="$torch.nn.Sequential(torch.nn.AvgPool3d(2), torch.nn.Conv3d(1, 2, 1))",
        state={f"1.{k}": v for k, v in VOXELWISE_STATE.items()},
        extra={"imports": ["$import torch"]},
        inferer=inferer,
    )

    with pytest.raises(
        BundleError,
        match=r"must give an output of shape \(2, 40, 38, 24\); it gives .* \(2, 20, 19, 12\).*DivisiblePadd",
    ):
        predict(load_bundle(folder, trust=True), blob(straight_grid(), CENTRE))


def test_fully_convolutional_classifier_is_one(tmp_path: Path) -> None:
    """Its output keeps three axes of one cell; the numbers are those of any other classifier."""
    folder = write_bundle(
        tmp_path / "b",
        network="$torch.nn.Sequential(torch.nn.Identity(), torch.nn.AdaptiveAvgPool3d(1), torch.nn.Conv3d(1, 2, 1))",
        state={"2.weight": torch.tensor([0.0, 4.0]).view(2, 1, 1, 1, 1), "2.bias": torch.tensor([0.0, -1.0])},
        outputs={"0": "none", "1": "high"},
        output_format="classification",
        extra={"imports": ["$import torch"]},
        steps=[],
    )
    bundle, scan = load_bundle(folder, trust=True), blob(straight_grid(), CENTRE)

    p = 1 / (1 + np.exp(-(4 * scan.array.mean(dtype=np.float64) - 1)))
    assert classify(bundle, scan) == pytest.approx({"none": 1 - p, "high": p}, abs=1e-6)
    assert explain(bundle, scan, layer="0", target="high").provenance.target == "logit of 'high'"


def test_classifier_behind_a_sliding_window_is_refused(tmp_path: Path) -> None:
    """The answers of its windows are not the answer for the scan."""
    folder = classifier(tmp_path / "b")
    path = folder / "configs" / "inference.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "inferer": SLIDING}))

    with pytest.raises(BundleError, match=r"classifier behind a SlidingWindowInferer.*SimpleInferer"):
        classify(load_bundle(folder, trust=True), blob(straight_grid(), CENTRE))


def test_class_probabilities_are_the_closed_form(tmp_path: Path) -> None:
    """A classifier gives one probability per class, and no map."""
    bundle = load_bundle(classifier(tmp_path / "b"), trust=True)
    scan = blob(straight_grid(), CENTRE)

    found = classify(bundle, scan)

    p = 1 / (1 + np.exp(-(4 * scan.array.mean(dtype=np.float64) - 1)))
    assert found == pytest.approx({"none": 1 - p, "high": p}, abs=1e-6)
    with pytest.raises(BundleError, match="use classify"):
        predict(bundle, scan)


def test_segmentation_has_no_class_probabilities(bundles: dict[str, Any]) -> None:
    """The two kinds of bundle are not mixed up."""
    with pytest.raises(BundleError, match="use predict"):
        classify(bundles["all"], blob(straight_grid(), CENTRE))


def test_loader_that_adds_the_channel_itself_works_alike(tmp_path: Path) -> None:
    """Bundles write ensure_channel_first into LoadImaged, or a step of its own: the same image arrives."""
    scan = blob(straight_grid(), CENTRE)
    config = [{**LOAD[0], "ensure_channel_first": True}, RAS]
    folder = write_bundle(tmp_path / "b", extra={"preprocessing": {"_target_": "Compose", "transforms": config}})

    (one,) = predict(load_bundle(folder, trust=True), scan)
    (other,) = predict(load_bundle(write_bundle(tmp_path / "c"), trust=True), scan)

    np.testing.assert_array_equal(one.array, other.array)


# Dark voxels are a lesion to this network, so that padding with zeros is one too.
DARK = {"1.weight": torch.tensor([0.0, -10.0]).view(2, 1, 1, 1, 1), "1.bias": torch.tensor([0.0, 5.0])}
BRIGHT = {**CROP, "margin": 0, "select_fn": "$lambda x: x > 0.2"}


def dark_bundle(folder: Path, steps: list[dict[str, Any]]) -> Any:
    """Return a network that finds what is dark."""
    network = "$torch.nn.Sequential(torch.nn.Identity(), torch.nn.Conv3d(1, 2, 1))"
    extra = {"imports": ["$import torch"]}
    return load_bundle(write_bundle(folder, network=network, state=DARK, steps=steps, extra=extra), trust=True)


def bright_box() -> Volume:
    """Return a bright box with a dark core, in air that a crop takes away."""
    array = np.zeros(straight_grid().shape, np.float32)
    array[12:28, 12:28, 6:18] = 1
    array[18:22, 18:22, 10:14] = 0.1
    return Volume(array, straight_grid())


@pytest.mark.parametrize(
    "pad",
    [
        [PAD],
        [{"_target_": "SpatialPadd", "keys": "image", "spatial_size": [40, 40, 40]}],
        [SCALE, {"_target_": "DivisiblePadd", "keys": "image", "k": 16}],
        [{"_target_": "SpatialPadd", "keys": "image", "spatial_size": [40, 40, 40]}, RESIZE],
    ],
    ids=["resize-with-pad", "spatial", "divisible", "then-resized"],
)
def test_padding_over_what_was_cropped_away_is_no_finding(tmp_path: Path, pad: list[dict[str, Any]]) -> None:
    """The network never saw those voxels: probability and attribution are 0 there, as after MONAI's own inversion."""
    bundle, scan = dark_bundle(tmp_path / "b", [RAS, BRIGHT, *pad]), bright_box()
    air = scan.array == 0

    (heatmap,) = predict(bundle, scan)
    cam = explain(bundle, scan, layer="0")

    assert heatmap.array[19:21, 19:21, 11:13].min() > 0.7
    inner = (slice(13, 27), slice(13, 27), slice(7, 17))
    np.testing.assert_allclose(heatmap.array[air].max(), 0, atol=1e-6)
    assert not cam.array[air].any()
    assert cam.array[inner].any()
    if RESIZE not in pad:
        assert "(64 voxels)" in cam.provenance.target


def test_crop_and_pad_that_cannot_be_undone_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the way back, padding cannot be told from the scan."""
    pad = {"_target_": "SpatialPadd", "keys": "image", "spatial_size": [40, 40, 40]}
    bundle = dark_bundle(tmp_path / "b", [RAS, BRIGHT, pad])

    def fail(*_: object) -> None:
        raise RuntimeError("no way back")

    monkeypatch.setattr(SpatialPadd, "inverse", fail)

    with pytest.raises(BundleError, match=r"did to the scan's voxels cannot be undone \(no way back\)"):
        predict(bundle, bright_box())


CHANNELS = {"0": "T1", "1": "FLAIR"}
# The lesion logit is that of FLAIR, the second channel.
SECOND = {"weight": torch.tensor([[0.0, 0.0], [0.0, 10.0]]).view(2, 2, 1, 1, 1), "bias": torch.tensor([0.0, -5.0])}


@pytest.mark.parametrize(
    ("loaded", "joined"),
    [(["flair", "t1"], ["t1", "flair"]), (["b", "a"], ["a", "b"]), (["t1", "flair"], ["t1", "flair"])],
    ids=["by-name", "as-joined", "as-loaded"],
)
@pytest.mark.parametrize("each", [False, True], ids=["one-loader", "a-loader-each"])
def test_channels_go_where_their_names_say(tmp_path: Path, loaded: list[str], joined: list[str], each: bool) -> None:
    """A config may load its images in any order: volumes are given in the order of channel_def."""
    load = [{"_target_": "LoadImaged", "keys": keys} for keys in ([[k] for k in loaded] if each else [loaded])]
    steps = [
        *load,
        {"_target_": "EnsureChannelFirstd", "keys": loaded},
        {"_target_": "ConcatItemsd", "keys": joined, "name": "inputs"},
    ]
    folder = write_bundle(
        tmp_path / "b",
        network={"_target_": "torch.nn.Conv3d", "in_channels": 2, "out_channels": 2, "kernel_size": 1},
        state=SECOND,
        inputs=CHANNELS,
        extra={"preprocessing": {"_target_": "Compose", "transforms": steps}},
    )
    t1, flair = blob(straight_grid(), (0.0, 0.0, 20.0)), blob(straight_grid(), CENTRE)

    (heatmap,) = predict(load_bundle(folder, trust=True), [t1, flair])

    np.testing.assert_allclose(heatmap.array, 1 / (1 + np.exp(5 - 10 * flair.array)), atol=1e-5)


@pytest.mark.parametrize("last", [{"track_meta": False}, {"data_type": "numpy"}], ids=["no-meta", "numpy"])
def test_affine_survives_a_final_conversion(bundles: dict[str, Any], tmp_path: Path, last: dict[str, Any]) -> None:
    """Configs drop it at the end because MONAI no longer needs it; the map does."""
    steps = [RAS, {"_target_": "EnsureTyped", "keys": "image", **last}]
    bundle = load_bundle(write_bundle(tmp_path / "b", steps=steps), trust=True)
    scan = blob(oblique_grid(), CENTRE)

    found = predict(bundle, scan)[0].array

    np.testing.assert_allclose(found, predict(bundles["orientation"], scan)[0].array, atol=1e-6)


def test_networks_of_double_precision_run(bundles: dict[str, Any], tmp_path: Path) -> None:
    """Images are float32, and so is what runs on them."""
    folder = write_bundle(
        tmp_path / "b", network="$torch.nn.Conv3d(1, 2, 1).double()", extra={"imports": ["$import torch"]}
    )
    scan = blob(straight_grid(), CENTRE)

    found = predict(load_bundle(folder, trust=True), scan)[0].array

    np.testing.assert_allclose(found, predict(bundles["orientation"], scan)[0].array, atol=1e-6)


@pytest.mark.parametrize("wrong", ["scan.nii.gz", np.zeros((4, 4, 4)), [], [np.zeros((4, 4, 4))]], ids=repr)
def test_what_is_no_volume_is_named(bundles: dict[str, Any], wrong: Any) -> None:
    """A path or an array is passed easily; the error says what to give."""
    with pytest.raises(InputError, match="Expected a Volume"):
        predict(bundles["crop"], wrong)


def test_what_is_no_bundle_is_named() -> None:
    """So is a bundle's name."""
    with pytest.raises(InputError, match="Expected a Bundle; found str"):
        predict("flair-lesions", bright_box())  # type: ignore[arg-type]
