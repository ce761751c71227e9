"""The keys of the dock Review: they take none of napari's away, can be changed, and are written where they are used."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QApplication, QDialogButtonBox

from lesionlens.errors import InputError
from lesionlens.ui.key_dialog import KeyDialog
from lesionlens.ui.napari_keys import napari_keys
from lesionlens.ui.review.dock import ReviewWidget
from lesionlens.ui.review.keys import ACTIONS, KEYS, TITLES, check_keys, keep_keys, keys_file, load_keys, save_keys
from lesionlens.ui.review.panel import JudgingPanel
from lesionlens.ui.taken_keys import taken_keys


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the keys of whoever runs the tests out of them."""
    monkeypatch.setenv("LESIONLENS_CONFIG", str(tmp_path / "config"))


def test_no_key_of_napari_is_shadowed(viewer: Any) -> None:
    """Neither its keys in any kind of layer nor those of its menus; the list does hold those that it should."""
    taken = napari_keys(viewer.window._qt_window)

    assert {"P", "Shift+A", "Ctrl+Z", "Space", "Left", "Ctrl+O", "Shift+Up", "Return"} <= set(taken)
    check_keys(KEYS, taken)
    with pytest.raises(InputError, match="activate"):
        check_keys({**KEYS, "accept": "P"}, taken)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"accept": "K"}, "Next finding"), ({"accept": "no key"}, "is no key")],
    ids=["twice", "none"],
)
def test_a_key_does_one_thing(change: dict[str, str], message: str) -> None:
    """One that accepts and moves on would accept what nobody has looked at."""
    check_keys({**KEYS, "accept": ""}, {})  # a button without a key is allowed

    with pytest.raises(InputError, match=message):
        check_keys({**KEYS, **change}, {})


def test_changed_keys_are_kept_in_the_users_own_file() -> None:
    """Only what differs is written, so that a new default reaches those who never changed it."""
    assert load_keys() == KEYS
    save_keys({**KEYS, "accept": "H"})

    assert json.loads(keys_file().read_text("utf-8")) == {"accept": "H"}
    assert load_keys() == {**KEYS, "accept": "H"}
    keys_file().write_text('{"accept": "K"}', encoding="utf-8")
    with pytest.raises(InputError, match="Next finding"):
        load_keys()
    keys_file().write_text("no table", encoding="utf-8")
    with pytest.raises(InputError, match="review-keys"):
        load_keys()


def test_the_dialog_refuses_what_is_taken_and_keeps_what_is_not(qtbot: Any) -> None:
    """The reader is told what a key does already, and nothing is written until it is free."""
    dialog = KeyDialog(ACTIONS, KEYS, lambda keys: keep_keys(keys, {"P": "the paint brush"}))
    qtbot.addWidget(dialog)
    save = dialog.buttons.button(QDialogButtonBox.StandardButton.Save)
    dialog.edits["accept"].setKeySequence(QKeySequence("P"))
    save.click()
    assert "the paint brush" in dialog.note.text()
    assert not keys_file().exists()

    dialog.edits["accept"].setKeySequence(QKeySequence("H"))
    save.click()
    assert load_keys()["accept"] == "H"


def test_the_window_gives_no_key_of_a_reader_away(viewer: Any) -> None:
    """Those that the reader chose count, and a dialog may keep the keys of its own dock."""
    save_keys({**KEYS, "accept": "F9"})
    window = viewer.window._qt_window

    taken = taken_keys(window, by_others_than="window")
    assert taken["F9"] == TITLES["accept"]
    assert KEYS["accept"] not in taken
    assert "F4" not in taken
    assert "F9" not in taken_keys(window, by_others_than="review")
    check_keys({**KEYS, "accept": "F9"}, taken_keys(window, by_others_than="review"))


def test_the_page_for_readers_names_the_keys_that_there_are(repository: Path) -> None:
    """One table is the source; who reads the other one must find the same keys."""
    page = (repository / "docs" / "how-to" / "judge-findings.md").read_text("utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named = {key for row in rows for key in re.findall(r"`([^`]+)`", row)}

    assert named | {f"Ctrl+{n}" for n in range(2, 5)} == set(KEYS.values())  # `Ctrl+1` … `Ctrl+5`


def test_every_key_stands_where_it_is_used(qtbot: Any) -> None:
    """On the buttons and in their tooltips, and in the fields; those that are in neither are named in the banner."""
    panel = JudgingPanel()
    qtbot.addWidget(panel)
    panel.set_keys({**KEYS, "accept": "H"})

    for action, button in panel.buttons.items():
        key = "H" if action == "accept" else KEYS[action]
        assert button.text().endswith(f"\n{key}")
        assert button.toolTip() == f"{TITLES[action]}  [{key}]"
    for kind in ("comment", "category"):
        assert f"[{KEYS[kind]}]" in panel.fields[kind].placeholderText()
    assert set(KEYS) - set(panel.buttons) == {"comment", "category", "save_again"}


def test_the_dock_takes_the_keys_that_were_changed(
    viewer: Any, qtbot: Any, answer: Callable[[Callable[[Any], None]], list[Any]]
) -> None:
    """The button *Keys…* opens the dialog; keys of other docks are refused, and what was saved holds at once."""
    refused: dict[str, str] = {}

    def change(dialog: Any) -> None:
        for key in ("H", "F4", "P", "F9"):  # of looking, of the LesionLens dock, of napari, of nobody
            dialog.edits["reject"].setKeySequence(QKeySequence(key))
            dialog.buttons.button(QDialogButtonBox.StandardButton.Save).click()
            refused[key] = dialog.note.text()
        assert not dialog.isVisible()

    dock = ReviewWidget(viewer)
    qtbot.addWidget(dock)
    assert dock.banners.again.text().endswith(KEYS["save_again"])
    answer(change)
    dock.edit_keys.click()

    assert "'hide overlays'" in refused["H"]
    assert "'Outlines on and off'" in refused["F4"]
    assert "already" in refused["P"]
    assert dock.panel.buttons["reject"].text().endswith("\nF9")
    assert dock.shortcuts._shortcuts["reject"].key().toString() == "F9"
    dock.guard.leave()
    dock.shortcuts.stop()
    QApplication.processEvents()
