from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from monai.networks.nets import UNet
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from lesionlens.explain import RegionMargin
from lesionlens.explain.budget import AliveBytes
from lesionlens.explain.capture import cut_at
from lesionlens.explain.frugal import FrugalConvolutions
from tiny_networks import SmallUNet


def _stored(run: Any, *parameters: Tensor) -> tuple[Any, int]:
    """Return what a call gives, and the bytes that its graph keeps besides parameters."""
    kept: dict[int, int] = {}
    weights, alive = {p.data_ptr() for p in parameters}, []

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        return run(), sum(kept.values())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_gradients_stay_the_same_to_the_last_bit(layout: torch.memory_format, dtype: torch.dtype) -> None:
    """Strides, groups, dilation and transposed convolutions; nothing but the weights enters a gradient."""
    network = nn.Sequential(
        nn.Conv3d(2, 4, 3, stride=2, padding=1),
        nn.PReLU(),
        nn.Conv3d(4, 4, 3, padding=2, dilation=2, groups=2),
        nn.ConvTranspose3d(4, 3, 3, stride=2, padding=1, output_padding=1),
        nn.Tanh(),
        nn.Conv3d(3, 2, (1, 3, 3), padding="same"),
    )
    network = network.to(dtype).requires_grad_(False)
    image = torch.rand(1, 2, 16, 16, 16).to(dtype).contiguous(memory_format=layout).requires_grad_()

    (expected,) = torch.autograd.grad(network(image).square().sum(), image)
    with FrugalConvolutions():
        output = network(image)
    (found,) = torch.autograd.grad(output.square().sum(), image)

    assert torch.equal(found, expected)


def _names(output: Tensor) -> set[str]:
    """Return the names of all steps of a graph."""
    found, waiting = set(), [output.grad_fn]
    while waiting:
        step = waiting.pop()
        found.add(step.name())
        waiting += [before for before, _ in step.next_functions if before is not None]
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_frozen_slope_gets_no_gradient_and_changes_no_bit(dtype: torch.dtype) -> None:
    """Values at, below and above 0 and of both signs of the slope; the slopes of channels stay as they are."""
    for slopes, leaky in (([0.3], True), ([-0.7], True), ([0.1, 0.2], False)):
        layer = nn.PReLU(len(slopes)).to(dtype).requires_grad_(False)
        layer.weight.copy_(torch.tensor(slopes))
        image = torch.linspace(-2, 2, 54).view(1, 2, 3, 3, 3).to(dtype)
        image[0, 0, 0, 0, :2] = torch.tensor([0.0, -0.0])
        seed = torch.linspace(3, -1, 54).view_as(image).to(dtype)
        results = []
        for mode in (nullcontext(), FrugalConvolutions()):
            leaf = image.clone().requires_grad_()
            with mode:
                output = layer(leaf)
            results.append((output.detach(), torch.autograd.grad(output, leaf, seed, retain_graph=True)[0]))
        assert all(torch.equal(*pair) for pair in zip(*results, strict=True))
        assert ("LeakyReluBackward0" in _names(output)) == leaky


def test_a_slope_that_learns_gets_its_gradient() -> None:
    """Whoever trains a network inside gets it."""
    layer, image = nn.PReLU(), torch.linspace(-2, 2, 27).view(1, 1, 3, 3, 3)

    with FrugalConvolutions():
        layer(image).sum().backward()

    assert layer.weight.grad.item() == pytest.approx(float(image.clamp(max=0).sum()))


def test_autocast_and_a_graph_that_is_kept() -> None:
    """The input is cast on the way in, and several targets are differentiated from one graph."""
    network = SmallUNet().requires_grad_(False)
    image = torch.rand(1, 1, 8, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        plain = network(image)
        with FrugalConvolutions():
            frugal = network(image)

    for channel in range(3):
        a, b = (torch.autograd.grad(out[:, channel].sum(), image, retain_graph=True)[0] for out in (plain, frugal))
        assert torch.equal(a, b)


def test_convolutions_keep_no_input() -> None:
    """Of conv and tanh the output of tanh alone is kept: 4 bytes for each of 2 x 1000 numbers."""
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.Tanh(), nn.Conv3d(2, 5, 1)).requires_grad_(False)
    image = torch.rand(1, 1, 10, 10, 10, requires_grad=True)

    def run() -> Tensor:
        with FrugalConvolutions():
            return network(image)

    assert _stored(run, *network.parameters())[1] == 4 * 2000
    assert _stored(lambda: network(image), *network.parameters())[1] == 4 * 3000  # tanh's output serves both


def test_weights_that_learn_keep_what_they_need() -> None:
    """Whoever trains a network inside gets its gradients."""
    layer, image = nn.Conv3d(1, 2, 3), torch.rand(1, 1, 6, 6, 6, requires_grad=True)

    layer(image).square().sum().backward()
    expected = layer.weight.grad.clone()
    layer.zero_grad()
    with FrugalConvolutions():
        layer(image).square().sum().backward()

    assert torch.equal(layer.weight.grad, expected)


def test_who_counts_stored_tensors_counts_the_same() -> None:
    """Checkpointing compares how many tensors are stored at first and again: its own are not touched."""
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.Tanh(), nn.Conv3d(2, 5, 1)).requires_grad_(False)
    image = torch.rand(1, 1, 10, 10, 10, requires_grad=True)

    with FrugalConvolutions():
        _, kept = _stored(lambda: network(image), *network.parameters())

    assert kept == 4 * 3000


def test_the_graph_of_a_unet_is_less_than_half_of_the_full_one() -> None:
    """Counted by what is alive, not by what was said to be stored: the cut graph of 60 % at most."""
    torch.manual_seed(0)
    network = UNet(3, 1, 2, channels=(8, 16, 32, 64), strides=(2, 2, 2), num_res_units=2).eval().requires_grad_(False)
    image = torch.rand(1, 1, 32, 32, 32)
    layer = "model.1.submodule.1.submodule.1.submodule"
    target = RegionMargin(1, region=torch.ones(32, 32, 32, dtype=torch.bool))

    with AliveBytes() as alive:
        leaf = image.clone().requires_grad_()
        full_output = network(leaf)
        full = alive.now
        expected = torch.autograd.grad(target(full_output), leaf)[0]
        del full_output, leaf
    with AliveBytes() as alive, cut_at(network, layer) as cut:
        logits, activation = cut.forward(image)
        held = alive.now
        gradient = torch.autograd.grad(target(logits), activation)[0]

    assert held < 0.5 * full
    assert bool(gradient.any())
    assert bool(expected.any())


class _Built(nn.Module):
    """Convolutions that are not what a layer of frozen weights is."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.enter, self.twice, self.how = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 4, 3, padding=1), how
        self.register_buffer("fixed", torch.rand(1, 4, 5, 5, 5))

    def forward(self, image: Tensor) -> Tensor:
        """Return any numbers that depend on the image."""
        x = torch.tanh(self.enter(image))
        kernel = torch.linspace(-1, 1, 432).view(4, 4, 3, 3, 3)
        built = {
            "input used again": lambda: self.twice(x) * x + functional.softplus(x),
            "weights shared": lambda: self.twice(torch.tanh(self.twice(x))),
            "weights from the image": lambda: functional.conv3d(x, kernel * x.mean()),
            "weights are the image": lambda: functional.conv3d(x, x),
            "image of the shape of the weights": lambda: functional.conv3d(x, self.fixed.new_ones(x.shape)),
            "fixed image": lambda: functional.conv3d(self.fixed, x[:, :, :3, :3, :3]),
            "no batch": lambda: functional.conv3d(x[0], kernel, padding="same"),
            "by name": lambda: functional.conv3d(weight=kernel, input=x, bias=x.mean(dim=(0, 2, 3, 4))),
        }
        found: Tensor = built[self.how]()
        return found.square()


@pytest.mark.parametrize(
    "how",
    [
        "input used again",
        "weights shared",
        "weights from the image",
        "weights are the image",
        "image of the shape of the weights",
        "fixed image",
        "no batch",
        "by name",
    ],
)
def test_convolutions_of_every_kind_keep_what_their_gradients_need(how: str) -> None:
    """Where something needs the values of the input, an empty place for them would give nonsense in silence."""
    network, image = _Built(how).requires_grad_(False), torch.rand(1, 1, 5, 6, 7, requires_grad=True)

    (expected,) = torch.autograd.grad(network(image).sum(), image)
    with FrugalConvolutions():
        output = network(image)
    (found,) = torch.autograd.grad(output.sum(), image)

    assert torch.equal(found, expected)
    assert bool(found.any())


class Watching(TorchFunctionMode):
    """A mode that changes nothing and counts what runs in it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = 0

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count a function and run it."""
        self.convolutions += func is torch.conv3d
        return func(*args, **(kwargs or {}))


class WithModes(nn.Module):
    """Two convolutions in a mode of the network's own, and one behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = (nn.Conv3d(1, 1, 3, padding=1) for _ in range(3))
        self.mode = Watching()

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits (N, 1, *spatial)."""
        with self.mode:
            inner = self.second(self.first(image))
        return self.head(inner)


@pytest.mark.parametrize("layer", ["first", "second", "head"])
def test_modes_of_the_network_end_as_they_began(layer: str) -> None:
    """Memory is saved from the layer on; where that lies within another mode, nothing may be left of either."""
    network, image = WithModes(), torch.rand(1, 1, 6, 6, 6)
    plain = network(image)
    network.mode.convolutions = 0
    depth = torch._C._len_torch_function_stack()

    with cut_at(network, layer) as cut:
        logits, activation = cut.forward(image)
        (gradient,) = torch.autograd.grad(logits.sum(), activation)

    assert torch.equal(logits, plain)
    assert network.mode.convolutions == 2
    assert torch._C._len_torch_function_stack() == depth
    assert bool(gradient.any())
