"""The display rule: what a radiologist sees where, for every way to store a volume."""

from __future__ import annotations

import numpy as np
import pytest

from lesionlens.display import AXIAL, CORONAL, PLANES, SAGITTAL, DisplayView, Plane, from_display, to_display
from lesionlens.errors import InputError
from lesionlens.volume import Grid
from orientations import ORIENTATIONS, Orientation, oblique, reoriented

SHAPE = (5, 6, 7)

# Turned by 44 degrees about two axes the nearest permutation is hard to tell; by 10 it is easy.
GRIDS = {
    "plain": Grid(SHAPE, np.array([[2.0, 0, 0, -10], [0, 3, 0, 20], [0, 0, 4, -30], [0, 0, 0, 1]])),
    "oblique": oblique(SHAPE, (0.8, 1.0, 5.0), 10),
    "very oblique": oblique(SHAPE, (0.8, 1.0, 5.0), 44),
}
EVERY_GRID = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
EVERY_ORIENTATION = pytest.mark.parametrize("orientation", ORIENTATIONS)
UNIT = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


def numbered(shape: tuple[int, int, int]) -> np.ndarray:
    """Return an array in which every voxel has a value of its own."""
    return np.arange(np.prod(shape)).reshape(shape)


@EVERY_GRID
@EVERY_ORIENTATION
def test_from_display_undoes_to_display(grid: Grid, orientation: Orientation) -> None:
    """What is painted on the display lands in the voxel it was painted on."""
    array, stored = reoriented(numbered(SHAPE), grid, orientation)

    shown = to_display(array, stored)

    assert shown.shape == DisplayView(stored).shape
    assert np.array_equal(from_display(shown, stored), array)
    assert np.array_equal(to_display(from_display(shown, stored), stored), shown)


@EVERY_ORIENTATION
def test_display_shares_the_memory_of_the_scan(orientation: Orientation) -> None:
    """Showing a scan costs no second copy, there and back."""
    array, stored = reoriented(numbered(SHAPE), GRIDS["oblique"], orientation)

    shown = to_display(array, stored)

    assert np.shares_memory(shown, array)
    assert np.shares_memory(from_display(shown, stored), array)


@EVERY_GRID
@EVERY_ORIENTATION
def test_every_way_to_store_a_scan_shows_the_same_picture(grid: Grid, orientation: Orientation) -> None:
    """The display depends on the anatomy alone, place and size included."""
    expected, view = to_display(numbered(SHAPE), grid), DisplayView(grid)
    array, stored = reoriented(numbered(SHAPE), grid, orientation)

    other = DisplayView(stored)

    assert np.array_equal(other.to_display(array), expected)
    np.testing.assert_allclose(other.scale, view.scale, rtol=1e-12)
    np.testing.assert_allclose(other.translate, view.translate, atol=1e-10)


@EVERY_GRID
@EVERY_ORIENTATION
def test_display_axes_grow_towards_head_back_and_left(grid: Grid, orientation: Orientation) -> None:
    """A step along (slice, row, column) leads towards S, P and L: the table of the module, read off the affine."""
    _, stored = reoriented(numbered(SHAPE), grid, orientation)
    view = DisplayView(stored)
    start = stored.world(view.voxel_index((2, 2, 2)))

    for axis, letter in enumerate("SPL"):
        step = np.eye(3)[axis]
        direction = stored.world(view.voxel_index(np.array((2, 2, 2)) + step)) - start

        assert np.linalg.norm(direction) == pytest.approx(view.scale[axis])
        # 44 degrees about two axes leave a cosine of 0.5 at worst; any wrong axis or sign gives less.
        assert direction @ UNIT[letter] > 0.49 * view.scale[axis]


@EVERY_ORIENTATION
def test_a_spot_at_the_patients_right_front_top_is_shown_left_up_and_last(orientation: Orientation) -> None:
    """In axial pictures the patient's right is on the left, the front on top, the head in the last slice."""
    grid = GRIDS["plain"]
    array = np.zeros(SHAPE)
    array[-1, -1, -1] = 1  # the plain grid is RAS: the highest index is right, front, top
    stored_array, stored = reoriented(array, grid, orientation)

    shown = to_display(stored_array, stored)

    assert np.argwhere(shown).tolist() == [[SHAPE[2] - 1, 0, 0]]


@EVERY_GRID
@EVERY_ORIENTATION
def test_indices_go_there_and_back(rng: np.random.Generator, grid: Grid, orientation: Orientation) -> None:
    """Index maps agree with the arrays, and are inverses for fractions too."""
    array, stored = reoriented(numbered(SHAPE), grid, orientation)
    view = DisplayView(stored)
    shown = view.to_display(array)
    voxels = np.stack([rng.integers(0, n, 20) for n in stored.shape], axis=1)

    display = view.display_index(voxels)

    for voxel, place in zip(voxels, display.astype(int), strict=True):
        assert shown[tuple(place)] == array[tuple(voxel)]
    fractions = rng.uniform(-1, 8, (20, 3))
    np.testing.assert_allclose(view.voxel_index(view.display_index(fractions)), fractions, atol=1e-12)
    np.testing.assert_allclose(view.voxel_at(view.position(fractions)), fractions, atol=1e-12)


@EVERY_ORIENTATION
def test_positions_are_ras_with_the_signs_of_the_display(rng: np.random.Generator, orientation: Orientation) -> None:
    """On grids parallel to the world a napari position is (S, -A, -R): status bars and sliders tell the truth."""
    _, stored = reoriented(numbered(SHAPE), GRIDS["plain"], orientation)
    view = DisplayView(stored)
    voxels = rng.uniform(0, 5, (10, 3))

    positions = view.position(voxels)

    r, a, s = stored.world(voxels).T
    np.testing.assert_allclose(positions, np.stack([s, -a, -r], axis=1), atol=1e-10)
    np.testing.assert_allclose(positions, view.translate + view.scale * view.display_index(voxels), atol=1e-12)


def test_an_oblique_grid_is_true_at_its_centre() -> None:
    """Straightening turns about the centre: there positions agree with RAS, and errors elsewhere stay smallest."""
    grid = GRIDS["oblique"]
    centre = (np.array(SHAPE) - 1) / 2

    position = DisplayView(grid).position(centre)

    r, a, s = grid.world(centre)
    np.testing.assert_allclose(position, (s, -a, -r), atol=1e-10)


def test_tilt_is_zero_for_parallel_grids_and_the_angle_for_turned_ones() -> None:
    """A viewer says when the picture is not parallel to the world."""
    angle = np.radians(12)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]

    assert DisplayView(GRIDS["plain"]).tilt_deg == 0
    assert DisplayView(Grid(SHAPE, affine)).tilt_deg == pytest.approx(12)


def test_a_slice_is_named_by_its_place_in_the_patient() -> None:
    """Slices carry the letter of their side and the distance from the origin."""
    view = DisplayView(GRIDS["plain"])  # R from -10 by 2, A from 20 by 3, S from -30 by 4; rows and columns flipped

    places = [view.slice_place(*where) for where in [(0, 0), (0, 6), (1, 0), (1, 5), (2, 0), (2, 4)]]

    assert places == ["I 30.0 mm", "I 6.0 mm", "A 35.0 mm", "A 20.0 mm", "L 2.0 mm", "L 10.0 mm"]


def test_no_slice_is_lost_by_dividing(rng: np.random.Generator) -> None:
    """Extent over spacing is the number of steps exactly, and places move by less than anyone could see.

    With places as they come, a viewer that rounds down ends one slice early for two in three of these grids.
    """
    for _ in range(200):
        spacing, n = rng.uniform(0.01, 9, 3), int(rng.integers(2, 800))
        affine = np.diag([*spacing, 1.0])
        affine[:3, 3] = rng.uniform(-300, 300, 3)
        view = DisplayView(Grid((n, 5, 6), affine))
        first, step = np.array(view.translate), np.array(view.scale)
        last = first + (np.array(view.shape) - 1) * step

        assert ((last - first) / step).tolist() == [m - 1 for m in view.shape]
        true = view.grid.world(np.array([0.0, 0.0, 0.0])) * (-1, -1, 1)
        assert (np.abs(view.position((0, 0, 0)) - true[::-1]) < 1e-4 * spacing[::-1]).all()


def test_planes_can_be_looked_up_by_name() -> None:
    """A menu of planes needs their names."""
    assert PLANES == {"axial": AXIAL, "coronal": CORONAL, "sagittal": SAGITTAL}


@pytest.mark.parametrize("plane", PLANES.values(), ids=PLANES.keys())
def test_the_edges_of_a_plane_are_where_its_letters_say(plane: Plane) -> None:
    """A spot far out at one side of the patient is at the edge of the picture that bears its letter."""
    grid = Grid((9, 9, 9), np.diag([1.0, 1.0, 1.0, 1.0]))
    for letter, edge in zip(plane.edges, ((4, 0), (4, 8), (0, 4), (8, 4)), strict=True):
        array = np.zeros(grid.shape)
        array[tuple(4 + 4 * np.array(UNIT[letter]))] = 1

        pictures = plane.pictures(to_display(array, grid))

        assert np.argwhere(pictures).tolist() == [[4, *edge]], letter


@pytest.mark.parametrize("plane", PLANES.values(), ids=PLANES.keys())
def test_no_plane_mirrors_the_patient(plane: Plane) -> None:
    """Right, up and towards the viewer form a right-handed system on the screen, as they do in the room."""
    screen = {"right": (1, 0, 0), "up": (0, 1, 0), "down": (0, -1, 0), "towards": (0, 0, 1), "away": (0, 0, -1)}
    display_axes = [UNIT[letter] for letter in "SPL"]

    on_screen = np.array([screen[direction] for direction in plane.orientation], dtype=float)
    in_patient = np.array([display_axes[axis] for axis in plane.order], dtype=float)

    assert np.linalg.det(on_screen) * np.linalg.det(in_patient) > 0


def test_arrays_of_another_shape_are_refused() -> None:
    """An array that is not on the grid has no place on the display."""
    grid = GRIDS["plain"]

    with pytest.raises(InputError, match=r"\(i, j, k\) array of this grid has shape \(5, 6, 7\); found \(7, 6, 5\)"):
        to_display(np.zeros((7, 6, 5)), grid)
    with pytest.raises(InputError, match=r"\(slice, row, column\) array .* shape \(7, 6, 5\); found \(5, 6, 7\)"):
        from_display(np.zeros((5, 6, 7)), grid)
