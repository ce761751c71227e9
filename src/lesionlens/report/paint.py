"""Colours of a picture: window of the scan, colour scales of the maps, outlines, letters.

Colour maps are perceptually even, readable with colour-vision deficiency, and those of the viewer: *plasma* for
probabilities, *viridis* for attributions.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lesionlens.heatmap import Heatmap
from lesionlens.methods import method_title
from lesionlens.report.slices import head_mask
from lesionlens.scales import scale_of
from lesionlens.volume import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Scale",
    "attribution_scale",
    "draw_colour_bar",
    "draw_outline",
    "draw_scale_bar",
    "feature_scale",
    "probability_scale",
    "scan_window",
    "write",
]

# Robust limits of the grey values inside the head: single bright vessels do not darken the rest.
WINDOW_PERCENTILES = (0.5, 99.5)

# CT numbers have a meaning; the usual soft-tissue window (level 40, width 400).
CT_WINDOW_HU = (-160.0, 240.0)

# Evidence beyond this percentile of all positive values takes the last colour: one outlier must not fade all the rest.
LIMIT_PERCENTILE = 99.0

# The anatomy has to shine through the colours.
PROBABILITY_OPACITY = 0.65
ATTRIBUTION_OPACITY = 0.75

# The scan beneath an attribution is darkened to this share: a bright lesion, where evidence mostly lies, would leave
# nothing but pale colours of it.
ATTRIBUTION_GREY = 0.5

# Seen on grey, on white and on the colours of probabilities and of attribution for a class.
OUTLINE_COLOUR = "#00e5ff"

# Features of both signs: the bright ends of the viewer's blue-orange.
BELOW_COLOUR, ABOVE_COLOUR = (0.35, 0.75, 1.0, 1.0), (1.0, 0.6, 0.1, 1.0)

# What an outline's dark rim adds to the width of its line.
_RIM_POINTS = 1.2

_CAPTION_CHARACTERS = 28

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """How the values of one map become colours.

    Parameters
    ----------
    name
        Name of the row of pictures.
    caption
        What the colours mean, beside the colour bar.
    limits
        Values of the first and last colour.
    ticks
        Values to name on the bar, with their text.
    paint
        Turns (rows, columns) values into (rows, columns, 4) red, green, blue and opacity in [0, 1].
    grey
        Brightness of the scan beneath, as a share of its own, in (0, 1].
    """

    name: str
    caption: str
    limits: tuple[float, float]
    ticks: tuple[tuple[float, str], ...]
    paint: Callable[[NDArray[Any]], Floats]
    grey: float = 1.0


def scan_window(volume: Volume, *, head: NDArray[np.bool_] | None = None) -> tuple[float, float]:
    """Return the values of the scan that are shown black and white.

    Parameters
    ----------
    volume
        The scan.
    head
        (i, j, k) True inside the head, when known already.
    """
    if volume.unit == "HU":
        return CT_WINDOW_HU
    inside = volume.array[head_mask(volume.array) if head is None else head]
    if not inside.size:
        return 0.0, max(1.0, 2 * float(np.nanmax(volume.array, initial=0.0)))
    low, high = (float(value) for value in np.percentile(inside, WINDOW_PERCENTILES))
    return (low, high) if high > low else (low - 1, high)


def probability_scale(probability: Heatmap, threshold: float) -> Scale:
    """Return the colours of a map of probability or boxes: 0 to 1 in every picture, transparent below the threshold."""

    def paint(values: NDArray[Any]) -> Floats:
        colours = _colours("plasma", np.clip(values, 0, 1))
        colours[..., 3] = np.where(values >= threshold, PROBABILITY_OPACITY, 0)  # the rule of label_regions
        return colours

    ticks = {0.0: "0", 1.0: "1", threshold: f"{threshold:.2f}"}
    caption = f"{'confidence' if probability.kind == 'detection' else 'probability'} of {probability.label}"
    return Scale(probability.kind, caption, (0.0, 1.0), tuple(ticks.items()), paint)


def attribution_scale(attribution: Heatmap) -> Scale:
    """Return the colours of the evidence for a class: one scale for the volume, fading to nothing at 0.

    Evidence against the class has no colour: in most networks nearly every voxel of healthy tissue speaks against a
    lesion, which would paint the whole scan and hide what speaks for one. It is in the raw map.
    """
    positive = attribution.array[attribution.array > 0]
    highest = float(positive.max()) if positive.size else 0.0
    limit = float(np.percentile(positive, LIMIT_PERCENTILE)) if positive.size else 1.0

    def paint(values: NDArray[Any]) -> Floats:
        strength = np.clip(np.asarray(values, dtype=np.float64) / limit, 0, 1)
        colours = _colours("viridis", 0.25 + 0.75 * strength)  # its dark end would darken the scan
        colours[..., 3] = ATTRIBUTION_OPACITY * np.sqrt(strength)
        return colours

    ticks = ((0.0, "0"), (limit / 2, f"{limit / 2:.2g}"), (limit, f"{'≥' * (highest > limit)}{limit:.2g}"))
    caption = f"evidence for {attribution.label}, no unit" if positive.size else f"no evidence for {attribution.label}"
    return Scale("attribution", caption, (0.0, limit), ticks, paint, ATTRIBUTION_GREY)


def feature_scale(feature: Heatmap) -> Scale:
    """Return the colours of any other map: one scale for the volume, fading to nothing at 0, both signs alike.

    Maps whose values mean something by themselves, such as those of anomaly, have the limit that follows from that.
    """
    size = np.abs(feature.array[feature.array != 0])
    scale = scale_of(feature)
    limit = scale.limit or (float(np.percentile(size, LIMIT_PERCENTILE)) if size.size else 1.0)
    more = "≥" if size.size and size.max() > limit else ""

    def paint(values: NDArray[Any]) -> Floats:
        strength = np.clip(np.asarray(values, dtype=np.float64) / limit, -1, 1)
        if feature.signed:
            colours = np.where(strength[..., np.newaxis] < 0, BELOW_COLOUR, ABOVE_COLOUR)
        else:
            colours = _colours("viridis", 0.25 + 0.75 * strength)
        colours[..., 3] = ATTRIBUTION_OPACITY * np.sqrt(np.abs(strength))
        return colours

    ticks = ((0.0, "0"), (limit, f"{more}{limit:.2g}"))
    lowest = ((-limit, f"{more.replace('≥', '≤')}{-limit:.2g}"),) if feature.signed else ()
    made = "anomaly" if feature.kind == "anomaly" else method_title(feature.provenance.method) or feature.kind
    caption = f"{made} of {feature.label}, {scale.unit}"
    limits = (-limit if feature.signed else 0.0, limit)
    return Scale(feature.kind, caption, limits, (*lowest, *ticks), paint, ATTRIBUTION_GREY)


def draw_colour_bar(axes: Axes, scale: Scale) -> None:
    """Draw the scale as it looks over grey tissue, with its ticks and caption."""
    low, high = scale.limits
    axes.set_facecolor(str(0.5 * scale.grey))
    ramp = np.linspace(low, high, 256)[:, np.newaxis]
    axes.imshow(scale.paint(ramp), extent=(0, 1, low, high), origin="lower", aspect="auto", interpolation="nearest")
    axes.set(xticks=[], ylim=(low, high))
    axes.yaxis.tick_right()
    axes.set_yticks([value for value, _ in scale.ticks], [text for _, text in scale.ticks])
    axes.tick_params(colors="white", labelsize=8, length=2, pad=1)
    axes.yaxis.set_label_position("right")
    caption = textwrap.shorten(scale.caption, 2 * _CAPTION_CHARACTERS, placeholder=" …")  # two lines have room
    axes.set_ylabel(textwrap.fill(caption, _CAPTION_CHARACTERS + 4), color="white", size=8)
    for spine in axes.spines.values():
        spine.set_edgecolor("0.6")


def draw_outline(
    axes: Axes,
    mask: NDArray[np.bool_],
    spacing_mm: tuple[float, float],
    *,
    width: float = 0.5,
    colour: str = OUTLINE_COLOUR,
    dashed: bool = False,
    edged: bool = False,
) -> None:
    """Draw the outline of a mask along the edges of its pixels: where it is, not where smoothing would put it.

    Parameters
    ----------
    axes
        The picture.
    mask
        (rows, columns) Boolean.
    spacing_mm
        Of rows and columns.
    width
        Of the line, in points.
    colour, dashed
        Of the line.
    edged
        Draw a dark rim around the line, so that it is seen on white and in print.
    """
    from matplotlib.collections import LineCollection

    padded = np.pad(mask, 1)
    row, column = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    level = np.stack([np.stack([column, row], 1), np.stack([column + 1, row], 1)], axis=1)
    row, column = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    upright = np.stack([np.stack([column, row], 1), np.stack([column, row + 1], 1)], axis=1)
    segments = np.concatenate([level, upright]) * spacing_mm[::-1]
    if dashed:
        segments = segments[::2]
    style: dict[str, Any] = {"capstyle": "butt" if dashed else "projecting"}
    lines = list(segments)
    if edged:  # below all of the line, not below each piece of it
        axes.add_collection(LineCollection(lines, colors="black", linewidths=width + _RIM_POINTS, **style))
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=width, **style))


def draw_scale_bar(axes: Axes, length_mm: float, size_mm: tuple[float, float]) -> None:
    """Draw a bar of known length at the lower right of a picture of the given height and width."""
    height, width = size_mm
    right, y = 0.96 * width, 0.95 * height
    axes.plot([right - length_mm, right], [y, y], color="white", linewidth=1.5, solid_capstyle="butt")
    write(axes, f"{length_mm:.0f} mm", ((right - length_mm / 2) / width, 0.06), "center", "bottom")


def write(axes: Axes, text: str, place: tuple[float, float], across: str, along: str) -> None:
    """Write small text into a picture, readable on any background.

    Parameters
    ----------
    axes
        The picture.
    text
        What to write.
    place
        (x, y) as fractions of the picture, from its lower left corner.
    across, along
        Alignment: ``"left"``, ``"center"`` or ``"right"``; ``"bottom"``, ``"center"`` or ``"top"``.
    """
    from matplotlib.patheffects import withStroke

    effects = [withStroke(linewidth=1.5, foreground="black")]
    axes.text(*place, text, transform=axes.transAxes, color="white", size=7, ha=across, va=along, path_effects=effects)


def _colours(name: str, fractions: NDArray[Any]) -> Floats:
    from matplotlib import colormaps

    return np.array(colormaps[name](np.asarray(fractions, dtype=np.float64)))
