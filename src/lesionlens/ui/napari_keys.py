"""Which keys mean something to napari, so that ours take none of them away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from napari import layers
from napari.components import ViewerModel
from napari.settings import get_settings
from napari.utils.shortcuts import default_shortcuts

from lesionlens.ui.keys import plain_key

if TYPE_CHECKING:
    from qtpy.QtGui import QAction
    from qtpy.QtWidgets import QMainWindow

__all__ = ["napari_keys"]

# How napari spells keys that Qt spells otherwise.
_SPELLING = {"Control": "Ctrl", "Escape": "Esc", "Enter": "Return", "Delete": "Del", "PageUp": "PgUp"}
_SPELLING["PageDown"] = "PgDown"
_OWNERS = (
    ViewerModel,
    layers.Image,
    layers.Labels,
    layers.Points,
    layers.Shapes,
    layers.Surface,
    layers.Tracks,
    layers.Vectors,
)


def napari_keys(window: QMainWindow | None = None) -> dict[str, str]:
    """Return the keys of napari and what they do: as it comes, as they are set now, and in the menus of a window.

    Parameters
    ----------
    window
        The window whose menus count as well.
    """
    found: dict[str, str] = {}
    for owner in _OWNERS:
        found |= {_as_qt(str(key)): f"a key of {owner.__name__}" for key in owner.class_keymap}
    for table in (default_shortcuts, get_settings().shortcuts.shortcuts):  # which say more than that
        for name, bindings in table.items():
            found |= {_as_qt(str(key)): _words(name) for key in bindings}
    if window is not None:
        for action in _actions(window.menuBar().actions()):
            found |= {plain_key(key.toString()): action.text().replace("&", "") for key in action.shortcuts()}
    return {key: what for key, what in found.items() if key}


def _actions(actions: Iterable[QAction]) -> Iterator[QAction]:
    """Yield actions and those of the menus that they open."""
    for action in actions:
        yield action
        menu: Any = action.menu()
        if menu is not None:
            yield from _actions(menu.actions())


def _words(name: str) -> str:
    return name.removeprefix("napari:").replace("_", " ")


def _as_qt(key: str) -> str:
    """Return a key of napari as Qt writes it; empty for one that Qt cannot hold, such as Shift alone."""
    parts = [_SPELLING.get(part, part) for part in key.split("+")] if not key.endswith("+") else [key]
    return plain_key("+".join(parts))
