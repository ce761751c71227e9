"""Boxes on voxels: which they cover, how far they overlap, and where coarse cells lie."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from monai.data.box_utils import box_iou

from lesionlens.explain import Box, CoarseMap, painted
from lesionlens.explain.boxes import intersection_over_union, joined
from orientations import ORIENTATIONS, oblique, reoriented


def box(low: tuple[float, ...], high: tuple[float, ...], confidence: float = 0.5) -> Box:
    """Return a box of class 0."""
    return Box(low, high, confidence, index=0, anchor=0, level=0)


def test_a_box_covers_the_voxels_between_its_faces() -> None:
    """A box from edge 2 to edge 5 is three voxels long: the overlap is known by hand."""
    array = painted([box((1.5, -0.5, 3.5), (4.5, 1.5, 4.5), 0.75)], (8, 6, 7))

    expected = np.zeros((8, 6, 7))
    expected[2:5, 0:2, 4:5] = 0.75
    assert np.array_equal(array, expected)


def test_the_surest_box_counts_where_boxes_overlap() -> None:
    """The sum would exceed 1, the last would depend on the order."""
    boxes = [box((-0.5,) * 3, (3.5,) * 3, 0.9), box((1.5,) * 3, (5.5,) * 3, 0.4)]

    for order in (boxes, boxes[::-1]):
        array = painted(order, (6, 6, 6))
        assert array[3, 3, 3] == np.float32(0.9)
        assert array[4, 4, 4] == np.float32(0.4)
        assert array[0, 5, 0] == 0
        assert np.count_nonzero(array) == 4**3 + 4**3 - 2**3


def test_a_box_smaller_than_a_voxel_is_seen() -> None:
    """A confident finding must not vanish between the centres of thick slices."""
    array = painted([box((1.1, 2.1, 3.1), (1.4, 2.4, 3.4), 0.6)], (4, 5, 6))

    assert np.argwhere(array).tolist() == [[1, 2, 3]]


def test_a_box_beyond_the_grid_paints_nothing() -> None:
    """Padding of the network's image is no part of the scan."""
    assert not painted([box((9.6, 0.0, 0.0), (9.9, 2.0, 2.0))], (8, 8, 8)).any()


@pytest.mark.parametrize("orientation", ORIENTATIONS[::7])
def test_a_box_is_painted_on_a_turned_grid_as_on_its_own(orientation: object) -> None:
    """Flips and orders of axes only rename the voxels."""
    grid = oblique((7, 8, 9), (1.0, 1.3, 2.0))
    own = painted([box((0.5, 1.5, 2.5), (4.5, 5.5, 4.5), 0.8)], grid.shape)
    expected, turned = reoriented(own, grid, orientation)  # type: ignore[arg-type]  # a plain tuple

    array = painted(
        [box((0.5, 1.5, 2.5), (4.5, 5.5, 4.5), 0.8)], turned.shape, np.linalg.inv(turned.affine) @ grid.affine
    )

    assert np.array_equal(array, expected)


def test_on_an_oblique_grid_every_voxel_centre_decides_for_itself() -> None:
    """Literally: bring each voxel's centre to the box's own axes and look."""
    boxes, scan = oblique((20, 20, 20), (1.0, 1.0, 1.0), 0.0), oblique((24, 22, 18), (0.9, 1.1, 1.4), 25.0)
    low, high = (4.2, 6.1, 2.3), (9.7, 12.4, 8.8)
    to_scan = np.linalg.inv(scan.affine) @ boxes.affine

    array = painted([box(low, high, 0.7)], scan.shape, to_scan)

    assert array.any()
    for voxel in product(*map(range, scan.shape)):
        place = boxes.voxel(scan.world(np.array(voxel)))
        assert bool(array[voxel]) == bool(((place >= low) & (place <= high)).all()), voxel


def test_a_box_holds_its_inside_and_faces_alone() -> None:
    """Which box a place belongs to decides what is explained."""
    one = box((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))

    assert one.holds((1.0, 5.0, 4.5))
    assert not one.holds((0.9, 5.0, 4.5))
    assert not one.holds((2.0, 5.1, 4.5))
    assert one.centre == (2.5, 3.5, 4.5)


def test_overlaps_are_those_of_monai() -> None:
    """Which boxes are dropped hangs on it; MONAI's is an independent implementation."""
    low = torch.rand(50, 3) * 10
    boxes = torch.cat([low, low + 0.5 + torch.rand(50, 3) * 8], dim=1)

    for other in boxes[:5]:
        expected = box_iou(boxes, other[None])[:, 0]
        assert torch.allclose(intersection_over_union(boxes, other), expected, atol=1e-6)  # float32 volumes


def test_a_cell_fills_the_voxels_nearest_to_it() -> None:
    """Cells of 4 voxels with centres at 1.5, 5.5: voxels 0 to 3 and 4 to 7, and the rest the last."""
    coarse = CoarseMap(np.array([[0.2], [0.9]], dtype=np.float32), (1.5, 0.5), (4.0, 2.0))

    array = coarse.at_voxels((10, 2))

    assert np.array_equal(array, np.float32([[0.2] * 2] * 4 + [[0.9] * 2] * 6))


def test_joined_maps_have_the_highest_of_all_levels() -> None:
    """An object that one level sees must not be averaged away by another that does not."""
    fine = CoarseMap(np.float32([0.1, 0.8, 0.1, 0.1]), (0.5,), (2.0,))
    coarse = CoarseMap(np.float32([0.3, 0.05]), (1.5,), (4.0,))

    assert np.array_equal(joined([fine, coarse], (8,)), np.float32([0.3, 0.3, 0.8, 0.8, 0.1, 0.1, 0.1, 0.1]))
