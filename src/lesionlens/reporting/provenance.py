"""What results rest on: the chain of hashes, versions, options, and times, as a page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lesionlens import __version__
from lesionlens.report.result_page import Head, Sheet
from lesionlens.report.words import N_, Words
from lesionlens.reporting.gathering import CaseFolder

__all__ = ["how_it_was_run", "rests_on"]

_LINKS: Final = {
    "input": N_("Files of the scan"),
    "pixels": N_("Values of the scan"),
    "bundle": N_("Bundle, all files"),
    "weights": N_("Weights"),
    "options": N_("Options"),
    "versions": N_("Versions"),
    "all": N_("All of these"),
}


def rests_on(case: CaseFolder, say: Words) -> dict[str, str]:
    """Return the chain of hashes of a run, its versions, and whether its files are as they were written."""
    record = case.record
    chain = record.get("chain") or {
        "input": record["input"].get("sha256", ""),
        "bundle": record["bundle"].get("sha256", ""),
        "weights": record["bundle"].get("weights_sha256", ""),
    }
    found = {say("%(what)s, SHA-256", what=say(_LINKS.get(name, name))): value for name, value in chain.items()}
    found[say("Record of the run, SHA-256")] = case.record_sha256
    found[say("Seals")] = _seals(case, say)
    found[say("Made on (UTC)")] = record.get("created", "")
    found[say("Made by")] = f"LesionLens {record.get('lesionlens', '')}"
    versions = record.get("versions") or {}
    found[say("Versions")] = ", ".join(f"{name} {version}" for name, version in versions.items())
    found[say("This page")] = f"LesionLens {__version__}"
    return {name: value for name, value in found.items() if value}


def _seals(case: CaseFolder, say: Words) -> str:
    if not case.problems:
        return say.many(
            "verified: %(n)s file is as it was written",
            "verified: all %(n)s files are as they were written",
            case.n_files,
        )
    return say("NOT VERIFIED: %(problems)s", problems="; ".join(case.problems))


def how_it_was_run(record: Mapping[str, Any], say: Words) -> Sheet:
    """Return options, decisions and times of a run as a table."""
    options = {name: _text(value) for name, value in (record.get("options") or {}).items()}
    decided = [*record["input"].get("decisions", ()), *record["bundle"].get("decisions", ())]
    seconds = {name: say.number(float(value), 2) for name, value in (record.get("seconds") or {}).items()}
    rows = [
        [say("Options"), " · ".join(f"{name}: {value}" for name, value in options.items() if value)],
        [say("What was decided"), " ".join(decided)],
        [say("Time in s"), " · ".join(f"{name}: {value}" for name, value in seconds.items())],
    ]
    return Sheet([Head(say("What")), Head(say("Values"))], [row for row in rows if row[1]])


def _text(value: Any) -> str:
    if value is None or value == "" or value == [] or value == {}:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
