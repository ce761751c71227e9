"""The part of a form that asks what is explained: class, number, place, and what it is set against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFormLayout, QWidget

from lesionlens.target import ScoreName
from lesionlens.ui.parts import CheckMenu, Note, wide_combo

if TYPE_CHECKING:
    from napari.layers import Layer

    from lesionlens.model.catalogue import BundleInfo

__all__ = ["Place", "TargetChoice", "TargetForm", "fill_with_layers"]

Place = Literal["predicted", "largest", "table", "mask", "voxel", "region"]

DEFAULT_TARGET = "default"
_SIMILAR = "similar"
_SCORES: dict[ScoreName | None, str] = {
    None: "default",
    "margin": "margin over the strongest other class",
    "logit": "logit of the class",
    "probability": "probability of the class",
}
_PLACES: dict[Place, str] = {
    "predicted": "where the class is predicted",
    "largest": "the largest region",
    "table": "the region chosen in the table",
    "mask": "a mask layer",
    "voxel": "the clicked voxel",
    "region": "the region at the clicked voxel",
}
_NO_CLICK = "Click on the scan: nothing has been clicked yet."


@dataclass(frozen=True)
class TargetChoice:
    """What was chosen.

    Parameters
    ----------
    target, score, against, gamma
        As in :class:`~lesionlens.pipeline.RunOptions`.
    place
        Over which voxels.
    mask_layer
        The mask, where the place is one.
    point
        World mm, RAS+, where the place was clicked.
    """

    target: str | None = None
    score: ScoreName | None = None
    place: Place = "predicted"
    mask_layer: Layer | None = None
    point: tuple[float, float, float] | None = None
    against: tuple[str, ...] = ()
    gamma: float = 1.0


class TargetForm(QWidget):
    """Asks what is explained of which class.

    Parameters
    ----------
    single
        Ask of one class, and not of a region in a table: for docks that have none.

    Attributes
    ----------
    changed : Signal()
        Something was chosen.
    """

    changed = Signal()

    def __init__(self, *, single: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._single = single
        self.target = wide_combo("The class whose evidence is shown; 'default' is the one found most")
        self.score = wide_combo("Which number of the class is explained")
        for name, title in _SCORES.items():
            self.score.addItem(title, name)
        self.over = wide_combo("Over which voxels its mean is taken")
        for place, title in _PLACES.items():
            if not (single and place == "table"):
                self.over.addItem(title, place)
        self.mask_layer = wide_combo("Labels layers that lie on the scan; everything above 0 counts")
        self.clicked = Note()
        self.against = CheckMenu("nothing", "Competing classes, whose mean is subtracted: what tells them apart")
        self.gamma = QDoubleSpinBox()
        self.gamma.setRange(0.0, 100.0)
        self.gamma.setSingleStep(0.1)
        self.gamma.setValue(1.0)
        self.gamma.setToolTip("Strength of the competing classes")
        self.point: tuple[float, float, float] | None = None
        self._form = QFormLayout(self)
        self._arrange()
        self.over.currentIndexChanged.connect(self._fit)
        self.target.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.against.changed.connect(self._fit)
        self._fit()

    @property
    def place(self) -> Place:
        """Over which voxels."""
        place: Place = self.over.currentData()
        return place

    @property
    def picks(self) -> bool:
        """Whether clicks on the scan count."""
        return self.isEnabled() and self.place in ("voxel", "region")

    def choice(self) -> TargetChoice:
        """Return what was chosen; what the form does not show does not count."""
        if not self.isEnabled():
            return TargetChoice()
        against = self.against.chosen
        return TargetChoice(
            target=None if self.target.currentIndex() <= 0 else self.target.currentText(),
            score=self.score.currentData(),
            place=self.place,
            mask_layer=self.mask_layer.currentData() if self.place == "mask" else None,
            point=self.point if self.picks else None,
            against=against,
            gamma=self.gamma.value() if against else 1.0,
        )

    def offer_classes(self, info: BundleInfo) -> None:
        """Offer the classes of a bundle, and the places that its task has."""
        self.target.clear()
        classes = [DEFAULT_TARGET, *info.foreground]
        every = len(info.foreground) > 1 and "all" not in classes and not self._single
        self.target.addItems([*classes, "all"] if every else classes)
        others = [name for name in info.outputs if name != _SIMILAR]
        self.against.offer((_SIMILAR, *others), ("the most similar classes", *others))
        self.over.setEnabled(info.task == "segmentation")
        if info.task != "segmentation":
            self.over.setCurrentIndex(0)

    def offer_masks(self, layers: Sequence[Layer]) -> None:
        """Offer these labels layers, keeping the choice where it still exists."""
        fill_with_layers(self.mask_layer, layers, "no labels layer lies on the scan")

    def show_point(self, ras: tuple[float, float, float] | None) -> None:
        """Take over where the scan was clicked, in world mm; None forgets it."""
        self.point = ras
        self._fit()

    def _fit(self) -> None:
        """Show the rows that what was chosen needs."""
        self._form.setRowVisible(self.mask_layer, self.place == "mask")
        place = ", ".join(f"{mm:.1f}" for mm in self.point or ())
        words = f"Clicked at {place} mm (right, front, head)." if place else ""
        self.clicked.say((words or _NO_CLICK) if self.place in ("voxel", "region") else "")
        self._form.setRowVisible(self.gamma, bool(self.against.chosen))
        self.changed.emit()

    def _arrange(self) -> None:
        self._form.setContentsMargins(0, 0, 0, 0)
        for label, field in (
            ("Target class", self.target),
            ("Score", self.score),
            ("Over", self.over),
            ("Mask", self.mask_layer),
        ):
            self._form.addRow(label, field)
        self._form.addRow(self.clicked)
        self._form.addRow("Against", self.against)
        self._form.addRow("Gamma", self.gamma)


def fill_with_layers(box: QComboBox, layers: Sequence[Layer], none: str, *, optional: bool = False) -> None:
    """Offer layers in a box, keeping the choice where it still exists; ``none`` where there are none or none is meant.

    The data of an entry is the layer, or None.
    """
    chosen = box.currentData()
    box.blockSignals(True)
    box.clear()
    if optional or not layers:
        box.addItem(none, None)
    for layer in layers:
        box.addItem(layer.name, layer)
    found = [i for i in range(box.count()) if chosen is not None and box.itemData(i) is chosen]
    box.setCurrentIndex(found[0] if found else 0)
    box.blockSignals(False)
