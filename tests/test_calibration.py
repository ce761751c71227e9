"""Temperatures that are known, and errors against MONAI and by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.metrics import CalibrationErrorMetric
from numpy.typing import NDArray

from lesionlens.calibration import (
    Calibration,
    brier,
    fit_temperature,
    probabilities,
    read_calibration,
    reliability,
    scores,
)
from lesionlens.errors import InputError, ReadError

N = 40_000


def sampled(kind: Any, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return logits, and truths drawn with just the probabilities that they say."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (N, 3))
    p = probabilities(logits, kind)
    if kind == "sigmoid":
        return logits, (rng.random(p.shape) < p).astype(float)
    chosen = (rng.random((N, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=2)
    return logits, np.eye(3)[chosen]


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
@pytest.mark.parametrize("k", [0.5, 1.0, 2.5])
def test_logits_times_k_have_the_temperature_k(kind: Any, k: float) -> None:
    """A calibrated sampler that is made too sure k times is found out, within 2 %."""
    logits, truth = sampled(kind)

    assert fit_temperature(k * logits, truth, kind) == pytest.approx(k, rel=0.02)


@pytest.mark.parametrize(
    ("temperature", "before", "after", "wrong"),
    [
        (2.0, 0.05, 0.01, "too sure"),
        (0.5, 0.05, 0.01, "not sure enough"),
        (1.096, 0.00224, 0.00218, ""),
        (2.0, 0.01, 0.05, ""),
    ],
    ids=["too sure", "not sure enough", "no better as printed", "worse"],
)
def test_a_model_was_wrong_only_where_an_error_falls(
    temperature: float, before: float, after: float, wrong: str
) -> None:
    """A temperature beside 1 alone says nothing: it fits the chance of its cases."""
    scored = {"before": {"ece": before}, "after": {"ece": after}}

    found = Calibration("x 1", "00", "softmax", temperature, 3, 100, {"all": scored})

    assert found.found_wrong == wrong


def test_scaling_repairs_what_scaling_spoilt() -> None:
    """The expected error falls to that of sampling; the winner never changes."""
    logits, truth = sampled("softmax")
    before, after = (scores(3 * logits, truth, "softmax", t) for t in (1.0, 3.0))

    assert before["ece"] > 0.05
    assert after["ece"] < 0.01
    assert after["brier"] < before["brier"]
    winners = [probabilities(3 * logits, "softmax", t).argmax(axis=1) for t in (1.0, 3.0)]
    np.testing.assert_array_equal(*winners)


@pytest.mark.parametrize(("reduction", "name"), [("expected", "expected_error"), ("average", "average_error")])
def test_errors_are_those_of_monai(reduction: str, name: str) -> None:
    """An independent implementation, on one class."""
    rng = np.random.default_rng(1)
    p = rng.random((1, 1, 20, 20, 20)).astype(np.float32)
    truth = (rng.random(p.shape) < p**2).astype(np.float32)
    metric = CalibrationErrorMetric(num_bins=20, calibration_reduction=reduction)
    metric(y_pred=torch.from_numpy(p), y=torch.from_numpy(truth))

    found = getattr(reliability(p, truth, n_bins=20), name)

    assert found == pytest.approx(float(metric.aggregate()), abs=1e-5)  # MONAI sums in float32


def test_errors_are_those_by_hand() -> None:
    """Ten at 0.8 of which six are true, thirty at 0.1 of which none is."""
    p = np.array([0.81] * 10 + [0.11] * 30)
    truth = np.array([1] * 6 + [0] * 34)

    found = reliability(p, truth, n_bins=10)

    assert found.counts.tolist() == [0, 30, 0, 0, 0, 0, 0, 0, 10, 0]
    assert np.isnan(found.frequency[0])
    assert found.expected_error == pytest.approx((10 * 0.21 + 30 * 0.11) / 40)
    assert found.average_error == pytest.approx((0.21 + 0.11) / 2)
    assert brier(p, truth) == pytest.approx((6 * 0.19**2 + 4 * 0.81**2 + 30 * 0.11**2) / 40)


def test_a_weight_stands_for_as_many() -> None:
    """A voxel that was drawn for three counts three times."""
    rng = np.random.default_rng(0)
    logits, truth, weights = rng.normal(size=(200, 2)), np.eye(2)[rng.integers(0, 2, 200)], rng.integers(1, 4, 200)

    weighted = scores(logits, truth, "softmax", 2.0, weights)
    repeated = scores(logits.repeat(weights, axis=0), truth.repeat(weights, axis=0), "softmax", 2.0)

    for name in ("ece", "ace", "brier"):
        assert weighted[name] == pytest.approx(repeated[name])
    assert weighted["reliability"]["counts"] == repeated["reliability"]["counts"]


@pytest.mark.parametrize("background", [0, None])
def test_a_class_that_is_too_likely_everywhere_is_not_hidden_by_the_other(background: int | None) -> None:
    """What is 0.1 too much for one of two classes is 0.1 too little for the other: no sum of both may cancel."""
    rng = np.random.default_rng(0)
    true = rng.uniform(0.05, 0.85, N)
    said, happened = true + 0.1, rng.random(N) < true
    logits = np.stack([np.zeros(N), np.log(said / (1 - said))], axis=1)

    found = scores(logits, np.stack([~happened, happened], axis=1), "softmax", 1.0, background=background)

    assert found["ece"] == pytest.approx(0.1, abs=0.01)
    assert found["ece"] == pytest.approx(reliability(said, happened).expected_error)
    assert sum(found["reliability"]["counts"]) == N
    alone = scores(logits[:, 1:], happened[:, None], "sigmoid", 1.0)
    assert found["ece"] == pytest.approx(alone["ece"])


def test_errors_are_the_means_of_those_of_the_classes_that_are_not_background() -> None:
    """A loop over classes and bins, in whole numbers."""
    logits, truth = sampled("softmax", seed=2)
    p, gaps = probabilities(2 * logits, "softmax"), []
    for k in (0, 2):
        each = [(p[:, k] >= n / 20) & (p[:, k] < (n + 1) / 20) for n in range(20)]
        gaps.append(sum(abs(p[b, k].sum() - truth[b, k].sum()) for b in each if b.any()) / N)

    found = scores(2 * logits, truth, "softmax", 1.0, background=1)

    assert found["ece"] == pytest.approx(np.mean(gaps), abs=1e-9)
    assert found["brier"] == pytest.approx(np.mean((p - truth)[:, [0, 2]] ** 2))


def test_certainty_lies_in_the_last_bin() -> None:
    """A probability of 1 is no number of a bin that does not exist."""
    assert reliability(np.array([0.0, 1.0]), np.array([0, 1]), n_bins=5).counts.tolist() == [1, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("logits", "truth", "message"),
    [
        ([[9.0, 0.0]] * 4, [[1, 0]] * 4, "the labels are what it says everywhere"),
        ([[9.0, 0.0]] * 4, [[1, 0], [0, 1]] * 2, "it says nothing about the labels"),
        ([[9.0, 0.0]], [[1, 0], [0, 1]], "found shapes"),
        (np.empty((0, 2)), np.empty((0, 2)), "found shapes"),
    ],
)
def test_what_has_no_temperature_is_refused(logits: Any, truth: Any, message: str) -> None:
    """An end of the search is no result."""
    with pytest.raises(InputError, match=message):
        fit_temperature(np.asarray(logits), np.asarray(truth), "softmax")


def calibration() -> Calibration:
    """Return a calibration."""
    return Calibration("b 1", "00", "softmax", 1.5, 3, 100, {"all": {"before": {"ece": 0.1}, "after": {"ece": 0.01}}})


def test_a_calibration_comes_back_from_its_file(tmp_path: Path) -> None:
    """What was written is what is applied."""
    (tmp_path / "c.json").write_text(calibration().to_json())

    assert read_calibration(tmp_path / "c.json") == calibration()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 1, "bundle": "b"}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    """Probabilities must not be changed by what happens to be in a file."""
    (tmp_path / "c.json").write_text(text)

    with pytest.raises(ReadError, match="holds no calibration"):
        read_calibration(tmp_path / "c.json")
    (tmp_path / "c.json").write_text(calibration().to_json().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(ReadError, match="another version"):
        read_calibration(tmp_path / "c.json")


def test_a_calibration_that_has_changed_is_refused(tmp_path: Path) -> None:
    """A temperature that nobody fitted would change every probability; those of older versions carry no seal."""
    text = calibration().to_json()
    older = {name: value for name, value in json.loads(text).items() if name not in ("seal", "lesionlens")}
    (tmp_path / "old.json").write_text(json.dumps(older))
    assert read_calibration(tmp_path / "old.json") == calibration()

    (tmp_path / "c.json").write_text(text.replace("1.5", "2.5"))
    with pytest.raises(ReadError, match="has changed since it was written; calibrate again"):
        read_calibration(tmp_path / "c.json")


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_is_above_zero(temperature: float) -> None:
    """Dividing by it would turn the classes around."""
    with pytest.raises(InputError, match="above 0"):
        replace(calibration(), temperature=temperature)
