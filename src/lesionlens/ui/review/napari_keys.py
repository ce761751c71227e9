"""Which keys mean something to napari, so that ours take none of them away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from napari import layers
from napari.components import ViewerModel
from napari.settings import get_settings
from qtpy.QtGui import QAction, QKeySequence
from qtpy.QtWidgets import QMenu

if TYPE_CHECKING:
    from qtpy.QtWidgets import QMainWindow

__all__ = ["napari_keys"]

# How napari spells keys that Qt spells otherwise.
_SPELLING = {"Control": "Ctrl", "Escape": "Esc", "Enter": "Return", "Delete": "Del"}
_LAYERS = (layers.Image, layers.Labels, layers.Points, layers.Shapes, layers.Surface, layers.Tracks, layers.Vectors)


def napari_keys(window: QMainWindow | None = None) -> dict[str, str]:
    """Return the keys of napari as they are set now, in every kind of layer and in its menus, and what they do.

    Parameters
    ----------
    window
        The window whose menus count as well.
    """
    found: dict[str, str] = {}
    for owner in (ViewerModel, *_LAYERS):
        found |= {_qt(str(key)): f"a key of {owner.__name__}" for key in owner.class_keymap}
    for name, bindings in get_settings().shortcuts.shortcuts.items():  # which say more than that
        found |= {_qt(str(key)): _words(name) for key in bindings}
    if window is not None:
        for action in _actions(window.menuBar().actions()):
            keys = (sequence.toString(QKeySequence.SequenceFormat.PortableText) for sequence in action.shortcuts())
            found |= dict.fromkeys(keys, action.text().replace("&", ""))
    return {key: what for key, what in found.items() if key}


def _actions(actions: Iterable[QAction]) -> Iterator[QAction]:
    """Yield actions and those of the menus that they open."""
    for action in actions:
        yield action
        menu = action.menu()
        if isinstance(menu, QMenu):
            yield from _actions(menu.actions())


def _words(name: str) -> str:
    return name.removeprefix("napari:").replace("_", " ")


def _qt(key: str) -> str:
    """Return a key of napari as Qt writes it; empty for one that Qt cannot hold, such as Shift alone."""
    parts = [_SPELLING.get(part, part) for part in key.split("+")]
    return QKeySequence("+".join(parts)).toString(QKeySequence.SequenceFormat.PortableText)
