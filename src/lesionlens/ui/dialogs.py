"""Questions that only a person can answer: which series and volume, and whether to trust a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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

__all__ = ["SeriesDialog", "ask_stack", "main_window", "trusts_bundle"]


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


def trusts_bundle(path: Path, parent: QWidget | None) -> bool:
    """Ask whether a bundle from the disk may run; the safe answer is the default."""
    box = QMessageBox(parent)
    box.setIcon(QMessageBox.Icon.Warning)
    box.setWindowTitle("LesionLens: run a bundle from outside?")
    box.setText(f"This bundle does not come with LesionLens:\n{path}")
    box.setInformativeText(
        "Its configuration can execute any code on this computer, with your rights. "
        "Run it only if you know where it comes from."
    )
    run = box.addButton("Run it", QMessageBox.ButtonRole.AcceptRole)
    box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
    box.exec()
    trusted = box.clickedButton() is run
    box.deleteLater()
    return trusted


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
