"""The layer in which one finding is seen and drawn on; what is drawn is told stroke by stroke."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QObject, QTimer, Signal

from lesionlens.display import DisplayView
from lesionlens.review.voxels import Voxels, marked, paint
from lesionlens.ui.layers import AXIS_LABELS, NOTICE, NOTICE_KEY, SCAN_KEY

if TYPE_CHECKING:
    import napari.viewer

    from lesionlens.volume import Volume

__all__ = ["FindingLayer", "Tool"]

Tool = Literal["pan_zoom", "paint", "erase", "polygon"]

# Seen on grey and on the warm colours of probabilities, and darker than the light blue of the model's outlines, which
# tells them apart for those who do not see the hue.
_COLOUR = "#ff2bd6"
_OPACITY = 0.9
_BRUSH_MM = 6.0


class FindingLayer(QObject):
    """A labels layer that holds one finding at a time.

    One array of bytes serves all findings of a case: going to another one changes only their voxels.

    Parameters
    ----------
    viewer
        Where it is shown.
    volume
        The scan.

    Attributes
    ----------
    touched : bool
        Something was drawn since :meth:`show` or :meth:`settle`.
    drawn : Signal()
        A stroke was finished, or the user has changed the layer in any other way.
    undo_wanted, redo_wanted : Signal()
        napari's own keys for these were pressed in the layer.
    """

    drawn = Signal()
    undo_wanted = Signal()
    redo_wanted = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, volume: Volume, parent: QObject) -> None:
        super().__init__(parent)
        # The order in memory is that of files: axial slices of most scans lie in one piece.
        self._canvas = np.zeros(volume.grid.shape, np.uint8, order="F")
        self._viewer = viewer
        self._shown: Voxels = np.empty(0, np.int64)
        self.touched = False
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.timeout.connect(self.drawn)
        self.layer = self._make(volume)
        viewer.add_layer(self.layer)

    @property
    def voxels(self) -> Voxels:
        """Which voxels are marked on the screen now."""
        return marked(self._canvas) if self.touched else self._shown

    @property
    def tool(self) -> str:
        """What the mouse does."""
        return str(self.layer.mode)

    def show(self, name: str, voxels: Voxels) -> None:
        """Show a finding in place of the one before."""
        paint(self._canvas, self.voxels, 0)
        paint(self._canvas, voxels, 1)
        self.settle(voxels)
        self.rename(name)
        self.layer.refresh(extent=False)

    def rename(self, name: str) -> None:
        """Say which finding it is."""
        self.layer.name = f"Finding: {name}"

    def settle(self, voxels: Voxels) -> None:
        """Take note that these voxels are what is seen: nothing was drawn since."""
        self._shown, self.touched = voxels, False

    def use(self, tool: Tool) -> None:
        """Take a tool, or put it down if it is the one in use; drawing needs this layer to be the active one."""
        tool = "pan_zoom" if tool == self.tool else tool
        self.layer.visible = True
        self.layer.selected_label = 1
        self._viewer.layers.selection.active = self.layer
        self.layer.mode = tool

    def lock(self, *, locked: bool) -> None:
        """Let nobody draw, or let them."""
        self.layer.editable = not locked

    def remove(self) -> None:
        """Take the layer out of the viewer."""
        self._later.stop()
        self.layer.events.paint.disconnect(self._painted)
        if self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)

    def _painted(self, _event: Any = None) -> None:
        """Tell of a stroke as soon as its voxels are there: napari tells of some before it sets them."""
        self.touched = True
        self._later.start(0)

    def _make(self, volume: Volume) -> Labels:
        view = DisplayView(volume.grid)
        colours = DirectLabelColormap(color_dict={0: "transparent", 1: _COLOUR, None: _COLOUR})
        layer = Labels(
            view.to_display(self._canvas),
            name="Finding",
            scale=view.scale,
            translate=view.translate,
            units=("mm",) * 3,
            axis_labels=AXIS_LABELS,
            colormap=colours,
            opacity=_OPACITY,
            metadata={SCAN_KEY: volume, NOTICE_KEY: NOTICE},
        )
        layer.contour = 1
        layer.brush_size = max(1, round(_BRUSH_MM / min(view.scale)))
        layer.events.paint.connect(self._painted)
        # One undo for the reader: napari's key takes back what the session has stored, not only what is seen.
        layer.undo = self.undo_wanted.emit
        layer.redo = self.redo_wanted.emit
        return layer
