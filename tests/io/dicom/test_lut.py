"""Modality LUT: stored values that a table gives their meaning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from dicom_factory import Change, Plan, make_series
from lesionlens.errors import ReadError
from lesionlens.io import list_series, read

PLAN = Plan(shape=(5, 4, 3))  # stored values 3 to 62, signed -29 to 30


def table(first: int, entries: list[int], *, bits: int = 16, kind: str = "US", packed: bool = False) -> Change:
    """Return a change that adds a Modality LUT.

    ``packed`` writes entries of eight bits two to a word; the number of entries 65536 is written as 0.
    """

    def change(dataset: Dataset, k: int) -> None:
        del k
        item = Dataset()
        signed = dataset.PixelRepresentation == 1
        item.add_new("LUTDescriptor", "SS" if signed else "US", [len(entries) % 65536, first, bits])
        values = np.array(entries, dtype="<u1" if packed else "<u2").tobytes()
        item.add_new("LUTData", "OW", values + b"\0" * (len(values) % 2))
        item.ModalityLUTType = kind
        dataset.ModalityLUTSequence = [item]

    return change


@pytest.mark.parametrize(("signed", "first"), [(False, 0), (False, 10), (True, 0), (True, 10), (True, -5)])
def test_values_are_looked_up(tmp_path: Path, signed: bool, first: int) -> None:
    """Closed form: entry n for stored value first + n; the ends go on beyond the table."""
    entries = [7, 40000, 3, 500, *range(100, 130)]
    plan = replace(PLAN, signed=signed, change=table(first, entries))
    make_series(tmp_path, plan)

    volume = read(tmp_path)

    stored = plan.values()
    expected = [[[entries[min(max(v - first, 0), len(entries) - 1)] for v in row] for row in plane] for plane in stored]
    np.testing.assert_array_equal(volume.array, expected)
    assert volume.unit == ""


@pytest.mark.parametrize("packed", [True, False], ids=["two in a word", "one in a word"])
def test_entries_of_eight_bits_are_read_in_both_ways(tmp_path: Path, packed: bool) -> None:
    """The standard packs them two to a word; some files do not. An odd number is filled up."""
    entries = [(3 * n) % 251 for n in range(299)]
    make_series(tmp_path, replace(PLAN, shape=(9, 8, 4), change=table(0, entries, bits=8, packed=packed)))

    expected = np.array(entries)[replace(PLAN, shape=(9, 8, 4)).values()]
    np.testing.assert_array_equal(read(tmp_path).array, expected)


def test_a_whole_table_is_written_as_zero_entries(tmp_path: Path) -> None:
    """65536 does not fit into the descriptor's sixteen bits."""
    entries = [65535 - n for n in range(65536)]
    make_series(tmp_path, replace(PLAN, change=table(0, entries)))

    np.testing.assert_array_equal(read(tmp_path).array, 65535 - PLAN.values())


def test_a_table_in_a_big_endian_file_is_turned(tmp_path: Path) -> None:
    """The words of the table have the order of the file."""
    entries = [1000 + n for n in range(70)]
    for path in make_series(tmp_path, replace(PLAN, change=table(0, entries))):
        dataset = dcmread(path)
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        item = dataset.ModalityLUTSequence[0]
        item.LUTData = np.frombuffer(item.LUTData, "<u2").astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        dcmwrite(path, dataset, implicit_vr=False, little_endian=False, force_encoding=True)

    np.testing.assert_array_equal(read(tmp_path).array, 1000 + PLAN.values())


@pytest.mark.parametrize(("modality", "kind", "unit"), [("CT", "HU", "HU"), ("CT", "US", ""), ("MR", "HU", "")])
def test_the_table_names_its_unit(tmp_path: Path, modality: str, kind: str, unit: str) -> None:
    """Only a CT whose table says so is in Hounsfield units."""
    make_series(tmp_path, replace(PLAN, modality=modality, change=table(0, list(range(70)), kind=kind)))

    assert read(tmp_path).unit == unit


def with_slope(dataset: Dataset, k: int) -> None:
    """Ask for rescaling beside the table."""
    table(0, list(range(70)))(dataset, k)
    dataset.RescaleSlope, dataset.RescaleIntercept = 2, 0


def cut(dataset: Dataset, k: int) -> None:
    """Cut the table short."""
    table(0, list(range(70)))(dataset, k)
    dataset.ModalityLUTSequence[0].LUTData = dataset.ModalityLUTSequence[0].LUTData[:20]


def empty(dataset: Dataset, k: int) -> None:
    """Have no table at all."""
    del k
    dataset.ModalityLUTSequence = [Dataset()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_slope, "Expected a Modality LUT or a rescale slope in slice-0, found both"),
        (cut, "Modality LUT of slice-0 is damaged: expected 70 entries, found 20"),
        (table(0, [1, 2], bits=32), "Modality LUT of slice-0 is damaged: its descriptor is"),
        (empty, "Cannot read slice-0"),
    ],
    ids=["and a slope", "cut", "32 bits", "empty"],
)
def test_tables_that_give_no_values_are_refused(tmp_path: Path, change: Change, message: str) -> None:
    """The file and the reason are named."""
    make_series(tmp_path, replace(PLAN, change=change), names="slice-{}".format)

    with pytest.raises(ReadError, match=message):
        read(tmp_path)
    assert list_series(tmp_path)[0].shape == PLAN.shape


def test_a_list_of_no_tables_is_none(tmp_path: Path) -> None:
    """Some writers leave the empty list behind; the slope counts then."""

    def no_table(dataset: Dataset, k: int) -> None:
        del k
        dataset.ModalityLUTSequence = []
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, -10

    make_series(tmp_path, replace(PLAN, change=no_table))

    np.testing.assert_array_equal(read(tmp_path).array, 2 * PLAN.values() - 10)
