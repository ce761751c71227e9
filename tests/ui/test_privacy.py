"""Who a scan is of is on no widget, in no layer, and in no settings of the window that shows it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from napari.settings import get_settings
from qtpy.QtWidgets import QApplication, QWidget

from lesionlens.recent import recent_cases
from lesionlens.ui import jobs, reader
from planting import Planted, write_planted
from searching import tokens_in, tokens_in_files
from ui_window import WAIT_MS, Window

#: A series is chosen by what describes it.
SHOWN = {"SeriesDescription", "SeriesInstanceUID"}


def texts_of(window: Window) -> Iterator[str]:
    """Yield everything that the window says: widgets with their tool tips, titles, layers with what they know."""
    for widget in QApplication.allWidgets():
        yield from _of_widget(widget)
    viewer = window.viewer
    yield from (viewer.title, viewer.canvas.overlays.text.text, viewer.status if isinstance(viewer.status, str) else "")
    for layer in viewer.layers:
        yield layer.name
        yield str(getattr(layer, "properties", ""))
        for key, value in layer.metadata.items():
            yield f"{key} {getattr(value, 'name', value)}"
            source = getattr(value, "source", None)
            yield from () if source is None else (str(source.decisions), source.series, str(source.files))


def _of_widget(widget: QWidget) -> Iterator[str]:
    for name in ("text", "toolTip", "title", "windowTitle", "currentText", "toPlainText", "placeholderText"):
        say: Any = getattr(widget, name, None)
        try:
            found = say() if callable(say) else ""
        except TypeError:  # some ask for more
            continue
        yield found if isinstance(found, str) else ""


def named(planted: Planted, text: str) -> set[str]:
    """Return where the tokens of a text were planted, but for what is shown on purpose."""
    return {planted.places[token] for token in tokens_in(text.encode()) if token in planted.places} - SHOWN


def test_an_open_scan_names_nobody(window: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is dropped into the window; all of its words, the recent cases and napari's settings are searched."""
    planted = write_planted(tmp_path / "source")
    monkeypatch.setattr(reader, "_viewer_of_the_user", lambda: window.viewer)

    reader.read_layers(str(tmp_path / "source"))
    window.qtbot.waitUntil(lambda: not jobs._running.jobs and len(window.viewer.layers) > 0, timeout=WAIT_MS)

    assert len(window.viewer.layers) == 1
    assert {text: places for text in texts_of(window) if (places := named(planted, text))} == {}
    assert [case.path.name for case in recent_cases()][:1] == ["source"]
    assert named(planted, str(tokens_in_files(Path(os.environ["LESIONLENS_CONFIG"])))) == set()
    assert named(planted, get_settings().json()) == set()
    window.viewer.layers[0].name = next(iter(planted.places))
    assert [text for text in texts_of(window) if named(planted, text)], "the search sees what a layer is called"
