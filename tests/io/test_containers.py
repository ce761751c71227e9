"""Scans in a zip, and DICOMDIRs: read like the folders they stand for, and never a way out of them."""

from __future__ import annotations

import re
import stat
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import config
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_factory import Plan, make_series
from lesionlens.errors import AmbiguousSeriesError, Cancelled, ReadError
from lesionlens.io import archive, list_series, read

PLAN = Plan()


def pack(folder: Path, target: Path) -> Path:
    """Zip a folder."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.rglob("*")):
            packed.write(path, path.relative_to(folder))
    return target


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that temporary folders are made in."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_zip_of_dicom_is_the_folder_in_it(tmp_path: Path, temporary: Path) -> None:
    """Same voxels and the names inside; nothing is left on the disk."""
    make_series(tmp_path / "in", PLAN, names="a/b/{}".format)

    volume = read(pack(tmp_path / "in", tmp_path / "scan.zip"))

    np.testing.assert_array_equal(volume.array, PLAN.values())
    assert volume.source.files == tuple(f"a/b/{k}" for k in range(5))
    assert volume.source.sha256 == read(tmp_path / "in").source.sha256
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("suffix", ["img", "hdr", "nii", "mha"])
def test_dicom_is_known_by_its_preamble(tmp_path: Path, suffix: str) -> None:
    """Some scanners call their images .img: the folder, one file and a zip of them are one scan."""
    first, *_ = make_series(tmp_path / "in", PLAN, names=f"IM{{}}.{suffix}".format)

    for place in (tmp_path / "in", first, pack(tmp_path / "in", tmp_path / "scan.zip")):
        np.testing.assert_array_equal(read(place).array, PLAN.values())
        assert [info.shape for info in list_series(place)] == [PLAN.shape]


def test_letters_in_a_nifti_header_do_not_make_it_dicom(tmp_path: Path) -> None:
    """Its bytes may hold anything where DICOM has its letters."""
    path = tmp_path / "scan.nii"
    nib.Nifti1Image(np.ones((3, 3, 3), np.int16), np.eye(4)).to_filename(path)
    content = bytearray(path.read_bytes())
    content[128:132] = b"DICM"
    path.write_bytes(content)

    assert read(path).source.format == "nifti"


def test_a_zip_is_known_by_its_content(tmp_path: Path) -> None:
    """Archives are sent around under any name."""
    make_series(tmp_path / "in", PLAN)

    assert read(pack(tmp_path / "in", tmp_path / "scan")).grid.shape == PLAN.shape


def test_a_zip_of_a_nifti_file_is_that_file(tmp_path: Path) -> None:
    """With the notes that come along."""
    image = nib.Nifti1Image(PLAN.values().astype(np.int16), np.diag([2.0, 2, 2, 1]))
    (tmp_path / "in" / "x").mkdir(parents=True)
    nib.save(image, tmp_path / "in" / "x" / "scan.nii.gz")
    (tmp_path / "in" / "notes.json").write_text("{}")

    volume = read(pack(tmp_path / "in", tmp_path / "scan.zip"))

    np.testing.assert_array_equal(volume.array, PLAN.values())
    assert volume.source.format == "nifti"


def test_messages_speak_of_the_zip(tmp_path: Path) -> None:
    """The temporary folder is nobody's business; choices go on working."""
    for number in (1, 2):
        make_series(tmp_path / "in", Plan(number=number))
    path = pack(tmp_path / "in", tmp_path / "scan.zip")

    with pytest.raises(AmbiguousSeriesError, match=r"2 series in scan\.zip could be meant") as caught:
        read(path)

    assert len(caught.value.choices) == 2
    assert read(path, series=2).name == "MR series 2"
    assert [info.number for info in list_series(path)] == [1, 2]


def several_images(folder: Path) -> None:
    """Write two NIfTI files."""
    for name in ("a.nii", "b.nii"):
        nib.save(nib.Nifti1Image(np.ones((3, 3, 3), np.int16), np.eye(4)), folder / name)


def both_formats(folder: Path) -> None:
    """Write a NIfTI file among DICOM."""
    make_series(folder, PLAN)
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3), np.int16), np.eye(4)), folder / "a.nii")


def notes(folder: Path) -> None:
    """Write neither."""
    (folder / "notes.txt").write_text("no scan")


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (several_images, r"scan\.zip holds 2 image files: a\.nii, b\.nii"),
        (both_formats, r"scan\.zip holds DICOM beside another image file"),
        (notes, r"Folder scan\.zip holds no DICOM file"),
    ],
)
def test_a_zip_without_one_scan_is_refused(tmp_path: Path, fill: Callable[[Path], None], message: str) -> None:
    """Nothing is picked silently."""
    (tmp_path / "in").mkdir()
    fill(tmp_path / "in")

    with pytest.raises(ReadError, match=message):
        read(pack(tmp_path / "in", tmp_path / "scan.zip"))


def entry(name: str, *, mode: int = 0) -> zipfile.ZipInfo:
    """Return the entry of a file, or of a link."""
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (entry("../evil"), "name leads out"),
        (entry("a/../../evil"), "name leads out"),
        (entry("/evil"), "name leads out"),
        (entry("..\\evil"), "name leads out"),
        (entry("C:evil"), "name leads out"),
        (entry("link", mode=stat.S_IFLNK | 0o777), "holds a link"),
    ],
    ids=["up", "down and up", "absolute", "backslash", "drive", "link"],
)
def test_ways_out_of_a_zip_are_refused(tmp_path: Path, temporary: Path, info: zipfile.ZipInfo, reason: str) -> None:
    """Nothing of such an archive is unpacked, wherever the entry stands."""
    make_series(tmp_path / "in", PLAN)
    path = pack(tmp_path / "in", tmp_path / "scan.zip")
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr(info, "/etc/passwd")

    with pytest.raises(ReadError, match=f"Cannot unpack scan.zip: .*{reason}"):
        read(path)

    assert not list(tmp_path.rglob("evil"))
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "limit", "reason"),
    [
        ("MOST_FILES", 4, "holds 5 files, more than 4"),
        ("MOST_BYTES", 1000, r"would unpack to \d+ bytes, more than 1000"),
        ("ALWAYS_BYTES", 1000, r"would unpack to \d+ times its size, more than 200"),
    ],
)
def test_large_archives_are_refused_before_they_are_unpacked(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: int, reason: str
) -> None:
    """Count, size and ratio are checked in the directory of the archive."""
    (tmp_path / "in").mkdir()
    for n in range(5):
        (tmp_path / "in" / str(n)).write_bytes(bytes(1_000_000))
    path = pack(tmp_path / "in", tmp_path / "bomb.zip")
    monkeypatch.setattr(archive, name, limit)

    with pytest.raises(ReadError, match=reason):
        read(path)
    assert list(temporary.iterdir()) == []


def test_a_lying_size_writes_no_more_than_it_promised(tmp_path: Path, temporary: Path) -> None:
    """The directory says a thousand bytes where a million are packed."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(bytes(1_000_000))
    path = pack(tmp_path / "in", tmp_path / "bomb.zip")
    content = path.read_bytes().replace(struct.pack("<I", 1_000_000), struct.pack("<I", 1000))
    path.write_bytes(content)

    with pytest.raises(ReadError, match=r"Cannot unpack bomb\.zip"):
        read(path)
    assert list(temporary.iterdir()) == []


def test_damaged_archives_end_in_one_error(tmp_path: Path, rng: np.random.Generator) -> None:
    """Cut anywhere or changed anywhere: an error, or the scan as it was."""
    make_series(tmp_path / "in", Plan(shape=(7, 6, 2)))
    path = pack(tmp_path / "in", tmp_path / "scan.zip")
    good = path.read_bytes()
    expected = read(path).source.sha256
    for n in range(60):
        content = bytearray(good)
        if n % 2:
            content = content[: rng.integers(1, len(content))]
        else:
            content[rng.integers(0, len(content))] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(content)
        try:
            assert read(path).source.sha256 == expected
        except ReadError:
            continue


def test_unpacking_can_be_cancelled(tmp_path: Path, temporary: Path) -> None:
    """The files written so far go away."""
    make_series(tmp_path / "in", PLAN)
    path = pack(tmp_path / "in", tmp_path / "scan.zip")

    def progress(stage: str, done: int, total: int) -> None:
        del total
        if stage == "Unpacking" and done == 2:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled, match="stopped"):
        read(path, progress=progress)
    assert list(temporary.iterdir()) == []


def dicomdir(folder: Path, names: list[list[str]]) -> Path:
    """Write a DICOMDIR that names files."""
    index = Dataset()
    index.file_meta = FileMetaDataset()
    index.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    index.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    index.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    index.DirectoryRecordSequence = []
    for name in names:
        record = Dataset()
        with config.disable_value_validation():  # names that no good DICOMDIR holds
            record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", name
        index.DirectoryRecordSequence.append(record)
    index.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder / "DICOMDIR"


def test_a_dicomdir_stands_for_its_folder(tmp_path: Path) -> None:
    """Names in either case, as discs are mounted; the index itself is no slice and no damage."""
    make_series(tmp_path, PLAN, names="images/im{}".format)
    path = dicomdir(tmp_path, [["IMAGES", f"IM{k}"] for k in range(5)])

    for given in (path, tmp_path):
        volume = read(given)
        np.testing.assert_array_equal(volume.array, PLAN.values())
        assert volume.source.decisions == ("Left aside: 1 file without DICOM images: DICOMDIR.",)
    assert [info.shape for info in list_series(path)] == [PLAN.shape]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (["images", "im9"], "DICOMDIR names images/im9, which is missing"),
        (["..", "hidden"], r"DICOMDIR names \.\./hidden, which lies outside its folder: refused"),
        (["images", "..", "..", "hidden"], "which lies outside its folder: refused"),
        (["/etc/passwd"], "DICOMDIR names /etc/passwd, which lies outside its folder: refused"),
        (["out", "hidden"], "DICOMDIR names out/hidden, which lies outside its folder: refused"),
    ],
    ids=["missing", "up", "down and up", "absolute", "link"],
)
def test_what_a_dicomdir_names_has_to_be_in_its_folder(tmp_path: Path, name: list[str], message: str) -> None:
    """A missing slice would be missed by nobody, and nothing outside is opened."""
    folder = tmp_path / "disc"
    make_series(folder, PLAN, names="images/im{}".format)
    make_series(tmp_path / "elsewhere", PLAN, names=lambda _: "hidden")
    (folder / "out").symlink_to(tmp_path / "elsewhere")
    path = dicomdir(folder, [["images", "im0"], name])

    for given in (path, folder):
        with pytest.raises(ReadError, match=message):
            read(given)
        listed = [info for info in list_series(given) if not info.readable]
        assert [info.kind for info in listed] == ["damaged file"]
        assert re.search(message, str(listed[0].verdict))


def test_a_dicomdir_in_a_folder_below_speaks_of_its_own_folder(tmp_path: Path) -> None:
    """A disc that was copied into the folder: its names are those beside its index, and told from above."""
    make_series(tmp_path / "disc", PLAN, names="images/im{}".format)
    path = dicomdir(tmp_path / "disc", [["IMAGES", f"IM{k}"] for k in range(5)])
    np.testing.assert_array_equal(read(tmp_path).array, PLAN.values())

    (tmp_path / "disc" / "images" / "im4").unlink()

    with pytest.raises(ReadError, match=r"disc/DICOMDIR names disc/IMAGES/IM4, which is missing\. Copy the whole disc"):
        read(tmp_path)
    path.unlink()
    assert read(tmp_path).grid.shape == (*PLAN.shape[:2], 4)


def test_all_that_a_dicomdir_names_in_vain_is_told_at_once(tmp_path: Path) -> None:
    """Of a disc that was copied in part thousands may be missing: one line for each kind of fault, not file."""
    make_series(tmp_path, PLAN, names="images/im{}".format)
    dicomdir(tmp_path, [["images", f"im{k}"] for k in range(100)] + [["..", "a"], ["..", "b"], ["\x07"], ["x" * 300]])

    reasons = [str(info.verdict) for info in list_series(tmp_path) if not info.readable]

    assert [reason.partition(". Copy")[0] for reason in reasons] == [
        "DICOMDIR names 2 files in a way that cannot be read",
        "DICOMDIR names ../a, ../b, which lie outside its folder: refused",
        "DICOMDIR names images/im5, images/im6, images/im7, images/im8, images/im9 and 90 more, which are missing",
    ]


def test_a_dicomdir_never_leads_to_a_file_in_another_folder_that_was_given(tmp_path: Path) -> None:
    """A name that leads out of the disc is refused, also where it leads to a file that is read anyway."""
    make_series(tmp_path / "scan", PLAN, names="im{}".format)
    (tmp_path / "disc").mkdir()
    dicomdir(tmp_path / "disc", [["..", "scan", "im0"]])

    with pytest.raises(ReadError, match="which lies outside its folder: refused"):
        read(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-20], lambda content: content.replace(b"\x04\x00\x00\x15CS", b"\x04\x00\x00\x15UL", 1)],
    ids=["cut", "a name that is none"],
)
def test_a_dicomdir_whose_records_are_damaged_refuses_its_folder(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """Nobody knows what it named; other files of the folder are still listed."""
    make_series(tmp_path, PLAN, names="images/im{}".format)
    path = dicomdir(tmp_path, [["images", f"im{k}"] for k in range(5)])
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(ReadError, match="DICOMDIR is damaged"):
        read(tmp_path)
    assert [info.readable for info in list_series(tmp_path)] == [True, False]


def test_real_dicomdirs_are_read_as_the_folder_of_their_disc() -> None:
    """Pydicom's own example: a disc with several examinations; its six indices are no damaged slices."""
    path = Path(str(get_testdata_file("DICOMDIR")))

    found = list_series(path)

    assert not any("DICOMDIR" in name for info in found for name in info.files)
    assert {info.description for info in found} >= {"FAST LOCALIZER", "SmartScore - Gated 0.5 sec"}
