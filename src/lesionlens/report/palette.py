"""Figures in the colours of a window: drawn for paper, and recoloured for a dark or light screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.colors import to_rgb

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

__all__ = ["PAPER", "Palette", "recolour"]

# Colours whose channels differ by less are greys: lines of help, not data.
_GREY = 0.02


@dataclass(frozen=True)
class Palette:
    """The colours of everything in a figure that is not data, as matplotlib takes them.

    Parameters
    ----------
    background, text
        Of the figure and all words.
    lines
        Axes, ticks and lines of help.
    """

    background: str
    text: str
    lines: str


PAPER = Palette("white", "black", "0.5")


def recolour(figure: Figure, palette: Palette) -> None:
    """Give everything that is no data the colours of a palette: words, axes, frames and grey lines.

    Curves, dots, cells and the numbers in them keep theirs.
    """
    figure.set_facecolor(palette.background)
    for words in (*figure.texts, *(sub for sub in (figure._suptitle, figure._supxlabel) if sub is not None)):  # type: ignore[attr-defined]  # no public name
        words.set_color(palette.text)
    for legend in figure.legends:
        _recolour_legend(legend, palette)
    for axes in figure.axes:
        _recolour_axes(axes, palette)


def _recolour_axes(axes: Axes, palette: Palette) -> None:
    if not axes.images:  # the grey behind cells that are not defined says so
        axes.set_facecolor(palette.background)
    for spine in axes.spines.values():
        spine.set_color(palette.lines)
    axes.tick_params(which="both", color=palette.lines, labelcolor=palette.text)
    for words in (axes.title, axes.xaxis.label, axes.yaxis.label):
        words.set_color(palette.text)
    for line in axes.lines:
        if _is_grey(line.get_color()):
            line.set_color(palette.lines)
    legend = axes.get_legend()
    if legend is not None:
        _recolour_legend(legend, palette)


def _recolour_legend(legend: Legend, palette: Palette) -> None:
    legend.get_frame().set(facecolor=palette.background, edgecolor=palette.lines)
    for words in legend.get_texts():
        words.set_color(palette.text)
    for handle in legend.legend_handles:
        if handle is not None and _is_grey(_colour_of(handle)):
            handle.set(color=palette.lines)


def _colour_of(handle: Any) -> Any:
    return handle.get_color() if hasattr(handle, "get_color") else "red"


def _is_grey(colour: Any) -> bool:
    red, green, blue = to_rgb(colour)
    return max(red, green, blue) - min(red, green, blue) < _GREY
