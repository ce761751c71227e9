"""The table of regions: sortable, and a click leads to the region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, QSortFilterProxyModel, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QLabel, QTableView, QVBoxLayout, QWidget

from lesionlens.regions import Region
from lesionlens.spread import VolumeSpread
from lesionlens.ui.parts import Section
from lesionlens.ui.region_columns import Column, Value, columns_for
from lesionlens.ui.region_figures import RegionFigures

__all__ = ["NO_REGIONS", "RegionTable"]

NO_REGIONS = "Regions appear here after a run."

# The first six, up to the highest probability, are seen as a whole in a dock; the last column takes what is left.
_WIDTHS = (30, 54, 60, 90, 54, 48, 50, 84)
_SPREAD_WIDTHS = (30, 54, 46, 48, 60, 90, 54, 48, 50, 84)
_ROW_PIXELS = 22
_SORT_ROLE = Qt.ItemDataRole.UserRole


class _RegionModel(QAbstractTableModel):
    """Regions as rows, for Qt."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.regions: tuple[Region, ...] = ()
        self.columns: list[Column] = []
        self.set_regions((), ())

    def set_regions(self, regions: Sequence[Region], spreads: Sequence[VolumeSpread]) -> None:
        self.beginResetModel()
        self.regions = tuple(regions)
        self.columns = columns_for(regions, spreads)
        self.endResetModel()

    def rowCount(self, parent: Any = None) -> int:  # noqa: N802  # Qt's name
        return 0 if parent is not None and parent.isValid() else len(self.regions)

    def columnCount(self, parent: Any = None) -> int:  # noqa: N802, ARG002  # Qt's name and signature
        return len(self.columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:  # noqa: N802  # Qt's name
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return self.columns[section][0]
            if role == Qt.ItemDataRole.ToolTipRole:
                return self.columns[section][1]
        return None

    def data(self, index: Any, role: int = 0) -> Any:
        _, _, value_of, text = self.columns[index.column()]
        value = value_of(self.regions[index.row()])
        if role == Qt.ItemDataRole.DisplayRole:
            return "–" if value is None else text.format(value)
        if role == _SORT_ROLE:
            return _rank(value)
        if role == Qt.ItemDataRole.ToolTipRole:
            return "" if value is None else text.format(value)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None


class RegionTable(QWidget):
    """Caption and table of the regions of one class.

    Attributes
    ----------
    region_chosen : Signal(object)
        The :class:`~lesionlens.regions.Region` that was clicked or reached by the arrow keys.
    """

    region_chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.caption = QLabel()
        self.caption.setWordWrap(True)
        self.table = QTableView()
        self.figures = RegionFigures()
        self._of: tuple[str, Sequence[VolumeSpread]] = ("", ())
        self._model = _RegionModel(self)
        self._proxy = QSortFilterProxyModel(self)
        self._proxy.setSourceModel(self._model)
        self._proxy.setSortRole(_SORT_ROLE)
        self._set_up_table()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.caption)
        layout.addWidget(self.table, 1)
        layout.addWidget(Section("All figures of the chosen region", self.figures))
        self.clear(NO_REGIONS)

    @property
    def regions(self) -> tuple[Region, ...]:
        """The regions shown, largest first."""
        return self._model.regions

    def choose_first(self) -> None:
        """Choose the first row, where there is one, as a click would."""
        self.table.selectRow(0)

    def step(self, by: int) -> None:
        """Choose the row so many below the one that is chosen, as it is sorted; the first where none is."""
        rows, chosen = self._proxy.rowCount(), self.table.currentIndex()
        if rows:
            self.table.selectRow(min(rows - 1, max(0, chosen.row() + by)) if chosen.isValid() else 0)

    def clear(self, message: str) -> None:
        """Show no region, and why."""
        self._model.set_regions((), ())
        self.figures.forget()
        self.caption.setText(message)

    def show_regions(
        self,
        label: str,
        regions: Sequence[Region],
        threshold: float,
        spreads: Sequence[VolumeSpread] = (),
        said: str = "",
        quantity: str = "probability",
    ) -> None:
        """Show the regions of a class, at which threshold of which quantity they were measured, and how volumes spread.

        What is ``said`` of the rules that made them stands below.
        """
        self._model.set_regions(regions, spreads)
        self._of = label, spreads
        self.figures.forget()
        self._fit_columns(_SPREAD_WIDTHS if spreads else _WIDTHS)
        total = sum(region.volume_mm3 for region in regions) / 1000
        count = f"{len(regions)} region{'' if len(regions) == 1 else 's'}"
        self.caption.setText(
            f"<b>{label}</b>: {count} measured at {quantity} ≥ {_exactly(threshold)}, {total:.2f} mL in all"
            + (f"<br>{said[:1].upper()}{said[1:]}." if said else "")
        )

    def show_measuring(self, threshold: float, *, quantity: str = "probability") -> None:
        """Say that the table is about to change; until then it keeps the regions of the earlier threshold."""
        self.caption.setText(f"Measuring at {quantity} ≥ {_exactly(threshold)}…")

    def _set_up_table(self) -> None:
        self.table.setModel(self._proxy)
        self.table.setSortingEnabled(True)
        self.table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(_ROW_PIXELS)
        header = self.table.horizontalHeader()
        header.setStretchLastSection(True)
        header.setMinimumSectionSize(min(_WIDTHS))
        self._fit_columns(_WIDTHS)
        self.table.setMinimumHeight(160)
        self.table.selectionModel().currentRowChanged.connect(self._choose)
        self.table.clicked.connect(self._choose)

    def _fit_columns(self, widths: Sequence[int]) -> None:
        for column, width in enumerate(widths):
            self.table.horizontalHeader().resizeSection(column, width)

    def _choose(self, index: QModelIndex, _previous: object = None) -> None:
        if index.isValid():
            region, (label, spreads) = self.regions[self._proxy.mapToSource(index).row()], self._of
            self.figures.show_region(label, region, next((one for one in spreads if one.label == region.label), None))
            self.region_chosen.emit(region)


def _rank(value: Value) -> float | int | str:
    """Return what a cell is sorted by: places by their height, lines by the longer one, what is missing first."""
    if isinstance(value, tuple):
        return value[2] if len(value) == 3 else value[0]
    return -1.0 if value is None else value


def _exactly(threshold: float) -> str:
    """Return a threshold with two decimals, or with all that it has."""
    text = f"{threshold:.2f}"
    return text if float(text) == threshold else f"{threshold:g}"
