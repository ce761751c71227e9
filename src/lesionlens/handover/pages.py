"""The report of a session: a page for each case and one for all, with pictures of the findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

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
from lesionlens.report.words import N_, Words, words_of
from lesionlens.results import RESEARCH_USE, CaseResult
from lesionlens.review import Session, reading_seconds
from lesionlens.review.agreement import session_agreement
from lesionlens.review.blinding import mode
from lesionlens.review.drawn import model_voxels
from lesionlens.review.events import VERDICTS
from lesionlens.review.portable import Cleaner, case_codes, cleaner
from lesionlens.review.rules import MODEL
from lesionlens.review.voxels import Voxels
from lesionlens.seals import file_hashes, sealed_text

__all__ = ["MOST_PICTURES", "write_pages"]

#: Version of session.json.
SEAL_SCHEMA: Final = 1
# On the page of all cases; more would make it too large for a browser. Each case has its pictures on its own page.
MOST_PICTURES = 200

Row = Mapping[str, Any]

# What is shown of the voxels of a finding: name, column, digits behind the point, unit.
_FIGURES: Final = (
    (N_("volume"), "volume_mm3", 1, "mm³"),
    (N_("largest diameter"), "diameter_mm", 1, "mm"),
    (N_("largest axial diameter"), "axial_diameter_mm", 1, "mm"),
    (N_("highest probability"), "probability_max", 2, ""),
)


@dataclass(frozen=True)
class _Words:
    """How cases and texts are shown, where nothing may lead to a patient, and in which language."""

    codes: Mapping[str, str]
    clean: Cleaner
    say: Words


@dataclass(frozen=True)
class _Shown:
    """What can be shown of a case: images and voxels by reader; neither where they could not be read."""

    result: CaseResult | None
    reads: Mapping[str, Read]
    model: Mapping[str, Voxels]


def write_pages(
    session: Session, folder: Path, *, language: str = "en", progress: Progress = silent
) -> tuple[str, ...]:
    """Write ``session.html`` and a page for each case that a reader touched, into a folder that exists.

    Parameters
    ----------
    session
        What was read.
    folder
        Where to; ``session.json`` there seals the pages.
    language
        One of ``lesionlens.report.words.LANGUAGES``.
    progress
        Called for each case.

    Raises
    ------
    InputError
        If there is no such language.

    Returns
    -------
    tuple of str
        Cases without pictures, with the reason.
    """
    entries = [session.case(name) for name in session.case_ids]
    words = _Words(case_codes([entry.id for entry in entries]), cleaner(entries), words_of(language))
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
        (folder / name).write_text(case_html(page, words=words.say), encoding="utf-8")
        picture = next((p for finding in page.findings for p in finding.pictures), None) if n < MOST_PICTURES else None
        facts = {"case": page.case, "page": name, "reads": page.reads, "findings": len(page.findings)}
        listed.append({**facts, "picture": picture})
    progress("Writing pages", len(touched), len(touched))
    content = session_html(_session_page(session, rows, listed, words), words=words.say)
    (folder / "session.html").write_text(content, encoding="utf-8")
    _seal(session, folder, touched, words)
    return tuple(problems)


def _seal(session: Session, folder: Path, cases: Sequence[str], words: _Words) -> None:
    """Write the hashes of the pages, and of what was read."""
    content = {
        "schema_version": SEAL_SCHEMA,
        "notice": RESEARCH_USE,
        "lesionlens": __version__,
        "session": session.about.get("uid", ""),
        "pins": {words.codes[case]: dict(session.case(case).pins) for case in cases},
        "files": file_hashes(folder, [path.name for path in folder.iterdir()]),
    }
    (folder / "session.json").write_text(sealed_text(content), encoding="utf-8")


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
    findings, say = [], words.say
    for name, drawn_by in names:
        own = [r for r in rows if r["finding"] == name and (r["reader"] if r["origin"] == "reader" else "") == drawn_by]
        model = say("found by the model, %(label)s", label=own[0]["class"])
        origin = say("drawn by %(reader)s", reader=drawn_by) if drawn_by else model
        parts = [_reader_part(row, shown, words) for row in own]
        findings.append(FindingPart(name, origin, parts, list(_pictures(name, own, shown, say))))
    missing = say("The scan or the results could not be read here: figures are the model's.")
    reads = [_read_facts(session, case, reader, say) for reader in readers]
    provenance = _case_provenance(session, case, shown.result, say)
    return CasePage(words.codes[case], reads, findings, provenance, [] if shown.result else [missing])


def _read_facts(session: Session, case: str, reader: str, say: Words) -> dict[str, Any]:
    state, seconds = session.state(case, reader), reading_seconds(session.events(case, reader))
    read = N_("on their own") if mode(session, case, reader) == "independent" else N_("after others were shown")
    facts = {"reader": reader, "status": state.status, "flagged": state.flagged, "mode": read}
    return {**facts, "minutes": say.number(seconds / 60, 1)}


def _reader_part(row: Row, shown: _Shown, words: _Words) -> ReaderPart:
    read = shown.reads.get(row["reader"])
    measured = read.rows.get(row["finding"], {}) if read else row
    say = words.say
    voxels = say("as the model drew it")
    if row["origin"] == "reader":
        voxels = say("drawn")
    elif row["n_edits"]:
        voxels = say.many("edited once", "edited %(n)s times", row["n_edits"])
    figures = {
        say(name): say.figure(f"{measured[column]:,.{digits}f}\N{NO-BREAK SPACE}{unit}".strip())
        for name, column, digits, unit in _FIGURES
        if measured.get(column) is not None
    }
    figures |= {
        say("line %(n)s", n=n): say.figure(f"{mm:.1f}\N{NO-BREAK SPACE}mm")
        for n, mm in enumerate(row["measured_mm"], start=1)
    }
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


def _pictures(name: str, rows: Sequence[Row], shown: _Shown, say: Words) -> Iterator[Picture]:
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
            yield _picture(
                name, voxels, model if own else None, ", ".join(readers) if own else "", rows, shown.result, say
            )


def _picture(
    name: str, voxels: Voxels, model: Voxels | None, readers: str, rows: Sequence[Row], result: CaseResult, say: Words
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
    parts = [
        say("%(name)s, the slice with most of it, whole and from near", name=name),
        say("solid line: %(readers)s", readers=readers) if readers else say("solid line: the model"),
    ]
    if model is not None and len(model):
        parts.append(say("dashed line: the model"))
    if probability is not None:
        least = say.number(result.threshold_of(label), 2)
        parts.append(say("colours: probability of %(label)s from %(least)s", label=label, least=least))
    return Picture(png, "; ".join(parts))


def _mask(voxels: Voxels, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=bool)
    mask[np.unravel_index(voxels, shape)] = True
    return mask


def _case_provenance(session: Session, case: str, result: CaseResult | None, say: Words) -> dict[str, str]:
    pins = session.case(case).pins
    found = {say("Session"): session.about.get("uid", ""), say("Scan, SHA-256"): pins.get("scan", "")}
    if result is not None:
        found[say("Model")] = result.bundle
    found |= {say("Weights, SHA-256"): pins.get("weights", "")}
    found |= {f"{name}, SHA-256": digest for name, digest in pins.items() if name not in ("scan", "weights")}
    return {**found, "LesionLens": __version__}


def _session_page(
    session: Session, rows: Mapping[str, Sequence[Row]], cases: Sequence[Row], words: _Words
) -> SessionPage:
    every, say = [row for found in rows.values() for row in found], words.say
    progress, counts = [], []
    for reader in session.readers:
        found = session.progress(reader)
        seconds = sum(reading_seconds(session.events(case, reader)) for case in session.cases_of(reader))
        facts: dict[str, Any] = {"reader": reader, **vars(found), "minutes": say.number(seconds / 60, 1)}
        progress.append(facts)
        own = [row for row in every if row["reader"] == reader]
        said: dict[str, Any] = {word: sum(row["verdict"] == word for row in own) for word in VERDICTS}
        open_ = sum(row["verdict"] is None and not row["replaced_by"] for row in own)
        drawn = sum(row["origin"] == "reader" for row in own)
        counts.append({"reader": reader, **said, "none": open_, "drawn": drawn})
    about = session.about
    pairs = []
    for pair in session_agreement(session).pairs:
        kappa = "–" if pair.second == MODEL else _number(pair.kappa, say)
        agreed = {"share": _number(pair.share, say), "kappa": kappa}
        pairs.append({"first": pair.first, "second": pair.second, "n": pair.n, **agreed})
    provenance = {
        **{say("Session"): about.get("uid", ""), say("Created"): about.get("created", "")},
        "LesionLens": __version__,
    }
    few = say("Pictures of the first %(n)s cases are shown here.", n=MOST_PICTURES)
    notes = [few] if len(cases) > MOST_PICTURES else []
    title = words.clean(about.get("title", ""))
    return SessionPage(title, progress, counts, pairs, cases, provenance, notes)


def _number(value: float | None, say: Words) -> str:
    return say("not defined") if value is None else say.number(value, 2)
