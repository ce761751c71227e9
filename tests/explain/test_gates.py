from __future__ import annotations

import pytest
import torch
from monai.networks.nets import AttentionUnet
from torch import Tensor, nn

from lesionlens.errors import ExplainError
from lesionlens.explain import ClassLogit, Inference, Windows, apply_method
from lesionlens.explain.gates import watching_gates
from tiny_networks import state_of

IMAGE = torch.rand((1, 1, 16, 16, 8), generator=torch.Generator().manual_seed(1))


def unet() -> AttentionUnet:
    """Return a seeded Attention U-Net with gates at strides 2 and 1."""
    torch.manual_seed(0)
    return AttentionUnet(3, 1, 2, (4, 8, 16), (2, 2)).eval()


def test_gate_times_input_is_the_blocks_output_bit_for_bit() -> None:
    """The map that is shown is the one that the network multiplied by, at each level."""
    network = unet()
    calls: dict[str, tuple[Tensor, Tensor]] = {}
    for name, module in network.named_modules():
        if type(module).__name__ == "AttentionBlock":
            module.register_forward_hook(
                lambda _m, _a, named, output, name=name: calls.update({name: (named["x"], output)}), with_kwargs=True
            )

    with watching_gates(network) as gates:
        found = gates.of(IMAGE.clone())

    assert list(found) == list(calls)
    assert len(found) == 2
    for name, (inputs, output) in calls.items():
        assert torch.equal(inputs * found[name], output)


@pytest.mark.parametrize(("gate", "stride"), [(0, 2.0), (1, 1.0), (-1, 1.0)])
def test_gate_at_full_size(gate: int, stride: float) -> None:
    """The finest gate comes as it is, a coarser one is brought to the voxels; the notes name it."""
    with watching_gates(unet()) as gates:
        expected = list(gates.of(IMAGE.clone()).values())[gate]

    found = apply_method(Inference(unet(), IMAGE), ClassLogit(1), method="attention_gates", options={"gate": gate})

    assert found.values.shape == (16, 16, 8)
    assert found.stride == (stride,) * 3
    assert found.coarse is not None
    assert torch.equal(torch.from_numpy(found.coarse), expected[0, 0])
    assert (found.kind, found.signed, found.target, found.score) == ("attention", False, "", None)
    assert "0 lets nothing through, 1 all" in found.notes[0]


def test_gates_through_windows_are_blended() -> None:
    """Windows side by side show each its own gate."""
    image = torch.cat([IMAGE, IMAGE.flip(2)], dim=2)
    halves = [apply_method(Inference(unet(), part), ClassLogit(1), method="attention_gates").values
              for part in (IMAGE, IMAGE.flip(2))]  # fmt: skip
    windows = Windows.sliding((32, 16, 8), (16, 16, 8), overlap=0.0)

    found = apply_method(Inference(unet(), image, windows), ClassLogit(1), method="attention_gates").values

    assert torch.equal(torch.from_numpy(found), torch.cat([torch.from_numpy(half) for half in halves]))


def test_network_is_left_as_it_was() -> None:
    """No hook or flag is left, also after an error."""
    network = unet().train()
    before, image = state_of(network), IMAGE.clone()

    apply_method(Inference(network, image), ClassLogit(1), method="attention_gates")
    with pytest.raises(ExplainError, match=r"no gate 2; 2 gates run \(0 to 1\)"):
        apply_method(Inference(network, image), ClassLogit(1), method="attention_gates", options={"gate": 2})

    assert state_of(network) == before
    assert torch.equal(image, IMAGE)


class Squeeze(nn.Module):
    """A gate for each channel, none for places."""

    def __init__(self) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Conv3d(1, 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted channels."""
        return x * self.weigh(x)


class Adding(nn.Module):
    """A map of one channel in [0, 1] that is added, not multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.psi = nn.Sequential(nn.Conv3d(1, 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        return x + self.psi(x)


@pytest.mark.parametrize("block", [Squeeze(), Adding(), nn.Sequential(nn.Conv3d(1, 1, 1), nn.Sigmoid())])
def test_what_only_looks_like_a_gate_is_none(block: nn.Module) -> None:
    """Channel gates, maps that are added and final sigmoids let nothing through and hold nothing back."""
    network = nn.Sequential(block, nn.Conv3d(1, 2, 1))

    with pytest.raises(ExplainError, match=r"has no attention gates.*'attention' for a transformer"):
        apply_method(Inference(network, IMAGE), ClassLogit(1), method="attention_gates")
