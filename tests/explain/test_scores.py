from __future__ import annotations

import pytest
import torch

from lesionlens.errors import ExplainError
from lesionlens.explain import ClassLogit, FromProbabilities, RegionMargin, Score, settled
from lesionlens.explain.targets import gradient_at

# Three classes at two positions.
LOGITS = torch.tensor([[1.0, 0.0], [2.0, 3.0], [-1.0, 5.0]])


@pytest.mark.parametrize(
    ("score", "numbers"),
    [
        (Score(), [1.0, -2.0]),
        (Score("logit"), [2.0, 3.0]),
        (Score("probability"), torch.softmax(LOGITS, dim=0)[1].tolist()),
        (Score("logit", against=(0,)), [1.0, 3.0]),
        (Score(against=(0, 2), gamma=0.5), [2.0, 1.75]),
        (Score(against=(0, 2), gamma=0.0), [2.0, 3.0]),
        (Score(similar=1), [1.0 + 2.0, 3.0 - 5.0]),  # means 0.5, 2.5, 2: class 2 is nearest
    ],
)
def test_numbers_of_a_class(score: Score, numbers: list[float]) -> None:
    """By hand."""
    torch.testing.assert_close(score(LOGITS, 1, independent=False), torch.tensor(numbers))


def test_independent_classes_have_no_competitor() -> None:
    """Margin is the logit, and the probability is a sigmoid."""
    assert Score()(LOGITS, 1, independent=True).tolist() == [2.0, 3.0]
    torch.testing.assert_close(Score("probability")(LOGITS, 1, independent=True), torch.sigmoid(LOGITS[1]))
    assert Score().describe(LOGITS, 1, "", independent=True) == "logit of class 1"


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (Score(against=(0,), labels=("a", "b", "c")), "logit of 'b' minus 1 times that of 'a'"),
        (Score("probability", against=(0, 2), gamma=0.5), "probability of 'b' minus 0.5 times the mean of those of"),
        (Score(similar=1, labels=("a", "b", "c")), "logit of 'b' minus 1 times that of 'c'"),
    ],
)
def test_contrast_names_the_other_classes(score: Score, words: str) -> None:
    """Similar classes are chosen by the output, so only the record can say which they were."""
    assert score.describe(LOGITS, 1, "b", independent=False).startswith(words)


@pytest.mark.parametrize("score", [Score(against=(1,)), Score(against=(3,)), Score(similar=3), Score(similar=-1)])
def test_classes_that_cannot_compete_are_refused(score: Score) -> None:
    """A class against itself explains nothing."""
    with pytest.raises(ExplainError, match=r"choose another one of the 3|among 0 to 2; found \(3,\)|not -?\d others"):
        score(LOGITS, 1, independent=False)


def test_settled_target_keeps_its_region_and_its_competitors() -> None:
    """Asked again about changed logits, it asks about the same voxels and classes."""
    logits = LOGITS.view(1, 3, 1, 2)
    changed = torch.tensor([[9.0, 0.0], [2.0, 3.0], [-1.0, 1.0]]).view(1, 3, 1, 2)

    for target in (RegionMargin(1), FromProbabilities(RegionMargin(1), sigmoid=False)):
        given = logits.exp() if isinstance(target, FromProbabilities) else logits
        later = changed.exp() if isinstance(target, FromProbabilities) else changed
        kept = settled(target, given)

        assert float(kept(given)) == pytest.approx(1.0)
        assert float(kept(later)) == pytest.approx(2.0 - 9.0)
        assert float(target(later)) == pytest.approx(2.0)  # unsettled: now predicted at the other voxel
    assert settled(ClassLogit(1, score=Score(similar=1)), LOGITS[:, :1].T).score.against == (0,)


def test_classifier_with_a_margin_has_its_gradient() -> None:
    """One at the class, minus one at the strongest other."""
    score, gradient = gradient_at(ClassLogit(0, score=Score("margin")), torch.tensor([[0.5, -2.0, 4.0]]))

    assert score == -3.5
    assert gradient.tolist() == [[1.0, 0.0, -1.0]]
