"""The window that the command line opens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import napari
import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication

from dicom_factory import AXIAL, CORONAL, SAGITTAL, Plan, make_series
from lesionlens.display import DisplayView
from lesionlens.heatmap import Heatmap, LabelMap, Provenance
from lesionlens.io import read, write
from lesionlens.ui.layers import is_loading
from lesionlens.ui.notices import show_notes
from lesionlens.ui.open import open_viewer, save_screenshot, view_scan
from lesionlens.ui.scans import Request
from lesionlens.ui.widget import LesionLensWidget
from lesionlens.volume import Grid, Volume
from review_cases import blobs, write_results
from ui_cases import BLOB, phantom, result_of
from ui_window import WAIT_MS, close_dock, dock_into


@pytest.mark.xvfb
def test_results_open_on_the_largest_region_and_are_pictured(qapp: QApplication, tmp_path: Path) -> None:
    """`lesionlens demo` without a display lives from this picture: dock, scan and overlay are in it."""
    assert qapp is not None
    volume = phantom()
    viewer = open_viewer(volume, result_of(volume))
    docks = [dock for dock in viewer.window.dock_widgets.values() if isinstance(dock, LesionLensWidget)]
    slice_index = int(viewer.dims.current_step[0])
    names = [layer.name for layer in viewer.layers]

    path = save_screenshot(viewer, tmp_path / "window.png")
    viewer.close()
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)

    assert len(docks) == 1
    assert names == ["phantom", "Grad-CAM: lesion", "Probability: lesion", "Regions: lesion"]
    assert slice_index == round(float(DisplayView(volume.grid).display_index([s.start for s in BLOB])[0])) + 1
    assert pixels.shape[1] > 1000
    # Cyan, the outline of the selected region, is nowhere else in the window.
    assert ((pixels[..., 0] < 60) & (pixels[..., 1] > 200) & (pixels[..., 2] > 200)).sum() > 100


def test_uncertainty_waits_to_be_switched_on(qapp: QApplication) -> None:
    """Four maps of each class would hide each other; results that replace these take them along."""
    assert qapp is not None
    volume = phantom()
    made = Provenance(method="entropy")
    array = np.full(volume.grid.shape, 0.3, np.float32)
    entropy = Heatmap(volume.with_array(array, unit="nats"), "uncertainty", "lesion", False, made)

    viewer = open_viewer(volume, replace(result_of(volume), uncertainties=(entropy,)), show=False)
    layer = viewer.layers["Entropy (nats): lesion"]
    shown = layer.visible
    (dock,) = [dock for dock in viewer.window.dock_widgets.values() if isinstance(dock, LesionLensWidget)]
    dock.show_result(result_of(volume))
    left = [layer.name for layer in viewer.layers]
    viewer.close()

    assert not shown
    assert left == ["phantom", "Grad-CAM: lesion", "Probability: lesion", "Regions: lesion"]


def test_masks_from_elsewhere_are_shown_and_cannot_be_painted(qapp: QApplication) -> None:
    """The mask lies over its scan, as an outline; the scan stays the volume that a bundle runs on."""
    assert qapp is not None
    volume = phantom()
    labels = np.zeros(volume.grid.shape, np.int32)
    labels[BLOB] = 1
    mask = LabelMap(volume.with_array(labels), "lesions", {}, Provenance())

    viewer = open_viewer(volume, overlays=[mask], show=False)
    layer = viewer.layers["Mask: lesions"]
    (dock,) = [dock for dock in viewer.window.dock_widgets.values() if isinstance(dock, LesionLensWidget)]
    chosen = dock.form.scan.volume.currentText()
    shown = (layer.visible, layer.contour, layer.editable)
    viewer.close()

    assert shown == (True, 1, False)
    assert chosen == volume.name


def test_a_mask_from_elsewhere_outlives_the_results_of_a_run(qapp: QApplication) -> None:
    """A reader's mask beside what a model found is what both are opened for, and a further run must not take it."""
    assert qapp is not None
    volume = phantom()
    labels = np.zeros(volume.grid.shape, np.int32)
    labels[BLOB] = 1
    mask = LabelMap(volume.with_array(labels), "by hand", {}, Provenance())

    viewer = open_viewer(volume, result_of(volume), overlays=[mask], show=False)
    opened = [layer.name for layer in viewer.layers]
    (dock,) = [dock for dock in viewer.window.dock_widgets.values() if isinstance(dock, LesionLensWidget)]
    dock.show_result(result_of(volume))
    after_a_run = {layer.name for layer in viewer.layers if layer.visible}
    n_layers = len(viewer.layers)
    viewer.close()

    assert opened == ["phantom", "Grad-CAM: lesion", "Probability: lesion", "Regions: lesion", "Mask: by hand"]
    assert "Mask: by hand" in after_a_run
    assert n_layers == len(opened)


def overlay_file(folder: Path, volume: Volume) -> Path:
    """Write a mask on another grid than the scan's."""
    coarse = Grid((4, 4, 4), volume.grid.affine @ np.diag([10, 20, 3, 1]))
    write(Volume(np.ones(coarse.shape, np.uint8), coarse), folder / "mask.nii")
    return folder / "mask.nii"


def test_the_window_is_there_before_the_scan_and_shows_what_lies_over_it(
    qapp: QApplication, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notifications: list[Any]
) -> None:
    """`lesionlens view`: dock at once, scan and overlays when they are read, what was done to them is said."""
    assert qapp is not None
    volume = phantom()
    write(volume, tmp_path / "scan.nii")
    seen: list[list[str]] = []

    def use() -> None:
        viewer = napari.current_viewer()
        assert viewer is not None
        seen.append([layer.name for layer in viewer.layers])
        qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=WAIT_MS)
        seen.append([layer.name for layer in viewer.layers])
        viewer.close()

    monkeypatch.setattr(napari, "run", use)
    failure = view_scan(Request(tmp_path / "scan.nii", overlays=(overlay_file(tmp_path, volume),)))

    assert failure == ""
    assert seen == [[], ["scan", "Mask: mask"]]
    assert any("Resampled" in str(notification.message) for notification in notifications)


def test_results_of_another_scan_leave_the_scan_in_the_window(
    qapp: QApplication, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notifications: list[Any]
) -> None:
    """Nothing of them is shown; the whole reason is behind the notice and on the command line."""
    assert qapp is not None
    mine, other = (write_results(tmp_path, f"scan-{n}", blobs(n)) for n in (1, 2))
    seen: list[str] = []

    def use() -> None:
        viewer = napari.current_viewer()
        assert viewer is not None
        qtbot.waitUntil(lambda: bool(notifications), timeout=WAIT_MS)
        seen.extend(layer.name for layer in viewer.layers)
        viewer.close()

    monkeypatch.setattr(napari, "run", use)
    failure = view_scan(Request(mine.scan, results=other.results, scan_alone=True))

    assert seen == ["scan-1"]
    assert "made from another scan" in failure
    assert [(n.message, [text for text, _ in n.actions]) for n in notifications] == [(failure, ["Details"])]


def test_a_scan_that_cannot_be_read_is_an_error_after_the_window(
    qapp: QApplication, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notifications: list[Any]
) -> None:
    """The window has said so; the command line ends with it as well."""
    assert qapp is not None
    (tmp_path / "broken.nii").write_text("this is no scan")

    def use() -> None:
        qtbot.waitUntil(lambda: bool(notifications), timeout=WAIT_MS)
        napari.current_viewer().close()  # type: ignore[union-attr]  # there is one

    monkeypatch.setattr(napari, "run", use)
    assert "broken.nii" in view_scan(Request(tmp_path / "broken.nii"))


def test_a_dock_that_is_closed_leaves_no_window_behind(viewer: Any, qtbot: Any) -> None:
    """Twenty cases a day must not pile up hidden widgets."""
    close_dock(dock_into(viewer, qtbot))
    before = len(QApplication.allWidgets())

    for _ in range(3):
        window = dock_into(viewer, qtbot)
        window.open(phantom())
        window.widget.show_result(result_of(window.widget.form.scan.volume.currentData().metadata["lesionlens_volume"]))
        viewer.layers.clear()
        close_dock(window)
        del window
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)

    # napari keeps a handful of its own; one dock alone has more than forty.
    assert len(QApplication.allWidgets()) - before < 40


def small_mask(volume: Volume) -> LabelMap:
    """Return a mask of two slices at one end, which the middle slice does not show."""
    labels = np.zeros(volume.grid.shape, np.int32)
    labels[10:14, 10:20, 1:3] = 1
    labels[10, 10, 1] = 0  # one of the two has a voxel more
    return LabelMap(volume.with_array(labels), "by hand", {}, Provenance())


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL])
def test_an_overlay_that_covers_a_part_of_the_scan_is_in_sight_at_first(
    qapp: QApplication, tmp_path: Path, orientation: tuple[float, ...]
) -> None:
    """Whoever opens a mask wants to see it, and a canvas without it looks like an empty mask."""
    assert qapp is not None
    make_series(tmp_path, Plan(shape=(20, 30, 40), orientation=orientation))
    volume = read(tmp_path)

    viewer = open_viewer(volume, overlays=[small_mask(volume)], show=False)
    layer = viewer.layers["Mask: by hand"]
    order, steps = viewer.dims.order, viewer.dims.current_step
    shown = np.take(np.asarray(layer.data), steps[order[0]], axis=order[0])
    viewer.close()

    assert shown.sum() == np.asarray(layer.data).sum(axis=order[1:]).max()


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, SAGITTAL])
def test_a_picture_shows_a_series_in_the_plane_that_it_was_taken_in(
    qapp: QApplication, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, orientation: tuple[float, ...]
) -> None:
    """`lesionlens view` with and without --screenshot must not differ in what they show."""
    assert qapp is not None
    make_series(tmp_path / "series", Plan(orientation=orientation))
    seen = []

    def use() -> None:
        viewer = napari.current_viewer()
        assert viewer is not None
        qtbot.waitUntil(lambda: [is_loading(layer) for layer in viewer.layers] == [False], timeout=WAIT_MS)
        seen.append((viewer.dims.order, viewer.dims.current_step))
        viewer.close()

    monkeypatch.setattr(napari, "run", use)
    assert view_scan(Request(tmp_path / "series")) == ""
    viewer = open_viewer(read(tmp_path / "series"), show=False)
    pictured = viewer.dims.order, viewer.dims.current_step
    viewer.close()

    assert pictured == seen[0]
    assert pictured[0][0] == {AXIAL: 0, CORONAL: 1, SAGITTAL: 2}[orientation]


def test_many_notes_are_one_notice(notifications: list[Any]) -> None:
    """A report of two hundred findings must not cover the window with two hundred notices."""
    show_notes([])
    show_notes(f"lesion {n}: Volume {n} mm3." for n in range(200))

    (notice,) = notifications
    assert notice.message == "200 notes on what lies over the scan"
    assert [text for text, _ in notice.actions] == ["Details"]
