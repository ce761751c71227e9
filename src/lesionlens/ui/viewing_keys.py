"""Keys for looking: windows, hiding overlays, flicker. None of them means anything to napari."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive

from lesionlens.ui.windows import step_window

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from lesionlens.ui.glance_form import GlanceForm

__all__ = ["KEYS", "bind_keys"]

#: The key of every action, as napari writes keys; whoever lets users change them hands others to :func:`bind_keys`.
KEYS: Mapping[str, str] = MappingProxyType(
    {
        "next_window": "W",
        "previous_window": "Shift-W",
        "hide_overlays": "H",
        "flicker": "J",
    }
)


def bind_keys(viewer: ViewerModel, form: GlanceForm, *, keys: Mapping[str, str] = KEYS) -> None:
    """Bind the keys in a viewer; binding them again puts the new ones in the place of the old.

    Parameters
    ----------
    viewer
        In whose canvas they count.
    form
        What flickers and hides; when it is gone, its keys do nothing.
    keys
        As :data:`KEYS`.
    """
    actions = _actions(weakref.ref(form))
    for name, key in keys.items():
        viewer.bind_key(key, actions[name], overwrite=True)


def _actions(reference: weakref.ref[GlanceForm]) -> dict[str, Callable[..., Any]]:
    def alive() -> GlanceForm | None:
        form = reference()
        return form if form is not None and isalive(form) else None  # type: ignore[no-untyped-call]  # qtpy has no hints

    def next_window(viewer: ViewerModel) -> None:
        step_window(viewer, 1)

    def previous_window(viewer: ViewerModel) -> None:
        step_window(viewer, -1)

    def hide_overlays(_viewer: ViewerModel) -> Iterator[None]:
        """Hide while the key is held."""
        form = alive()
        if form is not None:
            form.curtain.draw()
        yield
        if form is not None:
            form.curtain.open()

    def flicker(_viewer: ViewerModel) -> None:
        form = alive()
        if form is not None:
            form.toggle_flicker()

    return {function.__name__: function for function in (next_window, previous_window, hide_overlays, flicker)}
