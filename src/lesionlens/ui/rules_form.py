"""The part of a form that asks what counts as one region."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QFormLayout, QWidget

from lesionlens.rules import DEFAULT_RULES, RegionRules
from lesionlens.ui.parts import wide_combo
from lesionlens.ui.target_form import fill_with_layers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer

__all__ = ["RulesForm"]

_TOUCHING = {
    26: ("faces, edges or corners (26)", "A thin oblique lesion is one region and not a chain of voxels"),
    18: ("faces or edges (18)", "Voxels that touch by a corner alone belong to two regions"),
    6: ("faces (6)", "Voxels that touch by edges or corners alone belong to two regions"),
}
_MOST_MM, _MOST_MM3 = 100.0, 1e6


class RulesForm(QWidget):
    """Asks which voxels are one region, and what is filled, merged and left out.

    Attributes
    ----------
    changed : Signal()
        Other rules were chosen.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.touching = wide_combo("How voxels of one region touch")
        for number, (title, _) in _TOUCHING.items():
            self.touching.addItem(title, number)
        self.fill = QCheckBox("Fill holes")
        self.fill.setToolTip("Add to a region what it encloses in all directions")
        self.merge = _box(" mm", _MOST_MM, "no", "Make regions one whose voxels lie at most so near each other")
        self.minimum = _box(" mm³", _MOST_MM3, "any", "Leave out regions of less volume; they are counted")
        self.anatomy = wide_combo("Labels layer of anatomy: which labels each region lies in, after the next run")
        self.show_rules(DEFAULT_RULES)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Voxels touch by", self.touching)
        form.addRow("", self.fill)
        form.addRow("Merge within", self.merge)
        form.addRow("At least", self.minimum)
        form.addRow("Anatomy", self.anatomy)
        self.touching.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.fill.toggled.connect(lambda _: self.changed.emit())
        for box in (self.merge, self.minimum):
            box.valueChanged.connect(lambda _: self.changed.emit())

    @property
    def rules(self) -> RegionRules:
        """What was chosen."""
        return RegionRules(self.touching.currentData(), self.fill.isChecked(), self.merge.value(), self.minimum.value())

    def show_rules(self, rules: RegionRules) -> None:
        """Show rules, without saying that they changed."""
        blocked = self.blockSignals(True)
        self.touching.setCurrentIndex(self.touching.findData(rules.connectivity))
        self.fill.setChecked(rules.fill_holes)
        self.merge.setValue(rules.merge_mm)
        self.minimum.setValue(rules.minimum_mm3)
        self.blockSignals(blocked)

    def offer(self, layers: Sequence[Layer]) -> None:
        """Offer labels layers as anatomy; none is chosen at first."""
        fill_with_layers(self.anatomy, layers, "none", optional=True)


def _box(unit: str, most: float, none: str, tip: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(0.0, most)
    box.setDecimals(1)
    box.setSuffix(unit)
    box.setSpecialValueText(none)
    box.setKeyboardTracking(False)  # a number that is being typed is not meant yet
    box.setToolTip(tip)
    return box
