from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from dicom_factory import AXIAL, CORONAL, SAGITTAL, Plan, make_enhanced, make_series, make_slice, oblique, voxel_ras
from lesionlens.errors import AmbiguousStackError, Cancelled, IrregularSeriesError, ReadError
from lesionlens.io import list_series, read
from lesionlens.volume import Volume

ORIENTATIONS = {
    "axial": AXIAL,
    "sagittal": SAGITTAL,
    "coronal": CORONAL,
    "axial, columns reversed": (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "prone": (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
    "oblique": oblique((12.0, -7.0, 25.0)),
    "doubly oblique sagittal": oblique((70.0, 35.0, -50.0)),
}

# Positions are written with six decimals and cosines with ten: nothing of the geometry is lost beyond this.
WRITTEN_MM = 1e-5


def assert_in_place(volume: Volume, plan: Plan) -> None:
    """Compare every voxel and the places of all corners with the plan."""
    np.testing.assert_array_equal(volume.array, plan.values())
    ends = [(0, n - 1) for n in plan.shape]
    corners = [voxel_ras(plan, (i, j, k)) for i in ends[0] for j in ends[1] for k in ends[2]]
    np.testing.assert_allclose(volume.grid.corners(), corners, atol=WRITTEN_MM)


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
def test_every_voxel_lies_where_the_standard_puts_it(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    """Array axes are column, row, slice, and the affine is DICOM's formula in RAS, for any way to cut the patient."""
    plan = Plan(orientation=orientation)
    make_series(tmp_path, plan)

    volume = read(tmp_path)

    assert_in_place(volume, plan)
    assert volume.source.verdict.regular
    assert volume.source.verdict.worst_error_mm < WRITTEN_MM


def test_order_comes_from_positions_not_from_names_or_instance_numbers(tmp_path: Path) -> None:
    """Names that sort backwards and instance numbers that count down change nothing."""
    plan = Plan()
    make_series(tmp_path, plan, names=lambda k: f"IM{plan.shape[2] - k:04d}")

    volume = read(tmp_path)

    assert_in_place(volume, plan)
    assert volume.source.files == ("IM0005", "IM0004", "IM0003", "IM0002", "IM0001")


def test_files_are_found_in_nested_folders_and_beside_others(tmp_path: Path) -> None:
    """Scanners export into trees of folders with notes and thumbnails between the images."""
    plan = Plan()
    make_series(tmp_path, plan, names=lambda k: f"{'ABC'[k % 3]}/deep/{k}.ima")
    (tmp_path / "A" / "notes.txt").write_text("a note that is no image")
    (tmp_path / "thumbnail.jpg").write_bytes(b"\xff\xd8\xff\xe0 a picture")

    assert_in_place(read(tmp_path), plan)


def test_files_without_preamble_are_read(tmp_path: Path) -> None:
    """Old exports leave the 128-byte preamble and the file meta information away."""
    plan = Plan(implicit=True)
    for path in make_series(tmp_path, plan):
        dataset = dcmread(path)
        del dataset.file_meta
        dataset.preamble = None
        dataset.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)

    assert path.read_bytes()[:2] == b"\x08\x00"
    assert_in_place(read(tmp_path), plan)


def test_source_says_where_the_volume_came_from(tmp_path: Path) -> None:
    """Results can be traced to files in slice order, without any of the patient's data in between."""
    import hashlib

    paths = make_series(tmp_path, Plan())

    volume = read(tmp_path)

    assert volume.source.format == "dicom"
    assert volume.source.modality == "MR"
    assert volume.source.files == tuple(path.name for path in paths)
    assert volume.source.uids == tuple(str(dcmread(path).SOPInstanceUID) for path in paths)
    assert volume.source.sha256 == hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
    assert volume.name == "MR series 4"
    assert "ecret" not in repr(volume)
    assert "SECRET" not in repr(volume)


def test_source_hash_depends_on_every_file(tmp_path: Path) -> None:
    """A single changed pixel gives another hash."""
    paths = make_series(tmp_path, Plan())
    before = read(tmp_path).source.sha256
    content = bytearray(paths[2].read_bytes())
    content[-1] ^= 1
    paths[2].write_bytes(content)

    assert read(tmp_path).source.sha256 != before


def test_a_scan_without_a_frame_of_reference_is_read(tmp_path: Path) -> None:
    """Usual in anonymised data; where one file alone lacks it, the files are not of one piece."""

    def without(dataset: Dataset, k: int) -> None:
        del dataset.FrameOfReferenceUID

    plan = Plan(orientation=oblique((12.0, -7.0, 25.0)))
    paths = make_series(tmp_path, replace(plan, change=without))

    volume = read(tmp_path)

    np.testing.assert_array_equal(volume.array, plan.values())
    np.testing.assert_allclose(volume.grid.world((6, 5, 4)), voxel_ras(plan, (6, 5, 4)), atol=1e-5)
    assert (volume.source.frame_of_reference, volume.source.verdict.regular) == ("", True)

    make_slice(plan, 2).save_as(paths[2], enforce_file_format=True)
    with pytest.raises(IrregularSeriesError, match="different frames of reference"):
        read(tmp_path)


@pytest.mark.parametrize("decimals", [1, 2, 4])
def test_positions_rounded_by_the_scanner_are_accepted(tmp_path: Path, decimals: int) -> None:
    """Positions with few decimals are rounding, not irregularity; the remaining error is reported."""
    make_series(tmp_path, Plan(orientation=oblique((3.0, 2.0, 1.0)), decimals=decimals, spacing=(0.8, 1.1, 3.3)))

    verdict = read(tmp_path).source.verdict

    assert verdict.regular
    # Each coordinate is off by half a unit of the last decimal at most, at the slice and at both ends of the line.
    assert 0 < verdict.worst_error_mm <= 2 * np.sqrt(3) * 0.5 * 10.0**-decimals


def test_a_file_stands_for_its_series_among_the_files_beside_it(tmp_path: Path) -> None:
    """Opening one image of a folder with two series reads the series that the image belongs to."""
    wanted = Plan(number=7, description="wanted")
    make_series(tmp_path, Plan(number=3, description="other", origin=(0.0, 0.0, 0.0)))
    paths = make_series(tmp_path, wanted)

    volume = read(paths[1])

    assert_in_place(volume, wanted)
    assert volume.source.decisions == (
        f"{paths[1].name} was read with 4 other files of its series beside it.",
        "Left aside: 5 files of other series.",
    )


def test_a_file_of_another_series_than_asked_for_is_refused(tmp_path: Path) -> None:
    """A series given beside a file must be the file's own."""
    path = make_series(tmp_path, Plan(number=7))[0]

    with pytest.raises(ReadError, match=r"no series '8'; choose one of: 7 'FLAIR'"):
        read(path, series=8)
    assert read(path, series="7").name == "MR series 7"


@pytest.mark.parametrize("shared", [True, False], ids=["shared groups", "groups in each frame"])
def test_enhanced_frames_are_placed_like_classic_slices(tmp_path: Path, shared: bool) -> None:
    """One multi-frame file gives the same volume as the classic series, whatever the order of its frames."""
    plan = Plan(orientation=oblique((12.0, -7.0, 25.0)))
    make_enhanced(tmp_path / "all.dcm", plan, order=[3, 0, 4, 1, 2], shared=shared)

    volume = read(tmp_path)

    assert_in_place(volume, plan)
    assert volume.source.files == ("all.dcm",)
    assert len(volume.source.uids) == 1


def test_a_multi_frame_file_is_read_alone(tmp_path: Path) -> None:
    """A multi-frame file is a volume of its own, so the files of its series beside it do not matter."""
    plan = Plan(number=9)
    make_enhanced(tmp_path / "a.dcm", plan)
    make_enhanced(tmp_path / "b.dcm", replace(plan, origin=(0.0, 0.0, 500.0)))

    volume = read(tmp_path / "a.dcm")

    assert_in_place(volume, plan)
    assert volume.source.decisions == ("a.dcm was read alone, as it holds several images.",)


def test_frames_without_description_are_refused(tmp_path: Path) -> None:
    """A file that promises more frames than it describes cannot be placed."""
    make_enhanced(tmp_path / "all.dcm", Plan())
    dataset = dcmread(tmp_path / "all.dcm")
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:3]
    dataset.save_as(tmp_path / "all.dcm")

    with pytest.raises(ReadError, match=r"all\.dcm is damaged: it promises 5 frames but describes 3"):
        read(tmp_path)


def test_two_slices_are_read_with_a_remark(tmp_path: Path) -> None:
    """Two slices lie on a grid, but nobody can tell whether one is missing between them."""
    plan = Plan(shape=(7, 6, 2))
    make_series(tmp_path, plan)

    volume = read(tmp_path)

    assert_in_place(volume, plan)
    assert volume.source.decisions == ("Two slices only: whether one is missing between them cannot be checked.",)


def test_copies_of_a_file_are_left_out(tmp_path: Path) -> None:
    """The same image twice, as folders merged by hand have it, is one slice."""
    plan = Plan()
    make_series(tmp_path / "a", plan)
    make_series(tmp_path / "b", replace(plan, shape=(7, 6, 5)))

    volume = read(tmp_path)

    assert_in_place(volume, plan)
    assert volume.source.decisions == ("Left out: 5 files with the same SOPInstanceUID and place as another.",)


def test_a_copy_with_other_pixels_is_refused(tmp_path: Path) -> None:
    """One of the two was damaged or changed, and the name that sorts first says nothing about which."""
    first, *_ = make_series(tmp_path, names="slice-{}".format)
    dataset = dcmread(first)
    pixels = bytearray(dataset.PixelData)
    pixels[-2] ^= 1
    dataset.PixelData = bytes(pixels)
    dataset.save_as(tmp_path / "again")

    with pytest.raises(ReadError, match="again and slice-0 have the same SOPInstanceUID and place but hold different"):
        read(tmp_path)


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_a_copy_with_another_scale_is_refused(tmp_path: Path, keyword: str) -> None:
    """The same stored values mean something else then."""
    first, *_ = make_series(tmp_path, names="slice-{}".format)
    dataset = dcmread(first)
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    setattr(dataset, keyword, 2)
    dataset.save_as(tmp_path / "again")

    with pytest.raises(ReadError, match="again and slice-0 have the same SOPInstanceUID"):
        read(tmp_path)


def test_a_copy_in_another_transfer_syntax_is_left_out(tmp_path: Path) -> None:
    """An archive may have compressed one of two copies: the values count, not the bytes."""
    plan = Plan()
    first, *_ = make_series(tmp_path, plan, names="slice-{}".format)
    dataset = dcmread(first)
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(tmp_path / "again")

    assert_in_place(read(tmp_path), plan)


def test_equal_uids_with_different_echoes_are_no_copies(tmp_path: Path) -> None:
    """Where de-identification gave two echoes the same UIDs, none of them may be dropped: which is meant is asked."""
    for echo in (1, 2):
        plan = Plan(volume=echo, change=lambda dataset, _, echo=echo: echo_of(dataset, echo))
        make_series(tmp_path / str(echo), plan)

    with pytest.raises(AmbiguousStackError, match=r"holds 2 volumes.*'echo time 10 ms', 1 'echo time 20 ms'"):
        read(tmp_path)
    np.testing.assert_array_equal(read(tmp_path, stack=1).array, plan.values())


def echo_of(dataset: Dataset, echo: int) -> None:
    """Give an image its echo time, and the UID of its volume."""
    dataset.EchoTime, dataset.SOPInstanceUID = 10 * echo, "1.2.3"


def test_equal_uids_at_different_places_are_no_copies(tmp_path: Path) -> None:
    """Some de-identification gives every file the same UID; none of the slices may be dropped for that."""
    plan = Plan(change=lambda dataset, _: setattr(dataset, "SOPInstanceUID", "1.2.3"))
    make_series(tmp_path, plan)

    assert_in_place(read(tmp_path), plan)


def test_list_series_describes_without_reading_pixels(tmp_path: Path) -> None:
    """The list gives grid, orientation and verdict of each series; pixel data may even be too short."""
    make_series(tmp_path / "a", Plan(number=2, description="sag", orientation=SAGITTAL))
    make_series(tmp_path / "b", Plan(number=1, change=lambda dataset, _: setattr(dataset, "PixelData", b"12")))

    first, second = list_series(tmp_path)

    assert (first.number, first.description, first.modality, first.n_slices) == (1, "FLAIR", "MR", 5)
    assert first.axcodes == "LPS"
    assert second.axcodes == "PIR"
    assert second.shape == (7, 6, 5)
    np.testing.assert_allclose(second.spacing_mm, (0.8, 1.1, 2.5), atol=WRITTEN_MM)
    assert second.readable
    assert second.format == "dicom"
    assert len(second.files) == 5


def test_list_series_of_a_file_describes_what_read_would_read(tmp_path: Path) -> None:
    """Listing a file and reading it speak of the same series."""
    make_series(tmp_path, Plan(number=3, description="other", origin=(0.0, 0.0, 0.0)))
    path = make_series(tmp_path, Plan(number=7))[0]

    (info,) = list_series(path)

    assert info.number == 7
    assert info.uid == Plan(number=7).series_uid


def test_progress_can_cancel(tmp_path: Path) -> None:
    """Raising Cancelled from the callback stops the reading and comes out unchanged."""
    make_series(tmp_path, Plan())
    seen: list[tuple[str, int, int]] = []

    def progress(stage: str, done: int, total: int) -> None:
        seen.append((stage, done, total))
        if stage == "Reading slices" and done == 2:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled, match="stopped"):
        read(tmp_path, progress=progress)
    assert seen[0] == ("Reading headers", 0, 5)
    assert seen[-1] == ("Reading slices", 2, 5)
