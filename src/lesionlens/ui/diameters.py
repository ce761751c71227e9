"""The axial diameter of the chosen region and its perpendicular, drawn on their slice."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Shapes
from numpy.typing import NDArray
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QCheckBox

from lesionlens.display import DisplayView
from lesionlens.report.columns import column_of
from lesionlens.ui.layers import AXIS_LABELS, NOTICE, NOTICE_KEY, SCAN_KEY
from lesionlens.ui.navigation import go_to, mm_per_unit_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from lesionlens.regions import Region
    from lesionlens.volume import Volume

__all__ = ["NAME", "Diameters", "lines_of"]

NAME = "Diameters"
# The longer line in white, its perpendicular in sky blue, both on black: seen on any scan and colour map.
_COLOURS = ("black", "black", "white", "#56b4e9")
_WIDTH_MM, _RIM = 0.5, 2.6


class Diameters(QObject):
    """A box that asks for the lines, and the layer that holds them while a region is chosen.

    Parameters
    ----------
    viewer
        Where they are drawn.
    parent
        The dock.
    """

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = weakref.proxy(viewer)
        self._chosen: tuple[Region, Volume] | None = None
        self.box = QCheckBox("Show diameters")
        meanings = [column_of(name).tip for name in ("axial_diameter_mm", "axial_perpendicular_mm")]
        self.box.setToolTip("Draw two lines on the chosen region. " + "\n\n".join(meanings))
        self.box.toggled.connect(self._toggle)

    def show(self, region: Region, scan: Volume) -> None:
        """Choose a region and go to it: to its lines where they are asked for, else to its centroid."""
        self._chosen = region, scan
        if self.box.isChecked() and region.shape is not None:
            self._draw()
            go_to(self._viewer, scan, scan.grid.voxel(np.mean(region.shape.axial_diameter.ends_ras, axis=0)))
        else:
            self._remove()
            go_to(self._viewer, scan, region.centroid_ijk)

    def hide(self) -> None:
        """Forget the region: another result is shown."""
        self._chosen = None
        self._remove()

    def _toggle(self, _checked: bool) -> None:
        if self._chosen is not None:
            self.show(*self._chosen)

    def _draw(self) -> None:
        assert self._chosen is not None
        region, scan = self._chosen
        self._remove()
        view = DisplayView(scan.grid)
        layers = self._viewer.layers
        active = layers.selection.active
        to_unit = mm_per_unit_of(self._viewer)
        width = _WIDTH_MM / min(view.scale)
        layer = Shapes(
            lines_of(region, scan) * 2,
            shape_type="line",
            edge_color=list(_COLOURS),
            edge_width=[_RIM * width, _RIM * width, width, width],
            name=NAME,
            scale=np.array(view.scale) / to_unit,
            translate=np.array(view.translate) / to_unit,
            axis_labels=AXIS_LABELS,
            units=(layers.units or ("mm",) * 3)[-3:],
            metadata={SCAN_KEY: scan, NOTICE_KEY: NOTICE},
        )
        self._viewer.add_layer(layer)
        layer.editable = False  # moving an end would not change the figure
        layers.selection.active = active

    def _remove(self) -> None:
        if NAME in self._viewer.layers:
            self._viewer.layers.remove(NAME)


def lines_of(region: Region, scan: Volume) -> list[NDArray[np.float64]]:
    """Return both lines as display indices (slice, row, column) of the scan: two ends each, all in one slice.

    Parameters
    ----------
    region
        With its shape.
    scan
        Whose display axes the indices are of.
    """
    if region.shape is None:
        return []
    segments = region.shape.axial_diameter, region.shape.axial_perpendicular
    ends = [DisplayView(scan.grid).display_index(scan.grid.voxel(segment.ends_ras)) for segment in segments]
    for line in ends:
        line[:, 0] = np.rint(line[:, 0])  # exactly in the slice, whatever rounding two affines left
    return ends
