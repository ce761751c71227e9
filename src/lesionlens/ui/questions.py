"""What has to be chosen before a scan can be read, asked in the window: a series, a volume, irregular slices."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from qtpy.QtWidgets import (
    QButtonGroup,
    QDialog,
    QDialogButtonBox,
    QLabel,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from lesionlens.errors import AmbiguousStackError, IrregularSeriesError
from lesionlens.io.policy import Irregular
from lesionlens.ui.dialogs import SeriesDialog, ask_stack
from lesionlens.ui.scans import Question, Request

__all__ = ["IrregularDialog", "ask"]

# At most so many problems are spelled out; a time series can have hundreds, and a dialog must fit on the screen.
_MOST_PROBLEMS = 8

_WAYS: dict[Irregular, str] = {
    "refuse": "Do not open it. Best where a slice was lost: export the series again, complete and alone.",
    "resample": "Resample: put the slices on a regular grid, at their true positions. For models and measurements.",
    "as-is": "As is: keep the voxels in slice order. For looking at what was stored; do not measure on it.",
}
_WIDTH = 620


class IrregularDialog(QDialog):
    """Says what is wrong with the slices of a series, and asks what to do; nothing is opened unless chosen.

    Parameters
    ----------
    error
        What is wrong, and what can be done.
    """

    def __init__(self, error: IrregularSeriesError, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("LesionLens: irregular slices")
        layout = QVBoxLayout(self)
        self.found = _label(_found(error))
        layout.addWidget(self.found)
        layout.addWidget(_label("What shall be done?"))
        self.ways: dict[str, QRadioButton] = {}
        group = QButtonGroup(self)
        for way in get_args(Irregular):
            button = QRadioButton(_WAYS[way])
            button.setEnabled(way == "refuse" or way in error.choices)
            group.addButton(button)
            layout.addWidget(button)
            self.ways[way] = button
        if "resample" not in error.choices:
            self.ways["resample"].setToolTip("There is no single slice at each place, or they lie too far apart.")
        self.ways["refuse"].setChecked(True)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        layout.addWidget(self.buttons)
        self.setMinimumWidth(_WIDTH)

    @property
    def chosen(self) -> Irregular:
        """What shall be done."""
        return next(way for way in _WAYS if self.ways[way].isChecked())


def ask(question: Question, parent: QWidget | None) -> Request | None:
    """Ask, and return what shall be read; None where the user changed their mind."""
    request, error = question.request, question.error
    if isinstance(error, IrregularSeriesError):
        way = _asked_way(error, parent)
        return None if way == "refuse" else replace(request, irregular=way)
    if isinstance(error, AmbiguousStackError):
        stack = ask_stack(error.choices, parent)
        return None if stack is None else replace(request, stack=stack)
    dialog = SeriesDialog(question.series, parent)
    answered, series = dialog.exec(), dialog.chosen
    dialog.deleteLater()
    return replace(request, series=series) if answered and series else None


def _asked_way(error: IrregularSeriesError, parent: QWidget | None) -> Irregular:
    dialog = IrregularDialog(error, parent)
    way: Irregular = dialog.chosen if dialog.exec() else "refuse"
    dialog.deleteLater()
    return way


def _found(error: IrregularSeriesError) -> str:
    problems = [f"•  {problem}" for problem in error.problems[:_MOST_PROBLEMS]]
    more = len(error.problems) - len(problems)
    return "\n".join(
        [
            "The slices do not lie on one regular grid:",
            *problems,
            *([f"•  and {more} more"] if more else []),
            f"A program that only counts slices would place voxels up to {error.worst_error_mm:.3g} mm wrong.",
        ]
    )


def _label(text: str) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    return label
