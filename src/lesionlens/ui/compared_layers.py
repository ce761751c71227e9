"""Maps that are compared, as layers on one scale: pure functions, no viewer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lesionlens.scales import limit_of, scale_of
from lesionlens.styles import DIVERGING, Style
from lesionlens.ui.appearance import colours_for
from lesionlens.ui.colours import diverging, sequential
from lesionlens.ui.layers import LayerData, heatmap_layer

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


def side_layers(compared: Compared, scan: Volume, *, maps: Sequence[Heatmap] = ()) -> tuple[LayerData, LayerData]:
    """Return both maps with the same colours for the same values.

    Parameters
    ----------
    compared, scan
        The maps, and what they are of.
    maps
        All that are shown elsewhere: where the two lie on their scale, their colours are those of there.
    """
    signed = DIVERGING in {colours_for(one) for one in compared.shown}
    limit = compared.pair.difference.limit or 1.0
    if compared.pair.difference.heatmap.provenance.options["scale"] == "raw":
        scale = scale_of(compared.shown[0]).name
        linked = [one for one in maps if scale_of(one).name == scale]
        limit = limit_of([*compared.shown, *linked], both_signs=signed)
    if signed:
        colormap, limits = diverging(limit, threshold=_MAP_FROM * limit)
    else:
        colormap, limits = sequential(colours_for(compared.shown[0]), limit, threshold=_MAP_FROM * limit)
    first, second = (
        _side(heatmap, scan, name, colours=(colormap, limits))
        for heatmap, name in zip(compared.shown, compared.names[:2], strict=True)
    )
    return first, second


def _side(heatmap: Heatmap, scan: Volume, name: str, *, colours: tuple[object, tuple[float, float]]) -> LayerData:
    style = Style(colours_for(heatmap), _MAP_FROM, _OPACITY, visible=True)
    array, options, kind = heatmap_layer(heatmap, scan, style)
    return array, {**options, "name": name, "colormap": colours[0], "contrast_limits": colours[1]}, kind
