"""DICOM objects that are dropped on a scan lie over it; anything else is opened as a scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QMessageBox

from dicom_results import Made, make_results
from lesionlens.dicom_export import export_dicom
from lesionlens.ui import jobs, reader
from lesionlens.ui.dropping import lay_over
from ui_window import WAIT_MS, Window


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, Path]:
    """Return results on a series, and the folder of their objects."""
    folder = tmp_path_factory.mktemp("made")
    made = make_results(folder, "axial")
    export_dicom(made.results, made.source, folder / "objects", identified=True)
    return made, folder / "objects"


def drop(window: Window, path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Drop a file into the window, and wait until it was read."""
    monkeypatch.setattr(reader, "_viewer_of_the_user", lambda: window.viewer)
    assert reader.read_layers(str(path)) == [(None,)]
    window.qtbot.waitUntil(lambda: not jobs._running.jobs, timeout=WAIT_MS)
    return window.viewer.layers[-1]


def test_objects_are_laid_over_the_scan(
    window: Window, made: tuple[Made, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segmentation, a report and a map show the voxels that they hold, on the scan that is open."""
    results, folder = made
    window.open(results.volume)
    probability = results.case.probabilities[0].array

    for name in ("seg_lesion.dcm", "report.dcm"):
        layer = drop(window, folder / name, monkeypatch)
        assert layer.metadata["lesionlens_elsewhere"]
        assert not layer.editable
        assert sorted(np.unique(np.asarray(layer.data))) == [0, 1, 2]
        assert np.count_nonzero(layer.data) == np.count_nonzero(results.labels)
    shown = np.asarray(drop(window, folder / "probability_lesion.dcm", monkeypatch).data)
    assert np.array_equal(np.sort(shown, axis=None), np.sort(probability, axis=None))
    assert len(window.viewer.layers) >= 4


@pytest.mark.parametrize("one_space", [True, False])
def test_another_frame_of_reference_is_asked_about(
    window: Window,
    made: tuple[Made, Path],
    monkeypatch: pytest.MonkeyPatch,
    answer: Any,
    tmp_path: Path,
    one_space: bool,
) -> None:
    """Objects with pseudonyms name another frame: only who knows that it is the same space may lay them over."""
    results, _ = made
    export_dicom(results.results, results.source, tmp_path / "objects", formats=["seg"])
    window.open(results.volume)

    def decide(box: QMessageBox) -> None:
        role = QMessageBox.ButtonRole.AcceptRole if one_space else QMessageBox.ButtonRole.RejectRole
        window.click(next(button for button in box.buttons() if box.buttonRole(button) == role))

    seen = answer(decide)
    monkeypatch.setattr(reader, "_viewer_of_the_user", lambda: window.viewer)
    assert reader.read_layers(str(tmp_path / "objects" / "seg_lesion.dcm")) == [(None,)]
    window.qtbot.waitUntil(lambda: bool(seen) and not jobs._running.jobs, timeout=WAIT_MS)

    assert "seg_lesion.dcm has another frame of reference than" in seen[0]
    assert len(window.viewer.layers) == (2 if one_space else 1)
    if one_space:
        laid = np.asarray(window.viewer.layers[-1].data)
        assert np.count_nonzero(laid) == np.count_nonzero(results.labels)


def test_nothing_is_laid_over_without_a_scan(window: Window, made: tuple[Made, Path]) -> None:
    """Without a scan there is no place for it, and a scan is no overlay of another one."""
    results, folder = made
    assert not lay_over(window.viewer, folder / "seg_lesion.dcm")
    window.open(results.volume)
    assert not lay_over(window.viewer, next(results.source.iterdir()))
    assert not lay_over(window.viewer, results.source)
    assert len(window.viewer.layers) == 1
