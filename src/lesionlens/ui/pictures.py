"""Pictures in docks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QLabel, QWidget

from lesionlens.ui.drawn import DOCK_PIXELS

__all__ = ["Picture"]


class Picture(QLabel):
    """A picture at its own size, but no wider than a dock.

    Parameters
    ----------
    pixels
        (rows, columns, 4) uint8, RGBA.
    """

    def __init__(self, pixels: NDArray[np.uint8], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        held = np.ascontiguousarray(pixels)
        rows, columns = held.shape[:2]
        image = QImage(held.data, columns, rows, 4 * columns, QImage.Format.Format_RGBA8888)
        pixmap = QPixmap.fromImage(image)  # a copy: the array may go
        if columns > DOCK_PIXELS:
            pixmap = pixmap.scaledToWidth(DOCK_PIXELS, Qt.TransformationMode.SmoothTransformation)
        self.setPixmap(pixmap)
