"""Small parts that several forms are built of."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QAction, QStandardItemModel
from qtpy.QtWidgets import (
    QComboBox,
    QFrame,
    QLabel,
    QMenu,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from lesionlens.ui.canvas import RESEARCH_USE_ONLY
from lesionlens.ui.docking import go_with_frame, share_place

__all__ = [
    "CheckMenu",
    "Note",
    "Section",
    "bring_into_sight",
    "column_of",
    "enable_item",
    "line",
    "scrolled",
    "wide_combo",
]

# Wide enough for the table of regions; a dock can be made narrower, then it scrolls.
DOCK_WIDTH = 400


class Section(QWidget):
    """A part of a form under a heading that a click opens and closes; closed at first.

    Attributes
    ----------
    opened : Signal()
        It was opened.
    """

    opened = Signal()

    def __init__(self, title: str, content: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.content = content
        self.heading = QPushButton()
        self.heading.setCheckable(True)
        self.heading.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.heading.setStyleSheet("QPushButton { text-align: left; border: none; background: transparent; }")
        self._title = title
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.heading)
        column.addWidget(content)
        self.heading.toggled.connect(self._toggle)
        self._toggle(opened=False)

    def open(self) -> None:
        """Open the section."""
        self.heading.setChecked(True)

    def set_title(self, title: str) -> None:
        """Change the heading."""
        self._title = title
        self._write()

    def _toggle(self, opened: bool) -> None:
        self.content.setVisible(opened)
        self._write()
        if opened:
            self.opened.emit()

    def _write(self) -> None:
        arrow = "▾" if self.heading.isChecked() else "▸"
        self.heading.setText(f"{arrow} {self._title}")
        self.heading.setToolTip(self._title)


class CheckMenu(QPushButton):
    """A button with a menu of names that can be checked; it shows those that are.

    Parameters
    ----------
    none
        What it shows while nothing is checked.

    Attributes
    ----------
    changed : Signal()
        Something was checked or unchecked.
    """

    changed = Signal()

    def __init__(self, none: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._none = none
        self.setToolTip(tip)
        self.setStyleSheet("QPushButton { text-align: left; padding-left: 6px; }")
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setMenu(QMenu(self))
        self.offer(())

    @property
    def names(self) -> tuple[str, ...]:
        """All names that can be checked."""
        return tuple(str(action.data()) for action in self._actions())

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names that are checked, in their order."""
        return tuple(str(action.data()) for action in self._actions() if action.isChecked())

    def offer(self, names: Sequence[str], titles: Sequence[str] | None = None) -> None:
        """Offer names, keeping checked those that were, under titles that people read."""
        kept = self.chosen
        self.menu().clear()
        for name, title in zip(names, titles or names, strict=True):
            action = self.menu().addAction(title)
            action.setData(name)
            action.setCheckable(True)
            action.setChecked(name in kept)
            action.toggled.connect(self._show)
        self.setEnabled(bool(names))
        self._show()

    def check(self, *names: str) -> None:
        """Check these names and no others."""
        for action in self._actions():
            action.setChecked(action.data() in names)

    def _actions(self) -> list[QAction]:
        return list(self.menu().actions())

    def _show(self) -> None:
        titles = [action.text() for action in self._actions() if action.isChecked()]
        self.setText(", ".join(titles) or self._none)
        self.changed.emit()


def column_of(*parts: QWidget) -> QWidget:
    """Return parts below each other as one."""
    found = QWidget()
    column = QVBoxLayout(found)
    column.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        column.addWidget(part)
    return found


def scrolled(dock: QWidget, *parts: QWidget, stretched: bool = False) -> None:
    """Put parts below each other into a dock, under the notice; where they are too high for it, they scroll.

    The last one takes the room that is left, if it is to be ``stretched``.
    """
    content = column_of(*parts)
    column = content.layout()
    assert isinstance(column, QVBoxLayout)
    column.setContentsMargins(4, 4, 4, 4)
    if not stretched:
        column.addStretch(1)
    else:
        column.setStretch(len(parts) - 1, 1)
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QFrame.Shape.NoFrame)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
    scroll.setWidget(content)
    notice = QLabel(f"<b>{RESEARCH_USE_ONLY}</b>")
    notice.setWordWrap(True)
    notice.setAlignment(Qt.AlignmentFlag.AlignCenter)
    layout = QVBoxLayout(dock)
    layout.addWidget(notice)
    layout.addWidget(scroll, 1)
    dock.setMinimumWidth(DOCK_WIDTH)
    share_place(dock)
    go_with_frame(dock)


def bring_into_sight(part: QWidget) -> None:
    """Scroll a dock so far that a part is seen, once it has got its place."""
    parent = part.parentWidget()
    while parent is not None and not isinstance(parent, QScrollArea):
        parent = parent.parentWidget()
    if parent is not None:
        QTimer.singleShot(0, part, lambda: parent.ensureWidgetVisible(part))


def line() -> QFrame:
    """Return a line between parts."""
    found = QFrame()
    found.setFrameShape(QFrame.Shape.HLine)
    return found


def enable_item(box: QComboBox, index: int, *, enabled: bool) -> None:
    """Let an entry of a box be chosen, or not."""
    model = box.model()
    assert isinstance(model, QStandardItemModel)
    model.item(index).setEnabled(enabled)


def wide_combo(tip: str) -> QComboBox:
    """Return a combo box that may be narrower than its longest text: layer names can be long."""
    box = QComboBox()
    box.setToolTip(tip)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(14)
    return box


class Note(QLabel):
    """A wrapped line of text that takes no room while it is empty."""

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.say(text)

    def say(self, text: str) -> None:
        """Show a text, or nothing."""
        self.setText(text)
        self.setVisible(bool(text))
