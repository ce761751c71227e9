"""A reader at a desk: the real window with the dock Review, its keys and its canvas."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PySide6.QtTest import QTest
from qtpy.QtCore import QEvent, QPoint, Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QApplication

from lesionlens.ui.open import settle
from lesionlens.ui.review.dock import ReviewWidget
from ui_window import WAIT_MS


@dataclass
class Desk:
    """The window under test and what a reader does at it."""

    viewer: Any
    qtbot: Any
    docks: list[ReviewWidget] = field(default_factory=list)

    @property
    def dock(self) -> ReviewWidget:
        """The dock that was opened last."""
        return self.docks[-1]

    @property
    def window(self) -> Any:
        """The main window."""
        return self.viewer.window._qt_window

    def open(self, path: Path, reader: str = "Ann") -> ReviewWidget:
        """Open a session by the form of a new dock, and wait for its case."""
        dock = ReviewWidget(self.viewer)
        self.docks.append(dock)
        self.viewer.window.add_dock_widget(dock, name="Review", area="right")
        dock.start.path.setText(str(path))
        dock.start.reader.setText(reader)
        settle()
        self.qtbot.mouseClick(dock.start.open, Qt.MouseButton.LeftButton)
        self.wait()
        self.window.activateWindow()
        self.qtbot.waitUntil(self.window.isActiveWindow, timeout=WAIT_MS)
        return dock

    def wait(self) -> None:
        """Wait until a case is shown, or why not is said."""
        self.qtbot.waitUntil(
            lambda: self.dock.reviewer.ready or bool(self.dock.banners.failure.text()), timeout=WAIT_MS
        )

    def press(self, *keys: str) -> None:
        """Press keys wherever the focus is, as a keyboard does."""
        for key in keys:
            assert QApplication.activeWindow() is not None, "another program has the keyboard: keys would do nothing"
            QTest.keySequence(QApplication.focusWidget() or self.window, QKeySequence(key))

    def type(self, text: str) -> None:
        """Write into the field that has the focus."""
        self.qtbot.keyClicks(QApplication.focusWidget(), text)

    def drag(self, *steps: tuple[int, int]) -> None:
        """Draw a stroke on the canvas; steps are pixels from its middle."""
        canvas = self.viewer.window._qt_viewer.canvas.native
        points = [canvas.rect().center() + QPoint(x, y) for x, y in steps]
        self.qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=points[0])
        for point in points:
            self.qtbot.mouseMove(canvas, point)
        self.qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=points[-1])
        settle()

    def close(self) -> None:
        """Close the docks and what they have opened."""
        while self.docks:
            dock = self.docks.pop()
            dock.reviewer.close_session()
            dock.guard.leave()
            dock.shortcuts.stop()
            self.viewer.window.remove_dock_widget(dock)
            dock.deleteLater()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        self.viewer.layers.clear()
