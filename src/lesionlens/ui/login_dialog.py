"""Asks who somebody is to an archive."""

from __future__ import annotations

from qtpy.QtWidgets import QDialog, QDialogButtonBox, QFormLayout, QLabel, QLineEdit, QWidget

__all__ = ["LoginDialog"]


class LoginDialog(QDialog):
    """Asks for user and password; what is typed is not seen.

    Parameters
    ----------
    place
        Of which archive.
    """

    def __init__(self, place: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("LesionLens: log in")
        self.user, self.password = QLineEdit(), QLineEdit()
        self.password.setEchoMode(QLineEdit.EchoMode.Password)
        buttons = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(buttons.Ok | buttons.Cancel)
        words = QLabel(f"For {place}. They are kept in the keyring of the system, and in no file of LesionLens.")
        words.setWordWrap(True)
        rows = QFormLayout(self)
        rows.addRow(words)
        rows.addRow("User", self.user)
        rows.addRow("Password", self.password)
        rows.addRow(self.buttons)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
