"""Colours of overlays: perceptual maps with an exact threshold, below which nothing is painted.

A colour always stands for the same value: raising the threshold hides values, it does not spread the colours anew.
The threshold is exact because it is the lower contrast limit, which the graphics card compares with every voxel in
float32, and not an entry of the colour table, which has 1024 steps only.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from napari.utils.colormaps import Colormap, DirectLabelColormap, ensure_colormap

from lesionlens.contours import ABOVE, BELOW
from lesionlens.styles import (
    ALL_REGIONS,
    ANOMALY,
    ATTRIBUTION,
    DIVERGING,
    PROBABILITY,
    UNCERTAINTY,
    OverlayKind,
)

__all__ = [
    "ANOMALY_COLOURS",
    "ATTRIBUTION_COLOURS",
    "PROBABILITY_COLOURS",
    "UNCERTAINTY_COLOURS",
    "UNSEEN",
    "diverging",
    "lines",
    "outline",
    "sequential",
]

RGBA = tuple[float, float, float, float]

# As in the report's pictures; the two hues cannot be taken for each other.
PROBABILITY_COLOURS = "plasma"
ATTRIBUTION_COLOURS = "viridis"
# Black to white through red, and through purple: apart from both.
UNCERTAINTY_COLOURS = "inferno"
ANOMALY_COLOURS = "magma"

# Of a class that the model does not see: dull, and like no other map.
UNSEEN = "not seen"
_UNSEEN_MAP = Colormap([(0.30, 0.27, 0.38, 1.0), (0.66, 0.62, 0.74, 1.0)], name=UNSEEN)

# Shares of the range from which colours start are told apart to so many decimals. napari keeps every colour map under
# its name and numbers others of the same name, so that one name must always stand for the same colours.
_DECIMALS = 3

_TRANSPARENT = (0.0, 0.0, 0.0, 0.0)
# Entries of a colour table; the graphics card interpolates 1024 from them.
_STEPS = 256
# To make a colour map takes milliseconds; a slider that is dragged goes through some dozens, there and back.
_KEPT = 128
# The graphics card's table has this many entries; the hidden band is widened by one, so that it never shows too much.
_TABLE = 1024
_BLUE = ((0.55, 0.90, 1.00), (0.10, 0.35, 0.65))
_ORANGE = ((0.60, 0.25, 0.02), (1.00, 0.80, 0.30))
# Region outlines: no map above has these colours, and they stand out from grey and from purple to yellow.
_OUTLINE = (0.0, 0.55, 0.65, 1.0)
_SELECTED = (0.0, 0.95, 1.0, 1.0)
# Contours of maps: told apart with any colour vision (Okabe and Ito, https://jfly.uni-koeln.de/color), and none is that
# of regions. Of signed maps, below 0 is blue, as in their colours.
_LINES: dict[str, RGBA] = {
    PROBABILITY: (0.90, 0.62, 0.00, 1.0),
    ATTRIBUTION: (0.00, 0.62, 0.45, 1.0),
    UNCERTAINTY: (0.80, 0.47, 0.65, 1.0),
    ANOMALY: (0.94, 0.89, 0.26, 1.0),
}
_LINE_ABOVE, _LINE_BELOW = (*_ORANGE[1], 1.0), (*_BLUE[0], 1.0)
_LINE_UNSEEN = (0.66, 0.62, 0.74, 1.0)


@lru_cache(_KEPT)
def sequential(name: str, limit: float, *, threshold: float) -> tuple[Colormap, tuple[float, float]]:
    """Return colour map and contrast limits that show values from ``threshold`` to ``limit``.

    Parameters
    ----------
    name
        One of :data:`lesionlens.styles.SEQUENTIAL`, or :data:`UNSEEN`.
    limit
        Value of the brightest colour; the darkest stands for 0.
    threshold
        Values below are transparent; a value equal to it is shown, as regions are measured.
    """
    low = float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))
    start = round(min(max(0.0, threshold / limit), 1.0), _DECIMALS)
    base = _UNSEEN_MAP if name == UNSEEN else ensure_colormap(name)
    colors = base.map(np.linspace(start, 1.0, _STEPS))
    return Colormap(colors, name=_named(name, start), low_color=_TRANSPARENT), (low, float(limit))


@lru_cache(_KEPT)
def diverging(limit: float, *, threshold: float) -> tuple[Colormap, tuple[float, float]]:
    """Return colour map and contrast limits for signed values: blue below zero, orange above.

    Parameters
    ----------
    limit
        Magnitude of the brightest colours.
    threshold
        Values whose magnitude is below are transparent, and up to 0.3 % of ``limit`` more.
    """
    # Rounded up, but for what the division itself added.
    start = min(1.0, math.ceil(round(threshold / limit * 10**_DECIMALS, 6)) / 10**_DECIMALS)
    half = min(0.5, start / 2 + 1 / _TABLE)
    controls = np.array([0, 0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half, 1])
    clear = [(*_BLUE[1], 0.0), (*_ORANGE[0], 0.0)]
    colors = [(*_BLUE[0], 1.0), (*_BLUE[1], 1.0), *clear, (*_ORANGE[0], 1.0), (*_ORANGE[1], 1.0)]
    return Colormap(colors, name=_named(DIVERGING, start), controls=controls), (-float(limit), float(limit))


def _named(name: str, start: float) -> str:
    """Return the name of a colour map that is cut: ``"viridis 30%"``; napari has little room for it."""
    return f"{name} {100 * start:g}%" if start else name


def outline(name: str, selected: int | None = None) -> DirectLabelColormap:
    """Return the colours of region outlines.

    Parameters
    ----------
    name
        One of :data:`lesionlens.styles.OUTLINES`: whether the regions that are not selected have an outline.
    selected
        Label of the selected region, which is brighter.
    """
    colours: dict[int | None, RGBA] = {0: _TRANSPARENT}
    colours[None] = _OUTLINE if name == ALL_REGIONS else _TRANSPARENT
    if selected is not None:
        colours[selected] = _SELECTED
    return DirectLabelColormap(color_dict=colours, name="regions")


def lines(kind: OverlayKind, *, signed: bool, unseen: bool) -> DirectLabelColormap:
    """Return the colours of the contours of a map.

    Parameters
    ----------
    kind
        Each has its own.
    signed
        Whether what lies above 0 and what lies below have two.
    unseen
        Of a class that the model does not see: dull, like its map.
    """
    above = _LINE_UNSEEN if unseen else _LINE_ABOVE if signed else _LINES[kind]
    colours: dict[int | None, RGBA] = {None: _TRANSPARENT, 0: _TRANSPARENT, ABOVE: above, BELOW: _LINE_BELOW}
    return DirectLabelColormap(color_dict=colours, name="contour")
