"""The list of a network's layers that can be explained, to be checked instead of typed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QTreeWidget, QTreeWidgetItem, QWidget

if TYPE_CHECKING:
    from lesionlens.model.layers import BundleLayer

__all__ = ["LayerList"]

_HEIGHT = 130
# napari's themes colour the boxes of lists as their background.
_BOXES = """
QTreeView::indicator { width: 9px; height: 9px; border: 1px solid #8a8f99; border-radius: 2px; }
QTreeView::indicator:checked { background: #5a7bff; }
"""
_COLUMNS = ("Layer", "Channels", "Stride", "Cell in mm")


class LayerList(QTreeWidget):
    """Layers with their channels, strides and sizes.

    Attributes
    ----------
    names_changed : Signal(tuple)
        The user checked or unchecked a layer: names of all that are checked.
    """

    names_changed = Signal(tuple)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setHeaderLabels(list(_COLUMNS))
        self.setRootIsDecorated(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # names differ in their ends
        self.setStyleSheet(_BOXES)
        self.setFixedHeight(_HEIGHT)
        self.setToolTip(
            "Layers from the input to the output; the default is bold. A map points no finer than half a cell"
        )
        header = self.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, header.ResizeMode.Stretch)
        for column in range(1, len(_COLUMNS)):
            header.setSectionResizeMode(column, header.ResizeMode.ResizeToContents)
        self.itemChanged.connect(lambda _: self.names_changed.emit(self.names))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers that are checked."""
        return tuple(item.text(0) for item in self._items() if item.checkState(0) == Qt.CheckState.Checked)

    def offer(self, layers: Sequence[BundleLayer], default: str, reason: str) -> None:
        """List layers in place of those before; the default stands out and says why it is that."""
        self.blockSignals(True)
        self.clear()
        for layer in layers:
            stride, size = (_by(values) for values in (layer.stride, layer.size_mm or ()))
            item = QTreeWidgetItem([layer.name, str(layer.channels), stride, size])
            same = f"\nThe same as {', '.join(layer.same)}" if layer.same else ""
            item.setToolTip(0, f"{layer.name}, {layer.kind}, {_by(layer.cells)} cells{same}")
            if layer.name == default:
                font = item.font(0)
                font.setBold(True)
                item.setFont(0, font)
                item.setToolTip(0, f"{layer.name}, the default: {reason}{same}")
            item.setCheckState(0, Qt.CheckState.Unchecked)
            self.addTopLevelItem(item)
        self.blockSignals(False)

    def check(self, names: Collection[str]) -> None:
        """Check these layers and no others; nobody is told."""
        self.blockSignals(True)
        for item in self._items():
            item.setCheckState(0, Qt.CheckState.Checked if item.text(0) in names else Qt.CheckState.Unchecked)
        self.blockSignals(False)

    def _items(self) -> list[QTreeWidgetItem]:
        found = (self.topLevelItem(n) for n in range(self.topLevelItemCount()))
        return [item for item in found if item is not None]


def _by(values: tuple[float, ...] | tuple[int, ...]) -> str:
    """Return values along the axes in short: one where all are the same."""
    if len(set(values)) == 1:
        return f"{values[0]:g}"
    return "×".join(f"{value:g}" for value in values) or "the scan's"
