"""What a plot is set against: a mask that somebody painted, or a calibration from a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.compat import isalive
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QWidget

from lesionlens.calibration import Calibration, read_calibration
from lesionlens.errors import LesionLensError
from lesionlens.ui.layers import THRESHOLD_KEY, volume_of
from lesionlens.ui.masks import labels_on, mask_of
from lesionlens.ui.parts import wide_combo
from lesionlens.ui.target_form import fill_with_layers

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from lesionlens.heatmap import LabelMap
    from lesionlens.volume import Volume

__all__ = ["TruthForm"]

_NO_MASK = "none"


class TruthForm(QWidget):
    """Asks for a labels layer on the scan, or a calibration file.

    Parameters
    ----------
    viewer
        Whose layers are offered.

    Attributes
    ----------
    calibration : Calibration or None
        What was read last; choosing a mask takes its place.
    changed : Signal()
        Another one was chosen, or somebody paints in it.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.calibration: Calibration | None = None
        self.masks = wide_combo("What a reader marked: a labels layer on the scan")
        self.masks.setMinimumContentsLength(8)  # beside the button there is room for no more
        self.file = QPushButton("Calibration…")
        self.file.setToolTip("Show what 'lesionlens calibrate' found on labelled cases, before and after")
        self._taken: tuple[Layer, LabelMap] | None = None
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(QLabel("Mask"))
        row.addWidget(self.masks, 1)
        row.addWidget(self.file)
        self.file.clicked.connect(self._browse)
        self.masks.currentIndexChanged.connect(self._choose)
        events = viewer.layers.events
        for changed in (events.inserted, events.removed, events.reordered):
            changed.connect(self.offer)
        self.offer()

    def mask_on(self, scan: Volume) -> LabelMap | None:
        """Return what the chosen layer marks on a scan; the same value until somebody paints in it."""
        layer = self.masks.currentData()
        if layer is None:
            return None
        if self._taken is None or self._taken[0] is not layer:
            self._taken = layer, mask_of(layer, scan)
        return self._taken[1]

    def read_calibration(self, path: str) -> None:
        """Read a calibration from a file, in place of a mask."""
        try:
            self.calibration = read_calibration(path)
        except LesionLensError as error:
            show_error(str(error))
            return
        self.masks.setCurrentIndex(0)
        self.changed.emit()

    def offer(self, _event: Any = None) -> None:
        """Offer the labels layers that lie on a scan, but for the regions that the model found."""
        if not isalive(self):  # type: ignore[no-untyped-call]  # napari's events do not know that the dock was closed
            return
        scans = [layer for layer in self._viewer.layers if volume_of(layer) is not None]
        found = labels_on(self._viewer.layers, scans[-1] if scans else None)
        marked = [layer for layer in found if THRESHOLD_KEY not in layer.metadata]
        fill_with_layers(self.masks, marked, _NO_MASK, optional=True)
        self._choose()

    def _choose(self, _index: int = 0) -> None:
        layer = self.masks.currentData()
        if self._taken is not None and self._taken[0] is not layer:
            self._taken = None
        if layer is not None:
            self.calibration = None
            for painted in (layer.events.paint, layer.events.data):
                painted.connect(self._painted)
        self.changed.emit()

    def _painted(self, event: Any) -> None:
        """Look at a mask anew after somebody painted in it."""
        if isalive(self) and event.source is self.masks.currentData():  # type: ignore[no-untyped-call]  # as above
            self._taken = None
            self.changed.emit()

    def _browse(self) -> None:
        path = QFileDialog.getOpenFileName(self, "Open a calibration", "", "Calibration (*.json)")[0]
        if path:
            self.read_calibration(path)
