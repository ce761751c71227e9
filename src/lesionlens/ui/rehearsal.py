"""The words of the canvas, drawn once unseen while the window is still empty.

What is written first takes long: letters are turned into textures one by one, and every text and the box behind it have
shaders of their own that are compiled when they are drawn. A scan that opens then would wait for them. An empty window
has the time.

napari makes every box anew whenever any layer is shown or hidden, compiles its shader again, and puts every word where
it is already, over and over. Here what is as it was stays.
"""

from __future__ import annotations

import string
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from qtpy.QtCore import QObject, QTimer
from vispy.visuals.transforms import STTransform

from lesionlens.errors import InputError
from lesionlens.ui.views.linkage import canvas_of

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["rehearse", "rehearse_soon", "steady"]

# What legends, notices and readouts are written with.
_LETTERS = string.ascii_letters + string.digits + " .,:;+-−–—±×°/²³()[]%=≥<>_…'"
_OURS = "lesionlens_"


def rehearse_soon(viewer: napari.viewer.Viewer, parent: QObject) -> None:
    """Draw the words once when the window has nothing else to do, unless it is hidden or shows something by then.

    Parameters
    ----------
    viewer
        Which is not kept alive.
    parent
        With whose end the intention ends.
    """
    itself = getattr(viewer, "__wrapped__", viewer)  # napari's menus hand over a proxy
    timer = QTimer(parent, singleShot=True, interval=0)
    timer.timeout.connect(partial(_prepare, weakref.ref(itself)))
    timer.start()


def rehearse(viewer: napari.viewer.Viewer) -> None:
    """Draw the words of a viewer's canvas, and its scale, into a picture that nobody sees."""
    named = viewer.canvas.overlays
    ours = [named[name] for name in named if name.startswith(_OURS)]
    texts = [overlay.text for overlay in ours]
    hidden = [overlay for overlay in (*ours, named.scale_bar) if not overlay.visible]
    try:
        for overlay in ours:
            overlay.text = _LETTERS
        for overlay in hidden:
            overlay.visible = True
        steady(viewer)
        viewer.screenshot(canvas_only=True, flash=False)
    finally:
        for overlay in hidden:
            overlay.visible = False
        for overlay, text in zip(ours, texts, strict=True):
            overlay.text = text


def steady(viewer: napari.viewer.Viewer) -> None:
    """Move the words of a viewer's canvas, and make the boxes behind them, only where something differs from now on."""
    # How napari draws is its own affair, and may change; it is slower then.
    with suppress(AttributeError, InputError):
        drawn = canvas_of(viewer).canvas._viewer_overlay_to_visual.values()
        for visual in (visual for visuals in drawn for visual in visuals if hasattr(visual, "box")):
            place, box = visual.node.transform, visual.box
            if type(place) is STTransform:
                visual.node.transform = box.transform = _Place(place.scale, place.translate)
            if not isinstance(box._update, partial):
                box._update = partial(_make_if_other, box, box._update, [_form(box)])


class _Place(STTransform):  # type: ignore[misc]  # vispy has no hints
    """A place on the canvas that tells of a change only where there is one."""

    @property
    def translate(self) -> NDArray[np.float64]:
        """Where it is, (x, y, z, w) in pixels."""
        found: NDArray[np.float64] = STTransform.translate.fget(self)
        return found

    @translate.setter
    def translate(self, wanted: ArrayLike) -> None:
        now = self.translate
        if not np.array_equal(now, np.asarray(wanted, now.dtype)):  # kept in single precision
            STTransform.translate.fset(self, wanted)


def _prepare(reference: weakref.ref[napari.viewer.Viewer]) -> None:
    viewer = reference()
    window = None if viewer is None else getattr(viewer.window, "_qt_window", None)  # none once it was closed
    if viewer is None or window is None or not window.isVisible():
        return
    if len(viewer.layers):
        steady(viewer)
    else:
        rehearse(viewer)


def _make_if_other(box: Any, make: Callable[[], None], made: list[tuple[bytes, ...]]) -> None:
    wanted = _form(box)
    if made != [wanted]:
        make()
        made[:] = [wanted]


def _form(box: Any) -> tuple[bytes, ...]:
    return box.pos.tobytes(), box.color.rgba.tobytes(), box.border_color.rgba.tobytes()
