"""What is always written on the canvas: patient directions, what is under the cursor, and what must be known."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.components.overlays import TextOverlay
from qtpy.QtCore import QTimer

from lesionlens.display import PLANES, Plane
from lesionlens.ui import convention
from lesionlens.ui.canvas_lines import (
    LETTER_POINTS,
    RESEARCH_USE_ONLY,
    TEXT_POINTS,
    TITLE_POINTS,
    boxed,
    legend_on,
    notices_on,
)
from lesionlens.ui.layers import is_loading, volume_of
from lesionlens.ui.pointing import Pointing
from lesionlens.ui.preferred_convention import prefer_convention
from lesionlens.ui.slab import slab_of
from lesionlens.ui.under_cursor import canvas_words

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["RESEARCH_USE_ONLY", "annotate", "camera_orientation", "edge_letters", "show_legend", "show_plane"]

Orientation = tuple[str, str, str]

_BANNER = "lesionlens_research_use_only"
_READOUT = "lesionlens_readout"
_DISPLAY = "lesionlens_display"
_LEGEND = "lesionlens_legend"
_EDGE = "lesionlens_edge_{}"
_POSITIONS = {"left": "middle_left", "right": "middle_right", "top": "top_center", "bottom": "bottom_center"}
# Patient directions at the low and the high end of the display axes (slice, row, column); see lesionlens.display.
_ENDS = (("I", "S"), ("A", "P"), ("R", "L"))
_EVEN_ORDERS = {(0, 1, 2), (1, 2, 0), (2, 0, 1)}
# In napari's font the letter I is a bar like many others on a screen; a word is none.
_SPELT_OUT = {"I": "Inf"}
# Around a scan it is dark in either theme: a white surround dazzles whoever looks for a faint lesion.
_SURROUND = "black"
# Nobody reads a legend while they drag, or compare by hiding and showing; longer than drawing takes in software.
_REST_MS = 400


def annotate(viewer: ViewerModel, *, brief: bool = False, bare: bool = False) -> None:
    """Write notice, patient directions and what is under the cursor on the canvas, and keep them right from now on.

    Directions, the convention, the thickness of slabs and a scale in mm appear as soon as a volume of LesionLens is
    shown. Whenever the axes are exchanged, the head or the front is turned up and the patient's right to the side of
    the convention. Calling it again changes nothing.

    Parameters
    ----------
    viewer
        Whose canvas.
    brief
        Leave to the main canvas what has to be known of the scans: a small one has no room for it.
    bare
        Leave notice, legend and cursor to what is around the canvas.
    """
    overlays = viewer.canvas.overlays
    if _BANNER in overlays:
        return
    prefer_convention()
    tells = not (brief or bare)
    # On the left: on the right are the scale and, on the main canvas, napari's notifications.
    overlays[_BANNER] = TextOverlay(
        text=notices_on(viewer, brief=True), position="bottom_left", font_size=TEXT_POINTS, visible=not bare
    )
    if tells:
        overlays[_LEGEND] = TextOverlay(position="top_left", font_size=TEXT_POINTS, visible=True)
    overlays[_READOUT] = TextOverlay(position="top_left", font_size=TEXT_POINTS)
    overlays[_DISPLAY] = TextOverlay(position="top_right", font_size=TITLE_POINTS)
    for side, position in _POSITIONS.items():
        overlays[_EDGE.format(side)] = TextOverlay(position=position, font_size=LETTER_POINTS)
    turning = (partial(step, brief=brief) for step in (_turn, _write, _warn))
    steps = (*turning, partial(_read_out, pointing=Pointing()))
    turn, write, warn, read_out = (partial(_with_viewer, weakref.ref(viewer), step) for step in steps)
    viewer.layers.events.connect(partial(_when_visible, write))
    if tells:
        tell = partial(_with_viewer, weakref.ref(viewer), _tell)
        viewer.layers.events.connect(partial(_when_told, tell, _at_rest(tell)))
        viewer.canvas.events.size.connect(tell)
    viewer.canvas.events.size.connect(warn)
    viewer.dims.events.order.connect(turn)
    viewer.layers.events.inserted.connect(turn)
    for changed in (viewer.dims.events.ndisplay, viewer.scene.camera.events.orientation, viewer.layers.events.removed):
        changed.connect(write)
    dims = viewer.dims.events
    describe = partial(_with_viewer, weakref.ref(viewer), _describe)
    for changed in (dims.point, dims.order, dims.ndisplay, dims.margin_left, dims.margin_right):
        changed.connect(describe)
    viewer.layers.events.connect(partial(_when_projected, describe))
    mouse = (viewer.cursor.events.position, viewer.events.mouse_over_canvas)
    for moved in () if bare else (*mouse, viewer.dims.events.order, viewer.layers.events.removed):
        moved.connect(read_out)
    convention.follow(viewer, partial(_turn, brief=brief))
    _turn(viewer, brief=brief)


def show_legend(viewer: ViewerModel, *, visible: bool) -> None:
    """Show or hide what the canvas says of its pictures; that they are for research stays."""
    viewer.canvas.overlays[_LEGEND].visible = visible


def show_plane(viewer: ViewerModel, plane: Plane) -> None:
    """Show one anatomical plane in 2D, the whole of it."""
    viewer.dims.ndisplay = 2
    viewer.dims.order = plane.order
    viewer.reset_view()


def camera_orientation(order: tuple[int, ...]) -> Orientation:
    """Return where (depth, vertical, horizontal) axes grow on a radiological screen for an order of the display axes.

    The head is up wherever the slices run vertically, and rows and columns run as stored. The depth keeps a 3D
    rendering from being mirrored: it depends on whether the order is an even permutation. For the anatomical planes
    this is :attr:`lesionlens.display.Plane.orientation`.
    """
    for plane in PLANES.values():
        if plane.order == order:
            return plane.orientation
    upwards = order[1] == 0
    depth = "towards" if (order in _EVEN_ORDERS) == upwards else "away"
    return depth, "up" if upwards else "down", "right"


def edge_letters(displayed: tuple[int, ...], vertical: str, horizontal: str) -> dict[str, str]:
    """Return the patient directions at the edges of the canvas.

    Parameters
    ----------
    displayed
        Display axes (vertical, horizontal) on the screen.
    vertical, horizontal
        Where they grow: ``"up"`` or ``"down"``, ``"left"`` or ``"right"``.
    """
    top, bottom = _ENDS[displayed[0]] if vertical == "down" else _ENDS[displayed[0]][::-1]
    left, right = _ENDS[displayed[1]] if horizontal == "right" else _ENDS[displayed[1]][::-1]
    return {"left": left, "right": right, "top": top, "bottom": bottom}


def _with_viewer(
    reference: weakref.ref[ViewerModel], step: Callable[[ViewerModel], None], _event: object = None
) -> None:
    """Call a step with the viewer while it exists; its events must not keep it alive."""
    viewer = reference()
    if viewer is not None:
        step(viewer)


def _when_visible(step: Callable[[object], None], event: Any) -> None:
    """Call a step when a layer was shown or hidden; napari tells of every change of a layer together."""
    if event.type == "visible":
        step(event)


def _when_projected(step: Callable[[object], None], event: Any) -> None:
    """Call a step when a layer's slices were made thick or thin."""
    if event.type == "projection_mode":
        step(event)


def _when_told(step: Callable[[object], None], later: Callable[[], None], event: Any) -> None:
    """Call a step when something changed that the legend tells; later where it may change again at once."""
    if event.type in ("contrast_limits", "visible"):
        later()
    elif event.type in ("inserted", "removed", "reordered", "name"):
        step(event)


def _at_rest(step: Callable[[], None]) -> Callable[[], None]:
    """Return what calls a step once nothing has asked for it for a while.

    For a text that changes napari draws the whole canvas a second time, as it places all texts while it draws.
    """
    timer = QTimer()
    timer.setSingleShot(True)
    timer.setInterval(_REST_MS)
    timer.timeout.connect(step)
    return timer.start


def _tell(viewer: ViewerModel) -> None:
    _say(viewer, _LEGEND, boxed(legend_on(viewer)))


def _warn(viewer: ViewerModel, *, brief: bool) -> None:
    _say(viewer, _BANNER, boxed(notices_on(viewer, brief=brief), upwards=True))


def _say(viewer: ViewerModel, name: str, text: str) -> None:
    if viewer.canvas.overlays[name].text != text:  # a new text is laid out again
        viewer.canvas.overlays[name].text = text


def _shows_volume(viewer: ViewerModel) -> bool:
    shown = (volume_of(layer) is not None or is_loading(layer) for layer in viewer.layers)
    return viewer.dims.ndim == 3 and any(shown)


def _read_out(viewer: ViewerModel, *, pointing: Pointing) -> None:
    pointing.look(viewer)
    overlay = viewer.canvas.overlays[_READOUT]
    overlay.text = boxed(canvas_words(viewer)) if pointing.at_place else ""
    overlay.visible = bool(overlay.text)


def _turn(viewer: ViewerModel, *, brief: bool) -> None:
    if _shows_volume(viewer):
        order = tuple(viewer.dims.order)
        radiological = camera_orientation(order)
        viewer.scene.camera.orientation = convention.turned(order, radiological, convention.convention())
    _write(viewer, brief=brief)


def _write(viewer: ViewerModel, *, brief: bool) -> None:
    _warn(viewer, brief=brief)
    shown = _shows_volume(viewer) and viewer.dims.ndisplay == 2
    vertical, horizontal = (str(direction) for direction in viewer.scene.camera.orientation2d)
    letters = edge_letters(tuple(viewer.dims.displayed), vertical, horizontal) if shown else {}
    for side in _POSITIONS:
        overlay = viewer.canvas.overlays[_EDGE.format(side)]
        letter = letters.get(side, "")
        overlay.text = _SPELT_OUT.get(letter, letter)
        overlay.visible = side in letters
    _describe(viewer)


def _describe(viewer: ViewerModel) -> None:
    """Say how the scan is shown: the convention, and how many slices are one picture."""
    overlay = viewer.canvas.overlays[_DISPLAY]
    shown = _shows_volume(viewer)
    slab = slab_of(viewer)
    lines = [convention.convention(), *([] if slab is None else [str(slab)])]
    overlay.text = "\n".join(lines) if shown else ""
    if shown != overlay.visible:  # only now: the user may hide the scale, and choose another surround
        viewer.canvas.overlays.scale_bar.visible = overlay.visible = shown
        viewer.canvas.background_color_override = _SURROUND if shown else None
