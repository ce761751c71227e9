"""Words that are drawn once before they are needed."""

from __future__ import annotations

from typing import Any

import pytest
from vispy.visuals.shaders.program import ModularProgram

from lesionlens.ui.canvas import RESEARCH_USE_ONLY
from ui_cases import phantom
from ui_window import Window

BANNER = "lesionlens_research_use_only"


@pytest.mark.xvfb
def test_a_scan_that_opens_waits_for_no_words(visible_window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    """The empty window has drawn them, which nobody sees: of its words only the notice is there."""
    overlays = visible_window.viewer.canvas.overlays
    ours = {name: overlays[name] for name in overlays if name.startswith("lesionlens_")}
    assert [name for name, overlay in ours.items() if overlay.visible] == [BANNER]
    assert " ".join(ours[BANNER].text.split()) == RESEARCH_USE_ONLY
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
