"""Questions that only a person can answer: which series and volume, and whether to trust a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QApplication,
    QDialog,
    QDialogButtonBox,
    QInputDialog,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QMainWindow,
    QMessageBox,
    QVBoxLayout,
    QWidget,
)

from lesionlens.io import SeriesInfo

if TYPE_CHECKING:
    from lesionlens.model.safety import Concern

__all__ = ["Answer", "SeriesDialog", "ask_stack", "main_window", "trusts_bundle"]


class SeriesDialog(QDialog):
    """Asks which series of a folder to open; nothing is chosen beforehand.

    Parameters
    ----------
    series
        What is there; those that cannot be read are listed with the reason and cannot be chosen.
    """

    def __init__(self, series: Sequence[SeriesInfo], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("LesionLens: choose a series")
        self.list = QListWidget()
        buttons = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(buttons.Open | buttons.Cancel)
        self._open = self.buttons.button(buttons.Open)
        self._open.setEnabled(False)
        for info in series:
            self.list.addItem(_item(info))
        layout = QVBoxLayout(self)
        question = QLabel("There are several series. Which one do you want to see?")
        question.setWordWrap(True)
        layout.addWidget(question)
        layout.addWidget(self.list)
        layout.addWidget(self.buttons)
        self.resize(620, 320)
        self.list.itemSelectionChanged.connect(lambda: self._open.setEnabled(self.chosen is not None))
        self.list.itemDoubleClicked.connect(self.accept)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)

    @property
    def chosen(self) -> str | None:
        """UID of the series that is selected, or None."""
        items = self.list.selectedItems()
        return str(items[0].data(Qt.ItemDataRole.UserRole)) if items else None


def ask_stack(names: Sequence[str], parent: QWidget | None) -> int | None:
    """Ask which of several volumes in one series or file to open; None when the question is closed."""
    items = [f"{n}: {name}" for n, name in enumerate(names)]
    text, answered = QInputDialog.getItem(
        parent,
        "LesionLens: choose a volume",
        f"There are {len(names)} volumes. Which one do you want to see?",
        items,
        0,
        False,
    )
    return items.index(text) if answered else None


class Answer(Enum):
    """What a person says to a bundle from outside."""

    NO = "no"
    YES = "now"
    ALWAYS = "always"


def trusts_bundle(path: Path, concerns: Sequence[Concern], parent: QWidget | None) -> Answer:
    """Ask whether a bundle from the disk may run; the safe answer is the default.

    Parameters
    ----------
    path
        Where it is.
    concerns
        What in its config is not known to be harmless: shown in full under the details.
    """
    box = QMessageBox(parent)
    box.setIcon(QMessageBox.Icon.Warning)
    box.setWindowTitle("LesionLens: run a bundle from outside?")
    box.setText(f"This bundle does not come with LesionLens:\n{path}")
    box.setInformativeText(_what_it_does(concerns))
    box.setDetailedText("\n\n".join(map(str, concerns)))
    run = box.addButton("Run it", QMessageBox.ButtonRole.AcceptRole)
    always = box.addButton("Always run these files", QMessageBox.ButtonRole.AcceptRole)
    box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
    box.exec()
    clicked = box.clickedButton()
    box.deleteLater()
    return Answer.YES if clicked is run else Answer.ALWAYS if clicked is always else Answer.NO


def _what_it_does(concerns: Sequence[Concern]) -> str:
    return (
        f"{len(concerns)} part(s) of its configuration are not known to be harmless; the details show them. They can"
        " execute any code on this computer, with your rights. Run it only if you know where it comes from."
    )


def main_window() -> QMainWindow | None:
    """Return a main window that a person can see, or None: then there is nobody to ask."""
    if QApplication.instance() is None:
        return None
    windows = [w for w in QApplication.topLevelWidgets() if isinstance(w, QMainWindow) and w.isVisible()]
    return next((w for w in windows if w.isActiveWindow()), windows[0] if windows else None)


def _item(info: SeriesInfo) -> QListWidgetItem:
    number = "–" if info.number is None else str(info.number)
    size = " × ".join(str(n) for n in info.shape)
    parts = [f"{number}: {info.description or 'without description'}", info.modality, size]
    parts.append("" if info.kind == "scan" else info.kind)
    item = QListWidgetItem(" · ".join(part for part in parts if part))
    item.setData(Qt.ItemDataRole.UserRole, info.uid)
    if isinstance(info.verdict, str):
        item.setText(f"{item.text()} — {info.verdict}")
        item.setFlags(Qt.ItemFlag.NoItemFlags)
    elif not info.verdict.regular:
        item.setText(f"{item.text()} — irregular slices")  # the next dialog says which, and asks what to do
    item.setToolTip(str(info.verdict))
    return item


def is_one_space(overlay: str, scan: str, parent: QWidget | None) -> bool:
    """Ask whether an overlay lies in the space of a scan although their frames of reference differ; no by default."""
    box = QMessageBox(parent)
    box.setIcon(QMessageBox.Icon.Warning)
    box.setWindowTitle("LesionLens: another frame of reference")
    box.setText(f"{overlay} has another frame of reference than {scan}.")
    box.setInformativeText(
        "Their positions can be compared only where both are known to lie in one space: a registered scan, identifiers"
        " that were replaced. Else it would be shown at wrong places.\n\nLay it over the scan all the same?"
    )
    yes = box.addButton("They lie in one space", QMessageBox.ButtonRole.AcceptRole)
    box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
    box.exec()
    answered = box.clickedButton() is yes
    box.deleteLater()
    return answered
