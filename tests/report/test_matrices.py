"""Matrices as pictures: colours stand for values, and every cell says its number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lesionlens.errors import InputError
from lesionlens.report.matrices import draw_matrix, write_matrix

NAMES = ("none", "lesion")


def test_every_cell_says_its_number() -> None:
    """Colours alone cannot be read off; what is not defined is a dash."""
    axes = draw_matrix([[1, -0.256], [np.nan, 1]], NAMES, kind="correlation").axes[0]

    assert [text.get_text() for text in axes.texts] == ["1.00", "-0.26", "\N{EN DASH}", "1.00"]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(NAMES)


@pytest.mark.parametrize(("kind", "limits"), [("correlation", (-1, 1)), ("share", (0, 1)), ("counts", (0, 1))])
def test_colours_do_not_depend_on_the_values_at_hand(kind: str, limits: tuple[float, float]) -> None:
    """Two pictures beside each other can be compared."""
    (image,) = draw_matrix(np.eye(2) / 10, NAMES, kind=kind).axes[0].images  # type: ignore[arg-type]

    assert image.get_clim() == limits


def test_counts_are_coloured_by_their_row() -> None:
    """Nearly all voxels are background: next to them every other cell would be black."""
    axes = draw_matrix([[1_000_000, 50], [10, 30]], NAMES, kind="counts").axes[0]

    np.testing.assert_allclose(axes.images[0].get_array()[1], [0.25, 0.75])
    assert axes.texts[0].get_text() == "1,000,000"


def test_the_title_touches_nothing() -> None:
    """The colour bar is higher than the cells of a narrow matrix: a title above the cells alone ran into it."""
    figure = draw_matrix([[9, 1], [2, 8]], NAMES, kind="counts", title="voxels at probability ≥ 0.5", row_title="r")
    figure.draw_without_rendering()  # lays it out
    title = figure._suptitle.get_window_extent()  # type: ignore[attr-defined]  # no public name

    assert all(not title.overlaps(axes.get_tightbbox()) for axes in figure.axes)
    assert title.x0 >= 0
    assert title.x1 <= figure.bbox.x1


@pytest.mark.parametrize("count", [2, 5])
def test_long_names_leave_room_for_the_numbers(count: int) -> None:
    """Two maps of one class: their names took the width, and the numbers ran into each other."""
    names = [f"{letter}: attribution of 'high' by integrated_gradients" for letter in "ABCDE"[:count]]
    figure = draw_matrix(-np.ones((count, count)), names, kind="correlation")
    figure.draw_without_rendering()  # lays it out
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]

    assert all(not one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_a_row_without_anything_is_no_error() -> None:
    """A class that one model never finds."""
    axes = draw_matrix([[0, 0], [1, 1]], NAMES, kind="counts").axes[0]

    np.testing.assert_array_equal(axes.images[0].get_array()[0], [0, 0])


def test_the_picture_is_a_png_that_says_what_it_is_not_for(tmp_path: Path) -> None:
    """Pictures travel alone."""
    path = write_matrix(tmp_path / "m.png", np.eye(3), ("a", "b", "c" * 200), kind="share")

    with Image.open(path) as picture:
        assert "not a medical device" in picture.text["Description"]
        assert np.asarray(picture.convert("L")).std() > 10


def test_names_have_to_fit() -> None:
    """A name too few would label the wrong row."""
    with pytest.raises(InputError, match=r"\(2, 2\) needs as many names; found 1 and 1"):
        draw_matrix(np.eye(2), ("one",), kind="share")
