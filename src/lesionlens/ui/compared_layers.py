"""Maps that are compared, as layers on one scale: pure functions, no viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lesionlens.ui.colours import DIVERGING, diverging, sequential
from lesionlens.ui.layers import LayerData, Style, colours_for, heatmap_layer

if TYPE_CHECKING:
    from lesionlens.heatmap import Heatmap
    from lesionlens.ui.comparing import Compared
    from lesionlens.volume import Volume

__all__ = ["difference_layer", "difference_name", "side_layers"]

# Less than this part of the scale is rounding and noise.
_DIFFERENCE_FROM = 0.05
# A map is shown from this part of the scale on: the largest magnitude of a method is often evidence against the class,
# and what speaks for it much smaller.
_MAP_FROM = 0.1
_OPACITY = 0.6


def difference_name(compared: Compared) -> str:
    """Return the name of the layer with the difference."""
    first, second = compared.names[:2]
    return f"Difference: {second} minus {first}"


def difference_layer(compared: Compared, scan: Volume) -> LayerData:
    """Return the second map minus the first, on the scale of both: blue where the second is lower, orange where higher.

    The brightest colours stand for the largest magnitude of the two maps, not of their difference: two maps that hardly
    differ look so.
    """
    difference = compared.pair.difference
    limit = difference.limit or 1.0
    style = Style(DIVERGING, _DIFFERENCE_FROM, _OPACITY, visible=True)
    array, options, kind = heatmap_layer(difference.heatmap, scan, style)
    colormap, limits = diverging(limit, threshold=_DIFFERENCE_FROM * limit)
    return array, {**options, "name": difference_name(compared), "colormap": colormap, "contrast_limits": limits}, kind


def side_layers(compared: Compared, scan: Volume) -> tuple[LayerData, LayerData]:
    """Return both maps with the same colours for the same values."""
    limit = compared.pair.difference.limit or 1.0
    colours = colours_for(compared.shown[0])
    both = {colours_for(one) for one in compared.shown}
    if DIVERGING in both:
        colormap, limits = diverging(limit, threshold=_MAP_FROM * limit)
    else:
        limit = 1.0 if all(one.kind == "probability" for one in compared.shown) else limit
        colormap, limits = sequential(colours, limit, threshold=_MAP_FROM * limit)
    first, second = (
        _side(heatmap, scan, name, colours=(colormap, limits))
        for heatmap, name in zip(compared.shown, compared.names[:2], strict=True)
    )
    return first, second


def _side(heatmap: Heatmap, scan: Volume, name: str, *, colours: tuple[object, tuple[float, float]]) -> LayerData:
    style = Style(colours_for(heatmap), _MAP_FROM, _OPACITY, visible=True)
    array, options, kind = heatmap_layer(heatmap, scan, style)
    return array, {**options, "name": name, "colormap": colours[0], "contrast_limits": colours[1]}, kind
