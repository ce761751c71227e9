"""The dock *Views*: what its three planes show of the main viewer, and where."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QApplication

from lesionlens.display import CORONAL, PLANES, DisplayView
from lesionlens.io.early import EarlySlice
from lesionlens.report.preview import Preview
from lesionlens.styles import PROBABILITY, REGIONS
from lesionlens.ui import convention
from lesionlens.ui.appearance import default_styles
from lesionlens.ui.canvas import annotate, show_plane
from lesionlens.ui.layers import heatmap_layer, labels_layer, loading_layer
from lesionlens.ui.links import Linked
from lesionlens.ui.navigation import go_to
from lesionlens.ui.open import settle
from lesionlens.ui.slab import slab_of
from lesionlens.ui.views import linkage
from lesionlens.ui.views.dock import ViewsWidget
from lesionlens.ui.views.mirror import Mirror
from lesionlens.ui.views.mouse import lead
from lesionlens.ui.views.pane import keep_plane
from lesionlens.volume import Grid, Volume
from orientations import ORIENTATIONS, oblique, reoriented
from ui_cases import BLOB, SPACING_MM, phantom, probability_of, result_of
from ui_window import Window
from views_window import LETTERS, close_views, copy_of, dock_views, letters, on_screen, open_scan

CENTRE = tuple((s.start + s.stop - 1) // 2 for s in BLOB)
# Rounding of float64 sums of millimetres.
SAME_MM = 1e-6


@pytest.fixture(scope="module")
def dock(shared_viewer: Any) -> Iterator[ViewsWidget]:
    """Return one dock for all tests: each of its canvases takes long to make."""
    widget = dock_views(shared_viewer)
    yield widget
    close_views(shared_viewer, widget)


@pytest.fixture
def views(dock: ViewsWidget, viewer: Any) -> Iterator[ViewsWidget]:
    """Return the dock in an empty viewer, as it is when it was just opened."""
    assert dock.viewer is viewer
    thickness_mm = dock.controls.thickness.value()
    yield dock
    convention.set_convention(convention.RADIOLOGICAL)
    dock.controls.mode.setCurrentIndex(0)
    dock.controls.thickness.setValue(thickness_mm)
    dock.controls.linked.setChecked(True)
    dock.controls.crosshair.setChecked(True)


def four(views: ViewsWidget) -> list[Any]:
    """Return the models of the main viewer and of the three views."""
    return [views.viewer, *(pane.model for pane in views.panes)]


def linked_models() -> tuple[list[Any], list[Any]]:
    """Return a main viewer and three views without their canvases, and what links them, which has to be kept."""
    models = [ViewerModel() for _ in range(4)]
    position = Linked([model.dims for model in models], ("point",))
    links: list[Any] = [position]
    for model, plane in zip(models[1:], PLANES.values(), strict=True):
        annotate(model, bare=True)
        keep_plane(model, plane)
        links.append(Mirror(models[0], model, position.paused))
    annotate(models[0])
    return models, links


def test_a_place_in_the_patient_is_on_the_side_of_its_letter_however_the_scan_is_stored() -> None:
    """For all 48 orientations the position of a known place is within half a voxel of it, on the right sides."""
    grid = Grid((5, 6, 4), np.array([[2.0, 0, 0, -10], [0, 1.5, 0, 3], [0, 0, 5.0, 40], [0, 0, 0, 1]]))
    array = np.zeros(grid.shape, dtype=np.float32)
    array[4, 5, 3] = 1  # to the right, the front and the head of the middle
    middle, ras = grid.world((np.array(grid.shape) - 1) / 2), grid.world((4, 5, 3))
    models, links = linked_models()

    for orientation in ORIENTATIONS:
        stored, its_grid = reoriented(array, grid, orientation)
        volume = Volume(stored, its_grid, "scan")
        layer = open_scan(models[0], volume)
        del models[0].layers[:-1]
        go_to(models[0], volume, its_grid.voxel(ras))
        (index,) = np.argwhere(layer.data == 1)  # not by DisplayView, which is what is tested
        convention.swap()  # half of them in each convention, in all orders of the axes
        for model in models:
            (copy,) = model.layers
            here = np.array(copy.data_to_world(index))
            assert (np.abs(here - model.dims.point) <= copy.scale / 2).all(), orientation
            model.reset_view()
            x, y = on_screen(model, here)
            sides = letters(model)
            for side in (sides["right" if x > 0 else "left"], sides["bottom" if y > 0 else "top"]):
                world, sign = LETTERS[side]
                assert (ras[world] - middle[world]) * sign > 0, (orientation, sides)
    assert len(links) == len(models)
    convention.set_convention(convention.RADIOLOGICAL)


def test_each_view_keeps_its_plane_in_the_proportions_of_the_patient(views: ViewsWidget) -> None:
    """Whatever plane the main viewer turns to, and whatever the spacing."""
    open_scan(views.viewer, phantom())
    show_plane(views.viewer, CORONAL)

    for pane, plane in zip(views.panes, PLANES.values(), strict=True):
        (copy,) = pane.model.layers
        assert pane.model.dims.order == plane.order
        assert tuple(copy.scale) == (SPACING_MM[2], SPACING_MM[1], SPACING_MM[0])
        assert pane.title.startswith(plane.name.capitalize())
    scales = {round(pane.model.scene.camera.zoom, 9) for pane in views.panes}
    assert len(scales) == 1


def test_the_convention_turns_all_canvases_and_is_named_on_them(views: ViewsWidget, qtbot: Any) -> None:
    """One click, and no canvas is left behind; the sagittal one has no side to change."""
    open_scan(views.viewer, phantom())
    before = [letters(model) for model in four(views)]

    qtbot.mouseClick(views.controls.convention, Qt.MouseButton.LeftButton)

    after = [letters(model) for model in four(views)]
    assert views.controls.convention.text() == "Neurological"
    for model, old, new in zip(four(views), before, after, strict=True):
        assert "neurological" in model.canvas.overlays["lesionlens_display"].text
        sideways = model.dims.order[0] != 2
        assert (new["left"], new["right"]) == ((old["right"], old["left"]) if sideways else (old["left"], old["right"]))
        assert (new["top"], new["bottom"]) == (old["top"], old["bottom"])
    qtbot.mouseClick(views.controls.convention, Qt.MouseButton.LeftButton)
    assert [letters(model) for model in four(views)] == before


def test_layers_are_views_of_the_same_arrays(views: ViewsWidget) -> None:
    """Three more views of a large scan must not take three times its memory."""
    volume = phantom()
    layer = open_scan(views.viewer, volume)
    labels = views.viewer.add_labels(np.zeros(layer.data.shape, dtype=np.int32), name="drawn", scale=layer.scale)

    for pane in views.panes:
        assert np.shares_memory(copy_of(pane, volume.name).data, volume.array)
        assert np.shares_memory(copy_of(pane, "drawn").data, labels.data)
        assert not copy_of(pane, "drawn").editable


def test_views_follow_every_change_of_a_layer(window: Window, views: ViewsWidget) -> None:
    """What is set in napari or in the dock of LesionLens is seen in all planes at once."""
    volume = phantom()
    scan = window.open(volume)
    window.widget.show_result(result_of(volume))
    probability, regions = window.layer("Probability: lesion"), window.layer("Regions: lesion")

    window.widget.controls.set_threshold(0.7)
    probability.opacity = 0.35
    scan.contrast_limits = (10, 60)
    scan.gamma = 1.5
    regions.contour = 2
    regions.visible = False
    scan.name = "renamed"

    for pane in views.panes:
        assert [layer.name for layer in pane.model.layers] == window.names
        copy = copy_of(pane, "Probability: lesion")
        assert tuple(copy.contrast_limits) == tuple(probability.contrast_limits)
        assert copy.contrast_limits[0] == pytest.approx(0.7)
        assert copy.colormap.name == probability.colormap.name
        assert copy.opacity == 0.35
        assert tuple(copy_of(pane, "renamed").contrast_limits) == (10, 60)
        assert copy_of(pane, "renamed").gamma == 1.5
        assert copy_of(pane, "Regions: lesion").contour == 2
        assert not copy_of(pane, "Regions: lesion").visible


def test_layers_come_go_and_change_places_in_all_views(views: ViewsWidget) -> None:
    """The topmost layer hides the others: its order is part of what is seen."""
    viewer = views.viewer
    volume = phantom()
    open_scan(viewer, volume)
    for name in ("one", "two"):
        viewer.add_labels(np.zeros((12, 80, 40), dtype=np.int32), name=name)
    viewer.add_points([[0, 0, 0]], name="marks")

    viewer.layers.move(0, 3)
    viewer.layers.remove("one")
    viewer.layers["marks"].add([1, 1, 1])
    viewer.layers["two"].data = np.ones((12, 80, 40), dtype=np.int32)

    names = [layer.name for layer in viewer.layers]
    for pane in views.panes:
        assert [layer.name for layer in pane.model.layers] == names
        assert len(copy_of(pane, "marks").data) == 2
        assert copy_of(pane, "two").data.min() == 1
    viewer.layers.clear()
    assert [len(pane.model.layers) for pane in views.panes] == [0, 0, 0]


def test_painting_and_slices_that_are_still_being_read_are_drawn_again() -> None:
    """Both change values in place, of which no array tells; each view is drawn once for each change."""
    models, links = linked_models()
    viewer = models[0]
    scan = open_scan(viewer, phantom())
    drawn = viewer.add_labels(np.zeros(scan.data.shape, dtype=np.int32), name="drawn", scale=scan.scale)
    told: list[str] = []
    for model in models[1:]:
        for layer in model.layers:
            layer.events.set_data.connect(lambda event: told.append(event.source.name))

    drawn.paint((2, 3, 3), 1)
    after_painting = list(told)
    scan.refresh(thumbnail=False)

    assert links
    assert after_painting == ["drawn"] * 3
    assert told[3:] == ["phantom"] * 3


def test_the_picture_of_a_scan_that_is_being_read_is_in_all_views(views: ViewsWidget) -> None:
    """Whoever opens a scan with the views open sees it grow there as well."""
    preview = Preview()
    preview(EarlySlice(phantom().grid, "scan", "", 6, np.ones((40, 80), dtype=np.float32)))
    views.viewer.add_layer(Layer.create(*loading_layer(preview)))

    for pane in views.panes:
        assert letters(pane.model)
        assert np.shares_memory(pane.model.layers[0].data, preview.array)


@pytest.mark.parametrize("number", range(4))
def test_the_position_is_common_whoever_moves_it(views: ViewsWidget, number: int) -> None:
    """Sliders, keys and clicks of any of the four move all."""
    open_scan(views.viewer, phantom())

    four(views)[number].dims.set_current_step(number % 3, 3)

    assert len({tuple(np.round(model.dims.point, 6)) for model in four(views)}) == 1
    assert views.viewer.dims.current_step[number % 3] == 3


def press(model: Any, position: Any, *, then: Any = (), modifiers: tuple[str, ...] = ()) -> None:
    """Press the left button at a position, move on, and let go, through the callbacks that napari calls."""
    event = SimpleNamespace(button=1, type="mouse_press", position=position, modifiers=modifiers)
    steps = [callback(model, event) for callback in model.mouse_drag_callbacks]
    steps = [step for step in steps if hasattr(step, "send")]
    for kind, place in [("mouse_press", position), *(("mouse_move", p) for p in then), ("mouse_release", position)]:
        event.type, event.position = kind, place
        for step in steps:
            next(step, None)


def test_click_and_drag_move_the_crosshair_to_whole_voxels(views: ViewsWidget) -> None:
    """The crosshair stands for a voxel; beside the scan it stays at its edge."""
    layer = open_scan(views.viewer, phantom())
    coronal = views.panes[1].model
    target = np.array(layer.data_to_world((4, coronal.dims.current_step[1], 7)))

    press(coronal, tuple(target + 0.3 * layer.scale))
    clicked = tuple(views.viewer.dims.point)
    press(coronal, tuple(target), then=[tuple(target + 2 * layer.scale), (1e5, 1e5, 1e5)])

    np.testing.assert_allclose(clicked, target, atol=SAME_MM)
    np.testing.assert_allclose(views.viewer.dims.point, layer.data_to_world((11, 79, 39)), atol=SAME_MM)


def test_a_click_on_the_main_canvas_moves_the_crosshair_and_a_drag_does_not(views: ViewsWidget) -> None:
    """A drag pans there, as everywhere in napari; a brush paints."""
    layer = open_scan(views.viewer, phantom())
    target = tuple(layer.data_to_world((5, 10, 11)))
    before = tuple(views.viewer.dims.point)

    press(views.viewer, target, then=[target])
    dragged = tuple(views.viewer.dims.point)
    drawn = views.viewer.add_labels(np.zeros(layer.data.shape, dtype=np.int32), scale=layer.scale)
    drawn.mode = "paint"
    press(views.viewer, target)
    painted = tuple(views.viewer.dims.point)
    drawn.mode = "pan_zoom"
    press(views.viewer, target)

    assert dragged == before
    assert painted == before
    np.testing.assert_allclose(views.viewer.dims.point, target, atol=SAME_MM)


def test_the_wheel_goes_through_the_slices_of_its_view(views: ViewsWidget) -> None:
    """Whole notches, or as many parts of one; with Ctrl it zooms and keeps what is under the mouse."""
    open_scan(views.viewer, phantom())
    for axis, pane in zip((0, 1, 2), views.panes, strict=True):
        model = pane.model
        before = np.array(views.viewer.dims.current_step)
        (wheel,) = model.mouse_wheel_callbacks
        for delta in (-1, -0.5, -0.5):
            wheel(model, SimpleNamespace(delta=(0, delta), modifiers=(), position=model.dims.point))
        moved = np.array(views.viewer.dims.current_step) - before
        assert moved.tolist() == [2 if other == axis else 0 for other in range(3)]

    model = views.panes[0].model
    zoom, position = model.scene.camera.zoom, np.array([0.0, 12.0, -9.0])
    before_px = (position[1:] - model.scene.camera.center[-2:]) * zoom
    (wheel,) = model.mouse_wheel_callbacks
    wheel(model, SimpleNamespace(delta=(0, 1), modifiers=("Control",), position=position))
    assert model.scene.camera.zoom > zoom
    np.testing.assert_allclose(
        (position[1:] - model.scene.camera.center[-2:]) * model.scene.camera.zoom, before_px, atol=SAME_MM
    )


def test_a_drag_with_shift_moves_the_picture_alone(views: ViewsWidget) -> None:
    """Panning must not move the crosshair."""
    open_scan(views.viewer, phantom())
    model = views.panes[0].model
    point, centre = model.dims.point, np.array(model.scene.camera.center[-2:])

    press(model, (0.0, 0.0, 0.0), then=[(0.0, 5.0, 3.0)], modifiers=("Shift",))

    assert model.dims.point == point
    np.testing.assert_allclose(model.scene.camera.center[-2:], centre - (5, 3), atol=SAME_MM)


def test_zoom_is_linked_until_it_is_not(views: ViewsWidget) -> None:
    """Twice as large here is twice as large there, whatever the size of the canvas."""
    open_scan(views.viewer, phantom())
    views.linkage.fit()
    zooms = np.array([model.scene.camera.zoom for model in four(views)])

    views.viewer.scene.camera.zoom *= 2
    linked = np.array([model.scene.camera.zoom for model in four(views)])
    views.controls.linked.setChecked(False)
    views.panes[0].model.scene.camera.zoom *= 3
    alone = np.array([model.scene.camera.zoom for model in four(views)])

    np.testing.assert_allclose(linked, 2 * zooms)
    np.testing.assert_allclose(alone / linked, [1, 3, 1, 1])


@pytest.mark.parametrize("linked", [True, False])
def test_a_finding_comes_to_the_centre_of_all_views(views: ViewsWidget, linked: bool) -> None:
    """Also the second time, when the centre of the main canvas does not change any more."""
    volume = phantom()
    open_scan(views.viewer, volume)
    views.controls.linked.setChecked(linked)

    for ijk in (CENTRE, (CENTRE[0], CENTRE[1], 2)):
        go_to(views.viewer, volume, ijk)
        position = DisplayView(volume.grid).position(ijk)
        for model in four(views):
            away = np.abs(np.array(model.scene.camera.center[-2:]) - position[list(model.dims.displayed)])
            assert (away < SAME_MM).all()


def test_a_view_follows_a_position_that_leaves_it(views: ViewsWidget) -> None:
    """A crosshair beside the canvas says nothing; within it nothing jumps."""
    volume = phantom()
    layer = open_scan(views.viewer, volume)
    model = views.panes[0].model
    model.scene.camera.zoom = model.canvas.size[0] / 20  # 20 mm
    model.scene.camera.center = tuple(layer.data_to_world((6, 40, 20))[1:])
    centre = tuple(model.scene.camera.center)

    views.linkage.move_to(layer.data_to_world((6, 44, 20)))
    near = tuple(model.scene.camera.center)
    views.linkage.move_to(layer.data_to_world((6, 75, 20)))

    followed = model.scene.camera.center[-2:]
    model.scene.camera.center = (500.0, 500.0)  # looks elsewhere on purpose
    model.dims.set_current_step(0, 3)
    elsewhere = tuple(model.scene.camera.center[-2:])

    assert elsewhere == (500.0, 500.0)
    assert near == centre
    np.testing.assert_allclose(followed, layer.data_to_world((6, 75, 20))[1:], atol=SAME_MM)


def test_3d_of_the_main_viewer_leaves_the_views_alone(views: ViewsWidget) -> None:
    """The camera means something else there; the planes stay 2D, at the position."""
    volume = phantom()
    open_scan(views.viewer, volume)
    views.viewer.dims.ndisplay = 3
    before = [(pane.model.scene.camera.zoom, pane.model.scene.camera.center) for pane in views.panes]

    views.viewer.scene.camera.zoom *= 3
    views.viewer.scene.camera.angles = (10, 20, 30)

    after = [(pane.model.scene.camera.zoom, pane.model.scene.camera.center) for pane in views.panes]
    assert before == after
    assert [pane.model.dims.ndisplay for pane in views.panes] == [2, 2, 2]
    assert views.linkage.crosshairs[0].lines.shape == (12, 3)
    views.viewer.dims.ndisplay = 2


def counting(axis: int) -> Volume:
    """Return a scan whose value is the display index along an axis; spacing 2, 1 and 5 mm."""
    volume = phantom()
    view = DisplayView(volume.grid)
    shape = [1, 1, 1]
    shape[axis] = view.shape[axis]
    display = np.broadcast_to(np.arange(view.shape[axis], dtype=np.float32).reshape(shape), view.shape)
    return Volume(view.from_display(display).copy(), volume.grid, "counting")


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("wanted_mm", [1.0, 7.0, 24.0])
def test_slabs_are_as_thick_as_is_said_and_lie_about_the_central_slice(
    views: ViewsWidget, axis: int, wanted_mm: float
) -> None:
    """What napari projects is asked of napari: lowest, highest and mean value are those of the slices that are said."""
    volume = counting(axis)
    layer = open_scan(views.viewer, volume)
    model = views.panes[axis].model
    spacing = layer.scale[axis]
    (copy,) = model.layers
    views.controls.thickness.setValue(wanted_mm)

    for step in (layer.data.shape[axis] // 2, 0, layer.data.shape[axis] - 1):
        views.viewer.dims.set_current_step(axis, step)
        found = {}
        for mode in ("min", "max", "mean"):
            views.controls.mode.setCurrentIndex(views.controls.mode.findData(mode))
            found[mode] = float(copy.get_value(model.dims.point, world=True))
        each_side = max(0, int(np.ceil((wanted_mm / spacing - 1) / 2)))
        low, high = max(0, step - each_side), min(layer.data.shape[axis] - 1, step + each_side)
        assert found == {"min": low, "max": high, "mean": pytest.approx((low + high) / 2)}
        slab = slab_of(model)
        if low == high:
            assert slab is None
        else:
            assert slab is not None
            assert slab.n_slices == high - low + 1
            assert slab.thickness_mm == pytest.approx((high - low + 1) * spacing)
            assert f"{slab.n_slices} slices" in model.canvas.overlays["lesionlens_display"].text
    if 0 < 2 * each_side + 1 <= layer.data.shape[axis]:
        assert (2 * each_side + 1) * spacing >= wanted_mm


def test_only_the_scan_is_thick(views: ViewsWidget) -> None:
    """An outline over a slab is that of the central slice, and so are probabilities, opened before it or after."""
    viewer, volume = views.viewer, phantom()
    open_scan(viewer, volume)
    array = np.full(volume.grid.shape, 0.1, dtype=np.float32)
    array[BLOB] = 0.9
    labels = (array > 0.5).astype(np.int32)
    style = default_styles(threshold=0.5)
    viewer.add_layer(Layer.create(*heatmap_layer(probability_of(volume, array), volume, style[PROBABILITY])))
    views.controls.mode.setCurrentIndex(1)
    views.controls.thickness.setValue(30)
    viewer.add_layer(Layer.create(*labels_layer(labels, "lesion", volume, style[REGIONS])))
    beside = (CENTRE[0], CENTRE[1], BLOB[2].stop)  # one slice above the blob, whose brightness the slab holds
    go_to(viewer, volume, beside)

    for model in (viewer, views.panes[0].model):
        scan, probability, regions = model.layers
        point = model.dims.point
        assert scan.get_value(point, world=True) == 100
        assert probability.get_value(point, world=True) == pytest.approx(0.1)
        assert regions.get_value(point, world=True) == 0
        assert "MIP" in model.canvas.overlays["lesionlens_display"].text


def test_thin_slices_come_back(views: ViewsWidget) -> None:
    """Off is off, and closing the dock leaves no slab that nothing would take away."""
    viewer = views.viewer
    open_scan(viewer, counting(0))
    views.controls.mode.setCurrentIndex(1)
    assert slab_of(viewer) is not None

    views.controls.mode.setCurrentIndex(0)
    off = slab_of(viewer)
    views.controls.mode.setCurrentIndex(1)
    other = dock_views(viewer)
    other.controls.mode.setCurrentIndex(1)
    close_views(viewer, other)

    assert off is None
    assert slab_of(viewer) is None


def test_the_dock_reads_out_what_is_under_the_mouse_in_any_view(views: ViewsWidget) -> None:
    """Raw values, and that they are those of the central slice where the picture shows several."""
    viewer, volume = views.viewer, phantom()
    layer = open_scan(viewer, volume)
    go_to(viewer, volume, CENTRE)
    settle()
    at_rest = views.readout.text()

    for pane in views.panes:
        pane.model.mouse_over_canvas = True
        pane.model.cursor.position = tuple(layer.data_to_world((0, 0, 0)))
        settle()
        text = views.readout.text()
        pane.model.mouse_over_canvas = False
        assert "Cursor" in text
        assert "L 39.0 mm" not in text
        assert "I 27.5 mm" in text

    views.controls.mode.setCurrentIndex(1)
    settle()
    assert "Crosshair" in at_rest
    assert ">100<" in at_rest
    assert "central slice" in views.readout.text()
    assert "central slice" not in at_rest


def test_until_the_mouse_has_moved_the_crosshair_is_read_out(views: ViewsWidget) -> None:
    """Where a window opens under a mouse that rests, napari's cursor is at the centre, which nobody has pointed at."""
    volume = phantom()
    layer = open_scan(views.viewer, volume)
    views.viewer.mouse_over_canvas = True
    go_to(views.viewer, volume, CENTRE)
    settle()
    at_rest = views.readout.text()

    views.viewer.cursor.position = tuple(layer.data_to_world((0, 0, 0)))
    settle()
    moved = views.readout.text()
    views.viewer.mouse_over_canvas = False

    assert "Crosshair" in at_rest
    assert "Cursor" in moved


def test_crosshairs_cross_at_the_position_and_can_be_hidden(views: ViewsWidget) -> None:
    """The lines of every canvas meet where the position is; a gap leaves the voxel itself free."""
    volume = Volume(np.zeros((20, 30, 10), dtype=np.float32), oblique((20, 30, 10), (1.0, 0.8, 4.0)), "tilted")
    open_scan(views.viewer, volume)
    go_to(views.viewer, volume, (4, 20, 7))

    for model, crosshair in zip(four(views), views.linkage.crosshairs, strict=True):
        ends = crosshair.lines
        point = np.array(model.dims.point)[list(model.dims.displayed)]
        assert len(ends) == 8
        for piece in ends.reshape(-1, 2, 2):
            (across,) = np.flatnonzero(piece[0] == piece[1])
            assert piece[0, across] == pytest.approx(point[across])
            along = 1 - across
            assert not piece[:, along].min() <= point[along] <= piece[:, along].max()

    views.controls.crosshair.setChecked(False)
    assert [len(crosshair.lines) for crosshair in views.linkage.crosshairs] == [0, 0, 0, 0]


def test_closing_the_dock_leaves_the_picture_where_it_was(viewer: Any) -> None:
    """Views that are emptied look for a place of their own; the main canvas must not be taken there."""
    open_scan(viewer, phantom())
    views = dock_views(viewer)
    viewer.dims.point = (10.0, 12.0, 14.0)
    viewer.scene.camera.center, viewer.scene.camera.zoom = (0.0, 11.0, 13.0), 7.0
    before = viewer.scene.camera.center, viewer.scene.camera.zoom, viewer.dims.point

    close_views(viewer, views)

    assert (viewer.scene.camera.center, viewer.scene.camera.zoom, viewer.dims.point) == before


def test_closing_the_dock_leaves_nothing_behind(viewer: Any) -> None:
    """What was closed is neither told of anything nor kept in memory."""
    open_scan(viewer, phantom())
    watched = {
        "point": viewer.dims.events.point,
        "layers": viewer.layers.events,
        "inserted": viewer.layers.events.inserted,
        "removed": viewer.layers.events.removed,
        "reordered": viewer.layers.events.reordered,
        "centre": viewer.scene.camera.events.center,
        "zoom": viewer.scene.camera.events.zoom,
        "cursor": viewer.cursor.events.position,
        "reset": viewer.events.reset_view,
        "range": viewer.dims.events.range,
    }
    close_views(viewer, dock_views(viewer))  # what is annotated once stays so
    before = {name: len(event.callbacks) for name, event in watched.items()}
    clicks = len(viewer.mouse_drag_callbacks)

    views = dock_views(viewer)
    kept = [weakref.ref(views), *(weakref.ref(pane.model) for pane in views.panes)]
    kept += [weakref.ref(views.linkage), *(weakref.ref(pane) for pane in views.panes)]
    connected = {name: len(event.callbacks) for name, event in watched.items()}
    close_views(viewer, views)
    del views
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    gc.collect()

    assert all(connected[name] > before[name] for name in watched)
    assert {name: len(event.callbacks) for name, event in watched.items()} == before
    assert len(viewer.mouse_drag_callbacks) == clicks
    assert [reference() for reference in kept] == [None] * len(kept)
    viewer.dims.set_current_step(0, 2)


def test_a_napari_that_draws_in_another_way_has_views_without_crosshair(
    viewer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How napari draws is no promise of napari's: what lacks is said, and all else works."""

    def missing(*_: Any) -> None:
        raise AttributeError("'VispyCanvas' object has no attribute 'view'")

    monkeypatch.setattr(linkage, "Crosshair", missing)
    views = dock_views(viewer)
    open_scan(viewer, phantom())
    text, enabled = views.failure.text(), views.controls.crosshair.isEnabled()
    names = [[layer.name for layer in pane.model.layers] for pane in views.panes]
    close_views(viewer, views)

    assert "no crosshair" in text
    assert "'view'" in text
    assert not enabled
    assert names == [["phantom"]] * 3


def test_the_mouse_leads_only_its_own_view() -> None:
    """Napari's own ways with the mouse are taken from a view alone, never from the main viewer."""
    main, own = ViewerModel(), ViewerModel()
    before = list(main.mouse_wheel_callbacks)

    lead(own, lambda _: None)

    assert list(main.mouse_wheel_callbacks) == before
    assert main.scene.camera.mouse_pan
    assert not own.scene.camera.mouse_pan
