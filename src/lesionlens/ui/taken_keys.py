"""Keys that mean something already: to napari, or to another dock of LesionLens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lesionlens.errors import InputError
from lesionlens.ui import viewing_keys
from lesionlens.ui.keys import KEYS
from lesionlens.ui.napari_keys import napari_keys
from lesionlens.ui.review import keys as review_keys

if TYPE_CHECKING:
    from qtpy.QtWidgets import QMainWindow

__all__ = ["taken_keys"]


def taken_keys(window: QMainWindow, *, by_others_than: Literal["window", "review"]) -> dict[str, str]:
    """Return what each key means that is not in a table of LesionLens: docks are open beside each other.

    Parameters
    ----------
    window
        Napari's.
    by_others_than
        The table whose keys are to be changed: those of the LesionLens dock, or those of the dock Review.
    """
    found = {key.replace("-", "+"): name.replace("_", " ") for name, key in viewing_keys.KEYS.items()}
    if by_others_than != "window":
        found |= {KEYS.keys[action.name]: action.title for action in KEYS.actions}
    if by_others_than != "review":
        found |= {key: review_keys.TITLES[name] for name, key in _review_keys().items()}
    return {key: what for key, what in found.items() if key} | napari_keys(window)


def _review_keys() -> dict[str, str]:
    try:
        return review_keys.load_keys()
    except InputError:  # the dock Review says so, and takes its own
        return dict(review_keys.KEYS)
