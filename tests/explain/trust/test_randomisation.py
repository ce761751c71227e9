from __future__ import annotations

import pytest
import torch
from torch import nn

from lesionlens.errors import Cancelled, ExplainError
from lesionlens.explain import ClassLogit, Inference, RegionMargin, Windows
from lesionlens.explain.trust import Subject, edges, map_of, randomisation, randomised
from lesionlens.explain.trust.randomisation import layer_groups
from tiny_networks import SmallUNet, pooled_linear, state_of


def textured(n: int, *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (n, 1, 16, 16, 16) of noise with a bright or a dark ball somewhere, and which it is (1: bright)."""
    draw = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.randn(n, 1, 16, 16, 16, generator=draw)
    labels = torch.arange(n) % 2
    axes = torch.meshgrid(*(torch.arange(16.0),) * 3, indexing="ij")
    for image, label in zip(images, labels, strict=True):
        centre = torch.randint(4, 12, (3,), generator=draw)
        ball = sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True)) <= 9
        image[0][ball] += 3.0 if label else -3.0
    return images, labels


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """Return a classifier that has learned to tell bright balls from dark ones."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 8, 3, stride=2, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 2),
        )  # fmt: skip
    images, labels = textured(32, seed=1)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(40):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimiser.step()
    network.zero_grad(set_to_none=True)
    tests, truth = textured(16, seed=2)
    assert (network(tests).argmax(dim=1) == truth).float().mean() > 0.9
    return network.eval()


def subject(network: nn.Module, make: object, *, seed: int = 3) -> Subject:
    """Return the map of the bright class of one image with a bright ball."""
    inference = Inference(network, textured(2, seed=seed)[0][1:])
    assert callable(make)
    return Subject(inference, ClassLogit(1), make, make(inference, ClassLogit(1), lambda *_: None))


def test_an_edge_detector_is_flagged(trained: nn.Module) -> None:
    """A map that ignores the weights looks convincing and explains nothing: this is what the check is for."""
    check = randomisation(subject(trained, edges)).check()

    assert check.verdict == "fails"
    assert check.numbers["left_when_all_destroyed"] == pytest.approx(1)
    assert check.numbers["structure_left_when_all_destroyed"] == pytest.approx(1)


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_gradcam_of_a_trained_network_passes(trained: nn.Module, seed: int) -> None:
    """A check that flags everything would say nothing of the edge detector either."""
    found = randomisation(subject(trained, map_of("gradcam", layer="3"), seed=seed), seed=seed)

    assert found.check().verdict == "passes"
    assert found.cascading_ssim[-1] < 0.9  # its structure changes too


def test_the_network_is_as_it_was_also_after_an_error(trained: nn.Module) -> None:
    """Destroyed weights that stayed would make every later prediction a random one."""
    made = subject(trained, map_of("gradcam", layer="3"))
    before = state_of(trained)

    randomisation(made)
    assert state_of(trained) == before

    def stop(stage: str, done: int, total: int) -> None:
        if done == 3:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled, match="stopped"):
        randomisation(made, progress=stop)
    assert state_of(trained) == before


def test_the_same_seed_gives_the_same_numbers(trained: nn.Module) -> None:
    """A report that cannot be repeated is none; another seed shows that there is something to draw."""
    made = subject(trained, map_of("gradcam", layer="3"))

    assert randomisation(made, seed=1) == randomisation(made, seed=1)
    assert randomisation(made, seed=1) != randomisation(made, seed=2)


def test_layers_are_destroyed_from_the_output_down() -> None:
    """The order is that in which layers run; a network may have been written in any other."""

    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Conv3d(2, 2, 1)
            self.middle = nn.Conv3d(2, 2, 1)
            self.first = nn.Conv3d(1, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.middle(self.first(x)))

    inference = Inference(Backwards(), torch.rand(1, 1, 4, 4, 4))

    assert layer_groups(inference, 3) == (("last",), ("middle",), ("first",))
    assert layer_groups(inference, 2) == (("last",), ("middle", "first"))
    assert layer_groups(inference, 9) == (("last",), ("middle",), ("first",))


def test_weights_of_modules_that_are_not_called_go_with_their_parent() -> None:
    """Torch's attention reads the weights of its output projection without calling it: they must not stay trained."""

    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.head = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = x.flatten(2).transpose(1, 2)
            return self.head(self.attention(tokens, tokens, tokens)[0].mean(dim=1))

    groups = layer_groups(Inference(Attending(), torch.rand(1, 4, 3, 3, 3)), 2)

    assert groups[0] == ("head",)
    assert set(groups[1]) == {"attention", "attention.out_proj"}


def test_new_weights_have_the_size_of_the_old_and_only_where_asked() -> None:
    """Values must keep their size on the way through the network, and 'independent' means one group alone."""
    network = SmallUNet()
    fresh = randomised(network, ["down"], seed=0)

    for name, old in network.state_dict().items():
        new = fresh.state_dict()[name]
        if name.startswith("down."):
            assert not torch.equal(new, old)
            ratio = new.square().mean().sqrt() / old.square().mean().sqrt()
            assert 0.5 < float(ratio) < 2  # 6 biases are the fewest: within a factor of two
        else:
            assert torch.equal(new, old)
    assert torch.equal(randomised(network, ["enter", "down"], seed=0).down.weight, fresh.down.weight)


def test_it_works_through_windows() -> None:
    """Segmentation networks see a scan through windows; the map of all of them is checked."""
    image = torch.rand(1, 1, 16, 12, 12)
    inference = Inference(SmallUNet(), image, Windows.sliding((16, 12, 12), (8, 8, 8), overlap=0.5))
    target = RegionMargin(1, region=image[0, 0] > 0.5)
    make = map_of("gradcam", layer="act")

    found = randomisation(Subject(inference, target, make, make(inference, target, lambda *_: None)), groups=2)

    assert len(found.cascading) == len(found.independent) == 2
    assert found.cascading[0] == found.independent[0]


def test_a_network_without_weights_or_without_copies_is_refused() -> None:
    """There must be something to destroy, and the network itself is never touched."""
    plain = nn.Sequential(nn.Flatten())
    image = torch.rand(1, 1, 4, 4, 4)
    inference = Inference(plain, image)
    with pytest.raises(ExplainError, match="no weights"):
        randomisation(Subject(inference, ClassLogit(1), edges, edges(inference, ClassLogit(1))))

    network = pooled_linear([[1.0], [2.0]])
    network.computed = network.linear.weight * 2  # a tensor with a history cannot be copied
    with pytest.raises(ExplainError, match="cannot be copied"):
        randomised(network, ["linear"], seed=0)


def test_a_map_that_is_the_same_everywhere_is_refused() -> None:
    """Ranks of equal values are arbitrary, and every verdict on them would be."""
    inference = Inference(pooled_linear([[1.0], [2.0]]), torch.rand(1, 1, 4, 4, 4))
    with pytest.raises(ExplainError, match="same value everywhere"):
        Subject(inference, ClassLogit(1), edges, 0 * edges(inference, ClassLogit(1)))


def test_a_map_that_is_gone_tells_nothing(trained: nn.Module) -> None:
    """A destroyed network that gives no map at all has not shown that the map is about its weights."""
    inference = Inference(trained, textured(2, seed=3)[0][1:])

    def fragile(asked: Inference, target: object, progress: object) -> object:
        return edges(asked, ClassLogit(1)) * (asked.network is trained)

    check = randomisation(Subject(inference, ClassLogit(1), fragile, edges(inference, ClassLogit(1)))).check()  # type: ignore[arg-type]

    assert check.verdict == "unclear"
