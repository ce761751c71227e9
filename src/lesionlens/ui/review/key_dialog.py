"""A dialog in which a reader changes keys."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QKeySequenceEdit,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from lesionlens.errors import LesionLensError
from lesionlens.ui.parts import Note
from lesionlens.ui.review.keys import KEYS, TITLES, check_keys, save_keys

__all__ = ["KeyDialog"]


class KeyDialog(QDialog):
    """Every action with its key; what is taken by something else is refused with what that is.

    Parameters
    ----------
    keys
        Key of each action.
    taken
        Keys that mean something to napari, and what.
    """

    def __init__(self, keys: Mapping[str, str], taken: Mapping[str, str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("LesionLens: keys of the dock Review")
        self.edits = {action: QKeySequenceEdit(QKeySequence(key)) for action, key in keys.items()}
        self.note = Note()
        self._taken = taken
        buttons = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(buttons.Save | buttons.Cancel | buttons.RestoreDefaults)
        self._arrange()
        self.buttons.accepted.connect(self._keep)
        self.buttons.rejected.connect(self.reject)
        self.buttons.button(buttons.RestoreDefaults).clicked.connect(self._restore)

    @property
    def keys(self) -> dict[str, str]:
        """The keys as they stand in the dialog."""
        portable = QKeySequence.SequenceFormat.PortableText
        return {action: edit.keySequence().toString(portable) for action, edit in self.edits.items()}

    def _keep(self) -> None:
        try:
            check_keys(self.keys, self._taken)
            save_keys(self.keys)
        except LesionLensError as error:
            self.note.say(str(error))
        else:
            self.accept()

    def _restore(self) -> None:
        for action, key in KEYS.items():
            self.edits[action].setKeySequence(QKeySequence(key))

    def _arrange(self) -> None:
        rows = QWidget()
        form = QFormLayout(rows)
        for action, edit in self.edits.items():
            edit.setMaximumSequenceLength(1)
            form.addRow(TITLES[action], edit)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setWidget(rows)
        column = QVBoxLayout(self)
        column.addWidget(scroll)
        column.addWidget(self.note)
        column.addWidget(self.buttons)
        self.resize(460, 560)
