"""The cases of a session and the findings of a case, as lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QListWidget,
    QListWidgetItem,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from lesionlens.review.state import FindingState, Status

__all__ = ["CaseList", "FindingTable", "judged_words"]

# A sign for each, so that nobody depends on colours.
_STATUS: Mapping[Status, str] = {"complete": "✓", "partly": "◐", "untouched": "○"}
_VERDICT = {"accept": "✓ accept", "reject": "✗ reject", "unsure": "? unsure", None: "–"}
_HEADINGS = (
    ("finding", "Name; those that you draw are called reader-1 and so on"),
    ("mL", "Volume as it is drawn now"),
    ("verdict", "Yours; what others say is shown to nobody who reads blind"),
    ("sure", "Your confidence, from 1 to 5"),
    ("said", "Category; an asterisk stands for comments"),
)
_WIDTHS = (92, 50, 76, 40, 40)
_ROW_PIXELS = 22
# So many rows are seen without scrolling, where there are so many.
_ROWS = 9


def judged_words(findings: Sequence[FindingState]) -> str:
    """Return how many findings of a case have a verdict, in words."""
    return f"{sum(finding.verdict is not None for finding in findings)} of {len(findings)} judged"


class CaseList(QListWidget):
    """The cases in the order in which they are read, with how far each is.

    Attributes
    ----------
    case_chosen : Signal(str)
        A case was clicked.
    """

    case_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMinimumHeight(120)
        self.setUniformItemSizes(True)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self._shown: dict[str, tuple[Status, bool]] = {}
        self.itemClicked.connect(lambda item: self.case_chosen.emit(str(item.data(Qt.ItemDataRole.UserRole))))

    def show_cases(self, statuses: Mapping[str, tuple[Status, bool]], current: str) -> None:
        """Show all cases; only those that have changed are touched, since there may be thousands."""
        if list(self._shown) != list(statuses):
            self.clear()
            for case in statuses:
                item = QListWidgetItem()
                item.setData(Qt.ItemDataRole.UserRole, case)
                self.addItem(item)
            self._shown = {}
        for row, (case, (status, flagged)) in enumerate(statuses.items()):
            if self._shown.get(case) != (status, flagged):
                self.item(row).setText(f"{_STATUS[status]}  {case}{'  ⚑' if flagged else ''}")
                self.item(row).setToolTip(f"{status}, flagged" if flagged else status)
            if case == current:
                self.setCurrentRow(row)
        self._shown = dict(statuses)


class FindingTable(QTableWidget):
    """The findings of a case, with what this reader has said about each.

    Attributes
    ----------
    finding_chosen : Signal(str)
        A finding was clicked or reached by the arrow keys.
    """

    finding_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(_HEADINGS), parent)
        for column, (heading, tip) in enumerate(_HEADINGS):
            item = QTableWidgetItem(heading)
            item.setToolTip(tip)
            self.setHorizontalHeaderItem(column, item)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(_ROW_PIXELS)
        self.horizontalHeader().setStretchLastSection(True)
        self.horizontalHeader().setMinimumSectionSize(min(_WIDTHS))
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        for column, width in enumerate(_WIDTHS):
            self.setColumnWidth(column, width)
        self.names: list[str] = []
        self.currentCellChanged.connect(self._choose)

    def show_findings(
        self,
        states: Sequence[FindingState],
        volumes_mm3: Mapping[str, float],
        seconds: Mapping[str, float],
        others: Mapping[str, str],
        current: str,
    ) -> None:
        """Show findings, the one that is looked at as the selected row."""
        with QSignalBlocker(self):
            self.setRowCount(len(states))
            header = self.horizontalHeader().sizeHint().height()
            self.setMinimumHeight(header + _ROW_PIXELS * min(len(states), _ROWS) + 2 * self.frameWidth())
            self.names = [state.id for state in states]
            for row, state in enumerate(states):
                self._write(row, state, volumes_mm3.get(state.id), seconds.get(state.id), others.get(state.id, ""))
            if current in self.names:
                self.setCurrentCell(self.names.index(current), 0)
                self.scrollTo(self.currentIndex())
            else:
                self.setCurrentCell(-1, -1)

    def _write(
        self, row: int, state: FindingState, volume_mm3: float | None, seconds: float | None, others: str
    ) -> None:
        said = " ".join(filter(None, (state.category, "*" if state.comments else "")))
        texts = (
            state.id,
            "–" if volume_mm3 is None else f"{volume_mm3 / 1000:.2f}",
            _VERDICT[state.verdict],
            "" if state.confidence is None else str(state.confidence),
            said,
        )
        tips = [*state.comments, others, "" if seconds is None else f"judged after {seconds:.0f} s"]
        for column, text in enumerate(texts):
            item = self.item(row, column)
            if item is None:
                item = QTableWidgetItem()
                self.setItem(row, column, item)
            item.setText(text)
            item.setToolTip("\n".join(filter(None, tips)) or text)
            bold = item.font()
            bold.setBold(column == 2 and state.verdict is None)
            item.setFont(bold)

    def _choose(self, row: int, _column: int, before: int, _before_column: int) -> None:
        if 0 <= row < len(self.names) and row != before:
            self.finding_chosen.emit(self.names[row])
