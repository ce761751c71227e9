"""Packed edits against the masks that they were made of."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lesionlens.errors import ReadError
from lesionlens.review.masks import apply_mask, pack_change


@given(st.data())
def test_a_change_leads_from_one_mask_to_the_other_and_back(data: st.DataObject) -> None:
    """A difference works both ways; any masks, empty and full ones too."""
    shape = data.draw(array_shapes(min_dims=3, max_dims=3, max_side=6))
    before, after = (data.draw(arrays(bool, shape)) for _ in range(2))

    packed = pack_change(before, after)

    assert np.array_equal(apply_mask(before, packed), after)
    assert np.array_equal(apply_mask(after, packed), before)


def test_a_stroke_is_small() -> None:
    """A brush of 20 voxels in 50 million is some dozens of bytes."""
    before = np.zeros((400, 400, 300), bool)
    after = before.copy()
    after[200:204, 100:105, 150] = True

    assert len(pack_change(before, after)) < 200


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"nonsense",
        zlib.compress(np.array([3, 3, 3, 26], "<u4").tobytes()),
        zlib.compress(np.array([3, 3, 4, 36], "<u4").tobytes()),
        zlib.compress(b"\0" * 10**8),
        pack_change(np.zeros((3, 3, 3)), np.ones((3, 3, 3)))[:-6],
    ],
    ids=["empty", "nonsense", "too short", "another shape", "a bomb", "cut off"],
)
def test_a_damaged_change_is_refused(packed: bytes) -> None:
    """An edit is applied whole or not at all."""
    with pytest.raises(ReadError, match="edit"):
        apply_mask(np.zeros((3, 3, 3), bool), packed)


def test_masks_of_two_shapes_have_no_difference() -> None:
    """A mistake of the caller, found before anything is stored."""
    with pytest.raises(ValueError, match="shape"):
        pack_change(np.zeros((3, 3, 3)), np.zeros((3, 3, 4)))
