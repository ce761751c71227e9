"""Whatever is wrong with a file ends in one sentence that says what was expected, what was found and what to do."""

from __future__ import annotations

import gzip
import os
import re
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import RLELossless

from damage import QUICK, assert_volume_or_refusal, mutated
from dicom_factory import Plan, make_enhanced, make_series
from lesionlens.errors import ReadError
from lesionlens.io import list_series, read

VALUES = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
NIFTI = nib.Nifti1Image(VALUES, np.diag([2.0, 2.0, 3.0, 1.0]))
GOOD = NIFTI.to_bytes()


def patched(offset: int, fmt: str, *values: float) -> bytes:
    """Return the good file with header bytes replaced."""
    content = bytearray(GOOD)
    struct.pack_into(fmt, content, offset, *values)
    return bytes(content)


def image(array: np.ndarray, affine: np.ndarray | None = None) -> bytes:
    """Return a NIfTI file."""
    return nib.Nifti1Image(array, np.eye(4) if affine is None else affine, dtype=array.dtype).to_bytes()


def with_nan() -> bytes:
    """Return a file with three voxels that are no numbers."""
    values = np.zeros((5, 4, 3), np.float32)
    values[3, 2, 1], values[4, 2, 1], values[0, 0, 2] = np.nan, np.inf, -np.inf
    return image(values)


RGB = np.zeros((5, 4, 3), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))

BAD: dict[str, tuple[str, bytes, str]] = {
    "empty file": ("a.nii", b"", r"a\.nii is empty \(0 bytes\)\. Copy"),
    "empty gz": ("a.nii.gz", b"", r"a\.nii\.gz is empty \(0 bytes\)"),
    "packed nothing": ("a.nii.gz", gzip.compress(b""), r"a\.nii\.gz is empty"),
    "text": (
        "a.nii",
        b"this is not an image at all\n" * 40,
        "not a NIfTI file: it does not begin with",
    ),
    "text as gz": ("a.nii.gz", b"this is not an image\n" * 40, "is not a NIfTI file"),
    "packed text": ("a.nii.gz", gzip.compress(b"this is not an image\n" * 40), "is not a NIfTI file"),
    "short header": ("a.nii", GOOD[:200], r"ends inside its NIfTI header \(200 bytes\)"),
    "truncated": ("a.nii", GOOD[:-10], r"is truncated: its header promises 472 bytes, the file has 462"),
    "truncated gz": ("a.nii.gz", gzip.compress(GOOD)[:-30], r"a\.nii\.gz is damaged: its gzip compression"),
    "gz of truncated": ("a.nii.gz", gzip.compress(GOOD[:-10]), "header promises 472 bytes, the file has 462"),
    "gz with wrong checksum": ("a.nii.gz", gzip.compress(GOOD)[:-8] + bytes(8), "is damaged: its gzip compression"),
    "gz cut in its header": ("a.nii.gz", gzip.compress(GOOD)[:5], "is damaged: its gzip compression"),
    "gz with garbage inside": ("a.nii.gz", b"\x1f\x8b\x08" + b"\xff" * 500, "is damaged: its gzip compression"),
    "ANALYZE 7.5": ("a.nii", patched(344, "4s", b"\0\0\0\0"), "is not NIfTI but ANALYZE 7.5, which cannot tell left"),
    "header of a pair": ("a.nii", patched(344, "4s", b"ni1\0"), "is the header of a pair"),
    "half of a pair": ("a.hdr", GOOD, r"a\.hdr is half of a pair: a\.img is missing"),
    "other half of a pair": ("a.img", GOOD, r"a\.img is half of a pair: a\.hdr is missing"),
    "4D": (
        "a.nii",
        image(np.zeros((5, 4, 3, 14), np.int16)),
        r"holds 14 volumes; .*: 0 't=0', .* 11 't=11' and 2 more\.",
    ),
    "5D": ("a.nii", image(np.zeros((5, 4, 3, 1, 6), np.int16)), r"holds 6 volumes; .*: 0 'u=0', .* 5 'u=5'\."),
    "2D": (
        "a.nii",
        image(np.zeros((5, 4), np.int16)),
        r"Expected a 3D volume .* a single slice, shape \(5, 4, 1\)",
    ),
    "one slice": ("a.nii", image(np.zeros((5, 1, 3), np.int16)), r"found a single slice, shape \(5, 1, 3\)"),
    "complex": ("a.nii", image(np.zeros((5, 4, 3), np.complex64)), "Expected real numbers .* found complex numbers"),
    "colours": ("a.nii", image(RGB), "Expected real numbers .* found RGB colours"),
    "unknown type": ("a.nii", patched(70, "<h", 77), "NIfTI has no data type 77"),
    "not finite": ("a.nii", with_nan(), r"3 voxels without a finite value .* first at \(3, 2, 1\).* Replace them"),
    "beyond single precision": (
        "a.nii",
        image(np.full((5, 4, 3), 1e200)),
        r"60 voxels without a finite value .* first at \(0, 0, 0\)",
    ),
    "no orientation": ("a.nii", patched(252, "<hh", 0, 0), "does not say how the patient lies .* left and right"),
    "zero affine": (
        "a.nii",
        patched(252, "<hh", 0, 1)[:280] + bytes(48) + GOOD[328:],
        "no usable orientation: sform: The affine cannot be inverted .*; qform: its code is 0",
    ),
    "singular affine": (
        "a.nii",
        image(VALUES, np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])),
        "no usable orientation: sform: The affine cannot be inverted",
    ),
    "affine not finite": ("a.nii", patched(280, "<f", np.nan), "no usable orientation|qform"),
    "axes below one": ("a.nii", patched(40, "<8h", 3, 5, 0, 3, 1, 1, 1, 1), "impossible axes"),
    "volumes beyond counting": (
        "a.nii",
        patched(40, "<8h", 6, 5, 4, 3, 999, 999, 999, 1),
        "promises 997,002,999 volumes",
    ),
    "eight axes": ("a.nii", patched(40, "<8h", 8, 5, 4, 3, 1, 1, 1, 1), "impossible axes"),
    "voxels inside the header": ("a.nii", patched(108, "<f", 0), "voxels cannot begin at byte 0"),
    "voxels behind the header's last bytes": ("a.nii", patched(108, "<f", 350), "voxels cannot begin at byte 350"),
    "voxels at a fraction": ("a.nii", patched(108, "<f", 352.5), "voxels cannot begin at byte 352.5"),
    "voxels beyond memory in gz": ("a.nii.gz", gzip.compress(patched(108, "<f", 1e12)), "cannot hold what its header"),
    "gz bomb": ("a.nii.gz", gzip.compress(GOOD + bytes(1 << 25)), r"unpacks to far more than .* \(472 bytes\)"),
    "voxels nowhere": ("a.nii", patched(108, "<f", np.nan), "voxels cannot begin at byte nan"),
    "voxels beyond the end": ("a.nii", patched(108, "<f", 1e9), "is truncated"),
    "slope without intercept": ("a.nii", patched(112, "<ff", 2, np.nan), "scl_slope is 2 but scl_inter is nan"),
    "huge axes": (
        "a.nii",
        patched(40, "<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1),
        "is truncated: its header promises 7",
    ),
    "huge axes in gz": (
        "a.nii.gz",
        gzip.compress(patched(40, "<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1)),
        "cannot hold what its header promises",
    ),
    "text without suffix": (
        "notes",
        b"not an image " * 30,
        "Expected NIfTI .* NRRD .* MetaImage .* DICOM or a zip of them; notes is none",
    ),
    "empty file without suffix": ("notes", b"", "notes is empty"),
    "short file": ("notes", b"\x08\x00", "notes is none"),
    "DICOM cut in its header": (
        "a.dcm",
        bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI",
        "DICOM file a.dcm is damaged: it does not say what it holds",
    ),
    "preamble only": ("a.dcm", bytes(128) + b"DICM", "DICOM file a.dcm is damaged"),
}


@pytest.mark.parametrize(("name", "content", "message"), BAD.values(), ids=BAD.keys())
def test_bad_files_are_refused_in_one_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """The message names the file, what was found and what to do, in one line."""
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(ReadError, match=message) as caught:
        read(path)

    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value) or name == "notes"


@pytest.mark.parametrize("name", ["truncated", "voxels beyond the end"])
def test_a_list_says_that_a_file_is_too_short(tmp_path: Path, name: str) -> None:
    """Whoever looks before a run is not told that a file that was cut is regular."""
    file_name, content, message = BAD[name]
    (tmp_path / file_name).write_bytes(content)
    (tmp_path / "good.nii").write_bytes(GOOD)

    (info,), (good,) = (list_series(tmp_path / one) for one in (file_name, "good.nii"))

    assert not info.readable
    assert re.search(message, str(info.verdict))
    assert good.readable


def test_a_single_voxel_is_counted_in_the_singular(tmp_path: Path) -> None:
    """One voxel is no plural."""
    values = np.zeros((5, 4, 3), np.float32)
    values[3, 2, 1] = np.nan
    (tmp_path / "a.nii").write_bytes(image(values))

    with pytest.raises(ReadError, match=r"holds 1 voxel without a finite value .* first at \(3, 2, 1\)"):
        read(tmp_path / "a.nii")


def test_the_good_file_is_good(tmp_path: Path) -> None:
    """The file that the bad ones are made from can be read: they fail for their own reason."""
    (tmp_path / "a.nii").write_bytes(GOOD)

    np.testing.assert_array_equal(read(tmp_path / "a.nii").array, VALUES)


def missing(folder: Path) -> Path:
    """Return a path to nothing."""
    return folder / "nothing.nii.gz"


def empty_folder(folder: Path) -> Path:
    """Return an empty folder."""
    return folder


def folder_of_notes(folder: Path) -> Path:
    """Return a folder without any image."""
    (folder / "notes.txt").write_text("nothing to see here " * 20)
    return folder


def folder_of_nifti(folder: Path) -> Path:
    """Return a folder with a NIfTI file."""
    (folder / "scan.nii").write_bytes(GOOD)
    return folder


def broken_link(folder: Path) -> Path:
    """Return a link to nothing."""
    (folder / "link.nii").symlink_to(folder / "gone")
    return folder / "link.nii"


def pipe(folder: Path) -> Path:
    """Return a named pipe, on which a careless reader waits for ever."""
    os.mkfifo(folder / "pipe.nii")
    return folder / "pipe.nii"


PLACES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing file": (missing, r"There is no file or folder .*nothing\.nii\.gz\. Check the path"),
    "empty folder": (empty_folder, "is empty. Give a folder with DICOM files, or a NIfTI file"),
    "folder without images": (folder_of_notes, "holds no DICOM file among its 1 file"),
    "folder of NIfTI files": (folder_of_nifti, r"no DICOM but other images; give the file itself: scan\.nii"),
    "broken link": (broken_link, "is neither, or a link to nothing"),
    "pipe": (pipe, "Expected a file or folder; .* is neither"),
}


@pytest.mark.parametrize(("make", "message"), PLACES.values(), ids=PLACES.keys())
def test_bad_places_are_refused_by_read_and_list(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    """Reading and listing refuse alike."""
    place = make(tmp_path)

    for function in (read, list_series):
        with pytest.raises(ReadError, match=message):
            function(place)


def test_an_empty_text_is_no_path() -> None:
    """It would stand for the current folder, whatever lies there."""
    for function in (read, list_series):
        with pytest.raises(ReadError, match=r"Expected the path of a file or folder; found an empty text\. Give"):
            function("")


def test_what_is_no_path_is_refused_by_its_type() -> None:
    """A variable that was never set, say."""
    for function in (read, list_series):
        with pytest.raises(ReadError, match=r"Expected the path of a file or folder; found NoneType"):
            function(None)  # type: ignore[arg-type]


def test_a_series_of_a_nifti_file_is_refused(tmp_path: Path) -> None:
    """A choice that cannot apply is not ignored."""
    (tmp_path / "a.nii").write_bytes(GOOD)

    with pytest.raises(ReadError, match=r"a\.nii is a NIfTI file, which holds no series; leave out --series"):
        read(tmp_path / "a.nii", series="4")


def test_a_damaged_slice_refuses_the_folder(tmp_path: Path) -> None:
    """A slice at the end of the stack would be missed by nobody, so its loss must not pass."""
    paths = make_series(tmp_path, names="slice-{}".format)
    paths[4].write_bytes(paths[4].read_bytes()[:140])

    with pytest.raises(ReadError, match=r"DICOM file slice-4 is damaged.* Export it again, or take it out"):
        read(tmp_path)
    assert [info.files for info in list_series(tmp_path)][1] == ("slice-4",)
    assert "slice-4 is damaged" in str(list_series(tmp_path)[1].verdict)


def test_a_slice_cut_in_its_pixels_refuses_the_series(tmp_path: Path) -> None:
    """Interrupted copies end inside the pixel data."""
    paths = make_series(tmp_path, names="slice-{}".format)
    paths[4].write_bytes(paths[4].read_bytes()[:-20])

    with pytest.raises(ReadError, match=r"pixel data of slice-4 .* is damaged|Cannot read slice-4"):
        read(tmp_path)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without permission may be a slice."""
    make_series(tmp_path, names="slice-{}".format)
    usual = Path.open

    def refuse(path: Path, *args: object, **options: object) -> object:
        if path.name == "slice-3":
            raise PermissionError(13, "Permission denied", str(path))
        return usual(path, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)

    with pytest.raises(ReadError, match=r"Cannot open slice-3: Permission denied\. Check its permissions"):
        read(tmp_path)


def test_messages_do_not_name_the_patient(tmp_path: Path) -> None:
    """Errors end up in logs and issue trackers."""
    make_series(tmp_path, Plan(offsets=((0.0, 0.0, 0.0),) * 5))

    with pytest.raises(ReadError, match=r"duplicate|5 images at each") as caught:
        read(tmp_path)

    assert "ecret" not in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_a_damaged_length_does_not_draw_the_patient_into_messages(tmp_path: Path) -> None:
    """The patient's name follows the series description in the file: a length that is too long would include it."""
    make_series(tmp_path / "a", Plan(number=1))
    (path, *_) = make_series(tmp_path / "b", Plan(number=2), names=str)
    content = path.read_bytes()
    start = content.index(b"LO\x06\x00FLAIR ") + 4
    end = content.index(b"\x10\x00\x20\x00LO")  # the patient's ID: the name lies between
    path.write_bytes(content[: start - 2] + bytes([end - start, 0]) + content[start:])

    with pytest.raises(ReadError, match=r"2 series in .* could be meant") as caught:
        read(tmp_path)

    assert "ecret" not in str(caught.value)


# A DICOM example takes three files; fewer of them keep the suite quick.
QUICK_DICOM = settings(QUICK, max_examples=60)

CHANGES = st.lists(st.tuples(st.integers(0, 399), st.integers(0, 255)), min_size=1, max_size=12)


@QUICK
@given(changes=CHANGES)
def test_damaged_nifti_headers_end_in_a_refusal_or_a_volume(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    """Any bytes of the header may be wrong; no other exception ever comes out."""
    (tmp_path / "a.nii").write_bytes(mutated(GOOD, changes))

    assert_volume_or_refusal(tmp_path / "a.nii")


@QUICK
@given(changes=CHANGES)
def test_damaged_gzip_ends_in_a_refusal_or_a_volume(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    """The same behind compression, whose own bytes are hit as well."""
    (tmp_path / "a.nii.gz").write_bytes(mutated(gzip.compress(GOOD, mtime=0), changes))

    assert_volume_or_refusal(tmp_path / "a.nii.gz")


@cache
def series_bytes() -> list[bytes]:
    """Return the files of a good series."""
    with TemporaryDirectory() as folder:
        return [path.read_bytes() for path in make_series(Path(folder), Plan(shape=(7, 6, 3)))]


@cache
def enhanced_bytes() -> bytes:
    """Return a good enhanced file."""
    with TemporaryDirectory() as folder:
        make_enhanced(Path(folder, "all.dcm"), Plan(shape=(7, 6, 3)))
        return Path(folder, "all.dcm").read_bytes()


def test_runs_beyond_the_end_of_an_rle_image_do_no_harm(tmp_path: Path) -> None:
    """One RLE decoder answers them with a panic that ends the program; it is not used."""
    (path, *_) = make_series(tmp_path, Plan(shape=(64, 65, 3)))
    dataset = dcmread(path)
    dataset.compress(RLELossless, generate_instance_uid=False)
    # Its header is 64 bytes: two segments, the first of which begins after it.
    start = dataset.PixelData.index(b"\x02\x00\x00\x00\x40\x00\x00\x00") + 64
    n = len(dataset.PixelData) - start
    dataset.PixelData = dataset.PixelData[:start] + (b"\x81\x01" * n)[:n]
    dataset.save_as(path)

    assert_volume_or_refusal(tmp_path)


DICOM_CHANGES = st.lists(st.tuples(st.integers(128, 1500), st.integers(0, 255)), min_size=1, max_size=6)


@QUICK_DICOM
@given(changes=DICOM_CHANGES, which=st.integers(0, 2))
def test_damaged_dicom_ends_in_a_refusal_or_a_volume(
    tmp_path: Path, changes: list[tuple[int, int]], which: int
) -> None:
    """Any bytes of one slice's header may be wrong."""
    for k, content in enumerate(series_bytes()):
        (tmp_path / str(k)).write_bytes(mutated(content, changes) if k == which else content)

    assert_volume_or_refusal(tmp_path)


@QUICK_DICOM
@given(changes=DICOM_CHANGES)
def test_damaged_enhanced_dicom_ends_in_a_refusal_or_a_volume(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    """Nested sequences fail in their own ways."""
    (tmp_path / "all.dcm").write_bytes(mutated(enhanced_bytes(), changes))

    assert_volume_or_refusal(tmp_path / "all.dcm")
