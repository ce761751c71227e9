"""A table of what became of lesions between two probability maps."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QAbstractItemView, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from lesionlens.report.lesion_changes import lesion_cells
from lesionlens.ui.parts import Note

if TYPE_CHECKING:
    from lesionlens.regions import LesionChanges

__all__ = ["LesionTable"]

_HEADINGS = ("A → B", "what", "mL in A", "mL in B", "change", "", "limit", "flags")
_TIPS = (
    "Numbers of the regions in each map, 1 the largest",
    "What belongs together, and whether its volume changed by more than the limit",
    "Volume in the first map",
    "Volume in the second map",
    "Second less first, in mL",
    "By the volume in the first map",
    "The change in mL that counts as one: 25 % of the volume before, or 1.96 standard deviations of the measurement",
    "Why not to lean on the figures",
)
_LEAST_HEIGHT = 160


class LesionTable(QWidget):
    """Caption and table of changes; takes no room while there are none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.caption = Note()
        self.table = QTableWidget(0, len(_HEADINGS))
        for number, (heading, tip) in enumerate(zip(_HEADINGS, _TIPS, strict=True)):
            item = QTableWidgetItem(heading)
            item.setToolTip(tip)
            self.table.setHorizontalHeaderItem(number, item)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.verticalHeader().hide()
        self.table.setMinimumHeight(_LEAST_HEIGHT)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.caption)
        layout.addWidget(self.table)
        self.setVisible(False)

    def clear(self) -> None:
        """Show nothing."""
        self.table.setRowCount(0)
        self.setVisible(False)

    def show_changes(self, found: LesionChanges) -> None:
        """Show what became of each lesion, the largest first."""
        counts = Counter(change.trend or change.match for change in found.changes)
        words = ", ".join(f"{n} {word}" for word, n in counts.items()) or "no lesion in either"
        notes = "".join(f"<br>{escape(note)}" for note in found.notes)
        self.caption.say(f"<b>{escape(found.label)}</b>: {words}.{notes}")
        self.table.setRowCount(len(found.changes))
        for row, change in enumerate(found.changes):
            for column, text in enumerate(lesion_cells(change)):
                self.table.setItem(row, column, QTableWidgetItem(text))
        self.table.resizeColumnsToContents()
        self.setVisible(True)
