"""Findings with what readers said of them, their masks and statistics, as files."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lesionlens.errors import LesionLensError
from lesionlens.handover.images import read_images
from lesionlens.handover.measuring import Read, mask_of, measure_reads
from lesionlens.heatmap import slug
from lesionlens.io import write_labels
from lesionlens.io.tables import row_writer
from lesionlens.progress import Progress, silent
from lesionlens.report.review import NOTICE_COLUMN, NOTICE_OF_TABLES, write_findings
from lesionlens.report.table import COLUMN_NAMES, Cell
from lesionlens.results import CaseResult
from lesionlens.review import Session
from lesionlens.review.voxels import Voxels, statistics_of
from lesionlens.volume import Grid

__all__ = ["file_names", "write_export"]

Place = tuple[str, str, str]

# What the table of findings says of voxels.
_FIGURES = ("volume_mm3", *(f"centroid_{axis}_mm" for axis in "ras"), "probability_max")


def write_export(session: Session, folder: Path, *, masks: bool = True, progress: Progress = silent) -> tuple[str, ...]:
    """Write findings, statistics and masks into a folder that exists.

    Parameters
    ----------
    session
        What was read.
    folder
        Where to; ``docs/reference/outputs.md`` describes each file.
    masks
        Also read the scans and results, measure what readers changed, and write masks.
    progress
        Called for each case.

    Returns
    -------
    tuple of str
        Cases whose images could not be read, with the reason; their findings have the model's statistics.
    """
    measured: dict[Place, dict[str, Any]] = {}
    statistics: list[tuple[Place, Mapping[str, Cell]]] = []
    problems: list[str] = []
    names, places = file_names(session.readers), file_names(session.case_ids)
    cases = [case for case in session.case_ids if session.events(case)] if masks else []
    for n, case in enumerate(cases):
        progress("Exporting", n, len(cases))
        try:
            result = read_images(session, case)
            reads = measure_reads(session, case, result)
        except LesionLensError as error:
            problems.append(f"{case}: no masks and no new statistics. {error}")
            continue
        for read in reads:
            numbers = _write_mask(read, result, folder / f"mask_{places[case]}_{names[read.reader]}.nii.gz")
            for finding, facts in _facts(read, numbers, result.volume.grid):
                measured[case, read.reader, finding] = facts
            statistics += [((case, read.reader, finding), row) for finding, row in read.rows.items()]
        if session.shows_model(case):
            _keep_model(session, case, folder / f"model_{places[case]}_")
    if cases:
        progress("Exporting", len(cases), len(cases))
        _write_statistics(statistics, folder / "statistics.csv")
    write_findings(session, folder, measured=measured)
    return tuple(problems)


def file_names(names: Iterable[str]) -> dict[str, str]:
    """Return a part of a file name for each name, all of them different."""
    found: dict[str, str] = {}
    for name in names:
        text, n = slug(name), 1
        while text in found.values():
            n += 1
            text = f"{slug(name)}-{n}"
        found[name] = text
    return found


def _write_mask(read: Read, result: CaseResult, path: Path) -> dict[str, int]:
    mask, numbers = mask_of(read, result.volume.grid.shape)
    write_labels(mask, result.volume, path, title="findings kept")
    return numbers


def _facts(read: Read, numbers: Mapping[str, int], grid: Grid) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what the table of findings says beside what the model measured."""
    for name, finding in read.state.findings.items():
        row = read.rows.get(name)
        facts: dict[str, Any] = {} if row is None else {place: row[place] for place in _FIGURES}
        if row is None and name in read.changed:  # replaced, or erased to the last voxel: not what the model drew
            facts = _place_of(read.voxels[name], grid)
        origin = "drawn" if finding.origin == "reader" else "edited" if name in read.changed else "model"
        yield name, {**facts, "voxels": origin, "n_voxels": len(read.voxels[name]), "mask_label": numbers.get(name)}


def _place_of(voxels: Voxels, grid: Grid) -> dict[str, Any]:
    if not len(voxels):
        return {**dict.fromkeys(_FIGURES), "volume_mm3": 0.0}
    found = statistics_of(voxels, grid)
    return dict(zip(_FIGURES, (found["volume_mm3"], *found["centroid_ras"], None), strict=True))


def _keep_model(session: Session, case: str, start: Path) -> None:
    """Copy the regions as the model drew them, byte by byte: their hash is the one that is pinned."""
    home = session.path.resolve().parent / session.case(case).results
    for path in sorted(home.glob("regions_*.nii.gz")):
        shutil.copyfile(path, start.with_name(start.name + path.name.removeprefix("regions_")))


def _write_statistics(rows: Iterable[tuple[Place, Mapping[str, Cell]]], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        add = row_writer(file)
        add(("case", "reader", "finding", *COLUMN_NAMES, NOTICE_COLUMN))
        for place, row in rows:
            add((*place, *(row[name] for name in COLUMN_NAMES), NOTICE_OF_TABLES))
