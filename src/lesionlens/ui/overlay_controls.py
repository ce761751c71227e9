"""Controls that change how overlays are shown, at once."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget
from superqt import QLabeledDoubleSlider

from lesionlens.display import PLANES, Plane
from lesionlens.ui.colours import DIVERGING, OUTLINES, SEQUENTIAL
from lesionlens.ui.layers import ATTRIBUTION, PROBABILITY, REGIONS, OverlayKind, Style

__all__ = ["KindControls", "OverlayControls"]

_TITLES: dict[OverlayKind, str] = {PROBABILITY: "Probability", ATTRIBUTION: "Attribution", REGIONS: "Outlines"}
_COLOURS: dict[OverlayKind, tuple[str, ...]] = {
    PROBABILITY: SEQUENTIAL,
    ATTRIBUTION: (*SEQUENTIAL, DIVERGING),
    REGIONS: OUTLINES,
}
_COLOUR_TIPS: dict[OverlayKind, str] = {
    PROBABILITY: "Colours; the same probability always has the same colour",
    ATTRIBUTION: "Colours; blue-orange shows evidence against the class too, in blue",
    REGIONS: "Which regions have an outline; the region chosen in the table is the brightest",
}
_THRESHOLDS: dict[OverlayKind, tuple[str, str]] = {
    PROBABILITY: ("Threshold", "Probabilities below are not shown and belong to no region"),
    ATTRIBUTION: ("From", "Attributions below this fraction of the largest are not shown"),
}
# Regions need a threshold above 0; at 1 nothing but certainty would be left. The slider moves in steps; thresholds
# that were given elsewhere are kept as they are, to as many decimals as the label of the slider has room for.
_LOWEST, _HIGHEST, _STEP = 0.01, 0.99, 0.01
_DECIMALS, _MOST_DECIMALS = 2, 4


class KindControls(QWidget):
    """Visibility, threshold, colours and opacity of one kind of overlay.

    Attributes
    ----------
    exact_threshold : float
        The threshold that counts: as it was given, or where the user moved the slider.
    changed : Signal(str, dict)
        Kind of overlay, and the fields of :class:`~lesionlens.ui.layers.Style` that changed.
    """

    changed = Signal(str, dict)

    def __init__(self, kind: OverlayKind, style: Style, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.kind = kind
        self.visible = QCheckBox(_TITLES[kind])
        self.visible.setChecked(style.visible)
        self.opacity = _slider(0.0, 1.0, style.opacity)
        self.exact_threshold = style.threshold
        self.threshold = _slider(_LOWEST, _HIGHEST, style.threshold) if kind in _THRESHOLDS else None
        self.colours = QComboBox()
        self._proposed = style.colours
        self._arrange()
        self.visible.toggled.connect(lambda value: self._emit(visible=value))
        self.opacity.valueChanged.connect(lambda value: self._emit(opacity=value))
        if self.threshold is not None:
            self.threshold.valueChanged.connect(self._threshold_moved)
        self.colours.addItems(_COLOURS[kind])
        self.colours.setCurrentText(style.colours)
        self.colours.setToolTip(_COLOUR_TIPS[kind])
        self.colours.currentTextChanged.connect(lambda value: self._emit(colours=value))

    def propose_colours(self, name: str) -> None:
        """Choose colours, unless the user has chosen others than those that were proposed before."""
        if self.colours.currentText() == self._proposed:
            self.colours.setCurrentText(name)
            self._proposed = name

    def set_threshold(self, value: float) -> None:
        """Take over a threshold exactly; the slider shows it as well as it can."""
        if self.threshold is None or value == self.exact_threshold:
            return
        self.exact_threshold = value
        self.threshold.blockSignals(True)
        self.threshold.setDecimals(_decimals(value))
        self.threshold.setRange(min(_LOWEST, value), max(_HIGHEST, value))
        self.threshold.setValue(value)
        self.threshold.blockSignals(False)
        self._emit(threshold=value)

    def _threshold_moved(self, value: float) -> None:
        self.exact_threshold = max(_LOWEST, round(float(value), _DECIMALS))
        self._emit(threshold=self.exact_threshold)

    def _emit(self, **changes: object) -> None:
        self.changed.emit(self.kind, changes)

    def _arrange(self) -> None:
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow(self.visible, self.colours)
        if self.threshold is not None:
            label, tip = _THRESHOLDS[self.kind]
            self.threshold.setToolTip(tip)
            form.addRow(label, self.threshold)
        form.addRow("Opacity", self.opacity)


class OverlayControls(QWidget):
    """Plane, class and the controls of every kind of overlay.

    Attributes
    ----------
    restyled : Signal(str, dict)
        As :attr:`KindControls.changed`.
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
        self.keep.setEnabled(bool(kinds))

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


def _decimals(value: float) -> int:
    """Return how many decimals a slider needs to show a value, within its room."""
    return next((n for n in range(_DECIMALS, _MOST_DECIMALS) if round(value, n) == value), _MOST_DECIMALS)


def _slider(low: float, high: float, value: float) -> QLabeledDoubleSlider:
    slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
    slider.setRange(low, high)
    slider.setSingleStep(_STEP)  # type: ignore[arg-type]  # superqt hints at Qt's int, its sliders take fractions
    slider.setDecimals(_DECIMALS)
    slider.setValue(value)
    return slider
