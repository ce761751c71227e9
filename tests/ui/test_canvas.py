"""Letters at the edges of the canvas and the turning of the camera."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from napari.components.overlays import TextOverlay

from lesionlens.display import PLANES
from lesionlens.ui import convention
from lesionlens.ui.canvas import RESEARCH_USE_ONLY, annotate, camera_orientation, edge_letters, show_plane
from lesionlens.ui.canvas_lines import TEXT_POINTS, boxed
from lesionlens.volume import GeometryVerdict, Source, Volume
from orientations import oblique
from ui_cases import phantom, result_of
from ui_window import Window

# Unit vectors of the display axes (slice, row, column) in the world, and of the letters.
AXES = np.array([[0, 0, 1], [0, -1, 0], [-1, 0, 0]])
LETTERS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


@pytest.mark.parametrize("plane", list(PLANES.values()), ids=str)
def test_planes_turn_the_camera_as_the_display_rule_says(plane: Any) -> None:
    """There is one rule of display, and the camera follows it."""
    _, vertical, horizontal = camera_orientation(plane.order)
    letters = edge_letters(plane.order[1:], vertical, horizontal)

    assert camera_orientation(plane.order) == plane.orientation
    assert tuple(letters[side] for side in ("left", "right", "top", "bottom")) == plane.edges


@pytest.mark.parametrize("shown", [convention.RADIOLOGICAL, convention.NEUROLOGICAL])
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_no_order_of_the_axes_mirrors_the_patient(order: tuple[int, int, int], shown: convention.Convention) -> None:
    """Right, up and towards the viewer must form a right-handed frame, or a 3D rendering swaps left and right."""
    depth, vertical, horizontal = convention.turned(order, camera_orientation(order), shown)
    towards = AXES[order[0]] * (1 if depth == "towards" else -1)
    up = AXES[order[1]] * (1 if vertical == "up" else -1)
    right = AXES[order[2]] * (1 if horizontal == "right" else -1)

    np.testing.assert_array_equal(np.cross(right, up), towards)


@pytest.mark.parametrize("vertical", ["up", "down"])
@pytest.mark.parametrize("horizontal", ["left", "right"])
@pytest.mark.parametrize("displayed", list(permutations(range(3), 2)))
def test_letters_name_the_directions_of_the_edges(displayed: tuple[int, int], vertical: str, horizontal: str) -> None:
    """A wrong letter is worse than none: every order and every flip of the camera is right."""
    letters = edge_letters(displayed, vertical, horizontal)
    down = AXES[displayed[0]] * (1 if vertical == "down" else -1)
    right = AXES[displayed[1]] * (1 if horizontal == "right" else -1)

    for side, direction in (("bottom", down), ("top", -down), ("right", right), ("left", -right)):
        assert LETTERS[letters[side]] == tuple(direction)


def shown(window: Window) -> str:
    """Return the letters on the canvas: left, right, top, bottom."""
    overlays = [window.viewer.canvas.overlays[f"lesionlens_edge_{s}"] for s in ("left", "right", "top", "bottom")]
    return "".join(overlay.text.removesuffix("nf") for overlay in overlays if overlay.visible)  # I is spelt out: Inf


def test_letters_follow_the_view(window: Window) -> None:
    """They appear with a scan, follow every turn, and vanish in 3D, where edges have no direction."""
    assert shown(window) == ""

    window.viewer.add_image(np.zeros((3, 4, 5)))
    assert shown(window) == ""

    layer = window.open(phantom())
    assert shown(window) == "RLAP"

    show_plane(window.viewer, PLANES["coronal"])
    assert shown(window) == "RLSI"

    show_plane(window.viewer, PLANES["sagittal"])
    assert shown(window) == "APSI"

    window.viewer.scene.camera.orientation2d = ("down", "left")
    assert shown(window) == "PAIS"

    window.viewer.dims.ndisplay = 3
    assert shown(window) == ""

    window.viewer.dims.ndisplay = 2
    window.viewer.layers.remove(layer)
    assert shown(window) == ""


def pixels_of(window: Window, name: str) -> tuple[float, float]:
    """Return width and height of a text as napari lays it out."""
    visuals = window.viewer.window._qt_viewer.canvas._viewer_overlay_to_visual  # no public name
    (text,) = visuals[window.viewer.canvas.overlays[f"lesionlens_{name}"]]
    return text.x_size, text.y_size


@pytest.mark.parametrize("width", [300, 380, 560, 700, 830, 1100])
def test_no_text_lies_over_a_letter(window: Window, width: int) -> None:
    """A letter that cannot be read tells no side; what is long is wrapped, or begins below the letter."""
    volume = phantom()
    window.open(volume)
    window.widget.show_result(result_of(volume))
    window.viewer.canvas.size = (600, width)
    edge = 10  # napari's margin
    top, bottom, notice, legend = (
        pixels_of(window, name) for name in ("edge_top", "edge_bottom", "research_use_only", "legend")
    )
    lines = window.viewer.canvas.overlays["lesionlens_legend"].text.split("\n")

    assert RESEARCH_USE_ONLY in window.viewer.canvas.overlays["lesionlens_research_use_only"].text.replace("\n", " ")
    assert edge + notice[0] < width / 2 - bottom[0] / 2
    assert edge + legend[0] < width
    if edge + legend[0] > width / 2 - top[0] / 2:
        assert lines[:2] == ["", ""]
        assert 2 * legend[1] / len(lines) >= top[1]


def test_what_is_special_about_a_scan_is_written_on_the_canvas(window: Window) -> None:
    """An oblique or irregular scan looks like any other; a straight and regular one needs no words."""
    banner = window.viewer.canvas.overlays["lesionlens_research_use_only"]
    layer = window.open(phantom())
    assert " ".join(banner.text.split()) == RESEARCH_USE_ONLY
    assert banner.position == "bottom_left"  # napari's notifications come up on the right
    window.viewer.layers.remove(layer)

    verdict = GeometryVerdict(("gap between k=3 and k=4",), 2.5)
    tilted = Volume(
        np.zeros((5, 6, 7)), oblique((5, 6, 7), (1.0, 1.0, 5.0), 20), "tilted", source=Source(verdict=verdict)
    )
    window.open(tilted)

    text = " ".join(banner.text.split())  # lines are wrapped
    assert text.startswith(RESEARCH_USE_ONLY)
    assert "tilted: oblique by up to 2" in text
    assert "tilted: geometry irregular: gap between k=3 and k=4 (worst position error 2.5 mm)" in text


def test_the_surround_of_a_scan_is_dark_in_the_light_too(window: Window) -> None:
    """A white surround dazzles whoever looks for a faint lesion; without a scan the theme is the user's."""
    canvas, before = window.viewer.canvas, window.viewer.theme
    try:
        window.viewer.theme = "light"
        assert min(canvas.background_color[:3]) > 0.5

        layer = window.open(phantom())
        assert max(canvas.background_color[:3]) == 0

        window.viewer.layers.remove(layer)
        assert min(canvas.background_color[:3]) > 0.5
    finally:
        window.viewer.theme = before


@pytest.mark.xvfb
@pytest.mark.parametrize("lines", [4, 5, 9])
@pytest.mark.parametrize("corner", ["top_left", "bottom_left"])
def test_the_box_behind_a_text_reaches_all_of_it(visible_window: Window, corner: str, lines: int) -> None:
    """White words on a white brain cannot be read; seen on pixels, as napari measures a text and draws it apart."""
    viewer = visible_window.viewer
    text = boxed("\n".join(["Ag medical device"] * lines), upwards=corner.startswith("bottom"))
    viewer.canvas.background_color_override = "#404040"
    viewer.canvas.overlays["test"] = TextOverlay(
        text=text, position=corner, font_size=TEXT_POINTS, visible=True, color="white", box_color="black"
    )
    viewer.canvas.overlays["lesionlens_research_use_only"].visible = False
    try:
        drawn = visible_window.pixels
        (top, left), (bottom, right) = (ends(np.argwhere(drawn.min(axis=-1) > 128)) for ends in (corner_of, last_of))
        (y, x), (y_end, x_end) = (ends(np.argwhere(drawn.max(axis=-1) < 16)) for ends in (corner_of, last_of))
    finally:
        del viewer.canvas.overlays["test"]
        viewer.canvas.overlays["lesionlens_research_use_only"].visible = True
        viewer.canvas.background_color_override = None

    assert y < top
    assert bottom < y_end
    assert x < left
    assert right < x_end


def corner_of(places: Any) -> Any:
    """Return the first row and column of (n, 2) places."""
    return places.min(axis=0)


def last_of(places: Any) -> Any:
    """Return the last row and column of (n, 2) places."""
    return places.max(axis=0)


def test_annotating_twice_changes_nothing(window: Window) -> None:
    """A second dock must not write the notice twice."""
    before = set(window.viewer.canvas.overlays)

    annotate(window.viewer)

    assert set(window.viewer.canvas.overlays) == before
