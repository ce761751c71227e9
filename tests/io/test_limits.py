"""Files that ask for too much: refused by a named limit, soon, before memory is taken for what they promise."""

from __future__ import annotations

import logging
import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicom_factory import Plan, make_mosaic, make_series
from lesionlens.errors import InputError, LesionLensError, OutputError, ReadError
from lesionlens.io import limits, list_series, read, read_overlay
from lesionlens.io.dicom.codestream import codestream_size
from lesionlens.io.dicom.group import orientations
from lesionlens.volume import GeometryVerdict, Grid, Source, Volume
from mutations import nest
from seg_factory import blob, make_seg

PLAN = Plan(shape=(7, 6, 3))

# What is refused in time takes a fraction of a second; what is not, minutes. Between them any machine tells them apart.
SECONDS = 20.0

# A lying length or size asks for gigabytes.
FEW_BYTES = 64 << 20

_PIXEL_DATA = b"\xe0\x7f\x10\x00"


@pytest.fixture
def soon() -> Iterator[None]:
    """Fail where a test takes long."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < SECONDS


def before_pixels(path: Path, element: bytes) -> None:
    """Put an element in front of the pixel data."""
    content = path.read_bytes()
    at = content.rindex(_PIXEL_DATA)
    path.write_bytes(content[:at] + element + content[at:])


def element(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """Return an element with a long length, explicit and little endian; the length may lie."""
    return struct.pack("<HH2sHI", group, number, vr, 0, len(value) if length is None else length) + value


def deflated(path: Path, beyond: int) -> None:
    """Write a slice as deflated DICOM with so many zeros behind it."""
    (plain, *_) = make_series(path.parent / "plain", PLAN)
    dataset = dcmread(plain)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    end = 144 + read_file_meta_info(path).FileMetaInformationGroupLength
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = [deflate.compress(zlib.decompress(path.read_bytes()[end:], -zlib.MAX_WBITS))]
    packed += [deflate.compress(bytes(1 << 20)) for _ in range(beyond >> 20)]
    path.write_bytes(path.read_bytes()[:end] + b"".join([*packed, deflate.flush()]))


@pytest.mark.usefixtures("soon")
def test_a_deflated_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser inflates the whole data set, however large it becomes."""
    monkeypatch.setattr(limits, "ALWAYS_BYTES", 1 << 22)
    deflated(tmp_path / "a.dcm", 1 << 25)

    with pytest.raises(ReadError, match=r"a\.dcm is damaged: it unpacks to more than \d+ bytes, 200 times its size"):
        read(tmp_path / "a.dcm")


def test_deflated_data_that_stays_small_is_no_bomb(tmp_path: Path) -> None:
    """An empty mask packs by a factor of a thousand."""
    deflated(tmp_path / "a.dcm", 1 << 20)

    with pytest.raises(ReadError, match="found a single slice"):
        read(tmp_path / "a.dcm")


def test_a_deflated_stream_that_ends_early_is_damage(tmp_path: Path) -> None:
    """Counting what it unpacks to must not go on for ever."""
    deflated(tmp_path / "a.dcm", 0)
    (tmp_path / "a.dcm").write_bytes((tmp_path / "a.dcm").read_bytes()[:-20])

    with pytest.raises(ReadError, match=r"a\.dcm is damaged: .*incomplete"):
        read(tmp_path / "a.dcm")


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("defined", [False, True], ids=["undefined", "defined"])
@pytest.mark.parametrize("depth", [300, 5000])
@pytest.mark.parametrize("group", [0x0040, 0x5200], ids=["skipped", "wanted"])
def test_sequences_nested_hundreds_deep_do_no_harm(tmp_path: Path, group: int, depth: int, *, defined: bool) -> None:
    """Each level takes several frames of the stack; what is never looked into may be as deep as it likes."""
    *_, last = make_series(tmp_path, PLAN)
    number = 0x9229 if group == 0x5200 else 0x0275
    before_pixels(last, element(group, number, b"SQ", nest(depth, defined=defined)))

    if group == 0x0040:
        assert read(tmp_path).grid.shape == PLAN.shape
    else:
        with pytest.raises(
            ReadError, match=rf"{last.name} (is damaged: its parts are nested too deeply|has no usable)"
        ):
            read(tmp_path)


@pytest.mark.usefixtures("soon")
def test_open_sequences_nested_hundreds_deep_are_refused(tmp_path: Path) -> None:
    """A sequence without a length is looked into even where it is skipped."""
    *_, last = make_series(tmp_path, PLAN)
    value = nest(2000, defined=False) + b"\xfe\xff\xdd\xe0\0\0\0\0"
    before_pixels(last, element(0x0040, 0x0275, b"SQ", value, 0xFFFFFFFF))

    with pytest.raises(ReadError, match=rf"{last.name} is damaged: its parts are nested too deeply"):
        read(tmp_path)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("length", [0xFFFFFFFF, None], ids=["open", "closed"])
def test_elements_without_an_end_are_not_searched_for_ever(tmp_path: Path, length: int | None) -> None:
    """Each of them makes the parser search the rest of the file: hours in a file of megabytes."""
    *_, last = make_series(tmp_path, PLAN)
    part = element(0x0041, 0x0001, b"OB", b"\xfe\xff\0\xe0\xff\xff\xff\xff", 0xFFFFFFFF)
    before_pixels(last, element(0x5200, 0x9229, b"SQ", part[12:] + part * 300_000, length))

    with pytest.raises(ReadError, match=rf"{last.name} is damaged: too many of its elements have no end"):
        read(tmp_path)


@pytest.mark.parametrize("tag", [(0x0029, 0x1010, b"OB"), (0x5200, 0x9229, b"SQ")], ids=["private", "wanted"])
def test_a_lying_length_takes_no_memory(tmp_path: Path, tag: tuple[int, int, bytes]) -> None:
    """Four gigabytes are promised in a file of some kilobytes, in an item as well; none are asked for."""
    *_, last = make_series(tmp_path, PLAN)
    good = last.read_bytes()
    for item in (b"", element(0x0040, 0x0275, b"SQ", b"\xfe\xff\0\xe0\xff\xff\xff\xff", 0xFFFFFFFF)):
        last.write_bytes(good)
        before_pixels(last, item + element(*tag, bytes(1000), 0xFFFFFFF0))
        before = highest_bytes()

        with pytest.raises(ReadError, match=rf"{last.name} is damaged: "):
            read(tmp_path)

        assert highest_bytes() - before < FEW_BYTES


def highest_bytes() -> int:
    """Return the most address space that this process ever had, on Linux; 0 elsewhere."""
    try:
        return int(Path("/proc/self/status").read_text().partition("VmPeak:")[2].split()[0]) * 1024
    except OSError:
        return 0


def of_size(rows: int, columns: int) -> Callable[[Dataset, int], None]:
    """Return a change that makes a header promise images of a size."""

    def change(dataset: Dataset, k: int) -> None:
        dataset.Rows, dataset.Columns = rows, columns

    return change


def compressed(folder: Path, syntax: str, rows: int, columns: int) -> None:
    """Write compressed slices whose header promises another size."""
    for path in make_series(folder, Plan(shape=(64, 65, 3))):
        dataset = dcmread(path)
        dataset.compress(syntax, generate_instance_uid=False)
        of_size(rows, columns)(dataset, 0)
        dataset.save_as(path)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    ("syntax", "size", "message"),
    [
        (RLELossless, (65535, 65535), r"promises images of 65535 x 65535 pixels, more than 268,435,456 values each"),
        (RLELossless, (16384, 16384), r"promises 536,870,912 bytes of pixels, which 4,472 of RLE cannot hold"),
        (JPEG2000Lossless, (65535, 65535), "more than 268,435,456 values each"),
        (JPEG2000Lossless, (65, 4000), r"promises images of 4000 x 65 pixels, its compressed data 64 x 65\."),
        (JPEGLSLossless, (4000, 64), r"promises images of 64 x 4000 pixels, its compressed data 64 x 65\."),
    ],
)
def test_a_promised_size_is_compared_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str, size: tuple[int, int], message: str
) -> None:
    """Decoders take the memory that a header asks for; none of them is called."""
    compressed(tmp_path, syntax, *size)
    for decoder in ("_compressed", "_uncompressed"):
        monkeypatch.setattr(f"lesionlens.io.dicom.pixels.{decoder}", lambda *args: pytest.fail("decoded"))

    with pytest.raises(ReadError, match=message):
        read(tmp_path)


def test_plain_pixels_are_compared_with_the_file(tmp_path: Path) -> None:
    """Half a gigabyte is promised for each of three slices of a few bytes."""
    make_series(tmp_path, Plan(shape=(7, 6, 3), change=of_size(16384, 16384)))

    with pytest.raises(ReadError, match=r"bytes of pixel data is less than expected \(84 vs 536870912 bytes\)"):
        read(tmp_path)


def test_images_that_no_memory_holds_are_refused_by_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems promise memory that they do not have, and end the program that takes it."""
    monkeypatch.setattr(limits, "ALWAYS_BYTES", 10)
    monkeypatch.setattr(limits, "available_bytes", lambda: 2000.0)
    make_series(tmp_path / "series", Plan(shape=(7, 6, 30)))

    with pytest.raises(ReadError, match=r"30 slices of shape \(6, 7\) would take .* GiB of memory"):
        read(tmp_path / "series")


def test_voxels_that_no_memory_holds_are_refused_by_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A packed file of a megabyte may promise a gigabyte."""
    monkeypatch.setattr(limits, "ALWAYS_BYTES", 10)
    monkeypatch.setattr(limits, "available_bytes", lambda: 100.0)
    nib.save(nib.Nifti1Image(np.zeros((5, 4, 3), np.int16), np.eye(4)), tmp_path / "a.nii.gz")

    with pytest.raises(ReadError, match=r"The voxels of a\.nii\.gz would take .* GiB of memory; 0\.0 GiB are free"):
        read(tmp_path / "a.nii.gz")


def test_a_file_with_a_hole_is_refused_by_its_size(tmp_path: Path) -> None:
    """A terabyte of nothing takes no room on the disk, but would in memory."""
    *_, last = make_series(tmp_path, PLAN)
    os.truncate(last, 1 << 40)

    with pytest.raises(ReadError, match=rf"The bytes of {last.name} would take 1,024\.0 GiB of memory"):
        read(tmp_path)


def test_this_machine_has_memory_and_says_so() -> None:
    """A limit of nothing would refuse everything, one without end nothing."""
    assert FEW_BYTES < limits.available_bytes() < 1 << 50
    limits.require_memory(FEW_BYTES, "A little")


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (b"\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xc0\x00\x0b\x08\x00\x05\x00\x07\x01", (5, 7)),
        (b"\xff\xd8\xff\xc4\x00\x02\xff\xf7\x00\x0b\x08\x00\x05\x00\x07\x01", (5, 7)),
        (b"\xff\xd8\xff\xd8\xff\xc3\x00\x0b\x10\x12\x34\x00\x07\x01", (0x1234, 7)),
        (b"\xff\x4f\xff\x51\x00\x29\x00\x00" + struct.pack(">4I", 10, 9, 3, 4), (5, 7)),
        (b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x00\x00\x07\x01", None),  # the number of lines follows at the end
        (b"\xff\xd8\xff\xe0\xff\xff", None),
        (b"\xff\xd8", None),
        (b"", None),
        (b"\x12\x34 a second fragment", None),
    ],
)
def test_the_size_of_a_codestream_stands_in_its_header(content: bytes, size: tuple[int, int] | None) -> None:
    """By the markers of the standards (ITU T.81 B.2.2, T.87 C.2.2, T.800 A.5.1), written by hand."""
    assert codestream_size(content) == size


NUMBERS = {
    "no frames": ("NumberOfFrames", b"-1", r"promises -1 images of 7 x 6 pixels"),
    "frames beyond counting": ("NumberOfFrames", b"2147483647", "found 2147483647 frames of .* without"),
    "frames that are no number": ("NumberOfFrames", b"1e999", "is damaged"),
    "a position at infinity": ("ImagePositionPatient", b"0\\0\\1e999", "has no usable ImagePositionPatient"),
    "a position that is no number": ("ImagePositionPatient", b"0\\0\\NaN ", "has no usable ImagePositionPatient"),
    "a position beyond a kilometre": ("ImagePositionPatient", b"0\\0\\1e150 ", "has no usable ImagePositionPatient"),
    "an empty position": ("ImagePositionPatient", b"", "has no usable ImagePositionPatient"),
    "no distance": ("PixelSpacing", b"0\\0 ", r"PixelSpacing of .* is \[0\.0, 0\.0\]"),
    "a negative distance": ("PixelSpacing", b"-1\\1", r"PixelSpacing of .* is \[-1\.0, 1\.0\]"),
    "a distance below all atoms": ("PixelSpacing", b"1e-320\\1e-320 ", r"PixelSpacing of .* is \[1e-320"),
    "a distance of text": ("PixelSpacing", b"abc\\abc ", "is damaged"),
    "no samples": ("SamplesPerPixel", b"\0\0", "promises 1 images .* with 0 samples"),
    "twelve bits": ("BitsAllocated", b"\x0c\0", "84 bytes of pixels, where its header promises 63:"),
    "64 bits": ("BitsAllocated", b"\x40\0", "is damaged"),
    "one bit": ("BitsAllocated", b"\1\0", "84 bytes of pixels, where its header promises 6:"),
    "a slope of text": ("RescaleSlope", b"abc ", "is damaged"),
    "an endless slope": ("RescaleSlope", b"1e999 ", "RescaleSlope inf .* give no values"),
}


@pytest.mark.parametrize(("keyword", "value", "message"), NUMBERS.values(), ids=NUMBERS.keys())
def test_a_number_that_cannot_be_is_refused(tmp_path: Path, keyword: str, value: bytes, message: str) -> None:
    """Damage, or malice, leaves any text where a number should be."""
    *_, last = make_series(tmp_path, PLAN)
    dataset = dcmread(last)
    tag = Tag(tag_for_keyword(keyword))
    dataset[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
    dataset.save_as(last)

    with pytest.raises(ReadError, match=message) as caught:
        read(tmp_path)

    assert last.name in str(caught.value)


def test_a_mosaic_of_too_many_slices_is_refused(tmp_path: Path) -> None:
    """Its header alone promises four thousand million places for as many slices."""
    elements = {"NumberOfImagesInMosaic": ["4000000000"]}
    make_mosaic(tmp_path / "a", Plan(shape=(7, 6, 4), bits=12), elements=elements, change=of_size(63246, 63246))

    with pytest.raises(ReadError, match="does not say how many slices it holds"):
        read(tmp_path / "a")


@pytest.mark.usefixtures("soon")
def test_ways_that_images_lie_are_found_in_time(rng: np.random.Generator) -> None:
    """Comparing each of the frames of a hostile file with each would take hours; what belongs together stays so."""
    ways = rng.uniform(-1, 1, (400, 6)).tolist()
    known = [tuple(ways[n % 400]) for n in range(1200)]
    strays = [tuple(way) for way in rng.uniform(-1, 1, (20_000, 6)).tolist()]

    found = orientations([*known, *strays])

    assert found[:400] == [[n, n + 400, n + 800] for n in range(400)]
    assert sorted(n for members in found for n in members) == list(range(21_200))


def test_the_maps_of_a_segmentation_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments that overlap take a volume each, of a size that two planes far apart decide."""
    monkeypatch.setattr(limits, "ALWAYS_BYTES", 10)
    monkeypatch.setattr(limits, "available_bytes", lambda: 6000.0)
    path = make_seg(tmp_path / "a.dcm", [(n, k, blob(seed=0)) for n in (1, 2) for k in (0, 60)])
    scan = Grid((7, 6, 3), np.diag([1.0, 1, 1, 1]))

    with pytest.raises(ReadError, match=r"The maps of a\.dcm would take .* GiB of memory"):
        read_overlay(path, Volume(np.zeros((7, 6, 3)), scan))


TEXTS = {
    "lines without a colon": ("a.nrrd", b"NRRD0005\n" + b"a\n" * 400_000),
    "open brackets": (
        "a.nrrd",
        b"NRRD0005\nspace: RAS\nsizes: 4 4 4\ntype: short\nspace directions: " + b"(" * 900_000 + b"\n\n",
    ),
    "nothing but empty lines": ("a.mha", b"a = b" + b"\n" * 900_000),
    "nothing but blanks": ("a.mha", b"a = b" + b" " * 900_000),
    "lines without a sign": ("a.mha", b"a = b\n" + b"a\n" * 400_000 + b"ElementDataFile = LOCAL\n"),
}


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(("name", "content"), TEXTS.values(), ids=TEXTS.keys())
def test_a_text_header_of_nonsense_is_refused_in_time(tmp_path: Path, name: str, content: bytes) -> None:
    """A pattern that tries every beginning with every end takes hours for a megabyte."""
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ReadError, match=name):
        read(tmp_path / name)


NRRD = "NRRD0005\ntype: {}\nspace: {}\nsizes: {}\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nencoding: {}\n"
FIELDS = {
    "a type": (("x" * 5000, "RAS", "4 4 4", "raw"), "of type xxxx"),
    "a space": (("uchar", "x" * 5000, "4 4 4", "raw"), "its space is 'xxxx"),
    "an encoding": (("uchar", "RAS", "4 4 4", "x" * 5000), "is xxxx"),
    "axes of many digits": (("uchar", "RAS", "4 4 " + "9" * 4000, "raw"), "impossible axes"),
    "axes of too many digits": (("uchar", "RAS", "4 4 " + "9" * 5000, "raw"), "header is damaged"),
}


@pytest.mark.parametrize(("fields", "message"), FIELDS.values(), ids=FIELDS.keys())
def test_no_field_fills_a_screen(tmp_path: Path, fields: tuple[str, ...], message: str) -> None:
    """A damaged line can be a megabyte long; a message quotes the beginning."""
    content = NRRD.format(*fields) + "endian: little\nspace origin: (0,0,0)\n\n"
    (tmp_path / "a.nrrd").write_bytes(content.encode() + bytes(64))

    with pytest.raises(ReadError, match=message) as caught:
        read(tmp_path / "a.nrrd")

    assert len(str(caught.value)) < 500


def test_voxels_of_both_infinities_are_refused_in_silence(tmp_path: Path) -> None:
    """They add up to a number that is none, and the warning about it is nobody's business."""
    values = np.zeros((5, 4, 3), np.float32)
    values[1, 2, 0], values[3, 2, 1] = np.inf, -np.inf
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii")

    with pytest.raises(ReadError, match=r"2 voxels without a finite value .* the first at \(1, 2, 0\)"):
        read(tmp_path / "a.nii")


@pytest.mark.parametrize("step", ["1e308", "1e150", "1e-150"])
def test_axes_that_cannot_be_counted_with_are_refused_in_silence(tmp_path: Path, step: str) -> None:
    """Their products are infinite or nothing, and the warnings about it are nobody's business."""
    header = (
        f"ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\nElementSpacing = {step} {step} "
        f"{step}\nOffset = 1e308 1e308 1e308\nTransformMatrix = 1 1 0 1 -1 0 0 0 1e308\nElementDataFile = LOCAL\n"
    )
    (tmp_path / "a.mha").write_bytes(header.encode() + bytes(64))

    with pytest.raises(ReadError, match=r"a\.mha has no usable orientation"):
        read(tmp_path / "a.mha")


@pytest.mark.parametrize("scale", [1e-7, 1e7, 1e160, 1e-160])
def test_a_grid_of_no_size_that_occurs_is_refused(scale: float) -> None:
    """Squares of such numbers overflow; a grid that exists can be calculated with."""
    with pytest.raises(InputError, match=r"cannot be inverted|within a kilometre"):
        Grid((2, 2, 2), np.diag([scale, scale, scale, 1.0]))


def test_a_lost_link_is_a_lost_slice(tmp_path: Path) -> None:
    """Archives of links, half of them fetched, are in use; one that is not named like a slice is none."""
    make_series(tmp_path, PLAN, names="slice-{}".format)
    (tmp_path / "README").symlink_to("gone")
    assert read(tmp_path).source.decisions == ("Left aside: 1 file without DICOM images: README.",)

    (tmp_path / "slice-3").symlink_to("gone")

    with pytest.raises(ReadError, match="slice-3 may be a damaged slice: it is a link to nothing"):
        read(tmp_path)


@pytest.mark.usefixtures("soon")
def test_pipes_and_loops_in_a_folder_do_not_hold_it_up(tmp_path: Path) -> None:
    """Opening a pipe waits for somebody to write into it."""
    make_series(tmp_path, PLAN)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "self").symlink_to(".")
    (tmp_path / "zero").symlink_to("/dev/zero")

    assert read(tmp_path).grid.shape == PLAN.shape
    assert len(list_series(tmp_path)) == 1


def test_a_dicomdir_that_names_a_loop_is_refused(tmp_path: Path) -> None:
    """Links that lead to each other lead nowhere."""
    make_series(tmp_path, PLAN)
    (tmp_path / "LOOP").symlink_to("LOOP")
    index, record = Dataset(), Dataset()
    index.file_meta = FileMetaDataset()
    index.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    index.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    index.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    record.ReferencedFileID = ["LOOP"]
    index.DirectoryRecordSequence = [record]
    index.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)

    with pytest.raises(ReadError, match="DICOMDIR names LOOP, which lies outside its folder"):
        read(tmp_path / "DICOMDIR")


def test_names_that_no_screen_can_show_are_written_out(tmp_path: Path) -> None:
    """Names of files may be any bytes; printing them must not fail, nor break a line."""
    make_series(tmp_path, PLAN)
    odd = os.fsdecode(b"a\xff\n.dcm")
    (tmp_path / odd).write_bytes(b"no image at all " * 20)

    with pytest.raises(ReadError, match=r"a\\udcff\\n\.dcm may be a damaged slice") as caught:
        read(tmp_path)

    assert str(caught.value).isprintable()


def test_what_is_said_of_files_is_printable_too() -> None:
    """Names of files reach decisions, problems and the volume's own name, and from there screens and reports."""
    odd = os.fsdecode(b"a\xff\n")
    source = Source(decisions=(f"{odd} was left out.",), verdict=GeometryVerdict((f"gap after {odd}",)))
    volume = Volume(np.zeros((2, 2, 2)), Grid((2, 2, 2), np.eye(4)), name=odd, source=source)

    assert volume.name == r"a\udcff\n"
    assert volume.source.decisions == (r"a\udcff\n was left out.",)
    assert str(volume.source.verdict).startswith(r"irregular: gap after a\udcff\n")


def test_a_list_of_series_shows_folders_of_any_name(tmp_path: Path) -> None:
    """Series that share a number are told apart by their folder; a screen that is strict about letters shows it."""
    for name, description in ((b"one\xff", "a"), (b"two\xfe\n", "b")):
        make_series(tmp_path / os.fsdecode(name), Plan(shape=(7, 6, 3), description=description))

    done = subprocess.run(
        [sys.executable, "-m", "lesionlens", "info", str(tmp_path)],
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
        check=True,
        text=True,
        encoding="utf-8",
    )

    assert r"in folder one\udcff" in done.stdout
    assert r"in folder two\udcfe\n" in done.stdout


def test_messages_of_all_errors_are_printable() -> None:
    """Also where an error is one of the system's as well; what can be shown stays as it is."""
    assert str(OutputError("a\tb")) == r"a\tb"
    assert str(LesionLensError("Größe 5 mm³ – gut")) == "Größe 5 mm³ – gut"


def test_the_parser_says_nothing_on_the_screen(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: object) -> None:
    """What it finds odd in values that are not used is nobody's business; warnings are errors in these tests."""
    *_, last = make_series(tmp_path, PLAN)
    before_pixels(last, element(0x0041, 0x0001, b"OB", b"no end", 0xFFFFFFFF))

    with caplog.at_level(logging.CRITICAL), pytest.raises(ReadError, match=last.name):
        read(tmp_path)

    assert capfd.readouterr() == ("", "")  # type: ignore[attr-defined]  # pytest's fixture
