"""The row of the dock that says and changes the window of the scan."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QWidget

from lesionlens.ui.layers import volume_of
from lesionlens.ui.parts import Note, wide_combo
from lesionlens.ui.windows import show_window, shown_scan, start_dragging, window_now, windows_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from lesionlens.windowing import Window

__all__ = ["WindowControls"]

_BY_HAND = "set by hand"
_TIP = (
    "Which values are black and white. Drag with the middle button, or with Shift and the right one: to the right for"
    " more width, down for darker. W and Shift+W show the next and the previous window."
)


class WindowControls(QWidget):
    """Choice of windows for the scan that is shown, and what its window is now.

    Parameters
    ----------
    viewer
        Whose scans.
    """

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = weakref.proxy(viewer)
        self._offered: tuple[Window, ...] = ()
        self.windows = wide_combo(_TIP)
        self.now = Note()
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Window", self.windows)
        form.addRow(self.now)
        self.windows.activated.connect(self._chosen)
        viewer.layers.events.connect(self._changed)
        self.destroyed.connect(start_dragging(viewer))
        self.refresh()

    def refresh(self) -> None:
        """Offer the windows of the scan that is shown, and say which one it has."""
        layer = shown_scan(self._viewer)
        self.setEnabled(layer is not None)
        if layer is None:
            self._offer(())
            self.now.say("")
            return
        self._offer(windows_of(layer))
        now, volume = window_now(layer), volume_of(layer)
        self.windows.setCurrentIndex(self._offered.index(now) + 1 if now in self._offered else 0)
        words = now.in_words("" if volume is None else volume.unit)
        self.now.say("; ".join(filter(None, (words, now.note))))

    def _offer(self, windows: tuple[Window, ...]) -> None:
        if windows == self._offered and self.windows.count():
            return
        self._offered = windows
        self.windows.clear()
        self.windows.addItems([_BY_HAND, *(window.name for window in windows)])
        for row, window in enumerate(windows, start=1):
            about = "\n".join(filter(None, (window.in_words(), window.origin, window.note)))
            self.windows.setItemData(row, about, Qt.ItemDataRole.ToolTipRole)

    def _chosen(self, row: int) -> None:
        layer = shown_scan(self._viewer)
        if layer is not None and row > 0:
            show_window(layer, self._offered[row - 1])
        self.refresh()

    def _changed(self, event: Any) -> None:
        if event.type not in ("inserted", "removed", "reordered", "visible", "contrast_limits"):
            return
        if isalive(self):  # type: ignore[no-untyped-call]  # napari's events do not know that the dock was closed
            self.refresh()
