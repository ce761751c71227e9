"""A table of series that were found in an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QAbstractItemView, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from lesionlens.errors import printable

if TYPE_CHECKING:
    from lesionlens.pacs import Found, FoundSeries

__all__ = ["FoundTable"]

_WHO = ("patient_name", "patient_id", "study_date")
_HEADINGS = ("patient", "ID", "day", "modality", "no.", "series", "images", "study")
_LEAST_HEIGHT = 180


class FoundTable(QWidget):
    """One row for each series; one can be chosen.

    Attributes
    ----------
    selection_changed : Signal()
        Another row is chosen, or none.
    activated : Signal()
        A row was double-clicked.
    """

    selection_changed = Signal()
    activated = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._series: tuple[FoundSeries, ...] = ()
        self.table = QTableWidget(0, len(_HEADINGS))
        self.table.setHorizontalHeaderLabels(_HEADINGS)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.verticalHeader().hide()
        self.table.setMinimumHeight(_LEAST_HEIGHT)
        self.table.itemSelectionChanged.connect(self.selection_changed)
        self.table.itemDoubleClicked.connect(lambda _: self.activated.emit())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table)
        self.show_found(None)

    @property
    def chosen(self) -> FoundSeries | None:
        """The series that is chosen."""
        rows = self.table.selectionModel().selectedRows()
        return self._series[rows[0].row()] if rows else None

    def show_found(self, found: Found | None) -> None:
        """Show what was found, or nothing; columns of people only where they were asked for."""
        self._series = () if found is None else found.series
        self.table.clearSelection()
        self.table.setRowCount(len(self._series))
        for row, series in enumerate(self._series):
            for column, text in enumerate(_cells(series)):
                self.table.setItem(row, column, QTableWidgetItem(printable(text)))
        for column in range(len(_WHO)):
            self.table.setColumnHidden(column, not any(one.study.identity for one in self._series))
        self.table.resizeColumnsToContents()
        self.selection_changed.emit()


def _cells(series: FoundSeries) -> tuple[str, ...]:
    numbers = ["" if number is None else str(number) for number in (series.number, series.n_images)]
    who = [series.study.identity.get(name, "") for name in _WHO]
    return (*who, series.modality, numbers[0], series.description, numbers[1], series.study.description)
