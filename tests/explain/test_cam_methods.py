"""Every weighting by gradients against its formula, other packages, and the whole graph through MONAI's windows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from monai.data.utils import compute_importance_map
from monai.inferers import sliding_window_inference
from monai.networks.nets import SwinUNETR, UNet, resnet10
from torch import Tensor, nn
from torch.nn import functional

from lesionlens.errors import Cancelled, ExplainError
from lesionlens.explain import (
    ClassLogit,
    Inference,
    RegionMargin,
    Score,
    Windows,
    apply_method,
    apply_to_targets,
)
from lesionlens.explain.cam import METHODS
from tiny_networks import Checkpointed, Overwriting, SmallUNet, pooled_linear, state_of, voxel_head

HEAD = [[1.0, -2.0, 0.5], [0.25, 1.0, -1.5]]
# What a head twice as strong makes of the map: LayerCAM and the others are homogeneous in the gradient, Grad-CAM++ not.
HOMOGENEOUS = sorted(set(METHODS) - {"gradcampp"})


def literal(method: str, activation: Tensor, gradient: Tensor) -> Tensor:
    """Return the map (N, *cells) of a whole layer (N, K, *cells) by the formula of its paper, in float64, by loops."""
    a, g = activation.double().flatten(2), gradient.double().flatten(2)
    maps = torch.zeros(a.shape[0], a.shape[2], dtype=torch.float64)
    for k in range(a.shape[1]):
        total = a[:, k].sum()
        weights = torch.zeros_like(g[:, k])
        if method == "gradcam":
            weights += g[:, k].mean()
        elif method == "xgradcam":
            weights += (a[:, k] * g[:, k]).sum() / total if total else 0  # a dead channel has no map
        elif method == "hirescam":
            weights += g[:, k]
        elif method == "layercam":
            weights += g[:, k].clamp(min=0)
        else:
            weight = torch.zeros((), dtype=torch.float64)
            for value in g[:, k].flatten():
                denominator = 2 * value**2 + total * value**3
                alpha = value**2 / denominator if value else torch.zeros(())
                weight = weight + alpha * value.clamp(min=0)
            weights += weight
        maps += weights * a[:, k]
    return maps.view(activation.shape[0], *activation.shape[2:])


def graph_of(network: nn.Module, layer: str, run: Callable[[nn.Module], Tensor], target: Any) -> tuple[Tensor, Tensor]:
    """Return activations and gradients (windows, K, *cells) from one whole graph of a copy: nothing of the engine."""
    network = copy.deepcopy(network).eval()
    activations: list[Tensor] = []

    def store(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        activations.append(output)
        return output.clone()

    handle = network.get_submodule(layer).register_forward_hook(store)
    gradients = torch.autograd.grad(target(run(network)), activations)
    handle.remove()
    return torch.cat(activations).detach(), torch.cat(gradients)


def relative_error(found: Any, expected: Any) -> float:
    """Return the largest difference as a fraction of the largest expected value."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


# ---------------------------------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "xgradcam"])
def test_pooled_linear_network_has_one_map(method: str) -> None:
    """Mean over space, then linear: N times the map is sum_k w_k A_k, whose mean plus the bias is the logit."""
    image = torch.rand(1, 1, 2, 3, 4) + 0.1

    found = apply_method(
        Inference(pooled_linear(HEAD, bias=[0.5, -2.0]), image), ClassLogit(0), method=method, layer="features"
    )

    cam = 24 * found.values
    np.testing.assert_allclose(cam, (1.0 - 4.0 + 1.5) * image[0, 0].numpy(), rtol=1e-5)  # channel k holds (k + 1) x
    assert cam.mean() + 0.5 == pytest.approx(found.score, abs=1e-5)


def test_sum_of_hirescam_is_the_logit_where_positions_have_weights() -> None:
    """Flatten, then linear: HiResCAM's cells sum to logit - bias exactly, those of Grad-CAM do not."""
    network = nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(3 * 60, 2))
    inference = Inference(network, torch.randn(1, 1, 3, 4, 5))

    hires = apply_method(inference, ClassLogit(1), method="hirescam", layer="1")
    plain = apply_method(inference, ClassLogit(1), layer="1")

    evidence = hires.score - float(network[3].bias[1].detach())
    assert hires.values.sum() == pytest.approx(evidence, rel=1e-5)
    assert plain.values.sum() != pytest.approx(evidence, rel=1e-2)


@pytest.mark.parametrize("windows", [None, Windows.sliding((6, 5, 4), (4, 4, 4), overlap=0.5)])
def test_hirescam_of_a_voxel_wise_head_is_its_evidence_in_the_region(windows: Windows | None) -> None:
    """M sum_k w_k A_k / |M|, also through windows that overlap; permuting the other classes changes nothing."""
    image, region = torch.randn(1, 3, 6, 5, 4), torch.rand(6, 5, 4) > 0.6
    rows = [[1.0, -2.0, 0.5], [0.25, 1.0, -1.5], [9.0, 8.0, 7.0], [-5.0, 4.0, 3.0]]
    target = RegionMargin(1, region=region, score=Score("logit"))

    found = [
        apply_method(Inference(voxel_head(heads), image, windows), target, method="hirescam", layer="features").values
        for heads in (rows, [rows[3], rows[1], rows[0], rows[2]])
    ]

    expected = np.tensordot(rows[1], image[0].numpy(), axes=1) * region.numpy() / int(region.sum())
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    assert np.array_equal(found[0], found[1])


def test_layercam_is_the_part_of_hirescam_with_positive_gradients() -> None:
    """By hand: of the weights 1, -2 and 0.5 the second is left out."""
    image = torch.rand(1, 1, 2, 3, 4)

    found = apply_method(Inference(pooled_linear(HEAD), image), ClassLogit(0), method="layercam", layer="features")

    np.testing.assert_allclose(found.values, (1.0 + 1.5) * image[0, 0].numpy() / 24, rtol=1e-5)


def test_grad_cam_plus_plus_divides_by_its_denominator() -> None:
    """Constant gradients g over N cells: W = N relu(g) / (2 + g sum(A)), by hand, with denominators far from 1."""
    image = 10 * torch.rand(1, 1, 2, 3, 4)
    total = float(image.sum())

    found = apply_method(Inference(pooled_linear(HEAD), image), ClassLogit(0), method="gradcam++", layer="features")

    weights = [24 * max(w, 0) / 24 / (2 + w / 24 * (k + 1) * total) for k, w in enumerate(HEAD[0])]
    np.testing.assert_allclose(found.weights, weights, rtol=1e-5)
    assert found.method == "gradcampp"
    assert abs(2 + total / 24 - 1) > 1


# -------------------------------------------------------------------------------------- independent implementations


def classifier() -> tuple[nn.Module, str, Tensor, int]:
    """Return a 3D ResNet, a layer in front of two blocks, an image and a class."""
    network = resnet10(spatial_dims=3, n_input_channels=1, num_classes=3, conv1_t_stride=2)
    return network, "layer2", torch.rand(1, 1, 48, 40, 32), 2


def unet() -> tuple[nn.Module, str, Tensor, int]:
    """Return a U-Net, its bottleneck, an image and a channel."""
    network = UNet(3, 1, 3, channels=(4, 8, 16), strides=(2, 2), num_res_units=1)
    return network, "model.1.submodule.1.submodule", torch.rand(1, 1, 16, 24, 32), 1


def transformer() -> tuple[nn.Module, str, Tensor, int]:
    """Return a SwinUNETR, one of its convolutional layers, an image and a channel."""
    network = SwinUNETR(in_channels=1, out_channels=2, feature_size=12, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1))
    return network, "encoder4", torch.rand(1, 1, 32, 32, 64), 1


class _Sum:
    def __init__(self, channel: int) -> None:
        self.channel = channel

    def __call__(self, logits: Tensor) -> Tensor:
        return logits[:, self.channel].sum()

    def describe(self, _logits: Tensor) -> str:
        return "sum"


@pytest.mark.parametrize("make", [classifier, unet, transformer])
def test_maps_equal_captum(make: Callable[[], tuple[nn.Module, str, Tensor, int]]) -> None:
    """Grad-CAM is captum's LayerGradCam, HiResCAM the channel sum of its LayerGradientXActivation."""
    network, layer, image, channel = make()
    network.eval()
    found = {
        method: apply_method(Inference(network, image), _Sum(channel), method=method, layer=layer).coarse
        for method in ("gradcam", "hirescam")
    }

    copied = copy.deepcopy(network)
    module = copied.get_submodule(layer)

    grad_cam = LayerGradCam(lambda x: _sums(copied(x), channel), module).attribute(image, relu_attributions=False)
    products = LayerGradientXActivation(lambda x: _sums(copied(x), channel), module).attribute(image)
    assert relative_error(found["gradcam"], grad_cam[0, 0].detach()) <= 1e-5
    assert relative_error(found["hirescam"], products[0].sum(dim=0).detach()) <= 1e-5


def _sums(output: Tensor, channel: int) -> Tensor:
    return output[:, channel].reshape(output.shape[0], -1).sum(dim=1)


@pytest.mark.parametrize("method", METHODS)
def test_map_is_the_formula_of_the_paper(method: str) -> None:
    """The engine against loops in float64 on the whole graph."""
    network, image = SmallUNet(), torch.randn(1, 1, 8, 8, 12)
    target = RegionMargin(1, region=torch.rand(8, 8, 12) > 0.5)

    found = apply_method(Inference(network, image), target, method=method, layer="act")

    expected = literal(method, *graph_of(network, "act", lambda copied: copied(image), target))
    assert relative_error(found.coarse, expected[0]) <= 1e-5


# shape of the image, size of the windows, overlap, blending: with padding, sizes that do not divide, both weightings
SLIDING = [
    ((16, 12, 12), (8, 8, 8), 0.25, "gaussian"),
    ((14, 13, 9), (8, 8, 8), 0.5, "constant"),
    ((5, 17, 7), (8, 8, 8), 0.25, "gaussian"),
]


@pytest.mark.parametrize(("shape", "size", "overlap", "mode"), SLIDING)
@pytest.mark.parametrize("layer", ["act", "enter"])
@pytest.mark.parametrize("method", METHODS)
def test_map_through_windows_is_the_formula_on_the_full_graph(
    shape: tuple[int, ...], size: tuple[int, ...], overlap: float, mode: str, layer: str, method: str
) -> None:
    """One window at a time gives what the formula gives on all windows in one graph through MONAI's sliding window."""
    network, image = SmallUNet(), torch.randn(1, 1, *shape)
    region = torch.zeros(shape, dtype=torch.bool)
    region[1:4, 2:6, 1:3] = True
    target = RegionMargin(1, region=region)
    options = {"overlap": overlap, "mode": mode}
    plan = Windows.sliding(shape, size, overlap=overlap, importance=compute_importance_map(size, mode=mode))

    found = apply_method(Inference(network, image, plan), target, method=method, layer=layer)

    def run(copied: nn.Module) -> Tensor:
        return sliding_window_inference(image, size, 1, copied, **options)

    activation, gradient = graph_of(network, layer, run, target)
    maps = iter(_over_all_windows(method, activation, gradient))
    if method in ("hirescam", "layercam"):  # the gradients hold the shares: what MONAI divides by is put back
        coverage = plan.crop(plan.coverage)

        def window_map(view: Tensor) -> Tensor:
            return _fine(next(maps), view) / plan.importance

        expected = sliding_window_inference(image, size, 1, window_map, **options) * coverage
    else:
        expected = sliding_window_inference(image, size, 1, lambda view: _fine(next(maps), view), **options)
    assert relative_error(found.values, expected[0, 0]) <= 1e-5


def _over_all_windows(method: str, activation: Tensor, gradient: Tensor) -> Tensor:
    """Apply the formula to the cells of all windows as to those of one layer."""
    joined = [x.transpose(0, 1).reshape(1, x.shape[1], -1, *x.shape[3:]) for x in (activation, gradient)]
    return literal(method, *joined).view(activation.shape[0], *activation.shape[2:]).float()


def _fine(coarse: Tensor, view: Tensor) -> Tensor:
    return functional.interpolate(coarse[None, None], size=view.shape[2:], mode="trilinear")


def test_hirescam_of_all_windows_sums_to_the_target() -> None:
    """Linear behind the layer: the cells of all windows hold the target of the assembled output, to the last part."""
    network, image = voxel_head(HEAD), torch.randn(1, 3, 9, 8, 7)
    plan = Windows.sliding((9, 8, 7), (4, 4, 4), overlap=0.5, importance=compute_importance_map((4, 4, 4), "gaussian"))
    target = RegionMargin(1, region=torch.rand(9, 8, 7) > 0.8)

    found = apply_method(Inference(network, image, plan), target, method="hirescam", layer="features")

    assert found.values.sum() == pytest.approx(found.score, rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_one_window_is_the_plain_map(method: str) -> None:
    """A sliding window that is as large as the image changes nothing."""
    network, image = SmallUNet(), torch.randn(1, 1, 8, 8, 8)
    plan = Windows.sliding((8, 8, 8), (8, 8, 8), importance=compute_importance_map((8, 8, 8), mode="gaussian"))

    plain, windowed = (
        apply_method(Inference(network, image, windows), RegionMargin(1), method=method, layer="act")
        for windows in (None, plan)
    )

    assert np.array_equal(windowed.values, plain.values)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("keep", [0, 2**28])
def test_what_is_kept_or_known_only_saves_time(method: str, keep: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by the budget, not by the number of windows; logits may come from the prediction."""
    plan = Windows.sliding((20, 8, 8), (8, 8, 8), overlap=0.5)
    inference = Inference(SmallUNet(), torch.randn(1, 1, 20, 8, 8), plan)
    expected = apply_method(inference, RegionMargin(1), method=method, layer="act")
    monkeypatch.setattr("lesionlens.explain.sweep.KEEP_BYTES", keep)

    computed = apply_method(inference, RegionMargin(1), method=method, layer="act")
    known = apply_method(inference, RegionMargin(1), method=method, layer="act", logits=inference.logits())

    assert np.array_equal(computed.values, expected.values)
    assert relative_error(known.values, expected.values) <= 1e-5


@pytest.mark.parametrize("method", HOMOGENEOUS)
def test_a_head_twice_as_strong_gives_a_map_twice_as_large(method: str) -> None:
    """Values stay raw: nothing is scaled to the map's own maximum."""
    image, network = torch.randn(1, 1, 8, 8, 8), SmallUNet()
    stronger = copy.deepcopy(network)
    with torch.no_grad():
        stronger.head.weight.mul_(2)
        stronger.head.bias.mul_(2)

    once, twice = (
        apply_method(Inference(one, image), RegionMargin(1), method=method, layer="act").values
        for one in (network, stronger)
    )

    np.testing.assert_allclose(twice, 2 * once, rtol=1e-4, atol=1e-7)


# ------------------------------------------------------------------------------------------------- several targets


@pytest.mark.parametrize("windows", [None, Windows.sliding((12, 8, 8), (8, 8, 8))])
@pytest.mark.parametrize("method", METHODS)
def test_several_targets_at_once_are_the_targets_one_by_one(
    method: str, windows: Windows | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One forward pass serves for all classes, also where their gradients need several sweeps."""
    inference = Inference(SmallUNet(), torch.randn(1, 1, 12, 8, 8), windows)
    targets = [RegionMargin(c) for c in range(3)]
    alone = [apply_method(inference, target, method=method, layer="act") for target in targets]

    for budget in (2**28, 0):
        monkeypatch.setattr("lesionlens.explain.cam.SEED_BYTES", budget)
        together = apply_to_targets(inference, targets, method=method, layer="act")

        for one, expected in zip(together, alone, strict=True):
            assert relative_error(one.values, expected.values) <= 1e-6
            assert (one.target, one.notes) == (expected.target, expected.notes)


def test_several_targets_cost_one_forward_pass() -> None:
    """Otherwise there would be no point in asking together."""
    network, passes = SmallUNet(), []
    network.enter.register_forward_hook(lambda *_: passes.append(1))
    inference, targets = Inference(network, torch.randn(1, 1, 8, 8, 8)), [RegionMargin(c) for c in range(3)]
    apply_to_targets(inference, targets[:1], layer="act")  # the first time a network is seen, a probe looks at it
    passes.clear()

    apply_to_targets(inference, targets, layer="act")

    assert len(passes) == 1


# ------------------------------------------------------------------------- traps that other implementations fall into


def test_images_of_a_batch_are_explained_for_their_own_class() -> None:
    """One at a time, as captum does with a class for each; MONAI's batch explains every image for every class."""
    network, layer, _, _ = classifier()
    network.eval()
    images, classes = torch.rand(2, 1, 48, 40, 32), [0, 2]

    found = [
        apply_method(Inference(network, image[None]), ClassLogit(index), layer=layer).coarse
        for image, index in zip(images, classes, strict=True)
    ]

    copied = copy.deepcopy(network)
    captum = LayerGradCam(copied, copied.get_submodule(layer))
    expected = captum.attribute(images, target=torch.tensor(classes), relu_attributions=False)
    for one, other in zip(found, expected, strict=True):
        assert relative_error(one, other[0].detach()) <= 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_is_refused(method: str) -> None:
    """Statistics over a batch would let one patient's map depend on another's scan."""
    with pytest.raises(ExplainError, match=r"One image .* is explained at a time"):
        apply_method(Inference(SmallUNet(), torch.rand(2, 1, 8, 8, 8)), RegionMargin(1), method=method, layer="act")


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "xgradcam"])
def test_a_map_of_evidence_against_stays_below_zero(method: str) -> None:
    """Scaled to its own range, as MONAI's default does, it would be hottest where it is least; here it is flagged."""
    found = apply_method(
        Inference(pooled_linear([[-1.0]]), torch.rand(1, 1, 4, 4, 4) + 0.1), ClassLogit(0), method=method
    )

    assert found.values.max() < 0
    assert "no positive evidence" in found.notes[-1]


@pytest.mark.parametrize("method", METHODS)
def test_a_map_without_gradient_is_zero_and_says_so(method: str) -> None:
    """A dead end gives a flat map with its reason, not noise and not NaN."""
    network = pooled_linear([[0.0, 0.0]])

    found = apply_method(Inference(network, torch.rand(1, 1, 4, 4, 4)), ClassLogit(0), method=method)

    assert not found.values.any()
    assert "All gradients are zero" in found.notes[-1]


# ------------------------------------------------------------------------------------------------------ robustness


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", ["first", "middle", "middle.1"])
def test_checkpointed_layers_are_explained_alike(method: str, layer: str) -> None:
    """A checkpointed layer runs again during the backward pass, in the middle of everything else."""
    network, image = Checkpointed(), torch.rand(1, 1, 3, 3, 3)
    targets = [ClassLogit(0), ClassLogit(1)]
    found = apply_to_targets(Inference(network, image), targets, method=method, layer=layer)
    network.use_checkpoint = False

    expected = apply_to_targets(Inference(network, image), targets, method=method, layer=layer)

    assert all(np.array_equal(a.values, b.values) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda network: torch.compile(network, backend="eager")])
def test_wrapped_networks_are_explained_alike(method: str, wrap: Callable[[nn.Module], nn.Module]) -> None:
    """DataParallel and torch.compile hide the layers, not the map."""
    network, image = SmallUNet(), torch.randn(1, 1, 8, 8, 8)

    found = apply_method(Inference(wrap(network), image), RegionMargin(1), method=method, layer="act")

    expected = apply_method(Inference(network, image), RegionMargin(1), method=method, layer="act")
    assert np.array_equal(found.values, expected.values)


@pytest.mark.parametrize("method", METHODS)
def test_layout_and_precision_of_the_network_do_not_matter(method: str) -> None:
    """channels_last gives the same map; bfloat16 nearly so, added up in float32."""
    network, image = SmallUNet(), torch.randn(1, 1, 8, 8, 8)
    target = RegionMargin(1, region=torch.rand(8, 8, 8) > 0.5)
    expected = apply_method(Inference(network, image), target, method=method, layer="act").values
    with torch.autocast("cpu", dtype=torch.bfloat16):
        coarse = apply_method(Inference(network, image), target, method=method, layer="act").values

    last = torch.channels_last_3d
    network = network.to(memory_format=last)
    image = image.contiguous(memory_format=last)
    found = apply_method(Inference(network, image), target, method=method, layer="act").values

    assert relative_error(found, expected) <= 1e-5
    assert coarse.dtype == np.float32
    assert np.corrcoef(coarse.ravel(), expected.ravel())[0, 1] > 0.99  # bfloat16 keeps 8 bits


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_left_behind(method: str) -> None:
    """Hooks, modes, flags, gradients, random state and image, under the caller's no_grad, and after being stopped."""
    network, image = nn.Sequential(Overwriting()).train(), torch.randn(1, 1, 4, 4, 4)
    before, image_before = state_of(network), image.clone()

    def stop(stage: str, _done: int, _total: int) -> None:
        if stage == "Explaining":
            raise Cancelled(stage)

    with torch.no_grad():
        apply_method(Inference(network, image), ClassLogit(1), method=method, layer="0.conv")
    with pytest.raises(Cancelled, match="Explaining"):
        apply_method(Inference(network, image), ClassLogit(1), method=method, layer="0.conv", progress=stop)

    assert state_of(network) == before
    assert torch.equal(image, image_before)


@pytest.mark.parametrize("windows", [None, Windows.sliding((12, 6, 6), (6, 6, 6), overlap=0.5)])
def test_xgradcam_divides_by_no_rounding_errors(windows: Windows | None) -> None:
    """The output of an instance norm sums to 0: a quotient by what rounding left would be millions times too large."""
    norm = nn.InstanceNorm3d(2, affine=True)
    network = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), norm, nn.Tanh(), nn.Conv3d(2, 2, 1))
    target = RegionMargin(1, region=torch.ones(12, 6, 6, dtype=torch.bool))
    inference = Inference(network, torch.randn(1, 1, 12, 6, 6), windows)

    def weights() -> Any:
        return apply_method(inference, target, method="xgradcam", layer="1")

    with pytest.raises(ExplainError, match="layer '1' are nothing but rounding"):
        weights()
    with torch.no_grad():
        norm.bias[1] = 0.5
    one = weights()
    assert one.weights[0] == 0
    assert one.weights[1] != 0
    assert "In 1 of 2 channels the values cancel; XGrad-CAM has no weight for these." in one.notes
    with torch.no_grad():
        norm.bias[0] = -0.5
    assert weights().weights.all()
    assert not any("channels the values" in note for note in weights().notes)
    with torch.no_grad():
        norm.bias[0] = 5e-5
    assert any("In 1 of 2 channels the values nearly cancel" in note for note in weights().notes)


@pytest.mark.parametrize("windows", [None, Windows.sliding((12, 6, 6), (6, 6, 6), overlap=0.5)])
@pytest.mark.parametrize(("layer", "noise"), [("0", True), ("2", False)])
def test_xgradcam_in_front_of_a_norm_says_that_its_weights_are_rounding(
    layer: str, windows: Windows | None, *, noise: bool
) -> None:
    """No factor passes a norm, so the sum of values times gradients is 0 there: by Euler, its degree is 0."""
    torch.manual_seed(0)
    norm = nn.InstanceNorm3d(2, affine=True, eps=0)
    network = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), norm, nn.Softplus(), nn.Conv3d(2, 2, 1))
    target = RegionMargin(1, region=torch.rand(12, 6, 6) > 0.5)

    found = apply_method(
        Inference(network, 1 + torch.rand(1, 1, 12, 6, 6), windows), target, method="xgradcam", layer=layer
    )

    assert any("rounding errors" in note for note in found.notes) == noise


# --------------------------------------------------------------------------------------------------- several layers


def test_layers_are_joined_by_the_largest_magnitude_in_the_unit_of_the_first() -> None:
    """By hand from the two maps; the cells of the coarser layer say how finely the result can point."""
    inference = Inference(SmallUNet(), torch.randn(1, 1, 8, 8, 8))
    act, enter = (
        apply_method(inference, RegionMargin(1), method="layercam", layer=layer).values for layer in ("act", "enter")
    )

    joined = apply_method(inference, RegionMargin(1), method="layercam", layer="act+enter")

    scaled = enter * (np.abs(act).max() / np.abs(enter).max())
    np.testing.assert_allclose(joined.values, np.where(np.abs(scaled) > np.abs(act), scaled, act), rtol=1e-5, atol=1e-9)
    assert (joined.layer, joined.stride, joined.coarse) == ("act+enter", (2.0, 2.0, 2.0), None)
    assert "largest magnitude in the map of 'act'" in joined.notes[0]
    assert "largest cells of these: 2 x 2 x 2 voxels in 'act', 1 x 1 x 1 voxels in 'enter'" in joined.notes[0]


@pytest.mark.parametrize("layer", ["0+1", "1+0"])
def test_a_joined_map_has_the_cells_of_the_coarsest_layer(layer: str) -> None:
    """Whatever the order: an unpadded convolution of stride 2 and 1 x 3 x 3 voxels begins half a voxel in at most."""
    first, second = nn.Conv3d(1, 2, (1, 3, 3), padding=(0, 1, 1)), nn.Conv3d(2, 2, 3, stride=(1, 2, 2))
    network = nn.Sequential(first, second, nn.AdaptiveAvgPool3d(1), nn.Flatten())
    inference = Inference(network, torch.rand(1, 1, 9, 11, 7))

    alone = apply_method(inference, ClassLogit(1), layer="1")
    joined = apply_method(inference, ClassLogit(1), layer=layer)

    assert any(alone.border)
    assert (joined.stride, joined.border) == (alone.stride, alone.border)


def test_a_layer_without_evidence_adds_nothing() -> None:
    """A map of zeros has no largest magnitude to be scaled by."""
    network = SmallUNet()
    nn.init.zeros_(network.up.weight)
    inference = Inference(network, torch.randn(1, 1, 8, 8, 8))

    joined = apply_method(inference, RegionMargin(1), layer="act+enter")

    assert np.array_equal(joined.values, apply_method(inference, RegionMargin(1), layer="enter").values)


class Opposed(nn.Module):
    """Two layers in a row of which one speaks against the class everywhere, and the other for it in places."""

    def __init__(self, against: float) -> None:
        super().__init__()
        self.first, self.second = nn.Identity(), nn.Identity()
        self.against = against

    def forward(self, image: Tensor) -> Tensor:
        """Return one logit: the mean of the second layer, which is the first one shifted."""
        return self.second(self.first(image) - self.against).mean(dim=(2, 3, 4))


@pytest.mark.parametrize(("against", "flagged"), [(0.75, False), (2.0, True)])
def test_whether_a_joined_map_has_evidence_is_seen_on_the_joined_map(against: float, *, flagged: bool) -> None:
    """Layer one has evidence everywhere, layer two in places or nowhere; what wins at each voxel is what counts."""
    image = torch.full((1, 1, 2, 2, 2), 0.1)
    image[0, 0, 0, 0, 0] = 1.0
    inference = Inference(Opposed(against), image)

    joined = apply_method(inference, ClassLogit(0), layer="second+first")

    single = apply_method(inference, ClassLogit(0), layer="second")
    assert any("no positive evidence" in note for note in single.notes) == (single.values.max() <= 0)
    assert any("no positive evidence" in note for note in joined.notes) == (joined.values.max() <= 0)
    assert (single.values.max() <= 0) == flagged
    assert joined.values.max() > 0
