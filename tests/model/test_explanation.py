"""Attribution on the scan's grid: right place, right numbers, right class."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam

import lesionlens as ll
from lesionlens.errors import ExplainError
from lesionlens.explain import ClassLogit, Inference, RegionMargin, apply_method
from lesionlens.methods import METHODS
from lesionlens.model.explanation import Wish
from lesionlens.model.inference import infer, windows_of
from lesionlens.model.preprocess import prepare
from lesionlens.model.run import run_model
from lesionlens.model.targets import chosen_channel
from lesionlens.volume import Grid, Volume
from orientations import COVERING, ORIENTATIONS, reoriented
from stroke_bundle import at_the_size_of_the_head
from tiny_bundles import (
    CENTRE,
    RAS,
    SLIDING,
    blob,
    centre_of_mass,
    classifier,
    oblique_grid,
    straight_grid,
    write_bundle,
)

# Averages 4x4x4 voxels into a cell, then repeats each cell: evidence on a coarse grid, known by hand.
COARSE = "$torch.nn.Sequential(torch.nn.AvgPool3d(4), torch.nn.Conv3d(1, 2, 1), torch.nn.Upsample(scale_factor=4))"
COARSE_STATE = {"1.weight": torch.tensor([0.0, 10.0]).view(2, 1, 1, 1, 1), "1.bias": torch.tensor([0.0, -2.0])}
PAD = {"_target_": "DivisiblePadd", "keys": "image", "k": 4}


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the coarse network as a bundle that sees the image whole."""
    folder = write_bundle(
        tmp_path_factory.mktemp("bundle") / "coarse",
        network=COARSE,
        state=COARSE_STATE,
        steps=[RAS, PAD],
        extra={"imports": ["$import torch"]},
    )
    return ll.load_bundle(folder, trust=True)


@pytest.mark.parametrize("orientation", ORIENTATIONS[::16], ids=str)
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("saliency", {}),
        ("input_x_gradient", {}),
        ("integrated_gradients", {"steps": 2}),
        ("occlusion", {"size": "8mm"}),
        ("activation_channel", {"channel": 1}),
    ],
)
def test_maps_of_the_image_lie_on_the_lesion_in_every_orientation(
    coarse: Any, orientation: Any, method: str, options: dict[str, Any]
) -> None:
    """Maps with a value for each voxel of the network come back through its affine, and point to half a voxel."""
    scan = blob(oblique_grid(), CENTRE)
    array, grid = reoriented(scan.array, scan.grid, orientation)
    layer = "0" if method == "activation_channel" else None
    options = {"channel": 0} if layer else options

    heatmap = ll.explain(coarse, Volume(array, grid), method=method, layer=layer, options=options)

    assert heatmap.grid.same_as(grid)
    sharp = np.where(heatmap.array > heatmap.array.max() / 2, heatmap.array, 0)
    np.testing.assert_allclose(centre_of_mass(sharp, grid), CENTRE, atol=1.5)  # cells and boxes are 4 to 8 mm wide
    assert heatmap.kind == ("feature" if layer else "attribution")
    assert heatmap.label == ("layer 0" if layer else "lesion")
    spacing = np.sort(heatmap.provenance.options["network_spacing_mm"])
    stride = 4 if method in ("occlusion", "activation_channel") else 1
    if stride == 1:
        np.testing.assert_allclose(np.sort(heatmap.provenance.resolution_mm), spacing / 2)
    assert {name: heatmap.provenance.options[name] for name in options} == options


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({"target": "lesion"}, "target 'lesion'"),
        ({"target": "all"}, "target 'all'"),
        ({"score": "logit", "over": "largest"}, "score 'logit', over '1'"),
        ({"against": "background"}, r"against \('background',\)"),
    ],
)
def test_a_map_of_no_class_is_not_asked_about_one(coarse: Any, question: dict[str, Any], words: str) -> None:
    """The map would be the same for every class, and seem to answer the question."""
    scan = blob(straight_grid(), CENTRE)
    with pytest.raises(ExplainError, match=f"Mean activation makes the same map for every class; leave out: {words}"):
        ll.explain(coarse, scan, method="activation_mean", layer="0", **question)

    assert ll.explain(coarse, scan, method="activation_mean", layer="0").label == "layer 0"


def test_a_map_of_the_image_is_exact_on_a_grid_that_is_not_changed(tmp_path: Path) -> None:
    """The map of a voxelwise network is its weight inside the region and 0 outside, voxel by voxel of the scan."""
    folder = write_bundle(tmp_path / "b", inferer=SLIDING)
    scan = blob(straight_grid(), CENTRE)
    bundle = ll.load_bundle(folder, trust=True)
    region = ll.predict(bundle, scan)[0].array > 0.5

    heatmap = ll.explain(bundle, scan, method="saliency")

    inside = heatmap.array[region]
    np.testing.assert_allclose(inside, inside[0], rtol=1e-5)
    assert inside[0] > 0
    assert not heatmap.array[~region].any()


@pytest.mark.parametrize(
    ("wanted", "used", "reason"),
    [("0", "0", "names it in its metadata"), ("decoder", "1", "names 'decoder', which its network has not")],
)
def test_a_bundle_may_name_the_layer(tmp_path: Path, wanted: str, used: str, reason: str) -> None:
    """Its makers know best, as long as the layer exists; the record says whose choice it was."""
    folder = write_bundle(
        tmp_path / "b", network=COARSE, state=COARSE_STATE, steps=[RAS, PAD], extra={"imports": ["$import torch"]}
    )
    path = folder / "configs" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lesionlens": {"target_layer": wanted}}))

    provenance = ll.explain(ll.load_bundle(folder, trust=True), blob(straight_grid(), CENTRE)).provenance

    assert provenance.layer == used
    assert any(reason in note for note in provenance.notes)


def test_threads_take_turns_with_one_bundle(tmp_path: Path) -> None:
    """An explanation watches layers of the network; what another thread runs meanwhile must not end up in its map."""
    folder = write_bundle(
        tmp_path / "b",
        network=COARSE,
        state=COARSE_STATE,
        steps=[RAS, PAD],
        inferer=SLIDING,
        extra={"imports": ["$import torch"]},
    )
    bundle = ll.load_bundle(folder, trust=True)
    grid = straight_grid()
    places = [np.asarray(CENTRE) + shift for shift in ((0, 0, 0), (6, 0, 0), (0, 6, 0), (0, 0, -6))]
    scans = [blob(grid, tuple(place)) for place in places]
    alone = [ll.explain(bundle, scan, layer="0").array for scan in scans]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda scan: ll.explain(bundle, scan, layer="0").array, scans * 5))

    for expected, found in zip(alone * 5, together, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("orientation", COVERING, ids=str)  # of all 48 the map comes back as the prediction does
@pytest.mark.parametrize("make_grid", [straight_grid, oblique_grid])
def test_coarse_map_lies_on_the_lesion_however_the_scan_is_stored(
    coarse: Any, orientation: Any, make_grid: Any
) -> None:
    """The map's own grid has a stride and a half-voxel offset; leaving one out would shift it by up to two voxels."""
    scan = blob(make_grid(), CENTRE)
    array, grid = reoriented(scan.array, scan.grid, orientation)

    heatmap = ll.explain(coarse, Volume(array, grid), layer="0")

    assert heatmap.grid.same_as(grid)
    sharp = np.where(heatmap.array > heatmap.array.max() / 2, heatmap.array, 0)
    np.testing.assert_allclose(centre_of_mass(sharp, grid), CENTRE, atol=1.0)  # cells are 4 to 8 mm wide


@pytest.mark.parametrize("method", [name for name, info in METHODS.items() if info.family in ("cam", "forward_cam")])
@pytest.mark.parametrize("inferer", [None, SLIDING])
def test_every_class_activation_map_lies_on_the_lesion(tmp_path: Path, method: str, inferer: Any) -> None:
    """All methods come back to the scan's grid, of a network seen whole and through windows."""
    extra = {"imports": ["$import torch"]}
    folder = write_bundle(
        tmp_path / "b", network=COARSE, state=COARSE_STATE, steps=[RAS, PAD], inferer=inferer, extra=extra
    )
    scan, bundle = blob(oblique_grid(), CENTRE), ll.load_bundle(folder, trust=True)
    if method == "cam":
        with pytest.raises(ExplainError, match=r"CAM needs a classifier.*Methods that would work"):
            ll.explain(bundle, scan, method=method, layer="0")
        return

    heatmap = ll.explain(bundle, scan, method=method, layer="0")

    assert heatmap.grid.same_as(scan.grid)
    assert heatmap.provenance.method == method
    sharp = np.where(heatmap.array > heatmap.array.max() / 2, heatmap.array, 0)
    np.testing.assert_allclose(centre_of_mass(sharp, scan.grid), CENTRE, atol=1.5)  # cells are 4 to 8 mm wide


def test_half_a_voxel_is_not_lost(coarse: Any) -> None:
    """Averaging 4 voxels puts the cell's centre at voxel 1.5: a ramp comes back exactly, away from the borders."""
    grid = Grid((32, 32, 32), np.eye(4))
    ramp = np.broadcast_to(np.arange(32, dtype=np.float32)[:, None, None] / 31, grid.shape)

    heatmap = ll.explain(coarse, Volume(ramp, grid), layer="0")

    slope = float(heatmap.array[20, 5, 5] / ramp[20, 5, 5])
    np.testing.assert_allclose(heatmap.array[4:-4], slope * ramp[4:-4], rtol=1e-4)
    assert heatmap.provenance.resolution_mm == (2.0, 2.0, 2.0)


def test_raw_values_equal_captum(tmp_path: Path, rng: np.random.Generator) -> None:
    """For a classifier the coarse map is captum's, unnormalised and signed."""
    folder = classifier(tmp_path / "b")
    bundle = ll.load_bundle(folder, trust=True)
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 5, 3, stride=2, padding=1), torch.nn.ReLU(), *bundle.network)
    network[4] = torch.nn.Linear(5, 2)
    volume = Volume(rng.random((16, 18, 20), dtype=np.float32), Grid((16, 18, 20), np.eye(4)))
    prepared = prepare(bundle, volume)
    inference = Inference(network, prepared.tensor, windows_of(bundle.inferer, prepared.tensor.shape[2:]))

    ours = apply_method(inference, ClassLogit(1), layer="0")

    network.requires_grad_(True)
    theirs = LayerGradCam(network, network[0]).attribute(prepared.tensor, target=1)[0, 0].detach().numpy()
    assert ours.coarse is not None
    np.testing.assert_allclose(ours.coarse, theirs, atol=1e-5 * np.abs(theirs).max())


def test_class_is_chosen_by_what_is_predicted(tmp_path: Path) -> None:
    """Without a target the class with most voxels is explained, and the record names it."""
    folder = write_bundle(
        tmp_path / "b",
        network={"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 3, "kernel_size": 1},
        state={"weight": torch.tensor([0.0, 10.0, 9.0]).view(3, 1, 1, 1, 1), "bias": torch.tensor([0.0, -8.0, -4.0])},
        outputs={"0": "background", "1": "core", "2": "halo"},
        steps=[],
    )
    bundle = ll.load_bundle(folder, trust=True)
    scan = blob(straight_grid(), CENTRE)

    assert bundle.info.foreground == ("core", "halo")
    chosen = chosen_channel(bundle, None, _logits(bundle, scan), bundle.activation)

    assert bundle.info.outputs[chosen] == "halo"


def _logits(bundle: Any, scan: Volume) -> torch.Tensor:
    return infer(bundle, prepare(bundle, scan)).output[None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, r"no method 'magic'.*gradcam"),
        ({"target": "tumour"}, r"no class 'tumour'.*background, lesion"),
        ({"layer": "nowhere"}, r"no layer 'nowhere'.*0"),
    ],
)
def test_unknown_names_list_those_that_exist(coarse: Any, options: dict[str, str], message: str) -> None:
    """A typing error is answered with what could have been meant."""
    with pytest.raises(ExplainError, match=message):
        ll.explain(coarse, blob(straight_grid(), CENTRE), **options)


@pytest.mark.parametrize("options", [{"method": "magic"}, {"target": "tumour"}, {"layer": "nowhere"}])
def test_a_typing_error_costs_no_time(
    coarse: Any, options: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither preprocessing nor prediction has begun when it is reported, in one map and in a whole run."""
    monkeypatch.setattr("lesionlens.model.preprocess._run", lambda *_: pytest.fail("the work was started"))
    scan = blob(straight_grid(), CENTRE)

    with pytest.raises(ExplainError, match="There is no"):
        ll.explain(coarse, scan, **options)
    with pytest.raises(ExplainError, match="There is no"):
        run_model(coarse, scan, Wish(**options))


def test_sliding_window_map_is_that_of_the_whole_image(tmp_path: Path) -> None:
    """A voxelwise network does not care about windows: whole and windowed maps are equal, up to the mean's divisor."""
    network = "$torch.nn.Sequential(torch.nn.Conv3d(1, 1, 1), torch.nn.Conv3d(1, 2, 1))"
    state = {
        "0.weight": torch.ones(1, 1, 1, 1, 1),
        "0.bias": torch.zeros(1),
        "1.weight": torch.tensor([0.0, 10.0]).view(2, 1, 1, 1, 1),
        "1.bias": torch.tensor([0.0, -5.0]),
    }
    common = {"network": network, "state": state, "extra": {"imports": ["$import torch"]}}
    whole = ll.load_bundle(write_bundle(tmp_path / "whole", **common), trust=True)
    sliding = ll.load_bundle(write_bundle(tmp_path / "sliding", inferer=SLIDING, **common), trust=True)
    scan = blob(straight_grid(), CENTRE)

    one, other = (ll.explain(b, scan, layer="0").array for b in (whole, sliding))

    np.testing.assert_allclose(one / one.max(), other / other.max(), atol=1e-6)
    np.testing.assert_allclose(one / one.max(), scan.array / scan.array.max(), atol=1e-6)  # the closed form: alpha x


def test_record_says_what_was_explained(coarse: Any) -> None:
    """Target, layer, resolution and hashes travel with the map."""
    heatmap = ll.explain(coarse, blob(straight_grid(), CENTRE), layer="0")

    made = heatmap.provenance
    assert "margin of 'lesion' over the predicted region" in made.target
    assert (made.method, made.layer) == ("gradcam", "0")
    assert made.resolution_mm == pytest.approx((2.0, 2.4, 4.0))
    assert made.weights_sha256 == coarse.weights_sha256
    assert heatmap.name == "attribution_gradcam_lesion"
    assert heatmap.signed


def test_where_nothing_is_predicted_the_record_says_so(coarse: Any, rng: np.random.Generator) -> None:
    """A map for a class that the model does not see must not pass for one that it sees."""
    faint = Volume(rng.random((20, 20, 20)).astype(np.float32) * 0.01, Grid((20, 20, 20), np.eye(4)))

    heatmap = ll.explain(coarse, faint, layer="0")

    assert "predicted nowhere" in heatmap.provenance.target


def test_classifier_explains_its_strongest_class(tmp_path: Path) -> None:
    """The default target of a classifier is what it says, not always class 1."""
    folder = write_bundle(
        tmp_path / "b",
        network="$torch.nn.Sequential(torch.nn.Conv3d(1, 1, 1), torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(),"
        " torch.nn.Linear(1, 2))",
        state={
            "0.weight": torch.ones(1, 1, 1, 1, 1),
            "0.bias": torch.zeros(1),
            "3.weight": torch.tensor([[-1.0], [1.0]]),
            "3.bias": torch.tensor([2.0, 0.0]),
        },
        outputs={"0": "none", "1": "high"},
        output_format="classification",
        extra={"imports": ["$import torch"]},
        steps=[],
    )
    bundle = ll.load_bundle(folder, trust=True)
    scan = blob(straight_grid(), CENTRE)

    heatmap = ll.explain(bundle, scan)
    against = ll.explain(bundle, scan, target="high")

    assert heatmap.label == "none"
    assert heatmap.array.max() <= 0  # the blob speaks against 'none', and the sign is kept
    np.testing.assert_allclose(against.array, -heatmap.array)
    np.testing.assert_allclose(against.array, scan.array / scan.grid.n_voxels, rtol=1e-5)


@pytest.mark.slow
def test_margin_finds_the_stroke_and_the_raw_logit_the_healthy_side(shared_data: Path, tmp_path: Path) -> None:
    """A trained softmax network decides by its background logit: the lesion's raw logit points at the wrong hemisphere.

    The bundle pads to 256 voxels; here to the head's own size, which leaves the lesion where it is in a quarter of the
    time.
    """
    source = shared_data / "bundles" / "arc_meshnet26_t2_stroke"
    bundle = ll.load_bundle(at_the_size_of_the_head(source, tmp_path / "stroke"), trust=True)
    prepared = prepare(bundle, ll.read(shared_data / "stroke" / "M2208_T2w.nii.gz"))
    inference = Inference(bundle.network, prepared.tensor)
    margin = _Remembering(RegionMargin(1, "stroke lesion"))

    by_margin = apply_method(inference, margin)
    by_logit = apply_method(inference, _RawLogit(margin.region))

    x = prepared.grid.world(np.argwhere(margin.region))[:, 0]
    assert (x < 0).mean() > 0.95, "the lesion is in the left hemisphere"
    assert _share_on_the_left(by_margin.values, prepared.grid) > 0.9
    assert _share_on_the_left(by_logit.values, prepared.grid) < 0.5


class _Remembering:
    """A margin that keeps the region that it was taken over."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        self.region = (logits[0].argmax(dim=0) == 1).numpy()
        return self._target(logits)

    def describe(self, logits: torch.Tensor) -> str:
        return self._target.describe(logits)


class _RawLogit:
    """The class's own logit over a region: what tools that know no margin explain."""

    def __init__(self, region: Any) -> None:
        self._region = torch.as_tensor(region)

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        return logits[0, 1][self._region].mean()

    def describe(self, logits: torch.Tensor) -> str:
        return "raw logit"


def _share_on_the_left(values: Any, grid: Grid) -> float:
    positive = np.clip(values, 0, None).astype(np.float64)
    x = grid.affine[0, 0] * np.arange(grid.shape[0]) + grid.affine[0, 3]  # the network's grid is RAS
    return float(positive[x < 0].sum() / positive.sum())
