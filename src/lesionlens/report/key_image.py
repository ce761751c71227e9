"""The picture of one finding: the slice that shows most of it, whole and from near."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lesionlens.display import DisplayView
from lesionlens.heatmap import Heatmap
from lesionlens.report import paint
from lesionlens.report.montage import NOTICE, plane_of
from lesionlens.volume import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_key_image", "key_image", "near_box"]

# Of a report page, on paper some 17 cm wide.
_WIDTH_INCHES, _HEIGHT_INCHES, _DPI = 7.0, 3.3, 110
# Around a finding there is room to see where it lies, also around a small one.
_MARGIN_MM, _LEAST_MM = 12.0, 50.0
_WHOLE_BAR_MM, _NEAR_BAR_MM = 50.0, 10.0
# Told apart with a colour-vision deficiency too; in print by the dashes.
_READER_COLOUR, _MODEL_COLOUR = paint.OUTLINE_COLOUR, "#ffb000"

Mask = NDArray[np.bool_]


def key_image(
    volume: Volume, mask: Mask, *, model: Mask | None = None, probability: Heatmap | None = None, threshold: float = 0.5
) -> bytes:
    """Return the picture of a finding as a PNG; see :func:`draw_key_image`."""
    figure = draw_key_image(volume, mask, model=model, probability=probability, threshold=threshold)
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI, facecolor="black", metadata={"Description": NOTICE})
    return picture.getvalue()


def draw_key_image(
    volume: Volume, mask: Mask, *, model: Mask | None = None, probability: Heatmap | None = None, threshold: float = 0.5
) -> Figure:
    """Draw the slice that shows most of a finding: whole, with the probability in colours, and the finding from near.

    Its outline is a solid line; that of the model is dashed, so that the two are told apart without colours.

    Parameters
    ----------
    volume
        The scan.
    mask
        (i, j, k) Boolean: the finding, not empty.
    model
        (i, j, k) Boolean: the finding as the model drew it, where that is something else.
    probability
        Map of the class, shown at or above ``threshold``.
    threshold
        In (0, 1].
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    view = DisplayView(volume.grid)
    plane = plane_of(view)
    slider, down, across = plane.order
    spacing = (view.scale[down], view.scale[across])
    stack = plane.pictures(view.to_display(mask))
    n = int(np.count_nonzero(stack, axis=(1, 2)).argmax())

    def picture(array: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(plane.pictures(view.to_display(array))[n])

    scale = None if probability is None else paint.probability_scale(probability, threshold)
    figure = Figure(figsize=(_WIDTH_INCHES, _HEIGHT_INCHES), facecolor="black")
    FigureCanvasAgg(figure)
    whole, near = (figure.add_axes(place) for place in ((0.005, 0.01, 0.44, 0.98), (0.455, 0.01, 0.44, 0.98)))
    shown, drawn = picture(volume.array), stack[n]
    window = paint.scan_window(volume)
    outlines = [(drawn, _READER_COLOUR, False), *([] if model is None else [(picture(model), _MODEL_COLOUR, True)])]
    size = (shown.shape[0] * spacing[0], shown.shape[1] * spacing[1])
    for axes in (whole, near):
        axes.set(xticks=[], yticks=[])
        box = (0, size[1], size[0], 0)
        axes.imshow(shown, cmap="gray", vmin=window[0], vmax=window[1], extent=box, interpolation="bilinear")
    if scale is not None and probability is not None:
        whole.imshow(scale.paint(picture(probability.array)), extent=(0, size[1], size[0], 0), interpolation="nearest")
        _draw_bar(figure, scale)
    for outline, colour, dashed in outlines:
        paint.draw_outline(near, outline, spacing, width=1.2, colour=colour, dashed=dashed, edged=True)
    left, right, top, bottom = near_box(drawn, spacing, size)
    whole.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color="white", linewidth=0.8)
    whole.set(xlim=(0, size[1]), ylim=(size[0], 0))
    near.set(xlim=(left, right), ylim=(bottom, top))
    _letter(whole, plane.edges, view.slice_place(slider, n))
    _bar(whole, _WHOLE_BAR_MM, (0, size[1], 0, size[0]))
    _bar(near, _NEAR_BAR_MM, (left, right, top, bottom))
    return figure


def near_box(drawn: Mask, spacing: tuple[float, float], size: tuple[float, float]) -> tuple[float, float, float, float]:
    """Return the left, right, top and bottom edge in mm of a square around a finding, inside the picture."""
    rows, columns = np.nonzero(drawn)
    low = np.array([rows.min() * spacing[0], columns.min() * spacing[1]]) - _MARGIN_MM
    high = np.array([(rows.max() + 1) * spacing[0], (columns.max() + 1) * spacing[1]]) + _MARGIN_MM
    edge = min(max(*(high - low), _LEAST_MM), *size)
    first = np.clip((low + high - edge) / 2, 0, np.array(size) - edge)
    return float(first[1]), float(first[1] + edge), float(first[0]), float(first[0] + edge)


def _letter(axes: Axes, edges: tuple[str, str, str, str], place: str) -> None:
    left, right, top, bottom = edges
    paint.write(axes, left, (0.01, 0.5), "left", "center")
    paint.write(axes, right, (0.99, 0.5), "right", "center")
    paint.write(axes, top, (0.5, 0.99), "center", "top")
    paint.write(axes, bottom, (0.5, 0.01), "center", "bottom")
    paint.write(axes, place, (0.01, 0.01), "left", "bottom")


def _bar(axes: Axes, length_mm: float, box: tuple[float, float, float, float]) -> None:
    """Draw a bar of known length at the lower right of what a picture shows."""
    left, right, top, bottom = box
    end, y = right - 0.04 * (right - left), bottom - 0.05 * (bottom - top)
    axes.plot([end - length_mm, end], [y, y], color="white", linewidth=1.5, solid_capstyle="butt")
    middle = (end - length_mm / 2 - left) / (right - left)
    paint.write(axes, f"{length_mm:.0f} mm", (middle, 0.06), "center", "bottom")


def _draw_bar(figure: Figure, scale: paint.Scale) -> None:
    paint.draw_colour_bar(figure.add_axes((0.905, 0.12, 0.018, 0.76)), scale)
