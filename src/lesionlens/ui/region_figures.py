"""All figures of the region that is chosen, each with its definition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QTableWidget, QTableWidgetItem, QWidget

from lesionlens.report.columns import COLUMNS, Cell

if TYPE_CHECKING:
    from lesionlens.regions import Region
    from lesionlens.spread import VolumeSpread

__all__ = ["RegionFigures"]

_ROW_PIXELS = 22
_LEAST_HEIGHT = 10 * _ROW_PIXELS
_NAME_WIDTH = 190
_DIGITS = 5


class RegionFigures(QTableWidget):
    """The columns of ``regions.csv`` below each other, of one region; what was not measured is left out.

    The tool tip of a row is its definition, with unit and formula, as in the reference.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, 2, parent)
        self.setHorizontalHeaderLabels(["figure", "value"])
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(_ROW_PIXELS)
        self.horizontalHeader().setStretchLastSection(True)
        self.horizontalHeader().resizeSection(0, _NAME_WIDTH)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setMinimumHeight(_LEAST_HEIGHT)

    def forget(self) -> None:
        """Show nothing."""
        self.setRowCount(0)

    def show_region(self, label: str, region: Region, spread: VolumeSpread | None) -> None:
        """Show a region of a class, and how its volume spreads where that is known."""
        self.forget()
        for column in COLUMNS:
            cells = column.cells(label, region, spread)
            if all(cell is None for cell in cells):
                continue
            row = self.rowCount()
            self.insertRow(row)
            name = column.names[0] if len(cells) == 1 else f"{column.names[0]} …"
            tip = "\n".join((", ".join(column.names), column.tip))
            for place, text in enumerate((name, ", ".join(map(_written, cells)))):
                item = QTableWidgetItem(text)
                item.setToolTip(tip)
                item.setFlags(Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEnabled)
                self.setItem(row, place, item)


def _written(cell: Cell) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:.{_DIGITS}g}"
    return "–" if cell is None else str(cell)
