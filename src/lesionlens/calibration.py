"""Calibration: do things that a model gives 80 % happen in 80 of 100 cases, and how to bring it closer to that.

Temperature scaling (Guo et al., ICML 2017) divides the logits by one number T before the softmax or sigmoid. It changes
how sure the model is, and never which class wins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lesionlens import __version__
from lesionlens.blocks import blocks
from lesionlens.errors import InputError, ReadError, counted, unknown_name
from lesionlens.seals import SEAL, checked, sealed_text

__all__ = ["Calibration", "Reliability", "brier", "fit_temperature", "probabilities", "read_calibration", "reliability"]

Kind = Literal["softmax", "sigmoid"]
Floats = NDArray[np.float64]

# Version of calibration.json; another one is refused, not guessed at.
SCHEMA: Final = 1
N_BINS: Final = 20
# Errors are printed with four digits behind the point. What falls by less is no better as far as anybody sees: a
# temperature beside 1 fits the chance of its cases.
SHOWN: Final = 1e-4
# Temperatures that are looked at. Whatever comes to lie at an end has no best temperature inside.
_LOWEST, _HIGHEST = 0.02, 50.0


@dataclass(frozen=True)
class Calibration:
    """A temperature for one bundle, and what it did on the cases that it was fitted to.

    Parameters
    ----------
    bundle, weights_sha256
        Of which bundle; another one has another temperature.
    kind
        How its logits become probabilities.
    temperature
        What they are divided by. Above 1 the model was too sure, below 1 not sure enough.
    n_cases, n_samples
        Labelled cases, and voxels (cases of a classification) that the temperature was fitted to.
    scores
        For ``"all"`` voxels and the ``"band"`` around the foreground (for classifications ``"all"`` alone):
        ``"before"`` and ``"after"``, each with the expected (``"ece"``) and average (``"ace"``) calibration error,
        ``"brier"``, and the ``"reliability"`` diagram.
    """

    bundle: str
    weights_sha256: str
    kind: Kind
    temperature: float
    n_cases: int
    n_samples: int
    scores: Mapping[str, Mapping[str, Mapping[str, Any]]]

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(unknown_name("activation", self.kind, get_args(Kind)))
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(f"A temperature is a number above 0; found {self.temperature}.")

    @property
    def words(self) -> str:
        """One sentence for the provenance of everything that it changed."""
        return (
            f"Calibrated: logits were divided by the temperature {self.temperature:.4g}, fitted to"
            f" {counted(self.n_cases, 'labelled case')}; it holds for scans like those alone."
        )

    @property
    def found_wrong(self) -> str:
        """What the model was, ``"too sure"`` or ``"not sure enough"``; empty where no error fell by what is shown."""
        falls = (each["before"]["ece"] - each["after"]["ece"] for each in self.scores.values())
        if not any(fall > SHOWN for fall in falls):
            return ""
        return "too sure" if self.temperature > 1 else "not sure enough"

    def to_json(self, *, inputs: Sequence[Mapping[str, str]] = (), files: Mapping[str, str] | None = None) -> str:
        """Return the text of ``calibration.json``, with a seal.

        Parameters
        ----------
        inputs
            Hashes of what it was fitted to, case by case.
        files
            Hash of each file that was written with it, such as the diagram.
        """
        about = {"lesionlens": __version__, "inputs": [dict(one) for one in inputs], "files": dict(files or {})}
        return sealed_text({"schema_version": SCHEMA, **asdict(self), **about})


@dataclass(frozen=True, eq=False)
class Reliability:
    """The data of a reliability diagram.

    Parameters
    ----------
    mean_probability, frequency
        Per bin, of the probabilities in it and of what came true; NaN where it is empty.
    counts
        Per bin, or the sum of its weights.
    """

    mean_probability: Floats
    frequency: Floats
    counts: Floats

    @property
    def expected_error(self) -> float:
        """Expected calibration error: the gap of each bin, weighted by its count."""
        held = self.counts > 0
        return float(np.average(self._gaps[held], weights=self.counts[held]))

    @property
    def average_error(self) -> float:
        """Average calibration error: the plain mean of the gaps of bins that are not empty."""
        return float(self._gaps[self.counts > 0].mean())

    @property
    def _gaps(self) -> Floats:
        return np.abs(self.mean_probability - self.frequency)


def read_calibration(path: Path | str) -> Calibration:
    """Read what ``lesionlens calibrate`` wrote.

    Parameters
    ----------
    path
        The JSON file.

    Raises
    ------
    ReadError
        If the file is none of its, or of another version.
    """
    path = Path(path)
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        if held["schema_version"] != SCHEMA:
            raise ReadError(f"{path} is of another version; this LesionLens reads version {SCHEMA}. Calibrate again.")
        wrong = checked(path)[1] if SEAL in held else None  # older ones carry none
        if wrong:
            raise ReadError(f"{path} {wrong}; calibrate again.")
        return Calibration(**{one.name: held[one.name] for one in fields(Calibration)})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(
            f"{path} holds no calibration ({type(error).__name__}); give a file that 'lesionlens calibrate' wrote."
        ) from error


def probabilities(logits: Floats, kind: Kind, temperature: float = 1.0) -> Floats:
    """Return the probabilities of logits at a temperature.

    Parameters
    ----------
    logits
        (n, classes) real numbers.
    kind
        ``"softmax"``: classes exclude each other; ``"sigmoid"``: they are independent.
    temperature
        What logits are divided by, above 0.

    Returns
    -------
    numpy.ndarray
        (n, classes) float64 in [0, 1].
    """
    from scipy.special import expit, softmax

    scaled = np.asarray(logits, dtype=np.float64) / temperature
    return np.asarray(softmax(scaled, axis=1) if kind == "softmax" else expit(scaled))


def fit_temperature(logits: NDArray[Any], truth: NDArray[Any], kind: Kind) -> float:
    """Return the temperature with the highest likelihood of what is true.

    Parameters
    ----------
    logits
        (n, classes) real numbers.
    truth
        (n, classes) 0 or 1: for softmax one 1 in each row.
    kind
        How logits become probabilities.

    Raises
    ------
    InputError
        If there is nothing to fit, shapes differ, or no temperature is best: every label is what the model says, so
        that more confidence is always better; or the model knows nothing, so that less always is.
    """
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if z.shape != y.shape or z.ndim != 2 or not z.size:
        raise InputError(f"Logits and truth are two (n, classes) arrays; found shapes {z.shape} and {y.shape}.")
    from scipy.optimize import minimize_scalar

    def loss(t: float) -> float:
        return _nll(z / np.exp(t), y, kind)

    low, high = np.log(_LOWEST), np.log(_HIGHEST)
    # The loss is convex in 1 / T, so it has one minimum along log T, or none inside.
    found = float(minimize_scalar(loss, bounds=(low, high), method="bounded").x)
    for end, reason in ((low, "the labels are what it says everywhere"), (high, "it says nothing about the labels")):
        if loss(end) <= loss(found):
            raise InputError(f"The model has no best temperature on these cases: {reason}. Calibrate on more cases.")
    return float(np.exp(found))


def _nll(z: Floats, y: Floats, kind: Kind) -> float:
    from scipy.special import logsumexp

    if kind == "softmax":
        return float((logsumexp(z, axis=1) - (z * y).sum(axis=1)).mean())
    return float((np.logaddexp(0, z) - z * y).mean())


def reliability(
    probability: NDArray[Any], truth: NDArray[Any], *, n_bins: int = N_BINS, weights: NDArray[Any] | None = None
) -> Reliability:
    """Sort probabilities of one class into bins of equal width and see how often it was true.

    Parameters
    ----------
    probability
        In [0, 1], of any shape.
    truth
        0 or 1, of the same shape.
    n_bins
        Number of bins.
    weights
        What each stands for, of the same shape; by default 1.

    Raises
    ------
    InputError
        If the numbers of probabilities and truths differ, or there are none.
    """
    p, y = np.atleast_1d(probability), np.atleast_1d(truth)
    if p.size != y.size or not p.size:
        raise InputError(f"A reliability needs as many probabilities as truths; found {p.size} and {y.size}.")
    if p.shape != y.shape:
        p, y = p.ravel(), y.ravel()
    w = None if weights is None else np.asarray(weights).reshape(p.shape)
    sums = np.zeros((3, n_bins))
    for part in blocks(p):
        sums += _binned(p[part], y[part], None if w is None else w[part], n_bins)
    counts = sums[0]
    held = np.where(counts > 0, counts, np.nan)
    return Reliability(sums[1] / held, sums[2] / held, counts)


def _binned(probability: NDArray[Any], truth: NDArray[Any], weights: NDArray[Any] | None, n_bins: int) -> Floats:
    """Return, per bin, the sums of the weights, of the weighted probabilities and of what came true."""
    p, y = (np.asarray(values, dtype=np.float64).ravel() for values in (probability, truth))
    w = np.ones(p.shape) if weights is None else np.asarray(weights, dtype=np.float64).ravel()
    place = np.clip((p * n_bins).astype(np.int64), 0, n_bins - 1)
    return np.stack([np.bincount(place, weights=w * values, minlength=n_bins) for values in (1.0, p, y)])


def brier(probability: NDArray[Any], truth: NDArray[Any], *, weights: NDArray[Any] | None = None) -> float:
    """Return the mean squared distance of probabilities from what was true [1]_, here of one class: 0 is perfect.

    Parameters
    ----------
    probability
        In [0, 1], of any shape.
    truth
        0 or 1, of the same shape.
    weights
        What each stands for, of the same shape; by default 1.

    Returns
    -------
    float
        In [0, 1]; the paper adds up over all classes, so that its range is [0, 2].

    References
    ----------
    .. [1] Brier, Monthly Weather Review 78, 1950
    """
    apart = np.asarray(probability, dtype=np.float64) - np.asarray(truth, dtype=np.float64)
    return float(np.average(apart**2, weights=weights))


def scores(
    logits: NDArray[Any],
    truth: NDArray[Any],
    kind: Kind,
    temperature: float,
    weights: NDArray[Any] | None = None,
    *,
    background: int | None = None,
) -> dict[str, Any]:
    """Return errors and diagram of (n, classes) logits at a temperature.

    Errors are the means of those of the classes, each against all others [1]_; the diagram pools the classes. The
    background is none of them, and of two exclusive classes the second alone counts: the first one is its mirror image,
    and in one diagram what is too high for one is too low for the other and adds up to nothing.

    Parameters
    ----------
    logits, truth, kind, temperature
        As of :func:`fit_temperature` and :func:`probabilities`.
    weights
        (n,) what each row stands for; by default 1.
    background
        The class that is none, if there is one.

    Returns
    -------
    dict
        ``"ece"``, ``"ace"`` and ``"brier"`` in [0, 1], and the lists of ``"reliability"`` with None for empty bins.

    Raises
    ------
    InputError
        If shapes differ, or there is nothing to score.

    References
    ----------
    .. [1] Kull et al., Beyond temperature scaling, NeurIPS 2019, https://arxiv.org/abs/1910.12656, classwise-ECE.
    """
    z = np.asarray(logits)
    counted = _counted(z.shape[1], kind, background)
    p, y = probabilities(z, kind, temperature)[:, counted], np.asarray(truth)[:, counted]
    w = None if weights is None else np.broadcast_to(np.asarray(weights)[:, None], p.shape)
    each = [reliability(p[:, k], y[:, k], weights=weights) for k in range(len(counted))]
    found = reliability(p, y, weights=w)
    diagram = {
        "mean_probability": [None if np.isnan(value) else value for value in found.mean_probability.tolist()],
        "frequency": [None if np.isnan(value) else value for value in found.frequency.tolist()],
        "counts": found.counts.tolist(),
    }
    return {
        "ece": float(np.mean([one.expected_error for one in each])),
        "ace": float(np.mean([one.average_error for one in each])),
        "brier": brier(p, y, weights=w),
        "reliability": diagram,
    }


def _counted(classes: int, kind: Kind, background: int | None) -> list[int]:
    """Return the classes whose probabilities are scored; see :func:`scores`."""
    found = [k for k in range(classes) if k != background]
    return found[1:] if kind == "softmax" and len(found) == classes == 2 else found
