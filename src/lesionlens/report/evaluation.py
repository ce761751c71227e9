"""Figures of a cohort: Dice by volume, FROC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lesionlens.report.montage import NOTICE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_dice_by_volume", "draw_froc"]

_SIZE = (5.4, 4.8)
_MM3_PER_ML = 1000.0
# Okabe and Ito's colours: told apart with any colour vision.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442", "0.3")

# Points of a curve: false positives per case, sensitivity, and the ends of its interval where there is one.
Points = Sequence[tuple[float, float, float | None, float | None]]


def draw_dice_by_volume(groups: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Draw the Dice of each case against the volume of its mask.

    Parameters
    ----------
    groups
        By the name of a stratum, volume in mm³ and Dice of each case.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    for place, (name, points) in enumerate(groups.items()):
        x, y = [volume / _MM3_PER_ML for volume, _ in points], [dice for _, dice in points]
        axes.scatter(
            x, y, 22, color=_COLOURS[place % len(_COLOURS)], alpha=0.8, label=f"{name or 'all'}: {len(points)}"
        )
    if any(groups.values()):
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())  # labels of 2, 3, 4 would lie over each other
    axes.set(xlabel="marked volume in mL", ylabel="Dice", ylim=(-0.02, 1.02), title="Overlap by volume")
    axes.grid(visible=True, color="0.9")
    axes.legend(loc="lower right", fontsize=8)
    figure.supxlabel(NOTICE, fontsize=7, color="0.4")
    return figure


def draw_froc(curves: Mapping[str, Points]) -> Figure:
    """Draw sensitivity against false positives per case, with the interval of the first curve.

    Parameters
    ----------
    curves
        By the name of a stratum, the points in the order of the thresholds.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    for place, (name, points) in enumerate(curves.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        axes.plot([p[0] for p in points], [p[1] for p in points], "o-", color=colour, ms=3, label=name or "all")
        for x, _, low, high in points if place == 0 else ():
            if low is not None and high is not None:
                axes.plot((x, x), (low, high), color=colour, linewidth=1, alpha=0.4)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(left=0)
    axes.set(
        xlabel="false positives per case", ylabel="sensitivity, lesion by lesion", ylim=(-0.02, 1.02), title="FROC"
    )
    axes.grid(visible=True, color="0.9")
    if curves:
        axes.legend(loc="lower right", fontsize=8)
    figure.supxlabel(NOTICE, fontsize=7, color="0.4")
    return figure
