from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lesionlens.errors import ExplainError
from lesionlens.explain.targets import ClassLogit, RegionMargin, gradient_at
from tiny_networks import background_decides

# Two voxels side by side and three classes: class 1 wins at voxel 0 (2 over 1), class 2 at voxel 1 (5 over 3).
LOGITS = torch.tensor([[1.0, 0.0], [2.0, 3.0], [-1.0, 5.0]]).view(1, 3, 1, 2)


def test_class_logit_is_the_channels_value() -> None:
    """The gradient is one at the class and zero at the others."""
    score, gradient = gradient_at(ClassLogit(1, "lesion"), torch.tensor([[0.5, -2.0, 4.0]]))

    assert score == -2.0
    assert gradient.tolist() == [[0.0, 1.0, 0.0]]
    assert ClassLogit(1, "lesion").describe(torch.zeros(1, 3)) == "logit of 'lesion'"


def test_class_logit_accepts_a_classifier_with_single_cells() -> None:
    """Fully convolutional classifiers return (1, K, 1, 1, 1)."""
    assert gradient_at(ClassLogit(0), torch.full((1, 2, 1, 1, 1), 3.0))[0] == 3.0


@pytest.mark.parametrize(
    ("index", "region", "score", "gradient"),
    [
        # over both voxels: (2 - 1 + 3 - 5) / 2; each voxel pulls at its own strongest other class
        (1, [True, True], -0.5, [[-0.5, 0.0], [0.5, 0.5], [0.0, -0.5]]),
        (1, None, 1.0, [[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]),  # predicted at voxel 0 only
        (2, None, 2.0, [[0.0, 0.0], [0.0, -1.0], [0.0, 1.0]]),
        (0, None, -1.0, [[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]),  # nowhere: closest at voxel 0, 1 - 2
    ],
)
def test_margin_is_the_distance_to_the_strongest_other_class(
    index: int, region: list[bool] | None, score: float, gradient: list[list[float]]
) -> None:
    """Closed form of the margin and its gradient, for a given, a predicted and a missing region."""
    target = RegionMargin(index, region=None if region is None else np.array(region).reshape(1, 2))

    found, field = gradient_at(target, LOGITS)

    assert found == score
    assert field.view(3, 2).tolist() == gradient


@pytest.mark.parametrize(("logits", "sigmoid"), [(LOGITS, True), (LOGITS[:, 1:2], False)])
def test_sigmoid_head_explains_its_own_logit(logits: Tensor, sigmoid: bool) -> None:
    """Independent classes have no competitor; a single channel never has."""
    index = 1 if sigmoid else 0
    score, gradient = gradient_at(RegionMargin(index, sigmoid=sigmoid), logits)

    assert score == 2.5  # both voxels are above 0
    assert gradient[0, index].tolist() == [[0.5, 0.5]]
    assert gradient.sum() == 1.0


@pytest.mark.parametrize("channels", [1, 2])
def test_sigmoid_predicts_where_its_logit_is_above_zero(channels: int) -> None:
    """A probability above one half is a logit above zero, however little."""
    logits = torch.tensor([0.1, -0.1, 0.0, 4.0]).view(1, 1, 2, 2).repeat(1, channels, 1, 1)

    _, gradient = gradient_at(RegionMargin(0, sigmoid=True), logits)

    assert gradient[0, 0].tolist() == [[0.5, 0.0], [0.0, 0.5]]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (RegionMargin(1, "lesion"), "mean margin of 'lesion' over the predicted region (1 voxel)"),
        (RegionMargin(1, sigmoid=True), "mean logit of class 1 over the predicted region (2 voxels)"),
        (
            RegionMargin(0, "gut"),
            "mean margin of 'gut' over the voxels closest to the class, which is predicted nowhere (1 voxel)",
        ),
        (
            RegionMargin(2, "liver", region=torch.tensor([[True, True]]), region_name="the largest region"),
            "mean margin of 'liver' over the largest region (2 voxels)",
        ),
    ],
)
def test_target_says_what_it_is(target: RegionMargin, words: str) -> None:
    """The record tells a predicted region from voxels that only stand in for one."""
    assert target.describe(LOGITS) == words


def test_where_nothing_is_predicted_the_share_of_voxels_is_small() -> None:
    """One in ten thousand voxels stands in for the region, those of the largest margin."""
    logits = torch.zeros(1, 2, 40, 50, 20)
    logits[0, 0] = 1.0
    logits[0, 1, 3, 4, :4] = 0.5

    _, gradient = gradient_at(RegionMargin(1), logits)

    assert gradient[0, 1].nonzero().tolist() == [[3, 4, 0], [3, 4, 1], [3, 4, 2], [3, 4, 3]]


def test_classes_that_do_not_compete_change_nothing() -> None:
    """Permuting the channels of weaker classes, or moving their logits, leaves the margin and its gradient alone."""
    logits = torch.randn(1, 5, 4, 4, 4)
    logits[:, :2] += 10.0  # only 0 and 1 ever win or come second
    target = RegionMargin(1)
    score, gradient = gradient_at(target, logits)

    changed = torch.cat([logits[:, :2], logits[:, [4, 2, 3]] - 1.0], dim=1)
    changed_score, changed_gradient = gradient_at(target, changed)

    assert changed_score == score
    assert torch.equal(changed_gradient, gradient)


def test_competing_class_does_change_the_margin() -> None:
    """The test above would pass for a target that ignores all other classes; the strongest one does count."""
    logits = torch.zeros(1, 3, 2, 2, 2)
    logits[:, 1] = 3.0
    score, _ = gradient_at(RegionMargin(1), logits)

    logits[:, 2] = 2.0

    assert score == 3.0
    assert gradient_at(RegionMargin(1), logits)[0] == 1.0


def test_margin_sees_a_decision_that_lies_in_the_background() -> None:
    """The lesion's own logit points at the healthy side; the margin points at what decides."""
    image = torch.zeros(1, 2, 2, 2, 2)
    image[0, 0, 0] = 1.0  # lesion
    image[0, 1, 1] = 1.0  # healthy side
    logits = background_decides()(image).detach()

    predicted = logits[0].argmax(dim=0).bool()
    score, gradient = gradient_at(RegionMargin(1), logits)

    assert predicted[0].all()
    assert not predicted[1].any()
    assert logits[0, 1, 1, 0, 0] > logits[0, 1, 0, 0, 0]  # the raw logit is higher where there is no lesion
    assert score == 2.0  # 0 - (2 - 4)
    assert torch.equal(gradient[0, 0], -gradient[0, 1])


@pytest.mark.parametrize("index", range(4))
def test_where_classes_are_equal_the_first_of_them_is_predicted(index: int) -> None:
    """As by argmax, so that the region is that of the segmentation; whole numbers give many ties."""
    logits = torch.randint(0, 3, (1, 4, 6, 7, 8), generator=torch.Generator().manual_seed(0)).float()

    region = RegionMargin(index).settled(logits).region

    expected = logits[0].argmax(dim=0) == index
    assert expected.any()
    assert torch.equal(torch.as_tensor(region), expected)


@pytest.mark.parametrize(
    ("target", "logits", "message"),
    [
        (ClassLogit(3), torch.zeros(1, 3), r"no class 3; the network's output has 3 \(0 to 2\)"),
        (ClassLogit(-1), torch.zeros(1, 3), "no class -1"),
        (ClassLogit(0), LOGITS, "needs a classifier's output"),
        (RegionMargin(3), LOGITS, "no class 3"),
        (RegionMargin(0), torch.zeros(1, 3), "needs a segmentation's output"),
        (RegionMargin(0, region=torch.ones(2, 2)), LOGITS, r"shape of the network's output \(1, 2\); found \(2, 2\)"),
        (RegionMargin(0, region=torch.zeros(1, 2), region_name="your mask"), LOGITS, "Your mask holds no voxel"),
        (ClassLogit(0), torch.full((1, 2), torch.nan), "is nan; it cannot be explained"),
    ],
)
def test_impossible_target_is_refused(target: ClassLogit | RegionMargin, logits: Tensor, message: str) -> None:
    """Classes that do not exist, wrong kinds of output, empty and ill-shaped regions each have their message."""
    with pytest.raises(ExplainError, match=message):
        gradient_at(target, logits)


@pytest.mark.parametrize("value", [torch.zeros(2, requires_grad=True), torch.tensor(1.0), 1.0])
def test_target_must_be_a_scalar_of_the_logits(value: object) -> None:
    """A target of one's own that returns a map, or a constant, is a mistake."""

    class Wrong:
        def __call__(self, _logits: Tensor) -> object:
            return value

        def describe(self, _logits: Tensor) -> str:
            return "my target"

    with pytest.raises(ExplainError, match="must be a scalar that depends on the logits; 'my target' is"):
        gradient_at(Wrong(), LOGITS)
