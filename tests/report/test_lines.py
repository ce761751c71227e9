"""Lines that stand for colours: where they run, and that nothing but black and grey is drawn."""

from __future__ import annotations

from io import BytesIO

import matplotlib.image
import numpy as np

from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.report.lines import MOST_REGIONS, PROBABILITY_LEVELS, draw_lines, lines_png
from lesionlens.volume import Grid, Volume

SHAPE, SPACING = (40, 36, 12), (2.0, 2.0, 3.0)


def ball(radius_mm: float) -> tuple[Heatmap, np.ndarray]:
    """Return a probability that falls by 1 per 100 mm from the middle, and what is nearer than a radius."""
    grid = Grid(SHAPE, np.diag([*SPACING, 1.0]))
    middle = (np.array(SHAPE) // 2) * SPACING
    points = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1) * SPACING
    distance = np.linalg.norm(points - middle, axis=-1)
    values = np.clip(1 - distance / 100, 0, 1).astype(np.float32)
    probability = Heatmap(Volume(values, grid, unit="probability"), "probability", "lesion", False, Provenance())
    return probability, (distance < radius_mm).astype(np.uint8)


def test_lines_run_where_the_values_are() -> None:
    """A line at 0.9 is a circle of 10 mm in the slice through the middle, known in closed form."""
    probability, labels = ball(12)

    figure = draw_lines(probability, labels)

    assert figure is not None
    (axes,) = figure.axes
    contours = [one for one in axes.collections if type(one).__name__ == "QuadContourSet"]
    assert [float(one.levels[0]) for one in contours] == list(PROBABILITY_LEVELS)
    assert len({str(one.get_linestyle()) for one in contours}) == 2
    inner = np.concatenate([path.vertices for path in contours[1].get_paths()])
    size = np.ptp(inner, axis=0)
    np.testing.assert_allclose(size, 20, atol=0.5)  # linear between voxels of 2 mm
    assert "1" in [text.get_text() for text in axes.texts]


def test_there_is_no_colour_and_no_picture_of_nothing() -> None:
    """In black and white nothing is lost; without a region there is nothing to draw."""
    probability, labels = ball(12)
    scan = probability.volume.with_array(probability.array * 100, unit="")

    png = lines_png(probability, labels, attribution=None, volume=scan)

    assert png is not None
    pixels = matplotlib.image.imread(BytesIO(png))[..., :3]
    assert np.ptp(pixels, axis=-1).max() == 0
    assert lines_png(probability, np.zeros_like(labels)) is None


def test_the_largest_regions_are_shown() -> None:
    """One picture for each, numbered, at most so many."""
    probability, _ = ball(12)
    labels = np.zeros(SHAPE, np.uint8)
    for n in range(6):
        labels[2 + 6 * n : 4 + 6 * n, 5:8, 3:5] = n + 1

    figure = draw_lines(probability, labels)

    assert figure is not None
    numbers = [axes.texts[0].get_text() for axes in figure.axes]
    assert numbers == [str(n + 1) for n in range(MOST_REGIONS)]
