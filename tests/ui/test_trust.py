"""The dock *Trust*, used as a person would: choose, check, read; cancel, and close while it runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Layer
from qtpy.compat import isalive
from qtpy.QtCore import Qt

from lesionlens.checks import CHECKS
from lesionlens.errors import ExplainError
from lesionlens.progress import Progress
from lesionlens.target import Point
from lesionlens.ui import consent, scan_form, work
from lesionlens.ui.layers import volume_layer
from lesionlens.ui.trust import TrustWidget
from ui_cases import phantom, write_bundle
from ui_window import WAIT_MS


@pytest.fixture
def dock(viewer: Any, qtbot: Any) -> Iterator[TrustWidget]:
    """Return the dock in a viewer with the phantom and what a reader painted on both of its blobs."""
    layer = viewer.add_layer(Layer.create(*volume_layer(phantom())))
    marks = (layer.data == 100).astype(np.uint8)
    viewer.add_labels(marks, scale=layer.scale, translate=layer.translate, name="marks", units=layer.units)
    widget = TrustWidget(viewer)
    viewer.window.add_dock_widget(widget, name="LesionLens trust", area="right")
    yield widget
    if not isalive(widget):
        return
    widget.cancel()
    qtbot.waitUntil(lambda: widget.bar.job is None and not widget.looker.busy, timeout=WAIT_MS)


@pytest.fixture
def bright(dock: TrustWidget, tmp_path: Path) -> TrustWidget:
    """Choose a bundle that finds both blobs."""
    folder = write_bundle(tmp_path / "bright")
    consent.allow(folder)
    dock.scan.open_bundle(str(folder))
    return dock


def press(dock: TrustWidget, qtbot: Any) -> None:
    """Press *Check* and wait for the end."""
    qtbot.mouseClick(dock.bar.run, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.bar.job is None, timeout=3 * WAIT_MS)


def test_the_map_of_a_bundle_is_checked(bright: TrustWidget, qtbot: Any) -> None:
    """Every check has its answer in plain words; what was not asked for is said to be so, not passed over."""
    bright.mask_layer.setCurrentText("marks")
    bright.checks.check("seen", "localisation", "perturbation")

    press(bright, qtbot)

    parts = {name: unescape(note.text()) for name, note in bright.results.parts.items()}
    assert set(parts) == set(CHECKS)
    assert "PASS" in parts["seen"]
    assert "The model sees 'lesion'" in parts["seen"]
    assert "PASS" in parts["localisation"]  # the blobs are all that the map marks
    assert "NOT RUN" in parts["agreement"]
    assert "other methods" in parts["agreement"]
    assert bright.checked is not None
    charts = {check.name for check in bright.checked.report.checks if check.charts}
    assert set(bright.results.pictures) == charts != set()


def test_a_map_that_does_not_lie_on_the_marks_is_flagged(bright: TrustWidget, qtbot: Any) -> None:
    """The panel must be able to say no."""
    labels = bright.viewer.layers["marks"]
    labels.data = np.roll(labels.data, 20, axis=2)
    bright.mask_layer.setCurrentText("marks")
    bright.checks.check("localisation")

    press(bright, qtbot)

    assert "FLAGGED" in bright.results.parts["localisation"].text()
    assert "Do not rely" in bright.results.sentence.text()


def test_without_a_mask_there_is_no_localisation(bright: TrustWidget, qtbot: Any) -> None:
    """Nobody marked anything, so nothing can lie beside it."""
    bright.checks.check("seen")

    press(bright, qtbot)

    text = bright.results.parts["localisation"].text()
    assert "NOT RUN" in text
    assert "mask" in text


def test_only_methods_that_explain_a_class_are_offered(dock: TrustWidget) -> None:
    """A map of a layer's features claims nothing that could be wrong."""
    box = dock.explaining.method
    names = {box.itemData(i) for i in range(box.count())} - {None}

    assert "occlusion" in names
    assert "activation_mean" not in names
    assert dock.explaining.info.name not in dock.also.names


def test_cancel_and_closing_stop_the_checks(
    bright: TrustWidget, qtbot: Any, monkeypatch: pytest.MonkeyPatch, viewer: Any
) -> None:
    """The checks run the network dozens of times: minutes that nobody may have to wait for."""
    ends: list[int] = []

    def check(_options: object, _layer: object, progress: Progress) -> None:
        try:
            while True:
                progress("Checking", 1, 9)
                threading.Event().wait(0.001)
        finally:
            ends.append(1)

    monkeypatch.setattr(work, "check", check)
    qtbot.mouseClick(bright.bar.run, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "Checking" in bright.bar.status.text(), timeout=WAIT_MS)
    qtbot.mouseClick(bright.bar.cancel, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bright.bar.job is None, timeout=WAIT_MS)
    assert ends == [1]
    assert bright.bar.status.text() == "Cancelled."

    qtbot.mouseClick(bright.bar.run, Qt.MouseButton.LeftButton)
    viewer.window.remove_dock_widget(bright)
    bright.deleteLater()
    qtbot.waitUntil(lambda: ends == [1, 1], timeout=WAIT_MS)


def test_the_map_of_any_question_can_be_checked(
    bright: TrustWidget, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked in the LesionLens dock, over a mask or a clicked voxel, is not to be believed unseen."""
    asked: list[Any] = []

    def check(options: Any, *_: object) -> None:
        asked.append(options)
        raise ExplainError("That is enough.")

    monkeypatch.setattr(work, "check", check)
    form = bright.asking
    form.score.setCurrentIndex(form.score.findData("logit"))
    form.over.setCurrentIndex(form.over.findData("mask"))
    press(bright, qtbot)
    form.over.setCurrentIndex(form.over.findData("voxel"))
    press(bright, qtbot)  # nothing was clicked
    form.show_point((1.0, 2.0, 3.0))
    press(bright, qtbot)

    assert len(asked) == 2
    assert asked[0].score == "logit"
    assert asked[0].over.label == "marks"
    assert asked[1].over == Point((1.0, 2.0, 3.0))
    assert form.over.findData("table") == -1


def test_scans_open_from_this_dock_too(dock: TrustWidget, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry of a menu that does nothing is taken for a program that hangs."""
    asked: list[Any] = []
    monkeypatch.setattr(scan_form, "open_recent", asked.append)

    dock.scan.recent.trigger()

    assert asked == [dock.viewer]
