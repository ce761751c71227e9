"""The part of a form that asks what runs the network, and in how much memory."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QFormLayout, QWidget

from lesionlens.computing import ENGINES, Computing
from lesionlens.ui.parts import Note, wide_combo

__all__ = ["ComputingForm"]

_MOST_GIB = 4096.0


class ComputingForm(QWidget):
    """Asks for engine and memory.

    Attributes
    ----------
    changed : Signal()
        Something else was chosen.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.engine = wide_combo("What runs the network for predictions; explanations always use torch")
        for name, words in ENGINES.items():
            self.engine.addItem(name, name)
            self.engine.setItemData(self.engine.count() - 1, words, Qt.ItemDataRole.ToolTipRole)
        self.about = Note()
        self.memory = QDoubleSpinBox()
        self.memory.setRange(0.0, _MOST_GIB)
        self.memory.setSuffix(" GiB")
        self.memory.setSpecialValueText("most of what is free")
        self.memory.setToolTip("Memory that a prediction may take; beyond, it is joined block by block")
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Engine", self.engine)
        form.addRow(self.about)
        form.addRow("Memory", self.memory)
        self.engine.currentIndexChanged.connect(self._tell)
        self._tell()

    @property
    def computing(self) -> Computing:
        """What is chosen."""
        return Computing(self.engine.currentData(), self.memory.value() or None)

    def _tell(self) -> None:
        name = self.engine.currentData()
        self.about.say(f"{ENGINES[name]}.")
        self.changed.emit()
