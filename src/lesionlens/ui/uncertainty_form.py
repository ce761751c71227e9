"""The part of a form that asks for several predictions, and for calibrated ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QFormLayout, QHBoxLayout, QLineEdit, QPushButton, QSpinBox, QWidget

from lesionlens.methods import Sampling
from lesionlens.ui.facts import BundleFacts, bundle_name
from lesionlens.ui.parts import CheckMenu, Note, enable_item, wide_combo

if TYPE_CHECKING:
    from lesionlens.model.catalogue import BundleInfo

__all__ = ["UncertaintyChoice", "UncertaintyForm"]

_KINDS: dict[Sampling | None, tuple[str, str]] = {
    None: ("none", "The scan is predicted once."),
    "tta": ("flips (test-time augmentation)", "How far the answer depends on how the scan lies: 8 flips."),
    "dropout": ("Monte-Carlo dropout", "How far the answer depends on single units of the network: 20 samples."),
    "ensemble": ("ensemble of bundles", "How far bundles disagree that know the same classes."),
}
_MOST_SAMPLES = 1000


@dataclass(frozen=True)
class UncertaintyChoice:
    """What was chosen; the fields are those of :class:`~lesionlens.pipeline.RunOptions`."""

    uncertainty: Sampling | None = None
    samples: int | None = None
    seed: int = 0
    ensemble: tuple[str, ...] = ()
    calibration: Path | None = None


class UncertaintyForm(QWidget):
    """Asks whether a scan is predicted several times, and how."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.kind = wide_combo("Several predictions of one scan show where the answer is unsure")
        for kind, (title, tip) in _KINDS.items():
            self.kind.addItem(title, kind)
            self.kind.setItemData(self.kind.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.about = Note()
        self.samples = QSpinBox()
        self.samples.setRange(1, _MOST_SAMPLES)
        self.samples.setSpecialValueText("default")  # one prediction has no spread
        self.samples.setToolTip("How many predictions")
        self.seed = QSpinBox()
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setToolTip("Of noise and dropout: the same gives the same")
        self.ensemble = CheckMenu("none", "Further bundles that know the same classes")
        self.calibration = QLineEdit()
        self.calibration.setPlaceholderText("none")
        self.calibration.setToolTip("File that 'lesionlens calibrate' wrote for this bundle")
        self._reasons: dict[Sampling | None, str] = {}
        self._form = QFormLayout(self)
        self._arrange()
        self.kind.currentIndexChanged.connect(self._fit)
        self._fit()

    def choice(self) -> UncertaintyChoice:
        """Return what was chosen; what the form does not show does not count."""
        kind: Sampling | None = self.kind.currentData()
        drawn = kind in ("tta", "dropout")
        file = self.calibration.text().strip()
        return UncertaintyChoice(
            uncertainty=kind,
            samples=self.samples.value() if drawn and self.samples.value() > 1 else None,
            seed=self.seed.value() if drawn else 0,
            ensemble=self.ensemble.chosen if kind == "ensemble" else (),
            calibration=Path(file) if file else None,
        )

    @property
    def problem(self) -> str:
        """Why the chosen kind is not available; empty where it may be."""
        return self._reasons.get(self.kind.currentData(), "")

    def offer(self, info: BundleInfo, bundles: Sequence[BundleInfo], facts: BundleFacts | None) -> None:
        """Offer what a bundle allows.

        Parameters
        ----------
        info
            The bundle that was chosen.
        bundles
            All that are known; those with the same task and classes may join it.
        facts
            What its network allows; None where that is not known yet.
        """
        others = (b for b in bundles if b.root != info.root)
        fits = [b for b in others if (b.task, set(b.outputs)) == (info.task, set(info.outputs))]
        self.ensemble.offer([bundle_name(b) for b in fits], [f"{b.name} ({b.root.name})" for b in fits])
        alone = f"Not available: no other bundle in the list has the classes {', '.join(info.foreground)}."
        self._reasons = {"dropout": facts.no_dropout if facts else "", "ensemble": "" if fits else alone}
        for index, kind in enumerate(_KINDS):
            reason = self._reasons.get(kind, "")
            enable_item(self.kind, index, enabled=not reason)
            self.kind.setItemText(index, f"{_KINDS[kind][0]} — not available" if reason else _KINDS[kind][0])
            self.kind.setItemData(index, reason or _KINDS[kind][1], Qt.ItemDataRole.ToolTipRole)
        self._fit()

    def _fit(self) -> None:
        kind = self.kind.currentData()
        self.about.say(self.problem or _KINDS[kind][1])
        self._form.setRowVisible(self.samples, kind in ("tta", "dropout"))
        self._form.setRowVisible(self.seed, kind in ("tta", "dropout"))
        self._form.setRowVisible(self.ensemble, kind == "ensemble")

    def _arrange(self) -> None:
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.addRow("Uncertainty", self.kind)
        self._form.addRow(self.about)
        for label, field in (("Samples", self.samples), ("Seed", self.seed), ("Bundles", self.ensemble)):
            self._form.addRow(label, field)
        browse = QPushButton("Open…")
        browse.clicked.connect(self._browse)
        row = QHBoxLayout()
        row.addWidget(self.calibration, 1)
        row.addWidget(browse)
        self._form.addRow("Calibration", row)

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a calibration", "", "Calibration (*.json)")
        if path:
            self.calibration.setText(path)
