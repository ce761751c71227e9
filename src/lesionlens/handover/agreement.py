"""How far readers agree, as files: numbers, lesions, and confusions as heatmaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lesionlens.errors import LesionLensError
from lesionlens.handover.export import file_names
from lesionlens.handover.images import read_regions
from lesionlens.io.tables import row_writer
from lesionlens.report.matrices import write_matrix
from lesionlens.report.review import NOTICE_COLUMN, NOTICE_OF_TABLES, agreement_summary, detection_summary
from lesionlens.results import RESEARCH_USE
from lesionlens.review import Session
from lesionlens.review.agreement import Agreement, session_agreement
from lesionlens.review.detection import Detection, detection_agreement
from lesionlens.review.events import VERDICTS
from lesionlens.seals import file_hashes, sealed_text
from lesionlens.volume import Array

__all__ = ["write_agreement"]


def write_agreement(session: Session, folder: Path) -> tuple[Agreement, tuple[Detection, ...], tuple[str, ...]]:
    """Write how far the readers of a session agree into a folder that exists.

    Returns
    -------
    agreement, detections, problems
        What was found, and the cases whose regions could not be read, with the reason: they count for verdicts, but
        not for what was detected.
    """
    problems: list[str] = []

    def regions(case: str) -> dict[str, Array] | None:
        try:
            return read_regions(session, case)
        except LesionLensError as error:
            problems.append(f"{case}: left out of detections and Dice. {error}")
            return None

    agreement = session_agreement(session)
    detections, left_out = detection_agreement(session, regions)
    content: dict[str, Any] = {
        "schema_version": 1,
        "notice": RESEARCH_USE,
        "session": session.about,
        **agreement_summary(agreement),
        "detections": [detection_summary(one) for one in detections],
        "left_out": list(left_out),
    }
    _write_pairs(agreement, detections, folder / "agreement.csv")
    _write_lesions(detections, folder / "lesions.csv")
    _draw(agreement, folder)
    content["pins"] = {case: dict(session.case(case).pins) for case in session.case_ids}
    content["files"] = file_hashes(folder, [path.name for path in folder.iterdir()])
    (folder / "agreement.json").write_text(sealed_text(content), encoding="utf-8")
    return agreement, detections, tuple(problems)


def _write_pairs(agreement: Agreement, detections: Iterable[Detection], path: Path) -> None:
    """Write a row for each pair: verdicts, then what they found."""
    found = {(one.first, one.second): detection_summary(one) for one in detections}
    names = ("both", "first_only", "second_only", "agreement", "mean_dice")
    rows = []
    for pair in agreement.pairs:
        seen = found.get((pair.first, pair.second), {})
        counts = [int(n) for row in pair.confusion for n in row]
        rows.append([pair.first, pair.second, pair.n, pair.share, pair.kappa, *(seen.get(n) for n in names), *counts])
    cells = [f"{a}_{b}" for a in VERDICTS for b in VERDICTS]
    lesions = ("lesions_both", "lesions_first_only", "lesions_second_only", "detection_agreement", "mean_dice")
    _write(path, ("first", "second", "n", "share", "cohen_kappa", *lesions, *cells), rows)


def _write_lesions(detections: Iterable[Detection], path: Path) -> None:
    rows = [(d.first, d.second, one.case, one.first, one.second, one.dice) for d in detections for one in d.lesions]
    _write(path, ("first", "second", "case", "first_finding", "second_finding", "dice"), rows)


def _write(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        add = row_writer(file)
        add((*head, NOTICE_COLUMN))
        for row in rows:
            add((*row, NOTICE_OF_TABLES))


def _draw(agreement: Agreement, folder: Path) -> None:
    names = file_names(dict.fromkeys(name for pair in agreement.pairs for name in (pair.first, pair.second)))
    for pair in agreement.pairs:
        kappa = "" if pair.kappa is None else f", Cohen's kappa {pair.kappa:.2f}"
        for kind in ("png", "svg"):
            write_matrix(
                folder / f"confusion_{names[pair.first]}_{names[pair.second]}.{kind}",
                pair.confusion,
                VERDICTS,
                kind="counts",
                title=f"{pair.n} findings{kappa}",
                row_title=pair.first,
                column_title=pair.second,
            )
