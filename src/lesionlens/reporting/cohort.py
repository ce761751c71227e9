"""The reports of many cases: of a batch, and of an evaluation."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from lesionlens import __version__
from lesionlens.batch.cohort_page import cohort_page
from lesionlens.batch.store import BATCH, Store
from lesionlens.batch.summary import summarised, summary_of
from lesionlens.errors import ReadError
from lesionlens.report.pages import Picture
from lesionlens.report.result_page import Head, Part, ResultPage, Sheet, result_html
from lesionlens.report.words import N_, Words
from lesionlens.reporting.beside import metric_sheet
from lesionlens.reporting.gathering import open_evaluation, table_of, unchanged
from lesionlens.seals import checked, hash_file

__all__ = ["batch_report", "evaluation_report"]

_FIGURES: Final = {
    "dice_by_volume.png": N_("Dice of each case against the volume of its mask."),
    "froc.png": N_("Sensitivity against false positives per case over the thresholds, with intervals of all cases."),
    "reliability.png": N_("How often voxels of each probability were marked."),
}
_CASE_COLUMNS: Final = {
    "case": (N_("Case"), ""),
    "dice": (N_("Dice"), ""),
    "n_lesions": (N_("Lesions"), ""),
    "n_detected": (N_("Detected"), ""),
    "n_false_positives": (N_("False positives"), ""),
    "mask_volume_mm3": (N_("Marked"), "mm³"),
    "volume_mm3": (N_("Found"), "mm³"),
    "error": (N_("Left out because"), ""),
}


def batch_report(folder: Path, say: Words, *, changed: bool = False) -> str:
    """Return the page of all cases of a batch; in English it is the one that the batch has made.

    Raises
    ------
    ReadError
        If the batch is not done, or has changed since it was written and ``changed`` is not set.
    """
    content, _ = checked(folder / BATCH)
    if content is None:
        raise ReadError(f"{folder} holds no {BATCH}; let 'batch' finish, it goes on from where it stopped.")
    found = unchanged(folder, changed=changed)
    store = Store(folder)
    names = list(dict.fromkeys(row["case"] for row in table_of(folder / "summary.csv")))
    notes = (
        [say("THE RESULTS HAVE CHANGED SINCE THEY WERE WRITTEN: %(problems)s.", problems="; ".join(found.problems))]
        if found.problems
        else []
    )
    left_out = content.get("left_out", ())
    return cohort_page(summarised(store, names), partial(summary_of, store), left_out=left_out, say=say, notes=notes)


def evaluation_report(folder: Path, say: Words) -> str:
    """Return the page of an evaluation.

    Raises
    ------
    ReadError
        If the folder holds none, or has changed since it was written.
    """
    content = open_evaluation(folder)
    lead = say.many(
        "What was found against what readers marked, in %(n)s case.",
        "What was found against what readers marked, in %(n)s cases.",
        content["n_cases"],
    )
    pictures = [Picture((folder / name).read_bytes(), say(text)) for name, text in _FIGURES.items()]
    page = ResultPage(
        title=say("Evaluation of %(bundles)s", bundles=", ".join(content["bundles"])),
        lead=lead,
        facts={
            say("Class"): content["class"],
            say("Rule"): content["rule"],
            say("Left out"): say.figure(str(len(content["left_out"]))),
        },
        parts=[
            *(Part(_name(one, say), sheets=[metric_sheet(one, None, say)]) for one in content["strata"]),
            Part(say("Figures"), pictures=pictures, narrow=True),
            Part(say("Cases"), sheets=[_cases(folder, say)]),
        ],
        provenance={
            say("Evaluation, SHA-256"): hash_file(folder / "evaluation.json"),
            say("Seals"): say("verified: all files are as they were written"),
            say("Made by"): f"LesionLens {content['lesionlens']}",
            say("This page"): f"LesionLens {__version__}",
        },
        notes=content["notes"],
    )
    return result_html(page, words=say)


def _name(stratum: dict[str, object], say: Words) -> str:
    return say("Cases with %(value)s", value=stratum["name"]) if stratum["name"] else say("All cases")


def _cases(folder: Path, say: Words) -> Sheet:
    rows = table_of(folder / "cases.csv")
    shown = [name for name in _CASE_COLUMNS if any(row.get(name) for row in rows)]
    heads = [
        Head(say(_CASE_COLUMNS[name][0]), _CASE_COLUMNS[name][1], number=name not in ("case", "error"))
        for name in shown
    ]
    return Sheet(heads, [[_cell(name, row[name], say) for name in shown] for row in rows])


def _cell(name: str, text: str, say: Words) -> str:
    if name in ("case", "error") or not text:
        return text
    value = float(text)
    return say.figure(f"{value:.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}")
