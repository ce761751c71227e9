"""A report of results, from napari's menus."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import napari
from napari.utils.notifications import show_info
from qtpy.QtWidgets import QFileDialog

from lesionlens.errors import InputError
from lesionlens.progress import Progress
from lesionlens.reporting import write_report
from lesionlens.ui.jobs import start_job
from lesionlens.ui.notices import show_failure

__all__ = ["ask_for_report"]

_FORMATS = "HTML (*.html);;PDF (*.pdf)"


def ask_for_report() -> None:
    """Ask for a folder of results and for a file, and write the report in the background.

    Raises
    ------
    InputError
        If there is no window.
    """
    viewer = napari.current_viewer()
    if viewer is None:
        raise InputError("A report is asked for in a window; without one use 'lesionlens report'.")
    window = viewer.window._qt_window
    folder = QFileDialog.getExistingDirectory(window, "Of which results? A folder that a run or batch wrote")
    if not folder:
        return
    file, _ = QFileDialog.getSaveFileName(window, "Where to?", str(Path(folder) / "report.html"), _FORMATS)
    if file:
        work = partial(_write, Path(folder), Path(file))
        start_job(window, "Writing the report", work, done=_say, failed=partial(show_failure, details=""))


def _write(folder: Path, file: Path, progress: Progress) -> Path:
    progress("Writing the report", 0, 1)
    return write_report(folder, file, overwrite=True)  # the dialog has asked


def _say(file: Path) -> None:
    show_info(f"The report is in {file}.")
