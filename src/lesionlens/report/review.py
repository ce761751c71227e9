"""What readers found, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lesionlens.io.tables import row_writer
from lesionlens.review import CaseState, Event, FindingState, Session, reading_seconds
from lesionlens.review.agreement import Agreement, PairAgreement
from lesionlens.review.detection import Detection
from lesionlens.review.rules import MODEL
from lesionlens.seals import file_hashes, sealed_text

__all__ = [
    "NOTICE_COLUMN",
    "NOTICE_OF_TABLES",
    "REVIEW_COLUMNS",
    "agreement_summary",
    "agreement_words",
    "detection_summary",
    "finding_rows",
    "write_findings",
]

# The last one of every table that leaves a session: a row that was copied out of it still says what it is not for.
NOTICE_COLUMN = "notice"
NOTICE_OF_TABLES = "Research use only. Not a medical device; not a diagnosis."
REVIEW_COLUMNS = (
    "case",
    "case_name",
    "reader",
    "finding",
    "class",
    "label",
    "origin",
    "verdict",
    "category",
    "confidence",
    "comments",
    "replaced_by",
    "n_edits",
    "measured_mm",
    "volume_mm3",
    "centroid_r_mm",
    "centroid_a_mm",
    "centroid_s_mm",
    "probability_max",
    "case_status",
    "case_flagged",
    "case_seconds",
    "voxels",
    "n_voxels",
    "mask_label",
)


def finding_rows(
    session: Session, *, measured: Mapping[tuple[str, str, str], Mapping[str, Any]] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a row for every finding, reader by reader, of the cases that the reader touched.

    Keys are :data:`REVIEW_COLUMNS`; what a reader did not say is None, never a guess.

    Parameters
    ----------
    session
        What was read.
    measured
        What was measured on the voxels as a reader left them, by case, reader and finding; it stands in the place of
        the model's figures.
    """
    for reader in session.readers:
        for case in session.cases_of(reader):
            entry, state = session.case(case), session.state(case, reader)
            events = session.events(case, reader)
            about = {finding.id: finding for finding in entry.findings}
            for finding in state.findings.values():
                model = about.get(finding.id)
                statistics = model.statistics if model else _statistics(finding.id, events)
                yield {
                    **{"case": case, "case_name": entry.name, "reader": reader, "finding": finding.id},
                    **{"class": model.label_class if model else None, "label": model.label if model else None},
                    **_said(finding),
                    **_measured(statistics),
                    **_case(state, events),
                    **dict.fromkeys(("voxels", "n_voxels", "mask_label")),
                    **(measured or {}).get((case, reader, finding.id), {}),
                }


def _said(finding: FindingState) -> dict[str, Any]:
    return {
        "origin": finding.origin,
        "verdict": finding.verdict,
        "category": finding.category,
        "confidence": finding.confidence,
        "comments": list(finding.comments),
        "replaced_by": list(finding.replaced_by),
        "n_edits": len(finding.edits),
        "measured_mm": [line.length_mm for line in finding.measurements],
    }


def _measured(statistics: Mapping[str, Any]) -> dict[str, Any]:
    centre = statistics.get("centroid_ras") or (None, None, None)
    return {
        "volume_mm3": statistics.get("volume_mm3"),
        **{f"centroid_{axis}_mm": value for axis, value in zip("ras", centre, strict=True)},
        "probability_max": statistics.get("probability_max"),
    }


def _case(state: CaseState, events: list[Event]) -> dict[str, Any]:
    seconds = round(reading_seconds(events), 3)
    return {"case_status": state.status, "case_flagged": state.flagged, "case_seconds": seconds}


def _statistics(finding: str, events: list[Event]) -> Mapping[str, Any]:
    """Return what was measured of a reader's own finding when it was added."""
    added = (e.act.value["statistics"] for e in events if e.act.kind == "added" and e.act.finding == finding)
    return next(added, {})


def write_findings(
    session: Session, folder: Path, *, measured: Mapping[tuple[str, str, str], Mapping[str, Any]] | None = None
) -> None:
    """Write ``findings.csv`` and ``findings.json`` into a folder that exists; the latter seals all that lies there.

    The JSON file also holds the whole trail: who did what and when, in its order, what was undone included. What was
    ``measured`` again goes into the rows; see :func:`finding_rows`.
    """
    rows = list(finding_rows(session, measured=measured))
    with (folder / "findings.csv").open("w", newline="", encoding="utf-8") as file:
        add = row_writer(file)
        add((*REVIEW_COLUMNS, NOTICE_COLUMN))
        for row in rows:
            add((*(_listed(row[name]) for name in REVIEW_COLUMNS), NOTICE_OF_TABLES))
    content = {
        "schema_version": 1,
        "notice": NOTICE_OF_TABLES,
        "session": session.about,
        "findings": rows,
        "trail": [_trail(event) for event in session.events()],
        "pins": {case: dict(session.case(case).pins) for case in session.case_ids},
        "files": file_hashes(folder, [path.name for path in folder.iterdir()]),
    }
    (folder / "findings.json").write_text(sealed_text(content), encoding="utf-8")


def agreement_words(found: Agreement) -> tuple[str, ...]:
    """Return an agreement in words, a line for each two readers; kappa says nothing beside the model."""
    lines = [_pair_words(pair) for pair in found.pairs if pair.n]
    if len(found.readers) > 2 and found.fleiss is not None:
        lines.append(f"all readers: {found.n_all} findings, Fleiss' kappa {found.fleiss:.3f}")
    return tuple(lines) or ("No finding was judged by two readers yet.",)


def _pair_words(pair: PairAgreement) -> str:
    same = f"{pair.first} and {pair.second}: the same on {pair.confusion.trace()} of {pair.n} findings"
    return same if pair.kappa is None or pair.second == MODEL else f"{same}, Cohen's kappa {pair.kappa:.3f}"


def agreement_summary(found: Agreement) -> dict[str, Any]:
    """Return an agreement as plain values that JSON takes."""
    pairs = [
        {
            "first": pair.first,
            "second": pair.second,
            "n": pair.n,
            "share": pair.share,
            "cohen_kappa": pair.kappa,
            "confusion": pair.confusion.tolist(),
        }
        for pair in found.pairs
    ]
    return {
        "readers": list(found.readers),
        "pairs": pairs,
        "fleiss_kappa": found.fleiss,
        "n_all": found.n_all,
        "consensus": list(found.consensus),
    }


def detection_summary(found: Detection) -> dict[str, Any]:
    """Return what two found, without the single lesions, as plain values that JSON takes."""
    return {
        "first": found.first,
        "second": found.second,
        "both": found.both,
        "first_only": found.first_only,
        "second_only": found.second_only,
        "agreement": found.agreement,
        "mean_dice": found.mean_dice,
    }


def _trail(event: Event) -> dict[str, Any]:
    act = event.act
    return {
        **{"id": event.id, "step": event.step, "at": event.at, "reader": event.reader, "case": event.case},
        **{"kind": act.kind, "finding": act.finding or None, "value": dict(act.value), "mask_bytes": len(act.mask)},
    }


def _listed(cell: Any) -> Any:
    return "; ".join(map(str, cell)) if isinstance(cell, list) else cell
