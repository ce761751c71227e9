"""Words that are drawn once before they are needed, and boxes that stay as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from vispy.visuals.shaders.program import ModularProgram

from lesionlens.ui.canvas import RESEARCH_USE_ONLY
from lesionlens.ui.rehearsal import steady
from ui_cases import phantom
from ui_window import Window

BANNER = "lesionlens_research_use_only"


def drawn(window: Window, name: str) -> Any:
    """Return how a text on the canvas is drawn, with the box behind it."""
    overlay = window.viewer.canvas.overlays[name]
    return window.viewer.window._qt_viewer.canvas._viewer_overlay_to_visual[overlay][0]


def switch(layer: Any) -> None:
    """Hide and show a layer, upon which napari puts every text where it belongs."""
    layer.visible = False
    layer.visible = True


def test_a_box_is_made_again_only_when_it_changes(window: Window) -> None:
    """To make it again is to compile a shader, for each of nine boxes, whenever a layer is switched."""
    layer = window.open(phantom())
    steady(window.viewer)
    switch(layer)
    text, overlay = drawn(window, BANNER), window.viewer.canvas.overlays[BANNER]
    box, moves = text.box, []
    text.node.transform.changed.connect(lambda event: moves.append(event))
    before, width, left = box.mesh.mesh_data, box.width, text.node.transform.translate[0]

    switch(layer)
    assert box.mesh.mesh_data is before
    assert moves == []

    overlay.text = 2 * RESEARCH_USE_ONLY
    window.viewer.window._qt_viewer.canvas._update_overlay_canvas_positions()  # napari does so before it draws
    assert moves
    assert box.width > 1.5 * width
    assert box.transform is text.node.transform
    assert text.node.transform.translate[0] == pytest.approx(left - (box.width - width) / 2)  # still in the middle
    assert np.ptp(box.mesh.mesh_data.get_vertices()[:, 0]) == pytest.approx(box.width)

    overlay.text = RESEARCH_USE_ONLY
    assert np.ptp(box.mesh.mesh_data.get_vertices()[:, 0]) == pytest.approx(width)


@pytest.mark.xvfb
def test_a_scan_that_opens_waits_for_no_words(visible_window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    """The empty window has drawn them, which nobody sees: of its words only the notice is there."""
    overlays = visible_window.viewer.canvas.overlays
    ours = {name: overlays[name] for name in overlays if name.startswith("lesionlens_")}
    assert [name for name, overlay in ours.items() if overlay.visible] == [BANNER]
    assert ours[BANNER].text == RESEARCH_USE_ONLY
    compiled: list[str] = []
    build = ModularProgram._build

    def noted(program: Any) -> None:
        build(program)
        compiled.append(program.frag.compile())

    monkeypatch.setattr(ModularProgram, "_build", noted)
    visible_window.open(phantom())
    assert visible_window.pixels.any()

    assert any("image" in code for code in compiled)  # the scan's own
    assert not [code for code in compiled if "font_atlas" in code]
