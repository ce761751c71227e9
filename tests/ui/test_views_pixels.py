"""The views as they are drawn: places, sides, crosshairs, paint. Needs an X display (Xvfb serves)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qtpy.QtCore import QPoint, Qt

from lesionlens.ui import convention
from lesionlens.ui.navigation import go_to
from lesionlens.ui.open import settle
from lesionlens.ui.views.dock import ViewsWidget
from lesionlens.volume import Volume
from orientations import COVERING, reoriented
from ui_cases import BLOB, SPACING_MM, phantom
from ui_window import Window
from views_window import close_views, dock_views, on_screen

pytestmark = pytest.mark.xvfb

CENTRE = tuple((s.start + s.stop - 1) / 2 for s in BLOB)
SIZE_MM = tuple((s.stop - s.start) * mm for s, mm in zip(BLOB, SPACING_MM, strict=True))
# World axes across and down in the axial, coronal and sagittal picture.
SEEN = ((0, 1), (0, 2), (1, 2))
SIDE = 280
PIXEL = 1.5


@pytest.fixture
def views(visible_window: Window) -> Iterator[ViewsWidget]:
    """Return the dock in a window that is drawn, its canvases square."""
    widget = dock_views(visible_window.viewer)
    for pane in widget.panes:
        pane.setFixedSize(SIDE, SIDE)
    visible_window.viewer.window.resize(1300, 940)
    settle()
    yield widget
    close_views(visible_window.viewer, widget)


def draw(views: ViewsWidget, window: Window, volume: Volume, voxel: Any) -> Any:
    """Show a scan in green on a voxel, without what is written over it; return its layer."""
    window.viewer.layers.clear()
    layer: Any = window.open(volume)
    layer.colormap = "green"
    go_to(window.viewer, volume, voxel)
    views.linkage.fit()
    for pane in views.panes:
        for overlay in pane.model.canvas.overlays.values():
            overlay.visible = False
    settle()
    return layer


def pixels_of(pane: Any) -> NDArray[Any]:
    """Return the canvas as it is drawn: (rows, columns, 3) uint8."""
    settle()
    return np.asarray(pane.screenshot(flash=False))[..., :3]


def bright_green(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """Say where the blobs are drawn."""
    return (pixels[..., 1] > 200) & (pixels[..., 0] < 50)


def middle_of(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Return the middle from the middle of the canvas, to the right and downwards, and width and height, in pixels."""
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    x = (columns.min() + columns.max() + 1) / 2 - width / 2
    y = (rows.min() + rows.max() + 1) / 2 - height / 2
    return x, y, np.ptp(columns) + 1.0, np.ptp(rows) + 1.0


def test_a_blob_is_drawn_at_its_place_and_in_its_proportions(visible_window: Window, views: ViewsWidget) -> None:
    """To the pixel, in all three planes, for scans that are stored in different ways."""
    views.controls.crosshair.setChecked(False)
    for orientation in COVERING[3], COVERING[8]:
        original = phantom()
        array, grid = reoriented(original.array, original.grid, orientation)
        ras = original.grid.world(CENTRE)
        layer = draw(views, visible_window, Volume(array, grid), grid.voxel(ras))
        position = np.array([ras[2], -ras[1], -ras[0]])  # the display rule, for a grid along the world's axes
        for pane, (across, down) in zip(views.panes, SEEN, strict=True):
            zoom = pane.model.scene.camera.zoom
            x, y, width, height = middle_of(bright_green(pixels_of(pane)))
            expected = np.array(on_screen(pane.model, position)) * zoom
            assert (x, y) == pytest.approx(tuple(expected), abs=PIXEL), (orientation, pane.plane.name)
            assert x < 0, "the patient's right, or front, is on the left"
            assert y < 0, "the patient's front, or head, is at the top"
            assert (width, height) == pytest.approx((SIZE_MM[across] * zoom, SIZE_MM[down] * zoom), abs=PIXEL)
        assert layer.name in visible_window.names


def test_neurological_flips_the_pixels_of_all_canvases_and_nothing_else(
    visible_window: Window, views: ViewsWidget
) -> None:
    """Every pixel of a picture with sides is that of its mirror image; the sagittal one is the same."""
    views.controls.crosshair.setChecked(False)
    draw(views, visible_window, phantom(), CENTRE)
    before = [pixels_of(pane) for pane in views.panes]

    convention.set_convention(convention.NEUROLOGICAL)
    for pane in views.panes:
        for overlay in pane.model.canvas.overlays.values():
            overlay.visible = False
    after = [pixels_of(pane) for pane in views.panes]

    assert all(bright_green(pixels).sum() > 50 for pixels in before)
    np.testing.assert_array_equal(after[0], before[0][:, ::-1])
    np.testing.assert_array_equal(after[1], before[1][:, ::-1])
    np.testing.assert_array_equal(after[2], before[2])


def test_the_crosshair_is_drawn_through_the_position(visible_window: Window, views: ViewsWidget) -> None:
    """Within half a voxel, in every view, with the voxel itself left free."""
    layer = draw(views, visible_window, phantom(), (10, 20, 4))
    position = np.array(layer.data_to_world(layer.world_to_data(visible_window.viewer.dims.point)))
    for pane, (across, down) in zip(views.panes, SEEN, strict=True):
        views.controls.crosshair.setChecked(False)
        without = pixels_of(pane).astype(int)
        views.controls.crosshair.setChecked(True)
        lines = np.abs(pixels_of(pane) - without).sum(axis=-1) > 60
        zoom = pane.model.scene.camera.zoom
        x, y = np.array(on_screen(pane.model, position)) * zoom + SIDE / 2
        height, width = lines.shape
        x, y = x + (width - SIDE) / 2, y + (height - SIDE) / 2
        column, row = int(lines.sum(axis=0).argmax()), int(lines.sum(axis=1).argmax())
        assert abs(column + 0.5 - x) <= SPACING_MM[across] * zoom / 2 + 1
        assert abs(row + 0.5 - y) <= SPACING_MM[down] * zoom / 2 + 1
        assert not lines[round(y) - 5 : round(y) + 5, round(x) - 5 : round(x) + 5].any()


def test_a_click_and_a_stroke_are_seen_in_the_other_views(
    visible_window: Window, views: ViewsWidget, qtbot: Any
) -> None:
    """The real mouse: where it is pressed in one view, the others go; what is painted is drawn everywhere."""
    viewer = visible_window.viewer
    layer = draw(views, visible_window, phantom(), (20, 40, 6))
    axial = views.panes[0]
    zoom = axial.model.scene.camera.zoom
    canvas = axial.canvas.native
    spot = QPoint(canvas.width() // 2 + 20, canvas.height() // 2 - 30)

    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=spot)
    settle()

    centre = np.array(axial.model.scene.camera.center[-2:])
    expected = centre + np.array([-30, 20]) / zoom
    assert (np.abs(np.array(viewer.dims.point)[1:] - expected) <= layer.scale[1:] / 2 + 1 / zoom).all()

    drawn: Any = viewer.add_labels(np.zeros(layer.data.shape, dtype=np.int32), name="drawn", scale=layer.scale)
    drawn.translate, drawn.units, drawn.opacity = layer.translate, layer.units, 1.0
    before = [pixels_of(pane) for pane in views.panes]
    drawn.brush_size = 8
    drawn.paint(layer.world_to_data(viewer.dims.point), 1)
    after = [pixels_of(pane) for pane in views.panes]
    assert all((old != new).any(axis=-1).sum() > 20 for old, new in zip(before, after, strict=True))
