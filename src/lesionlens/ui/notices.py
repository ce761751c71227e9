"""Errors that people can read, with all that there is to know on demand."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from functools import partial
from typing import Any

from napari.utils.notifications import Notification, NotificationSeverity, notification_manager
from qtpy.QtGui import QFontDatabase
from qtpy.QtWidgets import QApplication, QDialog, QDialogButtonBox, QPlainTextEdit, QVBoxLayout, QWidget

from lesionlens.ui.dialogs import main_window
from lesionlens.ui.parts import Note

__all__ = ["DetailsDialog", "in_short", "show_details", "show_failure", "show_notes"]

# Notes that a notice has room for.
_FEW = 3
# Two or three lines of a dock.
_SHORT = 120


def show_failure(message: str, details: str) -> None:
    """Tell the user what went wrong in a sentence; a button beside it shows the details, where there are any."""
    actions = (("Details", partial(show_details, message, details)),) if details else ()
    notification_manager.dispatch(_Failure(message, NotificationSeverity.ERROR, actions))


def show_notes(notes: Iterable[str]) -> None:
    """Tell the user what to know of something that was opened, all in one notice; of many a button shows them."""
    found = list(dict.fromkeys(notes))
    many = len(found) > _FEW
    message = f"{len(found)} notes on what lies over the scan" if many else "\n".join(found)
    actions = (("Details", partial(show_details, message, "\n".join(found))),) if many else ()
    if found:
        notification_manager.dispatch(_Failure(message, NotificationSeverity.INFO, actions))


def in_short(message: str) -> str:
    """Return the beginning of a message that is too long for a dock, which ends in "…"; others as they are."""
    return textwrap.shorten(message, _SHORT, placeholder=" …") if len(message) > _SHORT else message


def show_details(message: str, details: str, _notice: Any = None) -> None:
    """Show in a dialog all that is known of what went wrong."""
    dialog = DetailsDialog(message, details, main_window())
    dialog.exec()
    dialog.deleteLater()


class _Failure(Notification):  # type: ignore[misc]  # napari has no hints
    """A notice whose source people can read: napari shows it."""

    @property
    def source(self) -> str:
        return "LesionLens"


class DetailsDialog(QDialog):
    """What went wrong, and where in the program: to be read, or copied into a report.

    Parameters
    ----------
    message
        One sentence.
    details
        Lines of any length.
    """

    def __init__(self, message: str, details: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("LesionLens: details")
        self.message = Note(message)
        self.lines = QPlainTextEdit(details)
        self.lines.setVisible(bool(details))
        self.lines.setReadOnly(True)
        self.lines.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.lines.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        self.copy = self.buttons.addButton("Copy", QDialogButtonBox.ButtonRole.ActionRole)
        self.copy.clicked.connect(lambda: QApplication.clipboard().setText(f"{message}\n\n{details}"))
        self.buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(self.message)
        column.addWidget(self.lines, 1)
        column.addWidget(self.buttons)
        self.resize(760, 460)
