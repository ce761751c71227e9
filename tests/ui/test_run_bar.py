"""The line below the buttons: where the work is, and how long it will take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from napari.utils.notifications import Notification

from lesionlens import progress
from lesionlens.errors import ExplainError
from lesionlens.ui.run_bar import RunBar
from ui_window import WAIT_MS


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


def test_a_long_message_leaves_room_for_the_rest_of_the_dock(
    qtbot: Any, notifications: list[Notification], answer: Callable[[Callable[[Any], None]], list[Any]]
) -> None:
    """A list of a hundred layers would push everything else out of sight; all of it is one click away."""
    message = f"There is no layer 'x'; choose one of: {', '.join(f'block.{n}' for n in range(100))}."
    bar = RunBar("Run")
    qtbot.addWidget(bar)
    hidden = [bar.details.isHidden()]
    seen = []

    def fail(_progress: object) -> None:
        raise ExplainError(message)

    def read(dialog: Any) -> None:
        seen.extend([dialog.message.text(), dialog.lines.toPlainText()])
        dialog.reject()

    bar.start("test", fail, lambda _: None)
    qtbot.waitUntil(lambda: bar.job is None, timeout=WAIT_MS)
    hidden.append(bar.details.isHidden())
    shown = bar.status.text()
    answer(read)
    bar.details.click()
    bar.say("")
    hidden.append(bar.details.isHidden())

    assert shown.startswith("There is no layer 'x'; choose one of: block.0, block.1")
    assert shown.endswith(" …")
    assert len(shown) <= 120
    assert seen[0] == message
    assert "Traceback" in seen[1]
    assert hidden == [True, False, True]
    assert [str(notice.source) for notice in notifications] == ["LesionLens"]


def test_a_short_refusal_is_said_whole(qtbot: Any, notifications: list[Notification]) -> None:
    """Where nothing is left out there is nothing more to read."""
    bar = RunBar("Run")
    qtbot.addWidget(bar)

    bar.refuse("Click on the scan first.")

    assert bar.status.text() == notifications[0].message == "Click on the scan first."
    assert bar.details.isHidden()
