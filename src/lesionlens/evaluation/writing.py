"""What an evaluation found, as tables, JSON and figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from lesionlens import __version__
from lesionlens.batch.summary import write_rows
from lesionlens.calibration import Reliability
from lesionlens.evaluation.cohort import CONFIDENCE, FROC_RATES, N_RESAMPLES, Stratum
from lesionlens.evaluation.evaluating import Evaluation
from lesionlens.evaluation.measuring import OVERLAP_RULE, SIZE_EDGES_MM3
from lesionlens.io.atomic import atomic_folder
from lesionlens.model.calibrated import BAND_MM
from lesionlens.report.evaluation import draw_dice_by_volume, draw_froc
from lesionlens.report.plots import write_figure
from lesionlens.report.reliability import draw_frequencies
from lesionlens.results import RESEARCH_USE
from lesionlens.seals import file_hashes, sealed_text

__all__ = ["CASE_COLUMNS", "LESION_COLUMNS", "SUMMARY_COLUMNS", "evaluation_summary", "write_evaluation"]

#: Version of evaluation.json.
SCHEMA: Final = 1
# Interfaces: add at the end, never rename.
CASE_COLUMNS: Final = (
    "case",
    "status",
    "stratum",
    "class",
    "threshold",
    "mask_volume_mm3",
    "volume_mm3",
    "volume_difference_mm3",
    "dice",
    "hausdorff95_mm",
    "average_surface_distance_mm",
    "n_lesions",
    "n_detected",
    "sensitivity",
    "n_regions",
    "n_false_positives",
    "precision",
    "ece",
    "ece_near",
    "brier",
    "pointing_game",
    "mass_accuracy",
    "average_precision",
    "error",
)
LESION_COLUMNS: Final = ("case", "kind", "number", "volume_mm3", "detected", "covered")
SUMMARY_COLUMNS: Final = ("stratum", "metric", "n_cases", "value", "low", "high")


def write_evaluation(
    found: Evaluation | Callable[[], Evaluation], out: Path | str, *, overwrite: bool = False
) -> Evaluation:
    """Write tables, figures and ``evaluation.json`` into a folder: all of it, or nothing.

    Parameters
    ----------
    found
        What was found, or a function that finds it: the folder is then tried first.
    out
        Folder to make. It must not exist, or be empty, unless ``overwrite``.
    overwrite
        Replace what the folder holds.

    Returns
    -------
    Evaluation
        What was written.

    Raises
    ------
    OutputError
        If the folder exists and holds files, or cannot be written.
    """
    with atomic_folder(out, overwrite=overwrite) as folder:
        evaluation = found() if callable(found) else found
        _write(evaluation, folder)
    return evaluation


def _write(found: Evaluation, folder: Path) -> None:
    write_rows(folder / "cases.csv", CASE_COLUMNS, _case_rows(found))
    write_rows(folder / "lesions.csv", LESION_COLUMNS, _lesion_rows(found))
    rows = [{"stratum": one.name, **asdict(row)} for one in found.strata for row in one.estimates]
    write_rows(folder / "summary.csv", SUMMARY_COLUMNS, rows)
    _draw(found, folder)
    inputs = {case.name: dict(case.inputs) for case in found.cases}
    content = {
        **evaluation_summary(found),
        "inputs": inputs,
        "files": file_hashes(folder, [path.name for path in folder.iterdir()]),
    }
    (folder / "evaluation.json").write_text(sealed_text(content), encoding="utf-8")


def evaluation_summary(found: Evaluation) -> dict[str, Any]:
    """Return what was compared, how, and what was found, as plain values that JSON takes."""
    return {
        "schema_version": SCHEMA,
        "notice": RESEARCH_USE,
        "lesionlens": __version__,
        "bundles": sorted({case.bundle for case in found.cases}),
        "class": found.label,
        "n_cases": len(found.cases),
        "left_out": dict(found.left_out),
        "by": found.by,
        "rule": OVERLAP_RULE,
        "size_edges_mm3": list(SIZE_EDGES_MM3),
        "froc_rates": list(FROC_RATES),
        "bootstrap": {"unit": "case", "interval": "percentile", "confidence": CONFIDENCE, "resamples": N_RESAMPLES},
        "notes": list(found.notes),
        "strata": [_stratum(one) for one in found.strata],
    }


def _stratum(one: Stratum) -> dict[str, Any]:
    return {
        "name": one.name,
        "cases": list(one.cases),
        "estimates": {row.metric: {k: v for k, v in asdict(row).items() if k != "metric"} for row in one.estimates},
        "froc": asdict(one.froc),
        "reliability": _diagram(one.reliability),
        "reliability_near": None if one.reliability_near is None else _diagram(one.reliability_near),
    }


def _diagram(found: Reliability) -> dict[str, Any]:
    return {
        "mean_probability": [None if np.isnan(value) else value for value in found.mean_probability.tolist()],
        "frequency": [None if np.isnan(value) else value for value in found.frequency.tolist()],
        "counts": found.counts.tolist(),
    }


def _case_rows(found: Evaluation) -> list[dict[str, Any]]:
    rows = [
        {
            "case": one.name,
            "status": "done",
            "stratum": found.values.get(one.name),
            "class": one.label,
            **one.numbers,
            "error": None,
        }
        for one in found.cases
    ]
    empty = dict.fromkeys(CASE_COLUMNS)
    rows += [
        {**empty, "case": name, "status": "left out", "stratum": found.values.get(name), "error": error}
        for name, error in found.left_out.items()
    ]
    return rows


def _lesion_rows(found: Evaluation) -> list[dict[str, Any]]:
    return [
        {"case": case.name, **asdict(one), "detected": str(one.covered > 0).lower() if one.kind == "marked" else None}
        for case in found.cases
        for one in case.lesions
    ]


def _draw(found: Evaluation, folder: Path) -> None:
    groups: dict[str, list[tuple[float, float]]] = {}
    for case in found.cases:
        volume, dice = case.numbers["mask_volume_mm3"], case.numbers["dice"]
        points = groups.setdefault(found.values.get(case.name, ""), [])
        if volume is not None and dice is not None:
            points.append((volume, dice))
    write_figure(folder / "dice_by_volume.png", draw_dice_by_volume(groups))
    curves = {
        one.name: tuple(
            zip(one.froc.false_positives_per_case, one.froc.sensitivity, one.froc.low, one.froc.high, strict=True)
        )
        for one in found.strata
        if one.froc.thresholds
    }
    write_figure(folder / "froc.png", draw_froc(curves))
    parts = {"all voxels": found.strata[0].reliability, f"within {BAND_MM:g} mm": found.strata[0].reliability_near}
    reliability = draw_frequencies(
        {name: one for name, one in parts.items() if one is not None}, title=f"Voxels of {len(found.cases)} cases"
    )
    write_figure(folder / "reliability.png", reliability)
