"""Making review sessions of the results of runs, and noticing when what they rest on has changed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesionlens.errors import AmbiguousSeriesError, AmbiguousStackError, InputError, ReadError, unknown_name
from lesionlens.heatmap import slug
from lesionlens.io import read
from lesionlens.io.tables import read_results, read_rows
from lesionlens.results import read_record, refuse_other_scan
from lesionlens.review import CaseEntry, Finding, Session
from lesionlens.volume import Volume

__all__ = [
    "ORDERS",
    "REGIONS",
    "CaseFiles",
    "changed_files",
    "changed_of",
    "digest_of",
    "path_from",
    "path_of",
    "read_manifest",
    "reading_of",
    "scans_of",
    "start_session",
]

# Beside these, any column of regions.csv gives an order: the case with its highest value comes first.
ORDERS = ("given", "worst", "random")

_RECORD, _TABLE = "record.json", "regions.csv"
#: How the names of files begin that hold the regions of a class.
REGIONS = "regions_"
_SHOWN = ("volume_mm3", "probability_mean", "probability_max")
_PLACES = {
    "centroid_ras": tuple(f"centroid_{axis}_mm" for axis in "ras"),
    "centroid_ijk": tuple(f"centroid_{axis}" for axis in "ijk"),
    "bbox_ijk": tuple(f"bbox_{axis}_{end}" for end in ("min", "max") for axis in "ijk"),
}
_BLOCK = 1 << 20


@dataclass(frozen=True)
class CaseFiles:
    """What a case is made of.

    Parameters
    ----------
    scan
        The scan.
    results
        Folder that a run on it wrote.
    name
        What readers see; by default a number, since names of files may name a patient.
    """

    scan: Path
    results: Path
    name: str = ""


def read_manifest(path: Path) -> list[CaseFiles]:
    """Read a CSV table with the columns ``scan`` and ``results``, and ``name`` where wanted; paths from its folder.

    Raises
    ------
    ReadError
        If it cannot be read or a column is missing.
    """
    rows = read_rows(path)
    missing = [name for name in ("scan", "results") if rows and name not in rows[0]]
    if missing or not rows:
        found = ", ".join(rows[0]) if rows else "no row"
        raise ReadError(f"{path} needs the columns scan and results, and a row for each case; found {found}.")
    home = path.resolve().parent
    return [CaseFiles(home / row["scan"], home / row["results"], row.get("name") or "") for row in rows]


def start_session(
    path: Path,
    cases: Sequence[CaseFiles],
    *,
    title: str = "",
    order: str = "worst",
    seed: int = 0,
    model_blind: bool = False,
) -> Session:
    """Make a session of cases that have been run, and open it.

    Parameters
    ----------
    path
        File to make; it must not exist.
    cases
        Scans with their results, which are refused where they were made from another scan.
    title
        What readers see.
    order
        In which order cases are read: ``"given"``, ``"worst"`` (largest volume of all regions first), ``"random"``, or
        a column of ``regions.csv``, the highest value first.
    seed
        For ``"random"``.
    model_blind
        Readers search each case on their own before they are shown the model's findings.

    Raises
    ------
    ReadError
        If a scan or results are missing, or do not belong together.
    InputError
        If there is no such order.
    OutputError
        If the file exists or cannot be written.
    """
    digits = max(3, len(str(len(cases))))
    rows = [_read_rows(files.results) for files in cases]
    entries = [
        _entry(files, table, home=path.resolve().parent, number=f"case-{n:0{digits}}")
        for n, (files, table) in enumerate(zip(cases, rows, strict=True), start=1)
    ]
    about = {"order": order, "seed": str(seed)} if order == "random" else {"order": order}
    about |= {"model_blind": "true"} if model_blind else {}
    return Session.create(path, _in_order(entries, rows, order, seed), title=title, about=about)


def changed_files(session: Session, case: str) -> tuple[str, ...]:
    """Return which of the results that a case was made of are missing or not what they were, by name.

    The scan itself is compared when it is read: its pin is ``pins["scan"]``.
    """
    return changed_of(session.case(case, findings=False), session.path)


def changed_of(entry: CaseEntry, path: Path) -> tuple[str, ...]:
    """Return the same for a case of the session at a path; it asks the session nothing, so any thread may call it."""
    folder = path_of(entry.results, path)
    pinned = {name: digest for name, digest in entry.pins.items() if name not in ("scan", "weights")}
    return tuple(name for name, digest in pinned.items() if digest_of(folder / name) != digest)


def path_of(name: str, path: Path) -> Path:
    """Return where a scan or results lie that a session at a path names: from its folder, or wherever they say."""
    return path.resolve().parent / name


def _entry(files: CaseFiles, rows: Sequence[Mapping[str, str]], *, home: Path, number: str) -> CaseEntry:
    if not files.scan.exists():
        raise ReadError(f"There is no scan {files.scan}; a reader needs it beside the results in {files.results}.")
    record = read_record(files.results)
    try:
        pins = {"scan": record["input"]["sha256"], "weights": record["bundle"]["weights_sha256"]}
    except (KeyError, TypeError) as error:
        raise ReadError(f"{files.results / _RECORD} is incomplete: {error}. Run the case again.") from None
    _refuse_other(files, record)
    shown = [files.results / _RECORD, files.results / _TABLE, *sorted(files.results.glob(f"{REGIONS}*.nii.gz"))]
    pins |= {file.name: digest_of(file) for file in shown}
    findings = tuple(map(_finding, rows))
    return CaseEntry(
        number, files.name or number, path_from(home, files.scan), path_from(home, files.results), pins, findings
    )


def _refuse_other(files: CaseFiles, record: Mapping[str, Any]) -> None:
    """Refuse results of another scan. The hash of most files is that of what is read; others are read for it."""
    wanted, sha256 = record["input"]["sha256"], [digest_of(files.scan)]
    if wanted not in sha256:
        sha256 = [scan.source.sha256 for scan in scans_of(files.scan, **reading_of(record))]
    refuse_other_scan(files.results, record, name=files.scan.name, sha256=sha256)


def reading_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a run has read its scan, as options of :func:`lesionlens.io.read`; the series may be left open."""
    options = record.get("options", {})
    return {"stack": options.get("stack"), "irregular": options.get("irregular") or "refuse"}


def scans_of(place: Path, **wanted: Any) -> Iterator[Volume]:
    """Yield what can be read at a place: one scan, or each of several series."""
    try:
        yield read(place, **wanted)
    except AmbiguousSeriesError as error:
        which = "stack" if isinstance(error, AmbiguousStackError) else "series"
        for choice in error.choices:
            yield read(place, **{**wanted, which: choice})


def path_from(home: Path, path: Path) -> str:
    """Return a path from a folder where it lies in it, so that both can be moved together; else the whole path."""
    whole = path.resolve()
    return str(whole.relative_to(home)) if whole.is_relative_to(home) else str(whole)


def _finding(row: Mapping[str, str]) -> Finding:
    label = int(row["label"])
    statistics: dict[str, Any] = {name: _number(row[name]) for name in _SHOWN}
    statistics |= {name: [_number(row[column]) for column in columns] for name, columns in _PLACES.items()}
    return Finding(f"{slug(row['class'])}-{label}", row["class"], label, statistics)


def _number(text: str) -> float | None:
    return float(text) if text else None


def _read_rows(results: Path) -> list[dict[str, str]]:
    path = results / _TABLE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return read_results(file)
    except OSError:
        raise ReadError(f"{results} holds no {_TABLE}: only results of a segmentation have findings to read.") from None


def _in_order(
    entries: Sequence[CaseEntry], rows: Sequence[Sequence[Mapping[str, str]]], order: str, seed: int
) -> list[CaseEntry]:
    if order == "given":
        return list(entries)
    if order == "random":
        return random.Random(seed).sample(list(entries), len(entries))
    if order == "worst":
        values = [sum(_number(row["volume_mm3"]) or 0.0 for row in table) for table in rows]
    else:
        values = list(_highest(rows, order))
    ranked = sorted(zip(values, range(len(entries)), strict=True), key=lambda pair: (-pair[0], pair[1]))
    return [entries[n] for _, n in ranked]


def _highest(rows: Sequence[Sequence[Mapping[str, str]]], column: str) -> Iterator[float]:
    known = next((list(table[0]) for table in rows if table), [])
    if known and column not in known:
        raise InputError(unknown_name("order", column, (*ORDERS, *known)))
    for table in rows:
        try:
            numbers = (_number(row[column]) for row in table)
            yield max((number for number in numbers if number is not None), default=float("-inf"))
        except ValueError:
            raise InputError(f"The column {column!r} holds no numbers; cases cannot be ordered by it.") from None


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, or nothing where it is not there."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()
