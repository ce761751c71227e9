"""The reliability diagram shows the numbers of the calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lesionlens.calibration import Calibration, scores
from lesionlens.report.reliability import draw_reliability, write_reliability


def calibration() -> Calibration:
    """Return the calibration of a model that is twice too sure."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (2000, 1))
    truth = rng.random(logits.shape) < 1 / (1 + np.exp(-logits / 2))
    found = {when: scores(logits, truth, "sigmoid", t) for when, t in (("before", 1.0), ("after", 2.0))}
    return Calibration("b 1", "00", "sigmoid", 2.0, 1, 2000, {"all": found, "band": found})


def test_every_bin_is_drawn_where_it_lies() -> None:
    """Two panels, and in each the points before and after."""
    made = calibration()

    axes = draw_reliability(made).axes

    assert len(axes) == 2
    before, after = (np.asarray(dots.get_offsets(), dtype=float) for dots in axes[0].collections)
    for dots, when in ((before, "before"), (after, "after")):
        diagram = made.scores["all"][when]["reliability"]
        np.testing.assert_allclose(dots[:, 0], np.array(diagram["mean_probability"], dtype=float))
        np.testing.assert_allclose(dots[:, 1], np.array(diagram["frequency"], dtype=float))
    labels = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert labels == [f"{when}: ECE {made.scores['all'][when]['ece']:.3f}" for when in ("before", "after")]


def test_the_picture_says_what_it_is_not_for(tmp_path: Path) -> None:
    """Pictures travel alone."""
    with Image.open(write_reliability(tmp_path / "r.png", calibration())) as picture:
        assert "not a medical device" in picture.text["Description"]
        assert np.asarray(picture.convert("L")).std() > 10
