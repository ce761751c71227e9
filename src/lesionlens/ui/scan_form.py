"""The rows of a form that ask for a scan and a bundle, as all docks that run something have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog, QFormLayout, QHBoxLayout, QMenu, QPushButton, QWidget

from lesionlens.errors import LesionLensError
from lesionlens.pipeline import RunOptions
from lesionlens.ui import work
from lesionlens.ui.alive import follow_layers, while_alive
from lesionlens.ui.channels_form import ChannelsForm
from lesionlens.ui.layers import is_foreign_image, volume_of
from lesionlens.ui.opening import open_path, open_recent
from lesionlens.ui.parts import CheckMenu, wide_combo

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

    from lesionlens.model.catalogue import BundleInfo

__all__ = ["ScanForm"]

# RunOptions holds every default; the input is filled in when something runs.
_DEFAULTS = RunOptions(input=Path())
BROWSE_FOLDER = "Open a bundle folder…"
BROWSE_ZIP = "Open a bundle zip file…"


class ScanForm(QWidget):
    """Asks for a volume of the viewer and for a bundle; opens scans that are not there yet.

    Parameters
    ----------
    viewer
        Whose layers are offered.

    Attributes
    ----------
    bundle_changed, volume_changed : Signal()
        Another one was chosen, or none is any more.
    """

    bundle_changed = Signal()
    volume_changed = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.volume = wide_combo("The scan to run the bundle on")
        self.open = QPushButton("Open…")
        self.open.setToolTip("Open a scan")
        menu = QMenu(self.open)
        menu.addAction("DICOM folder…", self._browse_folder)
        menu.addAction("File…", self._browse_file)
        self.recent = menu.addAction("Recent case…", lambda: open_recent(viewer))
        self.open.setMenu(menu)
        self.bundle = wide_combo("A MONAI bundle: network, weights and what they were trained for")
        self.channels = ChannelsForm()
        self.classes = CheckMenu("as the bundle has it", "The classes that the network is asked for, one by one")
        self._bundle_index = 0
        self._arrange()
        self.bundle.activated.connect(self._bundle_activated)
        self.bundle.currentIndexChanged.connect(self._bundle_chosen)
        self.volume.currentIndexChanged.connect(lambda _: self.volume_changed.emit())
        self.channels.changed.connect(self.volume_changed)
        self.bundle_changed.connect(self._offer_channels)
        self.classes.changed.connect(self.bundle_changed)
        self._offer_volumes()
        follow_layers(viewer, self._offer_volumes)

    @property
    def volume_layer(self) -> Layer | None:
        """The layer that was chosen."""
        layer: Layer | None = self.volume.currentData()
        return layer

    @property
    def info(self) -> BundleInfo | None:
        """The bundle that was chosen; where its network is asked for classes, with those that were chosen."""
        info: BundleInfo | None = self.bundle.currentData()
        chosen = self.wanted_classes
        return info if info is None or not chosen else replace(info, outputs=chosen, background=None)

    @property
    def wanted_classes(self) -> tuple[str, ...]:
        """The classes that the network is asked for; empty leaves them to the bundle."""
        info: BundleInfo | None = self.bundle.currentData()
        return tuple(name for name in self.classes.chosen if info is not None and name in info.prompts)

    @property
    def channel_layers(self) -> tuple[tuple[str, Layer], ...]:
        """The further channels of the bundle beside the volume: name and layer of each."""
        return self.channels.chosen(self.volume_layer)

    @property
    def problem(self) -> str:
        """Why nothing can run on what is chosen; empty where it can."""
        return self.channels.problem(self.volume_layer)

    def set_volumes(self, layers: Sequence[Layer]) -> None:
        """Offer these layers, keeping the choice where it still exists; else the newest."""
        chosen = self.volume.currentData()
        self.volume.blockSignals(True)
        self.volume.clear()
        for layer in layers:
            self.volume.addItem(layer.name, layer)
        if layers:
            self.volume.setCurrentIndex(list(layers).index(chosen) if chosen in layers else len(layers) - 1)
        else:
            self.volume.addItem("Open a scan first", None)
        self.volume.blockSignals(False)
        self._offer_channels()
        self.volume_changed.emit()

    def choose_volume(self, layer: Layer) -> None:
        """Choose a volume that is offered."""
        index = next((i for i in range(self.volume.count()) if self.volume.itemData(i) is layer), -1)
        if index >= 0:
            self.volume.setCurrentIndex(index)

    def start(self) -> None:
        """Offer the embedded bundles and choose the default one; whoever listens is told."""
        self.set_bundles(work.bundles(), default=_DEFAULTS.bundle)

    def set_bundles(self, bundles: Sequence[BundleInfo], *, default: str) -> None:
        """Offer the embedded bundles, and to open another."""
        self.bundle.clear()
        for info in bundles:
            self.bundle.addItem(info.name, info)
        self.bundle.insertSeparator(self.bundle.count())
        self.bundle.addItem(BROWSE_FOLDER)
        self.bundle.addItem(BROWSE_ZIP)
        self.bundle.setCurrentIndex(max(0, self.bundle.findText(default)))
        self.bundle_changed.emit()

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
        self.bundle_changed.emit()

    @property
    def bundles(self) -> list[BundleInfo]:
        """All bundles that are offered."""
        found = (self.bundle.itemData(i) for i in range(self.bundle.count()))
        return [info for info in found if info is not None]

    @while_alive
    def _offer_volumes(self, event: Any = None) -> None:
        layers = [layer for layer in self._viewer.layers if volume_of(layer) is not None or is_foreign_image(layer)]
        self.set_volumes(layers)
        if event is not None and event.type == "inserted":
            self.choose_volume(event.value)

    def _arrange(self) -> None:
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        volume = QHBoxLayout()
        volume.addWidget(self.volume, 1)
        volume.addWidget(self.open)
        form.addRow("Volume", volume)
        form.addRow("Bundle", self.bundle)
        form.addRow("Classes", self.classes)
        self._rows = form
        form.setRowVisible(self.classes, False)
        form.addRow(self.channels)

    def _offer_channels(self) -> None:
        offered = (self.volume.itemData(i) for i in range(self.volume.count()))
        self.channels.offer(self.info.inputs if self.info else (), [layer for layer in offered if layer is not None])

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
            open_path(self._viewer, path)

    def _bundle_chosen(self, index: int) -> None:
        info = self.bundle.itemData(index)
        if info is None:
            return
        self._bundle_index = index
        self.bundle.setToolTip(info.description)
        self.classes.blockSignals(True)
        self.classes.offer(info.prompts)
        self.classes.blockSignals(False)
        self._rows.setRowVisible(self.classes, bool(info.prompts))
        self.bundle_changed.emit()
