"""The rows of a form that ask which scan goes into which input channel of a bundle that takes several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QWidget

from lesionlens.ui.parts import wide_combo

if TYPE_CHECKING:
    from napari.layers import Layer
    from qtpy.QtWidgets import QComboBox

__all__ = ["ChannelsForm"]


class ChannelsForm(QWidget):
    """Asks for one layer for each input channel; it has no rows for a bundle that takes one scan.

    Attributes
    ----------
    changed : Signal()
        Another layer was chosen for a channel.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.boxes: dict[str, QComboBox] = {}
        self._rows = QFormLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self.setVisible(False)

    def offer(self, channels: Sequence[str], layers: Sequence[Layer]) -> None:
        """Offer layers for the channels of a bundle, keeping what was chosen; else the one whose name fits."""
        if list(self.boxes) != (list(channels) if len(channels) > 1 else []):
            self._make_rows(channels if len(channels) > 1 else ())
        for name, box in self.boxes.items():
            chosen = box.currentData()
            box.blockSignals(True)
            box.clear()
            for layer in layers:
                box.addItem(layer.name, layer)
            box.setCurrentIndex(list(layers).index(chosen) if chosen in layers else self._guess(name, layers))
            box.blockSignals(False)

    def chosen(self, volume_layer: Layer | None) -> tuple[tuple[str, Layer], ...]:
        """Return the further channels beside that of the volume: name and layer of each."""
        named = [(name, box.currentData()) for name, box in self.boxes.items()]
        return tuple((name, layer) for name, layer in named if layer is not None and layer is not volume_layer)

    def problem(self, volume_layer: Layer | None) -> str:
        """Say why the choice does not serve; empty where it does."""
        layers = [box.currentData() for box in self.boxes.values()]
        if not layers:
            return ""
        if any(layer is None for layer in layers) or len({id(layer) for layer in layers}) < len(layers):
            return f"This bundle takes {len(layers)} scans: choose another layer for each channel."
        if not any(layer is volume_layer for layer in layers):
            return "The volume is none of the channels: choose it for one of them; the results lie on its grid."
        return ""

    def _make_rows(self, channels: Sequence[str]) -> None:
        while self._rows.rowCount():
            self._rows.removeRow(0)
        self.boxes = {name: wide_combo(f"The scan that goes into the channel {name}") for name in channels}
        for name, box in self.boxes.items():
            self._rows.addRow(f"Channel {name}", box)
            box.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.setVisible(bool(channels))

    def _guess(self, name: str, layers: Sequence[Layer]) -> int:
        """Return the place of the layer whose name speaks of a channel, and of no other; -1 where there is none."""
        from lesionlens.model.channels import spoken_of

        channels = list(self.boxes)
        fits = [n for n, layer in enumerate(layers) if spoken_of(channels, layer.name) == [channels.index(name)]]
        return fits[0] if len(fits) == 1 else -1
