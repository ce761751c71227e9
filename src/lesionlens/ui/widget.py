"""The dock widget *LesionLens*: choose, run, look."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtWidgets import QFileDialog, QWidget

from lesionlens.errors import InputError
from lesionlens.pipeline import RunOptions
from lesionlens.styles import ATTRIBUTION, PROBABILITY
from lesionlens.ui import result_words, work
from lesionlens.ui.alive import while_alive
from lesionlens.ui.appearance import colours_for, default_styles
from lesionlens.ui.canvas import annotate, show_plane
from lesionlens.ui.class_probabilities import ClassProbabilities
from lesionlens.ui.consent import may_run
from lesionlens.ui.current import current_of
from lesionlens.ui.desk import Desk
from lesionlens.ui.diameters import Diameters
from lesionlens.ui.docking import itself
from lesionlens.ui.glance_form import GlanceForm
from lesionlens.ui.layers import THRESHOLD_KEY, is_foreign_image
from lesionlens.ui.measuring import Measurer
from lesionlens.ui.opening import open_path
from lesionlens.ui.options import Selected, run_options
from lesionlens.ui.overlay_controls import OverlayControls
from lesionlens.ui.overlays import Overlays
from lesionlens.ui.parts import Note, Section, line, scrolled
from lesionlens.ui.places import Places
from lesionlens.ui.region_table import NO_REGIONS, RegionTable
from lesionlens.ui.rehearsal import rehearse_soon
from lesionlens.ui.run_form import RunForm
from lesionlens.ui.spread_words import spread_words
from lesionlens.ui.viewing_keys import bind_keys
from lesionlens.ui.window_controls import WindowControls

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

    from lesionlens.regions import Region
    from lesionlens.results import CaseResult
    from lesionlens.ui.jobs import Job

__all__ = ["LesionLensWidget"]

# RunOptions holds every default; the input is filled in when something runs.
_DEFAULTS = RunOptions(input=Path())


class LesionLensWidget(QWidget):
    """Runs a bundle on a volume in the background and shows what comes of it.

    Parameters
    ----------
    viewer
        The viewer that the widget is docked in.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer = itself(viewer)
        self.current = current_of(viewer)
        self.result: CaseResult | None = None
        styles = default_styles(threshold=_DEFAULTS.threshold)
        self.overlays = Overlays(viewer, styles)
        self.measurer = Measurer(self)
        self.form = RunForm(viewer)
        self.places = Places(viewer, self.form.scan, self.form.asking, self._offer_anatomy)
        self.controls = OverlayControls(styles)
        self.window_controls = WindowControls(viewer)
        self.glances = GlanceForm(viewer, styles)
        self.looking_twice = Section("Flicker, legend, colour bars, styles", self.glances)
        self.table = RegionTable()
        self.classes = ClassProbabilities()
        self.spread = Note()
        self.diameters = Diameters(viewer, self)
        self.desk = Desk(self)
        self._arrange()
        self._connect()
        self.desk.prefer()
        annotate(viewer)
        rehearse_soon(viewer, self)
        bind_keys(viewer, self.glances)
        self.form.scan.start()

    @property
    def job(self) -> Job | None:
        """What runs."""
        return self.form.bar.job

    def run(self) -> None:
        """Run the chosen bundle on the chosen volume, after asking where it is not known to be safe."""
        if self.job is not None:
            return
        choices = self.form.choices()
        if not all(may_run(info, self) for info in choices.bundles):
            return
        try:
            options = run_options(choices, self._selected())
        except InputError as error:
            self.form.bar.refuse(str(error))
            return
        if is_foreign_image(choices.volume_layer):
            show_info(
                f"{choices.volume_layer.name} was not opened by LesionLens: its place in the patient is taken from"
                " the layer's scale and translate, and left and right from the screen."
            )
        self.form.bar.start(
            f"LesionLens: {choices.bundle.name} on {choices.volume_layer.name}",
            partial(work.run, options, choices.volume_layer, choices.channel_layers),
            self.show_result,
        )

    def open_scan(self, path: str) -> None:
        """Read a scan in the background; its layer is offered and chosen when it is there."""
        open_path(self.viewer, path)

    def open_results(self, folder: str) -> None:
        """Show what an earlier run wrote about the chosen volume."""
        if self.job is None and folder:
            layer = self.form.choices().volume_layer
            self.form.bar.start(
                "LesionLens: reading results", partial(work.read_results, Path(folder), layer), self.show_result
            )

    def cancel(self) -> None:
        """Stop what runs, at its next step."""
        self.form.bar.stop()

    def show_result(self, result: CaseResult) -> None:
        """Show the results of a case over its scan."""
        self.result = result
        self.measurer.drop()
        self.diameters.hide()
        shown = result_words.classes_of(result)
        self.controls.set_threshold(result.threshold_of(shown[0]) if shown else result.threshold)
        self.form.regions.show_rules(result.rules)
        self.form.bar.say(" ".join([f"Results of {result.bundle}.", *result_words.unseen_classes(result)]))
        labels = result_words.classes_of(result)
        self.overlays.show(result, labels[0] if labels else "")
        for heatmap in result.attributions:
            self.controls.kinds[ATTRIBUTION].propose_colours(colours_for(heatmap))
        self.controls.offer(labels, self.overlays.kinds)
        if not result.probabilities:
            self.controls.show_kind(ATTRIBUTION)
        self.classes.show_probabilities(result.class_probabilities)
        self._show_regions()
        for warning in result.warnings:
            show_warning(warning)

    def close_case(self) -> None:
        """Let go of the results: their scan was closed, and a case may take gigabytes."""
        self.result = None
        self.measurer.drop()
        self.overlays.forget()
        self.controls.offer([], set())
        self.classes.show_probabilities({})
        self.table.clear(NO_REGIONS)
        self.form.bar.say("")
        self.spread.say("")
        self.current.forget()

    def _selected(self) -> Selected:
        return Selected(self.result, self.overlays.shown_class, self.overlays.selected_region, self.controls.threshold)

    def _restyle(self, kind: Any, changes: dict[str, Any]) -> None:
        self.overlays.restyle(kind, **changes)
        if kind == PROBABILITY and "threshold" in changes:
            self._show_regions()

    @while_alive
    def _allow(self, _event: Any = None) -> None:
        self.controls.allow(self.overlays.kinds)

    def _offer_anatomy(self, layers: list[Layer]) -> None:
        self.form.regions.offer([layer for layer in layers if THRESHOLD_KEY not in layer.metadata])

    def _show_class(self, label: str) -> None:
        self.overlays.show_class(label)
        if self.result is not None and self.result.thresholds:
            self.controls.set_threshold(self.result.threshold_of(label))
        self.controls.allow(self.overlays.kinds)
        self._show_regions()

    def _show_regions(self) -> None:
        """Show the regions of the shown class; where they belong to another threshold, measure first."""
        result, label = self.result, self.overlays.shown_class
        threshold = result_words.regions_threshold(result, label, self.controls.threshold)
        self.current.show(result, label, threshold)
        if result is None:
            return
        self.spread.say(spread_words(result, label))
        if label not in result.regions:
            self.table.clear(result_words.without_regions(result, threshold))
        elif (result.threshold_of(label), result.rules) == (threshold, self.form.regions.rules):
            self.measurer.drop()
            words = (result_words.rules_words(result, label), result_words.quantity_of(result))
            spreads = result.volume_spreads.get(label, ())
            self.table.show_regions(label, result.regions[label], threshold, spreads, *words)
        else:
            self.table.show_measuring(threshold, quantity=result_words.quantity_of(result))
            self.measurer.request(result, threshold, self.form.regions.rules)

    def _measured(self, result: CaseResult) -> None:
        self.result = result
        self.overlays.replace_regions(result)
        self.diameters.hide()
        self._show_regions()

    def _go_to(self, region: Region) -> None:
        if self.result is not None:
            self.overlays.select_region(region.label)
            self.diameters.show(region, self.result.volume)

    def _browse_results(self) -> None:
        self.open_results(QFileDialog.getExistingDirectory(self, "Open the folder that a run wrote"))

    def _connect(self) -> None:
        self.form.run_clicked.connect(self.run)
        self.form.results_clicked.connect(self._browse_results)
        self.destroyed.connect(self.overlays.looks.stop)
        self.controls.restyled.connect(self._restyle)
        self.form.regions.changed.connect(self._show_regions)
        self.looking_twice.opened.connect(self.glances.read)
        self.glances.style_chosen.connect(self.controls.take)
        self.glances.bars_toggled.connect(lambda value: self.overlays.looks.show_bars(visible=value))
        for changed in (self.viewer.layers.events.inserted, self.viewer.layers.events.removed):
            changed.connect(self._allow)
        self.controls.class_chosen.connect(self._show_class)
        self.controls.plane_chosen.connect(lambda plane: show_plane(self.viewer, plane))
        self.current.threshold_wanted.connect(self.controls.set_threshold)
        self.destroyed.connect(self.current.forget)
        self.controls.keep.clicked.connect(self.overlays.keep)
        self.table.region_chosen.connect(self._go_to)
        self.measurer.measured.connect(self._measured)
        self.measurer.failed.connect(self.table.clear)
        self.measurer.failed.connect(show_error)

    def _arrange(self) -> None:
        shown = (self.window_controls, self.controls, self.looking_twice, self.desk.keys)
        found = (self.classes, self.spread, self.diameters.box, self.table)
        scrolled(self, self.desk.hint, self.form, line(), *shown, line(), *found, stretched=True)
