"""Plots show the numbers that they are made of, and can be written for paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from lesionlens.calibration import reliability
from lesionlens.distributions import Histogram, ThresholdCurve
from lesionlens.errors import OutputError
from lesionlens.report.matrices import draw_matrix
from lesionlens.report.palette import PAPER, Palette, recolour
from lesionlens.report.plots import THRESHOLD_MARK, draw_histogram, draw_threshold_curve, write_figure
from lesionlens.report.reliability import draw_frequencies

DARK = Palette("#202020", "#eeeeee", "#777777")


def curve() -> ThresholdCurve:
    """Return a curve of three thresholds."""
    return ThresholdCurve(np.array([0.2, 0.5, 0.8]), np.array([9000.0, 3000.0, 0.0]), np.array([4, 2, 0]))


def test_volume_and_count_are_drawn_with_the_threshold() -> None:
    """What is read off the figure is what was counted, volumes in mL."""
    above, below = draw_threshold_curve(curve(), threshold=0.5).axes

    np.testing.assert_allclose(above.lines[0].get_xydata(), [(0.2, 9), (0.5, 3), (0.8, 0)])
    np.testing.assert_allclose(below.lines[0].get_ydata(), [4, 2, 0])
    for axes in (above, below):
        (mark,) = [line for line in axes.lines if line.get_gid() == THRESHOLD_MARK]
        assert list(mark.get_xdata()) == [0.5, 0.5]


def test_a_step_holds_down_to_the_threshold_before() -> None:
    """Between two thresholds stands what the higher one gives, as that is what was counted."""
    assert draw_threshold_curve(curve(), threshold=0.5).axes[0].lines[0].get_drawstyle() == "steps-pre"


@pytest.mark.parametrize(("lowest_mm3", "scale"), [(9000.0, "linear"), (9e6, "log")])
def test_a_volume_of_the_whole_head_does_not_flatten_the_rest(lowest_mm3: float, scale: str) -> None:
    """Below any lesion's probability a map may hold everything."""
    found = ThresholdCurve(np.array([0.1, 0.4, 0.6]), np.array([lowest_mm3, 3000, 2000]), np.array([1, 2, 2]))

    assert draw_threshold_curve(found, threshold=0.5).axes[0].get_yscale() == scale


def test_a_histogram_shows_shares_of_either_side() -> None:
    """Regions are a thousandth of the head: counts would hide them."""
    found = Histogram(np.array([0.0, 1.0, 2.0]), np.array([1, 3]), np.array([600, 200]), outside_beyond=200)

    axes = draw_histogram(found, quantity="intensity in HU", threshold=1.5).axes[0]

    outside, inside = (axes.patches[n].get_data().values for n in (0, 2))
    np.testing.assert_allclose(outside, [60, 20])
    np.testing.assert_allclose(inside, [25, 75])
    words = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert words == ["outside regions: 1,000 voxels, 200 beyond", "inside regions: 4 voxels"]
    assert axes.get_xlabel() == "intensity in HU"


@pytest.mark.parametrize(("least", "at_least"), [(40.0, 3), (0.5, 3)])
def test_numbers_on_a_scale_of_powers_of_ten_are_plain(least: float, at_least: int) -> None:
    """Nobody writes 60 regions as 6 x 10^1: every number reads as its place, and there are enough of them."""
    found = ThresholdCurve(np.array([0.1, 0.4, 0.6]), np.array([3000.0, 2000, 1000]), np.array([900, least, least]))
    figure = draw_threshold_curve(found, threshold=0.5)
    figure.draw_without_rendering()
    axes = figure.axes[1]
    ticks = [*axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks()]
    low, high = axes.get_ylim()
    read = {tick.get_loc(): tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high}

    assert axes.get_yscale() == "log"
    written = {place: text for place, text in read.items() if text}
    assert [float(text) for text in written.values()] == pytest.approx(list(written))
    assert len(written) >= at_least


def test_a_scan_without_regions_has_one_side() -> None:
    """A healthy scan is no error."""
    found = Histogram(np.array([0.0, 1.0]), np.array([0]), np.array([5]))

    assert len(draw_histogram(found, quantity="p").axes[0].patches) == 2


def test_frequencies_are_drawn_where_they_lie() -> None:
    """Dots stand at probability and frequency of their bin."""
    found = reliability(np.array([0.1, 0.1, 0.9, 0.9]), np.array([0, 1, 1, 1]), n_bins=2)

    (dots,) = draw_frequencies(found, title="lesion").axes[0].collections

    np.testing.assert_allclose(dots.get_offsets(), [(0.1, 0.5), (0.9, 1.0)])


def test_a_dark_window_has_light_words_and_unchanged_data() -> None:
    """Words are read, curves keep the colour that the words below name."""
    figure = draw_threshold_curve(curve(), threshold=0.5, title="lesion")
    data = figure.axes[0].lines[0].get_color()

    recolour(figure, DARK)

    axes = figure.axes[0]
    assert to_hex(figure.get_facecolor()) == to_hex(axes.get_facecolor()) == DARK.background
    assert {to_hex(words.get_color()) for words in (axes.title, axes.yaxis.label)} == {DARK.text}
    assert axes.lines[0].get_color() == data
    recolour(figure, PAPER)
    assert to_hex(figure.get_facecolor()) == "#ffffff"


def test_a_legend_beside_the_axes_is_read_in_the_dark() -> None:
    """Not only that of the axes."""
    figure = draw_histogram(Histogram(np.array([0.0, 1.0]), np.array([1]), np.array([5])), quantity="p")

    recolour(figure, DARK)

    assert {to_hex(text.get_color()) for text in figure.legends[0].get_texts()} == {DARK.text}


def test_cells_of_a_matrix_keep_their_numbers_readable() -> None:
    """The numbers stand on the colours of the cells, not on the window's."""
    figure = draw_matrix(np.array([[1.0, np.nan], [0.2, 1.0]]), ("A", "B"), kind="correlation")
    before = [text.get_color() for text in figure.axes[0].texts], figure.axes[0].get_facecolor()

    recolour(figure, DARK)

    assert ([text.get_color() for text in figure.axes[0].texts], figure.axes[0].get_facecolor()) == before


def test_figures_are_written_as_png_and_svg(tmp_path: Path) -> None:
    """Both say what they must not be used for; a file of that name is replaced."""
    for name in ("plot.png", "plot.svg", "plot.png"):
        write_figure(tmp_path / name, draw_threshold_curve(curve(), threshold=0.5))

    with Image.open(tmp_path / "plot.png") as picture:
        assert "not a medical device" in picture.text["Description"]
        assert np.asarray(picture.convert("L")).std() > 10
    text = (tmp_path / "plot.svg").read_text("utf-8")
    assert text.lstrip().startswith("<?xml")
    assert "not a medical device" in text
    assert {path.name for path in tmp_path.iterdir()} == {"plot.png", "plot.svg"}


def test_another_ending_is_refused(tmp_path: Path) -> None:
    """A PDF that holds a PNG opens nowhere."""
    with pytest.raises(OutputError, match=r"found 'plot.pdf'"):
        write_figure(tmp_path / "plot.pdf", draw_threshold_curve(curve(), threshold=0.5))
