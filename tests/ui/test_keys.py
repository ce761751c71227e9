"""Keys: one table, none of napari's taken, changed by the user and kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QDialogButtonBox

from lesionlens.display import CORONAL, SAGITTAL
from lesionlens.errors import InputError
from lesionlens.ui import viewing_keys
from lesionlens.ui.key_dialog import window_key_dialog
from lesionlens.ui.keys import KEYS, KeyAction, KeyTable, plain_key
from lesionlens.ui.napari_keys import napari_keys
from lesionlens.ui.review import keys as review_keys
from ui_cases import phantom, result_of
from ui_window import WAIT_MS, Window


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return an empty folder for settings; the keys are those of the table again afterwards."""
    with monkeypatch.context() as patch:
        patch.setenv("LESIONLENS_CONFIG", str(tmp_path / "config"))
        KEYS.reload()
        yield tmp_path / "config"
    KEYS.reload()


def table() -> KeyTable:
    """Return a table of two actions."""
    return KeyTable((KeyAction("up", "Go up", "F2"), KeyAction("down", "Go down", "F3")))


def test_no_key_takes_one_of_napari_away(viewer: Any) -> None:
    """In no layer and no menu: who knows napari finds it as it is."""
    taken = napari_keys(viewer.window._qt_window)

    assert [key for key in KEYS.keys.values() if plain_key(key) in taken] == []
    assert KEYS.problems(taken) == ()


@pytest.mark.parametrize(
    "key", ["Ctrl+Y", "V", "Shift+V", "M", "Ctrl+Up", "Esc", "Return", "=", "-", "Ctrl+Shift+P", "Ctrl+O"]
)
def test_the_keys_of_napari_are_known(viewer: Any, key: str) -> None:
    """The check above finds keys of the viewer, of layers and of menus."""
    assert plain_key(key) in napari_keys(viewer.window._qt_window)


def test_every_key_means_one_thing() -> None:
    """And every action of the window has one."""
    keys = [plain_key(key) for key in KEYS.keys.values()]

    assert all(keys)
    assert len(set(keys)) == len(keys)


def test_a_dock_adds_its_keys_once() -> None:
    """Opening it again changes nothing; a key that is taken is refused before somebody presses it."""
    found, told = table(), []
    found.changed.connect(lambda: told.append(True))

    for _ in range(2):
        found.register(KeyAction("left", "Go left", "Shift+F2"))
    assert [action.name for action in found.actions] == ["up", "down", "left"]
    assert told == [True]

    with pytest.raises(InputError, match="F3 means 'Go down' already; choose another key for 'Go right'"):
        found.register(KeyAction("right", "Go right", "F3"))
    assert "right" not in found.keys


def test_a_changed_key_is_kept(folder: Path) -> None:
    """The next start has it; a key that is as it was is not written down, and what other docks chose stays."""
    folder.mkdir()
    (folder / "keys.json").write_text(json.dumps({"schema_version": 1, "keys": {"of another dock": "F12"}}))

    table().change({"up": "Shift+F9"}, {})

    assert table().keys == {"up": "Shift+F9", "down": "F3"}
    kept = json.loads((folder / "keys.json").read_text())
    assert kept == {"schema_version": 1, "keys": {"of another dock": "F12", "up": "Shift+F9"}}


def test_two_actions_change_places() -> None:
    """Neither key is taken once both are given."""
    found = table()

    found.change({"up": "F3", "down": "F2"}, {})

    assert found.keys == {"up": "F3", "down": "F2"}


@pytest.mark.parametrize(
    ("key", "message"),
    [("F3", "F3 means 'Go down' already"), ("V", "V means 'toggle' already"), ("Bogus+", "is no key")],
)
def test_a_key_that_cannot_be_is_refused(folder: Path, key: str, message: str) -> None:
    """And nothing is written."""
    with pytest.raises(InputError, match=message):
        table().change({"up": key}, {"v": "toggle"})
    assert not folder.exists()


def test_an_action_may_have_no_key() -> None:
    """Its button and its command are still there."""
    found = table()
    found.change({"up": "", "down": ""}, {})

    assert set(found.keys.values()) == {""}


@pytest.mark.parametrize("text", ["", "[]", '{"schema_version": 2, "keys": {"up": "F9"}}', '{"schema_version": 1}'])
def test_another_file_changes_no_key(folder: Path, text: str) -> None:
    """Keys are not guessed at."""
    folder.mkdir()
    (folder / "keys.json").write_text(text)

    assert table().keys == {"up": "F2", "down": "F3"}


def test_keys_that_napari_took_later_are_said() -> None:
    """A user may have changed napari's keys after ours."""
    assert table().problems({"F2": "toggle"}) == ("F2 means 'toggle' already; choose another key for 'Go up'.",)


def test_keys_are_changed_in_a_dialog(window: Window, qtbot: Any) -> None:
    """Press the key, save, and the list in the dock and the window follow; what is taken is said, and stays."""
    dialog = window_key_dialog({"V": "toggle visibility"})
    qtbot.addWidget(dialog)
    save = dialog.buttons.button(QDialogButtonBox.StandardButton.Save)
    for key in (Qt.Key.Key_V, Qt.Key.Key_F9):
        qtbot.keyClick(dialog.edits["coronal"], key)
        qtbot.mouseClick(save, Qt.MouseButton.LeftButton)
        if key == Qt.Key.Key_V:
            assert "V means 'toggle visibility' already" in dialog.note.text()
            assert KEYS.keys["coronal"] == "F7"
            dialog.edits["coronal"].clear()

    assert KEYS.keys["coronal"] == "F9"
    assert "<b>F9</b>" in window.widget.desk.table.text()

    qtbot.mouseClick(dialog.buttons.button(QDialogButtonBox.StandardButton.RestoreDefaults), Qt.MouseButton.LeftButton)
    assert dialog.edits["coronal"].keySequence() == QKeySequence("F7")


@pytest.mark.xvfb
def test_keys_work_in_the_window(visible_window: Window) -> None:
    """With the canvas in front, as a reader sits there; a dock that is closed listens no more."""
    window, qtbot = visible_window, visible_window.qtbot
    window.open(phantom())
    window.widget.show_result(result_of(phantom()))
    frame = window.viewer.window._qt_window
    frame.activateWindow()
    qtbot.waitUntil(frame.isActiveWindow, timeout=WAIT_MS)
    canvas = window.viewer.window._qt_viewer.canvas.native
    canvas.setFocus()

    qtbot.keyClick(canvas, Qt.Key.Key_F7)
    assert tuple(window.viewer.dims.order) == CORONAL.order
    KEYS.change({"sagittal": "F9"}, {})
    qtbot.keyClick(canvas, Qt.Key.Key_F9)
    assert tuple(window.viewer.dims.order) == SAGITTAL.order
    qtbot.keyClick(canvas, Qt.Key.Key_PageDown)
    assert window.widget.overlays.selected_region == 1
    qtbot.keyClick(canvas, Qt.Key.Key_PageDown)
    qtbot.keyClick(canvas, Qt.Key.Key_PageDown)
    assert window.widget.overlays.selected_region == 2
    qtbot.keyClick(canvas, Qt.Key.Key_PageUp)
    assert window.widget.overlays.selected_region == 1
    qtbot.keyClick(canvas, Qt.Key.Key_F2)
    assert not window.layer("Probability: lesion").visible
    qtbot.keyClick(canvas, Qt.Key.Key_Period)
    assert window.widget.controls.threshold == 0.51
    qtbot.keyClick(canvas, Qt.Key.Key_Comma)
    assert window.widget.controls.threshold == 0.5


def test_no_key_means_two_things_in_different_docks() -> None:
    """Docks are open beside each other: what hides the overlays must not reject a finding."""
    looking = {name: key.replace("-", "+") for name, key in viewing_keys.KEYS.items()}
    tables = {"window": KeyTable().keys, "looking": looking, "review": review_keys.KEYS}

    owners: dict[str, list[str]] = {}
    for table, keys in tables.items():
        for action, key in keys.items():
            owners.setdefault(plain_key(key), []).append(f"{table}: {action}")

    assert len(owners) > 40
    assert {key: found for key, found in owners.items() if len(found) > 1} == {}
