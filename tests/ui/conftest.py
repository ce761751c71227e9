"""A napari window with the LesionLens dock, driven as a person would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from napari.utils.notifications import Notification, notification_manager
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from lesionlens.ui.open import settle
from lesionlens.ui.widget import LesionLensWidget
from ui_window import Window


@pytest.fixture
def window(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Window:
    """Return a hidden window with the dock, for everything but pixels."""
    return _docked(make_napari_viewer(), qtbot)


@pytest.fixture
def visible_window(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Window:
    """Return a window that is drawn; its tests are marked xvfb."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1100, 700)
    found = _docked(viewer, qtbot)
    settle()
    return found


@pytest.fixture
def notifications() -> Iterator[list[Notification]]:
    """Return what napari tells the user from now on."""
    found: list[Notification] = []
    notification_manager.notification_ready.connect(found.append)
    yield found
    notification_manager.notification_ready.disconnect(found.append)


@pytest.fixture
def answer() -> Iterator[Callable[[Callable[[Any], None]], list[Any]]]:
    """Return a way to answer the next modal dialog: the given function gets it as soon as it is shown."""
    timers = []

    def prepare(act: Callable[[Any], None]) -> list[Any]:
        seen: list[Any] = []
        timer = QTimer(interval=20)
        timers.append(timer)

        def look() -> None:
            dialog = QApplication.activeModalWidget()
            if dialog is not None:
                timer.stop()
                seen.append(dialog)
                act(dialog)

        timer.timeout.connect(look)
        timer.start()
        return seen

    yield prepare
    for timer in timers:
        timer.stop()


def _docked(viewer: Any, qtbot: Any) -> Window:
    widget = LesionLensWidget(viewer)
    viewer.window.add_dock_widget(widget, name="LesionLens", area="right")
    return Window(viewer, widget, qtbot)
