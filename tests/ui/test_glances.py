"""With and without overlays, one against the other, and what the canvas says of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lesionlens.ui.glances import overlays_of
from ui_cases import phantom, result_of
from ui_window import WAIT_MS, Window


def shown(window: Window) -> list[str]:
    """Return the names of the overlays that are switched on."""
    return [layer.name for layer in overlays_of(window.viewer) if layer.visible]


def prepared(window: Window) -> Window:
    """Show a scan with a result."""
    window.open(phantom())
    window.widget.show_result(result_of(phantom()))
    return window


def test_overlays_are_hidden_while_the_key_is_held(window: Window) -> None:
    """Exactly what was shown comes back; the scan stays throughout."""
    before = shown(prepared(window))
    handler = window.viewer.window._qt_viewer.canvas._key_map_handler
    assert before

    handler.press_key("H")
    assert shown(window) == []
    assert window.viewer.layers[0].visible
    handler.release_key("H")
    assert shown(window) == before


def test_what_goes_while_hidden_does_not_come_back(window: Window) -> None:
    """A layer that was removed meanwhile is none."""
    prepared(window)
    curtain = window.widget.glances.curtain

    curtain.draw()
    window.viewer.layers.remove("Probability: lesion")
    curtain.draw()
    curtain.open()

    assert "Regions: lesion" in shown(window)
    assert "Probability: lesion" not in shown(window)


def test_lines_are_hidden_with_their_map(window: Window) -> None:
    """A line that stays would be taken for something in the scan."""
    prepared(window)
    window.widget.controls.kinds["probability"].contour.setChecked(True)
    lines = window.layer("Contour of Probability: lesion")

    window.widget.glances.curtain.draw()
    assert not lines.visible
    window.widget.glances.curtain.open()
    assert lines.visible


def test_two_overlays_flicker_until_it_is_ended(window: Window) -> None:
    """One is always shown and never both; afterwards all is as before."""
    before = shown(prepared(window))
    form = window.widget.glances
    form.first.setCurrentText("Probability: lesion")
    form.second.setCurrentText("Grad-CAM: lesion")

    window.click(form.flicker_button)
    assert form.flicker.timer.isActive()
    seen = []
    for _ in range(4):
        seen.append([name for name in shown(window) if "Regions" not in name])
        form.flicker.turn()
    window.click(form.flicker_button)

    assert seen == [["Probability: lesion"], ["Grad-CAM: lesion"]] * 2
    assert shown(window) == before
    assert not form.flicker.timer.isActive()


def test_the_key_begins_and_ends_to_flicker(window: Window, qtbot: Any) -> None:
    """And the timer turns the pictures by itself."""
    prepared(window)
    form = window.widget.glances
    handler = window.viewer.window._qt_viewer.canvas._key_map_handler
    form.first.setCurrentText("Probability: lesion")
    form.second.setCurrentText("Grad-CAM: lesion")
    form.flicker.timer.setInterval(10)

    handler.press_key("J")
    assert form.flicker_button.isChecked()
    qtbot.waitUntil(lambda: "Grad-CAM: lesion" in shown(window), timeout=10_000)
    handler.press_key("J")

    assert not form.flicker_button.isChecked()
    assert "Grad-CAM: lesion" not in shown(window)


def test_flicker_ends_with_one_of_the_two(window: Window) -> None:
    """There is nothing left to compare with; the other one is shown as before."""
    prepared(window)
    form = window.widget.glances
    form.first.setCurrentText("Probability: lesion")
    form.second.setCurrentText("Grad-CAM: lesion")
    form.toggle_flicker()
    form.flicker.turn()

    window.viewer.layers.remove("Grad-CAM: lesion")
    form.flicker.turn()

    assert not form.flicker.runs
    assert not form.flicker_button.isChecked()
    assert "Probability: lesion" in shown(window)


def test_nothing_flickers_against_itself(window: Window) -> None:
    """The button springs back."""
    prepared(window)
    form = window.widget.glances
    form.first.setCurrentText("Probability: lesion")
    form.second.setCurrentText("Probability: lesion")

    window.click(form.flicker_button)

    assert not form.flicker.runs
    assert not form.flicker_button.isChecked()


def legend_of(window: Window) -> str:
    """Return the text on the canvas, its lines joined."""
    return " ".join(window.viewer.canvas.overlays["lesionlens_legend"].text.split())


def test_the_legend_says_what_is_shown_and_whence(window: Window) -> None:
    """Class, values and unit, model, method, layer and how finely a map can point; and no word of what is hidden."""
    volume = phantom()
    result = result_of(volume)
    (cam,) = result.attributions
    made = replace(cam.provenance, layer="encoder.3", resolution_mm=(4.0, 4.0, 10.0), bundle="flair-lesions 1.0.0")
    window.open(volume)
    assert legend_of(window).startswith("Window automatic C")
    window.widget.show_result(replace(result, attributions=(replace(cam, provenance=made),)))

    text = legend_of(window)
    assert "Probability: lesion: 0.5 to 1, probability" in text
    assert "test 1, softmax" in text
    assert "Regions: lesion: from 0.5" in text
    assert "Grad-CAM" not in text
    window.widget.controls.kinds["attribution"].visible.setChecked(True)
    window.qtbot.waitUntil(lambda: "Grad-CAM" in legend_of(window), timeout=WAIT_MS)
    text = legend_of(window)
    assert "Grad-CAM: lesion: 0.12 to 0.4, no unit" in text
    assert "flair-lesions 1.0.0, Grad-CAM, layer encoder.3, ±4 × 4 × 10 mm" in text
    window.widget.controls.set_threshold(0.7)
    window.qtbot.waitUntil(lambda: "Probability: lesion: 0.7 to 1" in legend_of(window), timeout=WAIT_MS)
    window.widget.glances.curtain.draw()
    window.qtbot.waitUntil(lambda: "lesion" not in legend_of(window), timeout=WAIT_MS)


def test_the_legend_follows_a_slider_once_it_rests(window: Window) -> None:
    """For each new text napari draws the canvas a second time: a drag took twice as long to be seen."""
    volume = phantom()
    window.open(volume)
    window.widget.show_result(result_of(volume))
    said: list[str] = []
    overlay = window.viewer.canvas.overlays["lesionlens_legend"]
    overlay.events.text.connect(lambda _event: said.append(overlay.text))

    for value in (0.6, 0.65, 0.7):
        window.widget.controls.set_threshold(value)
    assert said == []

    window.qtbot.waitUntil(lambda: bool(said), timeout=WAIT_MS)
    assert len(said) == 1
    assert "0.7 to 1" in said[0]


def test_the_legend_can_be_hidden_and_the_notice_cannot(window: Window) -> None:
    """Text over a picture is in the way at times; what it is not meant for stays."""
    overlays = window.viewer.canvas.overlays

    window.widget.glances.legend.setChecked(False)

    assert not overlays["lesionlens_legend"].visible
    assert overlays["lesionlens_research_use_only"].visible
    window.widget.glances.legend.setChecked(True)
    assert overlays["lesionlens_legend"].visible


def test_lines_of_the_legend_have_room(window: Window) -> None:
    """Long names are wrapped instead of running over the picture."""
    volume = phantom()
    result = result_of(volume)
    (probability,) = result.probabilities
    long = replace(probability, provenance=replace(probability.provenance, bundle="a very long name of a bundle " * 3))
    window.open(volume)
    window.widget.show_result(replace(result, probabilities=(long,)))

    lines = window.viewer.canvas.overlays["lesionlens_legend"].text.splitlines()

    assert max(map(len, lines)) <= 48
    assert np.sum(["very long" in line for line in lines]) >= 2


def test_on_a_narrow_canvas_the_legend_begins_below_the_letter(window: Window) -> None:
    """Both begin at the top, and half of a narrow canvas holds no line of the legend: it lay over the letter A."""
    overlay = window.viewer.canvas.overlays["lesionlens_legend"]
    window.open(phantom())
    below = []
    for width in (900, 380, 900):
        window.viewer.canvas.size = (600, width)
        below.append(overlay.text.startswith("\n\n"))

    assert below == [False, True, False]
    letter = window.viewer.canvas.overlays["lesionlens_edge_top"]
    assert 2 * overlay.font_size >= letter.font_size  # two empty lines are as high as the letter
