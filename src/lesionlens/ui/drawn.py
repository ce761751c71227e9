"""Figures of the reports as pixels, drawn in the background: no Qt, no viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DOCK_INCHES", "DOCK_PIXELS", "pixels_of"]

# Pictures are drawn at this resolution, and no wider than a dock.
_DPI = 100
DOCK_INCHES = 3.3
DOCK_PIXELS = int(DOCK_INCHES * _DPI)


def pixels_of(figure: Figure) -> NDArray[np.uint8]:
    """Return a figure as (rows, columns, 4) uint8, RGBA."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(_DPI)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())
