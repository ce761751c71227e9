from __future__ import annotations

from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from monai.data.utils import compute_importance_map
from monai.inferers import sliding_window_inference
from monai.networks.nets import DenseNet121, UNet, resnet10
from torch import Tensor, nn
from torch.nn import functional

from lesionlens.errors import Cancelled, ExplainError
from lesionlens.explain import (
    ClassLogit,
    FromProbabilities,
    Inference,
    RegionMargin,
    Windows,
    apply_method,
    gradients,
    settled,
)
from lesionlens.explain.fills import BASELINES, blurred
from lesionlens.methods import METHODS
from tiny_networks import Checkpointed, SmallUNet, pooled_linear, voxel_head

NAMES = [name for name, info in METHODS.items() if info.family == "gradients"]
HEAD = [[1.0, -2.0, 0.5], [0.25, 1.0, -1.5]]
SHAPE, SIZE = (14, 9, 8), (8, 8, 8)


def relative_error(found: Any, expected: Any) -> float:
    """Return the largest difference as a fraction of the largest expected value."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def sliding(shape: tuple[int, ...] = SHAPE, size: tuple[int, ...] = SIZE, **options: Any) -> Windows:
    """Return windows with MONAI's Gaussian weights."""
    return Windows.sliding(shape, size, importance=compute_importance_map(size, mode="gaussian"), **options)


class Relus(nn.Module):
    """A classifier of two channels with smooth and not so smooth parts."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.act1 = nn.Conv3d(2, 5, 3, padding=1), nn.ReLU()
        self.conv2, self.act2 = nn.Conv3d(5, 4, 3), nn.ReLU()
        self.linear = nn.Linear(4, 3)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        x = self.act2(self.conv2(self.act1(self.conv1(image))))
        return self.linear(x.square().mean(dim=(2, 3, 4)))


# ---------------------------------------------------------------------------------------------------- closed forms


def test_gradient_of_a_voxelwise_network_is_the_difference_of_its_weights() -> None:
    """It is (w_1k - w_0k) / |R| inside the region and 0 outside; the map takes the strongest channel."""
    image = torch.randn(1, 3, 4, 5, 6)
    region = torch.rand(4, 5, 6) > 0.6

    found = apply_method(Inference(voxel_head(HEAD), image), RegionMargin(1, region=region), method="saliency")

    weights = np.array(HEAD[1]) - np.array(HEAD[0])  # -0.75, 3, -2
    expected = weights[:, None, None, None] * region.numpy() / int(region.sum())
    np.testing.assert_allclose(found.channels, expected, rtol=1e-5)
    np.testing.assert_allclose(found.values, expected[1], rtol=1e-5)
    assert found.stride == (1.0, 1.0, 1.0)
    assert (found.layer, found.coarse, found.kind, found.signed) == ("", None, "attribution", True)


def test_input_x_gradient_of_a_linear_network_sums_to_the_logit() -> None:
    """Every voxel's share of a linear answer, over all channels."""
    image = torch.randn(1, 3, 4, 5, 6)
    target = RegionMargin(1, region=torch.ones(4, 5, 6, dtype=torch.bool))

    found = apply_method(Inference(voxel_head(HEAD), image), target, method="input_x_gradient")

    weights = np.array(HEAD[1]) - np.array(HEAD[0])
    np.testing.assert_allclose(found.values, np.tensordot(weights, image[0].numpy(), 1) / 120, rtol=1e-4, atol=1e-7)
    assert found.values.sum() == pytest.approx(found.score, abs=1e-5)


@pytest.mark.parametrize("samples", [1, 4, 16])
@pytest.mark.parametrize("noise", [0.1, 3.0])
def test_smoothgrad_of_a_linear_network_is_the_gradient(samples: int, noise: float) -> None:
    """A mean of equal things is that thing, whatever their number; dividing by a root of it would show here."""
    inference = Inference(pooled_linear(HEAD), torch.randn(1, 1, 4, 4, 4))
    options = {"samples": samples, "noise": noise}

    smooth = apply_method(inference, ClassLogit(0), method="smoothgrad", options=options)

    np.testing.assert_allclose(
        smooth.values, apply_method(inference, ClassLogit(0), method="saliency").values, rtol=1e-5
    )


class Cubic(nn.Module):
    """A classifier with logit ``sum of x^3``, whose path integrals are known."""

    def forward(self, image: Tensor) -> Tensor:
        """Return (1, 1)."""
        return image.pow(3).flatten(1).sum(dim=1, keepdim=True)


def test_smoothgrad_adds_the_curvature_that_its_noise_meets() -> None:
    """For x^3 the mean slope under noise of SD s is 3 x^2 + 3 s^2: the noise has the SD that was asked for."""
    image = torch.rand(1, 1, 16, 16, 16)

    found = apply_method(
        Inference(Cubic(), image), ClassLogit(0), method="smoothgrad", options={"samples": 50, "noise": 0.5}
    ).values

    variance = float(image.var(correction=0)) / 4
    # 50 samples of 4096 voxels leave 6 x n a standard deviation of 6 x 0.58 s / sqrt(204800), 1.8 % of what is expected
    assert float((found - 3 * image[0, 0].square().numpy()).mean()) == pytest.approx(3 * variance, rel=0.06)


def test_smoothgrad_repeats_itself_and_no_other_seed() -> None:
    """A figure that cannot be made again is none."""
    inference = Inference(Cubic(), torch.rand(1, 1, 4, 4, 4))

    def values(seed: int) -> Any:
        options = {"samples": 2, "seed": seed}
        return apply_method(inference, ClassLogit(0), method="smoothgrad", options=options).values

    assert np.array_equal(values(3), values(3))
    assert not np.array_equal(values(3), values(4))


@pytest.mark.parametrize("baseline", BASELINES)
def test_integrated_gradients_of_a_cubic_are_exact(baseline: str) -> None:
    """The integral of 3 t^2 from b to x is x^3 - b^3 at every voxel; two nodes are exact for it."""
    image = torch.rand(1, 2, 6, 5, 4) + 0.1

    found = apply_method(
        Inference(Cubic(), image),
        ClassLogit(0),
        method="integrated_gradients",
        options={"steps": 2, "baseline": baseline},
    )

    expected = image.pow(3) - BASELINES[baseline](image).pow(3)
    np.testing.assert_allclose(found.channels, expected[0], atol=1e-5)
    np.testing.assert_allclose(found.values, expected[0].sum(dim=0), atol=1e-5)
    assert f"From the baseline ({baseline})" in found.notes[0]
    assert not any("does not add up" in note for note in found.notes)


def test_a_map_that_does_not_add_up_says_so() -> None:
    """One step over a kink misses the rise of the target; the reader learns by how much."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(8, 1), nn.ReLU())
    nn.init.ones_(network[1].weight)
    nn.init.constant_(network[1].bias, -6.0)  # at half of the way nothing has happened yet
    inference = Inference(network, torch.ones(1, 1, 2, 2, 2))
    options = {"baseline": "zero"}

    coarse = apply_method(inference, ClassLogit(0), method="integrated_gradients", options={**options, "steps": 1})
    fine = apply_method(inference, ClassLogit(0), method="integrated_gradients", options={**options, "steps": 64})

    assert "misses it by -2 (-1e+02 %)" in coarse.notes[0]
    assert any("does not add up" in note for note in coarse.notes)
    assert not any("does not add up" in note for note in fine.notes)
    assert fine.values.sum() == pytest.approx(2, rel=0.05)


def test_the_region_stays_where_the_image_put_it() -> None:
    """At the baseline nothing is predicted; a region chosen anew there would explain another target."""
    image = torch.zeros(1, 1, 4, 4, 4)
    image[0, 0, 1, 2, 3] = 1.0
    network = voxel_head([[-1.0], [3.0]], bias=[1.0, 0.0])

    found = apply_method(
        Inference(network, image), RegionMargin(1), method="integrated_gradients", options={"baseline": "zero"}
    )

    expected = np.zeros((4, 4, 4))
    expected[1, 2, 3] = 4.0  # (3 + 1) x at the one predicted voxel
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    assert "the predicted region (1 voxel)" in found.target


def test_blur_keeps_what_is_even_and_the_sum_of_a_point() -> None:
    """A blur that darkens borders would explain the border."""
    even = torch.full((1, 2, 7, 8, 9), 3.0)
    point = torch.zeros(1, 1, 31, 31, 31)
    point[0, 0, 15, 15, 15] = 1.0

    spread = blurred(point, (2.0, 2.0, 2.0))

    torch.testing.assert_close(blurred(even, (2.0, 3.0, 40.0)), even)
    assert float(spread.sum()) == pytest.approx(1.0, rel=1e-5)
    variance = float((spread.sum(dim=(0, 1, 3, 4)) * (torch.arange(31.0) - 15) ** 2).sum())
    assert variance == pytest.approx(4.0, rel=0.05)  # the Gaussian is cut at three standard deviations


# ------------------------------------------------------------------------------------------- other implementations


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU:UserWarning")
@pytest.mark.parametrize(
    ("name", "theirs", "options"),
    [
        ("saliency", captum.attr.Saliency, {"abs": False}),
        ("input_x_gradient", captum.attr.InputXGradient, {}),
        ("integrated_gradients", captum.attr.IntegratedGradients, {"n_steps": 32}),
        ("guided_backprop", captum.attr.GuidedBackprop, {}),
    ],
)
def test_channels_equal_captum(name: str, theirs: Any, options: dict[str, Any]) -> None:
    """Where the definitions coincide, so do the numbers, channel by channel."""
    network, image = Relus().eval(), torch.randn(1, 2, 8, 7, 6)
    ours = {"baseline": "zero"} if name == "integrated_gradients" else {}

    found = apply_method(Inference(network, image), ClassLogit(2), method=name, options=ours)

    expected = theirs(network).attribute(image.clone().requires_grad_(), target=2, **options)[0].detach()
    assert relative_error(found.channels, expected) <= 1e-5


def test_smoothgrad_equals_captum_on_the_same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean over samples is captum's NoiseTunnel when it draws the same numbers."""
    network, image = Relus().eval(), torch.randn(1, 2, 8, 7, 6)
    generator = torch.Generator().manual_seed(5)
    drawn = torch.cat([torch.randn(image.shape, generator=generator) for _ in range(6)])
    sd = 0.3 * image.flatten(2).std(dim=2, correction=0).view(1, 2, 1, 1, 1)
    monkeypatch.setattr(torch, "normal", lambda *_: drawn * sd)

    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(network))
    expected = tunnel.attribute(image.clone(), nt_type="smoothgrad", nt_samples=6, stdevs=0.3, target=1, abs=False)[0]
    found = apply_method(
        Inference(network, image),
        ClassLogit(1),
        method="smoothgrad",
        options={"samples": 6, "noise": 0.3, "seed": 5},
    )

    assert relative_error(found.channels, expected.detach()) <= 1e-5


@pytest.mark.parametrize("overlap", [0.25, 0.5])
@pytest.mark.parametrize("pad_mode", ["constant", "reflect", "replicate"])
@pytest.mark.parametrize("shape", [SHAPE, (14, 6, 5)])
def test_gradient_through_windows_equals_the_full_graph(shape: tuple[int, ...], pad_mode: str, overlap: float) -> None:
    """One window at a time gives what autograd gives through MONAI's sliding window, padding included."""
    network, image = SmallUNet().eval(), torch.randn(1, 1, *shape)
    region = torch.zeros(shape, dtype=torch.bool)
    region[1:9, 2:6, 1:4] = True
    target = RegionMargin(1, region=region)
    plan = sliding(shape, overlap=overlap, pad_mode=pad_mode)

    found = apply_method(Inference(network, image, plan), target, method="saliency")

    leaf = image.clone().requires_grad_()
    output = sliding_window_inference(leaf, SIZE, 2, network, overlap=overlap, mode="gaussian", padding_mode=pad_mode)
    (expected,) = torch.autograd.grad(target(output), leaf)
    assert relative_error(found.values, expected[0, 0]) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_one_window_equals_the_plain_map_and_known_logits_change_nothing(name: str) -> None:
    """Every method goes through the same windows."""
    network, image = SmallUNet(), torch.randn(1, 1, 8, 8, 8)
    plain = apply_method(Inference(network, image), RegionMargin(1), method=name)
    sliding_one = Inference(network, image, sliding((8, 8, 8)))
    several = Inference(network, image, sliding((8, 8, 8), (8, 8, 4)))

    assert relative_error(apply_method(sliding_one, RegionMargin(1), method=name).values, plain.values) <= 1e-6
    alone = apply_method(several, RegionMargin(1), method=name)
    given = apply_method(several, RegionMargin(1), method=name, logits=several.logits())
    assert relative_error(given.values, alone.values) <= 1e-6
    assert given.score == pytest.approx(alone.score)


@pytest.mark.parametrize(("name", "options"), [("smoothgrad", {"samples": 2}), ("integrated_gradients", {"steps": 2})])
def test_windows_that_the_target_does_not_look_at_are_not_run_again(
    name: str, options: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a head most windows hold nothing of a lesion; leaving them out must not change a single bit."""
    network, image = SmallUNet().eval(), torch.randn(1, 1, 24, 8, 8)
    region = torch.zeros((24, 8, 8), dtype=torch.bool)
    region[1:4, 2:6, 1:4] = True
    inference = Inference(network, image, Windows.sliding((24, 8, 8), (8, 8, 8), overlap=0))
    inference.logits()  # what is probed once is not counted
    runs = list[int]()
    network.register_forward_pre_hook(lambda *_: runs.append(1))

    found = apply_method(inference, RegionMargin(1, region=region), method=name, options=options)
    few = len(runs)
    monkeypatch.setattr(gradients, "reached_windows", lambda plan, _targets: set(range(len(plan))))
    expected = apply_method(inference, RegionMargin(1, region=region), method=name, options=options)

    assert np.array_equal(found.values, expected.values)
    assert found.notes == expected.notes
    others = 2 if name == "smoothgrad" else 3  # images that are not the scan: samples, or steps and the baseline
    assert len(runs) - few - few == 2 * others  # two of three windows, once for each


def test_memory_does_not_grow_with_the_windows() -> None:
    """What is stored for the backward pass at any time is that of one window."""
    network = SmallUNet()
    parameters = {p.data_ptr() for p in network.parameters()}

    def stored(depth: int) -> int:
        alive = highest = 0

        class Held:
            def __init__(self, tensor: Tensor) -> None:
                nonlocal alive, highest
                self.tensor, self.size = tensor, 0 if tensor.data_ptr() in parameters else tensor.nbytes
                alive += self.size
                highest = max(highest, alive)

            def __del__(self) -> None:
                nonlocal alive
                alive -= self.size

        image = torch.randn(1, 1, depth, 8, 8)
        with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
            apply_method(
                Inference(network, image, Windows.sliding(image.shape[2:], (8, 8, 8), overlap=0)),
                ClassSum(),
                method="saliency",
            )
        return highest

    # the target's own graph is over all voxels; it is a sum here, which stores nothing
    assert stored(64) == stored(16)


class ClassSum:
    """The sum of the first channel."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the sum."""
        return logits[:, 0].sum()

    def describe(self, _logits: Tensor) -> str:
        """Name it."""
        return "sum"


# ------------------------------------------------------------------------------------------------- guided backprop


class Functional(nn.Module):
    """The same classifier with one activation that no hook on modules can see, and one without a rule."""

    def __init__(self, inner: Relus, last: Any = torch.relu) -> None:
        super().__init__()
        self.inner, self.last = inner, last

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        x = functional.relu(self.inner.conv1(image), inplace=True)
        x = self.last(self.inner.conv2(x))
        return self.inner.linear(x.square().mean(dim=(2, 3, 4)))


def test_functional_and_in_place_activations_are_guided_too() -> None:
    """Hooks on modules, which others use, would give the plain gradient here without a word."""
    inner, image = Relus().eval(), torch.randn(1, 2, 8, 7, 6)
    expected = apply_method(Inference(inner, image), ClassLogit(0), method="guided_backprop")

    found = apply_method(Inference(Functional(inner), image), ClassLogit(0), method="guided_backprop")

    assert relative_error(found.channels, expected.channels) <= 1e-6
    assert found.notes == expected.notes
    assert found.notes[0] == "Guided activations: relu."
    assert "fails sanity checks" in found.notes[-1]


def test_monai_unet_is_guided() -> None:
    """Its PReLU is not a ReLU for hooks that look for one; the rule holds there as well."""
    network = UNet(3, 1, 2, channels=(4, 8), strides=(2,), num_res_units=1).eval()
    inference = Inference(network, torch.randn(1, 1, 8, 8, 8))

    guided = apply_method(inference, RegionMargin(1), method="guided_backprop")
    plain = apply_method(inference, RegionMargin(1), method="saliency")

    assert guided.notes[0] == "Guided activations: prelu."
    assert relative_error(guided.values, plain.values) > 0.1


@pytest.mark.parametrize(
    ("activation", "slope"),
    [
        (nn.ReLU(), lambda x: (x > 0).float()),
        (nn.PReLU(init=0.25), lambda x: torch.where(x > 0, 1.0, 0.25)),
        (nn.LeakyReLU(0.1), lambda x: torch.where(x > 0, 1.0, 0.1)),
        (nn.ELU(), lambda x: torch.where(x > 0, torch.ones(()), x.exp())),
    ],
    ids=["relu", "prelu", "leaky", "elu"],
)
def test_every_rule_lets_positive_gradients_through_with_the_slope(activation: nn.Module, slope: Any) -> None:
    """By hand: T = sum of w f(x), so the map is relu(w) f'(x)."""
    image, linear = torch.randn(1, 1, 3, 4, 5), nn.Linear(60, 1)
    network = nn.Sequential(activation, nn.Flatten(), linear)

    found = apply_method(Inference(network, image), ClassLogit(0), method="guided_backprop")

    weights = linear.weight.detach().view(3, 4, 5)
    assert bool((weights < 0).any())
    np.testing.assert_allclose(found.values, (weights.relu() * slope(image[0, 0])).numpy(), atol=1e-6)


def test_activations_without_a_rule_are_named_or_refused() -> None:
    """A map that is guided in part, or not at all, must not pass for guided."""
    inner, image = Relus().eval(), torch.randn(1, 2, 8, 7, 6)

    mixed = apply_method(Inference(Functional(inner, functional.gelu), image), ClassLogit(0), method="guided_backprop")

    assert "no rule for them: gelu." in mixed.notes[1]
    smooth = nn.Sequential(nn.Flatten(), nn.Linear(8, 2), nn.GELU())
    with pytest.raises(ExplainError, match=r"needs ReLU-like activations.*\(only gelu\).*saliency"):
        apply_method(Inference(smooth, torch.ones(1, 1, 2, 2, 2)), ClassLogit(0), method="guided_backprop")


# ----------------------------------------------------------------------------------------- networks of other kinds


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_torchscript_gives_the_same_map_or_is_refused(name: str) -> None:
    """Gradients need no hooks; guided backprop has to see the activations and says so."""
    network, image = Relus().eval(), torch.randn(1, 2, 8, 7, 6)
    script = torch.jit.trace(network, image)

    if name == "guided_backprop":
        with pytest.raises(ExplainError, match=r"TorchScript.*choose one of: saliency, smoothgrad"):
            apply_method(Inference(script, image), ClassLogit(1), method=name)
        return
    found = apply_method(Inference(script, image), ClassLogit(1), method=name)

    expected = apply_method(Inference(network, image), ClassLogit(1), method=name)
    assert relative_error(found.channels, expected.channels) <= 1e-5


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_that_ends_in_a_softmax_is_read_through_it() -> None:
    """No hook shows the logits, but the logarithms of the probabilities have the same margins."""
    inner, image = voxel_head(HEAD).eval(), torch.randn(1, 3, 4, 4, 4)
    script = torch.jit.trace(nn.Sequential(inner, nn.Softmax(dim=1)), image)

    found = apply_method(Inference(script, image), FromProbabilities(RegionMargin(1)), method="saliency")

    expected = apply_method(Inference(inner, image), RegionMargin(1), method="saliency")
    assert relative_error(found.values, expected.values) <= 1e-5


def test_a_network_that_cannot_be_differentiated_is_refused() -> None:
    """The message says why, and what works instead."""

    class Rounded(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image.detach().flatten(1)[:, :2]

    for network in (Rounded(), Checkpointed(reentrant=True)):
        with pytest.raises(ExplainError, match=r"does not depend on the image through gradients.*occlusion"):
            apply_method(Inference(network, torch.ones(1, 1, 4, 4, 4)), ClassLogit(0), method="saliency")


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("smoothgrad", {"samples": 0}, r"'samples' of smoothgrad must be at least 1; found 0"),
        ("smoothgrad", {"noise": -1.0}, r"'noise' of smoothgrad must be at least 0"),
        ("smoothgrad", {"noise": float("nan")}, r"found nan"),
        ("integrated_gradients", {"steps": 0}, r"'steps'"),
        ("integrated_gradients", {"baseline": "grey"}, r"no baseline .*'grey'.*minimum, mean, blur, zero"),
    ],
)
def test_wrong_options_are_refused(method: str, options: dict[str, Any], message: str) -> None:
    """They would give a map of something else, or none."""
    with pytest.raises(ExplainError, match=message):
        apply_method(Inference(Cubic(), torch.ones(1, 1, 2, 2, 2)), ClassLogit(0), method=method, options=options)


def test_a_map_without_evidence_says_so() -> None:
    """A flat or negative map is not stretched to hot."""
    image = torch.ones(1, 1, 4, 4, 4)

    against = apply_method(Inference(pooled_linear([[-1.0]]), image), ClassLogit(0), method="saliency")
    dead = apply_method(Inference(pooled_linear([[0.0]]), image), ClassLogit(0), method="saliency")

    assert against.notes == ("The map holds no positive evidence for the target.",)
    assert dead.notes[0].startswith("All gradients are zero")


def test_cancelling_stops() -> None:
    """Progress comes with every window of every sample."""
    inference = Inference(SmallUNet(), torch.randn(1, 1, *SHAPE), sliding())
    seen: list[tuple[str, int, int]] = []

    def stop(*step: Any) -> None:
        seen.append(step)
        if step[0] == "Explaining" and step[1] >= 5:
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        apply_method(inference, RegionMargin(1), method="smoothgrad", options={"samples": 3}, progress=stop)
    assert seen[-1][1] == 5


@pytest.mark.parametrize("windows", [None, sliding()])
def test_progress_counts_passes_through_the_network(windows: Windows | None) -> None:
    """What is foretold from the first passes is true only if each step is one; windows off the target cost nothing."""
    network = SmallUNet()
    shape = SHAPE if windows else SIZE
    inference = Inference(network, torch.randn(1, 1, *shape), windows)
    region = torch.zeros(shape, dtype=torch.bool)
    region[0, 0, 0] = True  # in the first window alone
    passes: list[str] = []
    stage = ""

    def note(now: str, done: int, total: int) -> None:
        nonlocal stage
        stage, seen[now] = now, (done, total)

    seen: dict[str, tuple[int, int]] = {}
    network.register_forward_hook(lambda *_: passes.append(stage))
    target = RegionMargin(1, region=region)
    apply_method(inference, target, method="smoothgrad", options={"samples": 3}, progress=note)

    expected = 3 if windows is None else 6
    assert seen["Explaining"] == (expected, expected)
    assert passes.count("Explaining") == expected


@pytest.mark.parametrize(
    "network",
    [
        resnet10(spatial_dims=3, n_input_channels=1, num_classes=2),
        DenseNet121(spatial_dims=3, in_channels=1, out_channels=2, init_features=8, growth_rate=4, block_config=(1, 1)),
    ],
    ids=["resnet", "densenet"],
)
def test_networks_with_in_place_activations_equal_captum(network: nn.Module) -> None:
    """Nothing that is overwritten along the way is needed."""
    image = torch.randn(1, 1, 32, 32, 32)

    found = apply_method(Inference(network, image), ClassLogit(1), method="saliency")

    expected = captum.attr.Saliency(network.eval()).attribute(image.clone().requires_grad_(), target=1, abs=False)
    assert relative_error(found.values, expected[0, 0].detach()) <= 1e-5


def test_settling_a_target_without_a_choice_gives_itself() -> None:
    """A logit asks the same whatever the image holds."""
    target = ClassLogit(1)

    assert settled(target, torch.zeros(1, 2)) == target


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("saliency", {}),
        ("smoothgrad", {"samples": 2}),
        ("integrated_gradients", {"steps": 3}),
        ("occlusion", {"size": 4}),
    ],
)
def test_frozen_torchscript_gives_the_maps_of_its_network(method: str, options: dict[str, int]) -> None:
    """Freezing makes constants of the weights and takes away ``training``; what can be asked stays the same."""
    network = nn.Sequential(nn.ReLU(), pooled_linear([[1.0, 2.0], [3.0, -1.0]], bias=[0.5, 0.0])).eval()
    frozen = torch.jit.freeze(torch.jit.script(network))
    image = torch.linspace(-1, 1, 512).view(1, 1, 8, 8, 8)

    found, known = (
        apply_method(Inference(one, image), ClassLogit(1), method=method, options=options) for one in (frozen, network)
    )

    assert known.values.any()
    torch.testing.assert_close(torch.from_numpy(found.values), torch.from_numpy(known.values), rtol=1e-5, atol=1e-7)
    assert not hasattr(frozen, "training")


@pytest.mark.parametrize(("kind", "near"), [(torch.bfloat16, True), (torch.bfloat16, False), (torch.float32, False)])
def test_a_map_that_low_precision_keeps_from_adding_up_names_the_type(kind: torch.dtype, *, near: bool) -> None:
    """More steps do not help where the rise is as small as the distance of two numbers; in float32 they do."""
    network = nn.Sequential(nn.Hardtanh(0.4, 0.6), pooled_linear([[1.0], [1.0]], bias=[0.0, 100.0 if near else 0.0]))
    image = torch.full((1, 1, 4, 4, 4), 1.0)

    found = apply_method(
        Inference(network.to(kind), image.to(kind)),
        ClassLogit(1),
        method="integrated_gradients",
        options={"steps": 1, "baseline": "zero"},
    )

    (advice,) = [note for note in found.notes if "does not add up" in note]
    assert ("in bfloat16" in advice) == (kind == torch.bfloat16)
    assert ("more steps" in advice) == (not near)
