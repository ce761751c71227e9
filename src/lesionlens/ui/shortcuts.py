"""Keys that work anywhere in a window, but for fields in which somebody writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from qtpy.compat import isalive
from qtpy.QtCore import QObject, Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QMainWindow

from lesionlens.ui.keys import KEYS

__all__ = ["Shortcuts"]


class Shortcuts(QObject):
    """Listens to the keys of the table, in one window.

    Parameters
    ----------
    window
        The window whose keys they are.
    actions
        What the actions do, by their names.
    parent
        Ends the listening with it.
    """

    def __init__(self, window: QMainWindow, actions: Mapping[str, Callable[[], object]], parent: QObject) -> None:
        super().__init__(parent)
        self._window = window
        self._actions = dict(actions)
        self._shortcuts: list[QShortcut] = []
        self._listen()
        KEYS.changed.connect(self._listen)
        parent.destroyed.connect(partial(_let_go, self._shortcuts))

    def press(self, name: str) -> None:
        """Do what a key does."""
        self._actions[name]()

    def _listen(self) -> None:
        """Listen to the keys as they are set now."""
        _let_go(self._shortcuts)
        repeats = {action.name: action.repeats for action in KEYS.actions}
        for name, key in KEYS.keys.items():
            if key and name in self._actions:
                shortcut = QShortcut(QKeySequence(key), self._window)
                shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
                shortcut.setAutoRepeat(repeats[name])
                shortcut.activated.connect(partial(self.press, name))
                self._shortcuts.append(shortcut)


def _let_go(shortcuts: list[QShortcut]) -> None:
    """Give keys back."""
    for shortcut in shortcuts:
        if isalive(shortcut):  # type: ignore[no-untyped-call]  # the window may have taken them with it
            shortcut.setEnabled(False)
            shortcut.deleteLater()
    shortcuts.clear()
