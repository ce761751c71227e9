"""A viewer with the dock Review on a session: what the command line opens."""

from __future__ import annotations

from pathlib import Path

import napari

from lesionlens.errors import ReadError
from lesionlens.ui.open import settle
from lesionlens.ui.review.dock import ReviewWidget

__all__ = ["open_review", "review_session"]

_TITLE = "LesionLens: review"
_WINDOW = (1500, 980)


def open_review(path: Path, reader: str, *, show: bool = True) -> tuple[napari.Viewer, ReviewWidget]:
    """Open napari with the dock Review, and in it a session where the reader stopped.

    Without a reader's name the dock asks for it.

    Raises
    ------
    ReadError
        If the session cannot be opened.
    """
    viewer = napari.Viewer(title=_TITLE, show=show, show_welcome_screen=False)
    viewer.window.resize(*_WINDOW)
    widget = ReviewWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Review", area="right")
    if show:
        settle()  # the canvas gets its final size only now, and the zoom to a finding depends on it
    widget.start.propose(str(path), reader)
    if reader and not widget.open_session(str(path), reader):
        failure = widget.banners.failure.text()
        viewer.close()
        raise ReadError(failure)
    return viewer, widget


def review_session(path: Path, reader: str) -> None:
    """Open a session and return when the window was closed."""
    open_review(path, reader)
    napari.run()
