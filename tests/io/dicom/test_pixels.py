from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import (
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicom_factory import Plan, make_enhanced, make_series
from lesionlens.errors import ReadError
from lesionlens.io import read
from lesionlens.io.dicom.pixels import clean_bits


@pytest.mark.parametrize(
    ("signed", "bits", "dtype"),
    [(False, 16, np.uint16), (True, 16, np.int16), (False, 12, np.uint16), (True, 12, np.int16)],
    ids=["unsigned 16", "signed 16", "unsigned 12", "signed 12"],
)
def test_stored_values_keep_their_sign_and_type(tmp_path: Path, signed: bool, bits: int, dtype: type) -> None:
    """Integers without rescaling stay the integers of the file."""
    plan = Plan(signed=signed, bits=bits)
    make_series(tmp_path, plan)

    volume = read(tmp_path)

    assert volume.array.dtype == dtype
    np.testing.assert_array_equal(volume.array, plan.values())
    assert volume.unit == ""


def test_clean_bits_follows_the_standard() -> None:
    """Closed form: only the stored bits count, shifted down from the high bit, the top one being the sign."""
    noisy = np.array([0xF7FF, 0x0800, 0xA001, 0x1FFF], dtype=np.uint16)

    np.testing.assert_array_equal(clean_bits(noisy, stored=12, high=11, signed=False), [0x7FF, 0x800, 1, 0xFFF])
    np.testing.assert_array_equal(clean_bits(noisy, stored=12, high=11, signed=True), [2047, -2048, 1, -1])
    np.testing.assert_array_equal(clean_bits(noisy, stored=12, high=15, signed=False), [0xF7F, 0x080, 0xA00, 0x1FF])
    np.testing.assert_array_equal(clean_bits(noisy, stored=16, high=15, signed=False), noisy)
    np.testing.assert_array_equal(clean_bits(noisy.view(np.int16), stored=16, high=15, signed=True), noisy.view("i2"))
    assert clean_bits(np.array([0x8F], dtype=np.uint8), stored=8, high=7, signed=True) == -113
    assert clean_bits(np.array([0xF0000001], dtype=np.uint32), stored=31, high=30, signed=True) == -0x10000000 + 1


@pytest.mark.parametrize("signed", [False, True])
def test_noise_in_unused_bits_goes_away(tmp_path: Path, rng: np.random.Generator, signed: bool) -> None:
    """Old scanners keep overlays, and others garbage, above the stored bits."""

    def add_noise(dataset: Dataset, k: int) -> None:
        del k
        values = np.frombuffer(dataset.PixelData, "<u2") & 0x0FFF
        dataset.PixelData = (values | (rng.integers(0, 16, values.size).astype("<u2") << 12)).tobytes()

    plan = Plan(signed=signed, bits=12, change=add_noise)
    make_series(tmp_path, plan)

    np.testing.assert_array_equal(read(tmp_path).array, plan.values())


def test_every_slice_is_rescaled_by_its_own_slope(tmp_path: Path) -> None:
    """PET and reformatted MR change the slope from slice to slice."""

    def rescale(dataset: Dataset, k: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 * (k + 1), -10 * k

    plan = Plan(change=rescale)
    make_series(tmp_path, plan)

    volume = read(tmp_path)

    k = np.arange(5)
    np.testing.assert_array_equal(volume.array, plan.values() * (0.5 * (k + 1)) - 10 * k)
    assert volume.array.dtype == np.float32


def test_slices_that_need_no_rescaling_join_those_that_do(tmp_path: Path) -> None:
    """One rescaled slice makes the whole volume real-valued."""

    def rescale(dataset: Dataset, k: int) -> None:
        if k == 3:
            dataset.RescaleSlope, dataset.RescaleIntercept = 0.25, 0

    plan = Plan(change=rescale)
    make_series(tmp_path, plan)

    np.testing.assert_array_equal(read(tmp_path).array, plan.values() * np.where(np.arange(5) == 3, 0.25, 1.0))


def test_enhanced_frames_are_rescaled_by_their_groups(tmp_path: Path) -> None:
    """The functional group of the frame wins over the shared one and the top level."""
    plan = Plan()
    make_enhanced(tmp_path / "all.dcm", plan)
    dataset = dcmread(tmp_path / "all.dcm")
    holders = [dataset.SharedFunctionalGroupsSequence[0], *dataset.PerFrameFunctionalGroupsSequence[:4]]
    for slope, holder in zip((7.0, 2.0, 3.0, 4.0, 5.0), holders, strict=True):
        holder.PixelValueTransformationSequence = [Dataset()]
        holder.PixelValueTransformationSequence[0].RescaleSlope = slope
        holder.PixelValueTransformationSequence[0].RescaleIntercept = 1
    dataset.save_as(tmp_path / "all.dcm")

    np.testing.assert_array_equal(read(tmp_path).array, plan.values() * np.array([2.0, 3, 4, 5, 7]) + 1)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", ["plain", "run lengths", "big endian"])
def test_fewer_bits_than_the_values_of_one_slice_have_are_refused(tmp_path: Path, signed: bool, kind: str) -> None:
    """What looks like noise in unused bits is none where all other slices count those bits among their values."""
    for k, path in enumerate(make_series(tmp_path, Plan(signed=signed, bits=12, shape=(16, 17, 5)))):
        dataset = dcmread(path)
        if kind == "run lengths":
            dataset.compress(RLELossless)
        if k == 3:
            dataset.BitsStored, dataset.HighBit = 8, 7
        if kind == "big endian":
            dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
            dcmwrite(path, dataset, implicit_vr=False, little_endian=False)
            continue
        dataset.save_as(path)

    with pytest.raises(ReadError, match=r"promises values of 8 bits, where other images .* have 12, and holds more"):
        read(tmp_path)


def test_fewer_bits_that_suffice_are_no_lie(tmp_path: Path) -> None:
    """Some writers give each slice as many bits as its values need; a sign may fill the bits above."""

    def narrow(dataset: Dataset, k: int) -> None:
        if k == 0:
            dataset.BitsStored, dataset.HighBit = 8, 7
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").clip(-128, 127).astype("<i2").tobytes()

    make_series(tmp_path, Plan(signed=True, change=narrow))

    expected = Plan(signed=True).values()
    expected[:, :, 0] = expected[:, :, 0].clip(-128, 127)
    np.testing.assert_array_equal(read(tmp_path).array, expected)


def hounsfield(dataset: Dataset, k: int) -> None:
    """Rescale as CT does."""
    del k
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024


@pytest.mark.parametrize(
    ("modality", "rescale_type", "unit"),
    [("CT", None, "HU"), ("CT", "HU", "HU"), ("CT", "US", ""), ("MR", None, "")],
)
def test_only_rescaled_ct_is_in_hounsfield_units(
    tmp_path: Path, modality: str, rescale_type: str | None, unit: str
) -> None:
    """The unit is said where the file gives it, and nowhere else."""

    def change(dataset: Dataset, k: int) -> None:
        hounsfield(dataset, k)
        if rescale_type:
            dataset.RescaleType = rescale_type

    plan = Plan(modality=modality, change=change)
    make_series(tmp_path, plan)

    volume = read(tmp_path)

    assert volume.unit == unit
    np.testing.assert_array_equal(volume.array, plan.values() - 1024)


def test_one_slice_that_lost_its_rescaling_has_no_unit(tmp_path: Path) -> None:
    """It holds stored values among Hounsfield units: the volume is in neither."""

    def change(dataset: Dataset, k: int) -> None:
        if k != 2:
            dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024

    make_series(tmp_path, Plan(modality="CT", change=change))

    assert read(tmp_path).unit == ""


def test_unscaled_ct_has_no_unit(tmp_path: Path) -> None:
    """Stored values of a CT are not Hounsfield units."""
    make_series(tmp_path, Plan(modality="CT"))

    assert read(tmp_path).unit == ""


def test_monochrome1_is_kept_and_said(tmp_path: Path) -> None:
    """Display polarity does not change what a rescaled value means."""
    plan = Plan(change=lambda dataset, _: setattr(dataset, "PhotometricInterpretation", "MONOCHROME1"))
    make_series(tmp_path, plan)

    volume = read(tmp_path)

    np.testing.assert_array_equal(volume.array, plan.values())
    assert volume.source.decisions == (
        "MONOCHROME1: high values are meant to be shown dark; the values are kept as they are.",
    )


def test_padding_is_kept_and_said(tmp_path: Path) -> None:
    """Values outside a CT's circle would spoil statistics, so a reader must know of them."""
    make_series(tmp_path, Plan(signed=True, change=lambda dataset, _: setattr(dataset, "PixelPaddingValue", -2000)))

    assert read(tmp_path).source.decisions == (
        "Pixels outside the scan hold the padding value -2000 (before rescaling); kept.",
    )


def test_padding_is_said_in_the_sign_of_the_pixels(tmp_path: Path) -> None:
    """Scanners write -2000 as the unsigned number of the same bits."""
    make_series(tmp_path, Plan(signed=True, change=lambda dataset, _: dataset.add_new(0x00280120, "US", 63536)))

    (decision,) = read(tmp_path).source.decisions
    assert "padding value -2000 (" in decision


@pytest.mark.parametrize(
    ("keyword", "value", "said"),
    [
        ("PhotometricInterpretation", "MONOCHROME1", r"MONOCHROME1 in some slices alone \(slice-2\)"),
        ("PixelPaddingValue", 9, "padding value 9 "),
        ("RescaleType", "US", r"different quantities \(HU, US\)"),
        ("Units", "CNTS", r"different quantities \(CNTS, HU\)"),
        ("RescaleIntercept", 0, r"Not rescaled, where the other slices are: slice-2\."),
    ],
)
def test_what_is_so_in_one_slice_is_said(tmp_path: Path, keyword: str, value: object, said: str) -> None:
    """The first slice does not speak for the others."""

    def change(dataset: Dataset, k: int) -> None:
        dataset.RescaleType, dataset.RescaleSlope, dataset.RescaleIntercept = "HU", 1, -1024
        if k == 2:
            setattr(dataset, keyword, value)

    make_series(tmp_path, Plan(modality="CT", change=change), names="slice-{}".format)

    (decision,) = read(tmp_path).source.decisions
    assert re.search(said, decision)


@pytest.mark.parametrize(("value", "said"), [("01", True), ("00", False)], ids=["lossy", "lossless"])
def test_lossy_compression_is_said(tmp_path: Path, value: str, said: bool) -> None:
    """The mark stays with images that were decompressed again."""
    make_series(tmp_path, Plan(change=lambda dataset, _: setattr(dataset, "LossyImageCompression", value)))

    assert any("compressed with loss" in decision for decision in read(tmp_path).source.decisions) is said


def test_slices_of_different_sign_fit_into_one_volume(tmp_path: Path) -> None:
    """Derived series mix signed and unsigned slices; each is read by its own header."""

    def change(dataset: Dataset, k: int) -> None:
        if k == 2:
            dataset.PixelRepresentation = 1
            dataset.PixelData = np.full((6, 7), -5, "<i2").tobytes()
        if k == 3:
            dataset.PixelData = np.full((6, 7), 60000, "<u2").tobytes()

    make_series(tmp_path, Plan(change=change))

    values = read(tmp_path).array

    assert values.dtype == np.int32
    assert set(np.unique(values[:, :, 2])) == {-5}
    assert set(np.unique(values[:, :, 3])) == {60000}


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.name)
def test_lossless_compression_changes_nothing(tmp_path: Path, syntax: UID, signed: bool) -> None:
    """Sign and bits survive every lossless codec that can be written here."""
    plan = Plan(shape=(64, 65, 3), signed=signed, bits=14)
    for path in make_series(tmp_path, plan):
        dataset = dcmread(path)
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(path)

    np.testing.assert_array_equal(read(tmp_path).array, plan.values())


def test_deflated_files_are_read(tmp_path: Path) -> None:
    """The whole file after its meta information is compressed."""
    plan = Plan()
    for path in make_series(tmp_path, plan):
        dataset = dcmread(path)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(path)

    np.testing.assert_array_equal(read(tmp_path).array, plan.values())


def test_big_endian_files_are_read(tmp_path: Path) -> None:
    """Retired, but still in archives."""
    plan = Plan()
    for path in make_series(tmp_path, plan):
        dataset = dcmread(path)
        dataset.decode()
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        dcmwrite(path, dataset, implicit_vr=False, little_endian=False, force_encoding=True)

    volume = read(tmp_path)

    np.testing.assert_array_equal(volume.array, plan.values())
    assert volume.array.dtype.isnative


@pytest.mark.parametrize("in_words", [False, True], ids=["highest byte first", "lowest word first"])
def test_big_endian_values_of_32_bits_are_refused(tmp_path: Path, in_words: bool) -> None:
    """The standard fills words, lowest first; some programs read and write whole numbers: neither may be guessed."""
    plan = Plan()
    for k, path in enumerate(make_series(tmp_path, plan)):
        dataset = dcmread(path)
        dataset.decode()
        values = np.ascontiguousarray(plan.values()[:, :, k].T).astype("<u4")
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 32, 32, 31
        swapped = values.view("<u2").astype(">u2") if in_words else values.astype(">u4")
        dataset.PixelData = swapped.tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        dcmwrite(path, dataset, implicit_vr=False, little_endian=False, force_encoding=True)

    with pytest.raises(ReadError, match=r"expected 8 or 16 bits .* big endian file \w+; found 32"):
        read(tmp_path)


def test_a_missing_decoder_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the transfer syntax and what to install."""
    from pydicom.pixels.decoders import JPEG2000LosslessDecoder

    plan = Plan(shape=(64, 65, 3))
    for path in make_series(tmp_path, plan):
        dataset = dcmread(path)
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
        dataset.save_as(path)
    monkeypatch.setattr(JPEG2000LosslessDecoder, "_available", {})

    with pytest.raises(ReadError, match=r"no decoder .* JPEG 2000 .*\.4\.90\)\. Install .* pylibjpeg-openjpeg"):
        read(tmp_path)


def test_an_unsupported_syntax_is_named(tmp_path: Path) -> None:
    """Video is no scan."""
    for path in make_series(tmp_path):
        dataset = dcmread(path)
        dataset.file_meta.TransferSyntaxUID = MPEG2MPML
        dataset.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00"
        dataset["PixelData"].is_undefined_length = True
        dataset["PixelData"].VR = "OB"
        dataset.save_as(path)

    with pytest.raises(ReadError, match=r"no decoder for the transfer syntax of \w+: MPEG2 .* Export .* uncompressed"):
        read(tmp_path)


def set_in_third(keyword: str, value: object) -> Plan:
    """Return a plan whose third slice has another value."""

    def change(dataset: Dataset, k: int) -> None:
        if k == 2:
            setattr(dataset, keyword, value)

    return Plan(change=change)


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_two_numbers_where_one_belongs_are_refused(tmp_path: Path, keyword: str) -> None:
    """Neither is taken; the file and the element are named."""
    make_series(tmp_path, Plan(change=lambda dataset, _: setattr(dataset, keyword, [1, 2])), names="slice-{}".format)

    with pytest.raises(ReadError, match=rf"DICOM file slice-0 is damaged: its {keyword} is not one number\."):
        read(tmp_path)


@pytest.mark.parametrize("keyword", ["BitsStored", "PixelRepresentation"])
def test_pixels_whose_numbers_are_not_described_are_refused(tmp_path: Path, keyword: str) -> None:
    """The reason is the element that is missing, in the words of the standard, not of the parser."""
    make_series(tmp_path, Plan(change=lambda dataset, _: delattr(dataset, keyword)), names="slice-{}".format)

    with pytest.raises(ReadError, match=rf"The pixel data of slice-0 .* is damaged: it has no {keyword}\."):
        read(tmp_path)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("Columns", 6), ("Rows", 5), ("PixelData", bytes(4 * 7 * 6))],
    ids=lambda value: str(value)[:9],
)
def test_pixels_beyond_the_size_of_the_image_are_refused(tmp_path: Path, keyword: str, value: object) -> None:
    """A width that is too small by one shears every image, and nothing else in the files would show it."""
    make_series(tmp_path, Plan(change=lambda dataset, _: setattr(dataset, keyword, value)), names="slice-{}".format)

    promised = {"Columns": 72, "Rows": 70}.get(keyword, 84)
    with pytest.raises(ReadError, match=rf"slice-0 holds \d+ bytes of pixels, where its header promises {promised}:"):
        read(tmp_path)


def test_bytes_that_fill_up_a_file_are_left_aside(tmp_path: Path) -> None:
    """Some writers fill up to a multiple of more than two bytes; that is less than a row or column."""
    plan = Plan()

    def fill_up(dataset: Dataset, k: int) -> None:
        del k
        dataset.PixelData += b"\1" * 10

    make_series(tmp_path, replace(plan, change=fill_up))

    np.testing.assert_array_equal(read(tmp_path).array, plan.values())


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (set_in_third("PixelData", b"1234"), "pixel data of slice-2 .* is damaged"),
        (set_in_third("BitsStored", 20), "pixel data of slice-2 .* is damaged: .*value of '20'"),
        (set_in_third("BitsStored", 0), "Expected integer pixels in slice-2.*0 stored|is damaged"),
        (set_in_third("BitsAllocated", 64), "slice-2"),
        (set_in_third("RescaleSlope", 0), "RescaleSlope 0 and RescaleIntercept 0 of slice-2 give no values"),
        (set_in_third("RescaleSlope", 1e38), "RescaleSlope 1e\\+38 of slice-2 gives values beyond single precision"),
        (
            replace(Plan(), change=lambda dataset, _: dataset.pop("PixelData")),
            "slice-0 is damaged: it is of class .* has no pixels",
        ),
    ],
    ids=["short", "too many bits", "no bits", "64 bits", "slope 0", "overflow", "no pixels"],
)
def test_bad_pixels_are_refused_with_their_file(tmp_path: Path, plan: Plan, message: str) -> None:
    """One bad slice refuses the series and is named."""
    make_series(tmp_path, plan, names="slice-{}".format)

    with pytest.raises(ReadError, match=message):
        read(tmp_path)


def test_a_codestream_with_more_bits_than_promised_is_refused(tmp_path: Path) -> None:
    """Cutting off bits that are there would give a wrong picture without any sign of it."""
    for path in make_series(tmp_path, Plan(shape=(64, 65, 3))):
        dataset = dcmread(path)
        dataset.compress(JPEGLSLossless, generate_instance_uid=False)
        dataset.BitsStored, dataset.HighBit = 8, 7
        dataset.save_as(path)

    with pytest.raises(ReadError, match=r"\(\d+ to \d+\) do not fit into the 8 bits that it promises|is damaged"):
        read(tmp_path)
