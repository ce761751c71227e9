"""Voxels as lists against whole masks: the same bytes, the same places, the same pieces."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from lesionlens.errors import ReadError
from lesionlens.review.masks import apply_mask, pack_change
from lesionlens.review.voxels import (
    box_of,
    changed,
    labelled,
    marked,
    middle,
    pack,
    paint,
    pieces,
    statistics_of,
    unpack,
)
from lesionlens.volume import Grid

SHAPE = (7, 9, 5)
SIZE = int(np.prod(SHAPE))


def random_mask(seed: int, share: float = 0.3) -> NDArray[np.bool_]:
    """Return an (i, j, k) mask."""
    return np.random.default_rng(seed).random(SHAPE) < share


def flat(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the voxels of a mask by numpy alone."""
    return np.flatnonzero(np.ascontiguousarray(mask))


def grid() -> Grid:
    """Return an anisotropic, oblique grid."""
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([2.0, 1.0, 5.0])
    return Grid(SHAPE, affine)


CHANGES = [
    flat(random_mask(0)),
    np.empty(0, np.int64),
    np.array([0]),
    np.array([SIZE - 1]),
    np.array([0, SIZE - 1]),
    np.arange(SIZE),
    np.array([3, 4, 5, 9]),
]


@pytest.mark.parametrize("voxels", CHANGES, ids=range(len(CHANGES)))
def test_a_change_is_packed_as_that_of_two_masks(voxels: NDArray[np.int64]) -> None:
    """Sessions hold one kind of bytes, whoever has packed them; at either end of the array too."""
    before = random_mask(1)
    after = before.copy().reshape(-1)
    after[voxels] ^= True
    after = after.reshape(SHAPE)

    packed = pack(voxels, SHAPE)

    assert packed == pack_change(before, after)
    np.testing.assert_array_equal(unpack(packed, SHAPE), voxels)
    np.testing.assert_array_equal(apply_mask(before, packed), after)


@pytest.mark.parametrize(
    ("packed", "shape"),
    [(pack(CHANGES[0], SHAPE), (7, 9, 6)), (pack(CHANGES[0], SHAPE)[:-9], SHAPE), (b"none", SHAPE)],
    ids=["another scan", "cut", "garbage"],
)
def test_what_is_no_change_of_this_scan_is_refused(packed: bytes, shape: tuple[int, int, int]) -> None:
    """A mask from damaged bytes would look like a reader's."""
    with pytest.raises(ReadError, match="saved edit"):
        unpack(packed, shape)


@pytest.mark.parametrize("order", ["C", "F"])
def test_marked_finds_what_was_painted(order: str) -> None:
    """In any order in memory, and through views that are flipped and transposed as on the screen."""
    canvas = np.zeros(SHAPE, np.uint8, order=order)  # type: ignore[call-overload]  # the parameter is one of two
    assert marked(canvas).size == 0

    paint(canvas, CHANGES[0], 1)

    np.testing.assert_array_equal(canvas != 0, random_mask(0))
    np.testing.assert_array_equal(marked(canvas), CHANGES[0])
    display = canvas.transpose(2, 1, 0)[::-1, :, ::-1]
    np.testing.assert_array_equal(marked(display), np.flatnonzero(display))


def test_a_label_is_found_in_its_box() -> None:
    """With the box or without it; another label in the same box does not count."""
    labels = np.zeros(SHAPE, np.uint16, order="F")
    labels[2:5, 3:6, 1:4] = 7
    labels[3, 4, 2] = 8
    expected = np.flatnonzero(np.ascontiguousarray(labels == 7))

    np.testing.assert_array_equal(labelled(labels, 7), expected)
    np.testing.assert_array_equal(labelled(labels, 7, [2.0, 3.0, 1.0, 4.0, 5.0, 3.0]), expected)
    assert labelled(labels, 9).size == 0


def test_changing_twice_is_no_change() -> None:
    """Undo rests on it."""
    a, b = CHANGES[0], flat(random_mask(3))

    np.testing.assert_array_equal(changed(changed(a, b), b), a)
    np.testing.assert_array_equal(changed(a, b), flat(random_mask(0) ^ random_mask(3)))


def test_the_middle_is_the_centroid_or_the_nearest_voxel() -> None:
    """A box is looked at in its middle, a ring on itself, at the voxel that is nearest in mm and not in voxels."""
    box = np.zeros(SHAPE, bool)
    box[1:4, 2:7, 1:4] = True
    assert middle(flat(box), grid()).tolist() == [2, 4, 2]

    ring = np.zeros(SHAPE, bool)
    ring[1:6, 2:7, 2] = True
    ring[2:5, 3:6, 2] = False
    found = middle(flat(ring), grid())
    assert ring[tuple(found)]
    # Along j a voxel is 1 mm, along i 2 mm: the nearest voxels of the ring lie before and behind the centre.
    assert found.tolist() in ([3, 2, 2], [3, 6, 2])


def test_pieces_are_those_of_another_program() -> None:
    """Those of scipy with corners; the largest first."""
    mask = random_mask(5, 0.08)
    labels, n = ndimage.label(mask, np.ones((3, 3, 3)))
    expected = sorted((flat(labels == one) for one in range(1, n + 1)), key=lambda p: (-len(p), p[0]))

    found = pieces(flat(mask), SHAPE)

    assert n > 3
    assert [piece.tolist() for piece in found] == [piece.tolist() for piece in expected]


def test_statistics_say_where_and_how_large() -> None:
    """By hand: 3 x 2 x 1 voxels of 10 mm3."""
    mask = np.zeros(SHAPE, bool)
    mask[1:4, 2:4, 3] = True

    found = statistics_of(flat(mask), grid())

    assert found["volume_mm3"] == pytest.approx(60)
    assert found["centroid_ijk"] == [2, 2.5, 3]
    np.testing.assert_allclose(found["centroid_ras"], [0.8 * 4 - 0.6 * 2.5, 0.6 * 4 + 0.8 * 2.5, 15])
    assert found["bbox_ijk"] == [1, 2, 3, 3, 3, 3]
    low, high = box_of(flat(mask), SHAPE)
    assert [*low, *high] == found["bbox_ijk"]
