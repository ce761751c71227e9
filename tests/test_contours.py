"""A map as labels, part by part: the same labels as of the whole, and no copy of the map."""

from __future__ import annotations

import numpy as np

from lesionlens.contours import ABOVE, BELOW, Cut

VALUES = np.random.default_rng(3).normal(size=(6, 7, 8)).astype(np.float32)


def test_parts_have_the_labels_of_the_whole() -> None:
    """A slice along any axis, a part of one, and a single voxel."""
    cut = Cut(VALUES, 0.5)
    expected = (np.float32(0.5) <= VALUES).astype(np.uint8)

    for key in [3, (slice(None), 2), (slice(None), slice(None), -1), (1, slice(2, 5), slice(None, None, 2)), (1, 2, 3)]:
        np.testing.assert_array_equal(cut[key], expected[key])
    np.testing.assert_array_equal(np.asarray(cut), expected)
    assert (cut.shape, cut.ndim, cut.size, len(cut), cut.dtype) == ((6, 7, 8), 3, 336, 6, np.uint8)


def test_a_value_equal_to_the_threshold_belongs() -> None:
    """As regions are measured, to the last bit: 0.3 is no float32."""
    at = np.float32(0.3)
    values = np.array([np.nextafter(at, np.float32(0)), at, np.nextafter(at, np.float32(1))])

    assert Cut(values, 0.3)[...].tolist() == [0, ABOVE, ABOVE]


def test_both_signs_have_labels_of_their_own() -> None:
    """Evidence against has another line than evidence for."""
    values = np.array([-2.0, -0.5, 0.0, 0.5, 2.0], dtype=np.float32)

    assert Cut(values, 0.5, both_signs=True)[...].tolist() == [BELOW, BELOW, 0, ABOVE, ABOVE]
    assert Cut(values, 0.5)[...].tolist() == [0, 0, 0, ABOVE, ABOVE]


def test_the_map_is_not_copied() -> None:
    """Three contours of a large scan must not triple what is in memory."""
    cut = Cut(VALUES, 0.5)

    assert np.shares_memory(cut.values, VALUES)
