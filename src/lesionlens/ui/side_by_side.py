"""Two maps of one scan side by side: what moves or recolours one does so to the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from napari.layers import Layer
from napari.qt import QtViewer
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from lesionlens.ui.canvas import annotate
from lesionlens.ui.compared_layers import side_layers
from lesionlens.ui.docking import go_with_frame
from lesionlens.ui.layers import heatmap_of, volume_layer
from lesionlens.ui.links import Linked

if TYPE_CHECKING:
    from lesionlens.ui.comparing import Compared
    from lesionlens.volume import Volume

__all__ = ["SideBySide"]

_DIMS = ("ndisplay", "order", "point")
_CAMERA = ("center", "zoom", "angles")
_LOOKS = ("contrast_limits", "colormap", "opacity", "gamma", "visible")
_HEIGHT = 330


class SideBySide(QWidget):
    """Two canvases with the same scan, each with one of two maps, in the same colours for the same values.

    Slice and plane follow the main viewer and lead it; camera and colours are shared by the two.

    Parameters
    ----------
    viewer
        The main viewer.
    compared
        The maps.
    scan
        What they are of.
    """

    def __init__(self, viewer: ViewerModel, compared: Compared, scan: Volume) -> None:
        super().__init__()
        self.models = [ViewerModel(), ViewerModel()]
        self.canvases: list[QtViewer] = []
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        maps = [heatmap for heatmap in map(heatmap_of, viewer.layers) if heatmap is not None]
        sides = side_layers(compared, scan, maps=maps)
        for model, layer, name in zip(self.models, sides, compared.names[:2], strict=True):
            annotate(model, brief=True)
            model.add_layer(Layer.create(*volume_layer(scan)))
            model.add_layer(Layer.create(*layer))
            row.addWidget(self._side(model, name), 1)
        self.setMinimumHeight(_HEIGHT)
        shown = [model.layers[-1] for model in self.models]
        scans = [model.layers[0] for model in self.models]
        for model in self.models:
            for name in _DIMS:
                setattr(model.dims, name, getattr(viewer.dims, name))
        self._links = [
            Linked([viewer.dims, *(model.dims for model in self.models)], _DIMS),
            Linked([model.scene.camera for model in self.models], _CAMERA),
            Linked(shown, _LOOKS),
            Linked(scans, _LOOKS),
        ]
        go_with_frame(self)

    def shut(self) -> None:
        """Let go of the viewers and their drawings; doing it again changes nothing."""
        for link in self._links:
            link.stop()
        self._links = []
        for canvas in self.canvases:
            canvas.close()
        self.canvases = []
        for model in self.models:
            model.layers.clear()

    def event(self, event: QEvent) -> bool:
        """Let go before Qt deletes what is inside: a canvas that is deleted with it leaks what it drew."""
        if event.type() == QEvent.Type.DeferredDelete:
            self.shut()
        return super().event(event)

    def showEvent(self, event: Any) -> None:  # noqa: N802  # Qt's name
        """Show the whole scan once there is room for it."""
        super().showEvent(event)
        for model in self.models:
            model.reset_view()

    def _side(self, model: ViewerModel, name: str) -> QWidget:
        canvas = QtViewer(model)
        self.canvases.append(canvas)
        title = QLabel(f"<b>{name}</b>")
        title.setAlignment(Qt.AlignmentFlag.AlignCenter)
        side = QWidget()
        column = QVBoxLayout(side)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(title)
        column.addWidget(canvas, 1)
        return side
