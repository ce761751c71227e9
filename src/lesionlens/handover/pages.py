"""The report of a session: a page for each case and one for all, with pictures of the findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlens import __version__
from lesionlens.errors import LesionLensError
from lesionlens.handover.images import read_images
from lesionlens.handover.measuring import Read, measure_reads
from lesionlens.heatmap import Heatmap
from lesionlens.progress import Progress, silent
from lesionlens.report.key_image import key_image
from lesionlens.report.pages import CasePage, FindingPart, Picture, ReaderPart, SessionPage, case_html, session_html
from lesionlens.report.review import finding_rows
from lesionlens.report.words import N_
from lesionlens.results import CaseResult
from lesionlens.review import Session, reading_seconds
from lesionlens.review.agreement import session_agreement
from lesionlens.review.blinding import mode
from lesionlens.review.drawn import model_voxels
from lesionlens.review.events import VERDICTS
from lesionlens.review.portable import Cleaner, case_codes, cleaner
from lesionlens.review.rules import MODEL
from lesionlens.review.voxels import Voxels

__all__ = ["MOST_PICTURES", "write_pages"]

# On the page of all cases; more would make it too large for a browser. Each case has its pictures on its own page.
MOST_PICTURES = 200

Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Words:
    """How cases and texts are shown, where nothing may lead to a patient."""

    codes: Mapping[str, str]
    clean: Cleaner


@dataclass(frozen=True)
class _Shown:
    """What can be shown of a case: images and voxels by reader; neither where they could not be read."""

    result: CaseResult | None
    reads: Mapping[str, Read]
    model: Mapping[str, Voxels]


def write_pages(session: Session, folder: Path, *, progress: Progress = silent) -> tuple[str, ...]:
    """Write ``session.html`` and a page for each case that a reader touched, into a folder that exists.

    Returns
    -------
    tuple of str
        Cases without pictures, with the reason.
    """
    entries = [session.case(name) for name in session.case_ids]
    words = _Words(case_codes([entry.id for entry in entries]), cleaner(entries))
    rows: dict[str, list[Row]] = {}
    for row in finding_rows(session):
        rows.setdefault(row["case"], []).append(row)
    problems: list[str] = []
    listed: list[Row] = []
    touched = [case for case in session.case_ids if session.events(case)]
    for n, case in enumerate(touched):
        progress("Writing pages", n, len(touched))
        shown, problem = _shown(session, case)
        if problem:
            problems.append(f"{words.codes[case]}: no pictures. {problem}")
        page = _case_page(session, case, rows.get(case, []), shown, words)
        name = f"{page.case}.html"
        (folder / name).write_text(case_html(page), encoding="utf-8")
        picture = next((p for finding in page.findings for p in finding.pictures), None) if n < MOST_PICTURES else None
        facts = {"case": page.case, "page": name, "reads": page.reads, "findings": len(page.findings)}
        listed.append({**facts, "picture": picture})
    progress("Writing pages", len(touched), len(touched))
    content = session_html(_session_page(session, rows, listed, words))
    (folder / "session.html").write_text(content, encoding="utf-8")
    return tuple(problems)


def _shown(session: Session, case: str) -> tuple[_Shown, str]:
    try:
        result = read_images(session, case)
        reads = {read.reader: read for read in measure_reads(session, case, result)}
        return _Shown(result, reads, model_voxels(session.case(case).findings, result.labels)), ""
    except LesionLensError as error:
        return _Shown(None, {}, {}), str(error)


def _case_page(session: Session, case: str, rows: Sequence[Row], shown: _Shown, words: _Words) -> CasePage:
    readers = [name for name in session.readers if session.events(case, name)]
    names = dict.fromkeys((row["finding"], row["reader"] if row["origin"] == "reader" else "") for row in rows)
    findings = []
    for name, drawn_by in names:
        own = [r for r in rows if r["finding"] == name and (r["reader"] if r["origin"] == "reader" else "") == drawn_by]
        origin = f"drawn by {drawn_by}" if drawn_by else f"found by the model, {own[0]['class']}"
        parts = [_reader_part(row, shown, words) for row in own]
        findings.append(FindingPart(name, origin, parts, list(_pictures(name, own, shown))))
    notes = [] if shown.result else ["The scan or the results could not be read here: figures are the model's."]
    reads = [_read_facts(session, case, reader) for reader in readers]
    return CasePage(words.codes[case], reads, findings, _case_provenance(session, case, shown.result), notes)


def _read_facts(session: Session, case: str, reader: str) -> dict[str, Any]:
    state, seconds = session.state(case, reader), reading_seconds(session.events(case, reader))
    read = N_("on their own") if mode(session, case, reader) == "independent" else N_("after others were shown")
    facts = {"reader": reader, "status": state.status, "flagged": state.flagged, "mode": read}
    return {**facts, "minutes": f"{seconds / 60:.1f}"}


def _reader_part(row: Row, shown: _Shown, words: _Words) -> ReaderPart:
    read = shown.reads.get(row["reader"])
    measured = read.rows.get(row["finding"], {}) if read else row
    voxels = "as the model drew it"
    if row["origin"] == "reader":
        voxels = "drawn"
    elif row["n_edits"]:
        voxels = f"edited {row['n_edits']} times" if row["n_edits"] > 1 else "edited once"
    figures = {
        name: f"{measured[column]:,.{digits}f}\N{NO-BREAK SPACE}{unit}".strip()
        for name, column, digits, unit in (
            ("volume", "volume_mm3", 1, "mm³"),
            ("largest diameter", "diameter_mm", 1, "mm"),
            ("largest axial diameter", "axial_diameter_mm", 1, "mm"),
            ("highest probability", "probability_max", 2, ""),
        )
        if measured.get(column) is not None
    }
    figures |= {f"line {n}": f"{mm:.1f}\N{NO-BREAK SPACE}mm" for n, mm in enumerate(row["measured_mm"], start=1)}
    return ReaderPart(
        row["reader"],
        row["verdict"],
        words.clean(row["category"]) if row["category"] else None,
        row["confidence"],
        [words.clean(text) for text in row["comments"]],
        voxels,
        figures,
        row["replaced_by"],
    )


def _pictures(name: str, rows: Sequence[Row], shown: _Shown) -> Iterator[Picture]:
    """Yield a picture for each way in which the finding was drawn."""
    if shown.result is None:
        return
    done: list[tuple[Voxels, list[str]]] = []
    for row in rows:
        voxels = shown.reads[row["reader"]].voxels[name]
        for other, readers in done:
            if np.array_equal(voxels, other):
                readers.append(row["reader"])
                break
        else:
            done.append((voxels, [row["reader"]]))
    model = shown.model.get(name)
    for voxels, readers in done:
        if len(voxels):
            own = model is None or not np.array_equal(voxels, model)
            yield _picture(name, voxels, model if own else None, ", ".join(readers) if own else "", rows, shown.result)


def _picture(
    name: str, voxels: Voxels, model: Voxels | None, readers: str, rows: Sequence[Row], result: CaseResult
) -> Picture:
    shape = result.volume.grid.shape
    label = rows[0]["class"] or (result.probabilities[0].label if len(result.probabilities) == 1 else "")
    probability: Heatmap | None = next((one for one in result.probabilities if one.label == label), None)
    png = key_image(
        result.volume,
        _mask(voxels, shape),
        model=None if model is None or not len(model) else _mask(model, shape),
        probability=probability,
        threshold=result.threshold_of(label),
    )
    whose = f"solid line: {readers}" if readers else "solid line: the model"
    beside = "; dashed line: the model" if model is not None and len(model) else ""
    colours = (
        f"; colours: probability of {label} from {result.threshold_of(label):.2f}" if probability is not None else ""
    )
    return Picture(png, f"{name}, the slice with most of it, whole and from near; {whose}{beside}{colours}")


def _mask(voxels: Voxels, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=bool)
    mask[np.unravel_index(voxels, shape)] = True
    return mask


def _case_provenance(session: Session, case: str, result: CaseResult | None) -> dict[str, str]:
    pins = session.case(case).pins
    found = {"Session": session.about.get("uid", ""), "Scan, SHA-256": pins.get("scan", "")}
    if result is not None:
        found["Model"] = result.bundle
    found |= {"Weights, SHA-256": pins.get("weights", "")}
    found |= {f"{name}, SHA-256": digest for name, digest in pins.items() if name not in ("scan", "weights")}
    return {**found, "LesionLens": __version__}


def _session_page(
    session: Session, rows: Mapping[str, Sequence[Row]], cases: Sequence[Row], words: _Words
) -> SessionPage:
    every = [row for found in rows.values() for row in found]
    progress, counts = [], []
    for reader in session.readers:
        found = session.progress(reader)
        seconds = sum(reading_seconds(session.events(case, reader)) for case in session.cases_of(reader))
        facts: dict[str, Any] = {"reader": reader, **vars(found), "minutes": f"{seconds / 60:.1f}"}
        progress.append(facts)
        own = [row for row in every if row["reader"] == reader]
        said: dict[str, Any] = {word: sum(row["verdict"] == word for row in own) for word in VERDICTS}
        open_ = sum(row["verdict"] is None and not row["replaced_by"] for row in own)
        drawn = sum(row["origin"] == "reader" for row in own)
        counts.append({"reader": reader, **said, "none": open_, "drawn": drawn})
    about = session.about
    pairs = []
    for pair in session_agreement(session).pairs:
        kappa = "–" if pair.second == MODEL else _number(pair.kappa)
        agreed = {"share": _number(pair.share), "kappa": kappa}
        pairs.append({"first": pair.first, "second": pair.second, "n": pair.n, **agreed})
    provenance = {"Session": about.get("uid", ""), "Created": about.get("created", ""), "LesionLens": __version__}
    notes = [f"Pictures of the first {MOST_PICTURES} cases are shown here."] if len(cases) > MOST_PICTURES else []
    title = words.clean(about.get("title", ""))
    return SessionPage(title, progress, counts, pairs, cases, provenance, notes)


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.2f}"
