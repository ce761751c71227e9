"""Masks and maps from elsewhere: the same grid, other grids, other spaces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from pydicom import dcmread

import lesionlens as ll
from dicom_factory import make_series
from lesionlens.errors import OtherFrameError, ReadError
from lesionlens.io import read_overlay, write, write_labels
from lesionlens.report.table import region_rows
from lesionlens.volume import Grid, Source, Volume
from orientations import ORIENTATIONS, Orientation, oblique, reoriented
from seg_factory import blob, make_seg

GRID = oblique((14, 12, 10), (1.0, 1.2, 2.0))
SCAN = Volume(np.arange(GRID.n_voxels, dtype=np.float32).reshape(GRID.shape), GRID, name="scan")
LABELS = np.zeros(GRID.shape, np.uint8)
LABELS[3:6, 4:9, 2:5], LABELS[9:12, 2:4, 6:9] = 1, 2


def saved(folder: Path, values: NDArray, grid: Grid = GRID, name: str = "map.nii.gz") -> Path:
    """Write an array on a grid."""
    return write(Volume(values, grid, name="map"), folder / name)


def test_a_mask_on_the_grid_is_taken_as_it_is(tmp_path: Path) -> None:
    """Nothing is resampled, and nothing is said about it."""
    (mask,) = read_overlay(saved(tmp_path, LABELS), SCAN)

    assert isinstance(mask, ll.LabelMap)
    np.testing.assert_array_equal(mask.array, LABELS)
    assert mask.grid is SCAN.grid
    assert mask.label == "map"
    assert mask.provenance.notes == ()
    assert mask.provenance.options["file"] == "map.nii.gz"


def test_the_difference_of_two_runs_is_known_by_its_name(tmp_path: Path) -> None:
    """Its values below 0 say as much as those above, and must be shown."""
    path = saved(tmp_path, LABELS.astype(np.float32) - 1, name="difference_probability-lesion.nii.gz")

    (found,) = read_overlay(path, SCAN)

    assert isinstance(found, ll.Heatmap)
    assert (found.kind, found.signed) == ("difference", True)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_lands_on_the_same_voxels(tmp_path: Path, orientation: Orientation) -> None:
    """A mask in another axis order is exact after resampling: its voxel centres are the scan's."""
    values, grid = reoriented(LABELS, GRID, orientation)

    (mask,) = read_overlay(write_labels(values, grid, tmp_path / "mask.nii"), SCAN)

    np.testing.assert_array_equal(mask.array, LABELS)


def test_a_blob_on_another_grid_lands_at_its_place_in_the_world(tmp_path: Path) -> None:
    """A ball at a known point in mm, marked on a finer, turned grid, is the same ball on the scan's grid."""
    centre, radius = GRID.world((7, 6, 5)), 5.0
    fine = Grid((60, 60, 60), np.array([[0, -0.5, 0, 0], [0.5, 0, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 1.0]]))
    fine = Grid(
        fine.shape, np.block([[fine.affine[:3, :3], (centre - fine.world((30, 30, 30)))[:, None]], [0, 0, 0, 1]])
    )

    def ball(grid: Grid) -> NDArray[np.float64]:
        places = apply_affine(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1))
        return np.linalg.norm(places - centre, axis=-1)

    (mask,) = read_overlay(write_labels((ball(fine) <= radius).astype(np.uint8), fine, tmp_path / "ball.nii"), SCAN)

    distance = ball(GRID)
    # A voxel of the fine grid reaches 0.43 mm from its centre: beyond that from the surface, nearest is exact.
    sure = np.abs(distance - radius) > 0.5
    np.testing.assert_array_equal(mask.array[sure], distance[sure] <= radius)
    assert "Resampled (nearest voxel) from 60 x 60 x 60 voxels of 0.5 x 0.5 x 0.5 mm" in mask.provenance.notes[1]
    assert mask.provenance.notes[2].startswith("Marked before: 0.52")


def test_a_probability_map_is_interpolated_as_simpleitk_does(tmp_path: Path, rng: np.random.Generator) -> None:
    """Trilinear through both affines, against an independent resampler, where neither is beyond the map's centres."""
    other = oblique((20, 22, 24), (0.9, 1.0, 1.1), degrees=12.0)
    path = saved(tmp_path, rng.random(other.shape).astype(np.float32), other)
    write(SCAN, tmp_path / "scan.nii")
    images = [SimpleITK.ReadImage(str(p), SimpleITK.sitkFloat64) for p in (path, tmp_path / "scan.nii")]
    theirs = SimpleITK.Resample(images[0], images[1], SimpleITK.Transform(), SimpleITK.sitkLinear, -1.0)
    expected = SimpleITK.GetArrayFromImage(theirs).transpose(2, 1, 0)
    index = other.voxel(GRID.world(np.moveaxis(np.indices(GRID.shape), 0, -1)))
    inside = np.all((index >= 0) & (index <= np.array(other.shape) - 1), axis=-1)

    (heatmap,) = read_overlay(path, SCAN)

    assert heatmap.kind == "probability"
    assert inside.sum() > 500
    np.testing.assert_allclose(heatmap.array[inside], expected[inside], atol=2e-6)  # single precision in between


def test_beyond_its_own_grid_a_map_is_zero_and_its_share_is_said(tmp_path: Path) -> None:
    """Half a map is not a whole one."""
    half = Grid((7, 12, 10), GRID.affine)

    (heatmap,) = read_overlay(saved(tmp_path, np.full(half.shape, 0.25, np.float32), half), SCAN)

    np.testing.assert_array_equal(heatmap.array[:7], np.float32(0.25))
    np.testing.assert_array_equal(heatmap.array[7:], 0)
    assert heatmap.provenance.notes[-1].endswith("covers 50% of the scan.")


def test_a_map_that_lies_nowhere_on_the_scan_is_refused(tmp_path: Path) -> None:
    """An empty overlay would say that there is nothing to see."""
    far = Grid(GRID.shape, GRID.affine + np.array([[0, 0, 0, 500.0], *[[0] * 4] * 3]))

    with pytest.raises(ReadError, match=r"map\.nii\.gz lies nowhere on the scan 'scan': their grids do not overlap"):
        read_overlay(saved(tmp_path, LABELS, far), SCAN)


FLOATS = LABELS.astype(np.float32)

KINDS: dict[str, tuple[NDArray, str | None, str]] = {
    "small integers": (LABELS, None, "mask"),
    "whole floats": (FLOATS, None, "mask"),
    "fractions": (FLOATS / 2, None, "probability"),
    "zeros and ones said to be probabilities": (np.minimum(FLOATS, 1), "probability", "probability"),
    "signed values said to be an attribution": (FLOATS - 1, "attribution", "attribution"),
}


@pytest.mark.parametrize(("values", "said", "kind"), KINDS.values(), ids=KINDS.keys())
def test_the_kind_is_said_or_seen(tmp_path: Path, values: NDArray, said: str | None, kind: str) -> None:
    """Whole numbers are labels, fractions probabilities, and the user has the last word."""
    (found,) = read_overlay(saved(tmp_path, values), SCAN, kind=said, label="lesion")

    assert (found.kind, found.label) == (kind, "lesion")
    np.testing.assert_array_equal(found.array, values)


NO_MAPS: dict[str, tuple[NDArray, str | None, str]] = {
    "a scan": (SCAN.array.astype(np.int16), None, "found more than 1024 different numbers, as a scan has them"),
    "signed values": (FLOATS - 1.5, None, r"found values from -1\.5 to 0\.5\. Say by kind= what it holds"),
    "negative labels": (LABELS.astype(np.int16) - 1, None, "found values from -1 to 1"),
    "fractions as a mask": (FLOATS / 2, "mask", "Expected a mask in .* found float32 from 0 to 1"),
    "labels beyond single precision": (LABELS.astype(np.int32) * 2**24, None, r"0 to 16,777,216; found uint32"),
}


@pytest.mark.parametrize(("values", "said", "message"), NO_MAPS.values(), ids=NO_MAPS.keys())
def test_what_is_no_map_is_refused(tmp_path: Path, values: NDArray, said: str | None, message: str) -> None:
    """Dropping the wrong file is the commonest mistake."""
    with pytest.raises(ReadError, match=message):
        read_overlay(saved(tmp_path, values), SCAN, kind=said)


def test_a_scan_of_whole_numbers_is_no_mask(tmp_path: Path, rng: np.random.Generator) -> None:
    """An 8-bit scan would be 255 labels of noise over the patient; an atlas of as many, and what is said, is taken."""
    noise = rng.integers(1, 200, GRID.shape).astype(np.uint8)
    blocks = (np.indices(GRID.shape) // 4).astype(np.uint8)
    atlas = (1 + blocks[0] * 25 + blocks[1] * 5 + blocks[2]).astype(np.uint8)
    scan = Volume(np.zeros(GRID.shape), GRID)
    assert len(np.unique(atlas)) > 16

    with pytest.raises(ReadError, match="from voxel to voxel"):
        read_overlay(saved(tmp_path, noise, name="scan.nii.gz"), scan)

    (labels,) = read_overlay(saved(tmp_path, atlas, name="atlas.nii.gz"), scan)
    assert np.array_equal(labels.array, atlas)
    (said,) = read_overlay(tmp_path / "scan.nii.gz", scan, kind="mask")
    assert np.array_equal(said.array, noise)


def test_folders_and_files_of_nothing_are_refused(tmp_path: Path) -> None:
    """The message says what is expected."""
    with pytest.raises(ReadError, match=r"Expected the file of a mask or map; .* is a folder"):
        read_overlay(tmp_path, SCAN)
    with pytest.raises(ReadError, match="There is no file or folder"):
        read_overlay(tmp_path / "gone.nii", SCAN)


def test_one_of_several_volumes_is_chosen(tmp_path: Path) -> None:
    """A 4D file of maps is read as a scan is."""
    both = np.stack([LABELS == 1, LABELS == 2], axis=-1).astype(np.uint8)
    nib.Nifti1Image(both, GRID.affine).to_filename(tmp_path / "both.nii")

    (mask,) = read_overlay(tmp_path / "both.nii", SCAN, stack=1)

    np.testing.assert_array_equal(mask.array, LABELS == 2)


def seg_scan(*, frame: str) -> Volume:
    """Return a scan on the grid of the factory's segmentation, with a frame of reference."""
    affine = np.diag([-0.8, -1.1, 2.5, 1.0])
    affine[:3, 3] = (20.5, -31.25, -7.75)
    grid = Grid((7, 6, 3), affine)
    source = Source(format="dicom", frame_of_reference=frame)
    return Volume(np.zeros(grid.shape, np.float32), grid, name="CT", source=source)


def test_a_segmentation_of_the_same_frame_of_reference_is_taken(tmp_path: Path) -> None:
    """Same space, same grid: the stored voxels."""
    path = make_seg(tmp_path / "seg", [(1, k, blob(seed=k)) for k in range(3)])

    (mask,) = read_overlay(path, seg_scan(frame="1.2.3"), label="liver")

    np.testing.assert_array_equal(mask.array, np.stack([blob(seed=k) for k in range(3)], axis=-1))
    assert (mask.label, dict(mask.names), mask.provenance.notes) == ("liver", {1: "organ 1"}, ())


def test_another_frame_of_reference_is_refused_unless_asked_for(tmp_path: Path) -> None:
    """Equal numbers in two spaces are different places in the patient."""
    path = make_seg(tmp_path / "seg", [(1, k, blob(seed=k)) for k in range(3)])

    with pytest.raises(
        OtherFrameError, match=r"seg lies in another frame of reference than the scan 'CT'.* --other-frame"
    ):
        read_overlay(path, seg_scan(frame="1.2.4"))
    (mask,) = read_overlay(path, seg_scan(frame="1.2.4"), other_frame=True)

    assert mask.provenance.notes == (
        "seg and the scan have different frames of reference; they were compared all the same.",
    )


def test_a_frame_of_reference_that_is_missing_is_said(tmp_path: Path) -> None:
    """Anonymised scans have none: nothing contradicts, and nothing confirms."""
    path = make_seg(tmp_path / "seg", [(1, k, blob(seed=k)) for k in (0, 1)])

    (mask,) = read_overlay(path, seg_scan(frame=""))

    assert mask.provenance.notes[0] == (
        "Whether seg and the scan share a frame of reference is not on record; it was assumed."
    )


def test_a_dicom_scan_carries_its_frame_of_reference(tmp_path: Path) -> None:
    """The rules above need it."""
    (path, *_) = make_series(tmp_path)

    assert ll.read(tmp_path).source.frame_of_reference == dcmread(path).FrameOfReferenceUID


def test_a_segmentation_takes_neither_kind_nor_stack(tmp_path: Path) -> None:
    """A choice that cannot apply is not ignored."""
    path = make_seg(tmp_path / "seg", [(1, 0, blob(seed=1))])

    for choice in ({"kind": "mask"}, {"stack": 0}):
        with pytest.raises(ReadError, match=r"seg says itself what it holds; leave out kind= and stack="):
            read_overlay(path, seg_scan(frame="1.2.3"), **choice)


def test_the_labels_of_a_mask_are_regions(tmp_path: Path) -> None:
    """One row for each number, with the volume and the intensity of the scan under it."""
    (mask,) = read_overlay(saved(tmp_path, LABELS), SCAN)

    rows = region_rows({mask.label: ll.measure(SCAN, mask)})

    assert [(row["label"], row["n_voxels"]) for row in rows] == [(1, 45), (2, 18)]
    assert rows[0]["volume_mm3"] == pytest.approx(45 * 2.4)
    assert rows[1]["intensity_mean"] == pytest.approx(SCAN.array[LABELS == 2].mean())
    assert rows[0]["probability_mean"] is None


def test_label_maps_hold_integers_from_zero() -> None:
    """Never in an invalid state."""
    (mask,) = [ll.LabelMap(SCAN.with_array(LABELS), "lesion", {1: "left"}, ll.Provenance())]

    assert mask.name == "mask_lesion"
    with pytest.raises(ll.LesionLensError, match=r"labels of 'lesion' are integers from 0 .* found float32"):
        replace(mask, volume=SCAN)
    with pytest.raises(ll.LesionLensError, match="found int16 from -1"):
        replace(mask, volume=SCAN.with_array(LABELS.astype(np.int16) - 1))
