"""What is really drawn: sides, proportions, and pixels below the threshold. Needs an X display (Xvfb serves)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from lesionlens.display import PLANES, DisplayView
from lesionlens.ui.canvas import show_plane
from lesionlens.ui.navigation import go_to
from lesionlens.volume import Volume
from lesionlens.windowing import CT_WINDOWS
from orientations import COVERING, reoriented
from ui_cases import BLOB, SPACING_MM, attribution_of, phantom, result_of
from ui_window import Window

pytestmark = pytest.mark.xvfb

# The middle of the large blob, which lies to the patient's right, front and head.
CENTRE = tuple((s.start + s.stop - 1) / 2 for s in BLOB)
SIZE_MM = tuple((s.stop - s.start) * mm for s, mm in zip(BLOB, SPACING_MM, strict=True))
# Rounding of a pixel at each end.
PIXEL = 1.5


def bright_green(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """Say where the bright blobs are drawn; letters and window frame are white or grey."""
    return (pixels[..., 1] > 200) & (pixels[..., 0] < 50)


def extent(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Return centre row, centre column, height and width of what is drawn, in pixels."""
    rows, columns = np.nonzero(mask)
    return (
        (rows.min() + rows.max()) / 2,
        (columns.min() + columns.max()) / 2,
        rows.max() - rows.min() + 1.0,
        columns.max() - columns.min() + 1.0,
    )


def draw(window: Window, volume: Volume, plane: str, voxel: tuple[float, ...]) -> NDArray[Any]:
    """Return the picture of the slice of a voxel, with the whole scan in view."""
    window.viewer.layers.clear()
    layer: Any = window.open(volume)
    layer.colormap = "green"
    go_to(window.viewer, volume, voxel)
    show_plane(window.viewer, PLANES[plane])
    return window.pixels


def canvas_position(window: Window, pixels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return for each pixel its position in mm along the vertical and the horizontal display axis (axial)."""
    rows, columns = np.indices(pixels.shape[:2])
    zoom = window.viewer.scene.camera.zoom
    vertical, horizontal = window.viewer.scene.camera.center[-2:]
    height, width = pixels.shape[:2]
    return vertical + (rows + 0.5 - height / 2) / zoom, horizontal + (columns + 0.5 - width / 2) / zoom


# Screen directions of patient right, front and head in each plane, as (rows, columns); the third is across the screen.
SIDES = {
    "axial": {"horizontal": (0, "left"), "vertical": (1, "top")},
    "coronal": {"horizontal": (0, "left"), "vertical": (2, "top")},
    "sagittal": {"horizontal": (1, "left"), "vertical": (2, "top")},
}


@pytest.mark.parametrize("plane", list(PLANES))
def test_right_front_and_head_are_where_a_radiologist_expects_them(visible_window: Window, plane: str) -> None:
    """The blob to the patient's right, front and head is drawn at the left and top, however the scan is stored."""
    # Every order of the axes once between the three planes: of all 48 the layer tests show that the array is the same.
    first = 4 * list(PLANES).index(plane)
    for orientation in COVERING[first], COVERING[first + 3]:
        original = phantom()
        array, grid = reoriented(original.array, original.grid, orientation)
        voxel = grid.voxel(original.grid.world(CENTRE))

        pixels = draw(visible_window, Volume(array, grid), plane, tuple(voxel))

        mask = bright_green(pixels)
        row, column, _, _ = extent(mask)
        assert row < pixels.shape[0] / 2, orientation
        assert column < pixels.shape[1] / 2, orientation


@pytest.mark.parametrize("plane", list(PLANES))
def test_proportions_are_those_of_the_patient(visible_window: Window, plane: str) -> None:
    """With 2 x 1 x 5 mm voxels a picture of voxels would be stretched up to five times."""
    pixels = draw(visible_window, phantom(), plane, CENTRE)
    across, down = SIDES[plane]["horizontal"][0], SIDES[plane]["vertical"][0]
    zoom = visible_window.viewer.scene.camera.zoom

    _, _, height, width = extent(bright_green(pixels))

    assert width == pytest.approx(SIZE_MM[int(across)] * zoom, abs=PIXEL)
    assert height == pytest.approx(SIZE_MM[int(down)] * zoom, abs=PIXEL)


def test_pixels_below_the_threshold_are_exactly_those_of_the_scan(visible_window: Window) -> None:
    """Transparent below the threshold means not one grey level of difference, and none shown too little."""
    window, volume = visible_window, phantom()
    ramp = np.linspace(0, 1, volume.grid.shape[1], dtype=np.float32)
    array = np.broadcast_to(ramp[np.newaxis, :, np.newaxis], volume.grid.shape).copy()
    array[:, 40, :] = 0.6  # exactly a threshold: shown
    array[:, 41, :] = np.nextafter(np.float32(0.6), np.float32(0))  # the last value below: hidden
    window.open(volume)
    show_plane(window.viewer, PLANES["axial"])
    go_to(window.viewer, volume, CENTRE)
    plain = window.pixels
    window.widget.show_result(result_of(volume, {"lesion": array}))
    probability_only(window)
    view = DisplayView(volume.grid)

    for threshold in (0.5, 0.6, 0.61, 0.3):
        window.widget.controls.set_threshold(threshold)
        pixels = window.pixels

        shown = value_of_pixels(window, view.to_display(array), view, pixels)
        inside = ~np.isnan(shown)
        same = (pixels == plain).all(axis=-1)
        assert inside.sum() > 10_000
        assert same[inside & (shown < np.float32(threshold))].all()
        assert not same[inside & (shown >= np.float32(threshold))].any()


def test_signed_colours_leave_what_says_little_alone(visible_window: Window) -> None:
    """Also with the map for signed values the scan shows through unchanged where the magnitude is small."""
    window, volume = visible_window, phantom()
    array = np.full(volume.grid.shape, 0.5, dtype=np.float32)  # attribution 0
    array[BLOB] = 0.9
    window.open(volume)
    show_plane(window.viewer, PLANES["axial"])
    go_to(window.viewer, volume, CENTRE)
    plain = window.pixels
    window.widget.show_result(result_of(volume, {"lesion": array}))
    controls = window.widget.controls.kinds
    controls["probability"].visible.setChecked(False)
    controls["attribution"].visible.setChecked(True)
    controls["attribution"].colours.setCurrentText("blue-orange")
    pixels = window.pixels

    view = DisplayView(volume.grid)
    values = value_of_pixels(window, view.to_display(array - 0.5), view, pixels)
    same = (pixels == plain).all(axis=-1)

    assert same[values == 0].all()
    assert not same[values > 0.3].any()


def test_an_overlay_lies_on_its_lesion(visible_window: Window) -> None:
    """The coloured pixels are those of the blob, to the pixel."""
    window, volume = visible_window, phantom()
    plain = draw(window, volume, "axial", CENTRE)
    window.widget.show_result(result_of(volume))
    probability_only(window)

    changed = (window.pixels != plain).any(axis=-1)

    # Green at all: on so small a canvas the box of the readout darkens a corner of the blob.
    np.testing.assert_array_equal(changed, plain[..., 1].astype(int) - plain[..., 0] > 20)


@pytest.mark.parametrize("name", ["brain", "lung", "bone"])
def test_a_window_gives_the_grey_that_its_numbers_say(visible_window: Window, name: str) -> None:
    """Black below, white above, and in proportion between: (value - low) / (high - low), from 0 to 255."""
    window = visible_window
    ramp = np.linspace(-1500, 1500, 80, dtype=np.float32)
    array = np.broadcast_to(ramp[np.newaxis, :, np.newaxis], (40, 80, 12)).copy()
    volume = Volume(array, phantom().grid, "ct", "HU")
    layer: Any = window.open(volume)
    show_plane(window.viewer, PLANES["axial"])
    go_to(window.viewer, volume, CENTRE)
    (wanted,) = [one for one in CT_WINDOWS if one.name == name]
    box = window.widget.window_controls.windows

    box.setCurrentIndex(box.findText(name))
    box.activated.emit(box.currentIndex())
    pixels = window.pixels

    view = DisplayView(volume.grid)
    values = value_of_pixels(window, view.to_display(array), view, pixels)
    inside = ~np.isnan(values)
    low, high = wanted.limits
    expected = 255 * np.clip((values[inside] - low) / (high - low), 0, 1)
    assert tuple(layer.contrast_limits) == wanted.limits
    assert inside.sum() > 10_000
    assert len(np.unique(expected)) > 2
    # A colour table of 256 steps, and rounding to whole numbers.
    np.testing.assert_allclose(pixels[inside], np.repeat(expected[:, np.newaxis], 3, axis=1), atol=1.6)


def test_a_line_is_drawn_on_the_outermost_voxels_alone(visible_window: Window) -> None:
    """Inside and beside it not one grey level of the scan is changed, whatever the proportions of the voxels."""
    window, volume = visible_window, phantom()
    array = np.full(volume.grid.shape, 0.1, dtype=np.float32)
    array[8:32, 20:60] = 0.8
    array[12:16, 30:40] = 0.2  # a hole has an edge as well
    window.open(volume)
    show_plane(window.viewer, PLANES["axial"])
    go_to(window.viewer, volume, CENTRE)
    plain = window.pixels
    window.widget.show_result(result_of(volume, {"lesion": array}))
    probability_only(window)

    window.widget.controls.kinds["probability"].contour.setChecked(True)
    pixels = window.pixels

    view = DisplayView(volume.grid)
    mask = view.to_display(array >= 0.5)
    cross = ndimage.generate_binary_structure(2, 1)
    line = np.stack([part & ~ndimage.binary_erosion(part, cross) for part in mask]).astype(np.float32)
    values = value_of_pixels(window, line, view, pixels)
    changed = (pixels != plain).any(axis=-1)
    inside = ~np.isnan(values)
    np.testing.assert_array_equal(changed[inside], values[inside] == 1)
    assert changed[inside].sum() > 1000


def test_equal_values_are_drawn_alike_in_two_classes(visible_window: Window) -> None:
    """The weaker class is not stretched to the brightest colour: where both have a value, both have its colour."""
    window, volume = visible_window, phantom()
    arrays = {"weak": np.zeros(volume.grid.shape, np.float32), "strong": np.zeros(volume.grid.shape, np.float32)}
    arrays["weak"][8:32, 20:60] = 2.0
    arrays["strong"][8:32, 20:40], arrays["strong"][8:32, 40:60] = 2.0, 8.0
    result = result_of(volume, {label: np.zeros(volume.grid.shape, np.float32) for label in arrays})
    cams = tuple(attribution_of(volume, array, label) for label, array in arrays.items())
    window.open(volume)
    show_plane(window.viewer, PLANES["axial"])
    go_to(window.viewer, volume, CENTRE)
    window.widget.show_result(replace(result, attributions=cams))
    kinds = window.widget.controls.kinds
    for kind, controls in kinds.items():
        controls.visible.setChecked(kind == "attribution")
    kinds["attribution"].threshold.setValue(0.1)
    view = DisplayView(volume.grid)
    pictures = {}
    for label in arrays:
        window.widget.controls.classes.setCurrentText(label)
        pictures[label] = window.pixels

    values = value_of_pixels(window, view.to_display(arrays["strong"]), view, pictures["weak"])
    same = (pictures["weak"] == pictures["strong"]).all(axis=-1)
    assert (values == 2).sum() > 1000
    assert same[values == 2].all()
    assert not same[values == 8].any()


def test_the_notice_is_drawn(visible_window: Window) -> None:
    """A model of an overlay is not yet a line of text on the screen."""
    with_notice = visible_window.pixels
    overlay = visible_window.viewer.canvas.overlays["lesionlens_research_use_only"]
    overlay.visible = False
    without = visible_window.pixels
    overlay.visible = True

    assert (with_notice != without).any(axis=-1).sum() > 500


def probability_only(window: Window) -> None:
    """Switch everything but the probability off."""
    for kind, controls in window.widget.controls.kinds.items():
        controls.visible.setChecked(kind == "probability")


def value_of_pixels(
    window: Window, display: NDArray[Any], view: DisplayView, pixels: NDArray[Any]
) -> NDArray[np.float32]:
    """Return the value of the voxel that each pixel shows; NaN outside, under letters and next to voxel edges."""
    vertical, horizontal = canvas_position(window, pixels)
    row = (vertical - view.translate[1]) / view.scale[1]
    column = (horizontal - view.translate[2]) / view.scale[2]
    row_index, column_index = np.rint(row).astype(int), np.rint(column).astype(int)
    inside = (row_index >= 0) & (row_index < view.shape[1]) & (column_index >= 0) & (column_index < view.shape[2])
    # Where a pixel's centre falls within a hundredth of a voxel of an edge, rounding decides which voxel it shows.
    inside &= (np.abs(row - row_index) < 0.49) & (np.abs(column - column_index) < 0.49)
    margin = 80  # pixels at the edges hold letters and the notice
    inside[:margin] = inside[-margin:] = inside[:, :margin] = inside[:, -margin:] = False
    values = np.full(pixels.shape[:2], np.nan, dtype=np.float32)
    picture = display[int(window.viewer.dims.current_step[0])]
    values[inside] = picture[row_index[inside], column_index[inside]]
    return values
