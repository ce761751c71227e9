from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from monai.data.utils import compute_importance_map
from monai.inferers import sliding_window_inference
from monai.networks.nets import DenseNet121, SegResNet, UNet, resnet18
from monai.visualize import GradCAM
from torch import Tensor, nn
from torch.nn import functional

from lesionlens import methods
from lesionlens.errors import Cancelled, ExplainError
from lesionlens.explain import ClassLogit, Cut, Inference, RegionMargin, Windows, apply_method, cam
from lesionlens.methods import METHODS
from tiny_networks import Odd, Overwriting, SmallUNet, background_decides, pooled_linear, state_of, voxel_head

HEAD = [[1.0, -2.0, 0.5], [0.25, 1.0, -1.5]]


class Sum:
    """The sum of one channel: what MONAI's Grad-CAM explains of a segmentation network."""

    def __init__(self, channel: int) -> None:
        self.channel = channel

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the sum."""
        return logits[:, self.channel].sum()

    def describe(self, _logits: Tensor) -> str:
        """Name the channel."""
        return f"sum of channel {self.channel}"


def relative_error(found: Any, expected: Any) -> float:
    """Return the largest difference as a fraction of the largest expected value."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def densenet() -> tuple[nn.Module, str, Tensor]:
    """Return a classifier in which every activation is in place, its layer and an image."""
    return DenseNet121(spatial_dims=3, in_channels=1, out_channels=3), "class_layers.relu", torch.rand(1, 1, 64, 64, 64)


def resnet() -> tuple[nn.Module, str, Tensor]:
    """Return a classifier with blocks that add in place, its layer and an image."""
    network = resnet18(spatial_dims=3, n_input_channels=1, num_classes=3, conv1_t_stride=2)
    return network, "layer4", torch.rand(1, 1, 48, 40, 32)


def unet() -> tuple[nn.Module, str, Tensor]:
    """Return a segmentation network, its bottleneck and an image."""
    network = UNet(3, 1, 3, channels=(4, 8, 16), strides=(2, 2), num_res_units=1)
    return network, "model.1.submodule.1.submodule", torch.rand(1, 1, 16, 24, 32)


def unet_2d() -> tuple[nn.Module, str, Tensor]:
    """Return a 2D segmentation network with two input channels, an inner layer and an image."""
    network = UNet(2, 2, 3, channels=(4, 8, 16), strides=(2, 2))
    return network, "model.1.submodule.0", torch.rand(1, 2, 32, 24)


# ---------------------------------------------------------------------------------------------------- closed forms


def test_grad_cam_of_pooled_linear_network_is_the_class_weights_times_the_channels() -> None:
    """Mean over space, then linear: map = (1/N) sum_k w_k A_k, and the map's sum plus the bias is the logit."""
    image = torch.randn(1, 1, 2, 3, 4)
    network = pooled_linear(HEAD, bias=[0.5, -2.0])

    result = apply_method(Inference(network, image), ClassLogit(0), layer="features")

    per_voxel = 1.0 * 1 - 2.0 * 2 + 0.5 * 3  # channel k holds (k + 1) x
    np.testing.assert_allclose(result.values, per_voxel * image[0, 0].numpy() / 24, rtol=1e-5)
    np.testing.assert_allclose(result.weights, np.array(HEAD[0]) / 24, rtol=1e-6)
    assert result.values.sum() + 0.5 == pytest.approx(result.score, abs=1e-5)


def test_grad_cam_of_a_voxel_wise_head_is_the_difference_of_the_class_weights() -> None:
    """The margin over any region weights channel k with (w_ck - w_ok) over the number of voxels."""
    image = torch.randn(1, 3, 4, 5, 6)
    region = torch.rand(4, 5, 6) > 0.7

    result = apply_method(Inference(voxel_head(HEAD), image), RegionMargin(1, region=region), layer="features")

    weights = (np.array(HEAD[1]) - np.array(HEAD[0])) / 120
    expected = np.tensordot(weights, image[0].numpy(), axes=1)
    np.testing.assert_allclose(result.weights, weights, rtol=1e-5)
    assert relative_error(result.values, expected) <= 1e-5


def test_margin_finds_the_lesion_where_the_raw_logit_points_away() -> None:
    """A softmax network may decide by its background; the map of the lesion's own logit lights the healthy side."""
    image = torch.zeros(1, 2, 4, 4, 4)
    image[0, 0, :2] = 1.0  # lesion
    image[0, 1, 2:] = 1.0  # healthy side
    inference = Inference(background_decides(), image)

    margin = apply_method(inference, RegionMargin(1), layer="features").values
    raw = apply_method(inference, Sum(1), layer="features").values

    assert margin[:2].min() > 0
    assert not margin[2:].any()
    assert raw[2:].min() > 0
    assert not raw[:2].any()


def test_two_dimensional_images_work_too() -> None:
    """Nothing in the engine needs three axes."""
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    image = torch.randn(1, 1, 4, 6)

    result = apply_method(Inference(network, image), ClassLogit(1), layer="0")

    expected = network[0](image)[0, 1].detach().numpy() / 24
    np.testing.assert_allclose(result.values, expected, rtol=1e-5)


# -------------------------------------------------------------------------------------- independent implementations


@pytest.mark.parametrize("make", [densenet, resnet])
def test_classifier_map_equals_captum_and_monai(make: Callable[[], tuple[nn.Module, str, Tensor]]) -> None:
    """The raw signed map is captum's, and its positive part is that of MONAI's single-sample Grad-CAM."""
    network, layer, image = make()
    network.eval()

    found = apply_method(Inference(network, image), ClassLogit(2), layer=layer).coarse

    copied = copy.deepcopy(network)
    captum = LayerGradCam(copied, copied.get_submodule(layer))
    expected = captum.attribute(image, target=2, relu_attributions=False)
    monai = GradCAM(nn_module=copy.deepcopy(network), target_layers=layer).compute_map(image, class_idx=2)
    assert relative_error(found, expected[0, 0].detach()) <= 1e-5
    assert relative_error(found.clip(min=0), monai[0, 0].detach()) <= 1e-5


@pytest.mark.parametrize("make", [unet, unet_2d])
def test_segmentation_map_equals_captum_and_monai(make: Callable[[], tuple[nn.Module, str, Tensor]]) -> None:
    """The same on a U-Net's inner layer, with the sum of a channel as target, which is MONAI's."""
    network, layer, image = make()
    network.eval()

    found = apply_method(Inference(network, image), Sum(1), layer=layer).coarse

    copied = copy.deepcopy(network)
    captum = LayerGradCam(lambda x: copied(x)[:, 1].flatten(1).sum(dim=1), copied.get_submodule(layer))
    expected = captum.attribute(image, relu_attributions=False)
    monai = GradCAM(nn_module=copy.deepcopy(network), target_layers=layer).compute_map(image, class_idx=1)
    assert relative_error(found, expected[0, 0].detach()) <= 1e-5
    assert relative_error(found.clip(min=0), monai[0, 0].detach()) <= 1e-5


# ------------------------------------------------------------------------------------------------- through windows

# shape of the image, size of the windows, overlap, blending: with padding, sizes that do not divide, both weightings
SLIDING = [
    ((16, 12, 12), (8, 8, 8), 0.25, "gaussian"),
    ((14, 13, 9), (8, 8, 8), 0.5, "gaussian"),
    ((14, 13, 9), (8, 8, 8), 0.5, "constant"),
    ((5, 17, 7), (8, 8, 8), 0.25, "gaussian"),
    ((6, 7, 5), (8, 8, 8), 0.5, "gaussian"),
]


def full_graph_cam(
    network: nn.Module, layer: str, image: Tensor, target: Any, size: tuple[int, ...], **options: Any
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return map, weights and gradients from the whole autograd graph through MONAI's sliding window.

    Nothing of the engine is used: MONAI runs all windows in one graph, autograd differentiates the target of the
    assembled output with respect to every window's activations, and MONAI assembles the windows' maps.
    """
    network = copy.deepcopy(network).eval()
    activations: list[Tensor] = []

    def store(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        activations.append(output)
        return output.clone()

    handle = network.get_submodule(layer).register_forward_hook(store)
    output = sliding_window_inference(image, size, 1, network, **options)
    gradients = torch.autograd.grad(target(output), activations)
    handle.remove()
    weights = torch.stack([gradient.flatten(2) for gradient in gradients]).mean(dim=(0, 3))
    maps = iter(activations)

    def window_map(view: Tensor) -> Tensor:
        coarse = (next(maps).detach() * weights[:, :, None, None, None]).sum(dim=1, keepdim=True)
        return functional.interpolate(coarse, size=view.shape[2:], mode="trilinear")

    return sliding_window_inference(image, size, 1, window_map, **options), weights, list(gradients)


@pytest.mark.parametrize(("shape", "size", "overlap", "mode"), SLIDING)
@pytest.mark.parametrize("layer", ["act", "enter"])
def test_map_through_windows_equals_the_full_graph(
    shape: tuple[int, ...], size: tuple[int, ...], overlap: float, mode: str, layer: str
) -> None:
    """One window at a time gives what the whole graph through MONAI's sliding window gives."""
    network, image = SmallUNet(), torch.randn(1, 1, *shape)
    region = torch.zeros(shape, dtype=torch.bool)
    region[1:4, 2:6, 1:3] = True
    target = RegionMargin(1, region=region)
    plan = Windows.sliding(shape, size, overlap=overlap, importance=compute_importance_map(size, mode=mode))

    result = apply_method(Inference(network, image, plan), target, layer=layer)

    expected, weights, _ = full_graph_cam(network, layer, image, target, size, overlap=overlap, mode=mode)
    assert relative_error(result.values, expected[0, 0].detach()) <= 1e-5
    assert relative_error(result.weights, weights[0].detach()) <= 1e-5


def test_windows_away_from_the_region_have_no_gradient_but_count_in_the_mean() -> None:
    """The windows that are skipped are exactly those whose gradient is zero; the mean is over all of them."""
    network, image = SmallUNet(), torch.randn(1, 1, 24, 8, 8)
    region = torch.zeros((24, 8, 8), dtype=torch.bool)
    region[0:2] = True
    target = RegionMargin(1, region=region)
    plan, stages = Windows.sliding((24, 8, 8), (8, 8, 8), overlap=0.0), []

    result = apply_method(
        Inference(network, image, plan), target, layer="act", progress=lambda *step: stages.append(step)
    )

    _, weights, gradients = full_graph_cam(network, "act", image, target, (8, 8, 8), overlap=0.0)
    assert [bool(gradient.any()) for gradient in gradients] == [True, False, False]
    assert [step for step in stages if step[0] == "Explaining"] == [("Explaining", 0, 3), ("Explaining", 3, 3)]
    assert relative_error(result.weights, weights[0].detach()) <= 1e-5


def test_one_window_equals_the_plain_map() -> None:
    """A sliding window that is as large as the image changes nothing."""
    network, image = SmallUNet(), torch.randn(1, 1, 8, 8, 8)
    importance = compute_importance_map((8, 8, 8), mode="gaussian")

    plain = apply_method(Inference(network, image), RegionMargin(1), layer="act")
    windowed = apply_method(
        Inference(network, image, Windows.sliding((8, 8, 8), (8, 8, 8), importance=importance)),
        RegionMargin(1),
        layer="act",
    )

    assert np.array_equal(windowed.values, plain.values)
    assert np.array_equal(windowed.coarse, plain.coarse)


@pytest.mark.parametrize(
    "plan", [None, Windows.sliding((12, 8, 8), (8, 8, 8)), Windows.sliding((12, 8, 8), (16, 8, 8))]
)
def test_known_logits_only_save_time(plan: Windows | None) -> None:
    """Handing over the logits of an earlier prediction gives the same map."""
    inference = Inference(SmallUNet(), torch.randn(1, 1, 12, 8, 8), plan)
    alone = apply_method(inference, RegionMargin(1), layer="act")

    given = apply_method(inference, RegionMargin(1), layer="act", logits=inference.logits())

    assert relative_error(given.values, alone.values) <= 1e-6
    assert given.score == pytest.approx(alone.score, rel=1e-6)
    assert given.target == alone.target


def test_activations_that_do_not_fit_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The map does not depend on how many activations are kept, and memory is bounded by the budget."""
    inference = Inference(SmallUNet(), torch.randn(1, 1, 16, 8, 8), Windows.sliding((16, 8, 8), (8, 8, 8), overlap=0.5))
    kept = apply_method(inference, RegionMargin(1), layer="act")
    encoded: list[Tensor] = []
    encode = Cut.encode
    monkeypatch.setattr(import_module("lesionlens.explain.sweep"), "KEEP_BYTES", 0)
    monkeypatch.setattr(Cut, "encode", lambda cut, image: encoded.append(image) or encode(cut, image))

    computed = apply_method(inference, RegionMargin(1), layer="act")

    assert len(encoded) == 3
    assert np.array_equal(computed.values, kept.values)


def test_every_class_weight_scales_the_map_and_nothing_else_does() -> None:
    """Values stay raw: a head twice as strong gives a map twice as large, not the same picture."""
    image = torch.randn(1, 1, 4, 4, 4)
    once = apply_method(Inference(pooled_linear(HEAD), image), ClassLogit(0), layer="features").values

    twice = apply_method(
        Inference(pooled_linear((2 * np.array(HEAD)).tolist()), image), ClassLogit(0), layer="features"
    ).values

    np.testing.assert_allclose(twice, 2 * once, rtol=1e-6)


def test_classes_that_do_not_compete_change_nothing() -> None:
    """Other classes' channels can be permuted and moved as long as they never come second."""
    image = torch.randn(1, 3, 4, 4, 4)
    bias = [10.0, 10.0, 0.0, 0.0]
    rows = [[1.0, -2.0, 0.5], [0.25, 1.0, -1.5], [0.1, 0.2, 0.3], [-0.3, 0.1, 0.0]]
    target = RegionMargin(1)
    base = apply_method(Inference(voxel_head(rows, bias=bias), image), target, layer="features")

    permuted = voxel_head([rows[0], rows[1], rows[3], [9 * x for x in rows[2]]], bias=[10.0, 10.0, 0.0, -90.0])
    changed = apply_method(Inference(permuted, image), target, layer="features")

    assert np.array_equal(changed.values, base.values)


# ----------------------------------------------------------------------------------------------------- coarse maps


def test_coarse_map_lies_on_the_boxes_of_its_cells() -> None:
    """A cell stands for ``stride`` voxels with its value at their centre: half-voxel convention, by hand."""
    network = nn.Sequential(
        nn.AvgPool3d((4, 1, 1)), nn.Conv3d(1, 1, 1, bias=False), nn.AdaptiveAvgPool3d(1), nn.Flatten()
    )
    nn.init.ones_(network[1].weight)
    image = torch.arange(8.0).view(1, 1, 8, 1, 1).expand(1, 1, 8, 2, 2)

    result = apply_method(Inference(network, image), ClassLogit(0), layer="1")

    # cells of 1.5 and 5.5 over 8 cells; centres at voxels 1.5 and 5.5, so between them the map is the voxel's index
    assert result.stride == (4.0, 1.0, 1.0)
    np.testing.assert_allclose(result.coarse[:, 0, 0] * 8, [1.5, 5.5], rtol=1e-6)
    np.testing.assert_allclose(result.values[:, 0, 0] * 8, [1.5, 1.5, 2, 3, 4, 5, 5.5, 5.5], rtol=1e-6)


def test_map_of_several_windows_has_no_single_coarse_map() -> None:
    """Windows overlap at places that are no multiples of the stride, so only the blended map exists."""
    inference = Inference(SmallUNet(), torch.randn(1, 1, 12, 8, 8), Windows.sliding((12, 8, 8), (8, 8, 8)))

    result = apply_method(inference, RegionMargin(0), layer="act")

    assert result.coarse is None
    assert result.stride == (2.0, 2.0, 2.0)
    assert result.values.shape == (12, 8, 8)
    assert result.values.dtype == np.float32


# ----------------------------------------------------------------------------------------------- what must be said


def test_default_layer_is_named_with_its_reason() -> None:
    """Whoever did not choose a layer reads which one it was."""
    result = apply_method(Inference(pooled_linear(HEAD), torch.randn(1, 1, 4, 4, 4)), ClassLogit(0))

    assert result.layer == "features"
    assert result.notes[0] == "Layer 'features' was chosen: the last layer before positions are pooled."


def test_map_without_positive_evidence_says_so() -> None:
    """An all-negative map stays negative and is flagged; it is not stretched to hot."""
    image = torch.ones(1, 1, 4, 4, 4)

    against = apply_method(Inference(pooled_linear([[-1.0]]), image), ClassLogit(0), layer="features")
    in_favour = apply_method(Inference(pooled_linear([[1.0]]), image), ClassLogit(0), layer="features")

    assert against.values.max() < 0
    assert against.notes == ("The map holds no positive evidence for the target.",)
    assert in_favour.notes == ()


def test_map_without_gradient_says_so() -> None:
    """A dead layer gives a flat zero map with the reason, not noise."""
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 2))
    nn.init.zeros_(network[4].weight)

    result = apply_method(Inference(network, torch.ones(1, 1, 4, 4, 4)), ClassLogit(0), layer="0")

    assert not result.values.any()
    assert "All gradients are zero" in result.notes[0]


def test_network_that_returns_probabilities_by_a_function_is_noticed() -> None:
    """Softmax as a module is bypassed; softmax as a function cannot be, so the map carries a warning."""

    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = pooled_linear(HEAD)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x).softmax(dim=1)

    image = torch.randn(1, 1, 4, 4, 4)
    module = nn.Sequential(pooled_linear(HEAD), nn.Softmax(dim=1))

    by_function = apply_method(Inference(Functional(), image), ClassLogit(0), layer="inner.features")
    by_module = apply_method(Inference(module, image), ClassLogit(0), layer="0.features")

    assert "returns probabilities" in by_function.notes[0]
    assert not any("probabilities" in note for note in by_module.notes)


@pytest.mark.parametrize(("layer", "noise"), [("0", True), ("1", False), ("2", False)])
@pytest.mark.parametrize("windows", [None, Windows.sliding((16, 8, 8), (8, 8, 8), overlap=0)])
def test_weights_that_are_rounding_errors_are_said(layer: str, windows: Windows | None, *, noise: bool) -> None:
    """In front of a norm over the image the mean gradient is 0 exactly; what is left looks like any other map."""
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv3d(1, 6, 3, padding=1), nn.InstanceNorm3d(6), nn.ReLU(), nn.Conv3d(6, 2, 1))
    region = torch.rand(16, 8, 8) > 0.5
    inference = Inference(network, torch.randn(1, 1, 16, 8, 8), windows)

    found, cell_by_cell = (
        apply_method(inference, RegionMargin(1, region=region), method=method, layer=layer)
        for method in ("gradcam", "hirescam")
    )

    assert any("rounding errors" in note for note in found.notes) == noise
    assert not any("rounding errors" in note for note in cell_by_cell.notes)


@pytest.mark.parametrize(("groups", "doubted"), [(8, True), (4, False)])
def test_weights_that_may_be_rounding_errors_are_doubted(groups: int, *, doubted: bool) -> None:
    """One channel to a group: the norm in front of the head takes every mean away, but not to the last digit."""
    torch.manual_seed(0)
    network = SegResNet(
        spatial_dims=3, init_filters=8, in_channels=1, out_channels=2, blocks_down=[1, 2], blocks_up=[1],
        norm=("GROUP", {"num_groups": groups}),
    ).eval()  # fmt: skip

    found = apply_method(Inference(network, torch.randn(1, 1, 24, 24, 24)), RegionMargin(1), layer="down_layers.1")

    assert any("rounding errors" in note for note in found.notes) == doubted


def test_map_that_is_not_finite_is_refused() -> None:
    """NaN in a map would be drawn as something."""
    image = torch.ones(1, 1, 4, 4, 4)
    network = pooled_linear([[3e38, -3e38]])
    network.features.weight.data.fill_(3e38)

    with pytest.raises(ExplainError, match=r"not finite|cannot be explained"):
        apply_method(Inference(network, image), ClassLogit(0), layer="features")


# --------------------------------------------------------------------------------------------------------- misuse


def test_unknown_method_lists_those_that_exist() -> None:
    """The message is the list of choices."""
    with pytest.raises(ExplainError, match="no method 'magic'; choose one of: gradcam"):
        apply_method(Inference(pooled_linear(HEAD), torch.ones(1, 1, 4, 4, 4)), ClassLogit(0), method="magic")


def test_unknown_layer_lists_those_that_can_be_explained() -> None:
    """Layers that cannot be explained are not offered."""
    with pytest.raises(ExplainError, match=r"no layer 'conv9'; choose one of: good, ignored\."):
        apply_method(Inference(Odd(), torch.ones(1, 1, 4, 4, 4)), ClassLogit(0), layer="conv9")


@pytest.mark.parametrize("shape", [(1, 3, 12, 8, 9), (2, 3, 12, 8, 8), (12,)])
def test_logits_of_another_image_are_refused(shape: tuple[int, ...]) -> None:
    """Logits on the scan's grid instead of the network's would shift the region."""
    inference = Inference(SmallUNet(), torch.randn(1, 1, 12, 8, 8), Windows.sliding((12, 8, 8), (8, 8, 8)))

    with pytest.raises(ExplainError, match="Logits must be those of the image"):
        apply_method(inference, RegionMargin(1), layer="act", logits=torch.zeros(shape))


def test_cancelling_stops_and_restores() -> None:
    """Cancelled passes through from every stage, and the network is as before."""
    network = SmallUNet().train()
    inference = Inference(network, torch.randn(1, 1, 12, 8, 8), Windows.sliding((12, 8, 8), (8, 8, 8)))
    before = state_of(network)

    for wanted in ("Predicting", "Explaining", "Mapping"):

        def stop(stage: str, _done: int, _total: int, wanted: str = wanted) -> None:
            if stage == wanted:
                raise Cancelled(wanted)

        with pytest.raises(Cancelled, match=wanted):
            apply_method(inference, RegionMargin(1), layer="act", progress=stop)
        assert state_of(network) == before


def test_network_and_image_are_left_as_they_were() -> None:
    """Nothing is left behind by the whole engine, the choice of a default layer included."""
    network, image = nn.Sequential(Overwriting()).train(), torch.randn(1, 1, 4, 4, 4)
    before, image_before = state_of(network), image.clone()

    apply_method(Inference(network, image), ClassLogit(1))

    assert state_of(network) == before
    assert torch.equal(image, image_before)


def test_caller_under_autocast_gets_float32_maps() -> None:
    """bfloat16 in the network is the caller's choice; the map is added up in float32 all the same."""
    inference = Inference(SmallUNet(), torch.randn(1, 1, 12, 8, 8), Windows.sliding((12, 8, 8), (8, 8, 8)))
    expected = apply_method(inference, RegionMargin(1), layer="act").values

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = apply_method(inference, RegionMargin(1), layer="act").values

    assert found.dtype == np.float32
    # bfloat16 keeps 8 bits, and predicted voxels at the border may change: the same map, not the same numbers
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


def test_memory_layout_of_the_network_does_not_matter() -> None:
    """channels_last networks run faster on some machines and give the same map."""
    network, image = SmallUNet(), torch.randn(1, 1, 8, 8, 8)
    expected = apply_method(Inference(network, image), RegionMargin(1), layer="act").values

    found = apply_method(
        Inference(
            network.to(memory_format=torch.channels_last_3d), image.contiguous(memory_format=torch.channels_last_3d)
        ),
        RegionMargin(1),
        layer="act",
    ).values

    assert relative_error(found, expected) <= 1e-5


def test_a_new_method_is_one_function_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any weighting of channels goes through the same engine."""
    monkeypatch.setattr(methods, "METHODS", {**METHODS, "sum": replace(METHODS["gradcam"], name="sum")})
    monkeypatch.setitem(cam.METHODS, "sum", lambda _activation, gradient, _whole: gradient.flatten(2).sum(dim=2))
    inference = Inference(SmallUNet(), torch.randn(1, 1, 8, 8, 8))

    summed = apply_method(inference, RegionMargin(1), layer="act", method="sum")

    assert summed.method == "sum"
    np.testing.assert_allclose(
        summed.values, 64 * apply_method(inference, RegionMargin(1), layer="act").values, rtol=1e-4, atol=1e-6
    )


def test_densenet_stores_practically_nothing_for_the_backward_pass() -> None:
    """Cut near the output of a classifier, the graph holds a pooled vector instead of every activation."""
    network, layer, image = densenet()
    parameters = {p.data_ptr() for p in network.parameters()}
    stored: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in parameters:
            stored.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        apply_method(Inference(network, image), ClassLogit(0), layer=layer)
        cut = sum(stored)
        stored.clear()
        network.eval()(image)

    assert cut < 1e-3 * sum(stored)
