"""The part of the dock for looking twice: flicker, colour bars, legend, and styles that the user keeps."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.compat import isalive
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QFormLayout, QHBoxLayout, QPushButton, QWidget

from lesionlens.errors import LesionLensError
from lesionlens.styles import read_styles, styles_file, write_styles
from lesionlens.ui.canvas import show_legend
from lesionlens.ui.glances import Curtain, Flicker, overlays_of
from lesionlens.ui.parts import wide_combo
from lesionlens.ui.target_form import fill_with_layers

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from lesionlens.styles import OverlayKind, Style, StyleSheet

__all__ = ["GlanceForm"]


class GlanceForm(QWidget):
    """Flicker, colour bars, legend and kept styles.

    Parameters
    ----------
    viewer
        Whose overlays.
    styles
        The styles as they are now.

    Attributes
    ----------
    style_chosen : Signal(object)
        The :data:`~lesionlens.styles.StyleSheet` to take over.
    bars_toggled : Signal(bool)
        Whether colour bars are wanted.
    """

    style_chosen = Signal(object)
    bars_toggled = Signal(bool)

    def __init__(self, viewer: ViewerModel, styles: dict[OverlayKind, Style], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = weakref.proxy(viewer)
        self._styles = styles
        self._kept: dict[str, StyleSheet] = {}
        self.curtain = Curtain(viewer)
        self.flicker = Flicker(viewer, self)
        self.first, self.second = (wide_combo("Shown in turns with the other one") for _ in range(2))
        self.flicker_button = QPushButton("Flicker")
        self.flicker_button.setCheckable(True)
        self.flicker_button.setToolTip("Show the two in turns, twice a second; the key is J")
        self.bars = QCheckBox("Colour bars")
        self.bars.setToolTip("A colour bar for every map that is shown; the legend says unit and meaning")
        self.legend = QCheckBox("Legend")
        self.legend.setToolTip("What is shown, and where it comes from, on the canvas")
        self.legend.setChecked(True)
        self.names = wide_combo("Styles of all kinds of overlays; type a name to keep those of now")
        self.names.setEditable(True)
        self.save, self.remove = QPushButton("Keep"), QPushButton("Forget")
        self._arrange()
        self._connect(viewer)
        self._offer()

    def read(self) -> None:
        """Offer the styles that the user has kept; a file that is damaged is said, and left as it is."""
        try:
            self._kept = dict(read_styles(styles_file()))
        except LesionLensError as error:
            self._kept = {}
            show_error(str(error))
        self._list("")

    def toggle_flicker(self) -> None:
        """Begin or end to flicker between the chosen two."""
        first, second = self.first.currentData(), self.second.currentData()
        if self.flicker.runs:
            self.flicker.stop()
        elif first is not None and second is not None and first is not second:
            self.flicker.start(first, second)
        self.flicker_button.setChecked(self.flicker.runs)

    def _keep_style(self) -> None:
        name = self.names.currentText().strip()
        if name and self._write({name: dict(self._styles)}, without=""):
            self._list(name)

    def _forget_style(self) -> None:
        name = self.names.currentText().strip()
        if name in self._kept and self._write({}, without=name):
            self._list("")

    def _write(self, more: dict[str, StyleSheet], *, without: str) -> bool:
        """Change the file as it is now: another window may have written it."""
        try:
            kept = {name: sheet for name, sheet in read_styles(styles_file()).items() if name != without}
            write_styles(styles_file(), {**kept, **more})
        except LesionLensError as error:
            show_error(str(error))
            return False
        self._kept = {**kept, **more}
        return True

    def _choose_style(self) -> None:
        sheet = self._kept.get(self.names.currentText())
        if sheet is not None:
            self.style_chosen.emit(sheet)

    def _list(self, current: str) -> None:
        self.names.clear()
        self.names.addItems(sorted(self._kept))
        self.names.setCurrentText(current)

    def _offer(self, _event: Any = None) -> None:
        if isalive(self):  # type: ignore[no-untyped-call]  # napari's events do not know that the dock was closed
            overlays = overlays_of(self._viewer)
            fill_with_layers(self.first, overlays, "no overlay yet")
            fill_with_layers(self.second, overlays, "no overlay yet")
            if self.first.currentIndex() == self.second.currentIndex() and len(overlays) > 1:
                self.second.setCurrentIndex(1 - min(1, self.first.currentIndex()))
            self.flicker_button.setEnabled(len(overlays) > 1)

    def _connect(self, viewer: ViewerModel) -> None:
        events = viewer.layers.events
        for changed in (events.inserted, events.removed, events.reordered):
            changed.connect(self._offer)
        self.flicker_button.clicked.connect(self.toggle_flicker)
        self.flicker.changed.connect(self.flicker_button.setChecked)
        self.bars.toggled.connect(self.bars_toggled)
        self.legend.toggled.connect(lambda value: show_legend(self._viewer, visible=value))
        self.names.activated.connect(self._choose_style)
        self.save.clicked.connect(self._keep_style)
        self.remove.clicked.connect(self._forget_style)

    def _arrange(self) -> None:
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Show", _row(self.legend, self.bars))
        form.addRow("Turns", self.first)
        form.addRow("", self.second)
        form.addRow("", self.flicker_button)
        form.addRow("Style", self.names)
        form.addRow("", _row(self.save, self.remove))


def _row(*parts: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for part in parts:
        row.addWidget(part)
    return row
