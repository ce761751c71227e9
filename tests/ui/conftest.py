"""Two napari windows per test process, one that is drawn and one that is not, emptied between tests.

Building a window costs seconds, emptying it none.
"""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before napari is loaded: tests neither read nor change the settings of whoever runs them.
os.environ["NAPARI_CONFIG"] = os.path.join(tempfile.mkdtemp(prefix="lesionlens-napari-"), "settings.yaml")
os.environ["LESIONLENS_CONFIG"] = os.path.dirname(os.environ["NAPARI_CONFIG"])

import napari
import pytest
from napari._qt.qt_main_window import _QtMainWindow
from napari.utils.notifications import Notification, notification_manager
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from lesionlens.ui.open import settle
from review_desk import Desk
from ui_window import Window, close_dock, dock_into

_CANVAS = (500, 500)
atexit.register(shutil.rmtree, os.path.dirname(os.environ["NAPARI_CONFIG"]), ignore_errors=True)
_SIZE = (900, 560)


@pytest.fixture(scope="session")
def shared_viewer(qapp: QApplication) -> Iterator[napari.Viewer]:
    """Return the one hidden viewer of this process."""
    assert qapp is not None
    viewer = napari.Viewer(show=False, show_welcome_screen=False)
    gc.collect()
    gc.freeze()  # as in the other conftest: what the viewer has imported
    yield viewer
    viewer.close()


@pytest.fixture
def viewer(shared_viewer: napari.Viewer) -> Iterator[napari.Viewer]:
    """Return an empty viewer without a dock of ours, which is napari's current one."""
    _make_current(shared_viewer)
    yield shared_viewer
    _empty(shared_viewer)


def _make_current(viewer: napari.Viewer) -> None:
    """Make a viewer what ``napari.current_viewer()`` returns, as a click on its window would."""
    windows = _QtMainWindow._instances
    windows.append(windows.pop(windows.index(viewer.window._qt_window)))


def _empty(viewer: napari.Viewer) -> None:
    """Bring a viewer to what it was before the test."""
    for dock in list(viewer.window.dock_widgets):
        if "LesionLens" in dock:
            viewer.window.remove_dock_widget(viewer.window.dock_widgets[dock])
    viewer.layers.clear()
    viewer.dims.ndisplay = 2
    viewer.dims.order = tuple(range(viewer.dims.ndim))
    viewer.scene.camera.orientation = ("towards", "down", "right")


@pytest.fixture
def window(viewer: napari.Viewer, qtbot: Any) -> Iterator[Window]:
    """Return a hidden window with the dock, for everything but pixels."""
    found = dock_into(viewer, qtbot)
    yield found
    close_dock(found)


@pytest.fixture(scope="session")
def shared_visible_viewer(qapp: QApplication) -> Iterator[napari.Viewer]:
    """Return the one viewer of this process that is drawn; its canvas keeps its size whatever the docks show."""
    assert qapp is not None
    viewer = napari.Viewer(show=False, show_welcome_screen=False)
    viewer.window._qt_viewer.canvas.native.setFixedSize(*_CANVAS)
    yield viewer
    viewer.close()


@pytest.fixture
def visible_window(shared_visible_viewer: napari.Viewer, qtbot: Any) -> Iterator[Window]:
    """Return an empty window that is drawn, with the dock; its tests are marked xvfb."""
    viewer = shared_visible_viewer
    _make_current(viewer)
    viewer.window.show()
    viewer.window.resize(*_SIZE)
    found = dock_into(viewer, qtbot)
    found.widget.glances.legend.setChecked(False)  # its text lies over the picture, and changes with what is shown
    settle()
    yield found
    close_dock(found)
    _empty(viewer)
    viewer.window._qt_window.hide()  # to the tests that follow there is nobody who could be asked


@pytest.fixture
def notifications() -> Iterator[list[Notification]]:
    """Return what napari tells the user from now on."""
    found: list[Notification] = []
    notification_manager.notification_ready.connect(found.append)
    yield found
    notification_manager.notification_ready.disconnect(found.append)


@pytest.fixture
def answer() -> Iterator[Callable[[Callable[[Any], None]], list[Any]]]:
    """Return a way to answer the next modal dialog: the given function gets it as soon as it is shown.

    The list that comes back holds what was noted about the dialog: its texts.
    """
    timers = []

    def prepare(act: Callable[[Any], None]) -> list[Any]:
        seen: list[Any] = []
        timer = QTimer(interval=20)
        timers.append(timer)

        def look() -> None:
            dialog = QApplication.activeModalWidget()
            if dialog is not None:
                timer.stop()
                seen.append(" ".join(getattr(dialog, name, str)() for name in ("text", "informativeText")))
                act(dialog)

        timer.timeout.connect(look)
        timer.start()
        return seen

    yield prepare
    for timer in timers:
        timer.stop()


@pytest.fixture(scope="module")
def reading_viewer(qapp: QApplication) -> Iterator[napari.Viewer]:
    """Return one visible window: keys go to what is seen."""
    assert qapp is not None
    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    viewer.window.resize(1200, 800)
    settle()
    yield viewer
    viewer.close()


@pytest.fixture
def desk(reading_viewer: napari.Viewer, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Return a desk with an empty window, and keys that nobody has changed."""
    monkeypatch.setenv("LESIONLENS_CONFIG", str(tmp_path / "config"))
    found = Desk(reading_viewer, qtbot)
    yield found
    found.close()
