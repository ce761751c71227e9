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
from lesionlens.report.montage import NOTICE, plane_of
from lesionlens.report.slices import choose_slices, crop_box, head_mask, region_areas
from lesionlens.volume import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MOST_SLICES", "PROBABILITY_LEVELS", "SHARES", "draw_lines", "lines_png"]

#: Probabilities and shares of the end of an attribution's colours that lines are drawn at.
PROBABILITY_LEVELS: Final = (0.75, 0.9)
SHARES: Final = (0.25, 0.5, 0.75)
#: So many pictures stand beside each other: on paper each is some 4 cm wide.
MOST_SLICES: Final = 4
# A short dash, dots, and both: told apart from each other and from the solid outline of a region.
_STYLES: Final = ("dashed", "dotted", "dashdot")
_WIDTH, _EDGE, _BOTTOM, _GAP, _DPI = 7.2, 0.02, 0.25, 0.05, 130
# The scan beneath is this much lighter than it is: black lines are seen on all of it.
_PALE: Final = 1.2
_MOST_NUMBERS: Final = 20


@dataclass(frozen=True, eq=False)
class _Pictures:
    """Pictures (n, downwards, to the right) of one plane, cropped."""

    plane: Plane
    spacing_mm: tuple[float, float]
    places: list[str]
    labels: NDArray[Any]
    rows: list[tuple[NDArray[Any], tuple[float, ...]]]
    scan: NDArray[Any] | None
    window: tuple[float, float]


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
    """Draw the slices with most of the regions: outlines with numbers, and lines of equal value around and in them.

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

    if not labels.any():
        return None
    found = _pictures(probability, labels, attribution, volume)
    height_mm, width_mm = (size * mm for size, mm in zip(found.labels.shape[1:], found.spacing_mm, strict=True))
    across = (_WIDTH - 2 * _EDGE) / MOST_SLICES
    along = across * min(max(height_mm / width_mm, 0.3), 2.5)
    height = along * len(found.rows) + _BOTTOM + _EDGE
    figure = Figure(figsize=(_WIDTH, height), facecolor="white")
    FigureCanvasAgg(figure)
    for row, (values, levels) in enumerate(found.rows):
        for n in range(len(found.places)):
            box = (_EDGE + n * across, height - _EDGE - (row + 1) * along, across - _GAP, along - _GAP)
            axes = figure.add_axes(
                (box[0] / _WIDTH, box[1] / height, box[2] / _WIDTH, box[3] / height), label=f"slice {n} row {row}"
            )
            _draw(axes, found, n, values[n], levels)
    figure.text(_EDGE / _WIDTH, _BOTTOM / 2 / height, NOTICE, size=7, va="center", weight="bold")
    return figure


def _pictures(
    probability: Heatmap, labels: NDArray[Any], attribution: Heatmap | None, volume: Volume | None
) -> _Pictures:
    view = DisplayView(probability.grid)
    plane = plane_of(view)
    slider, down, across = plane.order
    spacing = (view.scale[down], view.scale[across])

    def pictures(array: NDArray[Any]) -> NDArray[Any]:
        return plane.pictures(view.to_display(array))

    drawn = pictures(labels)
    head = np.zeros(drawn.shape, dtype=bool) if volume is None else pictures(head_mask(volume.array))
    chosen = choose_slices(
        region_areas(drawn), head, spacing_mm=view.scale[slider], fewest=1, most=min(MOST_SLICES, len(drawn))
    )
    part = (chosen, *crop_box(head if head.any() else drawn > 0, drawn > 0, spacing_mm=spacing))
    rows = [(pictures(probability.array)[part], PROBABILITY_LEVELS)]
    if attribution is not None:
        end = paint.attribution_scale(attribution).limits[1]
        rows.append((pictures(attribution.array)[part], tuple(share * end for share in SHARES)))
    return _Pictures(
        plane=plane,
        spacing_mm=spacing,
        places=[view.slice_place(slider, index) for index in chosen],
        labels=drawn[part],
        rows=rows,
        scan=None if volume is None else pictures(volume.array)[part],
        window=(0.0, 1.0) if volume is None else paint.scan_window(volume),
    )


def _draw(axes: Axes, found: _Pictures, n: int, values: NDArray[Any], levels: tuple[float, ...]) -> None:
    (rows, columns), (down, across) = values.shape, found.spacing_mm
    height, width = rows * down, columns * across
    axes.set(xticks=[], yticks=[])
    if found.scan is not None:
        low, high = found.window
        grey: dict[str, Any] = {"cmap": "gray", "vmin": low - _PALE * (high - low), "vmax": high}
        axes.imshow(found.scan[n], extent=(0, width, height, 0), interpolation="bilinear", **grey)
    paint.draw_outline(axes, found.labels[n] > 0, found.spacing_mm, width=1.0, colour="black")
    x, y = (np.arange(columns) + 0.5) * across, (np.arange(rows) + 0.5) * down
    inside = [(level, style) for level, style in zip(levels, _STYLES, strict=False) if values.min() < level]
    for level, style in ((level, style) for level, style in inside if level < values.max()):
        axes.contour(x, y, values, levels=[level], colors="black", linewidths=0.8, linestyles=style)
    axes.set(xlim=(0, width), ylim=(height, 0))
    _write(axes, found.places[n], (0.02, 0.02), "left", "bottom")
    _write(axes, found.plane.edges[0], (0.01, 0.5), "left", "center")
    _write(axes, found.plane.edges[1], (0.99, 0.5), "right", "center")
    for number in [int(name) for name in np.unique(found.labels[n]) if name][:_MOST_NUMBERS]:
        where = np.argwhere(found.labels[n] == number)
        place = ((where[:, 1].max() + 1) * across / width, 1 - where[:, 0].min() * down / height)
        _write(axes, str(number), place, "left", "bottom", weight="bold")


def _write(axes: Axes, text: str, place: tuple[float, float], across: str, along: str, **style: Any) -> None:
    from matplotlib.patheffects import withStroke

    rim = [withStroke(linewidth=1.5, foreground="white")]
    axes.text(*place, text, transform=axes.transAxes, size=7, ha=across, va=along, path_effects=rim, **style)
