"""An open case in the viewer: its scan, its overlays, and the finding that is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from napari.layers import Layer
from qtpy.QtCore import QObject

from lesionlens.review import Act, CaseEntry, Event
from lesionlens.review.marks import EditedVolumes, added, edited, lines_of, original, voxels_of
from lesionlens.review.voxels import Voxels, box_of, middle
from lesionlens.ui.canvas import annotate
from lesionlens.ui.glances import Curtain
from lesionlens.ui.layers import scan_of, volume_of
from lesionlens.ui.review.drawing import FindingLayer, Tool
from lesionlens.ui.review.lines import LineLayer
from lesionlens.ui.review.looking import bring_back, look_at, view_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import napari.viewer

    from lesionlens.ui.overlays import Overlays
    from lesionlens.ui.scans import Opened
    from lesionlens.volume import Volume

__all__ = ["CaseView"]


class CaseView(QObject):
    """The layers of one case; they go with it, and leave those of the user alone.

    Parameters
    ----------
    viewer
        Where it is shown.
    overlays
        Shows the results.
    entry
        The case.
    opened
        Its scan and results.
    bare
        Show the scan alone: the reader searches it without the model first.

    Attributes
    ----------
    voxels : numpy.ndarray
        Those of the finding that is shown, as the session has them.
    volumes : EditedVolumes
        How large findings are as they are drawn now.
    bare : bool
        All overlays are hidden, until another finding is shown or a tool is taken.
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        overlays: Overlays,
        entry: CaseEntry,
        opened: Opened,
        parent: QObject,
        *,
        bare: bool = False,
    ) -> None:
        super().__init__(parent)
        annotate(viewer)
        self.volume: Volume = opened.volume
        self.voxels: Voxels = np.empty(0, np.int64)
        self.volumes = EditedVolumes(opened.volume.grid, self._start)
        self._finding = ""
        self._curtain = Curtain(viewer)
        self.bare = False
        self._viewer = viewer
        self._overlays = overlays
        self._opened = opened
        self._findings = {finding.id: finding for finding in entry.findings}
        viewer.add_layer(Layer.create(*opened.layer))
        if not bare:
            self.show_model()
        self.drawing = FindingLayer(viewer, opened.volume, self)
        self.lines = LineLayer(viewer, opened.volume, self)
        viewer.layers.selection.active = next(layer for layer in viewer.layers if volume_of(layer) is opened.volume)

    @property
    def tool(self) -> str:
        """What the mouse does."""
        return "add_line" if self.lines.in_use else self.drawing.tool

    def show_model(self) -> None:
        """Show what the model made of the scan."""
        if self._opened.result is not None:
            self._overlays.show(self._opened.result, next((one.label_class for one in self._findings.values()), ""))

    def show(self, finding: str, events: Sequence[Event], view: Mapping[str, Any] | None = None) -> None:
        """Show a finding: in the middle and at its size, or as somebody has left it.

        Parameters
        ----------
        finding
            Its name.
        events
            Those of the reader in the case.
        view
            Where the reader looked, to go on there.
        """
        self.refresh(finding, events)
        if view is not None:
            bring_back(self._viewer, self.volume, view)
        elif len(self.voxels):
            grid = self.volume.grid
            look_at(self._viewer, self.volume, middle(self.voxels, grid), box_of(self.voxels, grid.shape))

    def refresh(self, finding: str, events: Sequence[Event]) -> None:
        """Show the voxels of a finding as events say, without looking elsewhere."""
        if finding != self._finding:
            self._show_again()
        entry = self._findings.get(finding)
        self.voxels = self.voxels_of(finding, events)
        if self.drawing.layer not in self._viewer.layers:
            self._viewer.add_layer(self.drawing.layer)  # somebody has removed it
        self.drawing.show(finding, self.voxels)
        self.lines.show(lines_of(finding, events))
        self._finding = finding
        if entry is not None and self._overlays.shown_class != entry.label_class:
            self._overlays.show_class(entry.label_class)
        self._show_original()

    def voxels_of(self, finding: str, events: Sequence[Event]) -> Voxels:
        """Return the voxels of any finding of the case."""
        return voxels_of(finding, self._start(finding), events, self.volume.grid)

    def hide_overlays(self) -> None:
        """Show the scan alone, or the overlays again."""
        if self.bare:
            self._show_again()
        else:
            self._curtain.draw()
            self.bare = True

    def _show_again(self) -> None:
        self._curtain.open()
        self.bare = False

    def use(self, tool: Tool | Literal["add_line"]) -> None:
        """Take a tool, or put it down if it is the one in use; the mouse does one thing at a time."""
        self._show_again()
        if tool == "add_line":
            if self.drawing.tool != "pan_zoom":
                self.drawing.use("pan_zoom")
            self.lines.use()
        else:
            self.lines.put_down()
            self.drawing.use(tool)

    def begin_new(self) -> None:
        """Show an empty finding, to be drawn."""
        self._show_again()
        self.voxels = np.empty(0, np.int64)
        self._finding = ""
        self._show_original()
        self.lines.show(())
        self.drawing.show("new", self.voxels)

    def change(self, name: str, *, new: bool) -> Act | None:
        """Return what was drawn since the last time as an act, or None where nothing is different."""
        now, grid = self.drawing.voxels, self.volume.grid
        if np.array_equal(now, self.voxels):
            return None
        return added(name, now, grid) if new else edited(name, self.voxels, now, grid)

    def settle(self) -> None:
        """Take note that what is seen is stored."""
        self.voxels = self.drawing.voxels
        self.drawing.settle(self.voxels)
        self._show_original()

    def view(self) -> dict[str, Any]:
        """Return where the viewer looks."""
        return view_of(self._viewer, self.volume)

    def remove(self) -> None:
        """Take the layers of the case out of the viewer."""
        self.drawing.remove()
        for layer in list(self._viewer.layers):
            if volume_of(layer) is self.volume or scan_of(layer) is self.volume:
                self._viewer.layers.remove(layer)
        self.deleteLater()

    def _show_original(self) -> None:
        """Outline what the model has marked beside what the reader made of it, where they differ."""
        entry = self._findings.get(self._finding)
        same = entry is None or np.array_equal(self._original(self._finding), self.voxels)
        self._overlays.select_region(None if same or entry is None else entry.label)

    def _start(self, finding: str) -> Voxels:
        return self._original(finding) if finding in self._findings else np.empty(0, np.int64)

    def _original(self, finding: str) -> Voxels:
        labels = {} if self._opened.result is None else self._opened.result.labels
        return original(self._findings[finding], labels)
