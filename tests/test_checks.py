from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from lesionlens.checks import Chart, Check, Curve, TrustReport, Verdict
from lesionlens.errors import InputError
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.volume import Grid, Volume


def report(*verdicts: tuple[str, Verdict], **numbers: float) -> TrustReport:
    """Return a report with checks of some verdicts."""
    volume = Volume(np.zeros((2, 2, 2), dtype=np.float32), Grid((2, 2, 2), np.eye(4)))
    heatmap = Heatmap(volume, "attribution", "lesion", True, Provenance(method="gradcam"))
    chart = Chart("t", "x", "y", (Curve("c", (0.0, 1.0), (0.5, float("nan"))),))
    return TrustReport(heatmap, tuple(Check(n, v, "Found.", numbers, (chart,)) for n, v in verdicts))


@pytest.mark.parametrize(
    ("verdicts", "whole", "words"),
    [
        ((("seen", "passes"), ("stability", "passes")), "passes", "does not make the model right"),
        ((("seen", "passes"), ("stability", "unclear")), "unclear", "not settled: Does the map stay"),
        (
            (("seen", "unclear"), ("stability", "fails")),
            "fails",
            "Do not rely on this map. Flagged: Does the map stay",
        ),
        ((), "unclear", "Nothing was checked"),
    ],
)
def test_the_worst_check_is_the_verdict(verdicts: Any, whole: str, words: str) -> None:
    """One failure is enough: checks ask different questions, and none makes up for another."""
    found = report(*verdicts)

    assert found.verdict == whole
    assert words in found.sentence


def test_the_record_is_strict_json() -> None:
    """Programs read it, and NaN is no JSON: what could not be computed is null."""
    found = report(("seen", "passes"), probability=float("inf"), limit=0.5).record()

    again = json.loads(json.dumps(found, allow_nan=False))

    assert again["checks"][0]["numbers"] == {"probability": None, "limit": 0.5}
    assert again["checks"][0]["charts"][0]["curves"][0]["y"] == [0.5, None]
    assert again["map"]["method"] == "gradcam"


def test_names_and_verdicts_that_do_not_exist_are_refused() -> None:
    """A mistyped verdict would count as a pass."""
    with pytest.raises(InputError, match="passes or fails or unclear"):
        Check("seen", "passed", "Found.")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="A check is one of seen, randomisation"):
        Check("luck", "passes", "Found.")
    with pytest.raises(InputError, match="as many x as y"):
        Curve("c", (0.0,), ())


def test_a_check_is_found_by_name() -> None:
    """Scripts ask for one of them."""
    assert report(("seen", "passes"), ("stability", "fails"))["stability"].verdict == "fails"
