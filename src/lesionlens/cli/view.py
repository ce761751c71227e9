"""The command that opens the viewer."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import typer

from lesionlens.cli.groups import Reading, spelt_out
from lesionlens.cli.options import Command, Input, OtherFrame, Overlay, Overwrite, Results, Screenshot
from lesionlens.errors import LesionLensError, ReadError
from lesionlens.progress import silent

__all__ = ["has_display", "open_scan", "register", "require_window", "said", "view"]

# A report has a note for each finding, which nobody reads by the hundred.
_NOTES = 3
# How a scan is read that nobody says anything about.
_AS_IT_IS = Reading()


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(cls=Command, epilog="Example:  lesionlens view scan.nii.gz results")(spelt_out(view))


def view(
    input: Input,
    results: Results = None,
    *,
    reading: Reading,
    overlay: Overlay = [],  # noqa: B006 - typer makes a new list for each call
    other_frame: OtherFrame = False,
    screenshot: Screenshot = None,
    overwrite: Overwrite = False,
) -> None:
    """Open napari with the scan, the overlays of a run, and masks or maps from elsewhere."""
    from lesionlens.io.reader import existing_path

    existing_path(input)  # a wrong path is said first, also where there is no display
    require_window()
    if screenshot is None:
        open_scan(input, results, reading=reading, overlays=overlay, other_frame=other_frame)
    else:
        _draw(input, results, screenshot, reading, overlay, other_frame=other_frame, overwrite=overwrite)


def require_window() -> None:
    """Make sure that a window can be opened.

    Raises
    ------
    LesionLensError
        If the viewer is not installed, or there is no display.
    """
    from importlib.util import find_spec

    if find_spec("napari") is None:
        raise LesionLensError("The viewer is not installed; install it with: pip install 'lesionlens[gui]'")
    if not has_display() and os.environ.get("QT_QPA_PLATFORM") != "offscreen":
        raise LesionLensError("There is no display to open a window on; set DISPLAY, or use xvfb-run.")


def has_display() -> bool:
    """Whether a window could be opened."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open_scan(
    scan: Path,
    results: Path | None,
    *,
    reading: Reading = _AS_IT_IS,
    overlays: Sequence[Path] = (),
    other_frame: bool = False,
) -> None:
    """Open the window at once and read in it; return when it is closed.

    Raises
    ------
    ReadError
        If the scan, or what was to be shown over it, could not be read; the window has shown what could.
    """
    from lesionlens.io.reader import existing_path
    from lesionlens.ui.open import view_scan
    from lesionlens.ui.scans import Request

    asked = (reading.series, reading.stack, reading.irregular, reading.identified)
    failure = view_scan(Request(existing_path(scan), *asked, results, tuple(overlays), other_frame, scan_alone=True))
    if failure:
        raise ReadError(failure)


def said(notes: Iterable[str]) -> list[str]:
    """Return the notes on what lies over a scan, each once, and of many only the first and how many more there are."""
    found = list(dict.fromkeys(notes))
    more = len(found) - _NOTES
    return found[:_NOTES] + [f"{more} more, such as one for each finding of a report; the window shows all"] * (
        more > 0
    )


def _draw(
    scan: Path,
    results: Path | None,
    screenshot: Path,
    reading: Reading,
    overlays: Sequence[Path],
    *,
    other_frame: bool,
    overwrite: bool,
) -> None:
    """Save a picture of the window."""
    from lesionlens.io import read_overlay
    from lesionlens.io.atomic import atomic_path
    from lesionlens.io.reader import existing_path
    from lesionlens.results import read_case
    from lesionlens.ui.open import open_viewer, save_screenshot

    volume = reading.scan(existing_path(scan), silent)
    case = None if results is None else read_case(results, volume)
    maps = [
        found
        for path in overlays
        for found in read_overlay(path, volume, other_frame=other_frame, identified=reading.identified)
    ]
    for line in said(note for found in maps for note in found.provenance.notes):
        typer.echo(f"Note: {line}", err=True)
    with atomic_path(screenshot, overwrite=overwrite) as picture:
        viewer = open_viewer(volume, case, overlays=maps)
        save_screenshot(viewer, picture)
        viewer.close()
