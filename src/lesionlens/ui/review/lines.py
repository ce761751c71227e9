"""The layer in which a finding is measured: each line goes to the session when the mouse is let go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from lesionlens.display import DisplayView
from lesionlens.review.state import Measurement
from lesionlens.ui.layers import AXIS_LABELS, NOTICE, NOTICE_KEY, SCAN_KEY
from lesionlens.ui.navigation import mm_per_unit_of

if TYPE_CHECKING:
    import napari.viewer

    from lesionlens.volume import Volume

__all__ = ["LineLayer"]

_NAME = "Lines"
# Seen on grey, on the warm colours of probabilities, and beside the magenta of the finding.
_COLOUR = "#0095ff"
_WIDTH_MM = 0.6
_TEXT_SIZE = 13


class LineLayer(QObject):
    """The lines of the finding that is looked at; the layer is there only where there is one, or one is drawn.

    Parameters
    ----------
    viewer
        Where they are drawn.
    volume
        The scan.

    Attributes
    ----------
    drawn : Signal(object)
        A line was drawn: (2, 3) its ends in world mm, RAS+.
    """

    drawn = Signal(object)

    def __init__(self, viewer: napari.viewer.Viewer, volume: Volume, parent: QObject) -> None:
        super().__init__(parent)
        self.layer: Shapes | None = None
        self._viewer = viewer
        self._volume = volume
        self._shown: tuple[Measurement, ...] = ()
        self._dragged: tuple[tuple[float, ...], tuple[float, ...]] | None = None
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.timeout.connect(self._tell)

    @property
    def in_use(self) -> bool:
        """Whether the mouse draws lines."""
        layers = self._viewer.layers
        return self.layer is not None and layers.selection.active is self.layer and self.layer.mode == "add_line"

    def use(self) -> None:
        """Take the tool, or put it down if it is in use."""
        if self.in_use:
            self.put_down()
            return
        if self.layer is None or self.layer not in self._viewer.layers:
            self._make(self._shown)
        assert self.layer is not None
        self.layer.visible = True
        self._viewer.layers.selection.active = self.layer
        self.layer.mode = "add_line"

    def put_down(self) -> None:
        """Let the mouse move the picture again."""
        if self.layer is not None:
            self.layer.mode = "pan_zoom"

    def show(self, lines: Sequence[Measurement]) -> None:
        """Show these lines, and nothing else that may have been drawn."""
        in_layer = 0 if self.layer is None else self.layer.nshapes
        if tuple(lines) == self._shown and in_layer == len(lines):
            return
        tool, active = self.in_use, self._viewer.layers.selection.active
        before = self.layer
        self._take_away()
        if lines or tool:
            self._make(lines)
        if tool:
            self.use()
        else:
            self._viewer.layers.selection.active = self.layer if active is before else active

    def _make(self, lines: Sequence[Measurement]) -> None:
        self._take_away()
        view, to_unit = DisplayView(self._volume.grid), mm_per_unit_of(self._viewer)
        ends = [view.display_index(self._volume.grid.voxel(np.array(line.ends_ras))) for line in lines]
        layer = Shapes(
            ends or None,
            ndim=3,
            shape_type="line",
            edge_color=_COLOUR,
            edge_width=_WIDTH_MM / min(view.scale),
            opacity=1,
            name=_NAME,
            scale=np.array(view.scale) / to_unit,
            translate=np.array(view.translate) / to_unit,
            axis_labels=AXIS_LABELS,
            units=(self._viewer.layers.units or ("mm",) * 3)[-3:],
            features={"length": [f"{line.length_mm:.1f} mm" for line in lines]},
            # Beside the line: on it, neither could be read.
            text={"string": "{length}", "color": _COLOUR, "size": _TEXT_SIZE, "anchor": "upper_left"}
            if lines
            else None,
            metadata={SCAN_KEY: self._volume, NOTICE_KEY: NOTICE},
        )
        layer.current_edge_color = _COLOUR
        layer.current_edge_width = _WIDTH_MM / min(view.scale)
        self._viewer.add_layer(layer)
        layer.events.data.connect(self._changed)
        layer.mouse_drag_callbacks.append(self._follow)
        self.layer, self._shown = layer, tuple(lines)

    def _take_away(self) -> None:
        self._later.stop()
        layer, self.layer, self._shown = self.layer, None, ()
        if layer is not None:
            layer.events.data.disconnect(self._changed)
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    def _changed(self, _event: Any = None) -> None:
        """Tell of a line once napari is done with it: it says that one was added while the mouse is still down."""
        self._later.start(0)

    def _tell(self) -> None:
        layer = self.layer
        if layer is None or layer._is_creating:  # napari has no public name for it
            return
        ends, self._dragged = self._dragged, None
        if ends is not None:
            self.drawn.emit(self._ends(np.array([layer.world_to_data(end) for end in ends])))
        elif layer.nshapes != len(self._shown):
            self.drawn.emit(None)  # somebody has changed the layer in another way

    def _follow(self, layer: Shapes, event: Any) -> Iterator[None]:
        """Take note where the mouse was pressed and let go: napari's line ends where it saw the mouse move last."""
        if layer.mode != "add_line":
            return
        first = event.position
        yield
        while event.type == "mouse_move":
            yield
        self._dragged = first, event.position
        self._later.start(0)

    def _ends(self, line: NDArray[Any]) -> NDArray[np.float64]:
        ijk = DisplayView(self._volume.grid).voxel_index(np.asarray(line, dtype=np.float64))
        return self._volume.grid.world(ijk)
