"""A network in fewer steps gives what it gave."""

from __future__ import annotations

import copy

import pytest
import torch
from monai.networks.nets import UNet
from torch import Tensor, nn

from lesionlens.model.engines.fused import NarrowUpsampling, PairedInput, fuse, is_fusible, pair_inputs
from lesionlens.model.engines.interface import EngineError
from lesionlens.model.engines.torch_engine import TorchFolded

# Sums of some hundred products in float32, in another order.
ROUNDING = 2e-5


def seasoned(network: nn.Module) -> nn.Module:
    """Return a network in eval mode whose batch norms have learnt something."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            for tensor, low in ((module.running_mean, -1.0), (module.running_var, 0.5), (module.weight.data, 0.5)):
                assert tensor is not None
                tensor.copy_(low + torch.rand(tensor.shape, generator=generator))
    return network.eval()


@pytest.mark.parametrize("units", [0, 2])
def test_batch_norms_are_folded_and_nothing_changes(units: int) -> None:
    """A UNet as bundles have it, plain and with residual units; the network that was copied stays as it was."""
    torch.manual_seed(0)
    network = seasoned(UNet(3, 1, 2, channels=(4, 6, 8), strides=(2, 2), num_res_units=units, norm="batch"))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    image = torch.randn(2, 1, 12, 16, 20)

    fused = copy.deepcopy(network)
    fuse(fused)

    with torch.no_grad():
        torch.testing.assert_close(fused(image), network(image), atol=ROUNDING, rtol=ROUNDING)
    assert not any(isinstance(module, nn.BatchNorm3d) for module in fused.modules())
    assert any(isinstance(module, NarrowUpsampling) for module in fused.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("bias", [True, False])
def test_narrow_upsampling_is_the_transposed_convolution(bias: bool) -> None:
    """Also at the faces, with axes of odd and of different lengths."""
    torch.manual_seed(0)
    layer = nn.ConvTranspose3d(5, 3, 3, stride=2, padding=1, output_padding=1, bias=bias)
    image = torch.randn(2, 5, 3, 4, 7)

    with torch.no_grad():
        torch.testing.assert_close(NarrowUpsampling(layer)(image), layer(image), atol=ROUNDING, rtol=ROUNDING)


def test_activations_overwrite_what_nobody_else_sees() -> None:
    """Behind convolutions, also with a dropout or an end of a part between; nowhere else, or inputs would change."""
    shared = nn.ReLU()
    network = nn.Sequential(
        nn.ReLU(),  # sees the image
        nn.Conv3d(1, 4, 3, padding=1),
        nn.Sequential(nn.Dropout(0.2), nn.LeakyReLU(0.1)),
        nn.Identity(),
        nn.ELU(),  # sees what an activation gave, and so might others
        nn.Conv3d(4, 4, 1),
        nn.InstanceNorm3d(4),
        nn.SiLU(),
        nn.Conv3d(4, 4, 1),
        shared,
        nn.Conv3d(4, 4, 1),
        shared,
    ).eval()
    network.append(nn.Conv3d(4, 4, 1)).append(nn.Mish())
    network[-1].register_forward_hook(lambda _module, args, output: output + args[0])
    image = torch.randn(1, 1, 4, 5, 6)
    before = image.clone()
    with torch.no_grad():
        expected = network(image)
        fuse(network)
        torch.testing.assert_close(network(image), expected, atol=0, rtol=0)

    assert torch.equal(image, before)
    assert [n for n, m in network.named_modules() if getattr(m, "inplace", False) is True] == ["2.1"]


@pytest.mark.parametrize("shape", [(6, 5, 8), (7, 4, 2), (3, 1, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_paired_inputs_are_the_convolution(bias: bool, shape: tuple[int, int, int]) -> None:
    """Also at the faces, and where the last axis has a voxel without a neighbour."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(1, 4, 3, stride=2, padding=1, bias=bias))
    image = torch.randn(2, 1, *shape)
    with torch.no_grad():
        expected = network(image)
        pair_inputs(network)
        for memory in (torch.contiguous_format, torch.channels_last_3d):
            given = image.contiguous(memory_format=memory)
            torch.testing.assert_close(network(given), expected, atol=ROUNDING, rtol=ROUNDING)
    assert isinstance(network[0], PairedInput)


def test_other_inputs_are_left_alone() -> None:
    """Another stride, kernel or padding, or more channels, need other weights."""
    assert PairedInput.suits(nn.Conv3d(1, 4, 3, stride=2, padding=1))
    assert not PairedInput.suits(nn.Conv3d(2, 4, 3, stride=2, padding=1))
    assert not PairedInput.suits(nn.Conv3d(1, 4, 3, stride=1, padding=1))
    assert not PairedInput.suits(nn.Conv3d(1, 4, 3, stride=2))
    assert not PairedInput.suits(nn.Conv3d(1, 4, 5, stride=2, padding=1))
    assert not PairedInput.suits(nn.Conv3d(1, 4, 3, stride=2, padding=1, padding_mode="reflect"))


class Beside(nn.Module):
    """Something that sees what lies between a convolution and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv3d(1, 1, 1), nn.BatchNorm3d(1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the norm's output and its input, added."""
        between = self.conv(image)
        return self.norm(between) + between  # type: ignore[no-any-return]


def _shared() -> nn.Module:
    conv = nn.Conv3d(1, 1, 1)
    return nn.Sequential(conv, nn.BatchNorm3d(1), conv, nn.ReLU())


def _watched() -> nn.Module:
    network = nn.Sequential(nn.Conv3d(1, 1, 1), nn.BatchNorm3d(1))
    network[0].register_forward_hook(lambda _module, _args, output: output + 1)
    return network


@pytest.mark.parametrize("make", [Beside, _shared, _watched])
def test_what_something_else_can_see_stays(make: type[nn.Module]) -> None:
    """Between a convolution and a norm that are not alone with each other nothing is folded, or the result changes."""
    torch.manual_seed(0)
    network = seasoned(make())
    image = torch.randn(1, 1, 4, 4, 4)
    with torch.no_grad():
        expected = network(image)
        fuse(network)
        torch.testing.assert_close(network(image), expected)
    assert any(isinstance(module, nn.BatchNorm3d) for module in network.modules())


@pytest.mark.parametrize("stride", [1, 2])
def test_other_upsampling_is_left_alone(stride: int) -> None:
    """Another kernel, or more channels, need other taps, or do not gain."""
    assert not NarrowUpsampling.suits(nn.ConvTranspose3d(2, 2, 2, stride=stride))
    assert not NarrowUpsampling.suits(nn.ConvTranspose3d(2, 8, 3, stride=2, padding=1, output_padding=1))
    assert not NarrowUpsampling.suits(nn.ConvTranspose3d(2, 2, 3, stride=2, padding=1, output_padding=0))
    assert not NarrowUpsampling.suits(nn.ConvTranspose2d(2, 2, 3, stride=2, padding=1, output_padding=1))


def test_nothing_to_fold_is_said() -> None:
    """A network without batch norms and narrow layers is refused, and not copied."""
    network = nn.Sequential(nn.Conv3d(1, 8, 3), nn.InstanceNorm3d(8), nn.ReLU())
    assert not is_fusible(network)
    with pytest.raises(EngineError, match="nothing in the network can be folded"):
        TorchFolded(network)


def test_a_folded_engine_leaves_the_network_alone() -> None:
    """The engine gives what the network gives, which still has its norms."""
    torch.manual_seed(0)
    network = seasoned(nn.Sequential(nn.Conv3d(1, 8, 3), nn.BatchNorm3d(8), nn.ReLU()))
    image = torch.randn(2, 1, 6, 7, 8)
    with torch.no_grad():
        torch.testing.assert_close(TorchFolded(network)(image), network(image), atol=ROUNDING, rtol=ROUNDING)
    assert isinstance(network[1], nn.BatchNorm3d)
