from __future__ import annotations

import pytest

from lesionlens.explain.trust import seen


@pytest.mark.parametrize(("probability", "verdict"), [(0.02, "fails"), (0.499, "fails"), (0.5, "passes")])
def test_a_class_that_the_model_does_not_see_is_said(probability: float, verdict: str) -> None:
    """The map of such a class looks like any other; only words can tell them apart."""
    check = seen("lesion", probability)

    assert check.verdict == verdict
    assert ("does not see 'lesion'" in check.sentence) == (verdict == "fails")
    assert seen("lesion", probability, limit=0.01).verdict == "passes"


def test_the_most_probable_of_many_classes_is_seen() -> None:
    """Of three classes, the one with 0.45 may be what the model decides for."""
    assert seen("high", 0.45, strongest=True).verdict == "passes"
