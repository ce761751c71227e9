"""The page LesionLens of napari's preferences: what stands there is what happens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from napari.settings import get_plugin_settings
from npe2 import PluginManifest

from lesionlens.recent import RecentCase, recent_cases, remember_case
from lesionlens.ui import convention
from lesionlens.ui import preferences as module
from lesionlens.ui.preferences import GROUPS, Preferences, preferences, set_preference
from ui_cases import phantom, result_of
from ui_window import Window, close_dock, dock_into


@pytest.fixture(autouse=True)
def defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin and end with the defaults."""
    monkeypatch.setenv("LESIONLENS_CONFIG", str(tmp_path))
    _reset()
    yield
    _reset()


def _reset() -> None:
    for one in fields(Preferences):
        set_preference(one.name, one.default)


def test_the_page_has_every_preference_with_the_default_of_the_program(repository: Path) -> None:
    """Defaults are written once for the program and once for the page: they must be the same."""
    page = PluginManifest.from_file(repository / "napari.yaml").contributions.configurations or {}

    listed = {(name, group): p.default for group, part in page.items() for name, p in part.properties.items()}
    assert listed == {(one.name, GROUPS[one.name]): one.default for one in fields(Preferences)}


def test_colours_that_can_be_chosen_exist(window: Window, repository: Path) -> None:
    """The page offers what the lists in the dock offer, and no more."""
    page = PluginManifest.from_file(repository / "napari.yaml").contributions.configurations or {}

    for kind in ("probability", "attribution"):
        box = window.widget.controls.kinds[kind].colours  # type: ignore[index]
        offered = [box.itemText(i) for i in range(box.count())]
        assert page["overlays"].properties[f"{kind}_colours"].enum == offered


def test_a_new_dock_starts_as_preferred(viewer: Any, qtbot: Any) -> None:
    """Chosen once, not for every case."""
    set_preference("threshold", 0.3)
    set_preference("opacity", 0.8)
    set_preference("probability_colours", "magma")
    set_preference("attribution_colours", "blue-orange")
    set_preference("budget_mib", 2048)

    window = dock_into(viewer, qtbot)
    kinds = window.widget.controls.kinds
    assert window.widget.controls.threshold == 0.3
    assert kinds["probability"].opacity.value() == kinds["attribution"].opacity.value() == 0.8
    assert kinds["probability"].colours.currentText() == "magma"
    assert kinds["attribution"].colours.currentText() == "blue-orange"
    window.widget.form.explaining.choose("occlusion")
    assert window.widget.form.explaining.choice().method_options == {"budget_mib": 2048}
    close_dock(window)


def test_a_change_is_seen_at_once_and_changes_nothing_else(window: Window) -> None:
    """What was moved in the dock stays where it is."""
    window.open(phantom())
    window.widget.show_result(result_of(phantom()))
    kinds = window.widget.controls.kinds
    kinds["probability"].opacity.setValue(0.2)

    set_preference("probability_colours", "inferno")
    set_preference("threshold", 0.9)

    assert kinds["probability"].colours.currentText() == "inferno"
    assert kinds["probability"].opacity.value() == 0.2
    assert window.widget.controls.threshold == 0.5  # there are results: they have their own
    set_preference("opacity", 0.7)
    assert window.layer("Probability: lesion").opacity == 0.7


def test_the_hint_goes_and_comes_back(window: Window, qtbot: Any) -> None:
    """Once read, it is gone for good, until the page brings it back; with results there is no need for it."""
    hint = window.widget.desk.hint
    assert not hint.isHidden()

    window.click(hint.done)
    assert hint.isHidden()
    assert not get_plugin_settings("lesionlens").window.show_hint
    set_preference("show_hint", value=True)
    assert not hint.isHidden()

    window.open(phantom())
    window.widget.show_result(result_of(phantom()))
    assert hint.isHidden()


def test_who_does_not_want_to_be_remembered_is_forgotten(window: Window) -> None:
    """Switching it off removes what was kept."""
    assert window.widget.desk is not None
    remember_case(RecentCase(Path("/a").absolute()))

    set_preference("remember_cases", value=False)

    assert recent_cases() == ()


def test_what_is_preferred_is_kept_in_a_file() -> None:
    """The next start of napari has it."""
    set_preference("opacity", 0.35)

    settings = get_plugin_settings("lesionlens")
    settings.save()
    assert "opacity: 0.35" in Path(str(settings.config_path)).read_text("utf-8")


def test_a_plugin_that_is_switched_off_has_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script may open the dock where napari does not know the page."""

    def unknown(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(module, "get_plugin_settings", unknown)
    assert preferences() == Preferences()
    set_preference("opacity", 0.1)
    assert preferences() == Preferences()


def test_the_preferred_sides_are_those_of_all_canvases(window: Window) -> None:
    """A reader who is used to one convention must not find the other after each start; a toggle holds till the next."""
    window.open(phantom())
    letters = window.viewer.canvas.overlays

    set_preference("convention", "neurological")
    preferred = letters["lesionlens_edge_left"].text, letters["lesionlens_display"].text
    convention.swap()
    set_preference("opacity", 0.7)
    toggled = letters["lesionlens_edge_left"].text
    set_preference("convention", "radiological")

    assert preferred == ("L", "neurological")
    assert toggled == letters["lesionlens_edge_left"].text == "R"
