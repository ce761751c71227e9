"""Reports that are damaged, or hold something else than measured findings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_results import make_results
from lesionlens.dicom_export import export_dicom
from lesionlens.errors import ReadError
from lesionlens.io import read_findings
from lesionlens.io.reported import ReportedQuantity


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a report with two findings."""
    folder = tmp_path_factory.mktemp("report")
    made = make_results(folder, "axial")
    export_dicom(made.results, made.source, folder / "objects", formats=["sr"], identified=True)
    return folder / "objects" / "report.dcm"


def _nothing(dataset: Dataset) -> None:
    del dataset.ContentSequence


def _other_class(dataset: Dataset) -> None:
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"


def _no_number(dataset: Dataset) -> None:
    def strip(item: Dataset) -> None:
        for inside in item.get("ContentSequence") or []:
            strip(inside)
        for measured in item.get("MeasuredValueSequence") or []:
            del measured.NumericValue

    strip(dataset)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_nothing, r"bad\.dcm reports no measured findings \(TID 1500\)"),
        (_other_class, r"Expected a DICOM structured report in bad\.dcm"),
        (_no_number, r"Cannot read bad\.dcm: .*NumericValue"),
    ],
)
def test_what_cannot_be_read_is_named(
    report: Path, tmp_path: Path, change: Callable[[Dataset], None], says: str
) -> None:
    """A report without its content is an error, not a scan without findings."""
    dataset = dcmread(report)
    change(dataset)
    dataset.save_as(tmp_path / "bad.dcm")

    with pytest.raises(ReadError, match=says):
        read_findings(tmp_path / "bad.dcm")


def test_a_finding_says_itself_in_a_sentence(report: Path) -> None:
    """What is shown beside a mask has numbers, units and what was done to come by them."""
    first = read_findings(report)[0].sentence

    assert first.startswith("lesion 1: Volume ")
    assert " mm3, " in first
    assert "Mean probability 0." in first
    assert read_findings(report)[0].kind == "Lesion"


def test_abbreviations_in_names_stay_as_they_are() -> None:
    """Nobody knows what an mr value is."""
    assert str(ReportedQuantity("MR signal of 3D scan", "99", "1", 4.0, "mm")) == "MR signal of 3D scan 4 mm"
    assert str(ReportedQuantity("Probability", "99", "1", 0.5, "1", "Mean")) == "Mean probability 0.5"
