"""What others found about a case: checks of its map, verdicts of readers, and how its bundle did over a cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lesionlens.checks import CHECKS, VERDICT_WORDS
from lesionlens.errors import InputError, ReadError, unknown_name
from lesionlens.report.pages import SIGNS, Picture
from lesionlens.report.result_page import Head, Part, Sheet
from lesionlens.report.review import finding_rows
from lesionlens.report.words import N_, Words
from lesionlens.reporting.gathering import CaseFolder, Trusted, table_of
from lesionlens.review import Session
from lesionlens.review.portable import Cleaner, cleaner

__all__ = ["evaluation_part", "metric_sheet", "trust_part", "verdict_part"]

_SIGN_OF_CHECK: Final = {"passes": "✓", "fails": "✗", "unclear": "?"}
#: What a reader of results is told of an evaluation, in this order; evaluation.json has all.
_METRICS: Final = {
    "dice": (N_("Dice overlap, mean of the cases"), ""),
    "sensitivity": (N_("Share of the marked lesions that were found"), ""),
    "precision": (N_("Share of the found regions that lie on a marked one"), ""),
    "false_positives_per_case": (N_("Regions on nothing that was marked, per case"), ""),
    "hausdorff95_mm": (N_("95th percentile of the distance of the surfaces"), "mm"),
    "average_surface_distance_mm": (N_("Mean distance of the surfaces"), "mm"),
    "volume_difference_mm3": (N_("Volume found less volume marked"), "mm³"),
    "ece": (N_("Expected calibration error, all voxels"), ""),
    "ece_near": (N_("Expected calibration error near lesions"), ""),
    "pointing_game": (N_("Share of maps whose highest point lies on a lesion"), ""),
    "froc_score": (N_("Mean sensitivity of the FROC curve"), ""),
}


def trust_part(found: Trusted, say: Words) -> Part:
    """Return the checks of a map: questions, verdicts, what was found in words, and the charts."""
    rows = [
        [
            say(CHECKS.get(one["name"], one["name"])),
            f"{_SIGN_OF_CHECK.get(one['verdict'], '')} {say(VERDICT_WORDS[one['verdict']])}",
            one["sentence"],
        ]
        for one in found.content["checks"]
    ]
    heads = [Head(say("Question")), Head(say("Verdict")), Head(say("What was found"))]
    about = found.content["map"]
    made = say("Map that was checked: %(method)s of %(label)s.", method=about["method"], label=found.content["class"])
    picture = Picture(found.picture, say("The checks with their charts."))
    return Part(
        say("How far the map may be believed"), [found.content["sentence"], made], [picture], [Sheet(heads, rows)]
    )


def verdict_part(session: Path, readers: Sequence[str], case: CaseFolder, say: Words) -> Part:
    """Return what readers of a session said of the findings of a case.

    Raises
    ------
    ReadError
        If the results are no case of the session.
    InputError
        If there is no such reader.
    """
    with Session.open(session, read_only=True) as found:
        digest = case.record_sha256
        entries = [found.case(name) for name in found.case_ids]
        entry = next((one for one in entries if one.pins.get("record.json") == digest), None)
        if entry is None:
            raise ReadError(f"{case.path} is no case of the session {session.name}; give the results that were judged.")
        for name in readers:
            if name not in found.readers:
                raise InputError(unknown_name("reader of the session", name, found.readers))
        wanted = readers or found.readers
        rows = [row for row in finding_rows(found) if row["case"] == entry.id and row["reader"] in wanted]
        states = {name: found.state(entry.id, name) for name in wanted}
    clean = cleaner(entries)
    said = [f"{name}: {say(_STATUS[one.status])}{_flag(one.flagged, say)}" for name, one in states.items()]
    titles = (N_("Finding"), N_("Reader"), N_("Verdict"), N_("Confidence"), N_("Said"), N_("Voxels"))
    heads = [Head(say(title)) for title in titles]
    rows_shown = [_verdict_row(row, clean, say) for row in rows]
    notes = [] if rows else [say("No reader has judged this case yet.")]
    return Part(say("What readers said"), [*said, *notes], sheets=[Sheet(heads, rows_shown)] if rows else [])


def _flag(flagged: bool, say: Words) -> str:
    return f", {say('flagged')}" if flagged else ""


_STATUS: Final = {"untouched": N_("untouched"), "partly": N_("partly"), "complete": N_("complete")}
_VERDICTS: Final = {"accept": N_("accept"), "reject": N_("reject"), "unsure": N_("unsure")}


def _verdict_row(row: Mapping[str, Any], clean: Cleaner, say: Words) -> list[str]:
    verdict = row["verdict"]
    word = say(_VERDICTS[verdict]) if verdict else say("replaced") if row["replaced_by"] else say("none yet")
    texts = [row["category"] or "", *(f"“{text}”" for text in row["comments"])]
    voxels = say("drawn by the reader") if row["origin"] == "reader" else say("as the model drew it")
    if row["n_edits"] and row["origin"] != "reader":
        voxels = say("changed by the reader")
    confidence = say("%(n)s of 5", n=row["confidence"]) if row["confidence"] else ""
    said = " ".join(clean(text) for text in texts if text)
    return [row["finding"], row["reader"], f"{SIGNS[verdict]} {word}", confidence, said, voxels]


def evaluation_part(folder: Path, content: Mapping[str, Any], case: CaseFolder, say: Words) -> Part:
    """Return how the bundle did over a cohort, and on this case where it is one of it."""
    overall = content["strata"][0]
    texts = [
        say.many(
            "%(bundles)s against what readers marked, class %(label)s, in %(n)s case.",
            "%(bundles)s against what readers marked, class %(label)s, in %(n)s cases.",
            content["n_cases"],
            bundles=", ".join(content["bundles"]),
            label=content["class"],
        )
    ]
    ours = f"{case.record['bundle']['name']} {case.record['bundle']['version']}"
    if ours not in content["bundles"]:
        texts.append(say("These results were made by another bundle: %(bundle)s.", bundle=ours))
    row = next((one for one in table_of(folder / "cases.csv") if one["case"] == case.name), None)
    return Part(say("How the model did elsewhere"), texts, sheets=[metric_sheet(overall, row, say)])


def metric_sheet(stratum: Mapping[str, Any], row: Mapping[str, str] | None, say: Words) -> Sheet:
    """Return the main numbers of a cohort with their intervals, and beside them those of one case."""
    titles = (N_("Value"), N_("95 % interval"), N_("Cases"), *((N_("This case"),) if row else ()))
    heads = [Head(say("What")), Head(say("Unit")), *(Head(say(title), number=True) for title in titles)]
    rows = []
    for name, (title, unit) in _METRICS.items():
        found = stratum["estimates"].get(name)
        if found is None or found["value"] is None:
            continue
        between = "" if found["low"] is None else f"{_figure(found['low'], say)} – {_figure(found['high'], say)}"
        cells = [say(title), unit, _figure(found["value"], say), between, str(found["n_cases"])]
        if row:
            own = row.get(name) or ""
            cells.append(_figure(float(own), say) if own else "")
        rows.append(cells)
    return Sheet(heads, rows)


def _figure(value: float, say: Words) -> str:
    return say.figure(f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}")
