"""The words of the canvas, drawn once unseen while the window is still empty.

What is written first takes long: letters are turned into textures one by one, and every text and the box behind it have
shaders of their own that are compiled when they are drawn. A scan that opens then would wait for them. An empty window
has the time.
"""

from __future__ import annotations

import string
import weakref
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["rehearse", "rehearse_soon"]

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
    timer = QTimer(parent, singleShot=True, interval=0)
    timer.timeout.connect(partial(_prepare, weakref.ref(viewer)))
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
        viewer.screenshot(canvas_only=True, flash=False)
    finally:
        for overlay in hidden:
            overlay.visible = False
        for overlay, text in zip(ours, texts, strict=True):
            overlay.text = text


def _prepare(reference: weakref.ref[napari.viewer.Viewer]) -> None:
    viewer = reference()
    window = None if viewer is None else getattr(viewer.window, "_qt_window", None)  # none once it was closed
    if viewer is not None and window is not None and window.isVisible() and not viewer.layers:
        rehearse(viewer)
