"""Several readers at the dock Review: a consensus by the mouse and the keys, agreement and export from the window."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from lesionlens.review import Act, Session
from lesionlens.ui.review.keys import KEYS
from review_cases import blobs, make_session
from review_desk import Desk
from ui_window import WAIT_MS

pytestmark = pytest.mark.xvfb

# What two readers said of the four findings of a case, blind to each other.
SAID = {"Ann": ("accept", "accept", "reject", "unsure"), "Bob": ("accept", "reject", "reject", "unsure")}


def read_twice(folder: Path) -> Path:
    """Return a session of two cases; Ann and Bob have closed the first, and Ann has begun the second."""
    path = make_session(folder, blobs(4), blobs(2))
    with Session.open(path) as session:
        for reader, words in SAID.items():
            verdicts = [Act("verdict", f"lesion-{n}", {"verdict": word}) for n, word in enumerate(words, start=1)]
            session.record(reader, "case-001", [*verdicts, Act("done")])
        session.record("Ann", "case-002", [Act("verdict", "lesion-1", {"verdict": "accept"})])
    return path


def verdicts_of(desk: Desk) -> dict[str, str | None]:
    """Return what the reader at the desk said of the findings of the open case."""
    return {name: state.verdict for name, state in desk.dock.reviewer.at.state.findings.items()}


def test_a_third_reader_decides_with_two_who_have_read(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of others is seen before the button; what they agree on is filled in, the rest is judged by keys."""
    path = read_twice(tmp_path)
    dock = desk.open(path, "Cleo")
    form = dock.together
    click = Qt.MouseButton.LeftButton
    assert dock.reviewer.at.others == {}
    desk.qtbot.mouseClick(dock.together_section.heading, click)
    assert form.readers.chosen == ("Ann", "Bob")

    desk.qtbot.mouseClick(form.decide, click)
    assert verdicts_of(desk) == {"lesion-1": "accept", "lesion-2": None, "lesion-3": "reject", "lesion-4": "unsure"}
    assert dock.reviewer.at.finding == "lesion-2"  # where they differ
    assert "1 of 4 findings" in dock.note.text()
    assert "others: Ann: accept, Bob: reject" in dock.panel.comments.text()
    desk.press(KEYS["accept"], KEYS["undo"], KEYS["accept"])
    assert verdicts_of(desk)["lesion-2"] == "accept"

    desk.press(KEYS["done"])
    desk.wait()
    assert dock.reviewer.case == "case-002"
    assert form.readers.names == ()  # Ann is in the middle of it
    assert not form.decide.isEnabled()
    assert dock.reviewer.at.others == {}

    desk.qtbot.mouseClick(form.compare, click)
    desk.qtbot.waitUntil(lambda: "Cohen" in form.said.text(), timeout=WAIT_MS)
    desk.qtbot.waitUntil(lambda: form.said.visibleRegion().boundingRect().height() > 0, timeout=WAIT_MS)
    lines = form.said.text().splitlines()
    assert lines[0] == "Ann and Bob: the same on 3 of 4 findings, Cohen's kappa 0.636"
    assert any(line.startswith("Cleo (consensus) and Ann: the same on 4 of 4") for line in lines)

    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    for name in (f"{path.stem}-findings", f"{path.stem}-findings-2"):
        desk.qtbot.mouseClick(form.export, click)
        desk.qtbot.waitUntil(lambda: form.export.text() == "Export findings…", timeout=WAIT_MS)
        assert form.said.text().splitlines()[0] == f"Exported to {tmp_path / name}"
        assert "you have not closed all cases yet" in form.said.text()
    with (tmp_path / name / "findings.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    said = {(row["reader"], row["finding"]): row["verdict"] for row in rows if row["case"] == "case-001"}
    assert [said["Cleo", f"lesion-{n}"] for n in range(1, 5)] == ["accept", "accept", "reject", "unsure"]
    assert {row["reader"] for row in rows if row["case"] == "case-002"} <= {"Cleo"}  # Ann has begun it, Cleo has not


def test_who_has_begun_to_read_blind_is_shown_nothing(desk: Desk, tmp_path: Path) -> None:
    """Why not is said, nothing is recorded, and what was judged stays."""
    dock = desk.open(read_twice(tmp_path), "Cleo")
    desk.press(KEYS["reject"])
    desk.qtbot.mouseClick(dock.together_section.heading, Qt.MouseButton.LeftButton)

    desk.qtbot.mouseClick(dock.together.decide, Qt.MouseButton.LeftButton)

    assert "close it first" in dock.note.text()
    assert dock.reviewer.at.others == {}
    assert verdicts_of(desk)["lesion-1"] == "reject"
    assert not [event for event in dock.reviewer.at.events if event.act.kind == "revealed"]
