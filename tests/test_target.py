from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lesionlens.errors import ExplainError
from lesionlens.heatmap import LabelMap, Provenance
from lesionlens.target import Point, TargetSpec, as_over
from lesionlens.volume import Grid, Volume

MASK = LabelMap(Volume(np.ones((2, 2, 2), dtype=np.uint8), Grid((2, 2, 2), np.eye(4))), "core", {}, Provenance())


@pytest.mark.parametrize(
    ("given", "meant", "text"),
    [
        ("predicted", "predicted", "predicted"),
        ("largest", 1, "1"),
        (" 12 ", 12, "12"),
        (3, 3, "3"),
        ("1.5,-2,3e1", Point((1.5, -2.0, 30.0)), "1.5,-2,30"),
        ((1, 2.5, -3), Point((1.0, 2.5, -3.0)), "1,2.5,-3"),
        (np.array([1.0, 2.0, 3.0]), Point((1.0, 2.0, 3.0)), "1,2,3"),
        ("region:1,2,3", Point((1.0, 2.0, 3.0), region=True), "region:1,2,3"),
        ("folder/Mask.NII.gz", Path("folder/Mask.NII.gz"), "Mask.NII.gz"),
        (Path("a.dcm"), Path("a.dcm"), "a.dcm"),
        (MASK, MASK, "mask core"),
    ],
)
def test_what_is_asked_over_is_understood_alike_everywhere(given: object, meant: object, text: str) -> None:
    """The command line has texts, a script numbers, and the record gets neither folders nor values."""
    spec = TargetSpec(over=given)  # type: ignore[arg-type]  # texts and arrays as users give them

    assert spec.over == meant
    assert spec.over_text == text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("everything", "found 'everything'"),
        ("1,2", "found '1,2'"),
        ("voxel:1,2,3", "found 'voxel:1,2,3'"),
        ("1,2,nan", "found '1,2,nan'"),
        ((1, 2, float("inf")), "three numbers"),
        ((1, 2, "x"), "three numbers"),
        (True, "found True"),
        (None, "found None"),
        ("0", "numbered from 1"),
        (-2, "numbered from 1"),
    ],
)
def test_what_is_none_of_these_is_refused(given: object, message: str) -> None:
    """A number of a region that is taken for something else would explain something else."""
    with pytest.raises(ExplainError, match=message):
        as_over(given)


@pytest.mark.parametrize(("against", "similar"), [((), 0), ("similar", 3), ("similar:2", 2), (("a", 1), 0), ("a", 0)])
def test_similar_classes_are_counted(against: object, similar: int) -> None:
    """Named classes are none of them."""
    assert TargetSpec(against=against).similar == similar  # type: ignore[arg-type]  # as users give it
