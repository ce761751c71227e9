"""Networks and layers of unusual build: each map is that of float64 autograd, or the layer is refused by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from lesionlens.errors import ExplainError
from lesionlens.explain import ClassLogit, Inference, apply_method, default_layer
from tiny_networks import state_of

IMAGE = torch.rand(1, 1, 6, 5, 4, generator=torch.Generator().manual_seed(3))


def _conv(channels: int, padding: int = 1) -> nn.Module:
    return nn.Conv3d(channels, 4, 3, padding=padding)


class Odd(nn.Module):
    """Two convolutions and a head that is not linear, with something unusual between them."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], middle: nn.Module | None = None) -> None:
        super().__init__()
        self.first, self.second, self.head = _conv(1), _conv(4), nn.Linear(4, 3)
        self.middle = middle or nn.Identity()
        self._run = forward

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (1, 3)."""
        return self.head(torch.tanh(self._run(self, x)).mean((2, 3, 4)))


class Empty(nn.Module):
    """Gives no channel."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 0, *spatial)."""
        return x[:, :0]


def _loop(net: Any, x: Tensor) -> Tensor:
    x = net.first(x)
    for layer in net.middle:
        x = torch.sigmoid(layer(x))
    return x


def _residual(net: Any, x: Tensor) -> Tensor:
    features = net.first(x).relu()
    return 2 * net.middle(features) + torch.sin(3 * features)


def _used_before(net: Any, x: Tensor) -> Tensor:
    features = net.first(x).relu()
    beside = torch.sin(3 * features)
    return 2 * net.middle(features) + beside


def _overwritten_behind(net: Any, x: Tensor, norm: nn.Module | None = None) -> Tensor:
    features = net.first(x) if norm is None else norm(net.first(x))
    beside = net.second(features + 1)
    return net.middle(features).sigmoid_() + beside * torch.sin(features)


def _overwritten_twin(net: Any, x: Tensor, norm: nn.Module | None = None) -> Tensor:
    features = net.first(x) if norm is None else norm(net.first(x))
    after = net.middle(features).sigmoid()
    return after + net.second(features + 1) * torch.sin(after)


def _used_after_twin(net: Any, x: Tensor) -> Tensor:
    features = net.middle(net.first(x))
    return net.second(features) + torch.sin(3 * features)


def _halved(net: Any, x: Tensor) -> Tensor:
    one, other = net.first(x).chunk(2, dim=1)
    beside = torch.sin(one)
    return net.second(torch.cat((net.middle(one) * other, one + beside), dim=1))


def _written_into(net: Any, x: Tensor) -> Tensor:
    features = net.first(x)
    same = net.middle(features)
    features += 1.0
    return net.second(same)


def _used_after(net: Any, x: Tensor) -> Tensor:
    features = net.first(x)
    return net.second(net.middle(features)) + torch.sin(3 * features)


class Counting(nn.Module):
    """Counts its calls in one buffer, and puts a running mean in the place of another."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Tensor
        self.mean: Tensor
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, *spatial) as it is, doubled."""
        self.calls += 1
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean()
        return 2 * x


def _fourier(net: Any, x: Tensor) -> Tensor:
    features = net.middle(net.first(x))
    waves = torch.fft.rfftn(features, dim=(2, 3, 4))
    waves[..., 1:] = 0
    return net.second(features) + torch.fft.irfftn(waves, s=features.shape[2:], dim=(2, 3, 4))


def _plain(net: Any, x: Tensor) -> Tensor:
    return net.second(net.middle(net.first(x)))


def _checkpointed(net: Any, x: Tensor, *, reentrant: bool = False) -> Tensor:
    return checkpoint(lambda y: net.second(y).sigmoid(), net.middle(net.first(x)), use_reentrant=reentrant)


def _overwritten(net: Any, x: Tensor) -> Tensor:
    features = net.middle(net.first(x)).relu()
    features[:, 0] = 0
    return net.second(features)


def _functional(net: Any, x: Tensor) -> Tensor:
    doubled = {name: 2 * weights for name, weights in net.middle.named_parameters()}
    return torch.func.functional_call(net.middle, doubled, (net.first(x),))


def _blocks() -> nn.ModuleList:
    return nn.ModuleList([_conv(4), parametrizations.weight_norm(_conv(4)), parametrizations.spectral_norm(_conv(4))])


EXACT = {
    "list in a loop": (lambda: Odd(_loop, _blocks()), "middle.0"),
    "weight norm": (lambda: Odd(_loop, _blocks()), "middle.1"),
    "spectral norm": (lambda: Odd(_loop, _blocks()), "middle.2"),
    "identity beside a residual": (lambda: Odd(_residual), "middle"),
    "dropout of what was used before": (lambda: Odd(_used_before, nn.Dropout3d(0.5)), "middle"),
    "dropout that is overwritten behind": (lambda: Odd(_overwritten_behind, nn.Dropout3d(0.5)), "middle"),
    "view that is used before and overwritten behind": (
        lambda: Odd(lambda n, x: _overwritten_behind(n, x, nn.InstanceNorm3d(4)), nn.Dropout3d(0.5)),
        "middle",
    ),
    "one of several views": (lambda: Odd(_halved), "middle"),
    "identity that is overwritten by another path": (lambda: Odd(_written_into), "middle"),
    "image that is handed on": (lambda: Odd(lambda n, x: n.first(n.middle(x)) + torch.sin(x)), "middle"),
    "in place, and used after": (lambda: Odd(_used_after, nn.ReLU(inplace=True)), "middle"),
    "buffers that are updated": (lambda: Odd(_plain, Counting()), "first"),
    "Fourier skip": (lambda: Odd(_fourier), "middle"),
    "checkpointed tail": (lambda: Odd(_checkpointed, _conv(4)), "middle"),
    "weights of a function": (lambda: Odd(_functional, _conv(4)), "middle"),
    "compiled": (lambda: torch.compile(Odd(_plain, _conv(4)), backend="eager"), "middle"),
    "channels last": (lambda: Odd(_plain, _conv(4)).to(memory_format=torch.channels_last_3d), "middle"),
}


# Networks that write into the tensor of the layer, as they would be without that.
TWINS = {
    "in place, and used after": lambda: Odd(_used_after_twin, nn.ReLU()),
    "dropout that is overwritten behind": lambda: Odd(_overwritten_twin),
    "view that is used before and overwritten behind": lambda: Odd(
        lambda n, x: _overwritten_twin(n, x, nn.InstanceNorm3d(4))
    ),
    "identity that is overwritten by another path": lambda: Odd(lambda n, x: n.second(n.middle(n.first(x)) + 1.0)),
}


def _reference(network: nn.Module, layer: str) -> np.ndarray:
    """Return HiResCAM by the whole graph of the tensor that the layer gives, in float64."""
    network = copy.deepcopy(getattr(network, "_orig_mod", network)).double().eval()
    seen: list[Tensor] = []
    network.get_submodule(layer).register_forward_hook(lambda _module, _args, output: seen.append(output))
    logits = network(IMAGE.double().requires_grad_())
    (gradient,) = torch.autograd.grad(logits[0, 1], seen)
    return (gradient * seen[0]).sum(dim=1)[0].detach().numpy()


@pytest.mark.parametrize("name", EXACT)
def test_the_map_is_that_of_float64_autograd(name: str) -> None:
    """A layer that hands on what it was given (nn.Identity) gives a tensor that other paths use, before it or after."""
    make, layer = EXACT[name]
    torch.manual_seed(0)
    network = make().eval()
    before = state_of(network)
    found = apply_method(Inference(network, IMAGE), ClassLogit(1), method="hirescam", layer=layer).values
    assert state_of(network) == before

    twin = TWINS[name]() if name in TWINS else network
    if twin is not network:
        twin.load_state_dict(network.state_dict())
    expected = _reference(twin, layer)

    assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()  # float32 over some hundred products


REFUSED = {
    "no channel": (lambda: Odd(lambda n, x: n.first(x) + n.middle(n.first(x)).sum(), Empty()), "middle", "no channel"),
    "TorchScript layer": (lambda: Odd(_plain, torch.jit.script(nn.ReLU())), "middle", "'middle' is a TorchScript"),
    "reentrant checkpointing behind": (
        lambda: Odd(lambda n, x: _checkpointed(n, x, reentrant=True)),
        "first",
        r"cannot be differentiated behind layer 'first' \(.*use_reentrant",
    ),
    "overwritten values": (lambda: Odd(_overwritten), "first", r"cannot be differentiated .*inplace"),
    "lazy weights": (lambda: Odd(_plain, nn.LazyConv3d(4, 3, padding=1)), "middle", "weights do not exist yet"),
}


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_explained_is_refused_by_name(name: str) -> None:
    """An error of torch would not say what to do."""
    make, layer, words = REFUSED[name]
    network = make().eval()
    with pytest.raises(ExplainError, match=words):
        apply_method(Inference(network, IMAGE), ClassLogit(1), layer=layer)
    assert not any(
        module._forward_hooks for module in network.modules() if not isinstance(module, torch.jit.ScriptModule)
    )


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_layers_beside_torchscript_are_explained() -> None:
    """One compiled block must not rule out the others, nor the choice of a layer."""
    torch.manual_seed(0)
    network = Odd(_plain, torch.jit.script(nn.Sequential(_conv(4), nn.Tanh()))).eval()
    layer, _ = default_layer(network, (1, 1, 32, 32, 32))
    found = apply_method(Inference(network, IMAGE), ClassLogit(1), method="hirescam", layer="first").values
    expected = _reference(network, "first")

    assert layer == "second"
    assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()
