"""Plots of one case: distributions of values, and what each threshold would make of a map."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lesionlens.distributions import Histogram, ThresholdCurve
from lesionlens.errors import OutputError, counted
from lesionlens.io.atomic import atomic_path
from lesionlens.report.montage import NOTICE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "FIGURE_SUFFIXES",
    "THRESHOLD_MARK",
    "draw_histogram",
    "draw_threshold_curve",
    "mark_threshold",
    "write_figure",
]

#: What a figure can be written as.
FIGURE_SUFFIXES = (".png", ".svg")
#: ``gid`` of the lines that stand at the threshold.
THRESHOLD_MARK = "threshold"

# Okabe and Ito's orange and blue: told apart with any colour vision, on white and on black.
_INSIDE, _OUTSIDE = "#e69f00", "#3d94d1"
_SIZE = (4.6, 5.2)
_DPI = 150
# Figures that span more than this read better on a scale of powers of ten.
_WIDE = 20.0
# Over less than this, powers of ten alone are too few numbers to read a scale by.
_FEW_POWERS = 300.0
_MM3_PER_ML = 1000.0


def draw_histogram(found: Histogram, *, quantity: str, title: str = "", threshold: float | None = None) -> Figure:
    """Draw which share of the voxels inside and outside of the regions has which value, on a scale of powers of ten.

    Parameters
    ----------
    found
        What was counted.
    quantity
        What the values are, with their unit.
    title
        Words above.
    threshold
        Where a line stands; None for none.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    for counts, beyond, colour, name in (
        (found.outside, found.outside_beyond, _OUTSIDE, "outside"),
        (found.inside, found.inside_beyond, _INSIDE, "inside"),
    ):
        total = int(counts.sum()) + beyond
        if total:
            label = f"{name} regions: {counted(total, 'voxel')}" + (f", {beyond:,} beyond" if beyond else "")
            axes.stairs(100 * counts / total, found.edges, color=colour, linewidth=1.5, label=label)
            axes.stairs(100 * counts / total, found.edges, color=colour, fill=True, alpha=0.3)
    axes.set(xlabel=quantity, ylabel="share of these voxels in %", yscale="log", title=title)
    axes.set_xlim(found.edges[0], found.edges[-1])
    _write_plain_numbers(axes)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper center", fontsize=8, frameon=False)
    if threshold is not None:
        mark_threshold(axes, threshold)
    _finish(figure)
    return figure


def draw_threshold_curve(curve: ThresholdCurve, *, threshold: float, title: str = "") -> Figure:
    """Draw the volume and the number of regions at each threshold, one above the other, and where the threshold stands.

    Parameters
    ----------
    curve
        What was counted.
    threshold
        The one in use.
    title
        Words above.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=_SIZE, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    _draw_steps(above, curve.thresholds, curve.volume_mm3 / _MM3_PER_ML)
    _draw_steps(below, curve.thresholds, curve.count)
    above.set(ylabel="volume in mL", title=title)
    below.set(ylabel="regions", xlabel="threshold of the probability", xlim=(0, 1))
    if below.get_yscale() == "linear":
        below.yaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (above, below):
        mark_threshold(axes, threshold)
    _finish(figure)
    return figure


def mark_threshold(axes: Axes, threshold: float) -> None:
    """Draw a line at a threshold, with the ``gid`` :data:`THRESHOLD_MARK`."""
    axes.axvline(threshold, color=_INSIDE, linewidth=2, linestyle="--", gid=THRESHOLD_MARK)


def write_figure(path: str | Path, figure: Figure) -> Path:
    """Write a figure as PNG or SVG, by the ending of the name; an existing file is replaced in one piece.

    Raises
    ------
    OutputError
        If the name has another ending, or the file cannot be written.
    """
    target = Path(path)
    kind = target.suffix.lower()
    if kind not in FIGURE_SUFFIXES:
        raise OutputError(f"A figure is written as {' or '.join(FIGURE_SUFFIXES)}; found {target.name!r}.")
    picture = BytesIO()
    figure.savefig(picture, format=kind[1:], dpi=_DPI, metadata={"Description": NOTICE})
    with atomic_path(target, overwrite=True) as temporary:
        temporary.write_bytes(picture.getvalue())
    return target


def _draw_steps(axes: Axes, thresholds: NDArray[np.float64], values: NDArray[np.generic]) -> None:
    """Draw values that hold from each threshold down to the one before."""
    axes.plot(thresholds, values, color=_OUTSIDE, linewidth=1.8, drawstyle="steps-pre")
    held = np.asarray(values, dtype=np.float64)
    if (held > 0).any() and held.max() > _WIDE * np.median(held[held > 0]):
        axes.set_yscale("log")
        _write_plain_numbers(axes)
    else:
        axes.set_ylim(0, max(float(held.max()) * 1.05, np.finfo(float).tiny))
    axes.grid(visible=True, color="0.5", alpha=0.25)


def _write_plain_numbers(axes: Axes) -> None:
    """Write 30 and 0.01 on a scale of powers of ten, where matplotlib writes 3 x 10^1 and 10^-2."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    plain = FuncFormatter(lambda value, _: f"{value:g}")
    low, high = axes.get_ylim()
    few = high < _FEW_POWERS * low
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.yaxis.set_minor_formatter(plain if few else NullFormatter())


def _finish(figure: Figure) -> None:
    figure.supxlabel(NOTICE, fontsize=7, color="0.4")
