"""The docks that the manifest offers in napari's Plugins menu."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from npe2 import PluginManifest
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QWidget


def test_every_dock_of_the_menu_opens_in_an_empty_viewer(viewer: Any, repository: Path) -> None:
    """A menu entry that ends in an error would be the first that somebody sees; closing it must leave nothing."""
    contributions = PluginManifest.from_file(repository / "napari.yaml").contributions
    commands = {command.id: str(command.python_name) for command in contributions.commands or []}
    listeners = len(viewer.mouse_drag_callbacks)
    opened = []

    for dock in contributions.widgets or []:
        module, _, name = commands[dock.command].partition(":")
        widget: QWidget = getattr(import_module(module), name)(viewer)
        viewer.window.add_dock_widget(widget, name=f"LesionLens {dock.display_name}")
        opened.append(dock.display_name)
        viewer.window.remove_dock_widget(widget)
        widget.deleteLater()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)

    assert opened == ["LesionLens", "Trust", "Importance", "Compare", "Views", "Review", "Plots", "Archive"]
    assert len(viewer.mouse_drag_callbacks) == listeners
    viewer.layers.selection.clear()  # events of the viewer find no dock any more
