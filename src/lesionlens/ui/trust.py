"""The dock *Trust*: how far a map may be believed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QFormLayout, QWidget

from lesionlens.checks import CHECKS
from lesionlens.errors import InputError
from lesionlens.methods import METHODS
from lesionlens.ui import work
from lesionlens.ui.canvas import annotate
from lesionlens.ui.checking import Checked, TrustOptions
from lesionlens.ui.consent import is_trusted, may_run
from lesionlens.ui.current import current_of
from lesionlens.ui.docking import itself
from lesionlens.ui.facts import bundle_name
from lesionlens.ui.looking import Looker
from lesionlens.ui.masks import mask_of, scan_in, scans_in
from lesionlens.ui.method_form import MethodForm
from lesionlens.ui.options import over_of
from lesionlens.ui.parts import CheckMenu, Section, column_of, scrolled, wide_combo
from lesionlens.ui.places import Places
from lesionlens.ui.run_bar import RunBar
from lesionlens.ui.scan_form import ScanForm
from lesionlens.ui.target_form import TargetForm, fill_with_layers
from lesionlens.ui.trust_results import TrustResults

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

__all__ = ["TrustWidget"]


class TrustWidget(QWidget):
    """Checks in the background how far the map of a method may be believed, and shows what was found.

    Parameters
    ----------
    viewer
        The viewer that the widget is docked in.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer = itself(viewer)
        self.checked: Checked | None = None
        self.scan = ScanForm(viewer)
        self.mask_layer = wide_combo("A labels layer that a reader painted on the scan: does the map lie on it?")
        self.explaining = MethodForm(of_class=True)
        self.asking = TargetForm(single=True)
        self.checks = CheckMenu("all that can be made", "Make these checks alone")
        self.also = CheckMenu("none", "Other methods: do they say the same?")
        self.whole = QCheckBox("in all windows")
        self.whole.setToolTip(
            "Not only in the one with most of the class: exact, and as many times slower as there are"
        )
        self.bar = RunBar("Check")
        self.results = TrustResults()
        self.method_section = Section("Method and target", column_of(self.explaining, self.asking))
        self.checks_section = Section("Checks", self._rows("Only", "Also", "Look"))
        self.looker = Looker(self.scan, self)
        mask = self._rows("Mask")
        scrolled(self, self.scan, mask, self.method_section, self.checks_section, self.bar, self.results)
        self.places = Places(viewer, self.scan, self.asking, self._offer_masks)
        self._connect()
        annotate(viewer)
        self.checks.offer(tuple(CHECKS), [f"{name}: {question}" for name, question in CHECKS.items()])
        self.scan.start()

    def run(self) -> None:
        """Check the chosen map, after asking where the bundle is not known to be safe."""
        layer, info = self.scan.volume_layer, self.scan.info
        if self.bar.job is not None or layer is None or info is None or not may_run(info, self):
            return
        try:
            options = self._options()
        except InputError as error:
            self.bar.refuse(str(error))
            return
        self.results.clear()
        title = f"LesionLens: checking {info.name} on {layer.name}"
        self.bar.start(title, partial(work.check, options, layer), self.show_checked)

    def cancel(self) -> None:
        """Stop what runs, at its next step."""
        self.bar.stop()
        self.looker.stop()

    def show_checked(self, checked: Checked) -> None:
        """Show what the checks found."""
        self.checked = checked
        self.bar.say("")
        self.results.show_checked(checked)
        current_of(self.viewer).checked(checked.report)

    def _options(self) -> TrustOptions:
        layer, info = self.scan.volume_layer, self.scan.info
        how, asked = self.explaining.choice(), self.asking.choice()
        assert layer is not None
        assert info is not None
        mask = self.mask_layer.currentData()
        return TrustOptions(
            bundle=bundle_name(info),
            method=how.method,
            target=asked.target,
            score=asked.score,
            over=over_of(asked, layer),
            against=asked.against,
            gamma=asked.gamma,
            layer=how.layer,
            method_options=how.method_options,
            mask=None if mask is None else mask_of(mask, scan_in(layer)),
            also=self.also.chosen,
            checks=self.checks.chosen,
            whole=self.whole.isChecked(),
            allowed=is_trusted(info),
            channels=scans_in(self.scan.channel_layers),
            classes=self.scan.wanted_classes,
        )

    def _offer(self) -> None:
        info = self.scan.info
        if info is not None:
            self.explaining.follow(info.task)
            self.asking.offer_classes(info)
            self._look()

    def _look(self) -> None:
        if self.method_section.heading.isChecked():
            self.looker.look()
        else:
            self._tell()

    def _tell(self) -> None:
        self.explaining.show_facts(self.looker.facts, self.looker.message, looking=self.looker.busy)

    def _offer_masks(self, layers: list[Layer]) -> None:
        fill_with_layers(self.mask_layer, layers, "none", optional=True)
        self._allow()

    def _allow(self) -> None:
        info = self.explaining.info
        self.method_section.set_title(f"Method and target: {info.title}")
        others = [other for other in METHODS.values() if other.takes_target and other.name != info.name]
        self.also.offer([other.name for other in others], [other.title for other in others])
        ready = self.scan.volume_layer is not None and self.scan.info is not None
        problem = self.scan.problem or self.explaining.why_not
        self.bar.allow(ready and not problem, why_not=problem)

    def _connect(self) -> None:
        self.bar.run_clicked.connect(self.run)
        self.bar.ended.connect(self._look)  # a bundle from outside may be executed from now on
        self.scan.bundle_changed.connect(self._offer)
        self.scan.volume_changed.connect(self._allow)
        self.explaining.changed.connect(self._allow)
        self.looker.told.connect(self._tell)
        self.method_section.opened.connect(self.looker.look)

    def _rows(self, *labels: str) -> QWidget:
        fields = {
            "Mask": self.mask_layer,
            "Only": self.checks,
            "Also": self.also,
            "Look": self.whole,
        }
        found = QWidget()
        form = QFormLayout(found)
        form.setContentsMargins(0, 0, 0, 0)
        for label in labels:
            form.addRow(label, fields[label])
        return found
