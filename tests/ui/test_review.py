"""Judging findings in the real window: by keys, with nothing lost, and nothing of another reader seen."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication
from scipy import ndimage

from lesionlens.display import CORONAL, PLANES, DisplayView
from lesionlens.errors import ReadError
from lesionlens.io import read
from lesionlens.review import Act, Session
from lesionlens.review.backups import EVENTS_BETWEEN
from lesionlens.review.masks import apply_mask
from lesionlens.ui import reader
from lesionlens.ui.canvas import show_plane
from lesionlens.ui.open import settle
from lesionlens.ui.review.dock import ReviewWidget
from lesionlens.ui.review.keys import KEYS
from review_cases import SPACING_MM, blobs, make_session, sickle
from review_desk import Desk
from ui_window import WAIT_MS
from views_window import close_views, dock_views

pytestmark = pytest.mark.xvfb

N_FINDINGS = 40
WORDS = ("accept", "reject", "unsure")


def labels_of(path: Path, case: int) -> NDArray[Any]:
    """Return the (i, j, k) regions of a case."""
    return np.asarray(read(path.parent / f"scan-{case}-results" / "regions_lesion.nii.gz").array)


def events(desk: Desk, *kinds: str) -> list[Any]:
    """Return the acts of some kinds that are in the session."""
    return [event.act for event in desk.dock.reviewer.at.session.events() if event.act.kind in kinds]


def listed_ml(dock: ReviewWidget) -> str:
    """Return the volume of the first finding as the list gives it."""
    item = dock.findings.item(0, 1)
    assert item is not None
    return str(item.text())


def shown_mask(desk: Desk) -> NDArray[np.bool_]:
    """Return the (i, j, k) voxels that the layer on the screen marks."""
    view = desk.dock.reviewer.view
    assert view is not None
    return DisplayView(view.volume.grid).from_display(np.asarray(view.drawing.layer.data)) > 0


def test_forty_findings_are_judged_without_the_mouse(desk: Desk, tmp_path: Path) -> None:
    """Every finding stands in the middle when it is judged; every verdict is stored; the next case is there at once."""
    path = make_session(tmp_path, blobs(N_FINDINGS), sickle())
    dock = desk.open(path)
    labels = labels_of(path, 0)
    centres = ndimage.center_of_mass(labels > 0, labels, range(1, N_FINDINGS + 1))
    grid = dock.reviewer.view.volume.grid  # type: ignore[union-attr]  # a case is shown
    half_mm = np.array([SPACING_MM[2], SPACING_MM[1], SPACING_MM[0]]) / 2 + 1e-6
    assert dock.findings.rowCount() == N_FINDINGS
    assert f"0 of {N_FINDINGS} judged" in dock.case.text()
    settle()
    height = dock.panel.y()

    for n, centre in enumerate(centres):
        assert dock.reviewer.at.finding == f"lesion-{n + 1}"
        r, a, s = grid.world(centre)
        assert np.all(np.abs(np.array(desk.viewer.dims.point) - (s, -a, -r)) <= half_mm)
        assert np.all(np.abs(np.array(desk.viewer.scene.camera.center[-2:]) - (-a, -r)) <= half_mm[1:])
        np.testing.assert_array_equal(shown_mask(desk), labels == n + 1)
        if n % 8 == 0:
            desk.press(KEYS["comment"])
            desk.type(f"seen {n} 8")  # the 8 is written, and judges nothing
            desk.press("Return")
        desk.press(KEYS[f"confidence_{1 + n % 5}"], KEYS[WORDS[n % 3]])
        assert dock.panel.y() == height or n == N_FINDINGS - 1  # no button moves away under the mouse

    assert [act.value["verdict"] for act in events(desk, "verdict")] == [WORDS[n % 3] for n in range(N_FINDINGS)]
    assert [act.finding for act in events(desk, "verdict")] == [f"lesion-{n + 1}" for n in range(N_FINDINGS)]
    assert [act.value["confidence"] for act in events(desk, "confidence")] == [1 + n % 5 for n in range(N_FINDINGS)]
    assert [act.value["text"] for act in events(desk, "comment")] == [f"seen {n} 8" for n in range(0, N_FINDINGS, 8)]
    assert "0/2, 0 flagged" in dock.progress.text()  # judged, but not closed
    assert f"{N_FINDINGS} of {N_FINDINGS} judged" in dock.case.text()

    loader = dock.reviewer._loader
    desk.qtbot.waitUntil(lambda: loader is not None and loader.kept is not None, timeout=WAIT_MS)
    desk.press(KEYS["done"])
    assert dock.reviewer.ready  # at once: it was read before
    assert (dock.reviewer.case, dock.reviewer.at.finding) == ("case-002", "lesion-1")
    assert "1/2" in dock.progress.text()
    assert "Case 2 of 2" in dock.case.text()
    position = DisplayView(grid).voxel_at(desk.viewer.dims.point)
    assert labels_of(path, 1)[tuple(np.rint(position).astype(int))] == 1  # a ring is looked at on itself


def assert_in_the_middle(model: Any, centre: NDArray[np.float64], sides_mm: NDArray[np.float64]) -> None:
    """Expect a finding in the middle of a view within half a voxel, on its slice, and whole; all in display axes."""
    half_mm = np.array([SPACING_MM[2], SPACING_MM[1], SPACING_MM[0]]) / 2 + 1e-6
    seen = list(model.dims.displayed)
    assert np.all(np.abs(np.array(model.dims.point) - centre) <= half_mm)
    assert np.all(np.abs(np.array(model.scene.camera.center[-2:]) - centre[seen]) <= half_mm[seen])
    canvas_mm = np.array(model.canvas.size) / model.scene.camera.zoom
    assert np.all(sides_mm[seen] < canvas_mm)


def test_findings_come_to_the_middle_of_all_views(desk: Desk, tmp_path: Path) -> None:
    """In the main canvas in each plane, and in the three views beside it, whatever key brings the finding up."""
    n = 12  # in several rows, columns and slices
    path = make_session(tmp_path, blobs(n))
    dock = desk.open(path)
    labels = labels_of(path, 0)
    display = DisplayView(dock.reviewer.view.volume.grid)  # type: ignore[union-attr]  # a case is shown
    centres = display.position(np.array(ndimage.center_of_mass(labels > 0, labels, range(1, n + 1))))
    corners = [np.argwhere(labels == number) for number in range(1, n + 1)]
    sides = [np.abs(display.position(c.max(axis=0)) - display.position(c.min(axis=0))) for c in corners]
    views = dock_views(desk.viewer)
    models = [desk.viewer, *(pane.model for pane in views.panes)]
    try:
        for key, plane in zip(("accept", "next_finding", "previous_finding"), PLANES.values(), strict=True):
            show_plane(desk.viewer, plane)
            desk.press(KEYS[key])
            number = int(dock.reviewer.at.finding.rsplit("-", 1)[1]) - 1
            for model in models:
                assert_in_the_middle(model, centres[number], sides[number])
    finally:
        close_views(desk.viewer, views)


def test_strokes_are_stored_one_by_one_and_taken_back(desk: Desk, tmp_path: Path) -> None:
    """Brush, eraser and lasso with the mouse; what the layer shows is what the session says, also when reopened."""
    path = make_session(tmp_path, blobs(6))
    dock = desk.open(path)
    original = shown_mask(desk).copy()

    desk.press(KEYS["brush"])
    assert dock.panel.buttons["brush"].isChecked()
    desk.drag((0, 0), (40, 0), (80, 0))
    assert len(events(desk, "edit")) == 1
    assert "stroke" in dock.saved.text()
    painted = shown_mask(desk).copy()
    assert painted.sum() > original.sum()
    desk.press(KEYS["erase"])
    desk.drag((0, 0), (0, 10))
    assert len(events(desk, "edit")) == 2
    desk.press(KEYS["lasso"])
    layer = dock.reviewer.view.drawing.layer  # type: ignore[union-attr]  # a case is shown
    assert layer.mode == "polygon"
    k = int(layer.world_to_data(desk.viewer.dims.point)[0])
    layer.paint_polygon([[k, 2, 2], [k, 2, 12], [k, 14, 12], [k, 14, 2]], 1)  # what napari's tool does when it closes
    settle()
    assert len(events(desk, "edit")) == 3
    drawn = shown_mask(desk).copy()
    assert listed_ml(dock) == f"{drawn.sum() * np.prod(SPACING_MM) / 1000:.2f}"

    replayed = original
    for act in events(desk, "edit"):
        replayed = apply_mask(replayed, act.mask)
    np.testing.assert_array_equal(replayed, drawn)
    desk.press(KEYS["next_finding"], KEYS["previous_finding"])
    np.testing.assert_array_equal(shown_mask(desk), drawn)
    desk.close()
    dock = desk.open(path)
    np.testing.assert_array_equal(shown_mask(desk), drawn)

    desk.press(KEYS["undo"], KEYS["undo"])
    np.testing.assert_array_equal(shown_mask(desk), painted)
    desk.press(KEYS["undo"])
    np.testing.assert_array_equal(shown_mask(desk), original)
    assert listed_ml(dock) == f"{original.sum() * np.prod(SPACING_MM) / 1000:.2f}"
    desk.press(KEYS["undo"])
    assert "nothing to take back" in dock.note.text()
    desk.press(KEYS["redo"])
    np.testing.assert_array_equal(shown_mask(desk), painted)
    # napari's own key for undo, in the layer that is drawn on, takes back what is stored.
    dock.reviewer.view.drawing.use("paint")  # type: ignore[union-attr]  # a case is shown
    dock.reviewer.view.drawing.layer.undo()  # type: ignore[union-attr]
    np.testing.assert_array_equal(shown_mask(desk), original)


def test_a_finding_is_measured_with_a_line(desk: Desk, tmp_path: Path) -> None:
    """Its length is that of the drag in mm; it is stored at once, stays with its finding, and can be taken back."""
    path = make_session(tmp_path, blobs(3))
    dock = desk.open(path)
    desk.press(KEYS["brush"], KEYS["measure"])
    assert dock.panel.buttons["measure"].isChecked()
    assert not dock.panel.buttons["brush"].isChecked()

    desk.drag((-20, 0), (10, 30), (40, 80))
    (act,) = events(desk, "measured")

    zoom = desk.viewer.scene.camera.zoom
    assert act.finding == "lesion-1"
    assert act.value["length_mm"] == pytest.approx(100 / zoom, abs=2 / zoom)  # 60 by 80 pixels, each end within one
    first, last = np.array(act.value["ends_ras"])
    assert np.linalg.norm(last - first) == pytest.approx(act.value["length_mm"])
    assert (last - first) * zoom == pytest.approx([-60, -80, 0], abs=2)  # to the left of the patient, and to the back
    assert "measured" in dock.saved.text()
    length = f"{act.value['length_mm']:.1f} mm"
    assert length in dock.panel.comments.text()
    lines = dock.reviewer.view.lines  # type: ignore[union-attr]  # a case is shown
    assert lines.in_use
    assert (lines.layer.nshapes, lines.layer.text.values.tolist()) == (1, [length])

    desk.qtbot.mouseClick(desk.viewer.window._qt_viewer.canvas.native, Qt.MouseButton.LeftButton)
    settle()
    assert (len(events(desk, "measured")), lines.layer.nshapes) == (1, 1)  # a click is no line
    desk.press(KEYS["measure"])
    assert not lines.in_use
    desk.press(KEYS["hide"])
    assert [layer.name for layer in desk.viewer.layers if layer.visible] == [desk.viewer.layers[0].name]  # the scan
    assert dock.panel.buttons["hide"].isChecked()
    desk.press(KEYS["next_finding"])  # nobody judges the next one without seeing it
    assert dock.reviewer.view.drawing.layer.visible  # type: ignore[union-attr]
    assert not dock.panel.buttons["hide"].isChecked()
    assert lines.layer is None
    desk.close()
    dock = desk.open(path)
    desk.press(KEYS["previous_finding"])
    lines = dock.reviewer.view.lines  # type: ignore[union-attr]
    np.testing.assert_allclose(lines._ends(lines.layer.data[0]), [first, last], atol=1e-6)
    desk.press(KEYS["undo"])
    assert lines.layer is None
    assert length not in dock.panel.comments.text()


def test_findings_are_drawn_split_and_merged_by_keys(desk: Desk, tmp_path: Path) -> None:
    """A finding of one's own comes with its first stroke, needs a verdict, and can be joined with another."""
    path = make_session(tmp_path, blobs(2))
    dock = desk.open(path)
    first = shown_mask(desk).copy()

    desk.press(KEYS["new_finding"])
    assert shown_mask(desk).sum() == 0
    desk.drag((-150, -150), (-120, -150))
    assert (dock.reviewer.at.finding, len(events(desk, "added"))) == ("reader-1", 1)
    own = shown_mask(desk).copy()
    assert own.any()
    desk.press(KEYS["done"])
    assert "wait for a verdict" in dock.note.text()

    dock.findings.setCurrentCell(dock.findings.names.index("reader-1"), 0)
    desk.press(KEYS["split"])
    assert "one piece" in dock.note.text()
    desk.press(KEYS["merge"], KEYS["previous_finding"], KEYS["previous_finding"], KEYS["merge"])
    assert dock.reviewer.at.finding == "reader-2"
    np.testing.assert_array_equal(shown_mask(desk), own | first)
    assert dock.findings.names == ["lesion-2", "reader-2"]
    desk.press(KEYS["split"])
    assert dock.findings.names == ["lesion-2", "reader-3", "reader-4"]
    desk.press(KEYS["undo"], KEYS["undo"])
    assert dock.findings.names == ["lesion-1", "lesion-2", "reader-1"]


def test_a_failed_write_is_said_and_keeps_everything_on_the_screen(desk: Desk, tmp_path: Path) -> None:
    """A full disk and a locked file: the reader stays, the text and the stroke stay, and trying again stores them."""
    path = make_session(tmp_path, blobs(3))
    dock = desk.open(path)
    session = dock.reviewer.at.session._connection
    pages = session.execute("PRAGMA page_count").fetchone()[0]
    session.execute(f"PRAGMA max_page_count = {pages + 1}")
    desk.press(KEYS["comment"])
    QApplication.focusWidget().setText("x" * 30_000)
    desk.press("Return")
    assert "NOT SAVED" in dock.banners.failure.text()
    assert "full" in dock.banners.failure.text()
    assert dock.saved.text() == ""
    assert len(dock.panel.comment.text()) == 30_000
    session.execute("PRAGMA max_page_count = 100000")
    desk.press("Return")
    assert dock.banners.failure.text() == ""
    assert [len(act.value["text"]) for act in events(desk, "comment")] == [30_000]

    session.execute("PRAGMA busy_timeout = 0")
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        desk.press(KEYS["accept"])
        assert "locked" in dock.banners.failure.text()
        assert dock.reviewer.at.finding == "lesion-1"
        assert dock.reviewer.at.state.findings["lesion-1"].verdict is None
        assert not dock.panel.buttons["accept"].isChecked()
        desk.press(KEYS["brush"])
        desk.drag((0, 0), (60, 0))
        drawn = shown_mask(desk).copy()
        desk.press(KEYS["next_finding"])
        assert dock.reviewer.at.finding == "lesion-1"
        np.testing.assert_array_equal(shown_mask(desk), drawn)
        assert dock.reviewer.unsaved
        assert dock.banners.again.isVisible()
        other.execute("ROLLBACK")
    other.close()
    desk.viewer.scene.camera.zoom *= 1.5
    dock.reviewer.keep_view()  # as it is when the view has rested: that this can be stored does not store the stroke
    assert dock.reviewer.unsaved
    assert "NOT SAVED" in dock.banners.failure.text()
    desk.press(KEYS["save_again"])
    assert not dock.reviewer.unsaved
    assert not dock.banners.failure.isVisible()
    (edit,) = events(desk, "edit")
    np.testing.assert_array_equal(apply_mask(labels_of(path, 0) == 1, edit.mask), drawn)


def test_a_copy_that_cannot_be_made_is_said_beside_what_is_saved(desk: Desk, tmp_path: Path) -> None:
    """Copies are made while somebody reads; without room for one the reader is told, and goes on."""
    path = make_session(tmp_path, blobs(3))
    dock = desk.open(path)
    obstacle = path.with_name(f".{path.name}.backup")
    obstacle.mkdir()
    session = dock.reviewer.at.session
    dock.reviewer.at.record(*[Act("comment", "lesion-1", {"text": str(n)}) for n in range(EVENTS_BETWEEN)])
    session._backups.finish()
    desk.press(KEYS["accept"])
    assert "NO NEW COPY" in dock.banners.copies.text()
    assert dock.banners.copies.isVisible()
    assert "accept" in dock.saved.text()

    obstacle.rmdir()
    dock.reviewer.at.record(*[Act("comment", "lesion-1", {"text": str(n)}) for n in range(EVENTS_BETWEEN)])
    session._backups.finish()
    desk.press(KEYS["accept"])
    assert not dock.banners.copies.isVisible()


def test_a_second_window_reads_only_and_says_so(desk: Desk, tmp_path: Path) -> None:
    """Findings can be looked at; nothing can be judged, by key or by button, and the layer cannot be drawn on."""
    path = make_session(tmp_path, blobs(3))
    with Session.open(path) as first:
        dock = desk.open(path)
        assert dock.banners.read_only.isVisible()
        assert "READ-ONLY" in dock.banners.read_only.text()
        desk.press(KEYS["accept"], KEYS["next_finding"], KEYS["brush"], KEYS["flag"])

        enabled = {action for action, button in dock.panel.buttons.items() if button.isEnabled()}
        assert enabled == {"next_finding", "previous_finding", "next_case", "previous_case", "hide"}
        assert dock.reviewer.at.finding == "lesion-2"
        assert dock.reviewer.view.drawing.tool == "pan_zoom"  # type: ignore[union-attr]  # a case is shown
        assert not dock.reviewer.view.drawing.layer.editable  # type: ignore[union-attr]
        assert first.events() == []


def test_a_reader_sees_nothing_of_another_and_comes_back_to_the_view(desk: Desk, tmp_path: Path) -> None:
    """Bob's verdicts are not in Ann's dock; Ann finds finding, plane, zoom and place as she left them."""
    path = make_session(tmp_path, blobs(5), blobs(2))
    with Session.open(path) as session:
        acts = [Act("verdict", f"lesion-{n}", {"verdict": "reject"}) for n in range(1, 6)]
        session.record("Bob", "case-001", [*acts, Act("comment", "lesion-1", {"text": "by Bob"})])
    dock = desk.open(path)
    shown = [dock.findings.item(row, column).text() for row in range(5) for column in range(5)]
    assert "✗ reject" not in shown
    assert "0/2, 0 flagged</b> · Ann" in dock.progress.text()
    assert dock.panel.comments.text() == ""

    desk.press(KEYS["accept"], KEYS["next_finding"])
    show_plane(desk.viewer, CORONAL)
    desk.viewer.scene.camera.zoom = 7.5
    desk.viewer.scene.camera.center = (0.0, 4.0, -9.0)
    point = desk.viewer.dims.point
    desk.close()
    show_plane(desk.viewer, CORONAL)
    desk.viewer.scene.camera.zoom = 1.0

    dock = desk.open(path)

    assert dock.reviewer.at.finding == "lesion-3"
    assert tuple(desk.viewer.dims.order) == CORONAL.order
    assert desk.viewer.scene.camera.zoom == pytest.approx(7.5)
    np.testing.assert_allclose(desk.viewer.scene.camera.center[-2:], (4.0, -9.0), atol=1e-6)
    assert desk.viewer.dims.point[1] == pytest.approx(point[1])


def test_what_has_changed_is_noticed(desk: Desk, tmp_path: Path) -> None:
    """Another table is said; another scan is not shown, and the next case still is; on other regions nobody draws."""
    path = make_session(tmp_path, blobs(3), blobs(4), blobs(2), blobs(2))
    regions = tmp_path / "scan-3-results" / "regions_lesion.nii.gz"
    image = nib.load(regions)
    less = np.asarray(image.dataobj).copy()
    less[tuple(np.argwhere(less)[0])] = 0
    nib.save(nib.Nifti1Image(less, image.affine, image.header), regions)
    (tmp_path / "scan-0-results" / "regions.csv").write_text("changed", encoding="utf-8")
    (tmp_path / "scan-1.nii.gz").write_bytes((tmp_path / "scan-2.nii.gz").read_bytes())

    dock = desk.open(path)
    assert dock.banners.changed.isVisible()
    assert "regions.csv" in dock.banners.changed.text()

    desk.press(KEYS["next_case"])
    desk.qtbot.waitUntil(lambda: "another scan" in dock.banners.failure.text(), timeout=WAIT_MS)
    assert not dock.reviewer.ready
    assert len(desk.viewer.layers) == 0
    desk.press(KEYS["next_case"])
    desk.wait()
    desk.qtbot.waitUntil(lambda: dock.reviewer.ready, timeout=WAIT_MS)
    assert dock.banners.changed.text() == ""
    assert dock.reviewer.case == "case-003"
    assert dock.panel.buttons["brush"].isEnabled()

    desk.press(KEYS["next_case"])
    desk.qtbot.waitUntil(lambda: dock.reviewer.ready and dock.reviewer.case == "case-004", timeout=WAIT_MS)
    assert "Nothing can be drawn" in dock.banners.changed.text()
    desk.press(KEYS["brush"])
    assert "restore them before you draw" in dock.note.text()
    desk.drag((0, 0), (60, 0))
    desk.press(KEYS["accept"])  # a stroke would be kept as a change of other voxels; a verdict is one all the same
    assert not dock.panel.buttons["brush"].isEnabled()
    assert [act.kind for act in events(desk, "edit", "verdict")] == ["verdict"]


def test_a_session_that_is_dropped_asks_who_reads(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dock comes with the file filled in; a script is told that a session is no scan."""
    path = make_session(tmp_path, blobs(2))
    with pytest.raises(ReadError, match="review session"):
        reader.read_layers(str(path))

    monkeypatch.setattr(reader, "_viewer_of_the_user", lambda: desk.viewer)
    assert reader.read_layers(str(path)) == [(None,)]
    dock = next(d for d in desk.viewer.window.dock_widgets.values() if isinstance(d, ReviewWidget))
    desk.docks.append(dock)
    assert dock.start.path.text() == str(path)
    assert not dock.start.open.isEnabled()
    dock.start.reader.setText("Ann")
    desk.qtbot.keyClick(dock.start.reader, Qt.Key.Key_Return)
    desk.wait()
    assert dock.reviewer.at.reader == "Ann"


def test_the_model_is_kept_back_until_the_readers_own_search_is_over(desk: Desk, tmp_path: Path) -> None:
    """Nothing of the model is on the screen before; closing the case shows it, is recorded, and closes nothing yet."""
    path = make_session(tmp_path, blobs(3), model_blind=True)
    dock = desk.open(path)
    assert [layer.name for layer in desk.viewer.layers] == ["scan-0", "Finding: "]
    assert dock.findings.rowCount() == 0
    assert shown_mask(desk).sum() == 0

    desk.press(KEYS["done"])

    assert dock.findings.names == ["lesion-1", "lesion-2", "lesion-3"]
    assert "Probability: lesion" in desk.viewer.layers
    assert shown_mask(desk).sum() > 0
    assert [act.value["readers"] for act in events(desk, "revealed")] == [["model"]]
    assert events(desk, "done") == []


def test_what_was_begun_about_a_finding_is_said_of_no_other(desk: Desk, tmp_path: Path) -> None:
    """A click on Accept leads on while words still stand in the field: Enter must not give them to the next finding."""
    dock = desk.open(make_session(tmp_path, blobs(3)))
    panel = dock.panel
    desk.press(KEYS["comment"])
    desk.type("near a vessel")
    panel.category.setFocus()
    desk.type("vessel")

    desk.qtbot.mouseClick(panel.buttons["accept"], Qt.MouseButton.LeftButton)
    assert dock.reviewer.at.finding == "lesion-2"
    assert (panel.comment.text(), panel.category.text()) == ("", "")
    desk.press(KEYS["comment"])
    desk.press("Return")
    dock.findings.setCurrentCell(0, 0)
    assert (panel.comment.text(), panel.category.text()) == ("near a vessel", "vessel")

    panel.comment.setFocus()
    desk.press("Return")
    panel.category.setFocus()
    desk.press("Escape")
    dock.findings.setCurrentCell(1, 0)
    dock.findings.setCurrentCell(0, 0)

    said = [(act.kind, act.finding, act.value) for act in events(desk, "comment", "category")]
    assert said == [("comment", "lesion-1", {"text": "near a vessel"})]
    assert (panel.comment.text(), panel.category.text()) == ("", "")
