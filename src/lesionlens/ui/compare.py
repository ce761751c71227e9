"""The dock *Compare*: two maps against each other."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari.layers import Layer
from qtpy.QtWidgets import QDoubleSpinBox, QFormLayout, QPushButton, QVBoxLayout, QWidget

from lesionlens.rules import DEFAULT_RULES
from lesionlens.ui import work
from lesionlens.ui.alive import follow_layers, is_alive, while_alive
from lesionlens.ui.canvas import annotate
from lesionlens.ui.compared_layers import difference_layer, difference_name
from lesionlens.ui.compared_words import compared_words
from lesionlens.ui.docking import itself
from lesionlens.ui.layers import RULES_KEY, THRESHOLD_KEY, heatmap_of, scan_of
from lesionlens.ui.lesion_table import LesionTable
from lesionlens.ui.parts import Note, scrolled, wide_combo
from lesionlens.ui.pictures import Picture
from lesionlens.ui.run_bar import RunBar
from lesionlens.ui.side_by_side import SideBySide
from lesionlens.ui.target_form import fill_with_layers

if TYPE_CHECKING:
    import napari.viewer

    from lesionlens.regions import LesionChanges
    from lesionlens.ui.comparing import Compared
    from lesionlens.volume import Volume

__all__ = ["CompareWidget"]

_NOTHING = "Two maps of one scan are compared: run a bundle, or open results, first."
_CHOOSE = "Choose two maps and press Compare for their difference, or Lesions for what became of each lesion."


class CompareWidget(QWidget):
    """Compares two heatmaps of the viewer: classes, models, methods, or before and after.

    Parameters
    ----------
    viewer
        The viewer that the widget is docked in.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer = itself(viewer)
        self.compared: Compared | None = None
        self._of: tuple[Any, ...] = ()  # what the figures are of: layers and threshold
        self._wants_sides = False
        self.side: SideBySide | None = None
        self._scan: Volume | None = None
        self.first = wide_combo("What is subtracted")
        self.second = wide_combo("What it is subtracted from")
        self.threshold = QDoubleSpinBox()
        self.threshold.setDecimals(3)
        self.threshold.setRange(0.001, 1.0)
        self.threshold.setSingleStep(0.05)
        self.threshold.setValue(0.5)
        self.threshold.setToolTip(
            "Probability from which a voxel belongs to a class, for overlap and lesions; at first that of the run of A"
        )
        self._threshold_of: tuple[Any, float | None] | None = None  # the layer and its own
        self.side_by_side = QPushButton("Side by side")
        self.side_by_side.setToolTip("Show both maps beside each other, with the same slice, zoom and colours")
        self.lesions = QPushButton("Lesions")
        self.lesions.setToolTip("Say which lesions of two probability maps are new, gone, grown, shrunk, merged, split")
        self.lesion_table = LesionTable()
        self.bar = RunBar("Compare", self.side_by_side, self.lesions)
        self.numbers = Note()
        self._picture: Picture | None = None
        self._pictures = QVBoxLayout()
        self._arrange()
        self._connect()
        annotate(viewer)
        self._offer()

    def run(self) -> None:
        """Compare the chosen maps in the background."""
        first, second = self.first.currentData(), self.second.currentData()
        if self.bar.job is not None or first is None or second is None:
            return
        layers = self._layers()
        self._forget()
        self._scan = scan_of(first)
        self._of = self._chosen()
        maps = [(layer.name, heatmap) for layer in layers if (heatmap := heatmap_of(layer)) is not None]
        numbers = (layers.index(first), layers.index(second))
        self.bar.start(
            "LesionLens: comparing maps",
            partial(work.compare, maps, *numbers, self.threshold.value()),
            self.show_compared,
        )

    def run_lesions(self) -> None:
        """Compare the regions of the chosen probability maps in the background."""
        layers = [box.currentData() for box in (self.first, self.second)]
        maps = [heatmap for layer in layers if layer is not None and (heatmap := heatmap_of(layer)) is not None]
        rules = [DEFAULT_RULES if layer is None else layer.metadata.get(RULES_KEY, DEFAULT_RULES) for layer in layers]
        if self.bar.job is None and len(maps) == 2:
            self._of = self._chosen()
            self.bar.start(
                "LesionLens: comparing lesions",
                partial(work.compare_lesions, (maps[0], maps[1]), (rules[0], rules[1]), self.threshold.value()),
                self._show_lesions,
            )

    def _show_lesions(self, found: LesionChanges) -> None:
        self.bar.say("")
        if self._of != self._chosen():
            return
        self.lesion_table.show_changes(found)

    def cancel(self) -> None:
        """Stop what runs, at its next step."""
        self.bar.stop()

    def show_compared(self, compared: Compared) -> None:
        """Show the difference over the scan, and the figures; nothing where other maps were chosen meanwhile."""
        self.bar.say("")
        if self._of != self._chosen():
            return
        self.compared = compared
        if self._scan is not None:
            self._show_difference(compared, self._scan)
        self.numbers.say(compared_words(compared))
        self._picture = Picture(compared.matrix)
        self._pictures.addWidget(self._picture)
        if self.side is not None or self._wants_sides:
            self.show_side_by_side()
        self._allow()

    def show_side_by_side(self) -> None:
        """Show the chosen maps beside each other, in a dock of their own; they are compared first, where need be."""
        if self.compared is None or self._scan is None:
            self._wants_sides = True
            self.run()
            return
        self._wants_sides = False
        self.hide_side_by_side()
        self.side = SideBySide(self.viewer, self.compared, self._scan)
        self.viewer.window.add_dock_widget(self.side, name="LesionLens side by side", area="bottom")

    def hide_side_by_side(self) -> None:
        """Close the dock with both maps."""
        side, self.side = self.side, None
        if side is None or not is_alive(side):  # the user may have closed it
            return
        side.shut()
        self.viewer.window.remove_dock_widget(side)
        side.deleteLater()

    def _show_difference(self, compared: Compared, scan: Volume) -> None:
        name = difference_name(compared)
        if name in self.viewer.layers:
            self.viewer.layers.remove(name)
        for layer in self._layers():
            layer.visible = False  # the difference lies over them
        layer = Layer.create(*difference_layer(compared, scan))
        self.viewer.add_layer(layer)

    def _chosen(self) -> tuple[Any, ...]:
        return self.first.currentData(), self.second.currentData(), self.threshold.value()

    def _forget(self) -> None:
        """Take away figures: of other maps, or of another threshold, they would be taken for those of the chosen."""
        self.compared = None
        self.numbers.say("")
        self.lesion_table.clear()
        picture, self._picture = self._picture, None
        if picture is not None:
            self._pictures.removeWidget(picture)
            picture.deleteLater()

    def _choice_changed(self, _value: object = None) -> None:
        self._take_threshold()
        if self._of and self._of != self._chosen():
            self._of = ()
            self._forget()
            self.hide_side_by_side()
        self._allow()

    def _take_threshold(self) -> None:
        """Begin with the threshold of the case that the first map is of; whoever changes it keeps theirs."""
        layer = self.first.currentData()
        of_run = None if layer is None else (layer, layer.metadata.get(THRESHOLD_KEY))
        if of_run is not None and of_run != self._threshold_of:
            self._threshold_of = of_run
            self.threshold.setValue(of_run[1] or self.threshold.value())

    def _layers(self) -> list[Any]:
        found = [(layer, heatmap_of(layer)) for layer in self.viewer.layers]
        return [layer for layer, heatmap in found if heatmap is not None and heatmap.kind != "difference"]

    @while_alive
    def _offer(self, _event: Any = None) -> None:
        layers = self._layers()
        chosen = self.second.currentData()
        fill_with_layers(self.first, layers, "no map yet")
        fill_with_layers(self.second, layers, "no map yet")
        if chosen not in layers and len(layers) > 1:
            self.second.setCurrentIndex(1)
        self._choice_changed()

    def _allow(self) -> None:
        first, second = self.first.currentData(), self.second.currentData()
        ready = first is not None and second is not None and first is not second
        self.bar.allow(ready)
        self.side_by_side.setEnabled(ready and self.bar.job is None)
        kinds = [heatmap.kind for layer in (first, second) if layer is not None and (heatmap := heatmap_of(layer))]
        self.lesions.setEnabled(ready and kinds == ["probability"] * 2)
        if len(self._layers()) < 2:
            self.numbers.say(_NOTHING)
        elif self.compared is None:
            self.numbers.say("" if self._of else _CHOOSE)

    def _connect(self) -> None:
        self.bar.run_clicked.connect(self.run)
        self.lesions.clicked.connect(self.run_lesions)
        self.side_by_side.clicked.connect(self.show_side_by_side)
        self.bar.ended.connect(self._allow)
        for box in (self.first, self.second):
            box.currentIndexChanged.connect(self._choice_changed)
        self.threshold.valueChanged.connect(self._choice_changed)
        follow_layers(self.viewer, self._offer)

    def _arrange(self) -> None:
        rows = QWidget()
        form = QFormLayout(rows)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("First (A)", self.first)
        form.addRow("Second (B)", self.second)
        form.addRow("Threshold", self.threshold)
        pictures = QWidget()
        pictures.setLayout(self._pictures)
        self._pictures.setContentsMargins(0, 0, 0, 0)
        scrolled(self, rows, self.bar, self.lesion_table, self.numbers, pictures)
