"""A dialog with the cases that were opened lately."""

from __future__ import annotations

from pathlib import Path

from napari.utils.notifications import show_warning
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from lesionlens.errors import LesionLensError
from lesionlens.recent import RecentCase, forget_cases, recent_cases, remember_case
from lesionlens.ui.parts import Note
from lesionlens.ui.preferences import preferences
from lesionlens.ui.scans import Request

__all__ = ["RecentDialog", "remember"]

_NONE = "No case was opened yet."
_OFF = "LesionLens remembers no cases: napari's preferences switch it on."
_KEPT = "The list is kept on this computer, for you alone. Napari's preferences, page LesionLens, switch it off."


class RecentDialog(QDialog):
    """Asks for one of the cases that were opened lately; those that are gone are said to be.

    Attributes
    ----------
    request : Request or None
        The case that was chosen.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("LesionLens: recent cases")
        self.request: Request | None = None
        self.cases = QListWidget()
        self.note = Note()
        standard = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(standard.Open | standard.Cancel)
        self.forget = self.buttons.addButton("Forget all", QDialogButtonBox.ButtonRole.ResetRole)
        column = QVBoxLayout(self)
        column.addWidget(self.cases, 1)
        column.addWidget(self.note)
        column.addWidget(self.buttons)
        self.resize(620, 360)
        self.buttons.accepted.connect(self._open)
        self.buttons.rejected.connect(self.reject)
        self.forget.clicked.connect(self._forget)
        self.cases.itemActivated.connect(self._open)
        self.cases.currentRowChanged.connect(self._allow)
        self._fill()

    def _fill(self) -> None:
        self.cases.clear()
        found = recent_cases()
        for case in found:
            self.cases.addItem(_item(case))
        there = [row for row, case in enumerate(found) if case.is_there]
        self.cases.setCurrentRow(there[0] if there else -1)
        self.note.say(_OFF if not preferences().remember_cases else _KEPT if found else _NONE)
        self.forget.setEnabled(bool(found))
        self._allow()

    def _allow(self, _row: int = -1) -> None:
        item = self.cases.currentItem()
        ready = item is not None and bool(item.flags() & Qt.ItemFlag.ItemIsEnabled)
        self.buttons.button(QDialogButtonBox.StandardButton.Open).setEnabled(ready)

    def _open(self) -> None:
        item = self.cases.currentItem()
        if item is None or not item.flags() & Qt.ItemFlag.ItemIsEnabled:
            return
        case: RecentCase = item.data(Qt.ItemDataRole.UserRole)
        self.request = Request(case.path, case.series, case.stack, case.irregular)  # type: ignore[arg-type]  # checked on reading
        self.accept()

    def _forget(self) -> None:
        try:
            forget_cases()
        except LesionLensError as error:
            show_warning(str(error))
        self._fill()


def remember(request: Request) -> None:
    """Put a case that was opened into the list, if the user wants that; a list that cannot be written is said."""
    if not preferences().remember_cases:
        return
    try:
        remember_case(RecentCase(request.path, request.series, request.stack, request.irregular))
    except LesionLensError as error:
        show_warning(str(error))


def _item(case: RecentCase) -> QListWidgetItem:
    chosen = [
        f"{name} {value}" for name, value in (("series", case.series), ("volume", case.stack)) if value is not None
    ]
    gone = [] if case.is_there else ["not there any more"]
    words = [case.path.name, _shortened(case.path.parent), *chosen, *gone]
    item = QListWidgetItem("   ·   ".join(words))
    item.setToolTip(str(case.path))
    item.setData(Qt.ItemDataRole.UserRole, case)
    if gone:
        item.setFlags(Qt.ItemFlag.NoItemFlags)
    return item


def _shortened(folder: Path) -> str:
    """Return a folder below the user's own as people write it."""
    try:
        return str(Path("~", folder.relative_to(Path.home())))
    except ValueError:
        return str(folder)
