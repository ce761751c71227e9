"""A figure in a dock, in the colours of the window, whose threshold can be dragged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from napari.utils.theme import get_system_theme, get_theme
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from lesionlens.report.palette import Palette, recolour
from lesionlens.report.plots import THRESHOLD_MARK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FigureView", "palette_of"]

_PIXELS_PER_INCH = 100
_LEAST_HEIGHT = 300
# Thresholds that a drag stops at, as the sliders do.
_DECIMALS, _LOWEST, _HIGHEST = 2, 0.01, 0.99


class FigureView(QWidget):
    """Shows one figure at a time.

    Attributes
    ----------
    threshold_dragged : Signal(float)
        Somebody moves the line at the threshold.
    """

    threshold_dragged = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.canvas: Any = None
        self._dragging = False
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)

    @property
    def figure(self) -> Figure | None:
        """The figure that is shown."""
        return None if self.canvas is None else self.canvas.figure

    def clear(self) -> None:
        """Show nothing."""
        canvas, self.canvas = self.canvas, None
        self._dragging = False
        if canvas is not None:
            canvas.figure.clear()
            self._column.removeWidget(canvas)
            canvas.hide()
            canvas.deleteLater()

    def show_figure(self, figure: Figure, palette: Palette, *, draggable: bool) -> None:
        """Show a figure in the colours of a window; the line at its threshold can be moved, if it is ``draggable``."""
        self.clear()
        figure.set_dpi(_PIXELS_PER_INCH)
        height = int(figure.get_figheight() * _PIXELS_PER_INCH)
        recolour(figure, palette)
        self.canvas = FigureCanvasQTAgg(figure)  # type: ignore[no-untyped-call]  # matplotlib's canvases have no hints
        self.canvas.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Expanding)
        self.canvas.setMinimumHeight(max(_LEAST_HEIGHT, height))
        self._column.addWidget(self.canvas)
        if draggable:
            self.canvas.mpl_connect("button_press_event", self._press)
            self.canvas.mpl_connect("motion_notify_event", self._move)
            self.canvas.mpl_connect("button_release_event", self._release)

    def move_threshold(self, threshold: float) -> None:
        """Move the line at the threshold."""
        if self.figure is None:
            return
        marks = [line for axes in self.figure.axes for line in axes.lines if line.get_gid() == THRESHOLD_MARK]
        for line in marks:
            line.set_xdata((threshold, threshold))
        if marks:
            self.canvas.draw_idle()

    def _press(self, event: Any) -> None:
        if event.inaxes is not None and event.button == 1:
            self._dragging = True
            self._move(event)

    def _move(self, event: Any) -> None:
        if self._dragging and event.inaxes is not None:
            value = min(_HIGHEST, max(_LOWEST, round(float(event.xdata), _DECIMALS)))
            self.move_threshold(value)
            self.threshold_dragged.emit(value)

    def _release(self, _event: Any) -> None:
        self._dragging = False


def palette_of(name: str) -> Palette:
    """Return the colours of a theme of napari."""
    theme = get_theme(get_system_theme() if name == "system" else name)
    return Palette(*(getattr(theme, part).as_hex() for part in ("background", "text", "secondary")))
