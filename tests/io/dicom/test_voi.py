"""Windows that a series suggests: taken as they stand, several with their names, never at the cost of the scan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_factory import Plan, make_enhanced, make_series
from lesionlens.io import read
from lesionlens.volume import Source
from lesionlens.windowing import Window


def source_of(folder: Path, change: Callable[[Dataset, int], None], **plan: Any) -> Source:
    """Write a series whose slices were changed, and return what reading it says."""
    make_series(folder, Plan(change=change, **plan))
    return read(folder).source


def said(**elements: Any) -> Callable[[Dataset, int], None]:
    """Return a change that writes elements into every slice."""

    def change(dataset: Dataset, _k: int) -> None:
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)

    return change


def test_several_windows_come_with_their_names(tmp_path: Path) -> None:
    """Scanners write a window for soft tissue and one for bone into each slice."""
    names = ["BRAIN", "BONE"]
    change = said(WindowCenter=["35", "600.5"], WindowWidth=["80", "2800"], WindowCenterWidthExplanation=names)

    source = source_of(tmp_path, change)

    assert source.windows == (
        Window("DICOM: BRAIN", 35, 80, "LINEAR", "DICOM"),
        Window("DICOM: BONE", 600.5, 2800, "LINEAR", "DICOM"),
    )
    assert source.windows[0].limits == (-5, 74)


def test_windows_without_names_are_numbered(tmp_path: Path) -> None:
    """Most files say no name; the same window twice is one."""
    source = source_of(tmp_path, said(WindowCenter=["35", "600", "35"], WindowWidth=["80", "2800", "80"]))

    assert [window.name for window in source.windows][:2] == ["DICOM 1", "DICOM 2"]


@pytest.mark.parametrize("implicit", [False, True])
def test_the_middle_slice_decides(tmp_path: Path, implicit: bool) -> None:
    """MR has other windows in every slice; the middle one is what is seen first."""

    def change(dataset: Dataset, k: int) -> None:
        dataset.WindowCenter, dataset.WindowWidth = 100 + k, 200 + k

    source = source_of(tmp_path, change, shape=(7, 6, 5), implicit=implicit)

    (window,) = source.windows
    assert (window.centre, window.width) == (102, 202)


def test_windows_of_an_enhanced_file_are_those_of_its_frame(tmp_path: Path) -> None:
    """There they stand in the functional groups, not at the top."""

    def mark(frame: Dataset, _volume: int) -> None:
        frame.FrameVOILUTSequence = [Dataset()]
        frame.FrameVOILUTSequence[0].WindowCenter = 50
        frame.FrameVOILUTSequence[0].WindowWidth = 350
        frame.FrameVOILUTSequence[0].VOILUTFunction = "LINEAR_EXACT"

    make_enhanced(tmp_path / "one.dcm", Plan(), mark=mark)

    (window,) = read(tmp_path / "one.dcm").source.windows

    assert window.limits == (-125, 225)


def test_what_is_not_applied_is_said(tmp_path: Path) -> None:
    """A sigmoid or a table looks otherwise on the scanner's console."""

    def change(dataset: Dataset, _k: int) -> None:
        dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = 40, 80, "SIGMOID"
        table = Dataset()
        table.LUTDescriptor, table.LUTData = [2, 0, 16], b"\0\0\xff\xff"
        dataset.VOILUTSequence = [table]

    source = source_of(tmp_path, change)

    assert "sigmoid" in source.windows[0].note
    assert any("tangent" in sentence for sentence in source.decisions)
    assert any("VOI LUT" in sentence for sentence in source.decisions)


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"WindowCenter": "40", "WindowWidth": "0"}, "width"),
        ({"WindowCenter": ["40", "40"], "WindowWidth": ["-5", "80"]}, "width"),
        ({"WindowCenter": "40", "WindowWidth": "80", "VOILUTFunction": "CUBIC"}, "unknown"),
    ],
)
def test_a_damaged_window_costs_no_scan(tmp_path: Path, elements: dict[str, Any], words: str) -> None:
    """A window of width 0 occurs in real files; the voxels are none the worse."""
    source = source_of(tmp_path, said(**elements))

    assert any(words in sentence for sentence in source.decisions)
    assert all(window.width == 80 for window in source.windows)


def test_a_window_that_is_no_number_costs_no_scan(tmp_path: Path) -> None:
    """Text where a number belongs is left aside with a sentence."""

    def change(dataset: Dataset, _k: int) -> None:
        dataset.WindowCenter, dataset.WindowWidth = 40, 80

    paths = make_series(tmp_path, Plan(change=change))
    for path in paths:
        content = path.read_bytes()
        assert b"40.0" in content
        path.write_bytes(content.replace(b"40.0", b"x?.0"))

    volume = read(tmp_path)

    assert volume.source.windows == ()
    assert any("window" in sentence for sentence in volume.source.decisions)
    assert np.ptp(volume.array) > 0


def test_a_name_never_holds_the_patient(tmp_path: Path) -> None:
    """The explanation is free text of whoever set the window."""
    change = said(
        WindowCenter="40", WindowWidth="80", WindowCenterWidthExplanation="Secret^Patient 1.2.840.99999.1.2.3.4"
    )

    source = source_of(tmp_path, change)

    assert "Secret" not in repr(source.windows)
    assert "1.2.840" not in repr(source.windows)
    assert source.windows[0].limits == (0, 79)


def test_a_series_without_windows_has_none(tmp_path: Path) -> None:
    """Nothing is made up where the files say nothing."""
    make_series(tmp_path)

    assert read(tmp_path).source.windows == ()
