"""The command that lists what is at a path."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lesionlens.cli.options import AsJson, Command, Identified, Place, print_json, progress_bars
from lesionlens.errors import ReadError, printable

if TYPE_CHECKING:
    from lesionlens.io.series import SeriesInfo

__all__ = ["info", "register"]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(cls=Command, epilog="Example:  lesionlens info dicom_folder/")(info)


def info(path: Place, identified: Identified = False, as_json: AsJson = False) -> None:
    """List the volumes at a path: series, grid, spacing, orientation and geometry verdict."""
    from dataclasses import asdict

    from lesionlens.io import list_series

    with progress_bars(quiet=not sys.stderr.isatty()) as progress:
        found = list_series(path, identified=identified, progress=progress)
    if as_json:
        print_json([{**asdict(s), "readable": s.readable, **_verdict(s)} for s in found])
    else:
        _print(found)
    _refuse_nothing(found, path)


def _print(found: Sequence[SeriesInfo]) -> None:
    from lesionlens.report.console import print_table

    rows = []
    for s in found:
        size = "x".join(map(str, s.shape)) if s.shape else "-"
        spacing = "x".join(f"{mm:.3g}" for mm in s.spacing_mm) if s.spacing_mm else "-"
        number = "-" if s.number is None else str(s.number)
        kind = s.kind.partition(" (")[0]  # the whole of it stands below: a terminal would cut it here
        rows.append((number, s.description or "-", s.modality or "-", kind, size, spacing, s.axcodes or "-"))
    print_table(("no.", "description", "modality", "kind", "voxels", "spacing mm", "axes"), rows)
    numbers = Counter(s.number for s in found if s.uid)
    for s in found:
        label = _label(s)
        if s.identity:
            typer.echo(f"{label}, " + ", ".join(f"{name.replace('_', ' ')}: {s.identity[name]}" for name in s.identity))
        if s.left_out:
            choosing = " unless it is chosen with --series" if s.readable else ""
            typer.echo(f"{label}: {s.kind}, left out{choosing}")
        typer.echo(f"{label}: {s.verdict}")  # not in the table: a terminal would cut the names of files in it
        if len(found) > 1 and s.uid:
            typer.echo(f"{label}, UID {s.uid}" + (f" in folder {_folder(s)}" if numbers[s.number] > 1 else ""))
        for note in s.notes:
            typer.echo(f"{label}: {note}")
        for n, name in enumerate(s.stacks):
            typer.echo(f"{label}, stack {n}: {name}")


def _refuse_nothing(found: Sequence[SeriesInfo], path: Path) -> None:
    """Fail where nothing can be read in any way; what has a geometry, if an irregular one, can with a choice."""
    if all(isinstance(series.verdict, str) for series in found):
        raise ReadError(f"Nothing in {path} can be read as a volume; the list says why. Name another file or folder.")


def _label(series: SeriesInfo) -> str:
    """Return how a line of the list calls a series; a file that is none goes by its name."""
    if not series.uid:
        return printable(series.files[0])
    return f"series {'-' if series.number is None else series.number}"


def _folder(series: SeriesInfo) -> str:
    """Return the folder that holds all files of a series, relative to the one that is listed; a dot for that one."""
    return printable(os.path.commonpath([os.path.dirname(file) or "." for file in series.files])) or "."


def _verdict(series: SeriesInfo) -> dict[str, Any]:
    """Return the verdict in words, and for programs in parts; those are missing where there is no geometry."""
    verdict = series.verdict
    parts = {} if isinstance(verdict, str) else {"problems": verdict.problems, "worst_error_mm": verdict.worst_error_mm}
    return {"verdict": str(verdict), **parts}
