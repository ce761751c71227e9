from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import torch
from monai.networks.nets import AttentionUnet, SwinUNETR, ViT
from torch import nn

from lesionlens.errors import ExplainError
from lesionlens.explain import Suits
from lesionlens.methods import METHODS
from tiny_networks import SmallUNet, pooled_linear, state_of

SHAPE = (1, 1, 32, 32, 32)
CAMS = {name for name, info in METHODS.items() if info.family in ("cam", "forward_cam")}
ATTENTION = {name for name, info in METHODS.items() if info.family == "attention"}
DETECTION = {name for name, info in METHODS.items() if info.family == "detection"}
# What a network without attention and boxes can be explained by.
USUAL = set(METHODS) - ATTENTION - DETECTION


def suitable(network: nn.Module, shape: tuple[int, ...] = SHAPE) -> set[str]:
    """Return the methods that nothing speaks against."""
    suits = Suits(network, shape)
    return {name for name in METHODS if suits.problem(name) is None}


class Smooth(nn.Module):
    """A network without a single ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv3d(1, 2, 3, padding=1)
        self.head = nn.Conv3d(2, 2, 1)

    def forward(self, x: Any) -> Any:
        """Run it."""
        return self.head(torch.tanh(self.body(x)))


class Detached(nn.Module):
    """A network whose gradients end in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv3d(1, 2, 3, padding=1)
        self.head = nn.Conv3d(2, 2, 1)

    def forward(self, x: Any) -> Any:
        """Run it."""
        return self.head(torch.relu(self.body(x)).detach())


class Hungry(nn.Module):
    """A network that has no memory left for an image with anything in it."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.body = nn.Conv3d(1, 2, 1)
        self.error = error

    def forward(self, x: Any) -> Any:
        """Run it on zeros, which are what layers are looked for with."""
        if x.any():
            raise self.error("out of it")
        return self.body(x)


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError, KeyboardInterrupt])
def test_a_trial_does_not_hide_what_is_no_fault_of_a_network(error: type[BaseException]) -> None:
    """It would pass for a method that suits, and the scan would follow."""
    with pytest.raises(error, match="out of it"):
        Suits(Hungry(error), SHAPE).problem("saliency")


@pytest.mark.parametrize("error", [RuntimeError, ValueError])
def test_a_trial_forgives_networks_that_insist_on_their_size(error: type[BaseException]) -> None:
    """That the image of the trial does not please is not the method's fault."""
    assert Suits(Hungry(error), SHAPE).problem("saliency") is None


@pytest.mark.parametrize(
    ("network", "missing"),
    [
        # Averaged over space and then linear: all CAMs, no attention; and nothing that guided backprop could guide.
        (pooled_linear([[0.0, 0.0], [1.0, -1.0]]), {"guided_backprop"}),
        (SmallUNet(), {"cam"}),
        (Smooth(), {"cam", "guided_backprop"}),
    ],
    ids=["pooled", "unet", "smooth"],
)
def test_a_network_is_explained_by_what_it_has(network: nn.Module, missing: set[str]) -> None:
    """Every other method works, and the network is as it was."""
    before = state_of(network)

    assert suitable(network) == USUAL - missing
    assert state_of(network) == before


def test_gradients_that_end_on_the_way_leave_what_needs_none() -> None:
    """The layer can be read, and boxes covered."""
    found = suitable(Detached())

    assert {"occlusion", "activation_mean", "scorecam", "ablationcam"} <= found
    assert not found & {"saliency", "smoothgrad", "guided_backprop", "integrated_gradients"}


def test_a_transformer_with_one_set_of_tokens_has_all_attention_but_gates() -> None:
    """ViT keeps its tokens through all blocks."""
    network = ViT(1, (32, 32, 32), (16, 16, 16), hidden_size=24, mlp_dim=24, num_layers=2, num_heads=2)

    found = suitable(network.eval())

    assert found & ATTENTION == ATTENTION - {"attention_gates"}


def test_attention_in_windows_can_be_shown_but_not_multiplied() -> None:
    """SwinUNETR's blocks see other tokens each."""
    suits = Suits(SwinUNETR(1, 2, feature_size=12, num_heads=(1, 2, 4, 8)).eval(), (1, 1, 64, 64, 64))

    assert suits.problem("attention", options={"block": 0}) is None
    assert "Choose the method 'attention', which shows one block" in str(suits.problem("attention_rollout"))
    assert "There is no block 99" in str(suits.problem("attention", options={"block": 99}))


def test_gates_are_found_by_a_trial() -> None:
    """Attention U-Nets have them; which one was asked for has to be there too."""
    suits = Suits(AttentionUnet(3, 1, 2, (4, 8), (2,)).eval(), SHAPE)

    assert suits.problem("attention_gates") is None
    assert "There is no gate 5; 1 gates run" in str(suits.problem("attention_gates", options={"gate": 5}))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_has_what_needs_no_hooks() -> None:
    """Its modules cannot be watched; the message says what would work."""
    script = torch.jit.trace(SmallUNet().eval(), torch.rand(SHAPE))

    assert suitable(script) == {name for name, info in METHODS.items() if not info.hooks} - DETECTION
    with pytest.raises(ExplainError, match=r"TorchScript module.*would work: saliency, .*occlusion\."):
        Suits(script, SHAPE).check("gradcam")


def test_the_message_says_why_and_what_would_work() -> None:
    """Nobody should have to try twenty methods."""
    with pytest.raises(ExplainError, match=r"^CAM needs a classifier.*Methods that would work: gradcam, .*occlusion"):
        Suits(SmallUNet(), SHAPE).check("cam")
    with pytest.raises(ExplainError, match=r"no attention matrices.*Methods that would work: gradcam"):
        Suits(SmallUNet(), SHAPE).check("attention")


@pytest.mark.parametrize(
    ("method", "good", "bad"),
    [
        ("activation_channel", {"channel": 3}, {"channel": 4}),
        ("activation_strongest", {"rank": 4}, {"rank": 5}),
        ("activation_components", {"component": 4}, {"component": 5}),
    ],
)
def test_the_number_of_channels_decides_too(method: str, good: dict[str, Any], bad: dict[str, Any]) -> None:
    """A channel that the layer does not have is said before the network has seen the scan."""
    suits = Suits(nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Conv3d(4, 2, 1)), (1, 1, 16, 16, 16))

    suits.check(method, layer="0", options=good)

    with pytest.raises(ExplainError, match=r"There is no \w+ \d; the layer has"):
        suits.check(method, layer="0", options=bad)


def test_the_layer_decides_too() -> None:
    """CAM behind one that is not averaged is refused; each trial is made once."""
    runs: list[Any] = []
    layers = [nn.Conv3d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv3d(2, 2, 3, padding=1), nn.AdaptiveAvgPool3d(1)]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(2, 2))
    network.register_forward_hook(lambda *_: runs.append(1))
    suits = Suits(network, SHAPE)

    assert suits.problem("cam", layer="2") is None
    assert "averages layer '0'" in str(suits.problem("cam", layer="0"))
    seen = len(runs)
    assert suits.problem("cam", layer="2") is None
    assert len(runs) == seen


class Picky(nn.Module):
    """A network that only takes images of one size, and fails otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv3d(1, 2, 3, padding=1)
        self.head = nn.Linear(2 * 24**3, 2)

    def forward(self, x: Any) -> Any:
        """Run it."""
        return self.head(torch.relu(self.body(x)).flatten(1))


def test_a_network_of_one_size_is_tried_on_it() -> None:
    """Its own failure on a small image says nothing about a method."""
    assert suitable(Picky(), (1, 1, 24, 24, 24)) == USUAL - {"cam"}


class Breaking(nn.Module):
    """A network that fails at some trial."""

    def __init__(self, answers: int) -> None:
        super().__init__()
        self.inner, self.answers = SmallUNet(), answers

    def forward(self, x: Any) -> Any:
        """Run it, until it fails."""
        self.answers -= 1
        if self.answers < 0:
            raise ValueError("out of order")
        return self.inner(x)


@pytest.mark.parametrize("answers", [0, 1, 2, 3])
@pytest.mark.parametrize("method", ["gradcam", "saliency", "guided_backprop", "attention_gates", "eigencam"])
def test_a_trial_that_fails_leaves_everything_as_it_was(method: str, answers: int) -> None:
    """Whatever is tried, the network is the one that predicts afterwards."""
    network = Breaking(answers).train()
    before = state_of(network)

    with suppress(ValueError):
        Suits(network, (1, 1, 16, 16, 16)).problem(method, layer="inner.act" if method == "gradcam" else None)

    assert state_of(network) == before
