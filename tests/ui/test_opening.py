"""Scans that are opened while the window stays usable: the picture so far, progress, cancel, questions, errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import napari
import numpy as np
import pytest
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QDialogButtonBox, QWidget

from dicom_factory import AXIAL, SAGITTAL, Plan, make_series
from lesionlens.display import DisplayView
from lesionlens.errors import ReadError
from lesionlens.io import list_series, read
from lesionlens.io.early import EarlySlice
from lesionlens.ui import jobs, scans
from lesionlens.ui import opening as opening_module
from lesionlens.ui.dialogs import SeriesDialog
from lesionlens.ui.layers import is_foreign_image, is_loading, volume_of
from lesionlens.ui.open import settle
from lesionlens.ui.opening import Opening
from lesionlens.ui.scans import Request
from ui_window import WAIT_MS, Window

SHAPE = (8, 6, 5)
TILTED = Plan(offsets=tuple((0.0, 0.7 * k, 2.5 * k) for k in range(5)))
DOUBLED = Plan(offsets=tuple((0.0, 0.0, 2.5 * min(k, 3)) for k in range(5)))


class Gate:
    """Reading that stops after some slices until it may go on, or fails there."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.after = 3  # the middle one, and the first two
        self.error: Exception | None = None

    def read(self, path: Path, *, on_slice: Any, progress: Any, **options: Any) -> Any:
        """Stand in for :func:`lesionlens.io.read`."""
        seen: list[int] = []

        def held(early: EarlySlice) -> None:
            on_slice(early)
            seen.append(early.k)
            if len(seen) == self.after:
                while not self.go_on.wait(0.001):
                    progress("Reading slices", len(seen), SHAPE[2])
                if self.error is not None:
                    raise self.error

        return read(path, on_slice=held, progress=progress, **options)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Return the control of a reading that waits in the middle of a series."""
    found = Gate()
    monkeypatch.setattr(scans, "read", found.read)
    yield found
    found.go_on.set()


def series(folder: Path, plan: Plan | None = None) -> Path:
    """Write a series of five slices."""
    make_series(folder / "series", plan or Plan(shape=SHAPE))
    return folder / "series"


def lines(viewer: Any) -> list[QWidget]:
    """Return the progress lines in the status bar of a window."""
    bar = viewer.window._qt_window.statusBar()
    return [part for part in bar.children() if type(part).__name__ == "_ProgressLine"]


def begin(window: Window, path: Path, **options: Any) -> Opening:
    """Open a scan, and wait until its picture is there."""
    opening = Opening(window.viewer, Request(path, **options))
    window.qtbot.waitUntil(lambda: opening.layer is not None, timeout=WAIT_MS)
    return opening


def wait_for_end(window: Window) -> None:
    """Wait until nothing is read any more, and what is to be deleted is."""
    window.qtbot.waitUntil(lambda: not jobs._running.jobs, timeout=WAIT_MS)
    settle()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


def banner(window: Window) -> str:
    """Return what is written at the bottom of the canvas, however its lines are broken."""
    return " ".join(str(window.viewer.canvas.overlays["lesionlens_research_use_only"].text).split())


def test_the_middle_slice_is_seen_before_all_are_read(window: Window, tmp_path: Path, gate: Gate) -> None:
    """The picture says that it is loading, shows what is there, and is black where nothing was read."""
    plan = Plan(shape=SHAPE)
    opening = begin(window, series(tmp_path))
    assert opening.layer is not None
    window.qtbot.waitUntil(lambda: opening._drawn == 3 or opening._preview.done == 3, timeout=WAIT_MS)
    layer = opening.layer
    shown = int(window.viewer.dims.current_step[0])
    picture = np.asarray(layer.data)
    seen = [bool(picture[k].any()) for k in range(SHAPE[2])]

    assert layer.name == "Loading: MR series 4"
    assert seen == [True, True, True, False, False]  # k = 0, 1 and the middle; the slices go upwards
    assert shown == 2
    assert picture.dtype == np.uint8
    assert "Loading: MR series 4 — not complete" in banner(window)

    gate.go_on.set()
    wait_for_end(window)
    volume = volume_of(window.viewer.layers[0])

    assert window.names == ["MR series 4"]
    assert volume is not None
    np.testing.assert_array_equal(volume.array, plan.values())
    assert "Loading" not in banner(window)
    assert lines(window.viewer) == []


def test_nothing_can_be_run_on_a_scan_that_is_half_read(window: Window, tmp_path: Path, gate: Gate) -> None:
    """Its picture is neither a scan nor an image of somebody else; the dock offers the scan when it is whole."""
    opening = begin(window, series(tmp_path))
    form = window.widget.form
    assert opening.layer is not None

    assert is_loading(opening.layer)
    assert (volume_of(opening.layer), is_foreign_image(opening.layer)) == (None, False)
    assert not form.bar.run.isEnabled()

    gate.go_on.set()
    wait_for_end(window)

    assert form.scan.volume.currentData() is window.viewer.layers[0]
    assert form.bar.run.isEnabled()


@pytest.mark.parametrize(("orientation", "order"), [(AXIAL, (0, 1, 2)), (SAGITTAL, (2, 0, 1))])
def test_the_plane_is_the_one_that_was_taken(
    window: Window, tmp_path: Path, gate: Gate, orientation: tuple[float, ...], order: tuple[int, ...]
) -> None:
    """Across the slices there would be a single line to see."""
    plan = Plan(shape=SHAPE, orientation=orientation)
    opening = begin(window, series(tmp_path, plan))
    assert opening._preview.first is not None
    index = int(DisplayView(opening._preview.first.grid).display_index((0, 0, 2))[order[0]])

    assert tuple(window.viewer.dims.order) == order
    assert window.viewer.dims.current_step[order[0]] == index

    gate.go_on.set()
    wait_for_end(window)
    assert tuple(window.viewer.dims.order) == order


def test_cancel_takes_the_picture_away(window: Window, tmp_path: Path, gate: Gate) -> None:
    """Half a scan must not stay behind."""
    opening = begin(window, series(tmp_path))
    over: list[bool] = []
    opening.ended.connect(lambda: over.append(True))

    window.click(opening.line.cancel)
    wait_for_end(window)

    assert not gate.go_on.is_set()
    assert window.names == []
    assert over == [True]
    assert lines(window.viewer) == []


def test_removing_the_picture_cancels(window: Window, tmp_path: Path, gate: Gate) -> None:
    """Who deletes the layer does not want the scan to come back."""
    opening = begin(window, series(tmp_path))

    window.viewer.layers.clear()
    wait_for_end(window)

    assert not gate.go_on.is_set()
    assert window.names == []
    assert opening.layer is None


def test_an_error_in_the_middle_is_said_and_takes_the_picture_away(
    window: Window, tmp_path: Path, gate: Gate, notifications: list[Any]
) -> None:
    """A series with a damaged slice is no scan, however far it was shown."""
    gate.error = ReadError("slice-3 is damaged. Export it again.")
    opening = begin(window, series(tmp_path))
    said: list[str] = []
    opening.failed.connect(said.append)

    gate.go_on.set()
    wait_for_end(window)

    assert window.names == []
    assert said == ["slice-3 is damaged. Export it again."]
    assert [str(notification.message) for notification in notifications] == said
    assert lines(window.viewer) == []


def test_closing_the_window_ends_the_reading(qapp: QApplication, qtbot: Any, tmp_path: Path, gate: Gate) -> None:
    """Neither a thread nor a widget is left, and nothing is written into a window that is gone."""
    assert qapp is not None
    viewer = napari.Viewer(show=False, show_welcome_screen=False)
    opening = Opening(viewer, Request(series(tmp_path)))
    qtbot.waitUntil(lambda: opening.layer is not None, timeout=WAIT_MS)

    viewer.close()
    qtbot.waitUntil(lambda: not jobs._running.jobs, timeout=WAIT_MS)
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    settle()

    assert not gate.go_on.is_set()
    assert opening not in opening_module._openings
    assert opening.parent() is None  # as a child it would be deleted twice
    assert not [part for part in QApplication.allWidgets() if type(part).__name__ == "_ProgressLine"]


def test_a_second_scan_leaves_the_view_alone(window: Window, tmp_path: Path) -> None:
    """Whoever compares two scans has chosen a slice."""
    begin_path = series(tmp_path)
    window.widget.open_scan(str(begin_path))
    wait_for_end(window)
    window.viewer.dims.set_current_step(0, 4)

    window.widget.open_scan(str(begin_path))
    wait_for_end(window)

    assert len(window.names) == 2
    assert window.viewer.dims.current_step[0] == 4


@pytest.fixture
def two_series(tmp_path: Path) -> Path:
    """Return a folder with a regular series and a tilted one."""
    make_series(tmp_path / "both", Plan(number=1, description="FLAIR"))
    make_series(tmp_path / "both", Plan(number=2, description="T1", offsets=TILTED.offsets))
    return tmp_path / "both"


@pytest.mark.xvfb
def test_of_several_series_one_is_chosen_and_then_what_to_do_with_it(
    visible_window: Window, two_series: Path, answer: Callable[..., list[Any]]
) -> None:
    """An irregular series can be chosen like any other; the next question is about its slices."""
    texts: list[str] = []

    def choose_series(dialog: Any) -> None:
        texts.extend(dialog.list.item(n).text() for n in range(dialog.list.count()))
        dialog.list.setCurrentRow(1)
        answer(choose_way)
        dialog.buttons.button(QDialogButtonBox.StandardButton.Open).click()

    def choose_way(dialog: Any) -> None:
        dialog.ways["resample"].setChecked(True)
        dialog.accept()

    answer(choose_series)
    visible_window.widget.open_scan(str(two_series))
    visible_window.qtbot.waitUntil(lambda: bool(visible_window.names), timeout=WAIT_MS)
    wait_for_end(visible_window)
    volume = volume_of(visible_window.viewer.layers[0])

    assert [("irregular slices" in text) for text in texts] == [False, True]
    assert volume is not None
    assert volume.source.verdict.handled == "resample"
    assert "resampled onto a regular grid at the true positions" in banner(visible_window)
    assert "resampled onto a regular grid" in visible_window.viewer.layers[0].metadata["geometry"]


def test_the_list_of_series_says_which_is_no_scan(two_series: Path, qtbot: Any) -> None:
    """A localiser can be opened, but not by mistake."""
    make_series(two_series, Plan(number=3, description="survey", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")))

    dialog = SeriesDialog(list_series(two_series))
    qtbot.addWidget(dialog)

    texts = [dialog.list.item(n).text() for n in range(dialog.list.count())]
    assert [("localiser" in text) for text in texts] == [False, False, True]


@pytest.mark.xvfb
@pytest.mark.parametrize("way", ["refuse", "as-is", "cancel"])
def test_irregular_slices_are_asked_about(
    visible_window: Window, tmp_path: Path, answer: Callable[..., list[Any]], way: str
) -> None:
    """What is wrong, where, and by how much stands in the question; nothing opens unless it is wanted."""
    found: dict[str, Any] = {}

    def choose(dialog: Any) -> None:
        found.update(text=dialog.found.text(), default=dialog.chosen)
        if way == "cancel":
            dialog.reject()
            return
        dialog.ways[way].setChecked(True)
        dialog.buttons.button(QDialogButtonBox.StandardButton.Ok).click()

    answer(choose)
    opening = Opening(visible_window.viewer, Request(series(tmp_path, TILTED)))
    over: list[bool] = []
    opening.ended.connect(lambda: over.append(True))
    visible_window.qtbot.waitUntil(lambda: bool(over), timeout=WAIT_MS)
    wait_for_end(visible_window)

    assert found["default"] == "refuse"
    assert "tilt: the slices are stacked 15.6 degrees off their normal" in found["text"]
    assert "up to 2.8 mm wrong" in found["text"]  # four steps of 0.7 mm sideways
    assert visible_window.names == (["MR series 4"] if way == "as-is" else [])
    if way == "as-is":
        assert "voxels kept as they are" in banner(visible_window)
        assert "voxels kept as they are" in visible_window.viewer.layers[0].metadata["geometry"]


@pytest.mark.xvfb
def test_what_cannot_be_resampled_is_not_offered_for_it(
    visible_window: Window, tmp_path: Path, answer: Callable[..., list[Any]]
) -> None:
    """Two slices at one place have no order to interpolate in."""
    offered: dict[str, bool] = {}

    def look(dialog: Any) -> None:
        offered.update({way: button.isEnabled() for way, button in dialog.ways.items()})
        dialog.reject()

    answer(look)
    Opening(visible_window.viewer, Request(series(tmp_path, DOUBLED)))
    wait_for_end(visible_window)

    assert offered == {"refuse": True, "resample": False, "as-is": True}


@pytest.mark.xvfb
def test_the_picture_is_drawn_as_it_grows(visible_window: Window, tmp_path: Path, gate: Gate) -> None:
    """What is on the screen follows what has been read: the last slice is black, then it is not."""
    gate.after = 1
    plan = Plan(shape=(40, 40, 5), spacing=(1.0, 1.0, 2.0))
    opening = begin(visible_window, series(tmp_path, plan))
    viewer = visible_window.viewer
    middle = visible_window.pixels
    viewer.dims.set_current_step(0, 4)
    unread = visible_window.pixels

    gate.go_on.set()
    wait_for_end(visible_window)
    whole = visible_window.pixels

    def brightness(pixels: Any) -> float:
        return float(pixels[150:350, 150:350].mean())

    assert opening.layer is None
    assert brightness(middle) > 50
    assert brightness(unread) < 1
    assert brightness(whole) > 200  # the values grow with the slices
