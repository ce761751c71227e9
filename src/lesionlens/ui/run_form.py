"""The form that asks what to run on which volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_error
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QProgressBar,
    QPushButton,
    QWidget,
)

from lesionlens.errors import LesionLensError
from lesionlens.ui import work
from lesionlens.ui.layers import method_name

if TYPE_CHECKING:
    from napari.layers import Layer

    from lesionlens.model.catalogue import BundleInfo

__all__ = ["Choices", "RunForm"]

DEFAULT_TARGET = "default"
BROWSE_FOLDER = "Open a bundle folder…"
BROWSE_ZIP = "Open a bundle zip file…"


@dataclass(frozen=True)
class Choices:
    """What was chosen in the form; None leaves it to the bundle."""

    volume_layer: Layer
    bundle: BundleInfo
    method: str
    target: str | None
    layer: str | None


class RunForm(QWidget):
    """Asks for volume, bundle, method, target class and layer; shows progress.

    Attributes
    ----------
    run_clicked, cancel_clicked : Signal()
        The user wants it to start, or to stop.
    results_clicked : Signal()
        The user wants to see what an earlier run wrote.
    scan_chosen : Signal(str)
        The user wants to open this scan.
    """

    run_clicked = Signal()
    cancel_clicked = Signal()
    results_clicked = Signal()
    scan_chosen = Signal(str)

    def __init__(self, methods: Sequence[str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.volume = _wide_combo("The scan to run the bundle on")
        self.open = QPushButton("Open…")
        self.open.setToolTip("Open a scan")
        menu = QMenu(self.open)
        menu.addAction("DICOM folder…", self._browse_folder)
        menu.addAction("File…", self._browse_file)
        self.open.setMenu(menu)
        self.bundle = _wide_combo("A MONAI bundle: network, weights and what they were trained for")
        self.method = _wide_combo("How the model's decision is explained")
        for method in methods:
            self.method.addItem(method_name(method), method)
        self.target = _wide_combo("The class whose evidence is shown; 'default' is the one found most")
        self.layer = QLineEdit()
        self.layer.setPlaceholderText("default")
        self.layer.setToolTip("Dotted name of the network layer to explain")
        self.run = QPushButton("Run")
        self.cancel = QPushButton("Cancel")
        self.cancel.setEnabled(False)
        self.results = QPushButton("Open results…")
        self.results.setToolTip("Show what an earlier run wrote about this volume")
        self.progress = QProgressBar()
        self.progress.setVisible(False)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setVisible(False)
        self._bundle_index = 0
        self._arrange()
        self.run.clicked.connect(self.run_clicked)
        self.cancel.clicked.connect(self.cancel_clicked)
        self.results.clicked.connect(self.results_clicked)
        self.bundle.activated.connect(self._bundle_activated)
        self.bundle.currentIndexChanged.connect(self._offer_targets)
        self.set_volumes([])

    def choices(self) -> Choices:
        """Return what is chosen; call it only while :attr:`run` is enabled."""
        target = self.target.currentText()
        return Choices(
            volume_layer=self.volume.currentData(),
            bundle=self.bundle.currentData(),
            method=self.method.currentData(),
            target=None if self.target.currentIndex() == 0 else target,
            layer=self.layer.text().strip() or None,
        )

    def set_volumes(self, layers: Sequence[Layer]) -> None:
        """Offer these layers, keeping the choice where it still exists; else the newest."""
        chosen = self.volume.currentData()
        self.volume.clear()
        for layer in layers:
            self.volume.addItem(layer.name, layer)
        if layers:
            self.volume.setCurrentIndex(list(layers).index(chosen) if chosen in layers else len(layers) - 1)
        else:
            self.volume.addItem("Open a scan first, or drag it in", None)
        self._allow()

    def choose_volume(self, layer: Layer) -> None:
        """Choose a volume that is offered."""
        index = next((i for i in range(self.volume.count()) if self.volume.itemData(i) is layer), -1)
        if index >= 0:
            self.volume.setCurrentIndex(index)

    def set_bundles(self, bundles: Sequence[BundleInfo], *, default: str) -> None:
        """Offer the embedded bundles, and to open another."""
        self.bundle.clear()
        for info in bundles:
            self.bundle.addItem(info.name, info)
        self.bundle.insertSeparator(self.bundle.count())
        self.bundle.addItem(BROWSE_FOLDER)
        self.bundle.addItem(BROWSE_ZIP)
        self.bundle.setCurrentIndex(max(0, self.bundle.findText(default)))
        self._allow()

    def open_bundle(self, path: str) -> None:
        """Offer and choose a bundle from the disk; nothing of it is executed before it runs."""
        if not path:
            return
        try:
            info = work.bundle_info(Path(path))
        except LesionLensError as error:
            show_error(str(error))
            return
        self.bundle.insertItem(0, f"{info.name} ({info.root.name})", info)
        self.bundle.setItemData(0, str(info.root), Qt.ItemDataRole.ToolTipRole)
        self.bundle.setCurrentIndex(0)
        self._allow()

    def start_progress(self) -> None:
        """Show that something runs and can be cancelled."""
        self.cancel.setEnabled(True)
        self._allow()
        self.progress.setRange(0, 0)
        self.progress.setVisible(True)
        self.show_status("Starting…")

    def show_progress(self, stage: str, done: int, total: int) -> None:
        """Show how far it is."""
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        self.show_status(f"{stage}…" if total <= 0 else f"{stage}… {done} of {total}")

    def stop_progress(self, message: str) -> None:
        """Show that nothing runs any more, and how it ended."""
        self.progress.setVisible(False)
        self.cancel.setEnabled(False)
        self.show_status(message)
        self._allow()

    def show_status(self, message: str) -> None:
        """Show one line below the buttons."""
        self.status.setText(message)
        self.status.setVisible(bool(message))

    def _arrange(self) -> None:
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        volume = QHBoxLayout()
        volume.addWidget(self.volume, 1)
        volume.addWidget(self.open)
        form.addRow("Volume", volume)
        for label, field in (
            ("Bundle", self.bundle),
            ("Method", self.method),
            ("Target class", self.target),
            ("Layer", self.layer),
        ):
            form.addRow(label, field)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run)
        buttons.addWidget(self.cancel)
        buttons.addWidget(self.results)
        form.addRow(buttons)
        form.addRow(self.progress)
        form.addRow(self.status)

    def _allow(self) -> None:
        idle = self.volume.currentData() is not None and not self.cancel.isEnabled()
        self.run.setEnabled(idle and self.bundle.currentData() is not None)
        self.results.setEnabled(idle)

    def _bundle_activated(self, index: int) -> None:
        text = self.bundle.itemText(index)
        if self.bundle.itemData(index) is not None:
            return
        self.bundle.setCurrentIndex(self._bundle_index)
        if text == BROWSE_FOLDER:
            self.open_bundle(QFileDialog.getExistingDirectory(self, "Open a MONAI bundle folder"))
        elif text == BROWSE_ZIP:
            self.open_bundle(QFileDialog.getOpenFileName(self, "Open a MONAI bundle", "", "MONAI bundle (*.zip)")[0])

    def _browse_folder(self) -> None:
        self._choose_scan(QFileDialog.getExistingDirectory(self, "Open a folder with a scan"))

    def _browse_file(self) -> None:
        self._choose_scan(QFileDialog.getOpenFileName(self, "Open a scan")[0])

    def _choose_scan(self, path: str) -> None:
        if path:
            self.scan_chosen.emit(path)

    def _offer_targets(self, index: int) -> None:
        info = self.bundle.itemData(index)
        if info is None:
            return
        self._bundle_index = index
        self.bundle.setToolTip(info.description)
        self.target.clear()
        self.target.addItems([DEFAULT_TARGET, *info.foreground])
        self._allow()


def _wide_combo(tip: str) -> QComboBox:
    """Return a combo box that may be narrower than its longest text: layer names can be long."""
    box = QComboBox()
    box.setToolTip(tip)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(14)
    return box
