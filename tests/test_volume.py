"""Grids, volumes and the one resampler."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch
from nibabel.processing import resample_from_to
from numpy.typing import NDArray

from lesionlens.errors import InputError
from lesionlens.volume import GeometryVerdict, Grid, Volume, resample
from orientations import ORIENTATIONS, oblique, reoriented


def test_world_and_voxel_are_the_affine_and_its_inverse() -> None:
    """One worked voxel by hand, and back."""
    affine = np.array([[0, 0, 3, -10], [-2, 0, 0, 20], [0, 1, 0, 5], [0, 0, 0, 1]])
    grid = Grid((4, 5, 6), affine)

    assert grid.world((1, 2, 3)).tolist() == [-1, 18, 7]  # 3*3-10, -2*1+20, 1*2+5
    assert grid.voxel((-1, 18, 7)).tolist() == [1, 2, 3]
    assert grid.spacing_mm == (2, 1, 3)
    assert grid.voxel_volume_mm3 == pytest.approx(6)
    assert grid.axcodes == "PSR"


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_axcodes_agree_with_nibabel(orientation: tuple[tuple[int, ...], tuple[bool, ...]]) -> None:
    """An independent implementation names the same directions, for turned grids too."""
    grid = oblique((3, 4, 5), (1.0, 2.0, 3.0), degrees=25)
    _, turned = reoriented(np.zeros(grid.shape), grid, orientation)

    assert turned.axcodes == "".join(nib.aff2axcodes(turned.affine))


def test_axes_use_every_world_axis_once_at_45_degrees() -> None:
    """Two voxel axes may be equally close to one world axis; the permutation stays valid."""
    c = np.sqrt(0.5)
    affine = np.array([[c, c, 0, 0], [c, -c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])

    assert sorted(axis for axis, _ in Grid((2, 2, 2), affine).axes()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((2, 2), np.eye(4), "three axes"),
        ((2, 2, 0), np.eye(4), "at least one voxel"),
        ((2, 2, 2), np.eye(3), r"shape \(4, 4\)"),
        ((2, 2, 2), np.diag([1, 1, np.nan, 1]), "finite"),
        ((2, 2, 2), np.diag([1, 1, 0, 1]), "inverted"),
        ((2, 2, 2), np.diag([1, 1, 1, 2]), "last row"),
        ((2, 2, 2), np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "inverted"),
    ],
)
def test_grids_are_valid_from_construction(shape: tuple[int, ...], affine: NDArray[np.float64], message: str) -> None:
    """What is not a grid is refused when it is made, not when it is used."""
    with pytest.raises(InputError, match=message):
        Grid(shape, affine)  # type: ignore[arg-type]


def test_grids_differ_by_shape_and_by_a_hundredth_of_a_millimetre() -> None:
    """same_as must answer False for every way to differ, and True below its tolerance."""
    grid = oblique((10, 11, 12), (1.0, 1.0, 2.0))

    def moved(mm: float) -> Grid:
        affine = grid.affine.copy()
        affine[1, 3] += mm
        return Grid(grid.shape, affine)

    turned = grid.affine.copy()
    turned[0, 0] += 1e-3  # 0.009 mm at the far corner

    assert grid.same_as(moved(0.0009))
    assert not grid.same_as(moved(0.01))
    assert not grid.same_as(Grid((10, 11, 13), grid.affine))
    assert not grid.same_as(Grid(grid.shape, turned))


def test_contains_is_false_beyond_the_outer_faces() -> None:
    """Voxels reach half a voxel beyond their centres."""
    grid = Grid((4, 4, 4), np.diag([2.0, 2.0, 2.0, 1.0]))

    inside = grid.contains([[-0.99, 0, 0], [6.99, 0, 0], [-1.01, 0, 0], [0, 7.01, 0], [0, 0, 99]])

    assert inside.tolist() == [True, True, False, False, False]


def test_arrays_of_a_volume_are_read_only_and_its_own() -> None:
    """Nobody can change a scan through a volume, and making one does not lock the caller's array."""
    array = np.zeros((2, 2, 2))
    volume = Volume(array, Grid((2, 2, 2), np.eye(4)))

    with pytest.raises(ValueError, match="read-only"):
        volume.array[0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        volume.grid.affine[0, 0] = 2
    array[0, 0, 0] = 1


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2, 3)), "but its grid has"),
        (np.zeros((2, 2, 2), dtype=complex), "real numbers"),
        (np.zeros((2, 2, 2), dtype=bool), "real numbers"),
    ],
)
def test_volumes_that_do_not_fit_are_refused(array: NDArray[np.float64], message: str) -> None:
    """Shape and dtype are checked once, at construction."""
    with pytest.raises(InputError, match=message):
        Volume(array, Grid((2, 2, 2), np.eye(4)))


def test_verdict_says_what_is_irregular() -> None:
    """The verdict reads as a sentence."""
    verdict = GeometryVerdict(("gap of 6 mm between k=3 and k=4",), 3.0)

    assert str(GeometryVerdict()) == "regular"
    assert not verdict.regular
    assert str(verdict) == "irregular: gap of 6 mm between k=3 and k=4 (worst position error 3 mm)"
    assert str(replace(verdict, handled="as-is")) == f"{verdict}; voxels kept as they are"
    resampled = str(replace(verdict, handled="resample"))
    assert resampled == f"{verdict}; resampled onto a regular grid at the true positions"


def test_a_verdict_in_short_says_what_is_irregular_but_not_where() -> None:
    """A canvas has no room for the places of dozens of gaps, and each kind is said once."""
    problems = ("gap: between k=3 and k=4 6 mm instead of 3 mm", "gap: after k=9", "tilt: by 15 degrees", "doubled")

    short = GeometryVerdict(problems, 3.0, "as-is").in_short

    assert short == "irregular: gap; tilt; doubled (worst position error 3 mm); voxels kept as they are"
    assert GeometryVerdict().in_short == "regular"


def test_linear_functions_survive_resampling_exactly() -> None:
    """Trilinear interpolation reproduces any linear function of the world position."""
    source = oblique((20, 22, 24), (1.0, 1.3, 1.7))
    middle = source.world((np.array(source.shape) - 1) / 2)
    affine = np.diag([0.9, 1.1, 1.2, 1.0])
    affine[:3, 3] = middle - 5
    target = Grid((10, 9, 8), affine)

    def linear(grid: Grid) -> NDArray[np.float64]:
        return grid.world(np.moveaxis(np.indices(grid.shape), 0, -1)) @ [1.0, -2.0, 0.5]

    np.testing.assert_allclose(resample(linear(source), source, target), linear(target), atol=1e-4)


def test_resampling_agrees_with_nibabel_and_simpleitk(rng: np.random.Generator) -> None:
    """Two independent implementations give the same values inside the grid."""
    source = oblique((16, 18, 14), (1.0, 1.2, 2.0))
    target = oblique((20, 20, 20), (0.9, 0.9, 0.9), degrees=5)
    array = rng.random(source.shape, dtype=np.float32)

    ours = resample(array, source, target, fill=-1)

    theirs = resample_from_to(nib.Nifti1Image(array, source.affine), (target.shape, target.affine), order=1, cval=-1)
    inner = np.isclose(ours, resample(array, source, target, fill=9)) & (theirs.get_fdata() != -1)
    voxels = source.voxel(target.world(np.moveaxis(np.indices(target.shape), 0, -1)))
    inner &= ((voxels > 0) & (voxels < np.array(source.shape) - 1)).all(axis=-1)
    assert inner.sum() > 500
    np.testing.assert_allclose(ours[inner], theirs.get_fdata()[inner], atol=1e-5)
    itk = SimpleITK.Resample(
        _itk(array, source), _itk(np.zeros(target.shape, np.float32), target), SimpleITK.Transform(), 2, -1.0
    )
    np.testing.assert_allclose(ours[inner], SimpleITK.GetArrayFromImage(itk).transpose(2, 1, 0)[inner], atol=1e-4)


def _itk(array: NDArray[np.float32], grid: Grid) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(array.transpose(2, 1, 0))
    image.SetSpacing(grid.spacing_mm)
    image.SetDirection((grid.affine[:3, :3] / grid.spacing_mm).ravel().tolist())
    image.SetOrigin(grid.affine[:3, 3].tolist())
    return image


def test_coarse_grids_resample_like_torch_without_aligned_corners(rng: np.random.Generator) -> None:
    """A coarse map with stride S and offset (S - 1) / 2 is what torch upsamples with align_corners=False, edges too."""
    coarse = rng.random((4, 5, 6), dtype=np.float32)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = 1.5

    ours = resample(coarse, Grid(coarse.shape, affine), Grid((16, 20, 24), np.eye(4)))

    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(coarse)[None, None], scale_factor=4, mode="trilinear", align_corners=False
    )
    np.testing.assert_allclose(ours, theirs[0, 0].numpy(), atol=1e-6)


def test_beyond_the_source_grid_comes_the_fill_value() -> None:
    """Half a voxel beyond the centres repeats the edge; more is outside."""
    source = Grid((2, 2, 2), np.eye(4))
    affine = np.eye(4)
    affine[0, 3] = -1.0
    affine[:3, :3] *= 0.5
    target = Grid((9, 1, 1), affine)  # x from -1.0 to 3.0 in steps of 0.5

    values = resample(np.ones((2, 2, 2)), source, target, fill=-7)[:, 0, 0]

    assert values.tolist() == [-7, 1, 1, 1, 1, 1, -7, -7, -7]


@pytest.mark.parametrize(("order", "flips"), list(product(permutations(range(3)), [(True, False, True)])))
def test_flips_and_permutations_are_exact(
    rng: np.random.Generator, order: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> None:
    """Bringing a scan to another axis order changes no value."""
    grid = oblique((5, 6, 7), (1.0, 2.0, 3.0))
    array = rng.random(grid.shape, dtype=np.float32)
    stored, turned = reoriented(array, grid, (order, flips))

    np.testing.assert_allclose(resample(stored, turned, grid), array, atol=1e-5)


def test_nearest_keeps_labels() -> None:
    """Order 0 invents no label between two others."""
    labels = np.zeros((6, 6, 6))
    labels[3:] = 7
    target = oblique((8, 8, 8), (0.5, 0.5, 0.5), degrees=3)
    source = Grid((6, 6, 6), np.diag([1.0, 1.0, 1.0, 1.0]))
    shifted = Grid(target.shape, np.vstack([np.c_[target.affine[:3, :3], [1.0, 1.0, 1.0]], [0, 0, 0, 1]]))

    assert set(np.unique(resample(labels, source, shifted, order=0))) == {0, 7}


@pytest.mark.parametrize(("shape", "order", "message"), [((2, 2, 3), 1, "do not lie"), ((2, 2, 2), 3, "order is 0")])
def test_resampling_refuses_what_it_cannot_do(shape: tuple[int, ...], order: int, message: str) -> None:
    """Wrong shapes and orders are named."""
    grid = Grid((2, 2, 2), np.eye(4))
    with pytest.raises(InputError, match=message):
        resample(np.zeros(shape), grid, grid, order=order)


@pytest.mark.parametrize("valid", [np.ones((2, 2, 3), dtype=bool), np.ones((2, 2, 2))], ids=["shape", "type"])
def test_validity_masks_that_do_not_fit_are_refused(valid: NDArray[np.bool_]) -> None:
    """A mask of numbers would invert as something else, one of another shape would be broadcast."""
    with pytest.raises(InputError, match=r"validity mask of volume 'volume' is Boolean of shape \(2, 2, 2\); found"):
        Volume(np.zeros((2, 2, 2)), Grid((2, 2, 2), np.eye(4)), valid=valid)


def test_validity_follows_to_other_values_on_the_grid_and_cannot_be_changed() -> None:
    """A map made from a scan has data where the scan has."""
    valid = np.array([True, False, True]).reshape(1, 1, 3)
    volume = Volume(np.zeros((1, 1, 3)), Grid((1, 1, 3), np.eye(4)), valid=valid)

    made = volume.with_array(np.ones((1, 1, 3)))

    assert made.valid is not None
    np.testing.assert_array_equal(made.valid, valid)
    with pytest.raises(ValueError, match="read-only"):
        made.valid[0, 0, 0] = False


def test_resampled_voxels_are_valid_where_all_that_they_are_made_from_is() -> None:
    """On a grid of half the step: on and between two valid voxels, not beside an invalid one, not outside."""
    line = Grid((1, 1, 5), np.eye(4))
    volume = Volume(np.arange(5.0).reshape(1, 1, 5), line, valid=np.array([1, 1, 1, 0, 1], bool).reshape(1, 1, 5))
    finer = np.diag([1.0, 1, 0.5, 1])
    finer[2, 3] = -1.0  # from one voxel before the first, half a voxel of which is outside

    made = volume.resampled(Grid((1, 1, 13), finer))

    assert made.valid is not None
    assert made.valid.ravel().astype(int).tolist() == [0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0]
    np.testing.assert_allclose(made.array.ravel()[2:7], [0, 0.5, 1, 1.5, 2])


def test_a_volume_resampled_beyond_its_faces_is_not_valid_there() -> None:
    """The fill value is no data, even where all of the source is."""
    volume = Volume(np.ones((4, 4, 4)), Grid((4, 4, 4), np.eye(4)))

    assert volume.resampled(Grid((2, 2, 2), np.eye(4))).valid is None
    wider = volume.resampled(Grid((4, 4, 6), np.eye(4))).valid
    assert wider is not None
    assert wider.all(axis=(0, 1)).tolist() == [True] * 4 + [False] * 2
