"""Keys that work anywhere in the window while the dock Review is seen, but for fields in which somebody writes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QMainWindow

__all__ = ["Shortcuts"]

# Held down, they leaf through; of all others a key that is held counts once: nobody accepts twenty findings at once.
_REPEATS = frozenset({"next_finding", "previous_finding"})


class Shortcuts(QObject):
    """Listens to keys.

    Parameters
    ----------
    window
        The window whose keys they are.

    Attributes
    ----------
    pressed : Signal(str)
        The action of a key.
    """

    pressed = Signal(str)

    def __init__(self, window: QMainWindow, parent: QObject) -> None:
        super().__init__(parent)
        self._window = window
        self._shortcuts: dict[str, QShortcut] = {}
        self._on = False

    def set_keys(self, keys: Mapping[str, str]) -> None:
        """Listen to these keys instead."""
        self.stop()
        for action, key in keys.items():
            if key:
                shortcut = QShortcut(QKeySequence(key), self._window)
                shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
                shortcut.setAutoRepeat(action in _REPEATS)
                shortcut.setEnabled(self._on)
                shortcut.activated.connect(partial(self.pressed.emit, action))
                self._shortcuts[action] = shortcut

    def listen(self, *, on: bool) -> None:
        """Listen, or do not: nobody shall judge by keys what they do not see."""
        self._on = on
        for shortcut in self._shortcuts.values():
            shortcut.setEnabled(on)

    def stop(self) -> None:
        """Give the keys back."""
        for shortcut in self._shortcuts.values():
            shortcut.setEnabled(False)
            shortcut.deleteLater()
        self._shortcuts = {}
