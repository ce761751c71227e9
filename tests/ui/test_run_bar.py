"""The line below the buttons: where the work is, and how long it will take."""

from __future__ import annotations

from typing import Any

import pytest

from lesionlens import progress
from lesionlens.ui.run_bar import RunBar


def test_what_takes_long_is_foretold_for_its_stage(qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user decides whether to wait or to take larger boxes; the stage that follows has a time of its own."""
    monkeypatch.setattr(progress, "LOOK_S", 0.0)
    monkeypatch.setattr(progress, "LONG_S", 0.0)
    bar = RunBar("Run")
    qtbot.addWidget(bar)

    said = []
    for step in (("Occluding", 0, 1200), ("Occluding", 1, 1200), ("Occluding", 9, 1200), ("Mapping", 0, 24)):
        bar._show(*step)
        said.append(bar.status.text())

    assert "about" not in said[0]
    assert said[1].startswith("Occluding… 1 of 1200, about ")
    assert said[1].endswith(" in all")
    assert said[2].startswith("Occluding… 9 of 1200, about ")
    assert said[3] == "Mapping… 0 of 24"
