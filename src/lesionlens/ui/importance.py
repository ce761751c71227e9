"""The dock *Importance*: how far the model's answer falls without parts of the scan."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING

from napari.layers import Layer
from qtpy.QtWidgets import QFormLayout, QVBoxLayout, QWidget

from lesionlens.errors import InputError
from lesionlens.rules import DEFAULT_RULES
from lesionlens.styles import DIVERGING, Style
from lesionlens.ui import weighing, work
from lesionlens.ui.canvas import annotate
from lesionlens.ui.consent import is_trusted, may_run
from lesionlens.ui.current import current_of
from lesionlens.ui.docking import itself
from lesionlens.ui.facts import bundle_name
from lesionlens.ui.layers import heatmap_layer
from lesionlens.ui.masks import anatomy_of, scan_in, scans_in
from lesionlens.ui.options import over_of
from lesionlens.ui.parts import Note, Section, scrolled, wide_combo
from lesionlens.ui.pictures import Picture
from lesionlens.ui.places import Places
from lesionlens.ui.preferences import preferences
from lesionlens.ui.run_bar import RunBar
from lesionlens.ui.scan_form import ScanForm
from lesionlens.ui.target_form import TargetForm, fill_with_layers

if TYPE_CHECKING:
    import napari.viewer

    from lesionlens.ui.weighing import ImportanceOptions, Weighed

__all__ = ["ImportanceWidget"]

_FEATURES = {"regions": "the regions that are found", "labels": "the labels of a layer", "channels": "input channels"}
_BEFORE = "Choose what is taken away and press Measure: how far the model's answer falls without it appears here."
_HOW = {"ablate": "replaced", "permute": "shuffled"}
# What is taken away has its own colour however little the target falls: where nothing was, nothing is shown.
_STYLE = Style(DIVERGING, 0.01, 0.6, visible=True)


class ImportanceWidget(QWidget):
    """Takes parts of a scan away one by one, in the background, and shows how far the target falls.

    Parameters
    ----------
    viewer
        The viewer that the widget is docked in.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer = itself(viewer)
        self.weighed: Weighed | None = None
        self.scan = ScanForm(viewer)
        self.features = wide_combo("What is taken away, one after another")
        self.labels = wide_combo("A labels layer on the scan, such as anatomy: each of its numbers is taken away")
        self.how = wide_combo("Replaced by what is just around it (a channel by its mean), or its voxels shuffled")
        self.asking = TargetForm(single=True)
        self.target_section = Section("Target", self.asking)
        self.bar = RunBar("Measure")
        self.words = Note(_BEFORE)
        self._picture: Picture | None = None
        self._pictures = QVBoxLayout()
        self._rows = QFormLayout()
        self._arrange()
        self.places = Places(viewer, self.scan, self.asking, self._offer_labels)
        self._connect()
        annotate(viewer)
        self.scan.start()

    def run(self) -> None:
        """Measure, after asking where the bundle is not known to be safe."""
        layer, info = self.scan.volume_layer, self.scan.info
        if self.bar.job is not None or layer is None or info is None or not may_run(info, self):
            return
        try:
            options, scan = self._options(), scan_in(layer)
        except InputError as error:
            self.bar.refuse(str(error))
            return
        self._forget()
        title = f"LesionLens: importance for {info.name} on {layer.name}"
        self.bar.start(title, partial(work.weigh, options, scan), self.show_weighed)

    def cancel(self) -> None:
        """Stop what runs, at its next step."""
        self.bar.stop()

    def show_weighed(self, weighed: Weighed) -> None:
        """Show the falls as bars, and at their places over the scan."""
        self.weighed = weighed
        self.bar.say("")
        found = weighed.found
        most = max(found.falls, key=lambda fall: fall.fall)
        notes = "".join(f"<br>{escape(note)}" for note in found.provenance.notes)
        self.words.say(
            f"<b>{escape(found.provenance.target)}: {found.score:.4g}</b><br>It falls most without"
            f" {escape(most.name)}, by {most.fall:.3g}. A fall says that the model uses this part here, not that it is"
            f" right to.{notes}"
        )
        self._picture = Picture(weighed.bars)
        self._pictures.addWidget(self._picture)
        if found.heatmap is not None:
            array, options, kind = heatmap_layer(found.heatmap, weighed.scan, _STYLE)
            name = f"Importance: {found.label}"
            if name in self.viewer.layers:
                self.viewer.layers.remove(name)
            self.viewer.add_layer(Layer.create(array, {**options, "name": name}, kind))

    def _options(self) -> ImportanceOptions:
        layer, info, labels = self.scan.volume_layer, self.scan.info, self.labels.currentData()
        assert layer is not None
        assert info is not None
        features, asked, shown = self.features.currentData(), self.asking.choice(), current_of(self.viewer)
        return weighing.ImportanceOptions(
            bundle=bundle_name(info),
            features=anatomy_of(labels, scan_in(layer)) if features == "labels" else features,
            target=asked.target,
            score=asked.score,
            over=over_of(asked, layer),
            against=asked.against,
            gamma=asked.gamma,
            how=self.how.currentData(),
            threshold=shown.threshold,
            rules=DEFAULT_RULES if shown.result is None else shown.result.rules,
            budget_mib=preferences().budget_mib,
            allowed=is_trusted(info),
            channels=scans_in(self.scan.channel_layers),
            classes=self.scan.wanted_classes,
        )

    def _forget(self) -> None:
        self.weighed = None
        self.words.say("")
        picture, self._picture = self._picture, None
        if picture is not None:
            self._pictures.removeWidget(picture)
            picture.deleteLater()

    def _offer(self) -> None:
        info = self.scan.info
        if info is not None:
            self.asking.offer_classes(info)
        self._allow()

    def _offer_labels(self, layers: list[Layer]) -> None:
        fill_with_layers(self.labels, layers, "no labels layer lies on the scan")
        self._allow()

    def _allow(self, _index: int = 0) -> None:
        features, info = self.features.currentData(), self.scan.info
        self._rows.setRowVisible(self.labels, features == "labels")
        lacks = self.scan.problem
        if features == "labels" and self.labels.currentData() is None:
            lacks = "Open or paint labels on the scan first."
        elif features == "regions" and info is not None and info.task != "segmentation":
            lacks = "This bundle finds no regions: take the labels of a layer, or input channels."
        self.bar.allow(self.scan.volume_layer is not None and info is not None and not lacks, why_not=lacks)

    def _connect(self) -> None:
        self.bar.run_clicked.connect(self.run)
        self.scan.bundle_changed.connect(self._offer)
        self.scan.volume_changed.connect(self._allow)
        self.features.currentIndexChanged.connect(self._allow)
        self.labels.currentIndexChanged.connect(self._allow)

    def _arrange(self) -> None:
        for box, titles in ((self.features, _FEATURES), (self.how, _HOW)):
            for name, title in titles.items():
                box.addItem(title, name)
        rows, pictures = QWidget(), QWidget()
        rows.setLayout(self._rows)
        pictures.setLayout(self._pictures)
        for layout in (self._rows, self._pictures):
            layout.setContentsMargins(0, 0, 0, 0)
        for label, box in (
            ("Take away", self.features),
            ("Labels", self.labels),
            ("They are", self.how),
        ):
            self._rows.addRow(label, box)
        scrolled(self, self.scan, rows, self.target_section, self.bar, self.words, pictures)
