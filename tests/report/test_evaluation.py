"""The figures of a cohort hold the numbers that they were given."""

from __future__ import annotations

import numpy as np
import pytest

from lesionlens.report.evaluation import draw_dice_by_volume, draw_froc


def test_each_case_is_a_dot_at_its_volume_in_ml_and_its_dice() -> None:
    """A factor of a thousand would not be seen otherwise."""
    axes = draw_dice_by_volume({"x": [(1500.0, 0.5), (20.0, 0.1)], "y": []}).axes[0]

    np.testing.assert_allclose(axes.collections[0].get_offsets(), [(1.5, 0.5), (0.02, 0.1)])
    assert len(axes.collections[1].get_offsets()) == 0
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["x: 2", "y: 0"]


def test_the_curve_goes_through_its_points_and_the_first_has_its_intervals() -> None:
    """Of strata, the intervals would lie over each other."""
    curves = {"": [(8.0, 1.0, 0.9, 1.0), (1.0, 0.5, None, None)], "x": [(4.0, 0.7, 0.1, 0.9)]}

    lines = draw_froc(curves).axes[0].lines

    found = [np.transpose(line.get_data()).tolist() for line in lines]
    assert found == [[[8, 1], [1, 0.5]], [[8, 0.9], [8, 1]], [[4, 0.7]]]


@pytest.mark.filterwarnings("error")
def test_without_lesions_figures_are_empty_and_not_wrong() -> None:
    """A cohort of healthy scans has neither."""
    assert draw_froc({}).axes[0].lines[:] == []
    assert len(draw_dice_by_volume({"": []}).axes[0].collections[0].get_offsets()) == 0
