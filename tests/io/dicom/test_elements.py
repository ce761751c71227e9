"""The quick way to a file's elements, against pydicom's."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicom_factory import Plan, make_slice
from lesionlens.io.dicom.elements import PIXEL_DATA, find_elements, value_of


def nested(dataset: Dataset, k: int, *, depth: int = 3) -> None:
    """Put sequences of undefined length, in items of undefined length, in front of what is looked for."""
    del k
    inner = Dataset()
    inner.PatientID = "inside"
    for _ in range(depth):
        outer = Dataset()
        outer.RequestAttributesSequence = Sequence([inner, Dataset()])
        outer["RequestAttributesSequence"].is_undefined_length = True
        inner.is_undefined_length_sequence_item = True
        inner = outer
    inner.is_undefined_length_sequence_item = True
    dataset.ReferencedStudySequence = Sequence([inner])
    dataset["ReferencedStudySequence"].is_undefined_length = True
    dataset.private_block(0x0019, "MAKER", create=True).add_new(0x01, "SQ", Sequence([inner]))


def written(plan: Plan) -> bytes:
    """Return the file of a slice."""
    stream = BytesIO()
    make_slice(plan, 0).save_as(stream, enforce_file_format=True)
    return stream.getvalue()


FILES = {
    "explicit": written(Plan()),
    "implicit": written(Plan(implicit=True)),
    "nested, explicit": written(Plan(change=nested)),
    "nested, implicit": written(Plan(implicit=True, change=nested)),
    **{
        name: Path(str(get_testdata_file(name))).read_bytes()
        for name in ("MR_small.dcm", "MR_small_implicit.dcm", "CT_small.dcm", "MR_small_jp2klossless.dcm")
    },
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_elements_are_those_of_pydicom(content: bytes) -> None:
    """Every element before the pixels, and the same values, whatever lies between them."""
    theirs = dcmread(BytesIO(content), stop_before_pixels=True)

    elements = find_elements(content)

    assert elements is not None
    assert sorted(elements.places) == sorted(theirs.keys())
    assert elements.dataset(elements.places.keys()) == Dataset(dict(theirs.items()))
    assert elements.pixels[0] == PIXEL_DATA
    _, start, length = elements.pixels
    if length is not None:
        assert content[start : start + length] == dcmread(BytesIO(content)).PixelData


def test_only_wanted_elements_are_parsed_in_the_files_letters() -> None:
    """Texts are decoded by the character set of the file, asked for or not."""

    def change(dataset: Dataset, k: int) -> None:
        del k
        dataset.SpecificCharacterSet, dataset.SeriesDescription = "ISO_IR 192", "Schädel"

    elements = find_elements(written(Plan(change=change)))
    assert elements is not None

    dataset = elements.dataset({0x0008103E, 0x00280010})

    assert value_of(dataset, "SeriesDescription") == "Schädel"
    assert value_of(dataset, "Rows") == 6
    assert value_of(dataset, "Columns") is None


@pytest.mark.parametrize("name", ["explicit", "implicit", "nested, explicit", "nested, implicit"])
def test_a_header_that_is_cut_is_left_to_pydicom(name: str) -> None:
    """Nothing is taken for whole that is not, wherever the cut is."""
    content = FILES[name]
    whole = find_elements(content)
    assert whole is not None

    assert all(find_elements(content[:length]) is None for length in range(whole.pixels[1]))


def too_deep(dataset: Dataset, k: int) -> None:
    """Nest deeper than any real file."""
    nested(dataset, k, depth=40)


UNUSUAL = {
    "no preamble": FILES["explicit"][132:],
    "no pixels": written(Plan(change=lambda dataset, _: dataset.pop("PixelData"))),
    "too deep": written(Plan(change=too_deep)),
    "big endian": Path(str(get_testdata_file("MR_small_bigendian.dcm"))).read_bytes(),
    "deflated": FILES["explicit"].replace(b"1.2.840.10008.1.2.1\0", DeflatedExplicitVRLittleEndian.encode()),
    "explicit that says implicit": FILES["explicit"].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0"),
    "implicit that says explicit": FILES["implicit"].replace(b"1.2.840.10008.1.2\0", b"1.2.840.10008.1.2.1"),
    "out of order": FILES["explicit"].replace(b"\x20\0\x0e\0UI", b"\x08\0\x01\0UI"),
    "not DICOM": bytes(4000),
    "empty": b"",
}


@pytest.mark.parametrize("content", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_unusual_files_are_left_to_pydicom(content: bytes) -> None:
    """Of what is not ordinary nothing is said here."""
    assert find_elements(content) is None
