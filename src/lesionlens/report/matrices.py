"""Matrices as heatmaps with their numbers: correlations, confusions, overlaps."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.errors import InputError
from lesionlens.report.montage import NOTICE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MatrixKind", "draw_matrix", "write_matrix"]

# correlation: -1 to 1, blue against red. share: 0 to 1. counts: coloured by the share of their row, as rows are of very
# different size: nearly all voxels are background.
MatrixKind = Literal["correlation", "share", "counts"]

_CELL_INCHES, _LEAST_INCHES = 0.95, 4.0
_DPI = 120
_TITLE_POINTS, _TITLE_CHARACTERS_PER_INCH = 11, 11
# Names of maps and classes are anybody's; longer ones would leave no room for the cells.
_LONGEST_NAME = 40
# What a character of a name takes beside the cells, and below them, where names are turned by 45 degrees; and what
# title, colour bar and notice take.
_CHARACTER_INCHES, _TURNED_INCHES, _AROUND_INCHES = 0.085, 0.06, 1.8


def write_matrix(
    path: str | Path, values: ArrayLike, rows: Sequence[str], columns: Sequence[str] | None = None, **options: Any
) -> Path:
    """Write a matrix as PNG or SVG, as the suffix says; see :func:`draw_matrix`.

    An existing file is replaced in one piece.
    """
    from matplotlib import rc_context

    target, picture = Path(path), BytesIO()
    kind = "svg" if target.suffix.lower() == ".svg" else "png"
    # The same matrix gives the same file: no time of drawing.
    metadata = {"Description": NOTICE, **({"Date": None} if kind == "svg" else {})}
    with rc_context({"svg.hashsalt": NOTICE}):
        draw_matrix(values, rows, columns, **options).savefig(picture, format=kind, dpi=_DPI, metadata=metadata)
    target.write_bytes(picture.getvalue())
    return target


def draw_matrix(
    values: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str] | None = None,
    *,
    kind: MatrixKind,
    title: str = "",
    row_title: str = "",
    column_title: str = "",
) -> Figure:
    """Draw a matrix as coloured cells with a number in each.

    Parameters
    ----------
    values
        (rows, columns); what is NaN is grey, with a dash.
    rows, columns
        Names; by default the columns are those of the rows.
    kind
        What the numbers are; it decides colours and range, never the values at hand.
    title, row_title, column_title
        Words above, at the left and below.

    Raises
    ------
    InputError
        If there is not one name for each row and column.
    """
    from matplotlib.figure import Figure

    array = np.asarray(values, dtype=np.float64)
    columns = rows if columns is None else columns
    if array.shape != (len(rows), len(columns)):
        raise InputError(f"A matrix of {array.shape} needs as many names; found {len(rows)} and {len(columns)}.")
    size = [
        max(
            _LEAST_INCHES,
            _AROUND_INCHES + _CELL_INCHES * len(along) + each * max(map(len, map(_short, names)), default=0),
        )
        for along, names, each in ((columns, rows, _CHARACTER_INCHES), (rows, columns, _TURNED_INCHES))
    ]
    figure = Figure(figsize=(size[0], size[1]), layout="constrained")
    axes = figure.add_subplot()
    shown, low, colours = _colours(array, kind)
    image = axes.imshow(np.ma.masked_invalid(shown), cmap=colours, vmin=low, vmax=1)
    axes.set_facecolor("0.75")  # behind cells that are not defined
    for (row, column), value in np.ndenumerate(array):
        dark = np.isfinite(shown[row, column]) and _is_dark(image, float(shown[row, column]))
        axes.text(column, row, _text(value, kind), ha="center", va="center", color="white" if dark else "black")
    axes.set_xticks(range(len(columns)), [_short(name) for name in columns], rotation=45, ha="right")
    axes.set_yticks(range(len(rows)), [_short(name) for name in rows])
    axes.set(xlabel=column_title, ylabel=row_title)
    figure.colorbar(image, ax=axes, label="share of the row" if kind == "counts" else kind, shrink=0.8)
    if title:  # over the whole: above the cells alone it would run into the colour bar, which is higher than they are
        words = textwrap.fill(title, int(_TITLE_CHARACTERS_PER_INCH * size[0]))
        figure.suptitle(words, fontsize=_TITLE_POINTS)
    figure.supxlabel(NOTICE, fontsize=7, color="0.4")
    return figure


def _colours(array: NDArray[np.float64], kind: MatrixKind) -> tuple[NDArray[np.float64], float, str]:
    """Return the values that colours stand for, the lowest of the range, and the name of the colour map."""
    if kind == "correlation":
        return array, -1.0, "RdBu_r"
    if kind == "share":
        return array, 0.0, "viridis"
    total = array.sum(axis=1, keepdims=True)
    return np.divide(array, total, out=np.zeros_like(array), where=total > 0), 0.0, "viridis"


def _is_dark(image: Any, value: float) -> bool:
    red, green, blue, _ = image.cmap(image.norm(value))
    return bool(0.299 * red + 0.587 * green + 0.114 * blue < 0.5)


def _text(value: float, kind: MatrixKind) -> str:
    if not np.isfinite(value):
        return "\N{EN DASH}"
    return f"{value:,.0f}" if kind == "counts" else f"{value:.2f}"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
