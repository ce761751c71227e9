"""The form that asks what to run on which volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from lesionlens.computing import EXACT, Computing
from lesionlens.rules import DEFAULT_RULES, RegionRules
from lesionlens.ui.computing_form import ComputingForm
from lesionlens.ui.facts import bundle_name
from lesionlens.ui.looking import Looker
from lesionlens.ui.method_form import MethodChoice, MethodForm
from lesionlens.ui.parts import Section, column_of
from lesionlens.ui.rules_form import RulesForm
from lesionlens.ui.run_bar import RunBar
from lesionlens.ui.scan_form import ScanForm
from lesionlens.ui.target_form import TargetChoice, TargetForm
from lesionlens.ui.uncertainty_form import UncertaintyChoice, UncertaintyForm

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

    from lesionlens.model.catalogue import BundleInfo

__all__ = ["Choices", "RunForm"]


@dataclass(frozen=True)
class Choices:
    """What was chosen in the form; None leaves it to the bundle.

    ``members`` are the further bundles of an ensemble, which are executed too.
    """

    volume_layer: Layer
    bundle: BundleInfo
    method: MethodChoice
    target: TargetChoice
    uncertainty: UncertaintyChoice
    members: tuple[BundleInfo, ...] = ()
    rules: RegionRules = DEFAULT_RULES
    anatomy_layer: Layer | None = None
    computing: Computing = EXACT
    channel_layers: tuple[tuple[str, Layer], ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def bundles(self) -> tuple[BundleInfo, ...]:
        """All bundles that are executed."""
        return (self.bundle, *self.members)


class RunForm(QWidget):
    """Asks for volume and bundle and, in parts that are closed at first, for everything else; shows progress.

    Parameters
    ----------
    viewer
        Whose layers are offered.

    Attributes
    ----------
    run_clicked : Signal()
        The user wants it to start.
    results_clicked : Signal()
        The user wants to see what an earlier run wrote.
    """

    run_clicked = Signal()
    results_clicked = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.scan = ScanForm(viewer)
        self.explaining = MethodForm()
        self.asking = TargetForm()
        self.sampling = UncertaintyForm()
        self.regions = RulesForm()
        self.computing = ComputingForm()
        self.results = QPushButton("Open results…")
        self.results.setToolTip("Show what an earlier run wrote about this volume")
        self.bar = RunBar("Run", self.results)
        self.method_section = Section("Method and target", column_of(self.explaining, self.asking))
        self.sampling_section = Section("Uncertainty and calibration", self.sampling)
        self.regions_section = Section("Regions", self.regions)
        self.computing_section = Section("Engine and memory", self.computing)
        self.looker = Looker(self.scan, self)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        sections = (self.method_section, self.sampling_section, self.regions_section, self.computing_section)
        for part in (self.scan, *sections, self.bar):
            column.addWidget(part)
        self._connect()

    def choices(self) -> Choices:
        """Return what is chosen; call it only while the button *Run* is enabled."""
        layer, info = self.scan.volume_layer, self.scan.info
        assert layer is not None
        assert info is not None
        sampled = self.sampling.choice()
        members = tuple(found for found in self.scan.bundles if bundle_name(found) in sampled.ensemble)
        chosen = self.explaining.choice(), self.asking.choice(), sampled, members
        regions = self.regions.rules, self.regions.anatomy.currentData()
        scan = self.scan.channel_layers, self.scan.wanted_classes
        return Choices(layer, info, *chosen, *regions, self.computing.computing, *scan)

    def _connect(self) -> None:
        self.bar.run_clicked.connect(self.run_clicked)
        self.bar.ended.connect(self._look)  # a bundle from outside may be executed from now on
        self.bar.ended.connect(self._allow)
        self.results.clicked.connect(self.results_clicked)
        self.scan.bundle_changed.connect(self._offer)
        self.scan.volume_changed.connect(self._allow)
        self.explaining.changed.connect(self._allow)
        self.asking.changed.connect(self._allow)
        self.sampling.kind.currentIndexChanged.connect(self._allow)
        self.regions.changed.connect(self._name_rules)
        self.computing.changed.connect(self._name_engine)
        self.looker.told.connect(self._tell)
        for section in (self.method_section, self.sampling_section):
            section.opened.connect(self.looker.look)

    def _name_rules(self) -> None:
        text = self.regions.rules.text
        self.regions_section.set_title(f"Regions: {text}" if text else "Regions")

    def _name_engine(self) -> None:
        self.computing_section.set_title(f"Engine and memory: {self.computing.computing.engine}")

    def _offer(self) -> None:
        info = self.scan.info
        if info is not None:
            self.asking.offer_classes(info)
            self.explaining.follow(info.task)
            self._look()

    def _look(self) -> None:
        """Look at the network once somebody has opened a part that depends on it: it takes seconds."""
        if self.method_section.heading.isChecked() or self.sampling_section.heading.isChecked():
            self.looker.look()
        else:
            self._tell()

    def _tell(self) -> None:
        info, facts = self.scan.info, self.looker.facts
        self.explaining.show_facts(facts, self.looker.message, looking=self.looker.busy)
        if info is not None:
            self.sampling.offer(info, self.scan.bundles, facts)

    def _allow(self) -> None:
        info, method = self.scan.info, self.explaining.info
        self.asking.setEnabled(method.takes_target)
        target = self.asking.target.currentText() if self.asking.target.currentIndex() > 0 else ""
        of_what = (f" of {target}" if target else "") if method.takes_target else ""
        self.method_section.set_title(f"Method and target: {method.title}{of_what}")
        ready = self.scan.volume_layer is not None
        problem = self.scan.problem or self.explaining.why_not or self.sampling.problem
        self.bar.allow(ready and info is not None and not problem, why_not=problem)
        self.results.setEnabled(ready and self.bar.job is None)
