"""Regions and maps as lines on white: for eyes that see no colours, and for printers that have none."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from lesionlens.display import DisplayView, Plane
from lesionlens.heatmap import Heatmap
from lesionlens.report import paint
from lesionlens.report.key_image import near_box
from lesionlens.report.montage import NOTICE, plane_of
from lesionlens.volume import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MOST_REGIONS", "PROBABILITY_LEVELS", "SHARES", "draw_lines", "lines_png"]

#: Probabilities and shares of the end of an attribution's colours that lines are drawn at.
PROBABILITY_LEVELS: Final = (0.75, 0.9)
SHARES: Final = (0.25, 0.5, 0.75)
#: So many of the largest regions stand beside each other: on paper each picture is some 4 cm wide.
MOST_REGIONS: Final = 4
# A short dash, dots, and both: told apart from each other and from the solid outline of a region.
_STYLES: Final = ("dashed", "dotted", "dashdot")
_WIDTH, _EDGE, _BOTTOM, _GAP, _DPI = 7.2, 0.02, 0.25, 0.05, 130
# The scan beneath is this much lighter than it is: black lines are seen on all of it.
_PALE: Final = 1.2
_BAR_MM: Final = 10.0


@dataclass(frozen=True, eq=False)
class _Near:
    """What is seen of one region: the slice with most of it, and the box around it there."""

    number: int
    place: str
    box: tuple[float, float, float, float]
    labels: NDArray[Any]
    rows: tuple[tuple[NDArray[Any], tuple[float, ...]], ...]
    scan: NDArray[Any] | None


def lines_png(
    probability: Heatmap, labels: NDArray[Any], *, attribution: Heatmap | None = None, volume: Volume | None = None
) -> bytes | None:
    """Return the lines as a PNG, or None where there is no region; see :func:`draw_lines`."""
    figure = draw_lines(probability, labels, attribution=attribution, volume=volume)
    if figure is None:
        return None
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI, metadata={"Description": NOTICE})
    return picture.getvalue()


def draw_lines(
    probability: Heatmap, labels: NDArray[Any], *, attribution: Heatmap | None = None, volume: Volume | None = None
) -> Figure | None:
    """Draw the largest regions from near: outlines with numbers, and lines of equal value around and in them.

    Parameters
    ----------
    probability
        Map of one class: lines in the first row, at :data:`PROBABILITY_LEVELS`.
    labels
        (i, j, k) integers, 0 outside: the regions.
    attribution
        Lines in a second row, at :data:`SHARES` of the value at which its colours end.
    volume
        The scan, shown pale below the lines; by default they stand on white.

    Returns
    -------
    matplotlib.figure.Figure or None
        On an Agg canvas of its own; None where there is no region.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    numbers = [int(name) for name in np.unique(labels) if name][:MOST_REGIONS]
    if not numbers:
        return None
    view = DisplayView(probability.grid)
    plane = plane_of(view)
    window = (0.0, 1.0) if volume is None else paint.scan_window(volume)
    shown = [_near(number, view, plane, probability, labels, attribution, volume) for number in numbers]
    spacing = (view.scale[plane.order[1]], view.scale[plane.order[2]])
    n_rows, side = 1 if attribution is None else 2, (_WIDTH - 2 * _EDGE) / MOST_REGIONS
    height = side * n_rows + _BOTTOM + _EDGE
    figure = Figure(figsize=(_WIDTH, height), facecolor="white")
    FigureCanvasAgg(figure)
    for row in range(n_rows):
        for n, near in enumerate(shown):
            left, bottom = _EDGE + n * side, height - _EDGE - (row + 1) * side
            place = (left / _WIDTH, bottom / height, (side - _GAP) / _WIDTH, (side - _GAP) / height)
            axes = figure.add_axes(place, label=f"region {near.number} row {row}")
            _draw(axes, near, row, spacing, window)
            _letter(axes, near, plane)
    figure.text(_EDGE / _WIDTH, _BOTTOM / 2 / height, NOTICE, size=7, va="center", weight="bold")
    return figure


def _near(
    number: int,
    view: DisplayView,
    plane: Plane,
    probability: Heatmap,
    labels: NDArray[Any],
    attribution: Heatmap | None,
    volume: Volume | None,
) -> _Near:
    slider, down, across = plane.order
    spacing = (view.scale[down], view.scale[across])
    stack = plane.pictures(view.to_display(labels))
    k = int(np.count_nonzero(stack == number, axis=(1, 2)).argmax())

    def picture(array: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(plane.pictures(view.to_display(array))[k])

    size = (stack.shape[1] * spacing[0], stack.shape[2] * spacing[1])
    rows: list[tuple[NDArray[Any], tuple[float, ...]]] = [(picture(probability.array), PROBABILITY_LEVELS)]
    if attribution is not None:
        end = paint.attribution_scale(attribution).limits[1]
        rows.append((picture(attribution.array), tuple(share * end for share in SHARES)))
    return _Near(
        number=number,
        place=view.slice_place(slider, k),
        box=near_box(stack[k] == number, spacing, size),
        labels=stack[k],
        rows=tuple(rows),
        scan=None if volume is None else picture(volume.array),
    )


def _draw(axes: Axes, near: _Near, row: int, spacing_mm: tuple[float, float], window: tuple[float, float]) -> None:
    values, levels = near.rows[row]
    (n_rows, n_columns), (down, across) = values.shape, spacing_mm
    axes.set(xticks=[], yticks=[])
    if near.scan is not None:
        low, high = window
        grey: dict[str, Any] = {"cmap": "gray", "vmin": low - _PALE * (high - low), "vmax": high}
        extent = (0, n_columns * across, n_rows * down, 0)
        axes.imshow(near.scan, extent=extent, interpolation="bilinear", **grey)
    paint.draw_outline(axes, near.labels > 0, spacing_mm, width=1.4, colour="black")
    x, y = (np.arange(n_columns) + 0.5) * across, (np.arange(n_rows) + 0.5) * down
    for level, style in zip(levels, _STYLES, strict=False):
        if values.min() < level < values.max():
            axes.contour(x, y, values, levels=[level], colors="black", linewidths=0.8, linestyles=style)
    left, right, top, bottom = near.box
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="auto")


def _letter(axes: Axes, near: _Near, plane: Plane) -> None:
    _write(axes, f"{near.number}", (0.02, 0.98), "left", "top", weight="bold", size=9)
    _write(axes, near.place, (0.02, 0.02), "left", "bottom")
    _write(axes, plane.edges[0], (0.01, 0.5), "left", "center")
    _write(axes, plane.edges[1], (0.99, 0.5), "right", "center")
    left, right, top, bottom = near.box
    end, y = right - 0.04 * (right - left), bottom - 0.04 * (bottom - top)
    axes.plot([end - _BAR_MM, end], [y, y], color="black", linewidth=1.5, solid_capstyle="butt")
    _write(axes, f"{_BAR_MM:.0f} mm", (0.96, 0.06), "right", "bottom")


def _write(axes: Axes, text: str, place: tuple[float, float], across: str, along: str, **style: Any) -> None:
    from matplotlib.patheffects import withStroke

    rim = [withStroke(linewidth=1.5, foreground="white")]
    words = {"size": 7, "ha": across, "va": along, **style}
    axes.text(*place, text, transform=axes.transAxes, path_effects=rim, **words)
