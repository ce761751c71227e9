from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import Tensor, nn

from lesionlens.errors import ExplainError
from lesionlens.explain.calling import NetworkError, main_output
from lesionlens.explain.capture import cut_at, hookable, quiet, unwrapped
from lesionlens.explain.final import reading_logits
from tiny_networks import Checkpointed, Odd, Overwriting, OverwrittenBehind, SmallUNet, pooled_linear, state_of

IMAGE = torch.linspace(-1, 1, 64).view(1, 1, 4, 4, 4)


def gradient_of_cut(network: nn.Module, layer: str, image: Tensor, channel: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, activation and the gradient of the summed channel."""
    with cut_at(network, layer) as cut:
        logits, activation = cut.forward(image.clone())
        (gradient,) = torch.autograd.grad(logits[:, channel].sum(), activation)
    return logits.detach(), activation.detach(), gradient


def gradient_of_full_graph(network: nn.Module, layer: str, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same from the whole graph of a copy in evaluation mode: no cut, no freezing."""
    network = copy.deepcopy(network).eval()
    outputs: list[Tensor] = []

    def store(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        outputs.append(output)
        return output.clone()  # in-place code that follows would change what was stored

    network.get_submodule(layer).register_forward_hook(store)
    logits = network(image.clone())
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), outputs[0])
    return logits.detach(), outputs[0].detach(), gradient


@contextmanager
def saved_bytes() -> Iterator[list[int]]:
    """Count the bytes that autograd stores for a backward pass."""
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


def untidy_network() -> SmallUNet:
    """Return a network with flags that no single switch could restore."""
    network = SmallUNet().train()
    network.norm.eval()
    network.down.weight.requires_grad_(False)
    network.head.bias.grad = torch.tensor([1.0, 2.0, 3.0])
    network.act.register_forward_hook(lambda *_: None)
    return network


@pytest.mark.parametrize("layer", ["enter", "down", "norm", "act", "up"])
def test_cut_gives_the_gradient_of_the_full_graph(layer: str) -> None:
    """Cutting the graph changes nothing of what is asked for, in front of, at and behind an in-place activation."""
    network, image = SmallUNet(), torch.randn(2, 1, 4, 4, 6)

    found = gradient_of_cut(network, layer, image)

    for value, expected in zip(found, gradient_of_full_graph(network, layer, image), strict=True):
        assert torch.equal(value, expected)


@pytest.mark.parametrize("layer", ["down", "norm", "act"])
def test_in_place_network_equals_its_out_of_place_copy(layer: str) -> None:
    """An in-place ReLU after the layer overwrites neither its activation nor its gradient."""
    image = torch.randn(1, 1, 4, 4, 4)

    found = gradient_of_cut(SmallUNet(inplace=True), layer, image)
    expected = gradient_of_cut(SmallUNet(inplace=False), layer, image)

    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_network_and_input_are_left_as_they_were() -> None:
    """Flags of every module, gradients, hooks, random state and weights survive an explanation."""
    network, image = untidy_network(), torch.randn(1, 1, 4, 4, 4)
    before, image_before = state_of(network), image.clone()

    gradient_of_cut(network, "act", image)

    assert state_of(network) == before
    assert torch.equal(image, image_before)


class _Keeping(nn.Module):
    """A network that stores what its layers gave, as networks with deep supervision do."""

    def __init__(self, mine: Tensor) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv3d(1, 2, 3, padding=1), nn.Conv3d(2, 2, 1)
        self.last: Tensor | None = None
        self.heads, self.mine = [torch.empty(0)], mine

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        self.last = self.conv(image)
        self.heads[0] = logits = self.head(self.last)
        return logits


def test_outputs_that_the_network_keeps_hold_no_graph() -> None:
    """A graph would hold the memory of a pass, and keep the network from being copied or saved."""
    mine = torch.ones(1, requires_grad=True) * 2  # the caller's own, recorded before
    network = _Keeping(mine)
    with cut_at(network, "conv") as cut:
        logits, _ = cut.forward(torch.ones(1, 1, 4, 4, 4))
        assert network.heads[0] is logits

    assert network.last is not None
    assert network.last.grad_fn is network.heads[0].grad_fn is None
    assert torch.equal(network.heads[0], logits)
    assert network.mine is mine
    assert mine.grad_fn is not None


def test_network_is_left_as_it_was_after_an_error() -> None:
    """An exception in the middle restores everything too."""
    network = untidy_network()
    before = state_of(network)

    with pytest.raises(NetworkError, match="expected input"), cut_at(network, "act") as cut:
        cut.forward(torch.randn(1, 5, 4, 4, 4))  # five channels instead of one

    assert state_of(network) == before


def test_inside_the_context_the_network_is_in_evaluation_mode_and_frozen() -> None:
    """The flags that are restored have really been changed in between, or the tests of restoring would show nothing."""
    network = untidy_network()

    with quiet(network):
        assert not any(module.training for module in network.modules())
        assert not any(parameter.requires_grad for parameter in network.parameters())


def test_networks_own_way_of_switching_modes_is_not_used() -> None:
    """Networks override ``train()`` to keep parts frozen or to fuse layers; that must happen when the user says so."""

    class Switching(SmallUNet):
        def train(self, mode: bool = True) -> nn.Module:
            raise AssertionError(f"train({mode}) was called")

    network = Switching()
    before = state_of(network)

    gradient_of_cut(network, "act", IMAGE)

    assert before["training"]["norm"]
    assert state_of(network) == before


def test_random_numbers_in_the_network_do_not_advance_the_callers() -> None:
    """A network that draws in evaluation mode does not change what its user draws next."""
    network = Overwriting()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)

    gradient_of_cut(network, "conv", IMAGE)

    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad, torch.inference_mode])
def test_caller_may_have_gradients_off(mode: type) -> None:
    """An explanation inside no_grad or inference_mode equals one outside, and leaves the mode on."""
    network = SmallUNet()
    _, _, expected = gradient_of_full_graph(network, "act", IMAGE)

    with mode():
        before = state_of(network)
        _, _, found = gradient_of_cut(network, "act", IMAGE)
        after = state_of(network)

    assert torch.equal(found, expected)
    assert before == after


def test_image_made_under_inference_mode_is_accepted() -> None:
    """Preprocessing often runs under inference_mode; its tensors cannot be differentiated as they are."""
    network = SmallUNet()
    with torch.inference_mode():
        image = IMAGE.clone()

    with cut_at(network, "act") as cut:
        logits, activation = cut.forward(image)
        (found,) = torch.autograd.grad(logits[:, 1].sum(), activation)

    assert torch.equal(found, gradient_of_full_graph(network, "act", IMAGE)[2])


def test_weights_made_under_inference_mode_are_refused() -> None:
    """Autograd would fail deep inside with a message that helps nobody."""
    with torch.inference_mode():
        network = SmallUNet()

    with pytest.raises(ExplainError, match=r"created under torch\.inference_mode"), cut_at(network, "act"):
        pass


def test_encode_stops_at_the_layer() -> None:
    """The activation alone needs no module behind the layer, and equals that of a full pass."""
    network, ran = SmallUNet(), []
    network.up.register_forward_hook(lambda *_: ran.append("up"))

    with cut_at(network, "act") as cut:
        activation = cut.encode(IMAGE)
        ran_behind = list(ran)
        _, expected = cut.forward(IMAGE)

    assert ran_behind == []
    assert not activation.requires_grad
    assert torch.equal(activation, expected)


def test_encode_stops_a_network_that_swallows_exceptions() -> None:
    """A network's own ``except Exception`` must not keep it running, or replace the layer's output."""
    network, ran = Overwriting(), []
    network.linear.register_forward_hook(lambda *_: ran.append("linear"))

    with cut_at(network, "conv") as cut:
        activation = cut.encode(IMAGE.clone())

    assert ran == []
    assert torch.equal(activation, network.conv(IMAGE * 2))


@pytest.mark.parametrize("layer", ["first", "middle", "middle.1"])
def test_checkpointing_gives_the_same_gradient(layer: str) -> None:
    """A recomputed layer fires its hook a second time, in the backward pass; the first activation counts."""
    network, image = Checkpointed(), torch.randn(1, 1, 3, 3, 3)
    found = gradient_of_cut(network, layer, image)
    network.use_checkpoint = False

    expected = gradient_of_full_graph(network, layer, image)

    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
def test_layer_inside_reentrant_checkpointing_is_refused() -> None:
    """Reentrant checkpointing runs the layer without a graph; the reason is said instead of a zero map."""
    with pytest.raises(ExplainError, match=r"gradients off .*reentrant checkpointing\) at layer 'middle\.1'"):
        gradient_of_cut(Checkpointed(reentrant=True), "middle.1", IMAGE)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("shared", "'shared' runs several times"),
        ("unused", "'unused' is not used"),
        ("ignored", "output does not depend on layer 'ignored'"),
        ("pair", "'pair' must give one tensor .* found a tuple of a tensor of shape"),
        ("whole_numbers", "'whole_numbers' must give real numbers; found torch.int64"),
        ("pool", "'pool' gives a single cell"),
        ("linear", r"'linear' must give a tensor \(N, C, D, H, W\).* found shape \(1, 2\)"),
        ("nowhere", "no layer 'nowhere'; choose one of: good, shared, unused"),
        ("", "no layer ''"),
    ],
)
def test_layer_that_cannot_be_explained_is_refused_by_name(layer: str, message: str) -> None:
    """Each kind of unsuitable layer has its own message, and the network is restored each time."""
    network = Odd()
    before = state_of(network)

    with pytest.raises(ExplainError, match=message):
        gradient_of_cut(network, layer, IMAGE)

    assert state_of(network) == before


def test_suitable_layer_among_unsuitable_ones_is_explained() -> None:
    """The refusals are about the layer, not about the network around it."""
    network = Odd()

    found = gradient_of_cut(network, "good", IMAGE)

    assert all(torch.equal(a, b) for a, b in zip(found, gradient_of_full_graph(network, "good", IMAGE), strict=True))


def test_activation_that_is_overwritten_from_behind_is_refused() -> None:
    """Code that writes into a layer's output by another path would falsify the map silently."""
    with pytest.raises(ExplainError, match="overwrites the output of layer 'layer' in place"):
        gradient_of_cut(OverwrittenBehind(), "layer", IMAGE)


def test_nothing_is_stored_upstream_of_the_layer() -> None:
    """What is kept for the backward pass does not grow with the part of the network before the layer."""
    upstream = [nn.Sequential(nn.Conv3d(4, 4, 3, padding=1), nn.ReLU(inplace=True)) for _ in range(4)]
    network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), *upstream, nn.AdaptiveAvgPool3d(1), nn.Flatten())
    image = torch.randn(1, 1, 16, 16, 16)
    with saved_bytes() as full:
        network(image)

    with saved_bytes() as cut_bytes, cut_at(network, "4") as cut:
        cut.forward(image)

    activation_bytes = 4 * 16**3 * 4
    assert sum(full) > 5 * activation_bytes
    assert sum(cut_bytes) <= activation_bytes


class _Named(nn.Module):
    """Calls its last module by the name of the argument."""

    def __init__(self, network: nn.Module, final: nn.Module) -> None:
        super().__init__()
        self.network, self.final = network, final

    def forward(self, image: Tensor) -> Tensor:
        """Return what the last module gives."""
        found: Tensor = self.final(input=self.network(image))
        return found


@pytest.mark.parametrize("final", [nn.Softmax(dim=1), nn.LogSoftmax(dim=1), nn.Sigmoid()])
def test_network_that_ends_in_probabilities_is_read_before_them(final: nn.Module) -> None:
    """The class score is taken before softmax, also when softmax is part of the network."""
    network = pooled_linear([[1.0, 2.0], [0.5, -1.0]])
    for ending in (nn.Sequential(network, final), _Named(network, final)):
        with reading_logits(ending) as logits:
            assert torch.equal(logits(IMAGE), network(IMAGE))


def test_softmax_that_is_not_the_end_is_left_alone() -> None:
    """Attention inside a network uses softmax too; its input is not the network's output."""
    network = nn.Sequential(nn.Flatten(), nn.Softmax(dim=1), nn.Linear(64, 2))

    with reading_logits(network) as logits:
        assert torch.equal(logits(IMAGE), network(IMAGE))


def test_only_tensor_of_a_tuple_is_the_output() -> None:
    """Networks that return hidden states or losses beside their output can be explained."""

    class Extra(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor], None]:
            return x + 1, [x], None

    with reading_logits(Extra()) as logits:
        assert torch.equal(logits(IMAGE), IMAGE + 1)


@pytest.mark.parametrize(
    "output", [(IMAGE + 1, IMAGE), [None, IMAGE + 1], {"pred": IMAGE + 1}, {"a": IMAGE + 1, "b": IMAGE}]
)
def test_first_of_several_outputs_is_the_main_one(output: object) -> None:
    """Prediction and explanation follow one rule about what comes beside the answer."""
    assert torch.equal(main_output(output), IMAGE + 1)
    assert torch.equal(main_output({"hidden": IMAGE, "pred": IMAGE + 1}), IMAGE + 1)


@pytest.mark.parametrize("output", [(), {}, None, [None], "text"])
def test_output_without_a_tensor_is_refused(output: object) -> None:
    """What the network gave is said."""

    class Fixed(nn.Module):
        def forward(self, _image: Tensor) -> object:
            return output

    with reading_logits(Fixed()) as logits, pytest.raises(ExplainError, match=r"must return a tensor.*; found a"):
        logits(IMAGE)


def test_wrapped_networks_are_unwrapped() -> None:
    """DataParallel and torch.compile hide the network whose layers are named."""
    network = SmallUNet()

    assert unwrapped(nn.DataParallel(network)) is network
    assert unwrapped(torch.compile(network, backend="eager")) is network
    assert unwrapped(network) is network


def test_network_compiled_in_place_runs_uncompiled_and_stays_compiled() -> None:
    """``Module.compile()`` leaves no wrapper, but its code would not see the hook."""
    network = SmallUNet()
    expected = gradient_of_full_graph(network, "act", IMAGE)
    network.compile(backend="eager")
    before = state_of(network)

    found = gradient_of_cut(network, "act", IMAGE)

    assert before["compiled"][""] is not None
    assert state_of(network) == before
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_is_refused() -> None:
    """TorchScript modules have no hooks; the message says what to do."""
    scripted = torch.jit.trace(pooled_linear([[1.0]]), IMAGE)

    with pytest.raises(ExplainError, match=r"TorchScript module .*load the Python network"):
        hookable(scripted)

    assert unwrapped(scripted) is scripted
