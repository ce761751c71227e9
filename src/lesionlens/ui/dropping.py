"""DICOM segmentations, parametric maps and reports that are dropped into a window: laid over the scan that is open."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lesionlens.errors import OtherFrameError
from lesionlens.io.overlay import is_dicom_overlay, read_overlay
from lesionlens.ui.dialogs import is_one_space
from lesionlens.ui.jobs import start_job
from lesionlens.ui.layers import scan_of, volume_of
from lesionlens.ui.notices import show_failure, show_notes

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from lesionlens.heatmap import Heatmap, LabelMap
    from lesionlens.progress import Progress
    from lesionlens.volume import Volume

__all__ = ["lay_over"]


def lay_over(viewer: Viewer, path: Path) -> bool:
    """Read a file in the background and lay it over the scan of a window.

    Where it lies in another frame of reference than the scan, the window asks whether both are in one space.

    Returns
    -------
    bool
        False where no scan is open, or the file is nothing that is laid over one; nothing was done then.
    """
    scan = _scan_in(viewer)
    if scan is None or not is_dicom_overlay(path):
        return False

    _read(viewer, path, scan, other_frame=False)
    return True


def _read(viewer: Viewer, path: Path, scan: Volume, *, other_frame: bool) -> None:
    def read(progress: Progress) -> Sequence[Heatmap | LabelMap] | OtherFrameError:
        try:
            return read_overlay(path, scan, other_frame=other_frame, progress=progress)
        except OtherFrameError as error:  # what can be asked about is no failure
            return error

    start_job(
        viewer.window._qt_window,
        "LesionLens: reading an overlay",
        read,
        done=partial(_answered, viewer, path, scan),
        failed=_fail,
    )


def _answered(viewer: Viewer, path: Path, scan: Volume, found: Sequence[Heatmap | LabelMap] | OtherFrameError) -> None:
    if not isinstance(found, OtherFrameError):
        _show(viewer, scan, found)
    elif is_one_space(path.name, scan.name, viewer.window._qt_window):
        _read(viewer, path, scan, other_frame=True)


def _scan_in(viewer: Viewer) -> Volume | None:
    """Return the scan that is looked at: that of the active layer, else the uppermost."""
    active = viewer.layers.selection.active
    layers = [*([] if active is None else [active]), *reversed(viewer.layers)]
    scans = (volume_of(layer) or scan_of(layer) for layer in layers)
    return next((scan for scan in scans if scan is not None), None)


def _fail(message: str) -> None:
    show_failure(message, "")


def _show(viewer: Viewer, scan: Volume, overlays: Sequence[Heatmap | LabelMap]) -> None:
    from lesionlens.ui.open import add_overlay

    if _scan_in(viewer) is None:  # it was closed meanwhile
        return
    for overlay in overlays:
        add_overlay(viewer, overlay, scan)
    show_notes(note for overlay in overlays for note in overlay.provenance.notes)
