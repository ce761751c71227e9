"""The buttons with which a finding is judged and drawn, each with its key, and the fields to write in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

from qtpy.QtCore import QStringListModel, Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QCompleter, QGridLayout, QLabel, QLineEdit, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from lesionlens.review.state import FindingState
from lesionlens.ui.parts import Note
from lesionlens.ui.review.keys import TITLES, shown

__all__ = ["JudgingPanel"]

# Action, what its button says, row, column, width in sixths of the panel.
_BUTTONS = (
    ("accept", "Accept", 0, 0, 10),
    ("reject", "Reject", 0, 10, 10),
    ("unsure", "Unsure", 0, 20, 10),
    *((f"confidence_{n}", str(n), 2, 6 * (n - 1), 6) for n in range(1, 6)),
    ("previous_finding", "◂ Finding", 5, 0, 11),
    ("hide", "Hide", 5, 11, 8),
    ("next_finding", "Finding ▸", 5, 19, 11),
    ("brush", "Brush", 6, 0, 7),
    ("erase", "Erase", 6, 7, 7),
    ("lasso", "Lasso", 6, 14, 7),
    ("measure", "Measure", 6, 21, 9),
    ("new_finding", "New", 7, 0, 10),
    ("split", "Split", 7, 10, 10),
    ("merge", "Merge", 7, 20, 10),
    ("undo", "Undo", 8, 0, 10),
    ("redo", "Redo", 8, 10, 10),
    ("flag", "⚑ Flag", 8, 20, 10),
    ("previous_case", "◂ Case", 9, 0, 8),
    ("done", "Close case, go on", 9, 8, 14),
    ("next_case", "Case ▸", 9, 22, 8),
)
# What can be written.
Kind = Literal["comment", "category"]
# Session, reader, case and finding.
Place = tuple[str, ...]
_CHECKABLE = {"accept", "reject", "unsure", "hide", "brush", "erase", "lasso", "measure", "flag"} | {
    f"confidence_{n}" for n in range(1, 6)
}
_TOOLS = {"paint": "brush", "erase": "erase", "polygon": "lasso", "add_line": "measure"}


class _Field(QLineEdit):
    """A line in which Enter keeps what was written and Esc leaves it.

    Attributes
    ----------
    left : Signal()
        Esc was pressed.
    """

    left = Signal()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802  # Qt's name
        """Take Esc for leaving."""
        if event.key() == Qt.Key.Key_Escape:
            self.left.emit()
        else:
            super().keyPressEvent(event)


class JudgingPanel(QWidget):
    """What a reader says about one finding, and what they do with it.

    Attributes
    ----------
    pressed : Signal(str)
        The action of a button.
    said : Signal(str, str)
        ``"comment"`` or ``"category"``, and what was written.
    left : Signal()
        The reader is done writing.
    """

    pressed = Signal(str)
    said = Signal(str, str)
    left = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.buttons: dict[str, QPushButton] = {}
        self.comment = _Field()
        self.comments = Note()
        self.category = _Field()
        self.fields: dict[Kind, _Field] = {"comment": self.comment, "category": self.category}
        self._categories = QStringListModel(self)
        self._place: Place = ()
        self._drafts: dict[tuple[Place, Kind], str] = {}  # by finding and field
        completer = QCompleter(self._categories, self)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.category.setCompleter(completer)
        self._arrange()
        for kind, field in self.fields.items():
            field.returnPressed.connect(partial(self._say, kind))
            field.left.connect(partial(self._leave, kind))

    def set_keys(self, keys: Mapping[str, str]) -> None:
        """Write the keys on the buttons and into their tooltips."""
        for action, text, *_ in _BUTTONS:
            key = shown(keys[action])
            self.buttons[action].setText(f"{text}\n{key}" if key else text)
            self.buttons[action].setToolTip(f"{TITLES[action]}  [{key}]" if key else TITLES[action])
        for kind, field in self.fields.items():
            key = shown(keys[kind])
            field.setPlaceholderText(f"{kind} [{key}], Enter keeps it")
            field.setToolTip(f"{TITLES[kind]}  [{key}]. Enter keeps it, Esc leaves it.")

    def allow(self, allowed: Callable[[str], bool]) -> None:
        """Allow what can be done now."""
        for action, button in self.buttons.items():
            button.setEnabled(allowed(action))
        self.comment.setEnabled(allowed("comment"))
        self.category.setEnabled(allowed("category"))

    def show_finding(
        self,
        state: FindingState | None,
        *,
        place: Place,
        flagged: bool,
        hidden: bool,
        tool: str,
        categories: Sequence[str],
        others: str = "",
    ) -> None:
        """Show what was said about a finding, by others too where that was revealed.

        What is being written stays with the finding that it was begun at, which ``place`` tells from all others.
        """
        moved = place != self._place
        if moved:
            self._change_place(place)
        checked = {_TOOLS.get(tool, ""), "flag" if flagged else "", "hide" if hidden else ""}
        if state is not None:
            checked |= {state.verdict or "", f"confidence_{state.confidence}"}
        for action in _CHECKABLE:
            self.buttons[action].setChecked(action in checked)
        lines = [f"{line.length_mm:.1f} mm" for line in state.measurements] if state else []
        said = [*state.comments, *([f"measured {', '.join(lines)}"] if lines else [])] if state else []
        self.comments.say("\n".join(f"• {text}" for text in [*said, *([f"others: {others}"] if others else [])]))
        if moved or not (self.category.hasFocus() or self.category.isModified()):
            self._categories.setStringList(list(categories))
            draft = self._drafts.get((place, "category"))
            self.category.setText(draft or ((state.category or "") if state else ""))

    def _change_place(self, place: Place) -> None:
        """Keep what was begun at a finding for when it is shown again: said of another one it would be wrong."""
        self._put_aside()
        self._place = place
        self.comment.setText(self._drafts.get((place, "comment"), ""))
        for kind, field in self.fields.items():
            field.setModified((place, kind) in self._drafts)

    def _put_aside(self) -> None:
        for kind, field in self.fields.items():
            if field.isModified() and field.text().strip():
                self._drafts[self._place, kind] = field.text()

    def begun(self) -> list[tuple[str, Kind, str]]:
        """Return what was begun at findings of the case that is shown and not kept: finding, kind and words."""
        self._put_aside()
        *case, _ = self._place or ("",)
        drafts = self._drafts.items()
        return [(at[-1], kind, text.strip()) for (at, kind), text in drafts if list(at[:-1]) == case and at[-1]]

    def forget(self, finding: str, kind: Kind) -> None:
        """Take note that what was begun at a finding of the case that is shown is stored."""
        place = (*self._place[:-1], finding)
        self._drafts.pop((place, kind), None)
        if place == self._place:
            self.fields[kind].setModified(False)
            if kind == "comment":
                self.comment.setText("")

    def write(self, kind: Kind) -> None:
        """Let the reader write."""
        self.fields[kind].setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.fields[kind].selectAll()

    def kept(self, kind: Kind) -> None:
        """Take note that what was written is stored: the field is free for the next one."""
        self._leave(kind)

    def _say(self, kind: Kind) -> None:
        text = self.fields[kind].text().strip()
        if text:
            self.said.emit(kind, text)
        else:
            self.left.emit()

    def _leave(self, kind: Kind) -> None:
        self.forget(self._place[-1] if self._place else "", kind)
        self.left.emit()

    def _arrange(self) -> None:
        grid = QGridLayout()
        grid.setSpacing(3)
        for action, _, row, column, width in _BUTTONS:
            button = QPushButton()
            button.setCheckable(action in _CHECKABLE)
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # a click leaves the keys where they were
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            button.setMinimumHeight(40)
            button.clicked.connect(partial(self._press, action))
            grid.addWidget(button, row, column, 1, width)
            self.buttons[action] = button
        grid.addWidget(QLabel("How sure, 1 to 5:"), 1, 0, 1, 30)
        grid.addWidget(self.category, 3, 0, 1, 30)
        grid.addWidget(self.comment, 4, 0, 1, 30)
        column_of_all = QVBoxLayout(self)
        column_of_all.setContentsMargins(0, 0, 0, 0)
        column_of_all.addWidget(self.comments)
        column_of_all.addLayout(grid)

    def _press(self, action: str) -> None:
        """Do it; what the button shows is what the session has, whatever the click has made of it."""
        if action in _CHECKABLE:
            self.buttons[action].setChecked(not self.buttons[action].isChecked())
        self.pressed.emit(action)
