"""The dock *Archive*, used as a person would: search, open a series, run, send the results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Layer
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox

import lesionlens as ll
from archives import MemoryKeyring, WebStub, own_keyring, series_of, web_stub
from batch_cases import write_voxelwise
from dicom_factory import Plan
from lesionlens.pacs.address import parse_address
from lesionlens.pacs.named import name_archive, unname_archive
from lesionlens.recent import recent_cases
from lesionlens.ui.archive import ArchiveWidget
from lesionlens.ui.current import current_of
from lesionlens.ui.layers import volume_of
from ui_window import WAIT_MS

PLAN = Plan(shape=(12, 12, 8), spacing=(2.0, 2.0, 2.0), description="FLAIR Secret")


def images() -> list[Any]:
    """Return a series with a bright block in it, and another one."""
    found = series_of(PLAN)
    for k, image in enumerate(found):
        values = np.zeros((12, 12), dtype="<u2")
        values[4:8, 3:9] = 4 if 2 <= k < 6 else 0
        image.PixelData = values.tobytes()
        image.StudyID, image.PatientBirthDate, image.PatientSex, image.AccessionNumber = "1", "19560302", "O", "A1"
        image.StudyTime, image.ReferringPhysicianName = "101010", "Doe^Doctor"
    return [*found, *series_of(Plan(shape=(4, 4, 3), number=9, description="T1", modality="CT"), study="1.2.9")]


@pytest.fixture
def keyring() -> Iterator[MemoryKeyring]:
    """Return an empty keyring."""
    with own_keyring() as found:
        yield found


@pytest.fixture
def stub(keyring: MemoryKeyring) -> Iterator[WebStub]:
    """Return an archive that is known as "hospital"."""
    with web_stub(*images()) as found:
        name_archive("hospital", parse_address(found.url))
        yield found
        unname_archive("hospital")


@pytest.fixture
def dock(viewer: Any, qtbot: Any, stub: WebStub) -> Iterator[ArchiveWidget]:
    """Return the dock."""
    widget = ArchiveWidget(viewer)
    viewer.window.add_dock_widget(widget, name="LesionLens archive", area="right")
    yield widget
    if isalive(widget):
        widget.cancel()
        qtbot.waitUntil(lambda: widget.bar.job is None, timeout=WAIT_MS)


def press(dock: ArchiveWidget, button: Any, qtbot: Any) -> None:
    """Press a button and wait for the end."""
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.bar.job is None, timeout=WAIT_MS)


def rows(dock: ArchiveWidget) -> list[list[str]]:
    """Return what the table shows."""
    table = dock.table.table
    shown = [column for column in range(table.columnCount()) if not table.isColumnHidden(column)]
    return [[table.item(row, column).text() for column in shown] for row in range(table.rowCount())]


def open_series(dock: ArchiveWidget, qtbot: Any) -> Layer:
    """Search for the MR series, choose it, and open it."""
    dock.fields["modality"].setText("MR")
    press(dock, dock.bar.run, qtbot)
    assert not dock.open.isEnabled()
    dock.table.table.selectRow(0)
    press(dock, dock.open, qtbot)
    qtbot.waitUntil(lambda: any(volume_of(layer) is not None for layer in dock.viewer.layers), timeout=WAIT_MS)
    return dock.viewer.layers[0]


def test_a_search_lists_series_and_says_who_they_are_of_when_asked(dock: ArchiveWidget, qtbot: Any) -> None:
    """Names stay out of a window that others may see, until somebody wants them there."""
    assert dock.place.currentText() == "hospital"
    press(dock, dock.bar.run, qtbot)

    assert rows(dock) == [
        ["MR", "4", "FLAIR [removed]", "", "Head of [removed]"],
        ["CT", "9", "T1", "", "Head of [removed]"],
    ]
    assert dock.bar.status.text() == "2 series."
    dock.identified.setChecked(True)
    qtbot.keyClick(dock.fields["modality"], Qt.Key.Key_C)
    qtbot.keyClick(dock.fields["modality"], Qt.Key.Key_T)
    qtbot.keyClick(dock.fields["modality"], Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: dock.bar.job is None, timeout=WAIT_MS)
    assert rows(dock) == [["Secret^Patient", "SECRET-ID", "20240102", "CT", "9", "T1", "", "Head of Secret"]]


def test_a_series_is_opened_as_a_scan_and_leaves_with_the_dock(dock: ArchiveWidget, qtbot: Any) -> None:
    """Its files are here as long as results may be written on them, and no longer; no list remembers them."""
    layer = open_series(dock, qtbot)

    volume = volume_of(layer)
    assert volume is not None
    assert volume.array.sum() == 4 * 4 * 6 * 4
    kept = Path(dock._kept.name)
    assert len(list(kept.rglob("*.dcm"))) == 8
    assert [case.path for case in recent_cases() if kept in case.path.parents] == []
    dock.viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    qtbot.waitUntil(lambda: not kept.exists(), timeout=WAIT_MS)


def test_results_are_sent_after_a_question(
    dock: ArchiveWidget, qtbot: Any, stub: WebStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes into an archive stays there; a no sends nothing."""
    volume = volume_of(open_series(dock, qtbot))
    assert not dock.send.isEnabled()
    bundle = ll.load_bundle(str(write_voxelwise(tmp_path / "bundle")), trust=True)
    options = ll.RunOptions(Path(), bundle=str(tmp_path / "bundle"), layer="0", trust=True)
    current_of(dock.viewer).show(ll.run_case(options, volume=volume, bundle=bundle), "lesion", 0.5)
    asked: list[str] = []

    def answer(button: Any) -> Callable[..., Any]:
        return lambda _parent, _title, text: asked.append(text) or button

    monkeypatch.setattr(QMessageBox, "question", answer(QMessageBox.StandardButton.No))
    press(dock, dock.send, qtbot)
    assert stub.stored == []
    monkeypatch.setattr(QMessageBox, "question", answer(QMessageBox.StandardButton.Yes))
    dock.named.setChecked(True)
    press(dock, dock.send, qtbot)

    assert "under a pseudonym" in asked[0]
    assert "hospital, under the patient's own name" in asked[1]
    assert dock.bar.status.text() == f"{len(stub.stored)} objects stored."
    assert len(stub.stored) == 4
    assert all(b"Secret^Patient" in content for content in stub.stored)
    current_of(dock.viewer).forget()


def test_a_refusal_is_shown_and_a_password_is_asked_for(
    dock: ArchiveWidget, qtbot: Any, stub: WebStub, answer: Callable[..., list[Any]], keyring: MemoryKeyring
) -> None:
    """The password is typed unseen, kept in the keyring, and sent from then on."""
    stub.statuses.append(401)
    press(dock, dock.bar.run, qtbot)
    assert "does not accept user and password" in dock.bar.status.text()

    def type_in(dialog: Any) -> None:
        dialog.user.setText("ann")
        dialog.password.setText("right horse")
        assert dialog.password.displayText() == "●" * 11 or "right" not in dialog.password.displayText()
        dialog.accept()

    answer(type_in)
    dock.log_in.click()
    press(dock, dock.bar.run, qtbot)

    assert stub.heard[-1] == "Basic YW5uOnJpZ2h0IGhvcnNl"
    assert len(keyring.held) == 1
    assert len(rows(dock)) == 2


def test_a_fetch_is_cancelled_and_nothing_is_opened(
    dock: ArchiveWidget, qtbot: Any, stub: WebStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive stops in the middle, the reader has enough; the same series can be opened afterwards."""
    monkeypatch.setattr("lesionlens.pacs.dicomweb._CHUNK", 64)  # tells each image, of these small ones too
    stub.gate = threading.Event()
    dock.fields["modality"].setText("MR")
    press(dock, dock.bar.run, qtbot)
    dock.table.table.selectRow(0)
    dock.open.click()
    qtbot.waitUntil(lambda: "Fetching" in dock.bar.status.text(), timeout=WAIT_MS)
    assert not dock.open.isEnabled()
    qtbot.mouseClick(dock.bar.cancel, Qt.MouseButton.LeftButton)
    stub.gate.set()
    qtbot.waitUntil(lambda: dock.bar.job is None, timeout=WAIT_MS)

    assert dock.bar.status.text() == "Cancelled."
    assert list(Path(dock._kept.name).iterdir()) == []
    assert len(dock.viewer.layers) == 0
    assert open_series(dock, qtbot) is not None


def test_what_cannot_be_looked_for_is_said_at_once(dock: ArchiveWidget, qtbot: Any, stub: WebStub) -> None:
    """Nothing is asked of the archive; without one there is nothing to press."""
    dock.fields["study_date"].setText("yesterday")
    press(dock, dock.bar.run, qtbot)

    assert "YYYYMMDD" in dock.bar.status.text()
    assert stub.asked == []
    dock.place.setEditText("")
    assert not dock.bar.run.isEnabled()
    assert "address" in dock.bar.why_not.text()
