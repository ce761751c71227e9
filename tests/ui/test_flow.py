"""From one case to the next: recent cases, menus and commands, errors with their details, first steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from napari._app_model import get_app_model
from napari.utils.notifications import Notification
from npe2 import PluginManifest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QDialogButtonBox, QPushButton

from lesionlens.display import CORONAL
from lesionlens.errors import ReadError
from lesionlens.io import write
from lesionlens.recent import RecentCase, recent_cases, remember_case
from lesionlens.ui import commands, notices, opening
from lesionlens.ui.notices import DetailsDialog
from lesionlens.ui.preferences import set_preference
from lesionlens.ui.recent_dialog import RecentDialog
from lesionlens.ui.scans import Request
from lesionlens.ui.widget import LesionLensWidget
from ui_cases import phantom, result_of
from ui_window import WAIT_MS, Window


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return an empty folder for settings."""
    monkeypatch.setenv("LESIONLENS_CONFIG", str(tmp_path / "config"))
    yield tmp_path / "config"
    set_preference("remember_cases", value=True)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """Return a scan on the disk."""
    return write(phantom(), tmp_path / "scan.nii.gz")


def wait_for_opening(qtbot: Any) -> None:
    """Wait until nothing is being opened."""
    qtbot.waitUntil(lambda: not opening._openings, timeout=WAIT_MS)


def rows(dialog: RecentDialog) -> list[tuple[str, bool]]:
    """Return the lines of the dialog, and whether they can be chosen."""
    items = [dialog.cases.item(row) for row in range(dialog.cases.count())]
    return [(item.text(), bool(item.flags() & Qt.ItemFlag.ItemIsEnabled)) for item in items]


def test_a_case_that_was_opened_can_be_opened_again(
    window: Window, scan: Path, qtbot: Any, answer: Callable[..., list[Any]]
) -> None:
    """By the menu beside the volume, with the mouse."""
    window.widget.open_scan(str(scan))
    wait_for_opening(qtbot)
    assert recent_cases() == (RecentCase(scan),)
    window.viewer.layers.clear()
    answer(lambda dialog: dialog.buttons.button(QDialogButtonBox.StandardButton.Open).click())

    window.widget.form.scan.recent.trigger()

    wait_for_opening(qtbot)
    assert window.names == ["scan"]


def test_a_case_that_is_gone_says_so(qtbot: Any, scan: Path) -> None:
    """It is not offered as if it were there; one that is there is chosen already."""
    remember_case(RecentCase(scan, series=7))
    remember_case(RecentCase(scan.parent / "moved.nii.gz"))
    dialog = RecentDialog()
    qtbot.addWidget(dialog)

    (gone, gone_enabled), (there, there_enabled) = rows(dialog)
    assert "moved.nii.gz" in gone
    assert "not there any more" in gone
    assert (gone_enabled, there_enabled) == (False, True)
    assert "series 7" in there
    assert dialog.cases.currentRow() == 1

    dialog.cases.setCurrentRow(0)
    assert not dialog.buttons.button(QDialogButtonBox.StandardButton.Open).isEnabled()
    dialog.cases.itemActivated.emit(dialog.cases.item(0))
    assert dialog.request is None
    dialog.cases.setCurrentRow(1)
    dialog.cases.itemActivated.emit(dialog.cases.item(1))
    assert dialog.request == Request(scan, series=7)


def test_all_cases_are_forgotten_by_a_button(qtbot: Any, scan: Path) -> None:
    """Before somebody else sits down."""
    remember_case(RecentCase(scan))
    dialog = RecentDialog()
    qtbot.addWidget(dialog)

    qtbot.mouseClick(dialog.forget, Qt.MouseButton.LeftButton)

    assert recent_cases() == ()
    assert rows(dialog) == []
    assert "No case was opened yet" in dialog.note.text()


def test_nothing_is_remembered_where_that_is_not_wanted(window: Window, scan: Path, qtbot: Any, config: Path) -> None:
    """The switch in the preferences holds for every way of opening, and is said in the dialog."""
    set_preference("remember_cases", value=False)

    window.widget.open_scan(str(scan))
    wait_for_opening(qtbot)

    assert not config.exists()
    dialog = RecentDialog()
    qtbot.addWidget(dialog)
    assert "remembers no cases" in dialog.note.text()


def test_a_list_that_cannot_be_written_does_not_keep_the_scan_away(
    window: Window, scan: Path, qtbot: Any, config: Path, notifications: list[Notification]
) -> None:
    """The scan is what counts; that the list is not kept is said."""
    config.write_text("a file in the way")

    window.widget.open_scan(str(scan))
    wait_for_opening(qtbot)

    assert window.names == ["scan"]
    assert any("list of recent cases" in str(one.message) for one in notifications)


def test_every_command_can_be_found_in_napari(viewer: Any, repository: Path) -> None:
    """In the command palette all of them, in the menus those that begin something."""
    app = get_app_model()
    contributions = PluginManifest.from_file(repository / "napari.yaml").contributions
    docks = {dock.command for dock in contributions.widgets or []}
    assert viewer is not None

    for command in contributions.commands or []:
        if command.id not in ("lesionlens.read", "lesionlens.sample"):
            assert command.id in app.commands, command.id
    for menu, entries in contributions.menus.items():
        shown = {item.command.id for item in app.menus.get_menu(menu) if hasattr(item, "command")}
        assert {entry.command for entry in entries} <= shown, menu
    assert docks <= {item.command.id for item in app.menus.get_menu("napari/plugins/lesionlens")}


def test_commands_do_what_they_say(window: Window) -> None:
    """By the palette, without the mouse on the dock."""
    window.open(phantom())
    window.widget.show_result(result_of(phantom()))
    execute = get_app_model().commands.execute_command

    execute("lesionlens.coronal").result()
    assert tuple(window.viewer.dims.order) == CORONAL.order
    execute("lesionlens.next_region").result()
    execute("lesionlens.next_region").result()
    assert window.widget.overlays.selected_region == 2
    execute("lesionlens.previous_region").result()
    assert window.widget.overlays.selected_region == 1
    for name, kind in (("probability", "probability"), ("attribution", "attribution"), ("outlines", "regions")):
        before = window.widget.overlays.styles[kind].visible  # type: ignore[index]
        execute(f"lesionlens.{name}").result()
        assert window.widget.overlays.styles[kind].visible is not before, name  # type: ignore[index]
    execute("lesionlens.higher_threshold").result()
    assert window.widget.controls.threshold == 0.51
    execute("lesionlens.lower_threshold").result()
    assert window.widget.controls.threshold == 0.5


def test_a_command_opens_the_dock_where_there_is_none(viewer: Any, qtbot: Any) -> None:
    """The palette is there before any dock is."""
    commands.axial()

    docks = [dock for dock in viewer.window.dock_widgets.values() if isinstance(dock, LesionLensWidget)]
    assert len(docks) == 1
    commands.coronal()
    assert [d for d in viewer.window.dock_widgets.values() if isinstance(d, LesionLensWidget)] == docks


def test_every_command_of_the_module_is_in_the_manifest(repository: Path) -> None:
    """Nothing is there that nobody can reach."""
    contributions = PluginManifest.from_file(repository / "napari.yaml").contributions
    named = {str(command.python_name) for command in contributions.commands or []}

    assert {f"lesionlens.ui.commands:{name}" for name in commands.__all__} <= named


def test_an_error_is_a_sentence_with_its_details_on_demand(
    window: Window, qtbot: Any, notifications: list[Notification], answer: Callable[..., list[Any]]
) -> None:
    """The sentence says what to do; where in the program it happened is for whoever mends it."""

    def broken(progress: Any) -> None:
        raise ZeroDivisionError("by hand")

    window.widget.form.bar.start("test", broken, lambda _: None)
    window.wait_for_run()

    (notice,) = [one for one in notifications if "Something unexpected" in str(one.message)]
    assert "Traceback" not in str(notice.message)
    ((name, show),) = notice.actions
    assert name == "Details"
    seen: list[str] = []

    def read(dialog: DetailsDialog) -> None:
        seen.append(dialog.lines.toPlainText())
        dialog.copy.click()
        dialog.reject()

    answer(read)
    show(None)
    assert "in broken" in seen[0]
    assert "ZeroDivisionError: by hand" in QApplication.clipboard().text()


def test_a_scan_that_cannot_be_read_has_details_too(
    window: Window, qtbot: Any, tmp_path: Path, notifications: list[Notification]
) -> None:
    """Opening fails in the background as well."""
    (tmp_path / "broken.nii").write_bytes(b"nothing")

    window.widget.open_scan(str(tmp_path / "broken.nii"))
    wait_for_opening(qtbot)

    (notice,) = [one for one in notifications if str(one.severity) == "error"]
    assert [name for name, _ in notice.actions] == ["Details"]


def test_without_details_there_is_no_button(notifications: list[Notification]) -> None:
    """A button that shows nothing would be a trap."""
    notices.show_failure(str(ReadError("There is no scan.")), "")

    assert notifications[0].actions == ()


def test_the_sample_is_one_click_away(window: Window, qtbot: Any) -> None:
    """Nobody needs data of their own, nor a network, for the first look."""
    button: QPushButton = window.widget.desk.hint.sample

    window.click(button)
    wait_for_opening(qtbot)

    assert len(window.names) == 1
    assert window.widget.form.bar.run.isEnabled()
