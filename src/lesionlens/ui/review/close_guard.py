"""Asks before a window closes over what could not be stored, and stores it where a dock alone is closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from napari.utils.notifications import show_warning
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QMainWindow, QMessageBox

if TYPE_CHECKING:
    from lesionlens.ui.review.reviewer import Reviewer
    from lesionlens.ui.review.shortcuts import Shortcuts

__all__ = ["CloseGuard", "end_reading"]


class CloseGuard(QObject):
    """Stands between a window and its closing; it belongs to nobody, so that it outlives the window.

    Parameters
    ----------
    window
        The window.
    stored
        Stores what can be stored, and says whether all that the window shows is. Parts of the window may be gone.
    """

    def __init__(self, window: QMainWindow, stored: Callable[[], bool]) -> None:
        super().__init__()
        self._window = window
        self._stored = stored
        window.installEventFilter(self)

    def eventFilter(self, _watched: QObject, event: QEvent) -> bool:  # noqa: N802  # Qt's name
        """Let the window close when everything is stored, or the user says so."""
        if event.type() != QEvent.Type.Close or self._stored() or self._lets_go():
            return False
        event.ignore()
        return True

    def leave(self) -> None:
        """Guard the window no longer."""
        self._window.removeEventFilter(self)

    def _lets_go(self) -> bool:
        buttons = QMessageBox.StandardButton
        answer = QMessageBox.warning(
            self._window,
            "LesionLens: not saved",
            "What you drew or wrote last could not be saved; the dock Review says why."
            "\n\nClose the window and lose it?",
            buttons.Close | buttons.Cancel,
            buttons.Cancel,
        )
        return bool(answer == buttons.Close)


def end_reading(guard: CloseGuard, shortcuts: Shortcuts, reviewer: Reviewer) -> None:
    """Store what is not stored and close the session, or say that it could not be stored; keys are given back."""
    guard.leave()
    shortcuts.stop()
    reviewer.flush()
    kept = reviewer.keep_words()
    if reviewer.unsaved:
        show_warning("What you drew last could not be saved; it is lost when its layer is removed.")
    elif not kept:
        show_warning("What you wrote last and had not kept could not be saved; it is lost.")
    else:
        reviewer.close_session()
