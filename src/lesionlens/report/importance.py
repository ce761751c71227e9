"""Feature importance as a bar chart and as a table."""

from __future__ import annotations

import textwrap
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING

from lesionlens.heatmap import FeatureFall, Importance
from lesionlens.io.tables import row_writer
from lesionlens.report.montage import NOTICE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_bars", "write_bars", "write_falls"]

# More bars cannot be read; the table holds all.
MOST_BARS = 40

# Those of the viewer and of the pictures: evidence for is orange, against is blue.
_FOR, _AGAINST = "#e08214", "#2b6cb0"

_WIDTH, _BAR, _MARGIN, _DPI = 8.0, 0.28, 1.9, 150
# For each inch of the width.
_NAME_CHARACTERS, _TITLE_CHARACTERS, _LABEL_CHARACTERS = 5, 10.5, 9


def write_falls(found: Importance, path: Path | str) -> Path:
    """Write one row for each feature as CSV; the columns are the fields of ``FeatureFall``."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        add = row_writer(file)
        for row in ([field.name for field in fields(FeatureFall)], *map(astuple, found.falls)):
            add(row)
    return Path(path)


def write_bars(found: Importance, path: Path | str) -> Path:
    """Write the bar chart as a PNG; see :func:`draw_bars`."""
    draw_bars(found).savefig(path, format="png", dpi=_DPI, metadata={"Description": NOTICE})
    return Path(path)


def draw_bars(found: Importance, *, width: float = _WIDTH) -> Figure:
    """Draw one bar for each feature, the largest falls on top; permutations with their standard deviation.

    Parameters
    ----------
    found
        What was measured.
    width
        Of the figure, in inches.

    Returns
    -------
    matplotlib.figure.Figure
        On an Agg canvas of its own, outside pyplot.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = sorted(found.falls, key=lambda fall: -abs(fall.fall))[:MOST_BARS]
    figure = Figure(figsize=(width, _MARGIN + _BAR * len(shown)), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = range(len(shown))
    axes.barh(
        places,
        [fall.fall for fall in shown],
        xerr=[fall.sd for fall in shown] if any(fall.sd for fall in shown) else None,
        color=[_FOR if fall.fall >= 0 else _AGAINST for fall in shown],
        ecolor="0.3",
    )
    axes.set_yticks(
        places, [textwrap.shorten(fall.name, int(_NAME_CHARACTERS * width), placeholder=" …") for fall in shown]
    )
    axes.invert_yaxis()
    axes.axvline(0, color="0.3", linewidth=0.8)
    label = f"fall of the target without the feature (it is {found.score:.4g} with all)"
    axes.set_xlabel(textwrap.fill(label, int(_LABEL_CHARACTERS * width)))
    made = found.provenance
    more = f" · {len(shown)} of {len(found.falls)} features" if len(shown) < len(found.falls) else ""
    axes.set_title(textwrap.fill(f"{made.target} · {made.bundle}{more}", int(_TITLE_CHARACTERS * width)), fontsize=9)
    figure.supxlabel(NOTICE, fontsize=8, color="#b36b00", fontweight="bold")
    return figure
