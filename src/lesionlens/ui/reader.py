"""napari's reader: scans dropped into the window, opened from the menu, or by a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesionlens.errors import ReadError

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from lesionlens.ui.scans import Request

__all__ = ["get_reader", "read_layers"]

LayerData = tuple[Any, ...]

# What npe2 takes for "read, but there is nothing to show": the user closed the question.
_NOTHING: list[LayerData] = [(None,)]
# What the how-to calls sessions.
_SESSION = ".session"
# Folders that other readers know how to open.
_FOREIGN_FOLDERS = {".zarr", ".n5"}


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return the reader for a path, or None for what LesionLens does not read (stacks of paths, zarr folders)."""
    if not isinstance(path, str) or Path(path).suffix.lower() in _FOREIGN_FOLDERS:
        return None
    return read_layers


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Read a scan as one grey image layer.

    What the user opens in the window (drag and drop, File > Open) is read in the background, and its layer comes when
    it is read whole. A script gets the layer at once. What has to be chosen (a series, a volume in it, what to do with
    irregular slices) is asked in the window; without a window the error lists what there is. A DICOM segmentation,
    parametric map or report is laid over the scan that is open.

    Raises
    ------
    ReadError
        In a script, if there is nothing to read, or a choice to make and nobody to ask.
    """
    from lesionlens.ui.scans import Request

    request = Request(Path(str(path)))
    viewer = _viewer_of_the_user()
    if request.path.suffix == _SESSION:
        return _offer_session(request.path, viewer)
    if viewer is None:
        return _read(request)
    from lesionlens.ui.dropping import lay_over
    from lesionlens.ui.opening import Opening

    if not lay_over(viewer, request.path):
        Opening(viewer, request)
    return _NOTHING


def _offer_session(path: Path, viewer: Viewer | None) -> list[LayerData]:
    """Open the dock Review on a session, which asks who reads."""
    if viewer is None:
        raise ReadError(f"{path.name} is a review session, not a scan; read it with 'lesionlens review open'.")
    from lesionlens.ui.review.dock import ReviewWidget

    widget = ReviewWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Review", area="right")
    widget.start.propose(str(path), "")
    widget.start.reader.setFocus()
    return _NOTHING


def _viewer_of_the_user() -> Viewer | None:
    """Return the viewer in which the user opens something; None where a script does, and expects it when the call ends.

    A script runs outside of Qt's event loop, everything that a user does in the window inside.
    """
    import napari
    from qtpy.QtCore import QThread
    from qtpy.QtWidgets import QApplication

    if QApplication.instance() is None or not QThread.currentThread().loopLevel():
        return None
    return napari.current_viewer()


def _read(request: Request) -> list[LayerData]:
    """Read a scan before going on."""
    from lesionlens.progress import silent
    from lesionlens.ui.dialogs import main_window
    from lesionlens.ui.questions import ask
    from lesionlens.ui.scans import Opened, open_scan

    answer = open_scan(request, silent)
    while not isinstance(answer, Opened):
        window = main_window()
        if window is None:
            raise answer.error
        chosen = ask(answer, window)
        if chosen is None:
            return _NOTHING
        answer = open_scan(chosen, silent)
    return [answer.layer]
