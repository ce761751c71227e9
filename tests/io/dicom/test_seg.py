"""DICOM segmentations: what highdicom reads, and what the formula of the standard says."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from damage import QUICK, mutated
from dicom_factory import AXIAL, CORONAL, SAGITTAL, oblique
from lesionlens.errors import ReadError
from lesionlens.io.dicom.seg import read_segmentation
from lesionlens.io.overlay import ForeignMap
from seg_factory import ORIGIN, SHAPE, SPACING, blob, make_seg, segment

# Positions of the factory have six decimals.
ROUNDED_MM = 1e-5


def fractions(path: Path) -> ForeignMap:
    """Return the only map of a file."""
    (found,) = read_segmentation(path)
    return found


@pytest.mark.parametrize(
    "orientation",
    [AXIAL, SAGITTAL, CORONAL, oblique((20.0, -35.0, 10.0))],
    ids=["axial", "sagittal", "coronal", "tilt"],
)
def test_every_voxel_lies_where_the_formula_says(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    """PS3.3 C.7.6.2.1.1, term by term, for planes in any order of the file."""
    planes = {k: blob(seed=k) for k in (2, 0, 1)}
    path = make_seg(tmp_path / "seg", [(1, k, plane) for k, plane in planes.items()], orientation=orientation)

    found = fractions(path)

    grid, row, column = found.volume.grid, np.array(orientation[:3]), np.array(orientation[3:])
    for k, plane in planes.items():
        np.testing.assert_array_equal(found.volume.array[:, :, k], plane)
        for i, j in ((0, 0), (6, 0), (0, 5), (6, 5)):
            lps = ORIGIN + k * 2.5 * np.cross(row, column) + i * SPACING[0] * row + j * SPACING[1] * column
            np.testing.assert_allclose(grid.world((i, j, k)), lps * [-1, -1, 1], atol=ROUNDED_MM)


@pytest.mark.parametrize("shape", [(6, 5), (7, 3), (5, 5), (3, 1), (8, 8), (1, 9)])
def test_frames_of_single_bits_begin_anywhere_in_a_byte(tmp_path: Path, shape: tuple[int, int]) -> None:
    """The standard packs all frames into one run of bits, whatever their size; none is shifted into its neighbour."""
    rng = np.random.default_rng(0)
    planes = [rng.integers(0, 2, shape) for _ in range(5)]
    for plane in planes:
        plane[0, 0] = 1  # a plane without marks would not be in the file
    path = make_seg(tmp_path / "seg", [(1, k, plane) for k, plane in enumerate(planes)])

    found = fractions(path)

    np.testing.assert_array_equal(found.volume.array, np.stack(planes, axis=2))


def test_planes_without_marks_are_empty(tmp_path: Path) -> None:
    """Writers leave out planes on which nothing is marked; the gap must neither close nor be refused."""
    path = make_seg(tmp_path / "seg", [(1, 1, blob(seed=1)), (1, 3, blob(seed=3)), (1, 9, blob(seed=9))])

    found = fractions(path)

    assert found.volume.grid.shape == (*SHAPE, 9)
    np.testing.assert_array_equal(np.flatnonzero(found.volume.array.any(axis=(0, 1))), [0, 2, 8])
    assert found.volume.grid.spacing_mm[2] == pytest.approx(2.5, abs=ROUNDED_MM)


def test_segments_that_overlap_get_maps_of_their_own(tmp_path: Path) -> None:
    """No voxel of any segment is lost, and segments that leave each other room share a map."""
    left, right = np.zeros(SHAPE, int), np.zeros(SHAPE, int)
    left[:3], right[3:] = 1, 1
    path = make_seg(tmp_path / "seg", [(1, 0, left), (2, 0, np.ones(SHAPE, int)), (5, 0, right)])

    first, second = read_segmentation(path)

    np.testing.assert_array_equal(first.volume.array[:, :, 0], left + 5 * right)
    np.testing.assert_array_equal(second.volume.array[:, :, 0], np.full(SHAPE, 2))
    assert (first.names, second.names) == ({1: "organ 1", 5: "organ 5"}, {2: "organ 2"})
    assert first.label == "organ 1, organ 5"


@pytest.mark.parametrize("syntax", ["plain", "rle"])
def test_fractions_are_scaled_by_their_maximum(tmp_path: Path, syntax: str) -> None:
    """The stored 200 of the file means 1."""
    plane = blob(seed=5, highest=200)
    path = make_seg(tmp_path / "seg", [(1, 0, plane), (1, 1, plane // 2)], kind="FRACTIONAL")
    if syntax == "rle":
        dataset = dcmread(path)
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(path)

    found = fractions(path)

    assert (found.kind, found.label, found.volume.unit) == ("probability", "organ 1", "probability")
    np.testing.assert_array_equal(found.volume.array[:, :, 0], plane.astype(np.float32) / np.float32(200))


def test_a_label_map_keeps_its_numbers(tmp_path: Path) -> None:
    """The newer kind of segmentation holds all segments in one frame."""

    def as_labels(dataset: Dataset) -> None:
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.7"
        dataset.SegmentSequence = [segment(number) for number in (0, 3, 7)]  # 0 may be named: the background

    plane = np.where(blob(seed=2), 7, 3)
    path = make_seg(tmp_path / "seg", [(1, 0, plane)], kind="LABELMAP", change=as_labels)

    found = fractions(path)

    np.testing.assert_array_equal(found.volume.array[:, :, 0], plane)
    assert found.names == {3: "organ 3", 7: "organ 7"}


def beside(*mm: float) -> NDArray[np.float64]:
    """Return the place at a distance from the origin."""
    return ORIGIN + np.array(mm)


def drop(keyword: str) -> Callable[[Dataset], None]:
    """Return a change that takes an attribute away."""
    return lambda dataset: delattr(dataset, keyword)


def change_of(keyword: str, value: object) -> Callable[[Dataset], None]:
    """Return a change that sets an attribute."""
    return lambda dataset: setattr(dataset, keyword, value)


def move(frame: int, position: Sequence[float]) -> Callable[[Dataset], None]:
    """Return a change that moves a frame."""

    def change(dataset: Dataset) -> None:
        dataset.PerFrameFunctionalGroupsSequence[frame].PlanePositionSequence[0].ImagePositionPatient = list(position)

    return change


def without_thickness(dataset: Dataset) -> None:
    """Make one plane of unknown thickness."""
    del dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
    for index in (1, 2):
        move(index, ORIGIN)(dataset)


def far_away(dataset: Dataset) -> None:
    """Move a frame of a usual size nearly a kilometre away."""
    dataset.Rows = dataset.Columns = 512
    move(2, beside(0, 0, 9e5))(dataset)


def bent(dataset: Dataset) -> None:
    """Turn the direction of rows onto that of columns."""
    dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 1, 0, 0]


BAD: dict[str, tuple[Callable[[Dataset], None], str]] = {
    "another object": (
        change_of("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"),
        "Expected a DICOM segmentation.*CT Image",
    ),
    "no kind": (drop("SegmentationType"), "Expected a binary, fractional or label segmentation in seg; found ''"),
    "leaning by 1.7 degrees": (move(2, beside(0.15, 0, 5.0)), r"one regular, upright grid: one is 0\.15 mm off"),
    "leaning": (move(2, beside(1.0, 0, 5.0)), "not lie on one regular, upright grid: one is 1 mm off"),
    "between planes": (move(2, beside(0, 0, 4.0)), "not lie on one regular, upright grid"),
    "twice on one plane": (move(2, ORIGIN), "seg marks segment 1 twice on one plane"),
    "far away": (far_away, r"would make a volume of shape \(512, 512, 360001\)"),
    "beyond a kilometre": (move(2, beside(0, 0, 2.5e9)), "do not say where they lie in "),
    "nowhere": (lambda d: d.PerFrameFunctionalGroupsSequence[0].clear(), "do not say where they lie|Cannot read seg"),
    "rows along columns": (bent, "Rows and columns of seg are not at right angles"),
    "one plane of no thickness": (without_thickness, "marks a single plane and does not say how thick it is"),
    "too few groups": (change_of("NumberOfFrames", 4), "promises 4 frames but describes 3"),
    "cut pixels": (change_of("PixelData", bytes(4)), "pixel data of seg .* is damaged"),
    "no pixels": (drop("PixelData"), "seg"),
    "no segments": (drop("SegmentSequence"), "Cannot read seg: .*SegmentSequence.* Export the segmentation again"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_segmentation_is_refused_in_one_sentence(
    tmp_path: Path, change: Callable[[Dataset], None], message: str
) -> None:
    """Never a map at a wrong place, never another exception."""
    path = make_seg(tmp_path / "seg", [(1, k, blob(seed=k)) for k in range(3)], change=change)

    with pytest.raises(ReadError, match=message) as error:
        read_segmentation(path)

    assert "\n" not in str(error.value)
    assert "ecret" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "message"), [(None, "does not say which value means 1"), (100, "more than its own maximum of 100")]
)
def test_fractions_need_their_maximum(tmp_path: Path, value: int | None, message: str) -> None:
    """Without it nobody knows what a stored value means."""
    frames = [(1, 0, blob(seed=5, highest=200))]
    path = make_seg(tmp_path / "seg", frames, kind="FRACTIONAL", change=change_of("MaximumFractionalValue", value))

    with pytest.raises(ReadError, match=message):
        read_segmentation(path)


def test_occupancy_is_called_by_its_name(tmp_path: Path) -> None:
    """A part of a voxel is no probability."""
    frames = [(1, 0, blob(seed=5, highest=200))]
    change = change_of("SegmentationFractionalType", "OCCUPANCY")

    found = fractions(make_seg(tmp_path / "seg", frames, kind="FRACTIONAL", change=change))

    assert found.notes == ("The values are the part of each voxel that the segment takes up, not a probability.",)


def test_gaps_between_thin_planes_are_said(tmp_path: Path) -> None:
    """Where the file does not say how far planes are apart, those left out cannot be told from those never cut."""

    def thin(dataset: Dataset) -> None:
        measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        del measures.SpacingBetweenSlices
        measures.SliceThickness = 1.25

    found = fractions(make_seg(tmp_path / "seg", [(1, k, blob(seed=k)) for k in range(3)], change=thin))

    assert found.notes == ("Planes of 1.25 mm lie 2.5 mm apart; what lies between counts to the nearest plane.",)


NAMES = ("binary", "binary_overlap", "binary_fractional", "true_fractional")


@pytest.mark.parametrize("name", NAMES)
def test_highdicom_finds_the_same_voxels(shared_data: Path, name: str) -> None:
    """An independent reader agrees on every segment, value and place."""
    hd = pytest.importorskip("highdicom")
    path = shared_data / "dicom_seg" / f"seg_image_ct_{name}.dcm"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, about old files
        theirs = hd.seg.segread(path)
        volumes = {n: theirs.get_volume(segment_numbers=[n]) for n in theirs.segment_numbers}

    found = read_segmentation(path)

    for number, volume in volumes.items():
        one = next(m for m in found if number in m.names or m.kind == "probability")
        mine = one.volume.array == number if one.kind == "mask" else one.volume.array
        for kji in np.argwhere(volume.array[..., 0] >= 0)[::7]:
            ras = (volume.affine @ [*kji, 1])[:3] * [-1, -1, 1]
            ijk = one.volume.grid.voxel(ras)
            np.testing.assert_allclose(ijk, np.rint(ijk), atol=1e-3)
            assert mine[tuple(np.rint(ijk).astype(int))] == volume.array[(*kji, 0)]
        assert mine.sum() == pytest.approx(volume.array.sum(), rel=1e-6)
        label = theirs.get_segment_description(number).segment_label
        assert label in (one.label, one.names.get(number))


@settings(QUICK, max_examples=80)
@given(changes=st.lists(st.tuples(st.integers(128, 1500), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_segmentations_end_in_a_refusal_or_maps(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    """Any bytes may be wrong; no other exception ever comes out, and no name of a patient."""
    path = make_seg(tmp_path / "seg", [(1, k, blob(seed=k)) for k in range(3)])
    path.write_bytes(mutated(path.read_bytes(), changes))
    message = ""

    try:
        found = read_segmentation(path)
    except ReadError as error:
        message = str(error)
    else:
        assert all(np.isfinite(one.volume.array).all() for one in found)

    assert "\n" not in message
    assert "ecret" not in message
