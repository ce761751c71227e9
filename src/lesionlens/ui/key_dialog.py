"""A dialog in which the user changes keys, whichever table they are of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QFormLayout, QKeySequenceEdit, QScrollArea, QVBoxLayout, QWidget

from lesionlens.errors import LesionLensError
from lesionlens.ui.keys import KEYS, KeyAction, plain_key
from lesionlens.ui.parts import Note

__all__ = ["KeyDialog", "window_key_dialog"]


class KeyDialog(QDialog):
    """Every action with its key; a key that is taken is refused with what it means.

    Parameters
    ----------
    actions
        What keys do, in the order of the rows, with the keys that *Restore Defaults* brings back.
    keys
        The keys as they are, by the name of the action.
    keep
        Called with the new ones; raises a ``LesionLensError`` that says why they cannot be kept.
    note
        What is to be known of the keys as they are.
    """

    def __init__(
        self,
        actions: Sequence[KeyAction],
        keys: Mapping[str, str],
        keep: Callable[[dict[str, str]], object],
        *,
        note: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("LesionLens: keys")
        self._actions = actions
        self._keep = keep
        self.edits = {action.name: QKeySequenceEdit(QKeySequence(keys[action.name])) for action in actions}
        self.note = Note(note)
        standard = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(standard.Save | standard.Cancel | standard.RestoreDefaults)
        self.buttons.accepted.connect(self._save)
        self.buttons.rejected.connect(self.reject)
        self.buttons.button(standard.RestoreDefaults).clicked.connect(self._restore)
        self._arrange()

    def _save(self) -> None:
        try:
            self._keep({name: plain_key(edit.keySequence().toString()) for name, edit in self.edits.items()})
        except LesionLensError as error:
            self.note.say(str(error))
        else:
            self.accept()

    def _restore(self) -> None:
        for action in self._actions:
            self.edits[action.name].setKeySequence(QKeySequence(action.key))

    def _arrange(self) -> None:
        rows = QWidget()
        form = QFormLayout(rows)
        for action in self._actions:
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
        self.resize(460, 560)


def window_key_dialog(taken: Mapping[str, str], parent: QWidget | None = None) -> KeyDialog:
    """Return the dialog for the keys of the window.

    Parameters
    ----------
    taken
        Keys that mean something to napari, and what.
    """
    note = " ".join(KEYS.problems(taken))
    return KeyDialog(KEYS.actions, KEYS.keys, lambda keys: KEYS.change(keys, taken), note=note, parent=parent)
