"""Controls of one kind of overlay."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QHBoxLayout, QLabel, QSizePolicy, QWidget
from superqt import QLabeledDoubleSlider

from lesionlens.styles import (
    ANOMALY,
    ATTRIBUTION,
    DIVERGING,
    OUTLINES,
    PROBABILITY,
    REGIONS,
    SEQUENTIAL,
    UNCERTAINTY,
    OverlayKind,
    Style,
)

__all__ = ["KindControls"]

_TITLES: dict[OverlayKind, str] = {
    PROBABILITY: "Probability",
    ATTRIBUTION: "Attribution",
    UNCERTAINTY: "Uncertainty",
    ANOMALY: "Anomaly",
    REGIONS: "Outlines",
}
_COLOURS: dict[OverlayKind, tuple[str, ...]] = {
    PROBABILITY: SEQUENTIAL,
    ATTRIBUTION: (*SEQUENTIAL, DIVERGING),
    UNCERTAINTY: SEQUENTIAL,
    ANOMALY: (*SEQUENTIAL, DIVERGING),
    REGIONS: OUTLINES,
}
_SAME = "Colours; equal values have equal colours in all classes, models and time points"
_COLOUR_TIPS: dict[OverlayKind, str] = {
    PROBABILITY: _SAME,
    ATTRIBUTION: f"{_SAME}, as far as one method made them; blue-orange shows evidence against the class too, in blue",
    UNCERTAINTY: _SAME,
    ANOMALY: _SAME,
    REGIONS: "Which regions have an outline; the region chosen in the table is the brightest",
}
_OF_LARGEST = "below this fraction of the largest, in any map of the same method, are not shown"
_THRESHOLDS: dict[OverlayKind, tuple[str, str]] = {
    PROBABILITY: ("Threshold", "Probabilities below are not shown and belong to no region"),
    ATTRIBUTION: ("From", f"Attributions {_OF_LARGEST}"),
    UNCERTAINTY: ("From", "Uncertainties below this fraction of what the measure can reach are not shown"),
    ANOMALY: ("From", f"Values {_OF_LARGEST}"),
}
# There are several maps of these for one class: each is switched on in the list of layers.
_WITHOUT_SWITCH = (UNCERTAINTY, ANOMALY)
# Regions need a threshold above 0; at 1 nothing but certainty would be left. The slider moves in steps; thresholds
# that were given elsewhere are kept as they are, to as many decimals as the label of the slider has room for.
_LOWEST, _HIGHEST, _STEP = 0.01, 0.99, 0.01
_DECIMALS, _MOST_DECIMALS = 2, 4


class KindControls(QWidget):
    """Visibility, threshold, colours, line and opacity of one kind of overlay.

    Attributes
    ----------
    exact_threshold : float
        The threshold that counts: as it was given, or where the user moved the slider.
    changed : Signal(str, dict)
        Kind of overlay, and the fields of :class:`~lesionlens.styles.Style` that changed.
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
        self.contour = QCheckBox("line")
        self.contour.setToolTip("A line around what is shown, instead of colours inside; its outer edge is the voxels'")
        self.contour.setChecked(style.contour)
        self._proposed = style.colours
        self._arrange()
        self._connect()
        self.colours.addItems(_COLOURS[kind])
        self.colours.setCurrentText(style.colours)
        self.colours.setToolTip(_COLOUR_TIPS[kind])
        self.colours.currentTextChanged.connect(lambda value: self._emit(colours=value))

    def take(self, style: Style) -> None:
        """Take over a style, but for the threshold of regions, which is that of the measurement."""
        self.visible.setChecked(style.visible)
        self.contour.setChecked(style.contour)
        self.opacity.setValue(style.opacity)
        self.colours.setCurrentText(style.colours)
        self.set_threshold(style.threshold)

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

    def _connect(self) -> None:
        self.visible.toggled.connect(lambda value: self._emit(visible=value))
        self.opacity.valueChanged.connect(lambda value: self._emit(opacity=value))
        self.contour.toggled.connect(lambda value: self._emit(contour=value))
        if self.threshold is not None:
            self.threshold.valueChanged.connect(self._threshold_moved)

    def _arrange(self) -> None:
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        looks = QHBoxLayout()
        self.colours.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        looks.addWidget(self.colours, 1)
        looks.addWidget(self.contour)
        title = QLabel(_TITLES[self.kind])
        title.setToolTip("Several maps: each is switched on in the list of layers")
        form.addRow(title if self.kind in _WITHOUT_SWITCH else self.visible, looks)
        if self.threshold is not None:
            label, tip = _THRESHOLDS[self.kind]
            self.threshold.setToolTip(tip)
            form.addRow(label, self.threshold)
        form.addRow("Opacity", self.opacity)


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
