"""The options of a method as fields of a form: what they are called, what they may be, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QSpinBox, QWidget

from lesionlens.method_info import CHOICES, LEAST
from lesionlens.methods import MethodInfo, Value
from lesionlens.ui.preferences import preferences

__all__ = ["WORDS", "bound_by_channels", "option_field", "option_title", "option_value"]

#: Words that an option with a text may have, by method and option; numbers and lengths can be typed.
WORDS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("integrated_gradients", "baseline"): CHOICES["baseline"],
    ("occlusion", "fill"): CHOICES["fill"],
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
# What an empty text stands for.
_EMPTY = {"stride": "half of the size"}
_UNITS = {"mib": "MiB"}
_LARGEST = 1_000_000
_COUNTS_CHANNELS = frozenset({"channel", "rank", "component"})


def option_title(name: str) -> str:
    """Return an option's name as people read it, with its unit: ``Budget in MiB`` for ``budget_mib``."""
    words, _, last = name.rpartition("_")
    return f"{words.capitalize()} in {_UNITS[last]}" if last in _UNITS else name.replace("_", " ").capitalize()


def option_field(info: MethodInfo, name: str) -> QWidget:
    """Return a field for an option, by the type of its default."""
    found = _field(info, name)
    found.setToolTip(f"{_TIPS.get(name, option_title(name))}\nIn Python and on the command line: {name}")
    return found


def option_value(field: QWidget) -> Value:
    """Return what a field holds."""
    if isinstance(field, QCheckBox):
        return field.isChecked()
    if isinstance(field, QComboBox):
        return field.currentText().strip()
    assert isinstance(field, QSpinBox | QDoubleSpinBox)
    return field.value()


def bound_by_channels(name: str, field: QWidget, channels: int | None) -> None:
    """Let a field that counts channels go as far as there are any, and say how far; None where that is not known."""
    if name in _COUNTS_CHANNELS and isinstance(field, QSpinBox):
        least = LEAST.get(name, 0)
        most = _LARGEST if channels is None else channels - 1 + least
        field.setRange(least, most)
        field.setSuffix("" if channels is None else f"   ({least} to {most})")


def _field(info: MethodInfo, name: str) -> QWidget:
    default = preferences().budget_mib if name == "budget_mib" else info.options[name]
    if isinstance(default, bool):
        box = QCheckBox()
        box.setChecked(default)
        return box
    if isinstance(default, int | float):
        spin: Any = QSpinBox() if isinstance(default, int) else QDoubleSpinBox()
        spin.setRange(LEAST.get(name, 0), _LARGEST)
        spin.setValue(default)
        return spin  # type: ignore[no-any-return]  # both are widgets
    combo = QComboBox()
    combo.setEditable(True)
    combo.addItems(WORDS.get((info.name, name), (default,)))
    combo.setCurrentText(default)
    line = combo.lineEdit()
    assert line is not None  # it is editable
    line.setPlaceholderText(_EMPTY.get(name, ""))
    return combo
