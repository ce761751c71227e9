"""The LesionLens dock, used as a person would: choose, run, cancel, look, change, click."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import napari
import numpy as np
import pytest
from napari.utils.notifications import Notification
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import QApplication, QMessageBox

from lesionlens.display import CORONAL, DisplayView
from lesionlens.errors import InputError
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.pipeline import RunOptions
from lesionlens.progress import Progress
from lesionlens.regions import measure_classes
from lesionlens.results import CaseResult, write_case
from lesionlens.rules import RegionRules
from lesionlens.ui import consent, work
from lesionlens.ui.canvas import RESEARCH_USE_ONLY
from lesionlens.ui.layers import heatmap_of
from lesionlens.volume import Volume
from ui_cases import BLOB, SMALL_BLOB, classification_of, detection_of, feature_of, phantom, result_of, write_bundle
from ui_window import WAIT_MS, Window, dock_into


class Stub:
    """Stands for the pipeline: waits until it is told to go on, then answers.

    Parameters
    ----------
    answer
        What a run returns or raises; by default what there is to find in the phantom, on the volume that was given.
    """

    def __init__(self, answer: CaseResult | Exception | None = None) -> None:
        self.answer = answer
        self.go_on = threading.Event()
        self.ended = threading.Event()
        self.options: list[RunOptions] = []
        self.threads: list[int] = []

    def __call__(
        self, options: RunOptions, *, volume: Volume, channels: Sequence[tuple[str, Volume]] = (), progress: Progress
    ) -> CaseResult:
        """Run, as :func:`~lesionlens.pipeline.run_case` would."""
        assert volume.array.ndim == 3
        self.options.append(options)
        self.channels = dict(channels)
        self.threads.append(threading.get_ident())
        try:
            for window in range(10_000_000):
                progress("Predicting", window % 8, 8)
                if self.go_on.wait(0.001):
                    break
        finally:
            self.ended.set()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or result_of(volume)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Return a stand-in for the pipeline that finds two lesions in the phantom."""
    found = Stub()
    monkeypatch.setattr(work, "run_case", found)
    return found


def show(window: Window, result: CaseResult) -> None:
    """Open the scan of a result and show the result over it."""
    window.open(result.volume)
    window.widget.show_result(result)


def tiny_bundle(window: Window, folder: Path) -> None:
    """Choose a bundle from the disk as if it shipped with LesionLens."""
    window.widget.form.scan.open_bundle(str(write_bundle(folder)))
    consent.allow(folder)


def test_building_the_dock_loads_no_torch() -> None:
    """Loading torch and MONAI takes seconds, in which the window would be frozen: that is the worker's business."""
    code = (
        "import sys; import lesionlens.ui.widget; from lesionlens.ui import work; assert work.bundles();"
        "print([name for name in ('torch', 'monai') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_nothing_can_be_run_before_a_scan_is_open(window: Window) -> None:
    """An enabled button that only leads to an error would be a trap."""
    form = window.widget.form

    assert not form.bar.run.isEnabled()
    assert "Open a scan" in form.scan.volume.currentText()


def test_an_opened_scan_is_offered_and_chosen(window: Window) -> None:
    """Who drags a scan in wants to work on that one."""
    first, second = window.open(phantom(name="first")), window.open(phantom(name="second"))
    form = window.widget.form

    assert [form.scan.volume.itemText(i) for i in range(form.scan.volume.count())] == ["first", "second"]
    assert form.scan.volume.currentData() is second

    window.viewer.layers.remove(second)
    assert form.scan.volume.currentData() is first


def test_overlays_and_flat_images_are_not_offered_as_scans(window: Window) -> None:
    """Predicting on a probability map would be nonsense with a straight face."""
    result = result_of(phantom())
    show(window, result)
    window.viewer.add_image(np.zeros((8, 8)), name="flat")
    window.viewer.add_image(np.zeros((4, 8, 8)), name="foreign")
    form = window.widget.form

    assert [form.scan.volume.itemText(i) for i in range(form.scan.volume.count())] == ["phantom", "foreign"]


def test_the_notice_is_on_the_canvas_and_in_the_dock(window: Window) -> None:
    """It has to be in every screenshot, whichever part is cut out."""
    overlays = window.viewer.canvas.overlays
    shown = [o.text for o in overlays.values() if getattr(o, "text", "") and o.visible]
    texts = [" ".join(text.split()) for text in shown]
    labels = [label.text() for label in window.widget.findChildren(type(window.widget.classes).__base__)]

    assert RESEARCH_USE_ONLY in texts
    assert any(RESEARCH_USE_ONLY in text for text in labels)


def test_a_real_bundle_runs_and_its_results_become_layers(window: Window, tmp_path: Path) -> None:
    """The main job: both blobs are found where they are, with all three overlays, without touching the core by hand."""
    window.open(phantom())
    tiny_bundle(window, tmp_path / "bright")

    window.click(window.widget.form.bar.run)
    assert window.widget.form.bar.cancel.isEnabled()
    window.wait_for_run()

    result = window.widget.result
    assert result is not None
    assert window.names == ["phantom", "Grad-CAM: lesion", "Probability: lesion", "Regions: lesion"]
    assert [r.n_voxels for r in window.widget.table.regions] == [8 * 16 * 3, 3 * 6 * 2]
    labels = DisplayView(result.volume.grid).from_display(window.layer("Regions: lesion").data)
    assert (labels[BLOB] == 1).all()
    assert (labels[SMALL_BLOB] == 2).all()
    assert labels.astype(bool).sum() == 8 * 16 * 3 + 3 * 6 * 2
    assert window.widget.form.bar.run.isEnabled()


def test_the_window_stays_alive_while_a_bundle_runs(window: Window, stub: Stub) -> None:
    """Work on the GUI's thread would freeze the window for minutes."""
    window.open(phantom())
    ticks: list[int] = []
    timer = QTimer(interval=5)
    timer.timeout.connect(lambda: ticks.append(1))

    window.click(window.widget.form.bar.run)
    timer.start()
    window.qtbot.waitUntil(lambda: len(ticks) >= 50 and window.widget.form.bar.progress.maximum() == 8, timeout=WAIT_MS)
    running, status = window.widget.job is not None, window.widget.form.bar.status.text()
    stub.go_on.set()
    window.wait_for_run()
    timer.stop()

    assert running
    assert "Predicting" in status
    assert stub.threads[0] != threading.get_ident()
    assert "Probability: lesion" in window.names


def test_the_form_fills_the_options(window: Window, stub: Stub) -> None:
    """What is chosen must be what runs; what is left alone must stay the bundle's business."""
    window.open(phantom())
    form = window.widget.form
    stub.go_on.set()

    window.click(form.bar.run)
    window.wait_for_run()
    form.explaining.layer.setText(" decoder.1 ")
    form.asking.target.setCurrentIndex(1)
    window.widget.controls.set_threshold(0.3)
    window.click(form.bar.run)
    window.wait_for_run()

    plain, chosen = stub.options
    assert (plain.target, plain.layer, plain.trust, plain.bundle) == (None, None, False, form.scan.bundle.currentText())
    assert (plain.method, plain.threshold) == (RunOptions(input=Path()).method, RunOptions(input=Path()).threshold)
    assert (chosen.target, chosen.layer, chosen.threshold) == (form.asking.target.itemText(1), "decoder.1", 0.3)


def test_cancel_stops_a_run_and_leaves_no_layers(window: Window, stub: Stub) -> None:
    """A run that was started on the wrong scan must not be waited for."""
    window.open(phantom())

    window.click(window.widget.form.bar.run)
    window.qtbot.waitUntil(lambda: bool(stub.options), timeout=WAIT_MS)
    window.click(window.widget.form.bar.cancel)
    window.wait_for_run()

    assert stub.ended.is_set()
    assert window.names == ["phantom"]
    assert window.widget.form.bar.status.text() == "Cancelled."
    assert window.widget.form.bar.run.isEnabled()
    assert not window.widget.form.bar.cancel.isEnabled()


def test_closing_the_window_ends_the_run(qtbot: Any, stub: Stub) -> None:
    """Otherwise the process would go on computing, invisible, for minutes."""
    window = dock_into(napari.Viewer(show=False, show_welcome_screen=False), qtbot)
    window.open(phantom())
    window.click(window.widget.form.bar.run)
    qtbot.waitUntil(lambda: bool(stub.options), timeout=WAIT_MS)

    window.viewer.close()

    qtbot.waitUntil(stub.ended.is_set, timeout=WAIT_MS)
    assert not stub.go_on.is_set()


def test_closing_the_dock_ends_the_run_and_the_viewer_goes_on(
    window: Window, stub: Stub, notifications: list[Notification]
) -> None:
    """The viewer must not call a widget that is gone."""
    window.open(phantom())
    window.click(window.widget.form.bar.run)
    window.qtbot.waitUntil(lambda: bool(stub.options), timeout=WAIT_MS)

    window.viewer.window.remove_dock_widget(window.widget)
    window.widget.deleteLater()
    window.qtbot.waitUntil(stub.ended.is_set, timeout=WAIT_MS)
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    window.open(phantom(name="another"))

    assert window.names == ["phantom", "another"]
    assert notifications == []


def test_an_error_becomes_one_readable_notification(
    window: Window, stub: Stub, notifications: list[Notification]
) -> None:
    """A traceback tells a radiologist nothing."""
    stub.answer = InputError("The bundle takes 2 volumes (FLAIR, T1); found 1.")
    stub.go_on.set()
    window.open(phantom())

    window.click(window.widget.form.bar.run)
    window.wait_for_run()

    assert [n.message for n in notifications] == [str(stub.answer)]
    assert [name for name, _ in notifications[0].actions] == ["Details"]
    assert window.widget.form.bar.status.text() == str(stub.answer)
    assert window.widget.form.bar.run.isEnabled()


def test_a_layer_that_does_not_exist_is_explained(
    window: Window, tmp_path: Path, notifications: list[Notification]
) -> None:
    """The error of the real core reaches the user in full, with the layers that do exist."""
    window.open(phantom())
    tiny_bundle(window, tmp_path / "bright")
    window.widget.form.explaining.layer.setText("nowhere")

    window.click(window.widget.form.bar.run)
    window.wait_for_run()

    assert len(notifications) == 1
    assert "nowhere" in notifications[0].message
    assert "conv" in notifications[0].message


def test_an_unexpected_error_is_readable_too(
    window: Window, stub: Stub, notifications: list[Notification], caplog: pytest.LogCaptureFixture
) -> None:
    """A bug must neither be silent nor end the session; the log keeps what a developer needs."""
    stub.answer = ZeroDivisionError("division by zero")
    stub.go_on.set()
    window.open(phantom())

    window.click(window.widget.form.bar.run)
    window.wait_for_run()

    assert ["ZeroDivisionError: division by zero" in n.message for n in notifications] == [True]
    assert "Traceback" in caplog.text


def test_a_bundle_from_outside_asks_and_no_means_no(
    window: Window, tmp_path: Path, answer: Callable[..., list[Any]]
) -> None:
    """Its config can execute code: nothing of it may run before a person has agreed."""
    mark = tmp_path / "executed"
    path = write_bundle(tmp_path / "evil", code=f"__import__('pathlib').Path({str(mark)!r}).touch()")
    window.open(phantom())
    window.widget.form.scan.open_bundle(str(path))
    asked = answer(lambda box: box.button(QMessageBox.StandardButton.Cancel).click())

    window.click(window.widget.form.bar.run)

    assert str(path) in asked[0]
    assert "execute any code" in asked[0]
    assert window.widget.job is None
    assert not mark.exists()


def test_a_bundle_from_outside_runs_after_a_yes_and_asks_once(
    window: Window, tmp_path: Path, answer: Callable[..., list[Any]]
) -> None:
    """Yes lets it run; asking again for every scan would train people to click it away."""
    mark = tmp_path / "executed"
    path = write_bundle(tmp_path / "outside", code=f"__import__('pathlib').Path({str(mark)!r}).touch()")
    window.open(phantom())
    window.widget.form.scan.open_bundle(str(path))
    asked = answer(lambda box: next(b for b in box.buttons() if b.text() == "Run it").click())

    window.click(window.widget.form.bar.run)
    window.wait_for_run()
    window.click(window.widget.form.bar.run)
    window.wait_for_run()

    assert len(asked) == 1
    assert mark.exists()
    assert window.names == ["phantom", "Grad-CAM: lesion", "Probability: lesion", "Regions: lesion"]


def test_a_harmless_bundle_from_outside_runs_without_a_question(window: Window, tmp_path: Path) -> None:
    """Who is asked about what cannot do harm learns to click questions away."""
    path = write_bundle(tmp_path / "harmless")
    window.open(phantom())
    window.widget.form.scan.open_bundle(str(path))

    window.click(window.widget.form.bar.run)
    window.wait_for_run()

    assert "Probability: lesion" in window.names
    assert not consent.is_trusted(window.widget.form.scan.info)


def test_a_folder_that_is_no_bundle_is_refused(
    window: Window, tmp_path: Path, notifications: list[Notification]
) -> None:
    """The wrong folder is picked easily; the message says what is missing."""
    chosen = window.widget.form.scan.bundle.currentText()

    window.widget.form.scan.open_bundle(str(tmp_path))

    assert len(notifications) == 1
    assert "metadata.json" in notifications[0].message
    assert window.widget.form.scan.bundle.currentText() == chosen


def test_running_again_replaces_the_overlays(window: Window) -> None:
    """Stacks of outdated overlays would be mistaken for each other."""
    volume = phantom()
    show(window, result_of(volume))
    window.widget.show_result(result_of(volume))

    assert window.names == ["phantom", "Grad-CAM: lesion", "Probability: lesion", "Regions: lesion"]


def test_results_of_another_scan_stay_but_are_hidden(window: Window) -> None:
    """Two scans lie in the same place: overlays of one must not seem to belong to the other."""
    show(window, result_of(phantom(name="first")))
    first = window.layer("Probability: lesion")
    show(window, result_of(phantom(name="second")))

    assert first in window.viewer.layers
    assert not first.visible
    assert len(window.names) == 8


def test_the_scan_stays_the_active_layer(window: Window) -> None:
    """Window and level of the scan are what a reader reaches for after a run."""
    result = result_of(phantom())
    scan = window.open(result.volume)
    window.widget.show_result(result)

    assert window.viewer.layers.selection.active is scan


def test_the_threshold_changes_the_picture_at_once_and_computes_no_map(window: Window) -> None:
    """The slider must feel like a slider: same array, other limits."""
    result = result_of(phantom())
    show(window, result)
    layer = window.layer("Probability: lesion")
    data = layer.data

    window.widget.controls.set_threshold(0.75)

    assert layer.data is data
    assert layer.contrast_limits[0] == pytest.approx(0.75)
    assert layer.colormap.map([0])[0, 3] == 0


def test_regions_follow_the_threshold(window: Window) -> None:
    """The table must always say at which threshold it was measured, and be right about it."""
    show(window, result_of(phantom()))
    table = window.widget.table

    assert "0.50" in table.caption.text()
    assert len(table.regions) == 2

    window.widget.controls.set_threshold(0.75)
    assert "0.75…" in table.caption.text()
    window.qtbot.waitUntil(lambda: "measured at probability ≥ 0.75" in table.caption.text(), timeout=WAIT_MS)

    assert [r.n_voxels for r in table.regions] == [8 * 16 * 3]
    assert int(window.layer("Regions: lesion").data.max()) == 1

    window.widget.controls.set_threshold(0.95)
    window.qtbot.waitUntil(lambda: "measured at probability ≥ 0.95" in table.caption.text(), timeout=WAIT_MS)
    assert table.regions == ()


def test_only_the_last_threshold_of_a_drag_is_measured(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drag passes dozens of values; measuring each would lag behind the hand."""
    measured: list[float] = []
    original = work.measure_again

    def spy(result: CaseResult, threshold: float, rules: RegionRules, progress: Progress) -> CaseResult:
        measured.append(threshold)
        return original(result, threshold, rules, progress)

    monkeypatch.setattr(work, "measure_again", spy)
    show(window, result_of(phantom()))

    for hundredths in range(51, 80):
        window.widget.controls.set_threshold(hundredths / 100)
    window.qtbot.waitUntil(lambda: "measured" in window.widget.table.caption.text(), timeout=WAIT_MS)

    assert measured == [0.79]


def test_a_measurement_that_fails_is_said_once(
    window: Window, monkeypatch: pytest.MonkeyPatch, notifications: list[Notification]
) -> None:
    """An error that repeated itself forever would be worse than none."""

    def fail(*_: object) -> CaseResult:
        raise InputError("Volume 'phantom' holds values that are not finite.")

    monkeypatch.setattr(work, "measure_again", fail)
    show(window, result_of(phantom()))

    window.widget.controls.set_threshold(0.7)
    window.qtbot.waitUntil(lambda: bool(notifications), timeout=WAIT_MS)
    window.qtbot.wait(600)  # long enough for a second attempt

    assert [n.message for n in notifications] == ["Volume 'phantom' holds values that are not finite."]
    assert "not finite" in window.widget.table.caption.text()


def test_a_new_result_overtakes_a_measurement_of_the_old_one(window: Window) -> None:
    """Regions of the earlier run over the maps of the later one would be a silent mistake."""
    volume = phantom()
    show(window, result_of(volume))
    window.widget.controls.set_threshold(0.75)
    array = np.zeros(volume.grid.shape, dtype=np.float32)
    array[SMALL_BLOB] = 0.8
    window.widget.show_result(result_of(volume, {"lesion": array}))
    window.qtbot.wait(600)  # longer than the earlier request would have taken

    assert [r.n_voxels for r in window.widget.table.regions] == [3 * 6 * 2]
    assert "0.50" in window.widget.table.caption.text()


def test_a_click_leads_to_the_centre_of_the_region(window: Window) -> None:
    """The reader must land on the voxel of the centroid, in every plane, not near it."""
    volume = phantom()
    show(window, result_of(volume))
    view = DisplayView(volume.grid)

    for row, region in enumerate(window.widget.table.regions):
        window.click_row(row)
        expected = view.position(np.rint(region.centroid_ijk))

        np.testing.assert_allclose(window.viewer.dims.point, expected)
        np.testing.assert_allclose(window.viewer.scene.camera.center[-2:], expected[1:])
        index = tuple(int(i) for i in window.viewer.dims.current_step)
        assert window.layer("Regions: lesion").data[index] == region.label

    window.widget.controls.planes["coronal"].click()
    window.click_row(0)
    expected = view.position(np.rint(window.widget.table.regions[0].centroid_ijk))
    np.testing.assert_allclose(window.viewer.scene.camera.center[-2:], expected[[0, 2]])


def test_the_table_sorts_by_numbers_and_still_leads_to_the_right_region(window: Window) -> None:
    """Sorted as text, 10 mL would stand before 9 mL; a row that led elsewhere would be worse."""
    volume = phantom()
    array = np.full(volume.grid.shape, 0.1, dtype=np.float32)
    array[BLOB], array[SMALL_BLOB] = 0.6, 0.9
    show(window, result_of(volume, {"lesion": array}))
    header = window.widget.table.table.horizontalHeader()

    window.widget.table.table.sortByColumn(2, header.sortIndicatorOrder())  # by mean probability, ascending
    chosen: list[Any] = []
    window.widget.table.region_chosen.connect(chosen.append)
    window.click_row(0)
    lowest = chosen[-1].probability_mean
    window.click_row(1)

    assert lowest == pytest.approx(0.6)
    assert chosen[-1].probability_mean == pytest.approx(0.9)


def test_the_arrow_keys_walk_through_the_regions(window: Window) -> None:
    """Forty lesions are read by keys, not by forty aimed clicks."""
    from qtpy.QtCore import Qt

    show(window, result_of(phantom()))
    window.click_row(0)
    chosen: list[Any] = []
    window.widget.table.region_chosen.connect(chosen.append)

    window.qtbot.keyClick(window.widget.table.table, Qt.Key.Key_Down)

    assert [region.label for region in chosen] == [2]


def test_the_chosen_region_is_outlined(window: Window) -> None:
    """Among neighbours the reader must see which one the row means."""
    show(window, result_of(phantom()))
    layer = window.layer("Regions: lesion")
    alpha = [float(layer.colormap.map(label)[..., 3]) for label in (0, 1, 2)]

    window.click_row(1)
    after = [float(layer.colormap.map(label)[..., 3]) for label in (0, 1, 2)]
    window.widget.controls.kinds["regions"].colours.setCurrentText("all regions")
    everything = [float(layer.colormap.map(label)[..., 3]) for label in (0, 1, 2)]

    assert alpha == [0, 0, 0]
    assert after == [0, 0, 1]
    assert everything == [0, 1, 1]


def test_each_overlay_is_switched_and_faded_alone(window: Window) -> None:
    """Every kind of overlay has its own controls and none moves another."""
    show(window, result_of(phantom()))
    probability, cam = window.layer("Probability: lesion"), window.layer("Grad-CAM: lesion")
    controls = window.widget.controls.kinds

    assert (probability.visible, cam.visible) == (True, False)
    controls["attribution"].visible.click()
    controls["probability"].visible.click()
    assert (probability.visible, cam.visible) == (False, True)

    before = probability.opacity
    controls["attribution"].opacity.setValue(0.25)
    assert (probability.opacity, cam.opacity) == (before, 0.25)


def test_colours_change_without_a_new_array(window: Window) -> None:
    """The colour map is a matter of taste and screen, not of computing."""
    show(window, result_of(phantom()))
    cam = window.layer("Grad-CAM: lesion")
    data = cam.data

    window.widget.controls.kinds["attribution"].colours.setCurrentText("blue-orange")

    assert cam.data is data
    assert cam.colormap.name.startswith("blue-orange")  # napari numbers those of one name
    assert cam.contrast_limits[0] == -cam.contrast_limits[1]


def test_one_class_is_shown_at_a_time(window: Window) -> None:
    """Overlays of several classes on top of each other cannot be read."""
    volume = phantom()
    large, small = (np.zeros(volume.grid.shape, dtype=np.float32) for _ in range(2))
    large[BLOB], small[SMALL_BLOB] = 0.9, 0.9
    show(window, result_of(volume, {"tumour": large, "oedema": small}))
    controls, table = window.widget.controls, window.widget.table

    assert [controls.classes.itemText(i) for i in range(2)] == ["tumour", "oedema"]
    assert (window.layer("Probability: tumour").visible, window.layer("Probability: oedema").visible) == (True, False)
    assert [r.n_voxels for r in table.regions] == [8 * 16 * 3]

    controls.classes.setCurrentText("oedema")
    assert (window.layer("Probability: tumour").visible, window.layer("Probability: oedema").visible) == (False, True)
    assert [r.n_voxels for r in table.regions] == [3 * 6 * 2]


def test_a_map_of_no_class_is_shown_beside_every_class(window: Window) -> None:
    """What a layer holds has no class that could be chosen; its colours follow its signs until the user's do."""
    volume = phantom()
    large, small = (np.zeros(volume.grid.shape, dtype=np.float32) for _ in range(2))
    large[BLOB], small[SMALL_BLOB] = 0.9, 0.9
    result = result_of(volume, {"tumour": large, "oedema": small})
    show(window, replace(result, attributions=(feature_of(volume, volume.array - 50),)))
    controls = window.widget.controls
    layer = window.layer("Mean activation: layer 0")

    assert [controls.classes.itemText(i) for i in range(controls.classes.count())] == ["tumour", "oedema"]
    controls.show_kind("attribution")
    assert layer.visible
    assert layer.colormap.name.startswith("blue-orange")  # napari numbers those of one name
    assert controls.kinds["attribution"].colours.currentText() == "blue-orange"
    controls.classes.setCurrentText("oedema")
    assert layer.visible
    assert controls.kinds["attribution"].isEnabled()

    window.widget.show_result(result)
    assert controls.kinds["attribution"].colours.currentText() == "viridis"
    controls.kinds["attribution"].colours.setCurrentText("magma")
    window.widget.show_result(replace(result, attributions=(feature_of(volume, volume.array - 50),)))
    assert controls.kinds["attribution"].colours.currentText() == "magma"


def test_a_classification_shows_its_probabilities_and_the_cam(window: Window) -> None:
    """Without a map of probabilities the explanation is what there is to see."""
    show(window, classification_of(phantom(), {"high": 0.875, "none": 0.125}))

    assert "87.5%" in window.widget.classes.text()
    assert "none" in window.widget.classes.text()
    assert window.names == ["phantom", "Grad-CAM: high"]
    assert window.layer("Grad-CAM: high").visible
    assert not window.widget.controls.kinds["probability"].isEnabled()
    assert window.widget.table.regions == ()

    window.widget.show_result(result_of(phantom()))
    assert window.widget.classes.text() == ""


def test_a_detection_shows_its_boxes_beside_the_cam(window: Window) -> None:
    """Both are of one class, and each has its own switch; the boxes follow the threshold of what was concluded."""
    show(window, detection_of(phantom(), [0.9, 0.3]))

    assert window.names == ["phantom", "Grad-CAM: nodule", "Boxes: nodule"]
    assert window.layer("Boxes: nodule").contrast_limits == pytest.approx([0.5, 1.0])
    kinds = window.widget.controls.kinds
    assert kinds["probability"].isEnabled()
    kinds["attribution"].visible.setChecked(False)
    assert window.layer("Boxes: nodule").visible
    assert not window.layer("Grad-CAM: nodule").visible
    assert "2, of which 1 have a confidence of 0.5 or more" in window.widget.table.caption.text()
    window.widget.controls.set_threshold(0.25)
    window.widget.overlays.restyle("probability", threshold=0.25)
    window.widget._show_regions()
    assert "of which 2 have a confidence of 0.25 or more" in window.widget.table.caption.text()


def test_an_anomaly_map_has_regions_at_its_own_threshold(window: Window) -> None:
    """The slider is one of probabilities: it cuts no anomaly, while the rules of the regions hold for it too."""
    volume = phantom()
    score = np.zeros(volume.grid.shape, dtype=np.float32)
    score[BLOB], score[SMALL_BLOB] = 2.5, 1.25
    odd = Heatmap(volume.with_array(score, unit="reference units"), "anomaly", "odd", False, Provenance(method="flow"))
    found = measure_classes(volume, [odd], (), 1.0)
    empty = replace(result_of(volume), probabilities=(), attributions=(odd,), thresholds={"odd": 1.0})
    show(window, replace(empty, regions=found.regions, labels=found.labels, steps=found.steps))
    table, form = window.widget.table, window.widget.form.regions

    assert "measured at anomaly ≥ 1" in table.caption.text()
    assert [r.anomaly_max for r in table.regions] == [2.5, 1.25]
    headings = [table.table.model().headerData(n, Qt.Orientation.Horizontal) for n in range(6)]
    assert headings[4:] == ["mean", "max"]
    assert table.table.model().index(0, 5).data() == "2.50"

    form.minimum.setValue(volume.grid.voxel_volume_mm3 * 100)
    window.qtbot.waitUntil(lambda: len(table.regions) == 1, timeout=WAIT_MS)
    assert table.regions[0].anomaly_max == 2.5
    assert "measured at anomaly ≥ 1" in table.caption.text()


def test_a_plain_image_is_run_with_a_notice(window: Window, stub: Stub, notifications: list[Notification]) -> None:
    """Its place in the patient is a guess, and the user must know."""
    window.viewer.add_image(np.zeros((40, 80, 12), dtype=np.float32), name="foreign", scale=(2, 1, 1))
    stub.go_on.set()

    window.click(window.widget.form.bar.run)
    window.wait_for_run()
    window.click(window.widget.form.bar.run)
    window.wait_for_run()

    assert ["foreign was not opened by LesionLens" in n.message for n in notifications] == [True, True]
    assert window.names == ["foreign", "Grad-CAM: lesion", "Probability: lesion", "Regions: lesion"]
    assert tuple(window.layer("Probability: lesion").scale) == (2, 1, 1)


@pytest.mark.parametrize("unit", ["um", "pixel"])
def test_overlays_lie_on_a_plain_image_in_any_unit(window: Window, stub: Stub, unit: str) -> None:
    """The maps are in mm; on the screen they must cover the image, and a click in the table must lead into it."""
    size = {"um": 1000.0, "pixel": 1.0}[unit]
    data = np.zeros((40, 80, 12), dtype=np.float32)
    image = window.viewer.add_image(data, name="foreign", scale=(2 * size, size, size), units=(unit,) * 3)
    stub.go_on.set()

    window.click(window.widget.form.bar.run)
    window.wait_for_run()
    window.widget.table.choose_first()

    shown = window.layer("Probability: lesion")
    np.testing.assert_allclose(window.viewer.layers._get_extent_world([shown.extent]), shown.extent.world)
    to_size = (1.0 * image.units[0] / shown.units[0]).to_base_units().magnitude
    np.testing.assert_allclose(shown.extent.world, image.extent.world * to_size, rtol=1e-6)
    assert window.viewer.layers.units == image.units
    (region, *_) = window.widget.table.regions
    axes = np.rint(region.centroid_ijk) * image.scale
    np.testing.assert_allclose(window.viewer.dims.point, axes, atol=1e-6 * size)


def test_what_could_not_be_made_is_said(window: Window, notifications: list[Notification]) -> None:
    """A run that gives probabilities without their explanation does not pass for a complete one."""
    window.open(phantom())
    result = result_of(phantom())

    window.widget.show_result(replace(result, record={"warnings": ["There is no attribution map: no layer."]}))

    assert [n.message for n in notifications] == ["There is no attribution map: no layer."]


def record_of(result: CaseResult) -> dict[str, Any]:
    """Return as much of a record as reading results back needs."""
    return {
        "schema_version": 1,
        "input": {"sha256": "", "name": "phantom"},
        "bundle": {"name": "test", "version": "1", "sha256": "", "weights_sha256": ""},
        "options": {"threshold": result.threshold},
        "class_probabilities": {},
        "versions": {},
        "seconds": {},
        "maps": [
            {
                "file": f"{m.name}.nii.gz",
                "kind": m.kind,
                "class": m.label,
                "method": m.provenance.method,
                "target": "",
                "layer": "",
                "resolution_mm": None,
                "options": {},
                "notes": [],
            }
            for m in (*result.probabilities, *result.attributions)
        ],
    }


@pytest.mark.parametrize("threshold", [0.123, 0.6004, 0.995, 1.0, 0.004])
def test_results_are_shown_at_exactly_their_threshold(window: Window, tmp_path: Path, threshold: float) -> None:
    """Rounding it would measure again, and show other regions than the folder holds."""
    volume = phantom()
    array = np.full(volume.grid.shape, 0.001, dtype=np.float32)
    array[BLOB], array[SMALL_BLOB] = 1.0, np.nextafter(np.float32(threshold), np.float32(0))  # just not a region
    result = result_of(volume, {"lesion": array}, threshold=threshold)
    folder = write_case(replace(result, record=record_of(result)), tmp_path / "results")
    window.open(volume)

    window.widget.open_results(str(folder))
    window.wait_for_run()
    window.qtbot.wait(600)  # longer than the table waits before it measures again

    shown = window.layer("Regions: lesion")
    assert window.widget.controls.threshold == threshold
    assert f"measured at probability ≥ {threshold:.4g}" in window.widget.table.caption.text().replace("1.00,", "1,")
    assert [r.n_voxels for r in window.widget.table.regions] == [r.n_voxels for r in result.regions["lesion"]]
    np.testing.assert_array_equal(shown.data, DisplayView(volume.grid).to_display(result.labels["lesion"]))
    assert shown.metadata["threshold"] == threshold
    assert window.layer("Probability: lesion").contrast_limits[0] == pytest.approx(threshold, abs=1e-6)


def test_the_slider_moves_on_from_an_exact_threshold_in_its_own_steps(window: Window) -> None:
    """Once the user takes hold of it, what the slider shows is what counts; it never reaches 0."""
    show(window, result_of(phantom(), threshold=0.004))
    slider = window.widget.controls.kinds["probability"].threshold
    assert slider is not None

    slider.setValue(0.7512)
    assert window.widget.controls.threshold == 0.75

    slider.setValue(slider.minimum())
    assert window.widget.controls.threshold == 0.01


def test_a_class_with_a_probability_is_shown_first(window: Window) -> None:
    """Explaining the background must not open the viewer on a class of which there is no probability to see."""
    volume = phantom()
    result = result_of(volume)
    (cam,) = result.attributions
    background = replace(cam, label="background")
    show(window, replace(result, attributions=(background,)))
    controls = window.widget.controls

    assert controls.classes.currentText() == "lesion"
    assert window.layer("Probability: lesion").visible
    assert len(window.widget.table.regions) == 2
    assert not controls.kinds["attribution"].isEnabled()

    controls.classes.setCurrentText("background")
    controls.kinds["attribution"].visible.setChecked(True)

    assert controls.kinds["attribution"].isEnabled()
    assert not controls.kinds["probability"].isEnabled()
    assert window.layer("Grad-CAM: background").visible


def test_results_of_an_earlier_run_are_opened(window: Window, tmp_path: Path) -> None:
    """A batch ran over night; in the morning its results are read, not computed again."""
    volume = phantom()
    result = result_of(volume, threshold=0.4)
    folder = write_case(replace(result, record=record_of(result)), tmp_path / "results")
    window.open(volume)

    window.widget.open_results(str(folder))
    window.wait_for_run()

    assert window.names == ["phantom", "Grad-CAM: lesion", "Probability: lesion", "Regions: lesion"]
    assert window.widget.controls.threshold == 0.4
    heatmap = heatmap_of(window.layer("Probability: lesion"))
    assert heatmap is not None
    np.testing.assert_array_equal(heatmap.array, result.probabilities[0].array)


def test_a_folder_without_results_is_refused(window: Window, tmp_path: Path, notifications: list[Notification]) -> None:
    """The wrong folder is picked easily."""
    window.open(phantom())

    window.widget.open_results(str(tmp_path))
    window.wait_for_run()

    assert len(notifications) == 1
    assert "record.json" in notifications[0].message


def test_plane_buttons_turn_the_view(window: Window) -> None:
    """The head is up in coronal slices though slices are stored from the feet."""
    window.open(phantom())

    window.widget.controls.planes["coronal"].click()

    assert tuple(window.viewer.dims.order) == CORONAL.order
    assert tuple(str(o) for o in window.viewer.scene.camera.orientation) == CORONAL.orientation


def test_a_map_of_a_class_that_is_not_seen_says_so_as_long_as_it_is_shown(window: Window) -> None:
    """A picture of it must not be taken for a finding: name, notice and status say what it is."""
    result = result_of(phantom())
    cam = result.attributions[0]
    unseen = replace(cam, provenance=replace(cam.provenance, options={"seen": False, "class_probability": 0.03}))
    show(window, replace(result, attributions=(unseen,)))
    notice = window.viewer.canvas.overlays["lesionlens_research_use_only"]
    box = window.widget.controls.kinds["attribution"].visible
    layer = window.layer("Grad-CAM: lesion (not seen)")
    assert "not seen" in window.widget.form.bar.status.text()

    assert "not seen" not in notice.text.replace("\n", " ")
    box.setChecked(True)
    assert "lesion: not seen by the model (p 0.03)" in notice.text.replace("\n", " ")
    window.widget.controls.kinds["attribution"].opacity.setValue(1.0)
    assert 0 < layer.opacity < 1
    assert layer.colormap.name.startswith("not seen")
    box.setChecked(False)
    assert "not seen" not in notice.text.replace("\n", " ")
    show(window, result)
    window.widget.controls.kinds["attribution"].visible.setChecked(True)
    assert "not seen" not in notice.text


def test_kept_maps_outlive_the_next_result(window: Window) -> None:
    """Two methods are compared by having both; without being asked to, old maps make room."""
    result = result_of(phantom())
    show(window, result)

    window.click(window.widget.controls.keep)
    window.widget.show_result(result)
    window.widget.show_result(result)

    assert window.names.count("Grad-CAM: lesion (test 1)") == 1
    assert window.names.count("Grad-CAM: lesion") == window.names.count("Regions: lesion") == 1
    assert not window.layer("Probability: lesion (test 1)").visible
    assert window.layer("Probability: lesion").visible
