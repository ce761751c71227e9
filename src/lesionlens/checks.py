"""How far a map may be believed: what each check found, in numbers and in words.

Values only. The checks are made in ``lesionlens.explain.trust``, drawn and written in ``lesionlens.report.trust``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lesionlens.errors import ExplainError, InputError, unknown_name
from lesionlens.heatmap import Heatmap
from lesionlens.volume import frozen_mapping

__all__ = ["CHECKS", "VERDICT_WORDS", "Chart", "Check", "Curve", "TrustReport", "Verdict", "wanted_checks"]

Verdict = Literal["passes", "fails", "unclear"]

#: What readers see of each verdict, in the terminal, in pictures and on screens.
VERDICT_WORDS: Mapping[str, str] = frozen_mapping({"passes": "PASS", "fails": "FLAGGED", "unclear": "UNCLEAR"})

#: The checks by name, with what each asks.
CHECKS: Mapping[str, str] = frozen_mapping(
    {
        "seen": "Does the model see the class at all?",
        "randomisation": "Does the map change when the weights are destroyed?",
        "perturbation": "Does the model need what the map marks?",
        "stability": "Does the map stay when the scan hardly changes?",
        "localisation": "Does the map lie on what a reader marked?",
        "agreement": "Do other methods say the same?",
    }
)


def wanted_checks(names: Collection[str] | None, *, mask: bool, others: bool) -> list[str]:
    """Return the checks to make, in their order.

    Parameters
    ----------
    names
        Keys of :data:`CHECKS`; None for all that can be made.
    mask, others
        Whether there is a mask, and other methods, to compare with.

    Raises
    ------
    ExplainError
        If there is no such check, or it needs what there is not.
    """
    for name in names or ():
        if name not in CHECKS:
            raise ExplainError(unknown_name("check", name, CHECKS))
    missing = {"localisation": not mask, "agreement": not others}
    for name, lacks in missing.items():
        if lacks and name in (names or ()):
            what = "a mask" if name == "localisation" else "other methods"
            raise ExplainError(f"The check {name!r} needs {what} to compare with; give some, or leave it out.")
    return [name for name in CHECKS if (names is None or name in names) and not missing.get(name)]


@dataclass(frozen=True)
class Curve:
    """One line of a chart.

    Parameters
    ----------
    label
        What it is.
    x, y
        Its points.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise InputError(f"A curve has as many x as y; {self.label!r} has {len(self.x)} and {len(self.y)}.")


@dataclass(frozen=True)
class Chart:
    """What a check shows as a picture.

    Parameters
    ----------
    title, x_label, y_label
        Words.
    curves
        Lines, the first the map's own.
    ticks
        Names of the positions 0, 1, 2, ... of x; empty where x is a number.
    limit
        The y that the verdict compares with; None where there is none.
    joined
        Whether what lies between two points means anything.
    """

    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    ticks: tuple[str, ...] = ()
    limit: float | None = None
    joined: bool = True


@dataclass(frozen=True)
class Check:
    """What one check found.

    Parameters
    ----------
    name
        A key of :data:`CHECKS`.
    verdict
        ``"unclear"`` where the check cannot tell.
    sentence
        What was found, in plain words, with the numbers that decide.
    numbers
        All numbers by name; NaN where one could not be computed.
    charts
        For the picture.
    notes
        How it was done: one sentence each.
    """

    name: str
    verdict: Verdict
    sentence: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    charts: tuple[Chart, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in CHECKS or self.verdict not in get_args(Verdict):
            raise InputError(
                f"A check is one of {', '.join(CHECKS)} and {' or '.join(get_args(Verdict))};"
                f" found {self.name!r}, {self.verdict!r}."
            )
        object.__setattr__(self, "numbers", frozen_mapping(self.numbers))

    @property
    def question(self) -> str:
        """What the check asks."""
        return CHECKS[self.name]


@dataclass(frozen=True, eq=False)
class TrustReport:
    """All checks of one map.

    Parameters
    ----------
    heatmap
        The map, on the scan's grid.
    checks
        What was found, in the order of :data:`CHECKS`.
    seconds
        Seconds for each check.
    """

    heatmap: Heatmap
    checks: tuple[Check, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", frozen_mapping(self.seconds))

    def __getitem__(self, name: str) -> Check:
        """Return a check by name."""
        return next(check for check in self.checks if check.name == name)

    @property
    def verdict(self) -> Verdict:
        """``"fails"`` where a check does, else ``"unclear"`` where one is, else ``"passes"``."""
        found = {check.verdict for check in self.checks}
        return "fails" if "fails" in found else "unclear" if "unclear" in found or not found else "passes"

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        failed = _questions(self.checks, "fails")
        doubtful = _questions(self.checks, "unclear")
        if failed:
            return f"Do not rely on this map. Flagged: {failed}"
        if doubtful:
            return f"Nothing speaks against this map, but it is not settled: {doubtful}"
        if not self.checks:
            return "Nothing was checked."
        return "Nothing that was checked speaks against this map. That does not make the model right."

    def record(self) -> dict[str, Any]:
        """Return everything but the map as plain values that JSON takes; what is not finite becomes None."""
        made = self.heatmap.provenance
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "class": self.heatmap.label,
            "map": {
                "kind": self.heatmap.kind,
                "bundle": made.bundle,
                "bundle_sha256": made.bundle_sha256,
                "weights_sha256": made.weights_sha256,
                "method": made.method,
                "target": made.target,
                "layer": made.layer,
                "resolution_mm": made.resolution_mm,
                "options": dict(made.options),
                "notes": list(made.notes),
            },
            "checks": [_check_record(check) for check in self.checks],
            "seconds": dict(self.seconds),
            "versions": dict(made.versions),
        }


def _questions(checks: Sequence[Check], verdict: Verdict) -> str:
    return " ".join(check.question for check in checks if check.verdict == verdict)


def _check_record(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "question": check.question,
        "verdict": check.verdict,
        "sentence": check.sentence,
        "numbers": {name: _plain(value) for name, value in check.numbers.items()},
        "charts": [_chart_record(chart) for chart in check.charts],
        "notes": list(check.notes),
    }


def _chart_record(chart: Chart) -> dict[str, Any]:
    return {
        "title": chart.title,
        "x_label": chart.x_label,
        "y_label": chart.y_label,
        "ticks": list(chart.ticks),
        "limit": chart.limit,
        "curves": [
            {"label": curve.label, "x": [*map(_plain, curve.x)], "y": [*map(_plain, curve.y)]} for curve in chart.curves
        ],
    }


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
