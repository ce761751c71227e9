"""What napari's menus and command palette can do with the LesionLens dock, which opens where it is not there yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import napari

from lesionlens.errors import InputError
from lesionlens.ui import opening

if TYPE_CHECKING:
    from lesionlens.ui.widget import LesionLensWidget

__all__ = [
    "attribution",
    "axial",
    "change_keys",
    "coronal",
    "higher_threshold",
    "lower_threshold",
    "next_region",
    "open_recent",
    "open_results",
    "outlines",
    "previous_region",
    "probability",
    "report",
    "run",
    "sagittal",
    "stop",
]


def run() -> None:
    """Run the bundle that is chosen on the scan that is chosen."""
    _press("run")


def stop() -> None:
    """Stop the run at its next step."""
    _press("stop")


def axial() -> None:
    """Show axial slices."""
    _press("axial")


def coronal() -> None:
    """Show coronal slices."""
    _press("coronal")


def sagittal() -> None:
    """Show sagittal slices."""
    _press("sagittal")


def next_region() -> None:
    """Go to the next region of the table."""
    _press("next_region")


def previous_region() -> None:
    """Go to the region before."""
    _press("previous_region")


def probability() -> None:
    """Switch the probability on or off."""
    _press("probability")


def attribution() -> None:
    """Switch the attribution on or off."""
    _press("attribution")


def outlines() -> None:
    """Switch the outlines of regions on or off."""
    _press("outlines")


def higher_threshold() -> None:
    """Raise the threshold by one step."""
    _press("higher_threshold")


def lower_threshold() -> None:
    """Lower the threshold by one step."""
    _press("lower_threshold")


def open_recent() -> None:
    """Open a case that was opened before."""
    opening.open_recent(_dock().viewer)


def open_results() -> None:
    """Show what an earlier run wrote about the scan that is chosen."""
    _dock().form.results.click()


def report() -> None:
    """Write results as one page for reading and printing."""
    from lesionlens.ui.reports import ask_for_report

    ask_for_report()


def change_keys() -> None:
    """Give actions other keys."""
    _dock().desk.change_keys()


def _press(name: str) -> None:
    _dock().desk.shortcuts.press(name)


def _dock() -> LesionLensWidget:
    """Return the dock of the viewer in use, seen.

    Raises
    ------
    InputError
        If there is no viewer.
    """
    from lesionlens.ui.widget import LesionLensWidget

    viewer = napari.current_viewer()
    if viewer is None:
        raise InputError("Expected a window of napari; found none. Open one first.")
    for dock in viewer.window.dock_widgets.values():
        if isinstance(dock, LesionLensWidget):
            frame = dock.parentWidget()
            if frame is not None:
                frame.show()
                frame.raise_()  # it may be a tab behind others
            return dock
    widget = LesionLensWidget(viewer)
    viewer.window.add_dock_widget(widget, name="LesionLens", area="right")
    return widget
