"""A slice that was lost on the way is never left out: it would be missed by nobody at the end of a stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, RLELossless

from dicom_factory import Plan, make_enhanced, make_series, make_slice
from lesionlens.errors import ReadError
from lesionlens.io import list_series, read
from lesionlens.volume import Volume

PLAN = Plan(shape=(7, 6, 3))
FEW_BYTES = 16


def plain(folder: Path) -> list[Path]:
    """Write files with explicit value representations."""
    return make_series(folder, PLAN)


def implicit(folder: Path) -> list[Path]:
    """Write files without value representations, whose lengths are of another size."""
    return make_series(folder, replace(PLAN, implicit=True))


def compressed(folder: Path) -> list[Path]:
    """Write files whose pixel data has no length of its own."""
    paths = make_series(folder, PLAN)
    for path in paths:
        dataset = dcmread(path)
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(path)
    return paths


def without_preamble(folder: Path) -> list[Path]:
    """Write files as they were before there was a file format: nothing but the data set."""
    paths = make_series(folder, PLAN, names="IM{:04d}".format)
    for path in paths:
        content = path.read_bytes()
        path.write_bytes(content[content.index(b"\x08\x00\x08\x00CS") :])
    return paths


def outcome(folder: Path) -> tuple[str, Volume | None]:
    """Return the refusal or the volume."""
    try:
        return "", read(folder)
    except ReadError as error:
        return str(error), None


KINDS = [plain, implicit, compressed, without_preamble]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("which", [0, -1], ids=["first", "last"])
def test_a_slice_cut_anywhere_is_an_error_or_the_full_volume(
    tmp_path: Path, kind: Callable[[Path], list[Path]], which: int
) -> None:
    """Interrupted copies end at any byte; a shorter volume must never come of it."""
    end = kind(tmp_path)[which]
    content, full = end.read_bytes(), read(tmp_path)

    for length in [*range(0, len(content), FEW_BYTES), *range(124, 140)]:
        end.write_bytes(content[:length])
        message, volume = outcome(tmp_path)
        if volume is None:
            assert end.name in message, f"cut at {length}: {message}"
        else:
            assert length > len(content) - 3 * FEW_BYTES, f"cut at {length}"
            assert volume.grid.same_as(full.grid), f"cut at {length}"
            np.testing.assert_array_equal(volume.array, full.array)


def test_a_cut_enhanced_file_beside_a_scan_is_an_error(tmp_path: Path) -> None:
    """What its frames were is not known, so the scan beside it may not be the one that is meant."""
    make_series(tmp_path, PLAN)
    make_enhanced(tmp_path / "all", replace(PLAN, number=9, uid="1.2.9"))
    content = (tmp_path / "all").read_bytes()

    for length in range(0, len(content), 8 * FEW_BYTES):
        (tmp_path / "all").write_bytes(content[:length])
        with pytest.raises(ReadError, match=r"all|2 series"):
            read(tmp_path)


LOST: dict[str, tuple[str, bytes, str]] = {
    "empty": ("whatever", b"", "whatever may be a damaged slice: it is empty"),
    "blank": ("whatever", bytes(5000), "whatever may be a damaged slice: it begins with 128 zeros"),
    "cut in the preamble": ("whatever", bytes(90), "whatever may be a damaged slice: it begins with 90 zeros"),
    "with the suffix of DICOM": ("x.DCM", b"no image at all " * 20, "x.DCM may be a damaged slice: it is named"),
    "named like the others": ("slice-17", b"no image at all " * 20, "slice-17 may be a damaged slice: it is named"),
}


@pytest.mark.parametrize(("name", "content", "message"), LOST.values(), ids=LOST.keys())
def test_what_may_have_been_a_slice_is_refused_and_listed(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    """Disks fail by blanking files, programs by leaving them empty."""
    make_series(tmp_path, names="slice-{}".format)
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ReadError, match=f"{message}.*take it out of the folder") as caught:
        read(tmp_path)

    assert str(caught.value) in [str(info.verdict) for info in list_series(tmp_path)]


def test_a_slice_is_refused_for_a_damaged_one_beside_it(tmp_path: Path) -> None:
    """One file stands for its series: the same holds for the files beside it."""
    first, *_, last = make_series(tmp_path)
    last.write_bytes(b"")

    with pytest.raises(ReadError, match=f"{last.name} may be a damaged slice: it is empty"):
        read(first)


OTHERS = {
    "README": b"how to open this disc",
    ".DS_Store": bytes(200),
    "._slice-1": b"\0\5\x16\7 a Mac's",
    "a.txt": b"x",
}


def test_files_that_are_no_slices_are_left_aside_by_name(tmp_path: Path) -> None:
    """Discs carry notes and viewers; a reader who misses a slice finds their names on record."""
    (first, *_) = make_series(tmp_path, names="slice-{}".format)
    for name, content in OTHERS.items():
        (tmp_path / name).write_bytes(content)

    volume = read(tmp_path)

    assert volume.grid.shape == Plan().shape
    sentence = "Left aside: 4 files without DICOM images: .DS_Store, ._slice-1, README, a.txt."
    assert volume.source.decisions == (sentence,)
    assert sentence in read(first).source.decisions


def test_links_to_folders_are_said(tmp_path: Path) -> None:
    """Half of a scan may lie behind one; those that lead to each other or back are no trap."""
    paths = make_series(tmp_path / "scan")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in paths[3:]:
        path.rename(elsewhere / path.name)
    for name, target in (("more", elsewhere), ("back", tmp_path / "scan"), ("loop", Path("loop"))):
        (tmp_path / "scan" / name).symlink_to(target)

    volume = read(tmp_path / "scan")

    assert volume.grid.shape[2] == 3
    assert volume.source.decisions == (
        "Left aside: 1 file without DICOM images: loop.",
        "Left aside: 2 links to folders, which are not followed: back/, more/.",
    )


def test_empty_files_alone_are_no_damaged_scan(tmp_path: Path) -> None:
    """Where nothing is DICOM, nothing says that it should have been."""
    (tmp_path / "a").touch()

    with pytest.raises(ReadError, match="holds no DICOM file among its 1 file"):
        read(tmp_path)


def test_a_report_without_an_image_is_no_damage(tmp_path: Path) -> None:
    """Only classes that hold images must have rows and columns."""
    make_series(tmp_path)
    report = make_slice(Plan(number=9, uid="1.2.9", sop_class=BasicTextSRStorage), 0)
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(report, keyword)
    report.save_as(tmp_path / "report", enforce_file_format=True)

    assert read(tmp_path).grid.shape == Plan().shape


INCOMPLETE = {
    "Rows": "it is of class MR Image Storage but has no Rows",
    "Columns": "it is of class MR Image Storage but has no Columns",
    "SeriesInstanceUID": "it has no usable SeriesInstanceUID",
    "ImagePositionPatient": "has no usable ImagePositionPatient",
    "PixelData": "it is of class MR Image Storage but has no pixels",
}


@pytest.mark.parametrize(("keyword", "message"), INCOMPLETE.items())
def test_an_image_without_what_places_it_is_refused(tmp_path: Path, keyword: str, message: str) -> None:
    """An end slice that lost one of these would otherwise count as something else than a slice."""

    def lose(dataset: Dataset, k: int) -> None:
        if k == 4:
            delattr(dataset, keyword)

    *_, last = make_series(tmp_path, Plan(change=lose))

    with pytest.raises(ReadError, match=f"{last.name} .*{message}|{last.name} {message}"):
        read(tmp_path)
