"""Errors that people can read, with all that there is to know on demand."""

from __future__ import annotations

from functools import partial
from typing import Any

from napari.utils.notifications import Notification, NotificationSeverity, notification_manager
from qtpy.QtGui import QFontDatabase
from qtpy.QtWidgets import QApplication, QDialog, QDialogButtonBox, QPlainTextEdit, QVBoxLayout, QWidget

from lesionlens.ui.dialogs import main_window
from lesionlens.ui.parts import Note

__all__ = ["DetailsDialog", "show_failure"]


def show_failure(message: str, details: str) -> None:
    """Tell the user what went wrong in a sentence; a button beside it shows the details, where there are any."""
    actions = (("Details", partial(_show_details, message, details)),) if details else ()
    notification_manager.dispatch(Notification(message, NotificationSeverity.ERROR, actions))


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
        self.setWindowTitle("LesionLens: what went wrong")
        self.lines = QPlainTextEdit(details)
        self.lines.setReadOnly(True)
        self.lines.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.lines.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        self.copy = self.buttons.addButton("Copy", QDialogButtonBox.ButtonRole.ActionRole)
        self.copy.clicked.connect(lambda: QApplication.clipboard().setText(f"{message}\n\n{details}"))
        self.buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(Note(message))
        column.addWidget(self.lines, 1)
        column.addWidget(self.buttons)
        self.resize(760, 460)


def _show_details(message: str, details: str, _notice: Any = None) -> None:
    dialog = DetailsDialog(message, details, main_window())
    dialog.exec()
    dialog.deleteLater()
