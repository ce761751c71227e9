"""Every compressed transfer syntax, written by encoders that share nothing with the decoders in use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.pixels import decoders
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from dicom_factory import Plan, make_enhanced, make_series
from lesionlens.errors import ReadError
from lesionlens.io import read
from lesionlens.io.dicom.codestream import with_all_coefficients
from stored import stored_values

Image = NDArray[Any]
Encoder = Callable[[Image, int], bytes]


def jpeg_lossless(image: Image, bits: int) -> bytes:
    """Encode by process 14: the bits as they are, a sign being one of them."""
    unsigned = image.view(np.uint16) & ((1 << bits) - 1)
    return bytes(imagecodecs.ljpeg_encode(unsigned, bitspersample=bits))


def htj2k(image: Image, bits: int) -> bytes:
    """Encode by high-throughput JPEG 2000, reversible."""
    del bits
    return bytes(imagecodecs.htj2k_encode(image, reversible=True))


def jpeg_2000(image: Image, bits: int) -> bytes:
    """Encode by JPEG 2000, reversible."""
    return bytes(imagecodecs.jpeg2k_encode(image, codecformat="j2k", reversible=True, bitspersample=bits))


def jpeg_ls(image: Image, bits: int) -> bytes:
    """Encode by JPEG-LS; a sign is one of the bits."""
    return bytes(imagecodecs.jpegls_encode(image.view(np.uint16) & ((1 << bits) - 1)))


def compress(path: Path, syntax: UID, encode: Encoder, *, fragments: int = 1) -> None:
    """Replace the pixel data of a file."""
    dataset = dcmread(path)
    bits = int(dataset.BitsStored)
    frames = stored_values(path)
    streams = [encode(np.ascontiguousarray(frame), bits) for frame in frames]
    dataset.PixelData = encapsulate(streams, fragments_per_frame=fragments)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)


LOSSLESS: dict[str, tuple[UID, Encoder]] = {
    "JPEG lossless": (JPEGLossless, jpeg_lossless),
    "JPEG lossless, first order": (JPEGLosslessSV1, jpeg_lossless),
    "JPEG-LS": (JPEGLSLossless, jpeg_ls),
    "JPEG 2000": (JPEG2000Lossless, jpeg_2000),
    "HTJ2K lossless": (HTJ2KLossless, htj2k),
    "HTJ2K lossless, RPCL": (HTJ2KLosslessRPCL, htj2k),
    "HTJ2K": (HTJ2K, htj2k),
}


@pytest.mark.parametrize(("syntax", "encode"), LOSSLESS.values(), ids=LOSSLESS.keys())
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("fragments", [1, 3], ids=["one fragment", "several fragments"])
def test_lossless_codecs_give_the_stored_values(
    tmp_path: Path, syntax: UID, encode: Encoder, signed: bool, fragments: int
) -> None:
    """Sign and bits survive; a codestream may be cut into fragments anywhere."""
    plan = Plan(shape=(64, 65, 2), signed=signed, bits=14)
    for path in make_series(tmp_path, plan):
        compress(path, syntax, encode, fragments=fragments)

    volume = read(tmp_path)

    np.testing.assert_array_equal(volume.array, plan.values())
    assert volume.array.dtype == (np.int16 if signed else np.uint16)


@pytest.mark.parametrize(("syntax", "encode"), LOSSLESS.values(), ids=LOSSLESS.keys())
def test_frames_of_several_fragments_are_told_apart(tmp_path: Path, syntax: UID, encode: Encoder) -> None:
    """Two fragments for each of six frames, found by the offset table."""
    plan = Plan(shape=(64, 65, 6), bits=15)
    make_enhanced(tmp_path / "all.dcm", plan, order=[3, 0, 5, 4, 1, 2])
    compress(tmp_path / "all.dcm", syntax, encode, fragments=2)

    np.testing.assert_array_equal(read(tmp_path).array, plan.values())


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
def test_more_frames_than_promised_are_refused(tmp_path: Path, syntax: UID) -> None:
    """A volume of which the header counts half is not half a volume."""
    make_enhanced(tmp_path / "all.dcm", Plan(shape=(64, 65, 6), bits=15))
    dataset = dcmread(tmp_path / "all.dcm")
    dataset.compress(syntax, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    dataset.NumberOfFrames = 4
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:4]
    dataset.save_as(tmp_path / "all.dcm")

    with pytest.raises(ReadError, match=r"all\.dcm holds more compressed images than the 4 that its header promises"):
        read(tmp_path)


def with_offset_table(path: Path, syntax: UID, frames: Sequence[int], shift: int = 0) -> None:
    """Compress a multi-frame file, with an extended offset table that leads to these of its images."""
    dataset = dcmread(path)
    dataset.compress(syntax, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    streams = list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.NumberOfFrames)))
    dataset.PixelData, offsets, lengths = encapsulate_extended(streams)
    for keyword, table in (("ExtendedOffsetTable", offsets), ("ExtendedOffsetTableLengths", lengths)):
        values = np.frombuffer(table, "<u8")[list(frames)]
        setattr(dataset, keyword, (values + (shift if keyword == "ExtendedOffsetTable" else 0)).tobytes())
    dataset.save_as(path)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
def test_an_extended_offset_table_that_is_right_is_read(tmp_path: Path, syntax: UID) -> None:
    """Large multi-frame files have it in place of the basic one."""
    plan = Plan(shape=(64, 65, 6), bits=15)
    make_enhanced(tmp_path / "all.dcm", plan, order=[3, 0, 5, 4, 1, 2])
    with_offset_table(tmp_path / "all.dcm", syntax, range(6))

    np.testing.assert_array_equal(read(tmp_path).array, plan.values())


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
@pytest.mark.parametrize(
    ("frames", "shift"),
    [([1, 0, 2, 3, 4, 5], 0), ([0, 0, 2, 3, 4, 5], 0), ([0, 1, 2], 0), ([1, 2, 3, 4, 5, 5], 0), (range(6), 8)],
    ids=["out of order", "one twice", "too few", "beginning late", "beside the images"],
)
def test_an_extended_offset_table_that_lies_is_refused(
    tmp_path: Path, syntax: UID, frames: Sequence[int], shift: int
) -> None:
    """Followed, it would put whole slices into each other's places, and nothing would look wrong."""
    make_enhanced(tmp_path / "all.dcm", Plan(shape=(64, 65, 6), bits=15))
    with_offset_table(tmp_path / "all.dcm", syntax, frames, shift)

    with pytest.raises(ReadError, match=r"extended offset table of all\.dcm does not lead to its 6 compressed images"):
        read(tmp_path)


def test_a_frame_that_the_extended_offset_table_does_not_count_is_refused(tmp_path: Path) -> None:
    """Header and table agree on five images, and there are six."""
    make_enhanced(tmp_path / "all.dcm", Plan(shape=(64, 65, 6), bits=15))
    with_offset_table(tmp_path / "all.dcm", JPEG2000Lossless, range(5))
    dataset = dcmread(tmp_path / "all.dcm")
    dataset.NumberOfFrames = 5
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:5]
    dataset.save_as(tmp_path / "all.dcm")

    with pytest.raises(ReadError, match=r"all\.dcm holds more compressed images than the 5 that its header promises"):
        read(tmp_path)


def smooth(shape: tuple[int, int, int], highest: int) -> NDArray[np.uint16]:
    """Return (i, j, k) values without edges, which lossy codecs keep within a few steps."""
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    wave = 0.5 + 0.22 * np.sin(i / 9 + k) + 0.22 * np.cos(j / 7)
    return np.rint(wave * highest).astype(np.uint16)


@pytest.mark.parametrize(
    ("syntax", "bits", "encode", "tolerance"),
    [
        (JPEGBaseline8Bit, 8, lambda image, _: imagecodecs.jpeg8_encode(image, level=98), 4),
        (JPEGExtended12Bit, 12, lambda image, _: imagecodecs.jpeg8_encode(image, level=98, bitspersample=12), 16),
        (JPEGLSNearLossless, 12, lambda image, _: imagecodecs.jpegls_encode(image, level=3), 3),
        (
            JPEG2000,
            12,
            lambda image, _: imagecodecs.jpeg2k_encode(image, level=80, codecformat="j2k", bitspersample=12),
            16,
        ),
    ],
    ids=["JPEG baseline", "JPEG extended", "JPEG-LS near lossless", "JPEG 2000"],
)
def test_lossy_codecs_stay_close(tmp_path: Path, syntax: UID, bits: int, encode: Encoder, tolerance: int) -> None:
    """Within a few steps of what went in, every slice at its own place."""
    values = smooth((64, 65, 3), 2**bits - 1)
    plan = Plan(shape=values.shape, bits=bits)
    for k, path in enumerate(make_series(tmp_path, replace(plan, bits=16))):
        dataset = dcmread(path)
        size = 8 if bits == 8 else 16
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = size, bits, bits - 1
        dataset.PixelData = np.ascontiguousarray(values[:, :, k].T).astype(f"<u{size // 8}").tobytes()
        dataset.PixelData += b"\0" * (len(dataset.PixelData) % 2)
        dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
        dataset.save_as(path)
        compress(path, syntax, encode)

    found = read(tmp_path).array.astype(int)

    assert np.abs(found - values).max() <= tolerance
    assert found.std() > 0.1 * 2**bits


JPEGS: dict[str, tuple[UID, int, Encoder]] = {
    "JPEG baseline": (JPEGBaseline8Bit, 8, lambda image, _: imagecodecs.jpeg8_encode(image.astype(np.uint8), level=98)),
    "JPEG extended": (
        JPEGExtended12Bit,
        12,
        lambda image, _: imagecodecs.jpeg8_encode(image, level=98, bitspersample=12),
    ),
    "JPEG lossless": (JPEGLosslessSV1, 12, jpeg_lossless),
    "JPEG-LS": (JPEGLSLossless, 12, jpeg_ls),
    "JPEG 2000": (JPEG2000Lossless, 12, jpeg_2000),
    "HTJ2K": (HTJ2K, 12, htj2k),
}


@pytest.mark.parametrize(("syntax", "bits", "encode"), JPEGS.values(), ids=JPEGS.keys())
@pytest.mark.parametrize("kept", [0.3, 0.9, 0.99])
def test_a_codestream_that_is_cut_off_is_refused(
    tmp_path: Path, syntax: UID, bits: int, encode: Encoder, kept: float
) -> None:
    """Decoders fill up what is missing with grey, and say that all is well."""
    values = smooth((64, 65, 3), 2**bits - 1)

    def cut(image: Image, depth: int) -> bytes:
        stream = encode(image, depth)
        return stream[: int(kept * len(stream))]

    for k, path in enumerate(make_series(tmp_path, Plan(shape=values.shape), names="slice-{}".format)):
        dataset = dcmread(path)
        dataset.BitsStored, dataset.HighBit = bits, bits - 1
        dataset.PixelData = np.ascontiguousarray(values[:, :, k].T).astype("<u2").tobytes()
        dataset.save_as(path)
        compress(path, syntax, cut if k == 1 else encode)
        dataset = dcmread(path)
        dataset.BitsAllocated = 8 if bits == 8 else 16
        dataset.save_as(path)

    with pytest.raises(
        ReadError, match=r"slice-1 is cut off: it has no end marker|pixel data of slice-1 .* is damaged"
    ):
        read(tmp_path)


SAME = {
    "big endian": ("MR_small_bigendian.dcm", 0),
    "implicit": ("MR_small_implicit.dcm", 0),
    "RLE": ("MR_small_RLE.dcm", 0),
    "JPEG 2000": ("MR_small_jp2klossless.dcm", 0),
    "JPEG-LS": ("MR_small_jpeg_ls_lossless.dcm", 0),
}


@pytest.mark.parametrize(("name", "tolerance"), SAME.values(), ids=SAME.keys())
def test_files_of_other_programs_hold_the_same_picture(name: str, tolerance: int) -> None:
    """Pydicom's own examples of one image in several syntaxes."""
    expected = stored_values(str(get_testdata_file("MR_small.dcm")))

    found = stored_values(str(get_testdata_file(name)))

    assert np.abs(found.astype(int) - expected.astype(int)).max() <= tolerance


def codestream(name: str) -> bytes:
    """Return the codestream of a file with one frame."""
    from pydicom.encaps import generate_frames

    return next(generate_frames(dcmread(str(get_testdata_file(name))).PixelData, number_of_frames=1))


@pytest.mark.parametrize(
    ("name", "decode"),
    [
        ("JPGExtended.dcm", imagecodecs.jpeg8_decode),
        ("JPEG-lossy.dcm", imagecodecs.jpeg8_decode),  # NEMA's JPLY, 12 bits
        ("JPEGLSNearLossless_16.dcm", imagecodecs.jpegls_decode),
        ("JPEG2000.dcm", imagecodecs.jpeg2k_decode),
        ("693_J2KI.dcm", imagecodecs.jpeg2k_decode),
        ("J2K_pixelrep_mismatch.dcm", imagecodecs.jpeg2k_decode),
    ],
)
def test_files_of_other_programs_are_decoded_as_another_decoder_does(name: str, decode: Callable[[bytes], Any]) -> None:
    """Pydicom's own examples against imagecodecs; DCT decoders may round differently by one."""
    dataset = dcmread(str(get_testdata_file(name)))
    theirs = np.asarray(decode(codestream(name))).astype(int)
    bits = int(dataset.BitsStored)
    if dataset.PixelRepresentation and theirs.max() >= 2 ** (bits - 1):  # their decoder does not know of the sign
        theirs = (theirs + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)

    (ours,) = stored_values(str(get_testdata_file(name)))

    assert np.abs(ours.astype(int) - theirs).max() <= (1 if name.startswith(("JPG", "JPEG-lossy")) else 0)


def scan_header(codestream: bytes) -> int:
    """Return where the last three bytes of the header of the only scan stand."""
    at = codestream.index(b"\xff\xda") + 2
    return at + int.from_bytes(codestream[at : at + 2], "big") - 3


def jpeg_extended(image: Image, bits: int) -> bytes:
    """Encode by process 4: cosine transform, 12 bits."""
    return bytes(imagecodecs.jpeg8_encode(image, level=98, bitspersample=bits))


def jpeg_extended_of_one_coefficient(image: Image, bits: int) -> bytes:
    """Encode by process 4, with a scan header that says that it ends with the first coefficient."""
    stream = jpeg_extended(image, bits)
    at = scan_header(stream)
    assert stream[at : at + 3] == b"\x00\x3f\x00"
    return stream[: at + 1] + b"\x00" + stream[at + 2 :]


def test_a_scan_header_that_stops_at_the_first_coefficient_changes_no_value(tmp_path: Path) -> None:
    """NEMA's 12-bit samples have it: all coefficients are there, and only one number is allowed to say so."""
    plan = Plan(shape=(32, 33, 2), bits=12)
    for folder, encode in (("right", jpeg_extended), ("wrong", jpeg_extended_of_one_coefficient)):
        for path in make_series(tmp_path / folder, plan):
            compress(path, JPEGExtended12Bit, encode)

    found = read(tmp_path / "wrong").array

    np.testing.assert_array_equal(found, read(tmp_path / "right").array)
    assert np.abs(found.astype(int) - plan.values()).max() <= 16  # the loss of level 98


def test_a_progressive_scan_of_one_coefficient_stays_what_it_says() -> None:
    """There the first coefficient alone is meant; other codestreams are none of this repair's business either."""
    image = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    progressive = bytes(imagecodecs.jpeg8_encode(image, level=98, optimize=True))
    at = progressive.index(b"\xff\xc0") + 1
    progressive = progressive[:at] + b"\xc2" + progressive[at + 1 :]
    end = scan_header(progressive)
    progressive = progressive[: end + 1] + b"\x00" + progressive[end + 2 :]

    assert with_all_coefficients(progressive) == progressive
    for other in (
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xc0",
        jpeg_lossless(image.astype(np.uint16), 12),
        jpeg_ls(image.astype(np.uint16), 12),
    ):
        assert with_all_coefficients(other) == other


def test_what_another_decoder_reads_is_not_called_damaged_alone(tmp_path: Path) -> None:
    """Some makers write scans that this decoder refuses: the file may be as good as its maker thinks it is."""
    dataset = dcmread(str(get_testdata_file("JPGExtended.dcm")))
    stream = codestream("JPGExtended.dcm")
    at = scan_header(stream)
    odd = stream[: at + 1] + b"\x05" + stream[at + 2 :]
    np.testing.assert_array_equal(imagecodecs.jpeg8_decode(odd), imagecodecs.jpeg8_decode(stream))
    dataset.PixelData = encapsulate([odd])
    dataset.save_as(tmp_path / "odd.dcm")

    with pytest.raises(ReadError, match=r"JPEG Extended .* is damaged, or of a kind that its decoder does not know: "):
        stored_values(tmp_path / "odd.dcm")


PACKAGES: dict[str, tuple[UID, str, str]] = {
    "JPEG baseline": (JPEGBaseline8Bit, "JPEGBaseline8BitDecoder", "pylibjpeg-libjpeg"),
    "JPEG extended": (JPEGExtended12Bit, "JPEGExtended12BitDecoder", "pylibjpeg-libjpeg"),
    "JPEG lossless": (JPEGLossless, "JPEGLosslessDecoder", "pylibjpeg-libjpeg"),
    "JPEG lossless, first order": (JPEGLosslessSV1, "JPEGLosslessSV1Decoder", "pylibjpeg-libjpeg"),
    "JPEG-LS": (JPEGLSLossless, "JPEGLSLosslessDecoder", "pyjpegls"),
    "JPEG-LS near lossless": (JPEGLSNearLossless, "JPEGLSNearLosslessDecoder", "pyjpegls"),
    "JPEG 2000": (JPEG2000Lossless, "JPEG2000LosslessDecoder", "pylibjpeg-openjpeg"),
    "JPEG 2000, lossy": (JPEG2000, "JPEG2000Decoder", "pylibjpeg-openjpeg"),
    "HTJ2K lossless": (HTJ2KLossless, "HTJ2KLosslessDecoder", "pylibjpeg-openjpeg"),
    "HTJ2K lossless, RPCL": (HTJ2KLosslessRPCL, "HTJ2KLosslessRPCLDecoder", "pylibjpeg-openjpeg"),
    "HTJ2K": (HTJ2K, "HTJ2KDecoder", "pylibjpeg-openjpeg"),
}


@pytest.mark.parametrize(("syntax", "decoder", "package"), PACKAGES.values(), ids=PACKAGES.keys())
def test_every_missing_decoder_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: UID, decoder: str, package: str
) -> None:
    """Transfer syntax and package, for every syntax that a decoder may be missing for."""
    for path in make_series(tmp_path, Plan(shape=(64, 65, 2))):
        compress(path, syntax, jpeg_2000)
    monkeypatch.setattr(getattr(decoders, decoder), "_available", {})

    with pytest.raises(ReadError, match=rf"no decoder .*\({syntax}\)\. Install it with: pip install {package}\."):
        read(tmp_path)


def test_run_lengths_need_no_package() -> None:
    """RLE is decoded by pydicom itself."""
    assert decoders.RLELosslessDecoder.is_available
    assert RLELossless == decoders.RLELosslessDecoder.UID
