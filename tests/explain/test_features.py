from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data.utils import compute_importance_map
from monai.inferers import sliding_window_inference
from torch import Tensor, nn
from torch.nn import functional

from lesionlens.errors import ExplainError
from lesionlens.explain import ClassLogit, Inference, RegionMargin, Windows, apply_method
from lesionlens.methods import METHODS
from tiny_networks import SmallUNet, pooled_linear, voxel_head

NAMES = [name for name, info in METHODS.items() if info.family == "features"]


def features(network: nn.Module, image: Tensor, name: str, layer: str = "features", **options: Any) -> Any:
    """Return the map of a method of this family."""
    return apply_method(Inference(network, image), ClassLogit(0), method=name, layer=layer, options=options)


def channels(n: int) -> nn.Module:
    """Return a network whose layer ``features`` holds the channels of the image."""
    return voxel_head([[1.0] * n, [0.0] * n])


# ---------------------------------------------------------------------------------------------------- closed forms


def test_mean_and_channels_are_those_of_the_layer() -> None:
    """Channel k of this layer is (k + 1) x."""
    image = torch.randn(1, 1, 3, 4, 5)
    network = pooled_linear([[1.0, 1.0, 1.0]])

    mean = features(network, image, "activation_mean")
    second = features(network, image, "activation_channel", channel=1)
    strongest = features(network, image, "activation_strongest")
    weakest = features(network, image, "activation_strongest", rank=3)

    np.testing.assert_allclose(mean.values, 2 * image[0, 0].numpy(), rtol=1e-6)
    np.testing.assert_allclose(second.values, 2 * image[0, 0].numpy(), rtol=1e-6)
    np.testing.assert_allclose(strongest.values, 3 * image[0, 0].numpy(), rtol=1e-6)
    np.testing.assert_allclose(weakest.values, image[0, 0].numpy(), rtol=1e-6)
    assert "2 (64.3 %), 1 (28.6 %), 0 (7.14 %)" in strongest.notes[1]  # 9, 4 and 1 of 14
    assert (mean.kind, mean.target, mean.score, mean.layer) == ("feature", "", None, "features")


def test_values_below_zero_are_said() -> None:
    """Behind a ReLU there are none, and the display needs no second colour."""
    image = torch.randn(1, 1, 3, 4, 5)

    assert features(pooled_linear([[1.0]]), image, "activation_mean").signed
    assert not features(pooled_linear([[1.0]]), image.abs(), "activation_mean").signed


def test_components_equal_those_of_a_singular_value_decomposition() -> None:
    """Values, centring and explained variance, up to the sign."""
    image = torch.randn(1, 4, 5, 6, 7) * torch.tensor([4.0, 2.0, 1.0, 0.5]).view(1, 4, 1, 1, 1) + 3
    cells = image[0].flatten(1).T.numpy()
    left, scales, _ = np.linalg.svd((cells - cells.mean(axis=0)).astype(np.float64), full_matrices=False)
    expected, share = left * scales, 100 * scales[0] ** 2 / (scales**2).sum()

    for number in (1, 2, 4):
        found = features(channels(4), image, "activation_components", component=number)

        theirs = expected[:, number - 1].reshape(5, 6, 7)
        sign = np.sign((found.values * theirs).sum())
        np.testing.assert_allclose(found.values, sign * theirs, atol=1e-4)
        assert f"the first explain {share:.3g} %" in found.notes[0]
        assert f"Principal component {number} of 4" in found.notes[0]


@pytest.mark.parametrize("turn", [1.0, -1.0])
def test_the_sign_of_a_component_follows_the_activation(turn: float) -> None:
    """High is where the layer is active, whatever sign the decomposition came out with."""
    bright = torch.zeros(5, 6, 7)
    bright[1:3, 2:4, 3:5] = 1.0
    image = torch.stack([turn * bright, 3 * bright, 0.1 * torch.randn(5, 6, 7)])[None]

    found = features(channels(3), image, "activation_components")

    assert found.values[bright.numpy() > 0].min() > found.values[bright.numpy() == 0].max()
    assert "rises with the mean activation" in found.notes[1]


def test_a_component_without_a_sign_says_so() -> None:
    """Where two channels only trade places the mean does not move, and no sign is better than the other."""
    left = torch.zeros(4, 4, 4)
    left[:2] = 1.0
    image = torch.stack([left, -left])[None]

    found = features(channels(2), image, "activation_components")

    assert "its sign means nothing" in found.notes[1]
    assert found.weights[np.abs(found.weights).argmax()] > 0


# -------------------------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize("name", NAMES)
def test_windows_are_blended_like_the_logits(name: str) -> None:
    """The map is that of MONAI's sliding window over the windows' own maps, with one choice for all of them."""
    network, image, size = SmallUNet().eval(), torch.randn(1, 1, 14, 9, 8), (8, 8, 8)
    plan = Windows.sliding((14, 9, 8), size, overlap=0.5, importance=compute_importance_map(size, mode="gaussian"))

    found = apply_method(Inference(network, image, plan), RegionMargin(1), method=name, layer="act")

    def window_map(view: Tensor) -> Tensor:
        activation = network.act(network.norm(network.down(network.enter(view))))
        coarse = (activation * torch.as_tensor(found.weights)[:, None, None, None]).sum(dim=1, keepdim=True)
        return functional.interpolate(coarse, size=size, mode="trilinear")

    with torch.no_grad():
        expected = sliding_window_inference(image, size, 1, window_map, overlap=0.5, mode="gaussian")[0, 0].numpy()
    offset = float((expected - found.values).mean()) if name == "activation_components" else 0.0  # its centre
    np.testing.assert_allclose(found.values, expected - offset, atol=1e-5 * np.abs(expected).max())
    assert found.coarse is None
    assert found.stride == (2.0, 2.0, 2.0)


def test_components_of_several_windows_are_those_of_all_their_cells() -> None:
    """Without overlap the cells of the windows are those of the image."""
    image = torch.randn(1, 3, 8, 4, 4) * torch.tensor([3.0, 2.0, 1.0]).view(1, 3, 1, 1, 1)
    whole = features(channels(3), image, "activation_components", component=2)

    inference = Inference(channels(3), image, Windows.sliding((8, 4, 4), (4, 4, 4), overlap=0))
    found = apply_method(
        inference, ClassLogit(0), method="activation_components", layer="features", options={"component": 2}
    )

    np.testing.assert_allclose(found.values, whole.values, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------- misuse


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("activation_channel", {"channel": 3}, r"no channel 3; the layer has 0 to 2"),
        ("activation_channel", {"channel": -1}, r"'channel' of activation_channel must be at least 0"),
        ("activation_strongest", {"rank": 4}, r"no rank 4; the layer has 1 to 3"),
        ("activation_components", {"component": 4}, r"no component 4; the layer has 1 to 3"),
    ],
)
def test_a_channel_that_is_not_there_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    """Python would count from the end, and show another channel."""
    with pytest.raises(ExplainError, match=message):
        features(channels(3), torch.randn(1, 3, 4, 4, 4), name, **options)


def test_several_layers_are_refused() -> None:
    """Channels of different layers have nothing in common."""
    with pytest.raises(ExplainError, match=r"single layer; found enter, act"):
        features(SmallUNet(), torch.randn(1, 1, 8, 8, 8), "activation_mean", layer="enter+act")


def test_activations_that_are_not_finite_are_refused() -> None:
    """A map with holes would look like one with dark places."""
    image = torch.ones(1, 1, 4, 4, 4)
    image[0, 0, 1, 1, 1] = torch.nan

    with pytest.raises(ExplainError, match="not finite"):
        features(pooled_linear([[1.0]]), image, "activation_strongest")
