from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lesionlens.errors import ExplainError
from lesionlens.explain import ClassLogit, Inference, RegionMargin, Windows
from lesionlens.explain.explanation import Request
from lesionlens.explain.importance import OPTIONS, Fall, Feature, falls
from tiny_networks import SmallUNet, state_of


class Additive(nn.Module):
    """A classifier with logit ``sum over channels and voxels of w_c x_c(v)``."""

    def __init__(self, *weights: float) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights).view(1, -1, 1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Return (1, 1)."""
        return (self.weights * image).flatten(1).sum(dim=1, keepdim=True)


class Placed(nn.Module):
    """A classifier that adds up ``w(v) x(v)``: where a voxel lies matters."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, image: Tensor) -> Tensor:
        """Return (1, 1)."""
        return (self.weights * image).flatten(1).sum(dim=1, keepdim=True)


def asked(network: nn.Module, image: Tensor, features: list[Feature], **options: Any) -> list[Fall]:
    """Return the falls of some features."""
    request = Request(Inference(network, image), ClassLogit(0), "importance", options={**OPTIONS, **options})
    return falls(request, features)[0]


def box(*sides: slice, shape: tuple[int, ...] = (4, 5, 6)) -> Tensor:
    """Return a mask of a box."""
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[sides] = True
    return mask


@pytest.mark.parametrize(("fill", "value"), [("zero", 0.0), ("minimum", None), ("mean", None)])
def test_channels_of_an_additive_network_fall_by_their_part(fill: str, value: float | None) -> None:
    """Each channel takes w_c (sum of x_c minus N times the fill) with it."""
    image = torch.randn(1, 2, 4, 5, 6)

    found = asked(Additive(2.0, -3.0), image, [Feature("T1", channel=0), Feature("FLAIR", channel=1)], fill=fill)

    for fall, weight, channel in zip(found, (2.0, -3.0), image[0], strict=True):
        filled = {"zero": 0.0, "minimum": float(channel.min()), "mean": float(channel.mean())}[fill]
        assert fall.fall == pytest.approx(weight * float((channel - filled).double().sum()), abs=1e-4)
        assert fall.sd == 0
    assert [fall.name for fall in found] == ["T1", "FLAIR"]


def test_a_label_of_an_additive_network_falls_by_its_contrast() -> None:
    """Within even tissue a label takes its contrast times its size with it, in one channel or in all."""
    image = torch.full((1, 2, 9, 9, 9), 5.0)
    label = box(slice(3, 6), slice(3, 6), slice(3, 6), shape=(9, 9, 9))
    image[0, :, label] = torch.tensor([7.0, 4.0])[:, None]

    both, one = asked(
        Additive(1.0, 10.0), image, [Feature("lesion", voxels=label), Feature("lesion", channel=1, voxels=label)]
    )

    assert both.fall == pytest.approx(27 * (2 - 10), rel=1e-5)
    assert one.fall == pytest.approx(27 * -10, rel=1e-5)


def test_a_label_where_the_network_does_not_look_has_no_part() -> None:
    """Its fall is 0 exactly, not nearly."""
    weights = torch.zeros(1, 1, 4, 5, 6)
    weights[..., :2, :, :] = 1.0
    looked, unseen = box(slice(0, 1)), box(slice(2, 4))

    found = asked(
        Placed(weights), torch.randn(1, 1, 4, 5, 6), [Feature("seen", voxels=looked), Feature("unseen", voxels=unseen)]
    )

    assert found[0].fall != 0
    assert found[1].fall == 0


@pytest.mark.parametrize("feature", [Feature("flat", channel=1), Feature("flat", voxels=box(slice(0, 2)))])
def test_permuting_what_is_constant_changes_nothing(feature: Feature) -> None:
    """There is nothing to lose, and nothing is run."""
    image = torch.randn(1, 2, 4, 5, 6)
    image[:, 1], image[:, 0, :2] = 3.0, 1.0
    calls: list[int] = []
    network = Placed(torch.randn(1, 2, 4, 5, 6))
    network.register_forward_pre_hook(lambda *_: calls.append(1))

    (found,) = asked(network, image, [feature], how="permute")

    assert (found.fall, found.sd) == (0, 0)
    assert len(calls) == 1


def test_permuting_moves_voxels_and_keeps_their_sum() -> None:
    """An additive network with equal weights does not notice; one that looks at places does, by the expected amount."""
    image, weights = torch.rand(1, 1, 4, 5, 6), torch.rand(1, 1, 4, 5, 6)
    feature = [Feature("image", channel=0)]

    even = asked(Additive(2.0), image, feature, how="permute")[0]
    placed = asked(Placed(weights), image, feature, how="permute", repeats=400)[0]

    assert even.fall == pytest.approx(0, abs=1e-4)
    expected = float((weights * image).sum() - 120 * weights.mean() * image.mean())  # of a random permutation
    assert placed.fall == pytest.approx(expected, abs=4 * placed.sd / 20)  # four standard errors of 400
    assert placed.sd > 0


def test_permutations_repeat_themselves_and_no_other_seed() -> None:
    """A figure that cannot be made again is none."""
    image, network = torch.rand(1, 1, 4, 5, 6), Placed(torch.rand(1, 1, 4, 5, 6))

    def found(seed: int) -> list[Fall]:
        return asked(network, image, [Feature("image")], how="permute", seed=seed)

    assert found(3) == found(3)
    assert found(3) != found(4)


@pytest.mark.parametrize("place", [(slice(0, 2), slice(3, 5), slice(6, 8)), (slice(4, 7), slice(2, 3), slice(1, 6))])
def test_the_surroundings_are_the_voxels_within_three(place: tuple[slice, ...]) -> None:
    """Also at the border of the image, and told from the distance to every voxel, written again as a loop."""
    image, label = torch.rand(1, 1, 12, 9, 8, dtype=torch.float64), box(*place, shape=(12, 9, 8))
    network = nn.Sequential(nn.Flatten(), nn.Linear(864, 2)).double()
    weights = network[1].weight[1].view(12, 9, 8).detach()
    near = torch.zeros_like(label)
    for voxel in label.nonzero():
        near[tuple(slice(max(int(n) - 3, 0), int(n) + 4) for n in voxel)] = True

    request = Request(Inference(network, image), ClassLogit(1), "importance", options=OPTIONS)
    (found,), _, _ = falls(request, [Feature("a", voxels=label)])

    mean = image[0, 0][near & ~label].mean()
    assert found.fall == pytest.approx(float((weights * (image[0, 0] - mean))[label].sum()), abs=1e-5)


@pytest.mark.parametrize("how", ["ablate", "permute"])
def test_windows_give_what_the_whole_inference_gives(how: str) -> None:
    """Only the windows that a feature touches run; the network and the image stay as they were."""
    network, image = SmallUNet().train(), torch.randn(1, 1, 12, 8, 8)
    region = box(slice(1, 9), slice(2, 6), shape=(12, 8, 8))
    inference = Inference(network, image, Windows.sliding((12, 8, 8), (8, 8, 8), overlap=0.5))
    options = {**OPTIONS, "how": how, "fill": "minimum", "repeats": 1}
    label = box(slice(0, 2), slice(0, 4), shape=(12, 8, 8))
    before, image_before = state_of(network), image.clone()

    (found,), score, target = falls(
        Request(inference, RegionMargin(1, region=region), "importance", options=options), [Feature("a", voxels=label)]
    )

    assert state_of(network) == before
    assert torch.equal(image, image_before)
    changed = image.clone()
    generator = torch.Generator().manual_seed(0)
    inside = image[0, 0, label]
    order = torch.randperm(len(inside), generator=generator)
    changed[0, 0, label] = image.min() if how == "ablate" else inside[order]
    again = RegionMargin(1, region=region)(Inference(network, changed, inference.windows).logits())
    assert found.fall == pytest.approx(score - float(again), abs=2e-6)
    assert "margin of class 1" in target


@pytest.mark.parametrize(
    ("feature", "options", "message"),
    [
        (Feature("T2", channel=2), {}, r"Feature 'T2' is channel 2; the image has 0 to 1"),
        (Feature("a", voxels=torch.ones(4, 5, 7)), {}, r"Feature 'a' has the shape \(4, 5, 7\)"),
        (Feature("a"), {"how": "shuffle"}, r"no how for importance 'shuffle'.*ablate, permute"),
        (Feature("a"), {"fill": "noise"}, r"no fill for importance 'noise'.*surroundings, minimum"),
        (Feature("a"), {"how": "permute", "repeats": 0}, r"'repeats' of importance must be at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(feature: Feature, options: dict[str, Any], message: str) -> None:
    """It would be another feature, or none."""
    with pytest.raises(ExplainError, match=message):
        asked(Additive(1.0, 1.0), torch.randn(1, 2, 4, 5, 6), [feature], **options)
