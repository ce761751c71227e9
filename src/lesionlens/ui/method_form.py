"""The part of a form that asks how something is explained: method, its options, and the layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFormLayout, QLineEdit, QWidget

from lesionlens.methods import METHODS, MethodInfo, Value, default_method
from lesionlens.ui.facts import BundleFacts
from lesionlens.ui.layer_list import LayerList
from lesionlens.ui.method_options import bound_by_channels, option_field, option_title, option_value
from lesionlens.ui.parts import Note, enable_item, wide_combo

__all__ = ["MethodChoice", "MethodForm"]

_FAMILIES = {
    "cam": "Class activation maps",
    "forward_cam": "Class activation maps from forward passes",
    "gradients": "Gradients",
    "occlusion": "Perturbation",
    "features": "Features of a layer",
    "attention": "Attention",
}


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
        self._default = ""
        self._looking = False
        self.method = wide_combo("How the model's decision is explained")
        self.about = Note()
        self.options: dict[str, QWidget] = {}
        self._options_form = QFormLayout()
        self._form = QFormLayout(self)
        self.layer = QLineEdit()
        self.layer.setPlaceholderText("default")
        self.layer.setToolTip("Dotted name of the network layer to explain; several joined by +")
        self.layers = LayerList()
        self.layer_note = Note()
        self._arrange()
        self.method.currentIndexChanged.connect(self._method_chosen)
        self.layer.textChanged.connect(self._check_layers)
        self.layers.names_changed.connect(lambda names: self.layer.setText("+".join(names)))
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

    @property
    def why_not(self) -> str:
        """Why nothing should be run with the chosen method now; empty where it may."""
        if self.problem:
            return f"{self.info.title} does not work with this bundle: choose another method."
        if self._looking and self.info.name != self._default:
            return f"Whether {self.info.title} works with this bundle is being found out…"
        return ""

    def choice(self) -> MethodChoice:
        """Return what was chosen; options that were left alone are left out."""
        layer = self.layer.text().strip() if self.info.takes_layer else ""
        found = {name: option_value(editor) for name, editor in self.options.items()}
        changed = {name: value for name, value in found.items() if value != self.info.options[name]}
        return MethodChoice(self.info.name if self._named else None, layer or None, changed)

    def follow(self, task: str) -> None:
        """Show the method that a run takes for bundles of a task, unless somebody chose one."""
        self._default = default_method(task)[0]
        if not self._named:
            self.choose(self._default)
            self._named = False

    def choose(self, name: str) -> None:
        """Choose a method."""
        self.method.setCurrentIndex(self.method.findData(name))

    def show_facts(self, facts: BundleFacts | None, message: str = "", *, looking: bool = False) -> None:
        """Offer the layers of a bundle, and disable the methods that cannot explain it; None forgets them.

        While it is still looked at, methods other than that of its task have to wait.
        """
        self._facts, self._looking = facts, looking
        if facts is not None:
            self.follow(facts.task)
        for index in range(self.method.count()):
            info = METHODS.get(self.method.itemData(index))
            if info is not None:
                reason = facts.refused.get(info.name, "") if facts else ""
                enable_item(self.method, index, enabled=not reason)
                self.method.setItemData(index, _tip(info, reason), Qt.ItemDataRole.ToolTipRole)
        self.layers.offer(facts.layers, facts.default, facts.reason) if facts else self.layers.clear()
        self._check_layers(self.layer.text())
        self.layer_note.say(message)
        self._describe()

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
        self.options = {name: option_field(self.info, name) for name in self.info.options}
        for name, editor in self.options.items():
            self._options_form.addRow(option_title(name), editor)
        self._describe()

    def _describe(self) -> None:
        info, problem = self.info, self.problem
        words = f"<b>Not with this bundle:</b> {problem}" if problem else f"{_sentence(info.summary)}"
        self.about.say(f"{words}<br><i>Cost:</i> {info.cost}.<br><i>Beware:</i> {info.caveat}.")
        self.method.setToolTip(_tip(info, problem))
        self._form.setRowVisible(self.layer, info.takes_layer)  # other methods look at the whole network
        self.layers.setVisible(info.takes_layer and self.layers.topLevelItemCount() > 0)
        self._bound_options()
        self.changed.emit()

    def _bound_options(self) -> None:
        """Let options that count channels end where those of the layer do, so that one can step through all of them."""
        wanted = self.layer.text().strip() or (self._facts.default if self._facts else "")
        layers = self._facts.layers if self._facts else ()
        channels = next((layer.channels for layer in layers if wanted in (layer.name, *layer.same)), None)
        for name, editor in self.options.items():
            bound_by_channels(name, editor, channels)

    def _check_layers(self, text: str) -> None:
        self.layers.check({name.strip() for name in text.split("+")})
        self._bound_options()

    def _arrange(self) -> None:
        form = self._form
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Method", self.method)
        form.addRow(self.about)
        self._options_form.setContentsMargins(0, 0, 0, 0)
        form.addRow(self._options_form)
        form.addRow("Layer", self.layer)
        form.addRow(self.layers)
        form.addRow(self.layer_note)


def _tip(info: MethodInfo, problem: str = "") -> str:
    start = f"Not with this bundle: {problem}\n\n" if problem else ""
    return f"{start}{info.title}: {info.summary}.\nCost: {info.cost}.\nBeware: {info.caveat}."


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."
