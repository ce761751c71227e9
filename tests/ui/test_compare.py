"""The dock *Compare*, used as a person would: choose two maps, look at their difference, numbers, and side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from napari.layers import Layer
from napari.utils.notifications import Notification
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QApplication

from lesionlens.compare import compare_maps
from lesionlens.display import CORONAL, DisplayView
from lesionlens.rules import RegionRules
from lesionlens.styles import Style
from lesionlens.ui.appearance import default_styles
from lesionlens.ui.canvas import show_plane
from lesionlens.ui.compare import CompareWidget
from lesionlens.ui.layers import heatmap_layer, heatmap_of, volume_layer
from lesionlens.ui.open import settle
from lesionlens.ui.overlays import KEPT_KEY, Overlays
from lesionlens.volume import Volume
from ui_cases import BLOB, SHAPE, SMALL_BLOB, SPACING_MM, attribution_of, phantom, probability_of, result_of
from ui_window import WAIT_MS

STYLE = Style("plasma", 0.5, 0.5, visible=True)


def two_models(volume: Volume) -> tuple[Any, Any]:
    """Return the probabilities of two models: the second is surer of the large blob and misses the small one."""
    arrays = [np.full(SHAPE, 0.1, dtype=np.float32) for _ in range(2)]
    arrays[0][BLOB], arrays[0][SMALL_BLOB] = 0.6, 0.8
    arrays[1][BLOB] = 0.9
    return tuple(probability_of(volume, array) for array in arrays)  # type: ignore[return-value]


@pytest.fixture
def scan() -> Volume:
    """Return the scan that the maps are of."""
    return phantom()


@pytest.fixture
def dock(viewer: Any, qtbot: Any, scan: Volume) -> Iterator[CompareWidget]:
    """Return the dock in a viewer with the scan and the maps of two models."""
    viewer.add_layer(Layer.create(*volume_layer(scan)))
    for name, heatmap in zip(("before", "after"), two_models(scan), strict=True):
        array, options, kind = heatmap_layer(heatmap, scan, STYLE)
        viewer.add_layer(Layer.create(array, {**options, "name": name}, kind))
    widget = CompareWidget(viewer)
    viewer.window.add_dock_widget(widget, name="LesionLens compare", area="right")
    yield widget
    if isalive(widget):
        widget.cancel()
        qtbot.waitUntil(lambda: widget.bar.job is None, timeout=WAIT_MS)
        widget.hide_side_by_side()
        viewer.window.remove_dock_widget(widget)
        widget.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


def press(dock: CompareWidget, qtbot: Any) -> None:
    """Choose both maps, press *Compare* and wait for the end."""
    dock.first.setCurrentText("before")
    dock.second.setCurrentText("after")
    qtbot.mouseClick(dock.bar.run, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.bar.job is None, timeout=WAIT_MS)


def test_the_difference_is_signed_and_on_the_scale_of_both_maps(dock: CompareWidget, qtbot: Any, scan: Volume) -> None:
    """Where the second is higher it is above 0; a small difference must not be stretched to the brightest colours."""
    press(dock, qtbot)

    layer = dock.viewer.layers["Difference: after minus before"]
    heatmap = heatmap_of(layer)
    assert heatmap is not None
    values = DisplayView(scan.grid).from_display(np.asarray(layer.data))
    assert values[BLOB] == pytest.approx(0.3, abs=1e-6)
    assert values[SMALL_BLOB] == pytest.approx(-0.7, abs=1e-6)
    assert tuple(layer.contrast_limits) == pytest.approx((-0.9, 0.9))
    assert not dock.viewer.layers["before"].visible


def test_the_figures_are_those_of_the_command_line(dock: CompareWidget, qtbot: Any, scan: Volume) -> None:
    """One number for one thing, whoever asks."""
    press(dock, qtbot)

    first, second = two_models(scan)
    found = compare_maps([first], [second])
    text = dock.numbers.text()
    assert f"{found.pearson[0, 1]:.3f}" in text
    assert f"{found.spearman[0, 1]:.3f}" in text
    assert f"{found.pairs[0].overlap.dice:.3f}" in text
    assert f"{8 * 16 * 3 + 3 * 6 * 2:,}, {8 * 16 * 3:,}, {8 * 16 * 3:,}" in text


def test_lesions_of_both_maps_are_listed_with_what_became_of_them(dock: CompareWidget, qtbot: Any) -> None:
    """The large blob stays as it is, the small one is gone: 384 and 36 voxels; a map and itself offer nothing."""
    dock.first.setCurrentText("before")
    dock.second.setCurrentText("before")
    assert not dock.lesions.isEnabled()
    dock.second.setCurrentText("after")

    qtbot.mouseClick(dock.lesions, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.bar.job is None, timeout=WAIT_MS)

    table = dock.lesion_table.table
    rows = [[table.item(row, column).text() for column in range(3)] for row in range(table.rowCount())]
    voxel = float(np.prod(SPACING_MM)) / 1000
    assert rows == [["1 → 1", "matched, stable", f"{384 * voxel:.3f}"], ["2 → –", "vanished", f"{36 * voxel:.3f}"]]
    assert "1 stable, 1 vanished" in dock.lesion_table.caption.text()
    assert not dock.lesion_table.isHidden()


def test_lesions_are_found_by_the_rules_of_their_runs(dock: CompareWidget, qtbot: Any, scan: Volume) -> None:
    """What a run left out as too small did not vanish; the table of regions and this one tell the same story."""
    rules = RegionRules(minimum_mm3=200 * float(np.prod(SPACING_MM)))
    overlays = Overlays(dock.viewer, default_styles(threshold=0.5))
    for name in ("before", "after"):
        dock.viewer.layers[name].metadata[KEPT_KEY] = True
    maps = [replace(heatmap, label="lesion") for heatmap in two_models(scan)]
    result = result_of(scan, {"lesion": maps[0].array})
    overlays.show(replace(result, rules=rules, threshold=0.3, thresholds={"lesion": 0.25}), "lesion")
    dock.first.setCurrentText("Probability: lesion")
    dock.second.setCurrentText("after")
    assert dock.threshold.value() == 0.25
    overlays.replace_regions(replace(result, rules=RegionRules(connectivity=6, minimum_mm3=rules.minimum_mm3)))
    dock.threshold.setValue(0.5)

    qtbot.mouseClick(dock.lesions, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.bar.job is None, timeout=WAIT_MS)

    assert dock.threshold.value() == 0.5  # a reader's own stays
    assert [dock.lesion_table.table.item(n, 0).text() for n in range(dock.lesion_table.table.rowCount())] == ["1 → 1"]
    caption = dock.lesion_table.caption.text()
    assert "Regions in A: voxels touch by faces, at least" in caption
    assert "in B: no further rule." in caption


def test_figures_of_another_choice_do_not_stay(dock: CompareWidget, qtbot: Any, scan: Volume) -> None:
    """A number beside two names is taken for theirs; one of other maps, or of another threshold, must go."""
    array, options, kind = heatmap_layer(two_models(scan)[0], scan, STYLE)
    dock.viewer.add_layer(Layer.create(array, {**options, "name": "third"}, kind))
    changes = (
        lambda: dock.second.setCurrentText("third"),
        lambda: dock.threshold.setValue(0.3),
        lambda: dock.viewer.layers.remove("after"),
    )
    for change in changes:
        press(dock, qtbot)
        qtbot.mouseClick(dock.lesions, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: dock.bar.job is None, timeout=WAIT_MS)
        assert "Pearson" in dock.numbers.text()
        assert not dock.lesion_table.isHidden()

        change()

        assert dock.compared is None
        assert dock.numbers.text().startswith("Choose two maps and press Compare")  # no figure, but what to do
        assert dock.lesion_table.isHidden()
        assert dock._pictures.count() == 0


def test_side_by_side_compares_what_is_chosen(dock: CompareWidget, qtbot: Any) -> None:
    """One click, and the pictures are of the names that stand in the boxes."""
    dock.first.setCurrentText("after")
    dock.second.setCurrentText("before")
    qtbot.mouseClick(dock.side_by_side, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.bar.job is None, timeout=WAIT_MS)

    assert dock.side is not None
    assert [model.layers[-1].name for model in dock.side.models] == ["after", "before"]
    dock.threshold.setValue(0.3)
    assert dock.side is None


def test_comparing_again_replaces_the_difference(dock: CompareWidget, qtbot: Any) -> None:
    """Layers that pile up are taken for different things; and a difference is not offered as a map itself."""
    press(dock, qtbot)
    press(dock, qtbot)

    names = [layer.name for layer in dock.viewer.layers]
    assert names.count("Difference: after minus before") == 1
    assert [dock.first.itemText(i) for i in range(dock.first.count())] == ["before", "after"]


def test_maps_of_different_grids_are_refused(
    dock: CompareWidget, qtbot: Any, notifications: list[Notification]
) -> None:
    """Voxels that are not the same place must not be subtracted."""
    small = Volume(np.zeros((4, 5, 6), dtype=np.float32), phantom().grid.__class__((4, 5, 6), np.eye(4)), "small")
    other = attribution_of(small, np.ones((4, 5, 6)))
    array, options, kind = heatmap_layer(other, small, STYLE)
    dock.viewer.add_layer(Layer.create(array, {**options, "name": "after "}, kind))
    dock.viewer.layers["after"].name = "old"
    dock.viewer.layers["after "].name = "after"
    dock._offer()

    press(dock, qtbot)

    assert len(notifications) == 1
    assert "grid" in notifications[0].message


def test_nothing_is_compared_with_itself(dock: CompareWidget) -> None:
    """The button waits for two maps; what lacks is said."""
    assert dock.bar.run.isEnabled()

    dock.second.setCurrentText("before")
    assert not dock.bar.run.isEnabled()
    dock.viewer.layers.remove("after")
    assert "Two maps" in dock.numbers.text()


def test_side_by_side_moves_and_recolours_together(dock: CompareWidget, qtbot: Any) -> None:
    """Two pictures compare only at the same place, from the same side, in the same colours."""
    press(dock, qtbot)
    qtbot.mouseClick(dock.side_by_side, Qt.MouseButton.LeftButton)
    side = dock.side
    assert side is not None
    left, right = side.models
    maps = [model.layers[-1] for model in side.models]
    assert [layer.name for layer in maps] == ["before", "after"]
    assert tuple(maps[0].contrast_limits) == tuple(maps[1].contrast_limits)

    dock.viewer.dims.set_current_step(0, 3)
    assert tuple(left.dims.point) == tuple(right.dims.point) == tuple(dock.viewer.dims.point)
    left.dims.set_current_step(0, 5)
    assert tuple(dock.viewer.dims.point) == tuple(right.dims.point) == tuple(left.dims.point)
    show_plane(dock.viewer, CORONAL)
    assert left.dims.order == right.dims.order == CORONAL.order
    assert left.scene.camera.orientation == right.scene.camera.orientation == CORONAL.orientation
    right.scene.camera.zoom = 3.25
    assert left.scene.camera.zoom == 3.25
    maps[1].contrast_limits = (0.2, 0.7)
    assert tuple(maps[0].contrast_limits) == (0.2, 0.7)


def test_closing_side_by_side_leaves_nothing(dock: CompareWidget, qtbot: Any) -> None:
    """What was closed must neither be drawn nor be told of every slice."""
    press(dock, qtbot)
    before = len(dock.viewer.dims.events.point.callbacks)
    dock.show_side_by_side()
    side = dock.side
    assert side is not None
    assert len(dock.viewer.dims.events.point.callbacks) == before + 1

    dock.hide_side_by_side()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)

    assert len(dock.viewer.dims.events.point.callbacks) == before
    assert not isalive(side)
    dock.viewer.dims.set_current_step(0, 2)


@pytest.mark.xvfb
def test_both_maps_are_drawn(dock: CompareWidget, qtbot: Any) -> None:
    """The small blob is a finding of the first model alone: it is coloured in the left picture only."""
    press(dock, qtbot)
    dock.show_side_by_side()
    assert dock.side is not None
    dock.viewer.window.show()
    dock.side.canvases[0].setFixedSize(300, 300)
    dock.side.canvases[1].setFixedSize(300, 300)
    index = DisplayView(phantom().grid).display_index([5, 10, 2])
    dock.viewer.dims.set_current_step(0, int(index[0]))
    settle()
    for model in dock.side.models:
        model.reset_view()
    settle()

    colourful = []
    for canvas in dock.side.canvases:
        pixels = canvas.screenshot(flash=False)[..., :3].astype(int)
        colourful.append(int((np.ptp(pixels, axis=-1) > 60).sum()))
    dock.viewer.window._qt_window.hide()

    assert colourful[0] > 50
    assert colourful[1] == 0
