"""A dialog in which the user changes keys."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QFormLayout, QKeySequenceEdit, QScrollArea, QVBoxLayout, QWidget

from lesionlens.errors import LesionLensError
from lesionlens.ui.keys import KEYS, plain_key
from lesionlens.ui.parts import Note

__all__ = ["KeyDialog"]


class KeyDialog(QDialog):
    """Every action with its key; a key that is taken is refused with what it means.

    Parameters
    ----------
    taken
        Keys that mean something to napari, and what.
    """

    def __init__(self, taken: Mapping[str, str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("LesionLens: keys")
        self._taken = taken
        self.edits = {name: QKeySequenceEdit(QKeySequence(key)) for name, key in KEYS.keys.items()}
        self.note = Note(" ".join(KEYS.problems(taken)))
        standard = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(standard.Save | standard.Cancel | standard.RestoreDefaults)
        self.buttons.accepted.connect(self._keep)
        self.buttons.rejected.connect(self.reject)
        self.buttons.button(standard.RestoreDefaults).clicked.connect(self._restore)
        self._arrange()

    def _keep(self) -> None:
        try:
            KEYS.change(
                {name: plain_key(edit.keySequence().toString()) for name, edit in self.edits.items()}, self._taken
            )
        except LesionLensError as error:
            self.note.say(str(error))
        else:
            self.accept()

    def _restore(self) -> None:
        for action in KEYS.actions:
            self.edits[action.name].setKeySequence(QKeySequence(action.key))

    def _arrange(self) -> None:
        rows = QWidget()
        form = QFormLayout(rows)
        for action in KEYS.actions:
            self.edits[action.name].setMaximumSequenceLength(1)
            self.edits[action.name].setClearButtonEnabled(True)
            form.addRow(action.title, self.edits[action.name])
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setWidget(rows)
        column = QVBoxLayout(self)
        column.addWidget(scroll)
        column.addWidget(self.note)
        column.addWidget(self.buttons)
        self.resize(460, 520)
