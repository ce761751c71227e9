"""What to do first, for somebody who has never seen the dock."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from lesionlens.ui.parts import Note

__all__ = ["Hint"]

_WORDS = (
    "<b>First steps</b><br>1. Drag a scan into the window, or open the sample.<br>"
    "2. Press <b>Run</b>: the model looks for lesions.<br>"
    "3. Click a row of the table to go to a region; the sliders change what is shown.<br>"
    "All commands: <b>Ctrl+Shift+P</b>, then type <i>LesionLens</i>."
)


class Hint(QFrame):
    """Three steps, a button for a scan to try them on, and one that takes the hint away for good.

    Attributes
    ----------
    sample_wanted, read : Signal()
        The sample scan shall be opened; the hint was read and shall not come again.
    """

    sample_wanted = Signal()
    read = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.words = Note(_WORDS)
        self.sample = QPushButton("Open the sample scan")
        self.done = QPushButton("Do not show again")
        buttons = QHBoxLayout()
        buttons.addWidget(self.sample)
        buttons.addWidget(self.done)
        column = QVBoxLayout(self)
        column.addWidget(self.words)
        column.addLayout(buttons)
        self.sample.clicked.connect(self.sample_wanted)
        self.done.clicked.connect(self.read)
