"""Controls that change how overlays are shown, at once."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from lesionlens.display import PLANES, Plane
from lesionlens.styles import ANOMALY, PROBABILITY, UNCERTAINTY, OverlayKind, Style, StyleSheet
from lesionlens.ui.kind_controls import KindControls

__all__ = ["OverlayControls"]

# Most results have none of these; their controls come with the maps.
_RARE = (UNCERTAINTY, ANOMALY)


class OverlayControls(QWidget):
    """Plane, class and the controls of every kind of overlay.

    Attributes
    ----------
    restyled : Signal(str, dict)
        As :attr:`lesionlens.ui.kind_controls.KindControls.changed`.
    class_chosen : Signal(str)
        The class to show.
    plane_chosen : Signal(object)
        The :class:`~lesionlens.display.Plane` to show.
    """

    restyled = Signal(str, dict)
    class_chosen = Signal(str)
    plane_chosen = Signal(object)

    def __init__(self, styles: dict[OverlayKind, Style], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self._plane_buttons())
        self.classes = QComboBox()
        self.classes.setToolTip("The class whose overlays and regions are shown")
        self._class_row = QWidget()
        row = QHBoxLayout(self._class_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(QLabel("Class"))
        row.addWidget(self.classes, 1)
        layout.addWidget(self._class_row)
        self.kinds = {kind: KindControls(kind, style) for kind, style in styles.items()}
        for controls in self.kinds.values():
            controls.changed.connect(self.restyled)
            layout.addWidget(controls)
        self.keep = QPushButton("Keep these maps")
        self.keep.setToolTip("Keep the maps as layers of their own when something else runs, to compare them")
        layout.addWidget(self.keep)
        self.classes.currentTextChanged.connect(self._choose_class)
        self.offer([], set())

    @property
    def threshold(self) -> float:
        """Probability threshold, in (0, 1]."""
        return self.kinds[PROBABILITY].exact_threshold

    def set_threshold(self, value: float) -> None:
        """Set the probability threshold, exactly."""
        self.kinds[PROBABILITY].set_threshold(value)

    def offer(self, classes: Sequence[str], kinds: set[OverlayKind]) -> None:
        """Offer the classes and the kinds of overlays that there are."""
        self.classes.blockSignals(True)
        self.classes.clear()
        self.classes.addItems(list(classes))
        self.classes.blockSignals(False)
        self._class_row.setVisible(len(classes) > 1)
        self.allow(kinds)

    def allow(self, kinds: set[OverlayKind]) -> None:
        """Allow the controls of the kinds of overlays that the shown class has."""
        for kind, controls in self.kinds.items():
            controls.setEnabled(kind in kinds)
            controls.setVisible(kind in kinds or kind not in _RARE)
        self.keep.setEnabled(bool(kinds.difference(_RARE)))

    def take(self, sheet: StyleSheet) -> None:
        """Take over the styles of a sheet; kinds that it does not hold stay as they are."""
        for kind, style in sheet.items():
            self.kinds[kind].take(style)

    def show_kind(self, kind: OverlayKind) -> None:
        """Switch one kind of overlay on."""
        self.kinds[kind].visible.setChecked(True)

    def _choose_class(self, name: str) -> None:
        if name:
            self.class_chosen.emit(name)

    def _plane_buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.planes = {}
        for name, plane in PLANES.items():
            button = QPushButton(name.capitalize())
            button.setToolTip(f"Show {name} slices")
            button.clicked.connect(lambda _checked=False, plane=plane: self._choose_plane(plane))
            self.planes[name] = button
            row.addWidget(button)
        return row

    def _choose_plane(self, plane: Plane) -> None:
        self.plane_chosen.emit(plane)
