"""Weights from forward passes and features, against literal loops, closed forms and numpy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from monai.data.utils import compute_importance_map
from monai.inferers import sliding_window_inference
from monai.networks.nets import UNet
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
    check_layer,
)
from lesionlens.explain.budget import AliveBytes, batches
from lesionlens.explain.calling import NetworkError
from lesionlens.explain.explanation import Request
from lesionlens.explain.forward_cam import METHODS
from tiny_networks import Checkpointed, Overwriting, SmallUNet, pooled_linear, state_of

HEAD = [[1.0, -2.0, 0.5], [0.25, 1.0, -1.5]]
SIZE = (8, 8, 8)


@pytest.fixture(params=[2**30, 0], ids=["all channels at once", "one at a time"])
def budget(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so many channels go through the network at once."""
    monkeypatch.setattr(Request, "budget_bytes", request.param)


def relative_error(found: Any, expected: Any) -> float:
    """Return the largest difference as a fraction of the largest expected value."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@torch.no_grad()
def literal_ablation(network: nn.Module, layer: str, run: Callable[[nn.Module], Tensor], target: Any) -> list[float]:
    """Return the weights by one whole inference for each channel, through a hook that sets it to 0."""
    network = copy.deepcopy(network).eval()
    module, weights = network.get_submodule(layer), []
    full = float(target(run(network)))
    seen: list[Tensor] = []
    handle = module.register_forward_hook(lambda _module, _args, output: seen.append(output))
    run(network)
    handle.remove()
    for k in range(seen[0].shape[1]):

        def without(_module: nn.Module, _args: object, output: Tensor, k: int = k) -> Tensor:
            changed = output.clone()
            changed[:, k] = 0
            return changed

        handle = module.register_forward_hook(without)
        weights.append(full - float(target(run(network))))
        handle.remove()
    return weights


@torch.no_grad()
def literal_score(
    network: nn.Module,
    layer: str,
    image: Tensor,
    infer: Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor],
    target: Any,
) -> list[float]:
    """Return the weights by one whole inference for each masked image."""
    network = copy.deepcopy(network).eval()
    seen: list[Tensor] = []

    def channels(view: Tensor) -> Tensor:
        handle = network.get_submodule(layer).register_forward_hook(lambda _m, _a, output: seen.append(output.clone()))
        network(view)
        handle.remove()
        return functional.interpolate(seen[-1], size=view.shape[2:], mode="trilinear")

    maps = infer(image, channels)[0]
    base, weights = float(target(infer(torch.zeros_like(image), network))), []
    for one in maps:
        spread = float(one.max() - one.min())
        mask = (one - one.min()) / spread if spread else torch.zeros_like(one)
        weights.append(float(target(infer(image * mask, network))) - base)
    return weights


def fixed(shape: tuple[int, ...]) -> RegionMargin:
    """Return a target over a fixed region at one end."""
    region = torch.zeros(shape, dtype=torch.bool)
    region[1:4, 2:6, 1:3] = True
    return RegionMargin(1, region=region)


CASES = [
    ((8, 8, 12), None),
    ((16, 12, 9), {"overlap": 0.5, "mode": "gaussian"}),
    ((5, 17, 9), {"overlap": 0.25, "mode": "constant"}),
]


def planned(shape: tuple[int, ...], options: dict[str, Any] | None) -> tuple[Windows | None, Any]:
    """Return windows, and the inference that MONAI makes of an image and a network."""
    if options is None:
        return None, lambda image, network: network(image)
    importance = compute_importance_map(SIZE, mode=options["mode"])
    plan = Windows.sliding(shape, SIZE, overlap=options["overlap"], importance=importance)
    return plan, lambda image, network: sliding_window_inference(image, SIZE, 1, network, **options)


@pytest.mark.usefixtures("budget")
@pytest.mark.parametrize("layer", ["act", "enter"])
@pytest.mark.parametrize(("shape", "options"), CASES)
def test_ablation_cam_is_the_loop_over_channels(
    shape: tuple[int, ...], options: dict[str, Any] | None, layer: str
) -> None:
    """With and without batches, behind a layer that takes one of its own ('up' is joined to a skip) or not."""
    network, image, target = SmallUNet(), torch.randn(1, 1, *shape), fixed(shape)
    plan, infer = planned(shape, options)

    found = apply_method(Inference(network, image, plan), target, method="ablationcam", layer=layer)

    expected = literal_ablation(network, layer, lambda copied: infer(image, copied), target)
    assert relative_error(found.weights, expected) <= 1e-4  # differences of scores in single precision


@pytest.mark.usefixtures("budget")
@pytest.mark.parametrize("layer", ["act", "enter"])
@pytest.mark.parametrize(("shape", "options"), CASES)
def test_score_cam_is_the_loop_over_masked_images(
    shape: tuple[int, ...], options: dict[str, Any] | None, layer: str
) -> None:
    """Masks are scaled over the whole image, also where it was seen through windows."""
    network, image, target = SmallUNet(), torch.randn(1, 1, *shape), fixed(shape)
    plan, infer = planned(shape, options)

    found = apply_method(Inference(network, image, plan), target, method="scorecam", layer=layer)

    expected = literal_score(network, layer, image, infer, target)
    assert relative_error(found.weights, expected) <= 1e-4
    assert found.stride == ((2.0,) * 3 if layer == "act" else (1.0,) * 3)


def test_maps_are_the_channels_with_these_weights() -> None:
    """The other half of a CAM, once for all rules."""
    network, image = SmallUNet(), torch.randn(1, 1, 8, 8, 8)
    for method in ("ablationcam", "scorecam", "eigencam"):
        found = apply_method(Inference(network, image), fixed(SIZE), method=method, layer="enter")

        channels = copy.deepcopy(network).eval().enter(image)[0].detach().numpy()
        assert relative_error(found.values, np.tensordot(found.weights, channels, axes=1)) <= 1e-5


def test_ablation_cam_of_a_linear_network_is_what_each_channel_adds() -> None:
    """W_k = w_k mean(A_k), by hand."""
    image = torch.rand(1, 1, 2, 3, 4)

    found = apply_method(Inference(pooled_linear(HEAD), image), ClassLogit(0), method="ablationcam", layer="features")

    np.testing.assert_allclose(found.weights, np.array(HEAD[0]) * [1, 2, 3] * float(image.mean()), rtol=1e-4, atol=1e-6)


def test_score_cam_of_a_linear_network_is_the_masked_mean() -> None:
    """Every channel is x up to a factor, so every mask is x scaled to [0, 1], and the weights are w (k + 1) mean."""
    image = torch.rand(1, 1, 2, 3, 4)
    mask = (image - image.min()) / (image.max() - image.min())
    network = Inference(pooled_linear(HEAD, bias=[5.0, 0.0]), image)

    found = apply_method(network, ClassLogit(0), method="scorecam", layer="features")
    softmax = apply_method(network, ClassLogit(0), method="scorecam", layer="features", options={"softmax": True})

    logit = (1.0 - 4.0 + 1.5) * float((image * mask).mean())
    np.testing.assert_allclose(found.weights, [logit] * 3, rtol=1e-4)  # without the bias: that is the black image's
    np.testing.assert_allclose(softmax.weights, [1 / 3] * 3, rtol=1e-4)


def test_a_channel_that_is_the_same_everywhere_has_no_score() -> None:
    """It masks nothing and must not divide by nothing."""
    network = pooled_linear(HEAD)
    nn.init.zeros_(network.features.weight[1:2])

    found = apply_method(Inference(network, torch.rand(1, 1, 3, 3, 3)), ClassLogit(0), method="scorecam")

    assert found.weights[1] == 0
    assert found.weights[0] != 0


@pytest.mark.parametrize("windows", [None, Windows.sliding((12, 8, 8), SIZE, overlap=0.5)])
def test_eigen_cam_is_numpys_first_component_with_the_sign_that_raises_the_target(windows: Windows | None) -> None:
    """Independent decomposition; turning the head around turns the map around."""
    network, image = SmallUNet(), torch.randn(1, 1, 12, 8, 8)
    target, plan = fixed((12, 8, 8)), windows or Windows.whole((12, 8, 8))
    seen: list[Tensor] = []
    copied = copy.deepcopy(network).eval()
    copied.act.register_forward_hook(lambda _m, _a, output: seen.append(output.detach().clone()))
    for index in range(len(plan)):
        copied(plan.view(plan.pad(image), index))
    cells = torch.cat([one[0].flatten(1) for one in seen], dim=1).double().numpy().T
    _, _, rows = np.linalg.svd(cells, full_matrices=False)

    found = apply_method(Inference(network, image, windows), target, method="eigencam", layer="act")
    plain = apply_method(Inference(network, image, windows), target, layer="act")

    first = rows[0] * np.sign(rows[0] @ plain.weights)
    np.testing.assert_allclose(found.weights, first, atol=1e-5)
    with torch.no_grad():
        network.head.weight.neg_()
    region = RegionMargin(1, region=target.region, score=Score("logit"))
    logit = apply_method(Inference(network, image, windows), region, method="eigencam", layer="act")
    with torch.no_grad():
        network.head.weight.neg_()
    turned = apply_method(Inference(network, image, windows), region, method="eigencam", layer="act")
    np.testing.assert_allclose(turned.values, -logit.values, atol=1e-5)


def test_eigen_cam_without_a_sign_is_refused() -> None:
    """A pattern that does not change the target could as well be shown inside out."""
    network = pooled_linear([[2.0, -1.0]])  # channels x and 2 x: their pattern (1, 2) adds 2 - 2 = 0

    with pytest.raises(ExplainError, match="does not change the target, so EigenCAM's map has no sign"):
        apply_method(Inference(network, torch.rand(1, 1, 3, 3, 3)), ClassLogit(0), method="eigencam", layer="features")


def test_cam_is_the_class_weights_times_the_channels() -> None:
    """Its mean is the logit without the bias, and it is N times Grad-CAM."""
    image, network = torch.rand(1, 1, 2, 3, 4), pooled_linear(HEAD, bias=[0.5, -2.0])

    found = apply_method(Inference(network, image), ClassLogit(0), method="cam", layer="features")

    np.testing.assert_allclose(found.weights, HEAD[0], rtol=1e-5)
    np.testing.assert_allclose(found.values, (1.0 - 4.0 + 1.5) * image[0, 0].numpy(), rtol=1e-5)
    assert found.values.mean() + 0.5 == pytest.approx(found.score, abs=1e-5)


def end(*modules: nn.Module) -> nn.Sequential:
    """Return a classifier with a layer '0' and this end."""
    return nn.Sequential(nn.Conv3d(1, 3, 1), *modules)


@pytest.mark.parametrize(
    ("network", "target"),
    [
        (end(nn.AdaptiveMaxPool3d(1), nn.Flatten(), nn.Linear(3, 2)), ClassLogit(0)),
        (end(nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 2)), ClassLogit(0)),
        (end(nn.Flatten(), nn.Linear(3 * 64, 2)), ClassLogit(0)),
        (end(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), ClassLogit(0)),
        # Not over the whole image: there the mean margin is an average over space, and the map a CAM.
        (end(nn.Conv3d(3, 2, 1)), RegionMargin(0, region=np.eye(4, dtype=bool)[:, :, None] & np.ones(4, bool))),
    ],
)
def test_cam_of_another_network_is_refused_by_name(network: nn.Module, target: Any) -> None:
    """Largest value, ReLU, weights for positions, hidden layer, segmentation: in none is it the map it claims to be."""
    with pytest.raises(ExplainError, match="CAM needs a network that averages layer '0' over space"):
        apply_method(Inference(network, torch.rand(1, 1, 4, 4, 4)), target, method="cam", layer="0")


@pytest.mark.parametrize("convolutional", [False, True])
def test_cam_of_a_margin_is_the_difference_of_the_weights(convolutional: bool) -> None:
    """Also where the head is a convolution behind the pooling."""
    head = [nn.Conv3d(3, 2, 1)] if convolutional else [nn.Flatten(), nn.Linear(3, 2)]
    network = end(nn.AdaptiveAvgPool3d(1), *head)
    weight = network[-1].weight.detach().reshape(2, 3)

    found = apply_method(
        Inference(network, torch.rand(1, 1, 4, 4, 4)), ClassLogit(0, score=Score("margin")), method="cam", layer="0"
    )

    np.testing.assert_allclose(found.weights, (weight[0] - weight[1]).numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["ablationcam", "scorecam", "cam"])
def test_a_head_twice_as_strong_gives_a_map_twice_as_large(method: str) -> None:
    """Values stay raw; EigenCAM's are those of the features, whatever the head."""
    image = torch.rand(1, 1, 3, 4, 5)
    network, stronger = pooled_linear(HEAD), pooled_linear((2 * np.array(HEAD)).tolist())

    once, twice = (
        apply_method(Inference(one, image), ClassLogit(0), method=method, layer="features").values
        for one in (network, stronger)
    )

    np.testing.assert_allclose(twice, 2 * once, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("method", ["ablationcam", "scorecam", "eigencam"])
def test_several_targets_at_once_are_the_targets_one_by_one(method: str) -> None:
    """One pass for each channel serves all classes, whose predicted regions stay those of the whole network."""
    inference = Inference(SmallUNet(), torch.randn(1, 1, 12, 8, 8), Windows.sliding((12, 8, 8), SIZE))
    targets = [RegionMargin(c) for c in range(3)]

    together = apply_to_targets(inference, targets, method=method, layer="act")

    for one, target in zip(together, targets, strict=True):
        alone = apply_method(inference, target, method=method, layer="act")
        np.testing.assert_allclose(one.values, alone.values, atol=1e-5 * np.abs(alone.values).max())
        assert one.target == alone.target


def test_windows_that_the_target_does_not_reach_are_not_run() -> None:
    """A lesion in one corner does not pay for the whole head."""
    network, image = SmallUNet(), torch.randn(1, 1, 24, 8, 8)
    plan, sizes = Windows.sliding((24, 8, 8), SIZE, overlap=0.0), []
    handle = network.head.register_forward_hook(lambda _m, _a, output: sizes.append(output.shape[0]))
    check_layer(network, "act", (1, 1, *SIZE))  # a network is probed when it is first seen
    sizes.clear()

    apply_method(Inference(network, image, plan), fixed((24, 8, 8)), method="ablationcam", layer="act")

    handle.remove()
    assert sizes == [1, 1, 1, 1, 6]  # the prediction of three windows, one pass measured, six channels in one of them


def test_what_comes_before_the_layer_runs_once_for_a_batch() -> None:
    """Only where the end of the network takes a batch of its own, which a skip connection does not."""
    sizes: list[tuple[int, int]] = []
    network = nn.Sequential(nn.Conv3d(1, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(5, 2))
    network[4].register_forward_hook(lambda _m, args, output: sizes.append(output.shape[0]))
    passes: list[int] = []
    network[0].register_forward_hook(lambda _m, _a, output: passes.append(output.shape[0]))
    check_layer(network, "1", (1, 1, 4, 4, 4))  # a network is probed when it is first seen
    sizes.clear()
    passes.clear()

    apply_method(Inference(network, torch.rand(1, 1, 4, 4, 4)), ClassLogit(0), method="ablationcam", layer="1")

    assert sizes == [1, 1, 2, 5]
    assert passes == [1, 1, 1, 1]


class _Failing(nn.Module):
    """An end of a network that raises an error when it is given a batch."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        """Pass on one image."""
        if len(x) > 1:
            raise self.error
        return x


def _ablated(behind: nn.Module) -> list[str]:
    """Return the notes of a map of a layer with this behind it."""
    network = nn.Sequential(nn.Conv3d(1, 5, 1), nn.ReLU(), behind, nn.AdaptiveAvgPool3d(1), nn.Flatten())
    inference = Inference(network, torch.rand(1, 1, 4, 4, 4))
    # One channel at a time, as this network never takes more.
    found = apply_method(inference, ClassLogit(0), method="ablationcam", layer="1", options={"budget_mib": 1})
    return [note for note in found.notes if "whole network ran" in note]


def test_running_the_whole_network_for_each_channel_is_said() -> None:
    """It takes many times as long, and nobody would know why."""
    skipped = SmallUNet()
    found = [
        apply_method(Inference(skipped, torch.rand(1, 1, *SIZE)), RegionMargin(1), method="ablationcam", layer=layer)
        for layer in ("up", "head")
    ]
    whole = [[note for note in one.notes if "whole network ran" in note] for one in found]

    assert whole[0] == [
        "The whole network ran for each channel, not its end alone: behind 'up' it gives RuntimeError with a batch of"
        " its own."
    ]
    assert whole[1] == _ablated(nn.Identity()) == []
    mixed = _ablated(_Mixing())
    assert len(mixed) == 1
    assert "gives another result with a batch of its own" in mixed[0]


class _Mixing(nn.Module):
    """An end of a network whose answer for one image depends on how many there are."""

    def forward(self, x: Tensor) -> Tensor:
        """Divide by the size of the batch, once it is one of two."""
        return x / 2 if len(x) == 2 else x


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("a bug"), torch.OutOfMemoryError("CUDA"), RuntimeError("can't allocate memory: 5 GB")]
)
def test_what_is_no_matter_of_the_batch_is_not_passed_over(error: Exception) -> None:
    """A bug of the network, or memory that runs out, would come back later and look like something else."""
    with pytest.raises((NetworkError, type(error)), match=str(error)) as caught:
        _ablated(_Failing(error))

    assert error in (caught.value, caught.value.__cause__)


@pytest.mark.parametrize("method", ["ablationcam", "scorecam"])
@pytest.mark.parametrize("windows", [None, Windows.sliding((40, 32, 32), (32, 32, 32))])
def test_batches_keep_within_the_budget(method: str, windows: Windows | None) -> None:
    """The tensors that a batch holds at once stay below what was allowed, and a larger budget is made use of."""
    network = UNet(3, 1, 3, channels=(4, 8, 16), strides=(2, 2), num_res_units=1)
    size, layer = (40, 32, 32) if windows else (32, 32, 32), "model.1.submodule.1.submodule"
    inference, most = Inference(network, torch.rand(1, 1, *size), windows), []

    for budget in (4, 16):
        alive, peaks, starts = AliveBytes(), [], []

        def note(
            stage: str,
            done: int,
            _total: int,
            alive: AliveBytes = alive,
            peaks: list[int] = peaks,
            starts: list[int] = starts,
        ) -> None:
            if stage == "Trying channels":
                peaks.append(alive.highest - alive.now)
                starts.append(done)
                alive.highest = alive.now

        with alive:
            apply_method(
                inference, RegionMargin(1), method=method, layer=layer, options={"budget_mib": budget}, progress=note
            )
        assert max(peaks[1:]) <= budget * 2**20
        most.append(max(np.diff(starts)))

    assert most[0] < most[1] <= 16


def test_batches_cover_all_with_one_at_least() -> None:
    """What does not fit is tried all the same, one at a time."""
    assert [len(b) for b in batches(7, each=10, budget=35)] == [3, 3, 1]
    assert [len(b) for b in batches(2, each=10, budget=1)] == [1, 1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stage", ["Trying channels", "Mapping"])
def test_nothing_is_left_behind(method: str, stage: str) -> None:
    """Hooks, modes, flags, gradients, random state and image, under the caller's no_grad, and after being stopped."""
    network, image = nn.Sequential(Overwriting()).train(), torch.randn(1, 1, 4, 4, 4)
    before, image_before = state_of(network), image.clone()

    def stop(now: str, _done: int, _total: int) -> None:
        if now == stage:
            raise Cancelled(now)

    with torch.no_grad():
        apply_method(Inference(network, image), ClassLogit(1), method=method, layer="0.conv")
    if stage == "Mapping" or "budget_mib" in _options(method):
        with pytest.raises(Cancelled, match=stage):
            apply_method(Inference(network, image), ClassLogit(1), method=method, layer="0.conv", progress=stop)

    assert state_of(network) == before
    assert torch.equal(image, image_before)


def _options(method: str) -> Any:
    from lesionlens.methods import method_info

    return method_info(method).options


@pytest.mark.parametrize("method", ["ablationcam", "scorecam", "eigencam"])
@pytest.mark.parametrize("layer", ["first", "middle", "middle.1"])
def test_checkpointed_layers_are_explained_alike(method: str, layer: str) -> None:
    """A checkpointed layer runs again during the backward pass."""
    network, image = Checkpointed(), torch.rand(1, 1, 3, 3, 3)
    found = apply_method(Inference(network, image), ClassLogit(1), method=method, layer=layer)
    network.use_checkpoint = False

    expected = apply_method(Inference(network, image), ClassLogit(1), method=method, layer=layer)

    np.testing.assert_allclose(found.values, expected.values, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", ["ablationcam", "scorecam", "eigencam"])
@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        lambda network: torch.compile(network, backend="eager"),
        lambda network: network.to(memory_format=torch.channels_last_3d),
    ],
)
def test_wrapped_networks_are_explained_alike(method: str, wrap: Callable[[nn.Module], nn.Module]) -> None:
    """DataParallel, torch.compile and the memory layout do not change the map."""
    network, image = SmallUNet(), torch.randn(1, 1, 8, 8, 8)
    expected = apply_method(Inference(network, image), fixed(SIZE), method=method, layer="act").values

    found = apply_method(Inference(wrap(network), image), fixed(SIZE), method=method, layer="act").values

    assert relative_error(found, expected) <= 1e-4
