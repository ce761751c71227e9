"""The buttons of the dock *Views*: convention, links, and the thickness of slabs."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from lesionlens.ui import convention
from lesionlens.ui.slab import MODES, THIN

__all__ = ["Controls"]

_FIRST_MM = 10.0
_THICKEST_MM = 500.0


class Controls(QWidget):
    """What can be set for all views together.

    Attributes
    ----------
    slab_changed : Signal(str, float)
        Other slabs are wanted: a key of :data:`lesionlens.ui.slab.MODES` and at least so many mm.
    """

    slab_changed = Signal(str, float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.convention = QPushButton()
        self.convention.setCheckable(True)
        self.convention.setToolTip(
            "Radiological: the patient's right is on the left of the screen.\n"
            "Neurological: it is on the right. All canvases change together; data stay as they are."
        )
        self.linked = QCheckBox("Link zoom")
        self.linked.setChecked(True)
        self.linked.setToolTip("Zoom and move all views and the main viewer together")
        self.crosshair = QCheckBox("Crosshair")
        self.crosshair.setChecked(True)
        self.fit = QPushButton("Fit")
        self.fit.setToolTip("Show the whole scan, at one scale in all views")
        self.mode = QComboBox()
        for mode, name in MODES.items():
            self.mode.addItem(name, mode)
        self.mode.setToolTip("Show the highest, mean or lowest value of several slices of the scan; overlays stay thin")
        self.thickness = QDoubleSpinBox()
        self.thickness.setRange(0.0, _THICKEST_MM)
        self.thickness.setDecimals(1)
        self.thickness.setSuffix(" mm")
        self.thickness.setValue(_FIRST_MM)
        self.thickness.setToolTip("At least so thick; the canvas says how thick it is, in whole slices")
        # A number that is still being typed is not yet wanted.
        self.thickness.setKeyboardTracking(False)
        self._arrange()
        self.convention.clicked.connect(self._choose_convention)
        self.mode.currentIndexChanged.connect(self._change_slab)
        self.thickness.valueChanged.connect(self._change_slab)
        self.show_convention()
        self._change_slab()

    def show_convention(self) -> None:
        """Show the convention that the canvases have."""
        shown = convention.convention()
        self.convention.setChecked(shown == convention.NEUROLOGICAL)
        self.convention.setText(shown.capitalize())

    def _choose_convention(self, _checked: object = None) -> None:
        convention.set_convention(convention.NEUROLOGICAL if self.convention.isChecked() else convention.RADIOLOGICAL)

    def _change_slab(self, _value: object = None) -> None:
        mode = str(self.mode.currentData())
        self.thickness.setEnabled(mode != THIN)
        self.slab_changed.emit(mode, self.thickness.value())

    def _arrange(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 0)
        for parts in ((self.convention, self.crosshair, self.linked, self.fit), (self.mode, self.thickness)):
            row = QHBoxLayout()
            for part in parts:
                row.addWidget(part)
            row.addStretch(1)
            column.addLayout(row)
