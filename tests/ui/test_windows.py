"""The window of the scan: chosen in the dock, by keys and by dragging, and always said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import napari.layers
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer
from napari.utils.key_bindings import coerce_keybinding
from napari.utils.shortcuts import default_shortcuts
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication

from lesionlens.ui.layers import volume_layer
from lesionlens.ui.viewing_keys import KEYS
from lesionlens.ui.window_controls import WindowControls
from lesionlens.ui.windows import drag_window, shown_scan, step_window, window_now, windows_of
from lesionlens.volume import Source, Volume
from lesionlens.windowing import Window as Grey
from ui_cases import grid, phantom
from ui_window import WAIT_MS, Window


def ct(*, windows: tuple[Grey, ...] = ()) -> Volume:
    """Return a CT with a ramp from -1000 to 1000 HU along its first axis."""
    array = np.broadcast_to(np.linspace(-1000, 1000, 40, dtype=np.float32)[:, None, None], (40, 80, 12)).copy()
    return Volume(array, grid(), "ct", "HU", Source("dicom", modality="CT", windows=windows))


def names_of(window: Window) -> list[str]:
    """Return the windows that the dock offers."""
    box = window.widget.window_controls.windows
    return [box.itemText(row) for row in range(box.count())]


def choose(window: Window, name: str) -> None:
    """Choose a window as a click does."""
    box = window.widget.window_controls.windows
    box.setCurrentIndex(box.findText(name))
    box.activated.emit(box.currentIndex())


def test_windows_of_a_ct_are_offered_with_those_of_its_files_first(window: Window) -> None:
    """Readers look for the window of the console, then for their usual ones."""
    layer = window.open(ct(windows=(Grey("DICOM: HEAD", 35, 100, "LINEAR", "DICOM"),)))

    names = names_of(window)
    assert names[:3] == ["set by hand", "automatic", "DICOM: HEAD"]
    assert {"brain", "stroke", "subdural", "lung", "bone", "liver", "mediastinum"} <= set(names)
    choose(window, "DICOM: HEAD")
    assert tuple(layer.contrast_limits) == (-15, 84)
    choose(window, "lung")
    assert tuple(layer.contrast_limits) == (-1350, 150)
    assert "C -600 W 1500 (-1350 to 150 HU)" in window.widget.window_controls.now.text()


def test_windows_of_an_mr_are_percentiles(window: Window) -> None:
    """Its values have no scale in common with another scan's."""
    window.open(phantom())

    assert "1 to 99 %" in names_of(window)
    assert "brain" not in names_of(window)


def test_what_is_shown_is_said_wherever_it_was_changed(window: Window) -> None:
    """Sliders of napari change the window too; a name that does not hold would mislead."""
    layer = window.open(ct())
    controls = window.widget.window_controls
    assert controls.windows.currentText() == "automatic"

    layer.contrast_limits = (0, 80)
    assert controls.windows.currentText() == "brain"
    layer.contrast_limits = (3, 80)
    assert controls.windows.currentText() == "set by hand"
    assert "C 41.5 W 77 (3 to 80 HU)" in controls.now.text()
    legend = window.viewer.canvas.overlays["lesionlens_legend"]
    window.qtbot.waitUntil(lambda: "41.5" in legend.text, timeout=WAIT_MS)


def test_the_topmost_scan_that_is_switched_on_counts(window: Window) -> None:
    """Two scans have two windows; one that is hidden has none to set."""
    first, second = window.open(ct()), window.open(phantom())
    assert shown_scan(window.viewer) is second
    assert "brain" not in names_of(window)

    second.visible = False
    assert shown_scan(window.viewer) is first
    assert "brain" in names_of(window)
    first.visible = False
    assert not window.widget.window_controls.isEnabled()


def test_a_window_that_is_not_applied_in_full_says_so(window: Window) -> None:
    """The tangent of a sigmoid is not the sigmoid."""
    window.open(ct(windows=(Grey("DICOM 1", 35, 100, "SIGMOID", "DICOM", "a sigmoid"),)))

    choose(window, "DICOM 1")

    assert "a sigmoid" in window.widget.window_controls.now.text()


def test_keys_walk_through_the_windows(window: Window) -> None:
    """Forwards, backwards, and round the end; from a window set by hand to the first."""
    layer = window.open(ct())
    handler = window.viewer.window._qt_viewer.canvas._key_map_handler
    windows = windows_of(layer)

    handler.press_key("W")
    assert window_now(layer) == windows[1]
    handler.press_key("Shift-W")
    handler.press_key("Shift-W")
    assert window_now(layer) == windows[-1]
    layer.contrast_limits = (7, 8)
    handler.press_key("W")
    assert window_now(layer) == windows[0]
    window.viewer.layers.clear()
    step_window(window.viewer, 1)


def test_no_key_shadows_one_of_napari() -> None:
    """A reader who knows napari must find it as it is, in every kind of layer."""
    ours = {coerce_keybinding(key) for key in KEYS.values()}
    assert len(ours) == len(KEYS)
    taken = {coerce_keybinding(key) for keys in default_shortcuts.values() for key in keys}
    layers = [getattr(napari.layers, name) for name in napari.layers.__all__]
    classes = [one for one in layers if hasattr(one, "class_keymap")]
    assert len(classes) >= 8
    for provider in (ViewerModel, *classes):
        taken |= {coerce_keybinding(key) for key in provider.class_keymap}

    assert len(taken) > 40
    assert coerce_keybinding("V") in taken
    assert ours & taken == set()


def drag(window: Window, button: int, modifiers: tuple[str, ...], to: tuple[float, float]) -> None:
    """Press, move from (100, 100), and let go, as napari tells of it."""
    event = SimpleNamespace(button=button, modifiers=modifiers, pos=np.array([100.0, 100.0]), type="mouse_press")
    following = drag_window(window.viewer, event)
    if next(following, "over") == "over":
        return
    event.type, event.pos = "mouse_move", np.array(to)
    next(following)
    event.type = "mouse_release"
    assert next(following, "over") == "over"


@pytest.mark.parametrize(("button", "modifiers"), [(3, ()), (2, ("Shift",))])
def test_dragging_changes_width_and_centre(window: Window, button: int, modifiers: tuple[str, ...]) -> None:
    """250 pixels to the right double the width; downwards the picture gets darker."""
    layer = window.open(ct())
    layer.contrast_limits = (0, 80)

    drag(window, button, modifiers, (350, 100))
    assert tuple(layer.contrast_limits) == pytest.approx((-40, 120))
    layer.contrast_limits = (0, 80)
    drag(window, button, modifiers, (100, 225))
    assert tuple(layer.contrast_limits) == pytest.approx((40, 120))


@pytest.mark.parametrize(
    ("button", "modifiers"), [(1, ()), (2, ()), (1, ("Shift",)), (2, ("Control", "Shift")), (3, ("Alt",))]
)
def test_drags_that_napari_knows_change_no_window(window: Window, button: int, modifiers: tuple[str, ...]) -> None:
    """The left button moves the picture, the right one zooms."""
    layer = window.open(ct())
    before = tuple(layer.contrast_limits)

    drag(window, button, modifiers, (350, 225))

    assert tuple(layer.contrast_limits) == before


def test_controls_that_are_closed_listen_no_more(viewer: Any) -> None:
    """Docks that come and go must not leave their ears behind, nor fail when the scan changes afterwards."""
    before = len(viewer.mouse_drag_callbacks)
    controls = WindowControls(viewer)
    assert len(viewer.mouse_drag_callbacks) == before + 1

    controls.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)

    assert len(viewer.mouse_drag_callbacks) == before
    viewer.add_layer(Layer.create(*volume_layer(phantom())))
