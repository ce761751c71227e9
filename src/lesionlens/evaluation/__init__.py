"""Predictions of a cohort against what readers marked: overlap, distances, detection, calibration, attributions.

>>> cases = cases_to_evaluate("cases.csv")                         # doctest: +SKIP
>>> found = evaluate(cases)                                        # doctest: +SKIP
>>> found.strata[0]["dice"].value, found.strata[0]["dice"].low     # doctest: +SKIP
"""

from __future__ import annotations

from lesionlens.evaluation.cases import EvaluationCase, cases_to_evaluate
from lesionlens.evaluation.cohort import Estimate, Froc, Stratum, interval, sum_up
from lesionlens.evaluation.evaluating import Evaluation, evaluate
from lesionlens.evaluation.measuring import CaseMeasures, LesionMeasure, measure_case
from lesionlens.evaluation.writing import write_evaluation

__all__ = [
    "CaseMeasures",
    "Estimate",
    "Evaluation",
    "EvaluationCase",
    "Froc",
    "LesionMeasure",
    "Stratum",
    "cases_to_evaluate",
    "evaluate",
    "interval",
    "measure_case",
    "sum_up",
    "write_evaluation",
]
