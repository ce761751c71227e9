"""Detection bundles: boxes and maps at the right place in the world, and what such a bundle refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.apps.detection.transforms.array import AffineBox
from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape

import lesionlens as ll
from detection_networks import SHAPES, CubeNetwork, write_detection
from lesionlens.errors import BundleError, ExplainError, InputError, MissingPackageError
from lesionlens.heatmap import LabelMap, Provenance
from lesionlens.model.calibrated import calibrate
from lesionlens.model.explanation import Wish
from lesionlens.model.inference import infer
from lesionlens.model.preprocess import prepare
from lesionlens.model.run import run_model
from lesionlens.pipeline import RunOptions, run_case
from lesionlens.volume import Grid, Volume
from orientations import COVERING, reoriented
from tiny_bundles import RAS, classifier, oblique_grid, straight_grid, write_bundle

CELLS = ((3, 2, 5), (7, 5, 2))  # of stride (4, 4, 2)
LEVELS = (1.0, 0.8)
WINDOWS = "$@detector.set_sliding_window_inferer(roi_size=[24,24,16],overlap=0.5,mode='constant')"
WORLD = [{"_target_": "AffineBoxToWorldCoordinated", "box_keys": "box", "box_ref_image_keys": "image"}]


def scan(grid: Grid) -> Volume:
    """Return a scan with two bright cells, of means 1 and 0.8."""
    array = np.zeros(grid.shape, dtype=np.float32)
    for (i, j, k), level in zip(CELLS, LEVELS, strict=True):
        array[4 * i : 4 * i + 4, 4 * j : 4 * j + 4, 2 * k : 2 * k + 2] = level
    return Volume(array, grid, name="cells")


def centre(cell: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    """Return the voxel index of the centre of a cell."""
    return np.array(cell) * (4, 4, 2) + (1.5, 1.5, 0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle of two classes that keeps the scan's own axes."""
    return write_detection(tmp_path_factory.mktemp("bundles") / "cubes", classes=2, steps=[])


@pytest.fixture(scope="module")
def bundle(folder: Path) -> ll.Bundle:
    """Return it loaded."""
    return ll.load_bundle(folder, trust=True)


@pytest.fixture(scope="module")
def upright(tmp_path_factory: pytest.TempPathFactory) -> ll.Bundle:
    """Return a bundle that turns scans to RAS first."""
    folder = write_detection(tmp_path_factory.mktemp("bundles") / "upright", steps=[RAS])
    return ll.load_bundle(folder, trust=True)


@pytest.mark.parametrize("grid", [straight_grid(), oblique_grid()], ids=["straight", "oblique"])
def test_boxes_lie_where_the_cells_are(bundle: ll.Bundle, grid: Grid) -> None:
    """By hand: the centre of a cell in the world, edges of 8 x 8 x 4 voxels, sigmoids of 6 and 12 x 0.8 - 6."""
    found = ll.detect(bundle, scan(grid))

    assert [(one.label, one.number, one.level) for one in found] == [("nodule", 1, 1), ("nodule", 2, 1)]
    for one, cell, logit in zip(found, CELLS, (6, 3.6), strict=True):
        assert one.confidence == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)
        assert one.centre_ras == pytest.approx(grid.world(centre(cell)), abs=1e-4)
        assert one.centre_ijk == pytest.approx(centre(cell), abs=1e-4)
        assert one.size_mm == pytest.approx(np.array((8, 8, 4)) * grid.spacing_mm, abs=1e-4)
        assert one.bbox_ijk[0] == pytest.approx(centre(cell) - (4, 4, 2), abs=1e-4)
        corners = grid.world(np.array(np.meshgrid(*zip(*one.bbox_ijk, strict=True))).reshape(3, -1).T)
        assert np.allclose(one.bbox_ras, (corners.min(axis=0), corners.max(axis=0)), atol=1e-3)


@pytest.mark.parametrize("orientation", COVERING)
def test_however_a_scan_is_stored_its_boxes_stay(upright: ll.Bundle, orientation: Any) -> None:
    """The network sees the same voxels, padded to multiples of 8; boxes and maps must come back to this storage."""
    grid = Grid((37, 30, 21), straight_grid().affine)
    first = scan(grid)
    array, turned = reoriented(first.array, grid, orientation)
    volume = Volume(array, turned, name="turned")

    found = ll.detect(upright, volume)
    boxes = ll.explain(upright, volume, method="boxes")
    scores = ll.explain(upright, volume, method="score_map")

    for one, cell in zip(found, CELLS, strict=True):
        assert one.centre_ras == pytest.approx(grid.world(centre(cell)), abs=1e-3)
        low, high = np.array(one.bbox_ijk)
        assert turned.world((low + high) / 2) == pytest.approx(one.centre_ras, abs=1e-3)
    expected = np.zeros(grid.shape, dtype=np.float32)
    cells = np.zeros(grid.shape, dtype=bool)
    for one, (i, j, k) in reversed(list(zip(found, CELLS, strict=True))):
        expected[4 * i - 2 : 4 * i + 6, 4 * j - 2 : 4 * j + 6, 2 * k - 1 : 2 * k + 3] = one.confidence
        cells[4 * i : 4 * i + 4, 4 * j : 4 * j + 4, 2 * k : 2 * k + 2] = True
    assert np.allclose(boxes.array, reoriented(expected, grid, orientation)[0], atol=1e-6)
    assert np.array_equal(scores.array > 0.5, reoriented(cells, grid, orientation)[0])


def test_maps_say_what_they_are(bundle: ll.Bundle) -> None:
    """A reader must not take a box for a contour, nor a score for a probability of a voxel."""
    boxes, scores = (ll.explain(bundle, scan(straight_grid()), method=name) for name in ("boxes", "score_map"))

    assert boxes.name == "detection_boxes_nodule"
    assert (boxes.kind, boxes.signed, boxes.label) == ("detection", False, "nodule")
    assert boxes.provenance.target == "confidence of 'nodule'"
    assert scores.provenance.resolution_mm == pytest.approx((2.0, 2.4, 2.0))
    assert scores.array.max() == pytest.approx(1 / (1 + np.exp(-6)), abs=1e-6)


def test_boxes_are_those_that_the_bundles_own_steps_give(tmp_path: Path) -> None:
    """MONAI's detector and its transform to the world, on a scan that needs padding, windows and offsets."""
    offsets = (0.1, -0.2, 0.15, 0.2, -0.1, 0.3, *(0.05,) * 6)
    path = write_detection(tmp_path / "zoo", offsets=offsets, steps=[RAS], postprocessing=WORLD, setters=(WINDOWS,))
    bundle, grid = ll.load_bundle(path, trust=True), straight_grid()
    volume = scan(Grid((37, 30, 21), grid.affine))
    detector = RetinaNetDetector(CubeNetwork(1, offsets), AnchorGeneratorWithAnchorShape((1, 2), SHAPES)).eval()
    detector.set_box_selector_parameters(0.02, nms_thresh=0.05)
    detector.set_sliding_window_inferer((24, 24, 16), overlap=0.5, mode="constant")

    found = ll.detect(bundle, volume)
    with torch.no_grad():
        expected = detector(torch.from_numpy(volume.array.copy())[None, None], use_inferer=True)[0]
    world = AffineBox()(expected["boxes"], torch.from_numpy(volume.grid.affine.copy()))

    assert len(found) == len(world) > 1
    assert np.allclose([np.ravel(one.bbox_ras) for one in found], world, atol=1e-3)
    assert np.allclose([one.confidence for one in found], expected["labels_scores"], atol=1e-6)


def test_through_windows_layers_have_no_map_and_the_rest_does(tmp_path: Path) -> None:
    """Each window would have its own; a map of one of them would pass for that of the scan."""
    bundle = ll.load_bundle(write_detection(tmp_path / "windows", steps=[], setters=(WINDOWS,)), trust=True)
    whole = ll.load_bundle(write_detection(tmp_path / "whole", steps=[]), trust=True)
    volume = scan(straight_grid())

    with pytest.raises(ExplainError, match=r"several windows.*Grad-CAM.*choose one of: saliency.*boxes"):
        ll.explain(bundle, volume)
    saliency, expected = (ll.explain(one, volume, method="saliency") for one in (bundle, whole))
    assert np.allclose(saliency.array, expected.array, atol=1e-6)  # cells do not see beyond themselves
    run = run_model(bundle, volume, Wish())  # nobody asked for Grad-CAM: that there is none is a warning
    assert [one.name for one in run.attributions] == ["detection_boxes_nodule"]
    assert "several windows" in run.warnings[0]
    small = Volume(volume.array[:24, :24, :14], Grid((24, 24, 14), volume.grid.affine), name="one window")
    assert ll.explain(bundle, small).array.max() > 0


def test_the_score_of_a_chosen_box_is_explained(bundle: ll.Bundle) -> None:
    """By its number or a place inside it: the evidence lies in that cell alone."""
    grid = straight_grid()
    volume = scan(grid)
    second = tuple(grid.world(centre(CELLS[1])).tolist())

    by_number = ll.explain(bundle, volume, method="saliency", over=2)
    by_place = ll.explain(bundle, volume, method="saliency", over=second)
    surest = ll.explain(bundle, volume, method="saliency")

    i, j, k = CELLS[1]
    assert np.argwhere(by_number.array > 0).min(axis=0).tolist() == [4 * i, 4 * j, 2 * k]
    assert np.count_nonzero(by_number.array) == 32
    assert np.array_equal(by_number.array, by_place.array)
    assert "of box 2 of 2 (confidence 0.97, at (21.5, -6.2, 9) mm)" in by_number.provenance.target
    assert "of box 1 of 2" in surest.provenance.target
    assert surest.array[12, 8, 10] > 0


@pytest.mark.parametrize(("method", "said"), [("gradcam", True), ("hirescam", False)])
def test_maps_that_forget_the_place_say_so(bundle: ll.Bundle, method: str, said: bool) -> None:
    """Weights of channels hold everywhere: such a map lights up other bright cells, too."""
    heat = ll.explain(bundle, scan(straight_grid()), method=method)

    assert any("not what the box rests on" in note for note in heat.provenance.notes) == said
    i, j, k = CELLS[1]
    assert bool(heat.array[4 * i + 1, 4 * j + 1, 2 * k] > heat.array.max() / 2) == said  # of the other box


@pytest.mark.parametrize(("named", "made"), [(None, "hirescam"), ("gradcam", "gradcam")])
def test_who_names_no_method_gets_one_that_keeps_the_place(folder: Path, named: str | None, made: str) -> None:
    """Grad-CAM, the default of other bundles, lights up both cells; who names it gets it all the same."""
    bundle, volume = ll.load_bundle(folder, trust=True), scan(straight_grid())

    result = run_case(RunOptions(Path("scan"), method=named, trust=True), volume=volume, bundle=bundle)
    again = ll.explain(bundle, volume, method=named)

    heat = result.attributions[0]
    chosen = "HiResCAM was chosen: no method was named, and it keeps the place of a box"
    assert (heat.provenance.method, result.record["options"]["method"]) == (made, made)
    assert any(note.startswith(chosen) for note in heat.provenance.notes) == (named is None)
    i, j, k = CELLS[1]
    lit = heat.array[4 * i + 1, 4 * j + 1, 2 * k] > heat.array.max() / 2  # of the other box
    assert bool(lit) == (made == "gradcam")
    assert np.array_equal(again.array, heat.array)
    assert again.provenance.notes == heat.provenance.notes


def test_boxes_that_do_not_exist_are_refused(bundle: ll.Bundle) -> None:
    """The message says how many there are, or where to look."""
    volume = scan(straight_grid())

    with pytest.raises(ExplainError, match="no box 3 of 'nodule'; there are 2"):
        ll.explain(bundle, volume, over=3)
    with pytest.raises(ExplainError, match=r"no box of 'nodule' at .* choose a place inside one"):
        ll.explain(bundle, volume, over=(-8.0, -32.0, 0.0))
    mask = LabelMap(volume.with_array((volume.array > 0).astype(np.uint8)), "marked", {}, Provenance())
    with pytest.raises(ExplainError, match=r"by its number, 1 the surest.*found 'mask marked'"):
        ll.explain(bundle, volume, over=mask)


def test_a_class_without_boxes_is_explained_by_its_surest_anchor(bundle: ll.Bundle) -> None:
    """And the record says that the model does not see it."""
    heat = ll.explain(bundle, scan(straight_grid()), target="mass", method="saliency")

    assert "of the surest anchor (no box of the class has a confidence above 0.02)" in heat.provenance.target
    assert any("The model does not see 'mass'" in note for note in heat.provenance.notes)


def test_a_run_gives_boxes_beside_what_explains_them(bundle: ll.Bundle) -> None:
    """What the network concludes must not depend on whether it can be explained."""
    volume = scan(straight_grid())

    explained = run_model(bundle, volume, Wish("gradcam"))
    alone = run_model(bundle, volume, Wish("score_map"))

    assert [one.name for one in explained.attributions] == [
        "attribution_gradcam_nodule",
        "detection_boxes_nodule",
        "detection_boxes_mass",
    ]
    assert explained.detections is not None
    assert list(explained.detections) == ll.detect(bundle, volume)
    assert [one.name for one in alone.attributions] == ["detection_score-map_nodule"]
    with pytest.raises(ExplainError, match=r"no attention matrices.*would work: gradcam, .*score_map, boxes"):
        run_model(bundle, volume, Wish("attention"))
    assert (explained.probabilities, explained.class_probabilities) == ((), {})


def test_other_bundles_find_no_boxes(tmp_path: Path) -> None:
    """A segmentation and a classifier are none, whatever their metadata call them."""
    segmentation = ll.load_bundle(write_bundle(tmp_path / "lesion-detection"), trust=True)
    classes = ll.load_bundle(classifier(tmp_path / "classes"), trust=True)

    for one, task in ((segmentation, "segmentation"), (classes, "classification")):
        assert one.detector is None
        with pytest.raises(BundleError, match=rf"is a {task} bundle and finds no boxes"):
            ll.detect(one, scan(straight_grid()))
        assert run_model(one, scan(straight_grid()), Wish("saliency")).detections is None
    with pytest.raises(ExplainError, match="gives none"):
        ll.explain(segmentation, scan(straight_grid()), method="boxes")


def test_what_is_not_made_of_boxes_is_refused(bundle: ll.Bundle) -> None:
    """By name, instead of numbers of anchors that look like probabilities."""
    volume = scan(straight_grid())

    with pytest.raises(BundleError, match=r"detection bundle.*probability for each voxel.*detect\(\)"):
        ll.predict(bundle, volume)
    with pytest.raises(BundleError, match="probability for each class"):
        ll.classify(bundle, volume)
    with pytest.raises(BundleError, match="uncertainty is for segmentation"):
        ll.uncertainty(bundle, volume)
    with pytest.raises(BundleError, match="a calibration"):
        calibrate(bundle, [(volume, "nodule")])
    with pytest.raises(BundleError, match="feature importance"):
        ll.feature_importance(bundle, volume)
    with pytest.raises(BundleError, match="checks of a map"):
        ll.trust(bundle, volume)


def test_a_bundle_is_known_by_its_detector_and_its_metadata(folder: Path, bundle: ll.Bundle, tmp_path: Path) -> None:
    """The layout of MONAI's model zoo says it twice; either will do, and without a detector there are no anchors."""
    assert bundle.info.task == "detection"
    assert bundle.info.decisions == ("The bundle is a detection: its config has a detector.",)
    assert bundle.network.rules.overlap == 0.05  # type: ignore[union-attr]  # a DetectionNetwork
    path = write_detection(tmp_path / "stated")
    metadata = json.loads((path / "configs" / "metadata.json").read_text())
    metadata["task"] = "CT lung nodule detection"
    metadata["network_data_format"]["outputs"]["pred"].update(type="object", format="dict")
    (path / "configs" / "metadata.json").write_text(json.dumps(metadata))
    assert ll.load_bundle(path, trust=True).info.decisions == ()
    config = json.loads((path / "configs" / "inference.json").read_text())
    del config["detector"], config["detector_ops"], config["inferer"]
    (path / "configs" / "inference.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match="states that it is a detection; LesionLens needs a RetinaNetDetector"):
        ll.load_bundle(path, trust=True)


def test_a_detector_may_be_made_by_an_expression(tmp_path: Path) -> None:
    """Configs name parts or make them; something else that is called a detector is left alone."""
    made = "$monai.apps.detection.networks.retinanet_detector.RetinaNetDetector(@network, @anchor_generator)"
    bundle = ll.load_bundle(write_detection(tmp_path / "made", steps=[], extra={"detector": made}), trust=True)
    other = ll.load_bundle(write_bundle(tmp_path / "other", extra={"detector": "$1 / 0"}), trust=True)

    assert [one.label for one in ll.detect(bundle, scan(straight_grid()))] == ["nodule", "nodule"]
    assert other.detector is None


def test_classes_that_do_not_fit_the_detector_are_refused(tmp_path: Path) -> None:
    """A name on the wrong class would be worse than none."""
    path = write_detection(tmp_path / "classes", classes=2)
    metadata = json.loads((path / "configs" / "metadata.json").read_text())
    output = metadata["network_data_format"]["outputs"]["pred"]
    output.update(num_channels=3, channel_def={"0": "background", "1": "nodule", "2": "mass"})
    (path / "configs" / "metadata.json").write_text(json.dumps(metadata))
    assert ll.load_bundle(path, trust=True).info.outputs == ("nodule", "mass")  # a detector has no background

    output["channel_def"]["0"] = "cyst"
    (path / "configs" / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(BundleError, match=r"detector for 2 class\(es\); its metadata name 3"):
        ll.load_bundle(path, trust=True)


@pytest.mark.parametrize(
    ("setter", "message"),
    [
        ("$@detector.set_box_selector_parameters(apply_sigmoid=False)", "apply_sigmoid=False"),
        ("$@detector.set_box_coder_weights((1.0, 1.0))", r"'detector_ops::3' of the bundle's config failed"),
    ],
)
def test_detectors_of_another_kind_are_refused(tmp_path: Path, setter: str, message: str) -> None:
    """Boxes by other rules would not be the bundle's."""
    with pytest.raises(BundleError, match=message):
        ll.load_bundle(write_detection(tmp_path / "other", setters=(setter,)), trust=True)


def test_without_torchvision_the_extra_is_named(tmp_path: Path) -> None:
    """MONAI builds the feature pyramid of its own bundle with it; the user must learn what to install."""
    resnet = "$monai.networks.nets.resnet.resnet10(spatial_dims=3, n_input_channels=1)"
    extractor = (
        "$monai.apps.detection.networks.retinanet_network.resnet_fpn_feature_extractor(@backbone,3,False,[1,2],None)"
    )
    path = write_detection(tmp_path / "fpn", extra={"backbone": resnet, "feature_extractor": extractor})
    config = json.loads((path / "configs" / "inference.json").read_text())
    config["network_def"] = {
        "_target_": "RetinaNet",
        "spatial_dims": 3,
        "num_classes": 1,
        "num_anchors": 2,
        "feature_extractor": "@feature_extractor",
        "size_divisible": [16, 16, 16],
    }
    (path / "configs" / "inference.json").write_text(json.dumps(config))
    # In a process of its own, which cannot import torchvision whether it is installed or not.
    code = (
        "import sys; sys.modules['torchvision'] = None\n"
        "import lesionlens as ll\n"
        "from lesionlens.errors import MissingPackageError\n"
        "try:\n"
        f"    ll.load_bundle({str(path)!r}, trust=True)\n"
        "except MissingPackageError as error:\n"
        "    print(error.package, error.extra, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)

    assert done.stdout.startswith("torchvision detection Building 'network_def'")
    assert "pip install 'lesionlens[detection]'" in done.stdout
    assert issubclass(MissingPackageError, BundleError)


def test_padding_holds_no_finding(bundle: ll.Bundle) -> None:
    """The network wants multiples of 8, 8 and 4 voxels; the scan has fewer, and the grid says where it ends."""
    volume = scan(Grid((37, 30, 21), straight_grid().affine))

    prepared = prepare(bundle, volume)
    inference = infer(bundle, prepared)

    assert (prepared.grid.shape, prepared.padding, prepared.inner_shape) == ((40, 32, 24), (3, 2, 3), (37, 30, 21))
    assert np.allclose(prepared.grid.affine, volume.grid.affine)
    assert not prepared.tensor[0, 0, 37:].any()
    assert inference.output.shape == (2 + 6, 2 * (10 * 8 * 12 + 5 * 4 * 6))
    assert inference.seen(0)[0] == pytest.approx(1 / (1 + np.exp(-6)), abs=1e-6)


def test_a_network_that_gives_nonsense_is_refused(bundle: ll.Bundle) -> None:
    """Values that are not finite have no order, and so no surest box."""
    broken = replace(bundle, network=write_nan(bundle))

    with pytest.raises((BundleError, InputError), match="not finite"):
        ll.detect(broken, scan(straight_grid()))


def write_nan(bundle: ll.Bundle) -> torch.nn.Module:
    """Return the bundle's network with an offset that is not a number."""
    from copy import deepcopy

    network = deepcopy(bundle.network)
    network.network.offsets.bias.data[0] = torch.nan  # type: ignore[union-attr]  # of the CubeNetwork
    return network
