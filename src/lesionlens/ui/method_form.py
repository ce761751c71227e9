"""The part of a form that asks how something is explained: method, its options, and the layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLineEdit,
    QSpinBox,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from lesionlens.methods import METHODS, MethodInfo, Value, default_method
from lesionlens.ui.facts import BundleFacts
from lesionlens.ui.parts import Note, enable_item, wide_combo
from lesionlens.ui.preferences import preferences

__all__ = ["WORDS", "MethodChoice", "MethodForm"]

_FAMILIES = {
    "cam": "Class activation maps",
    "forward_cam": "Class activation maps from forward passes",
    "gradients": "Gradients",
    "occlusion": "Perturbation",
    "features": "Features of a layer",
    "attention": "Attention",
}
#: Words that an option with a text may have, by method and option; numbers and lengths can be typed.
WORDS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("integrated_gradients", "baseline"): ("minimum", "mean", "blur", "zero"),
    ("occlusion", "fill"): ("surroundings", "blur", "minimum", "mean", "zero"),
    ("occlusion", "size"): ("32", "16", "20mm"),
    ("occlusion", "stride"): ("", "16", "10mm"),
    ("attention", "head"): ("mean", "0"),
    ("attention", "query"): ("auto", "class", "target", "all"),
    ("attention_rollout", "query"): ("auto", "class", "target", "all"),
}
_TIPS = {
    "budget_mib": "Memory for what is tried at a time, in MiB",
    "samples": "How many noisy copies of the image",
    "noise": "Standard deviation of the noise, as a part of that of the image",
    "seed": "The same gives the same noise",
    "steps": "How many images between baseline and scan",
    "baseline": "What the scan is compared with",
    "size": "Of the boxes, in voxels or mm: 32, 32x32x16, 20mm",
    "stride": "From box to box, as the size; half of it while empty",
    "fill": "What boxes are covered with",
    "softmax": "Weigh channels by a softmax of their scores, as the paper does",
    "channel": "Number of the channel, from 0",
    "rank": "1 is the strongest channel",
    "component": "1 is the first principal component",
    "block": "Number of the block from 0, or from -1 backwards",
    "head": "mean, or the number of a head from 0",
    "query": "Whose view it is: auto, class, target or all",
    "gate": "Number of the gate from 0, or from -1 backwards",
}
_LARGEST = 1_000_000
_LAYERS_HEIGHT = 130
# napari's themes colour the boxes of lists as their background.
_BOXES = """
QTreeView::indicator { width: 9px; height: 9px; border: 1px solid #8a8f99; border-radius: 2px; }
QTreeView::indicator:checked { background: #5a7bff; }
"""
_COLUMNS = ("Layer", "Channels", "Stride", "Cell in mm")


@dataclass(frozen=True)
class MethodChoice:
    """What was chosen; the fields are those of :class:`~lesionlens.pipeline.RunOptions`."""

    method: str | None
    layer: str | None = None
    method_options: Mapping[str, Value] = field(default_factory=dict)


class MethodForm(QWidget):
    """Asks for method, options and layer, and says what the method shows, costs, and cannot say.

    Parameters
    ----------
    of_class
        Offer only methods that explain a class.

    Attributes
    ----------
    changed : Signal()
        Another method was chosen, or it turned out whether it serves.
    """

    changed = Signal()

    def __init__(self, *, of_class: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._facts: BundleFacts | None = None
        self._named = False  # until somebody chooses, the method follows the task of the bundle
        self.method = wide_combo("How the model's decision is explained")
        self.about = Note()
        self.options: dict[str, QWidget] = {}
        self._options_form = QFormLayout()
        self.layer = QLineEdit()
        self.layer.setPlaceholderText("default")
        self.layer.setToolTip("Dotted name of the network layer to explain; several joined by +")
        self.layers = _layer_list()
        self.layer_note = Note()
        self._arrange()
        self.method.currentIndexChanged.connect(self._method_chosen)
        self.layer.textChanged.connect(self._check_layers)
        self.layers.itemChanged.connect(self._write_layers)
        self._offer(of_class=of_class)
        self.follow("segmentation")

    @property
    def info(self) -> MethodInfo:
        """The method that was chosen."""
        return METHODS[self.method.currentData()]

    @property
    def problem(self) -> str:
        """Why the chosen method cannot explain the bundle; empty where it may."""
        return self._facts.refused.get(self.info.name, "") if self._facts else ""

    def choice(self) -> MethodChoice:
        """Return what was chosen; options that were left alone are left out."""
        layer = self.layer.text().strip() if self.info.takes_layer else ""
        found = {name: _value(editor) for name, editor in self.options.items()}
        changed = {name: value for name, value in found.items() if value != self.info.options[name]}
        return MethodChoice(self.info.name if self._named else None, layer or None, changed)

    def follow(self, task: str) -> None:
        """Show the method that a run takes for bundles of a task, unless somebody chose one."""
        if not self._named:
            self.choose(default_method(task)[0])
            self._named = False

    def choose(self, name: str) -> None:
        """Choose a method."""
        self.method.setCurrentIndex(self.method.findData(name))

    def show_facts(self, facts: BundleFacts | None, message: str = "") -> None:
        """Offer the layers of a bundle, and disable the methods that cannot explain it; None forgets them."""
        self._facts = facts
        if facts is not None:
            self.follow(facts.task)
        for index in range(self.method.count()):
            info = METHODS.get(self.method.itemData(index))
            if info is not None:
                reason = facts.refused.get(info.name, "") if facts else ""
                enable_item(self.method, index, enabled=not reason)
                self.method.setItemData(index, _tip(info, reason), Qt.ItemDataRole.ToolTipRole)
        self._list_layers(facts)
        self.layer_note.say(message)
        self._describe()

    def _list_layers(self, facts: BundleFacts | None) -> None:
        self.layers.blockSignals(True)
        self.layers.clear()
        for layer in facts.layers if facts else ():
            stride, size = (_by(values) for values in (layer.stride, layer.size_mm or ()))
            item = QTreeWidgetItem([layer.name, str(layer.channels), stride, size])
            item.setToolTip(0, f"{layer.name}, {layer.kind}, {_by(layer.cells)} cells")
            item.setCheckState(0, Qt.CheckState.Unchecked)
            if facts and layer.name == facts.default:
                font = item.font(0)
                font.setBold(True)
                item.setFont(0, font)
                item.setToolTip(0, f"{layer.name}, the default: {facts.reason}")
            self.layers.addTopLevelItem(item)
        self.layers.blockSignals(False)
        self._check_layers(self.layer.text())

    def _offer(self, *, of_class: bool) -> None:
        family = ""
        for info in METHODS.values():
            if of_class and not info.takes_target:
                continue
            if info.family != family:
                family = info.family
                self.method.addItem(_FAMILIES.get(family, family.capitalize()))
                enable_item(self.method, self.method.count() - 1, enabled=False)
            self.method.addItem(info.title, info.name)
            self.method.setItemData(self.method.count() - 1, _tip(info), Qt.ItemDataRole.ToolTipRole)

    def _method_chosen(self, index: int) -> None:
        if self.method.itemData(index) is None:  # a heading, which only the keyboard reaches
            return
        self._named = True
        while self._options_form.rowCount():
            self._options_form.removeRow(0)
        self.options = {name: _editor(self.info, name) for name in self.info.options}
        for name, editor in self.options.items():
            editor.setToolTip(_TIPS.get(name, name))
            self._options_form.addRow(name, editor)
        self._describe()

    def _describe(self) -> None:
        info, problem = self.info, self.problem
        words = f"<b>Not with this bundle:</b> {problem}" if problem else f"{_sentence(info.summary)}"
        self.about.say(f"{words}<br><i>Cost:</i> {info.cost}.<br><i>Beware:</i> {info.caveat}.")
        self.method.setToolTip(_tip(info, problem))
        self.layer.setEnabled(info.takes_layer)
        self.layer.setPlaceholderText("default" if info.takes_layer else "the whole network")
        self.layers.setVisible(info.takes_layer and self.layers.topLevelItemCount() > 0)
        self.changed.emit()

    def _write_layers(self) -> None:
        items = (self.layers.topLevelItem(i) for i in range(self.layers.topLevelItemCount()))
        names = [item.text(0) for item in items if item is not None and item.checkState(0) == Qt.CheckState.Checked]
        self.layer.setText("+".join(names))

    def _check_layers(self, text: str) -> None:
        names = {name.strip() for name in text.split("+")}
        self.layers.blockSignals(True)
        for i in range(self.layers.topLevelItemCount()):
            item = self.layers.topLevelItem(i)
            if item is not None:
                checked = item.text(0) in names
                item.setCheckState(0, Qt.CheckState.Checked if checked else Qt.CheckState.Unchecked)
        self.layers.blockSignals(False)

    def _arrange(self) -> None:
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Method", self.method)
        form.addRow(self.about)
        self._options_form.setContentsMargins(0, 0, 0, 0)
        form.addRow(self._options_form)
        form.addRow("Layer", self.layer)
        form.addRow(self.layers)
        form.addRow(self.layer_note)


def _layer_list() -> QTreeWidget:
    found = QTreeWidget()
    found.setHeaderLabels(list(_COLUMNS))
    found.setRootIsDecorated(False)
    found.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # names differ in their ends
    found.setStyleSheet(_BOXES)
    found.setFixedHeight(_LAYERS_HEIGHT)
    found.setToolTip("Layers from the input to the output; the default is bold. A map points no finer than half a cell")
    header = found.header()
    header.setStretchLastSection(False)
    header.setSectionResizeMode(0, header.ResizeMode.Stretch)
    for column in range(1, len(_COLUMNS)):
        header.setSectionResizeMode(column, header.ResizeMode.ResizeToContents)
    return found


def _editor(info: MethodInfo, name: str) -> QWidget:
    """Return a field for an option, by the type of its default."""
    default = preferences().budget_mib if name == "budget_mib" else info.options[name]
    if isinstance(default, bool):
        box = QCheckBox()
        box.setChecked(default)
        return box
    if isinstance(default, int | float):
        spin: Any = QSpinBox() if isinstance(default, int) else QDoubleSpinBox()
        spin.setRange(-_LARGEST, _LARGEST)
        spin.setValue(default)
        return spin  # type: ignore[no-any-return]  # both are widgets
    combo = QComboBox()
    combo.setEditable(True)
    combo.addItems(WORDS.get((info.name, name), (default,)))
    combo.setCurrentText(default)
    return combo


def _value(editor: QWidget) -> Value:
    if isinstance(editor, QCheckBox):
        return editor.isChecked()
    if isinstance(editor, QComboBox):
        return editor.currentText().strip()
    assert isinstance(editor, QSpinBox | QDoubleSpinBox)
    return editor.value()


def _tip(info: MethodInfo, problem: str = "") -> str:
    start = f"Not with this bundle: {problem}\n\n" if problem else ""
    return f"{start}{info.title}: {info.summary}.\nCost: {info.cost}.\nBeware: {info.caveat}."


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _by(values: tuple[float, ...] | tuple[int, ...]) -> str:
    """Return values along the axes in short: one where all are the same."""
    if len(set(values)) == 1:
        return f"{values[0]:g}"
    return "×".join(f"{value:g}" for value in values) or "the scan's"
