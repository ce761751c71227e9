"""Looking at a scan with and without its overlays: all hidden for a moment, or two shown in turns."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from lesionlens.ui.layers import is_contour, scan_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

__all__ = ["Curtain", "Flicker", "overlays_of"]

#: Slow enough to see each picture, quick enough to see what moves between them.
INTERVAL_MS = 500


def overlays_of(viewer: ViewerModel) -> list[Layer]:
    """Return all that lies over scans, lowest first; lines go with the map that they belong to."""
    return [layer for layer in viewer.layers if scan_of(layer) is not None and not is_contour(layer)]


class Curtain:
    """Hides all overlays for as long as it is drawn.

    Parameters
    ----------
    viewer
        Whose overlays.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = weakref.proxy(viewer)
        self._hidden: list[weakref.ref[Layer]] = []

    def draw(self) -> None:
        """Hide what is shown; drawing it twice hides nothing more."""
        shown = [layer for layer in overlays_of(self._viewer) if layer.visible]
        self._hidden += [weakref.ref(layer) for layer in shown]
        for layer in shown:
            layer.visible = False

    def open(self) -> None:
        """Show what was hidden, as far as it is still there."""
        hidden, self._hidden = [reference() for reference in self._hidden], []
        for layer in self._viewer.layers:
            if layer in hidden:
                layer.visible = True


class Flicker(QObject):
    """Shows two overlays in turns.

    Parameters
    ----------
    viewer
        Whose overlays.
    parent
        With whose end it ends.

    Attributes
    ----------
    changed : Signal(bool)
        It has begun, or ended.
    """

    changed = Signal(bool)

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = weakref.proxy(viewer)
        self._pair: tuple[Layer, ...] = ()
        self._before: tuple[bool, ...] = ()
        self.timer = QTimer(self)
        self.timer.setInterval(INTERVAL_MS)
        self.timer.timeout.connect(self.turn)

    @property
    def runs(self) -> bool:
        """Whether it has begun and not ended."""
        return bool(self._pair)

    def start(self, first: Layer, second: Layer) -> None:
        """Show the first one, then the second, and so on."""
        self.stop()
        self._pair, self._before = (first, second), (first.visible, second.visible)
        first.visible, second.visible = True, False
        self.timer.start()
        self.changed.emit(True)

    def turn(self) -> None:
        """Show the other one; without one of the two there is nothing to compare."""
        if not all(layer in self._viewer.layers for layer in self._pair):
            self.stop()
            return
        for layer in self._pair:
            layer.visible = not layer.visible

    def stop(self) -> None:
        """Show both as they were before."""
        pair, self._pair = self._pair, ()
        self.timer.stop()
        for layer, visible in zip(pair, self._before, strict=False):
            if layer in self._viewer.layers:
                layer.visible = visible
        if pair:
            self.changed.emit(False)
