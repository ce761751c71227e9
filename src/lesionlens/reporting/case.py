"""The report of one case, put together from the folder of its run and what else is known about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesionlens.detections import Detection
from lesionlens.errors import ReadError
from lesionlens.methods import method_title
from lesionlens.report.result_page import Part, ResultPage, Sheet, result_html
from lesionlens.report.words import Words
from lesionlens.reporting.beside import evaluation_part, trust_part, verdict_part
from lesionlens.reporting.card import card_of
from lesionlens.reporting.gathering import CaseFolder, open_case, open_evaluation, open_trust, table_of
from lesionlens.reporting.pictures import Maps, finding_pictures, key_slices, line_pictures, plots
from lesionlens.reporting.provenance import how_it_was_run, rests_on
from lesionlens.reporting.tables import class_sheet, detection_sheet, region_sheet
from lesionlens.results import refuse_other_scan
from lesionlens.rules import RegionRules
from lesionlens.sessions import reading_of, scans_of
from lesionlens.volume import Volume

__all__ = ["Beside", "case_report"]


@dataclass(frozen=True)
class Beside:
    """What else there is about a case.

    Parameters
    ----------
    scan
        The scan, for pictures of single regions; without it the page has those that the run left.
    trust
        Folder that ``lesionlens trust`` wrote; by default ``trust`` in the folder of the run, or what lies beside the
        run's own files.
    session, readers
        A session in which the results were judged, and whose verdicts; by default everybody's.
    evaluation
        Folder that ``lesionlens evaluate`` wrote.
    bundle
        Name or place of the bundle, for its model card; by default its name in the record.
    """

    scan: Path | None = None
    trust: Path | None = None
    session: Path | None = None
    readers: Sequence[str] = ()
    evaluation: Path | None = None
    bundle: str | None = None


def case_report(folder: Path, beside: Beside, say: Words, *, changed: bool = False) -> str:
    """Return the report of a case as HTML that needs no other file; the same results give the same bytes.

    Raises
    ------
    ReadError
        If the folder holds no results of a run, if they have changed since they were written and ``changed`` is not
        set, or if what lies beside them is of something else.
    """
    case = open_case(folder, changed=changed)
    record = case.record
    try:
        volume = None if beside.scan is None else _scan(beside.scan, case)
        page = ResultPage(
            title=say("Report of %(scan)s", scan=record["input"]["name"]),
            lead=say("What a model found in one scan, and how far it can be relied upon."),
            facts=_facts(record, say),
            parts=list(_parts(case, beside, volume, say)),
            provenance=rests_on(case, say),
            notes=_notes(case, say),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ReadError(
            f"The record in {folder} is incomplete: {type(error).__name__} {error}. Run the case again."
        ) from error
    return result_html(page, words=say)


def _scan(place: Path, case: CaseFolder) -> Volume:
    wanted = case.record["input"]["sha256"]
    volumes = list(scans_of(place, **reading_of(case.record)))
    found = next((one for one in volumes if one.source.sha256 == wanted), None)
    if found is None:
        names = [one.source.sha256 for one in volumes]
        refuse_other_scan(case.path, case.record, name=place.name, sha256=names)
        raise ReadError(f"There is no scan at {place}.")
    return found


def _notes(case: CaseFolder, say: Words) -> list[str]:
    found = []
    if case.problems:
        problems = "; ".join(case.problems)
        found.append(
            say(
                "THE RESULTS HAVE CHANGED SINCE THEY WERE WRITTEN: %(problems)s."
                " Nothing on this page can be relied upon.",
                problems=problems,
            )
        )
    return [*found, *case.record.get("warnings", ())]


def _facts(record: Mapping[str, Any], say: Words) -> dict[str, str]:
    scan, bundle, options = record["input"], record["bundle"], record["options"]
    facts = {say("Scan"): " · ".join(filter(None, (scan["name"], scan.get("modality"), scan.get("format"))))}
    if "shape" in scan:
        spacing = " × ".join(say.figure(f"{mm:.4g}") for mm in scan["spacing_mm"])
        size = " × ".join(map(str, scan["shape"]))
        grid = {"size": size, "spacing": spacing, "axes": scan["axcodes"]}
        facts[say("Grid")] = say("%(size)s voxels of %(spacing)s mm, axes %(axes)s", **grid)
        facts[say("Geometry")] = scan["verdict"]
    if scan.get("identity"):  # it was asked for when the case was run
        facts[say("Patient")] = "; ".join(f"{what}: {value}" for what, value in scan["identity"].items())
    facts[say("Model")] = " · ".join(filter(None, (f"{bundle['name']} {bundle['version']}", bundle.get("task"))))
    for label, n in (record.get("n_regions") or {}).items():
        least = record.get("thresholds", {}).get(label, options["threshold"])
        facts[say("Found: %(label)s", label=label)] = say.many(
            "%(n)s region at probability %(least)s or more, %(volume)s mL in all",
            "%(n)s regions at probability %(least)s or more, %(volume)s mL in all",
            n,
            least=say.figure(f"{least:g}"),
            volume=say.number(record["total_volume_mm3"][label] / 1000, 2),
        )
    for made in (one for one in record["maps"] if one["kind"] not in ("probability", "uncertainty")):
        title = method_title(made["method"]) or made["method"]
        facts.setdefault(say("Explained by"), " · ".join(filter(None, (title, made["target"], made["layer"]))))
    return facts


def _parts(case: CaseFolder, beside: Beside, volume: Volume | None, say: Words) -> Iterator[Part]:
    record = case.record
    maps = Maps(case.path, record)
    thresholds, threshold = record.get("thresholds", {}), float(record["options"]["threshold"])
    labels = list(dict.fromkeys([*(record.get("n_regions") or ()), *(one["class"] for one in record["maps"])]))
    slices = list(key_slices(case.path, labels, say))
    yield from _found(case, say)
    if slices:
        yield Part(say("Key slices"), pictures=slices)
    lines = list(line_pictures(maps, volume, say))
    if lines:
        yield Part(say("Without colours"), pictures=lines)
    if volume is not None:
        near = list(finding_pictures(maps, volume, thresholds, threshold, say))
        if near:
            yield Part(say("The largest regions from near"), pictures=near, narrow=True)
    connectivity = RegionRules.from_record(record["options"]).connectivity
    drawn = list(plots(maps, volume, thresholds, threshold, say, connectivity=connectivity))
    if drawn:
        yield Part(say("Plots"), pictures=drawn, narrow=True)
    if beside.session is not None:
        yield verdict_part(beside.session, beside.readers, case, say)
    trust = _trust_folder(case.path, beside.trust)
    if trust is not None:
        yield trust_part(open_trust(trust, case), say)
    if beside.evaluation is not None:
        yield evaluation_part(beside.evaluation, open_evaluation(beside.evaluation), case, say)
    card, notes = card_of(record, beside.bundle, say)
    yield Part(say("What the model is for, and what not"), notes, html=card)
    yield Part(say("How it was run"), sheets=[how_it_was_run(record, say)])


def _found(case: CaseFolder, say: Words) -> Iterator[Part]:
    """Yield what was found, as tables: regions by class, boxes, or probabilities of classes."""
    record = case.record
    if record.get("class_probabilities"):
        yield Part(say("Classes"), sheets=[class_sheet(record, say)])
    if record.get("detections") is not None:
        boxes = [Detection.from_record(row) for row in record["detections"]]
        texts = [] if boxes else [say("No box was found.")]
        yield Part(say("Boxes"), texts, sheets=[detection_sheet(boxes, say)] if boxes else [])
    rows = table_of(case.path / "regions.csv")
    if record.get("n_regions") is None and not rows:
        return
    sheets: list[Sheet] = []
    for label in dict.fromkeys([*(record.get("n_regions") or ()), *(row["class"] for row in rows)]):
        own = [row for row in rows if row["class"] == label]
        if own:
            sheets.append(region_sheet(own, say, caption=label))
    if sheets or record.get("n_regions"):
        texts = [] if sheets else [say("No region was found at or above the threshold.")]
        yield Part(say("Regions"), texts, sheets=sheets)


def _trust_folder(folder: Path, given: Path | None) -> Path | None:
    if given is not None:
        return given
    return next((place for place in (folder, folder / "trust") if (place / "trust.json").exists()), None)
