"""The ways to store a volume that other tests go through."""

from __future__ import annotations

from itertools import permutations

from orientations import COVERING, ORIENTATIONS


def test_the_chosen_orientations_have_every_axis_both_ways_in_every_order() -> None:
    """What is shown for them would say nothing of an order, or of a backward axis, that is not among them."""
    assert len(set(ORIENTATIONS)) == 48
    assert set(COVERING) < set(ORIENTATIONS)
    for order in permutations(range(3)):
        flips = [flips for one, flips in COVERING if one == order]
        assert [set(axis) for axis in zip(*flips, strict=True)] == [{False, True}] * 3
    handed = {sum(flips) % 2 == 0 for _, flips in COVERING}
    assert handed == {False, True}
