"""What holds for every method there is, and for those still to come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import DenseNet121, ResNet, UNet
from torch import Tensor, nn

from lesionlens.errors import Cancelled, ExplainError
from lesionlens.explain import ClassLogit, Inference, RegionMargin, Windows, apply_method, apply_to_targets
from lesionlens.methods import METHODS, Value
from tiny_networks import Overwriting, SmallUNet, pooled_linear, state_of

# Attention and detection need networks that have some: their own test modules have the same tests with such.
NAMES = [name for name, info in METHODS.items() if info.family not in ("attention", "detection")]

# Small enough for small images.
QUICK: dict[str, dict[str, Value]] = {
    "smoothgrad": {"samples": 2},
    "integrated_gradients": {"steps": 2},
    "occlusion": {"size": "4", "stride": "4"},
}


def small_densenet() -> nn.Module:
    """Return a classifier in which every activation is in place."""
    return DenseNet121(spatial_dims=3, in_channels=1, out_channels=2, init_features=8, growth_rate=4, block_config=(2,))


CASES: dict[str, tuple[Any, Any, tuple[int, ...], Windows | None]] = {
    "small U-Net through windows": (
        SmallUNet,
        RegionMargin(1),
        (12, 8, 8),
        Windows.sliding((12, 8, 8), (8, 8, 8), overlap=0.5),
    ),
    "MONAI U-Net": (lambda: UNet(3, 1, 2, channels=(4, 8), strides=(2,)), RegionMargin(1), (8, 8, 8), None),
    "MONAI DenseNet": (small_densenet, ClassLogit(1), (16, 16, 16), None),
    "MONAI ResNet": (
        lambda: ResNet("basic", [1, 1, 1, 1], [4, 4, 8, 8], n_input_channels=1, num_classes=2),
        ClassLogit(1),
        (32, 16, 16),
        None,
    ),
    "writes over its input": (lambda: nn.Sequential(Overwriting()), ClassLogit(1), (4, 4, 4), None),
}


def options_of(name: str) -> Mapping[str, Value]:
    """Return options that make a method quick."""
    return QUICK.get(name, {})


def suits(name: str, case: str) -> bool:
    """Whether a network has what a method needs."""
    if name == "cam":
        return CASES[case][1] == ClassLogit(1)  # it explains classifiers alone
    return not (name == "guided_backprop" and case == "writes over its input")  # it has no ReLU


def subject_for(name: str) -> tuple[Inference, ClassLogit | RegionMargin]:
    """Return what a method suits, with a layer ``act``: a segmentation through two windows, or a classifier."""
    image = torch.randn(1, 1, 12, 8, 8)
    if name != "cam":
        return Inference(SmallUNet().train(), image, Windows.sliding((12, 8, 8), (8, 8, 8))), RegionMargin(1)
    network = nn.Sequential()
    network.add_module("enter", nn.Conv3d(1, 4, 3))
    network.add_module("act", nn.ReLU())
    for place, module in enumerate((nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2))):
        network.add_module(f"end{place}", module)
    return Inference(network.train(), image), ClassLogit(1)


@pytest.mark.parametrize(("name", "case"), [(n, c) for n in NAMES for c in CASES if suits(n, c)])
def test_network_and_image_are_left_as_they_were(name: str, case: str) -> None:
    """No hook, gradient, flag, weight, random number or voxel is changed, and the map is raw float32 numbers."""
    make, target, shape, plan = CASES[case]
    network: nn.Module = make().train()
    for parameter in list(network.parameters())[::2]:
        parameter.requires_grad_(False)
    next(p for p in network.parameters() if p.requires_grad).grad = None
    image = torch.randn(1, 1, *shape)
    before, image_before = state_of(network), image.clone()

    with torch.no_grad():
        found = apply_method(Inference(network, image, plan), target, method=name, options=options_of(name))

    assert state_of(network) == before
    assert torch.equal(image, image_before)
    assert not image.requires_grad
    assert found.values.dtype == np.float32
    assert found.values.shape == shape
    assert np.isfinite(found.values).all()
    assert found.kind == METHODS[name].kind
    assert bool(found.target) == METHODS[name].takes_target


class Failing(nn.Module):
    """A network that fails in the middle, after it has changed its mode of working."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.calls = SmallUNet(), 0

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits twice, and then fail."""
        self.calls += 1
        if self.calls > 2:
            raise ValueError("out of order")
        return self.inner(image)


@pytest.mark.parametrize("name", NAMES)
def test_an_error_leaves_everything_as_it_was(name: str) -> None:
    """The next run of the same network must not suffer from this one."""
    network = Failing().train()
    image = torch.randn(1, 1, 24, 8, 8)
    inference = Inference(network, image, Windows.sliding((24, 8, 8), (8, 8, 8), overlap=0))
    before, image_before = state_of(network), image.clone()
    layer = "inner.act" if METHODS[name].takes_layer else None

    with pytest.raises(ValueError, match="out of order"):
        apply_method(inference, RegionMargin(1), method=name, layer=layer, options=options_of(name))

    assert state_of(network) == before
    assert torch.equal(image, image_before)


@pytest.mark.parametrize("name", NAMES)
def test_cancelling_leaves_everything_as_it_was(name: str) -> None:
    """Whoever stops at the last moment has the network that he had."""
    inference, target = subject_for(name)
    before = state_of(inference.network)
    layer = "act" if METHODS[name].takes_layer else None
    steps: list[tuple[str, int, int]] = []

    def run(stop_at: int | None) -> None:
        def progress(*step: Any) -> None:
            steps.append(step)
            if len(steps) == stop_at:
                raise Cancelled("stop")

        steps.clear()
        apply_method(inference, target, method=name, layer=layer, options=options_of(name), progress=progress)

    run(None)
    for stop_at in (1, len(steps) // 2, len(steps)):
        with pytest.raises(Cancelled, match="stop"):
            run(stop_at)
        assert state_of(inference.network) == before


@pytest.mark.parametrize("name", NAMES)
def test_values_that_are_not_finite_are_refused(name: str) -> None:
    """Zeros or holes in their place would look like an answer."""
    image = torch.ones(1, 1, 4, 4, 4)
    image[0, 0, 1, 2, 3] = torch.nan
    network = nn.Sequential()
    network.add_module("relu", nn.ReLU())
    network.add_module("rest", pooled_linear([[1.0], [2.0]]))

    with pytest.raises(ExplainError, match=r"not finite|cannot be explained"):
        apply_method(
            Inference(network, image),
            ClassLogit(0),
            method=name,
            layer="relu" if METHODS[name].takes_layer else None,
            options=options_of(name),
        )


@pytest.mark.parametrize("name", NAMES)
def test_the_callers_modes_change_nothing(name: str) -> None:
    """Under inference_mode the numbers are the same; under bfloat16 they are rounded, of float32 type all the same."""
    subject, target = subject_for(name)
    layer = "act" if METHODS[name].takes_layer else None

    def values(image: Tensor) -> Any:
        inference = Inference(subject.network, image, subject.windows)
        return apply_method(inference, target, method=name, layer=layer, options=options_of(name)).values

    expected = values(subject.image)
    with torch.inference_mode():
        inferred = values(subject.image.clone())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = values(subject.image)

    assert np.array_equal(inferred, expected)
    assert rounded.dtype == np.float32
    assert np.corrcoef(rounded.ravel(), expected.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("name", [name for name in NAMES if METHODS[name].takes_target])
def test_several_targets_have_the_maps_that_each_alone_has(name: str) -> None:
    """Passes that targets share must not mix them up."""
    inference, first = subject_for(name)
    targets = [first, replace(first, index=0)]
    chosen: dict[str, Any] = {"method": name, "options": options_of(name)}
    chosen["layer"] = "act" if METHODS[name].takes_layer else None

    together = apply_to_targets(inference, targets, **chosen)

    for found, target in zip(together, targets, strict=True):
        alone = apply_method(inference, target, **chosen)
        np.testing.assert_allclose(found.values, alone.values, atol=1e-5 * np.abs(alone.values).max())
        assert (found.target, found.score) == (alone.target, pytest.approx(alone.score, rel=1e-5))


@pytest.mark.parametrize("name", NAMES)
def test_two_dimensional_images_work_too(name: str) -> None:
    """Nothing in the engine needs three axes."""
    network = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    found = apply_method(
        Inference(network, torch.randn(1, 2, 8, 9)), ClassLogit(1), method=name, options=options_of(name)
    )

    assert found.values.shape == (8, 9)


@pytest.mark.parametrize("name", [name for name in METHODS if not METHODS[name].takes_layer])
def test_a_layer_is_refused_where_there_is_none(name: str) -> None:
    """A layer that is passed over would let somebody believe that the map is one of it."""
    with pytest.raises(ExplainError, match=r"explains the whole network; leave out the layer \('act'\)"):
        apply_method(Inference(SmallUNet(), torch.randn(1, 1, 8, 8, 8)), RegionMargin(1), method=name, layer="act")


class ChannelsLast(nn.Module):
    """A network of which one layer keeps its channels last, as those of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.mixed, self.head = nn.Conv3d(1, 6, 2, stride=2), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of two classes."""
        mixed = self.mixed(self.patch(image).movedim(1, -1).relu())
        logits: Tensor = self.head(mixed.mean(dim=(1, 2, 3)))
        return logits


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name].takes_layer])
def test_a_layer_that_keeps_its_channels_last_is_refused(name: str) -> None:
    """The map would have cells where the channels are, and look like any other."""
    inference = Inference(ChannelsLast(), torch.randn(1, 1, 16, 16, 16))
    before = state_of(inference.network)

    with pytest.raises(ExplainError, match="'mixed' does not keep its channels on the second axis"):
        apply_method(inference, ClassLogit(1), method=name, layer="mixed")

    assert state_of(inference.network) == before
    if name != "cam":  # what follows the layer is a ReLU
        assert apply_method(inference, ClassLogit(1), method=name, layer="patch").stride == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("targets", "layer", "message"),
    [
        ([1], None, r"A target is such as ClassLogit\(1\).*found 1\."),
        (ClassLogit(1), None, r"several are a list; found ClassLogit\(index=1"),
        ([], None, "at least one target"),
        ([ClassLogit(0)], nn.Conv3d(1, 2, 1), r"named as in network.named_modules\(\).*found Conv3d"),
    ],
)
def test_what_is_no_target_and_no_name_of_a_layer_is_refused(targets: Any, layer: Any, message: str) -> None:
    """Other packages take class numbers and modules; a traceback of Python would not say what is wanted here."""
    with pytest.raises(ExplainError, match=message):
        apply_to_targets(Inference(pooled_linear([[1.0]]), torch.rand(1, 1, 4, 4, 4)), targets, layer=layer)
