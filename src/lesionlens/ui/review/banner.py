"""What a reader must not overlook, above everything else in the dock."""

from __future__ import annotations

from typing import Literal

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

__all__ = ["Banner", "Banners"]

Weight = Literal["failure", "warning", "notice"]

# Background and text, each pair readable by itself in the light theme and in the dark one.
_COLOURS: dict[Weight, tuple[str, str]] = {
    "failure": ("#b3261e", "#ffffff"),
    "warning": ("#ffc94d", "#1a1a1a"),
    "notice": ("#1f5fa8", "#ffffff"),
}


class Banner(QLabel):
    """One coloured text, which takes no room while there is none."""

    def __init__(self, weight: Weight, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        background, text = _COLOURS[weight]
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setStyleSheet(f"QLabel {{ background: {background}; color: {text}; padding: 6px; font-weight: bold; }}")
        self.say("")

    def say(self, text: str) -> None:
        """Show a text, or nothing."""
        self.setText(text)
        self.setVisible(bool(text))


class Banners(QWidget):
    """What could not be stored with a way to try again, what has changed, and whether anything can be recorded.

    Attributes
    ----------
    again : QPushButton
        Tries to store once more.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.failure = Banner("failure")
        self.again = QPushButton()
        self.again.setVisible(False)
        self.changed = Banner("warning")
        self.copies = Banner("warning")
        self.read_only = Banner("notice")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (self.failure, self.again, self.read_only, self.changed, self.copies):
            column.addWidget(part)

    def fail(self, message: str, *, again: bool) -> None:
        """Say what failed, and whether trying again may help; nothing when that is over."""
        self.failure.say(message)
        self.again.setVisible(bool(message) and again)

    def say_changed(self, files: tuple[str, ...], *, outlines: bool = False) -> None:
        """Say which files are not what they were, and where the outlines are others, that nothing can be drawn."""
        text = (
            f"Changed since this session was made: {', '.join(files)}. What you see may not be what others have seen."
            + (" Nothing can be drawn until the regions are restored." if outlines else "")
        )
        self.changed.say(text if files else "")

    def say_copies(self, problem: str) -> None:
        """Say why there is no new copy of the session; what is decided is stored all the same."""
        self.copies.say(f"NO NEW COPY. {problem} Your decisions are saved in the session itself." if problem else "")

    def say_read_only(self, *, read_only: bool) -> None:
        """Say that nothing can be recorded."""
        text = "READ-ONLY: another window has this session open, or it cannot be written. Nothing you do is recorded."
        self.read_only.say(text if read_only else "")
