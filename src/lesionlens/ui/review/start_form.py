"""Which session to open, and who reads."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QFormLayout, QHBoxLayout, QLineEdit, QPushButton, QWidget

__all__ = ["StartForm"]


class StartForm(QWidget):
    """Asks for a session file and the reader's name.

    Attributes
    ----------
    wanted : Signal(str, str)
        Path and name, both given.
    """

    wanted = Signal(str, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.path = QLineEdit()
        self.path.setToolTip("The file that 'lesionlens review start' has made")
        self.reader = QLineEdit()
        self.reader.setToolTip("Your name in this session: what you decide is kept under it, apart from all others")
        self.browse = QPushButton("…")
        self.browse.setToolTip("Choose the file")
        self.open = QPushButton("Open session")
        path = QHBoxLayout()
        path.addWidget(self.path)
        path.addWidget(self.browse)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Session", path)
        form.addRow("Reader", self.reader)
        form.addRow(self.open)
        self.browse.clicked.connect(self._choose)
        self.open.clicked.connect(self._want)
        for field in (self.path, self.reader):
            field.textChanged.connect(self._fit)
            field.returnPressed.connect(self._want)
        self._fit()

    def propose(self, path: str, reader: str) -> None:
        """Fill in what is known."""
        self.path.setText(path)
        self.reader.setText(reader)

    def _choose(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a review session", "", "Sessions (*.session);;All files (*)")
        if path:
            self.path.setText(path)

    def _fit(self) -> None:
        self.open.setEnabled(bool(self.path.text().strip() and self.reader.text().strip()))

    def _want(self) -> None:
        if self.open.isEnabled():
            self.wanted.emit(self.path.text().strip(), self.reader.text().strip())
