"""The docks that the manifest offers in napari's Plugins menu."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from napari._qt.widgets.qt_viewer_dock_widget import QtViewerDockWidget
from napari.utils._proxies import PublicOnlyProxy
from npe2 import PluginManifest
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QApplication, QDockWidget, QMainWindow, QWidget

from lesionlens.ui.alive import is_alive
from lesionlens.ui.current import current_of
from lesionlens.ui.docking import share_place
from lesionlens.ui.plots.dock import PlotsWidget
from lesionlens.ui.region_figures import RegionFigures
from ui_cases import phantom
from ui_window import WAIT_MS
from views_window import open_scan


@pytest.mark.parametrize("stand_in", [False, True])
def test_every_dock_of_the_menu_opens_in_an_empty_viewer(viewer: Any, repository: Path, stand_in: bool) -> None:
    """A menu entry that ends in an error would be the first that somebody sees; closing it must leave nothing.

    napari's menus hand over the viewer, `napari -w` and `add_plugin_dock_widget` a stand-in of it.
    """
    handed = PublicOnlyProxy(viewer) if stand_in else viewer
    contributions = PluginManifest.from_file(repository / "napari.yaml").contributions
    commands = {command.id: str(command.python_name) for command in contributions.commands or []}
    listeners = len(viewer.mouse_drag_callbacks)
    drawn = list(viewer.window._qt_viewer.canvas.view.scene.children)
    opened = []

    for dock in contributions.widgets or []:
        module, _, name = commands[dock.command].partition(":")
        widget: QWidget = getattr(import_module(module), name)(handed)
        assert vars(widget)["viewer"] is viewer
        viewer.window.add_dock_widget(widget, name=f"LesionLens {dock.display_name}")
        opened.append(dock.display_name)
        frame = widget.parentWidget()
        assert isinstance(frame, QtViewerDockWidget)
        frame.title.close_button.click()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        assert not is_alive(widget), dock.display_name

    assert opened == ["LesionLens", "Trust", "Importance", "Compare", "Views", "Review", "Plots", "Archive"]
    assert len(viewer.mouse_drag_callbacks) == listeners
    assert viewer.window._qt_viewer.canvas.view.scene.children == drawn
    viewer.layers.selection.clear()  # events of the viewer find no dock any more
    open_scan(viewer, phantom())
    viewer.dims.set_current_step(0, 3)
    viewer.scene.camera.zoom *= 2
    viewer.layers.clear()


def test_every_dock_is_used_by_a_person_in_a_test(repository: Path) -> None:
    """A dock that only opens is not tested: each has a file of tests that press its buttons or keys."""
    contributions = PluginManifest.from_file(repository / "napari.yaml").contributions
    commands = {command.id: str(command.python_name) for command in contributions.commands or []}
    used = re.compile(r"\bqtbot\.(mouse|key)\w+\(|\bwindow\.click\(|\bdesk\.press\(")
    left_out = []

    for dock in contributions.widgets or []:
        module, _, name = commands[dock.command].partition(":")
        part = module.removeprefix("lesionlens.ui.").removesuffix(".dock")
        file = repository / "tests" / "ui" / f"test_{part}.py"
        if not file.is_file() or not used.search(file.read_text(encoding="utf-8")):
            left_out.append(name)

    assert commands
    assert left_out == []


def test_docks_that_were_handed_a_stand_in_know_of_each_other(viewer: Any) -> None:
    """What one of them notes, as a threshold that is dragged, the other one has to find."""
    dock = PlotsWidget(PublicOnlyProxy(viewer))

    assert dock.current is current_of(viewer)
    dock.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


def test_docks_share_one_place(qtbot: Any) -> None:
    """Three docks below each other leave each a few rows; one that takes long to draw must not be seen so before."""
    steps: list[str] = []

    class Main(QMainWindow):
        def tabifyDockWidget(self, first: QDockWidget, second: QDockWidget) -> None:  # noqa: N802  # Qt's name
            steps.append("tab")
            super().tabifyDockWidget(first, second)

    class Content(RegionFigures):
        __module__ = RegionFigures.__module__  # a dock of LesionLens

        def showEvent(self, event: QShowEvent) -> None:  # noqa: N802  # Qt's name
            steps.append("show")
            super().showEvent(event)

    window = Main()
    qtbot.addWidget(window)
    window.show()
    frames = []
    for _ in range(3):
        content, frame = Content(), QDockWidget(window)
        share_place(content)
        frame.setWidget(content)
        window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, frame)
        QTimer.singleShot(0, frame.show)  # as Qt does in a window that is shown
        frames.append(frame)
        qtbot.waitUntil(lambda: len(window.tabifiedDockWidgets(frames[0])) == len(frames) - 1, timeout=WAIT_MS)

    assert set(window.tabifiedDockWidgets(frames[0])) == set(frames[1:])
    assert steps[-4:] == ["tab", "show", "tab", "show"]
