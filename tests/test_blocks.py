"""Arrays cut into parts: every element once, in any memory order, and no more memory than a part takes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lesionlens.blocks import blocks
from lesionlens.calibration import reliability
from lesionlens.compare import correlations
from lesionlens.confusion import class_labels, confusion
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.volume import Grid, Volume

# Large enough that eight bytes for each voxel show, many times over a part.
SHAPE = (160, 160, 128)
PROBABILITY = np.random.default_rng(3).random(SHAPE, dtype=np.float32)
TRUTH = PROBABILITY > 0.6


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("shape", "most"), [((7, 5, 3), 10), ((7, 5, 3), 1), ((11,), 4), ((2, 3), 100)])
def test_every_element_is_in_one_part(shape: tuple[int, ...], most: int, order: Any) -> None:
    """Parts are small, unless one layer is larger."""
    counted = np.zeros(shape, int, order=order)
    layer = counted.size // counted.shape[int(np.argmax(counted.strides))]
    for part in blocks(counted, most=most):
        assert counted[part].size <= max(most, layer)
        counted[part] += 1

    assert (counted == 1).all()


def heatmap(array: Any) -> Heatmap:
    """Return an array as a map."""
    return Heatmap(Volume(array, Grid(SHAPE, np.eye(4))), "probability", "lesion", False, Provenance())


@pytest.mark.parametrize(
    "count",
    [
        lambda: reliability(PROBABILITY, TRUTH),
        lambda: correlations([heatmap(PROBABILITY), heatmap(PROBABILITY**2)]),
        lambda: confusion(TRUTH.view(np.uint8), class_labels([heatmap(PROBABILITY)], threshold=0.5), 2),
    ],
    ids=["reliability", "correlation", "confusion"],
)
def test_a_plot_takes_no_copies_of_whole_maps_as_numbers_of_eight_bytes(count: Callable[[], Any]) -> None:
    """A scan of 600 slices would need gigabytes for a picture of twenty points."""
    count()  # whatever is loaded is loaded
    tracemalloc.start()
    count()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 8 * PROBABILITY.size
