"""The dock *Importance*, used as a person would: choose what is taken away, measure, read bars and heatmap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Layer
from qtpy.compat import isalive
from qtpy.QtCore import Qt

from lesionlens.display import DisplayView
from lesionlens.rules import RegionRules
from lesionlens.ui import consent
from lesionlens.ui.appearance import default_styles
from lesionlens.ui.current import current_of
from lesionlens.ui.importance import ImportanceWidget
from lesionlens.ui.layers import heatmap_of, volume_layer
from lesionlens.ui.looks import Looks
from ui_cases import BLOB, SMALL_BLOB, phantom, result_of, write_bundle
from ui_window import WAIT_MS


@pytest.fixture
def dock(viewer: Any, qtbot: Any, tmp_path: Path) -> Iterator[ImportanceWidget]:
    """Return the dock with the phantom, and a bundle chosen that finds both of its blobs."""
    viewer.add_layer(Layer.create(*volume_layer(phantom())))
    widget = ImportanceWidget(viewer)
    viewer.window.add_dock_widget(widget, name="LesionLens importance", area="right")
    folder = write_bundle(tmp_path / "bright")
    consent.allow(folder)
    widget.scan.open_bundle(str(folder))
    yield widget
    current_of(viewer).show(None, "", 0.5)  # the window is that of all tests
    if isalive(widget):
        widget.cancel()
        qtbot.waitUntil(lambda: widget.bar.job is None, timeout=WAIT_MS)


def choose(dock: ImportanceWidget, features: str) -> None:
    """Choose what is taken away."""
    dock.features.setCurrentIndex(dock.features.findData(features))


def press(dock: ImportanceWidget, qtbot: Any) -> None:
    """Press *Measure* and wait for the end."""
    qtbot.mouseClick(dock.bar.run, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.bar.job is None, timeout=3 * WAIT_MS)


def test_the_falls_of_regions_are_bars_and_lie_over_the_scan(dock: ImportanceWidget, qtbot: Any) -> None:
    """The bundle weighs each voxel alone, so the falls are as the numbers of voxels, 384 and 36; each at its place."""
    press(dock, qtbot)

    assert dock.weighed is not None
    large, small = (fall.fall for fall in dock.weighed.found.falls)
    layer = dock.viewer.layers["Importance: lesion"]
    values = DisplayView(phantom().grid).from_display(np.asarray(layer.data))
    assert large / small == pytest.approx(384 / 36, rel=1e-4)
    assert values[BLOB] == pytest.approx(large, rel=1e-6)
    assert values[SMALL_BLOB] == pytest.approx(small, rel=1e-6)
    assert np.count_nonzero(values) == 384 + 36
    assert heatmap_of(layer) is not None
    assert f"by {large:.3g}" in unescape(dock.words.text())
    assert dock._pictures.count() == 1


def test_regions_are_counted_as_in_the_table_that_is_shown(dock: ImportanceWidget, qtbot: Any) -> None:
    """By the rules of the result that is seen: the smaller blob of 360 mm³ is no region there."""
    shown = replace(result_of(phantom()), rules=RegionRules(minimum_mm3=1000.0))
    current_of(dock.viewer).show(shown, "lesion", 0.5)

    press(dock, qtbot)

    assert dock.weighed is not None
    assert [fall.volume_mm3 for fall in dock.weighed.found.falls] == pytest.approx([3840.0])


def test_a_small_fall_keeps_its_colour_beside_the_style_of_attributions(dock: ImportanceWidget, qtbot: Any) -> None:
    """The LesionLens dock hides the weak three tenths of a Grad-CAM; of the parts of a scan every one has its bar."""
    looks = Looks(dock.viewer, default_styles(threshold=0.5))

    press(dock, qtbot)
    looks.restyle()

    layer: Any = dock.viewer.layers["Importance: lesion"]
    values = np.unique(np.asarray(layer.data))
    low, high = layer.contrast_limits
    alphas = layer.colormap.map((values - low) / (high - low))[:, 3]
    assert len(values) == 3  # outside, the small fall, the large one
    assert values[1] < 0.1 * values[2]
    np.testing.assert_allclose(alphas, [0, 1, 1], atol=1e-6)
    looks.stop()


def test_labels_that_a_reader_painted_can_be_taken_away(dock: ImportanceWidget, qtbot: Any) -> None:
    """A part that the model does not use must not fall: the number 2 lies where nothing is found."""
    choose(dock, "labels")
    assert not dock.bar.run.isEnabled()
    assert "labels on the scan first" in dock.bar.why_not.text()
    scan = dock.viewer.layers[0]
    painted = np.where(scan.data == 100, 1, 0).astype(np.uint8)
    painted[0, :2, :2] = 2
    dock.viewer.add_labels(painted, scale=scan.scale, translate=scan.translate, name="parts", units=scan.units)

    press(dock, qtbot)

    assert dock.weighed is not None
    falls = [fall.fall for fall in dock.weighed.found.falls]
    assert falls[0] > 1
    assert falls[1] == pytest.approx(0, abs=1e-6)


def test_measuring_again_replaces_what_was_found(dock: ImportanceWidget, qtbot: Any) -> None:
    """Bars of another choice below the new ones would be read as one answer."""
    press(dock, qtbot)
    choose(dock, "channels")

    press(dock, qtbot)

    assert dock.weighed is not None
    assert [fall.name for fall in dock.weighed.found.falls] == ["FLAIR"]
    assert dock._pictures.count() == 1
    assert dock.words.text().count("falls most") == 1
