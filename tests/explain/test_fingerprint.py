from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from lesionlens.explain import Inference, RegionMargin, apply_method, default_layer
from lesionlens.explain.fingerprint import fingerprint


def _network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(1, 2, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 2)
    )


def _swapped(network: nn.Sequential) -> None:
    network[1] = nn.Tanh()


def _longer(network: nn.Sequential) -> None:
    network.append(nn.Identity())


def _strided(network: nn.Sequential) -> None:
    network[0].stride = (2, 2, 2)


def _hooked(network: nn.Sequential) -> None:
    network[0].register_forward_hook(lambda _m, _a, output: output[:, :1])


def _patched(network: nn.Sequential) -> None:
    network[1].forward = lambda x: x


def _double(network: nn.Sequential) -> None:
    network.double()


@pytest.mark.parametrize("change", [_swapped, _longer, _strided, _hooked, _patched, _double])
def test_what_changes_the_shapes_changes_the_number(change: Callable[[Any], None]) -> None:
    """A layer that was chosen for another structure would be the wrong one."""
    network = _network()
    before = fingerprint(network)

    change(network)

    assert fingerprint(network) != before


def test_weights_and_modes_do_not_count() -> None:
    """Learning and evaluating leave the shapes as they are."""
    network = _network()
    before = fingerprint(network)

    with torch.no_grad():
        network[0].weight.mul_(2)
    network.train()

    assert fingerprint(network) == before


def test_a_network_is_probed_once_until_it_changes() -> None:
    """The probe costs a fifth of a forward pass of a deep network."""
    network, sizes = _network(), []
    network.register_forward_hook(lambda _m, args, _o: sizes.append(args[0].shape))

    first = [default_layer(network, (1, 1, 64, 64, 64)) for _ in range(3)]
    assert len(sizes) == 1
    network[0] = nn.Conv3d(1, 2, 3, stride=2)
    network.insert(1, nn.Conv3d(2, 2, 3))

    assert [name for name, _ in first] == ["1"] * 3
    assert default_layer(network, (1, 1, 64, 64, 64))[0] == "2"
    assert len(sizes) > 1


def test_later_maps_run_the_network_once_each() -> None:
    """Hooks of a run are new ones every time; what was found out about the network must not be asked again for them."""
    network, images = nn.Sequential(nn.Conv3d(1, 3, 3, stride=3), nn.PReLU(), nn.Conv3d(3, 2, 1)), []
    network[0].register_forward_hook(lambda _m, args, _o: images.append(args[0].shape))
    inference, target = Inference(network, torch.randn(1, 1, 20, 20, 20)), RegionMargin(1)  # no whole number of cells
    first = apply_method(inference, target, layer="1")
    assert first.stride == (3.0, 3.0, 3.0)
    assert len(images) > 2
    assert first.weights is not None
    images.clear()

    again = apply_method(inference, target, layer="1")

    assert images == [inference.image.shape]
    assert (again.values == first.values).all()
