from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lesionlens as ll
from lesionlens.errors import ReadError
from lesionlens.io.labels import read_labels
from tiny_bundles import CENTRE, blob, straight_grid


def test_the_one_mask_of_a_file_is_read(tmp_path: Path) -> None:
    """What a reader marked, on the grid of the scan."""
    scan = blob(straight_grid(), CENTRE)
    marked = (scan.array > 0.5).astype(np.uint8)
    path = ll.write(scan.with_array(marked), tmp_path / "mask.nii.gz")

    found = read_labels(path, scan)

    np.testing.assert_array_equal(found.array, marked)
    assert found.grid.same_as(scan.grid)


def test_a_probability_map_is_no_mask(tmp_path: Path) -> None:
    """It needs a threshold, and nobody has said which; the message names the file and what it holds."""
    scan = blob(straight_grid(), CENTRE)
    path = ll.write(scan, tmp_path / "map.nii.gz")

    with pytest.raises(ReadError, match=r"one mask of whole numbers in map.nii.gz; found probability 'map'"):
        read_labels(path, scan)
