"""A style and a limit as what napari draws: colours, contrast limits, opacity. Pure functions, no layers."""

from __future__ import annotations

from typing import Any

from lesionlens.heatmap import Heatmap
from lesionlens.scales import limit_of
from lesionlens.styles import (
    ANOMALY,
    ATTRIBUTION,
    DIVERGING,
    PROBABILITY,
    REGIONS,
    SELECTED_ONLY,
    UNCERTAINTY,
    OverlayKind,
    Style,
)
from lesionlens.ui.colours import (
    ANOMALY_COLOURS,
    ATTRIBUTION_COLOURS,
    PROBABILITY_COLOURS,
    UNCERTAINTY_COLOURS,
    UNSEEN,
    diverging,
    sequential,
)

__all__ = [
    "appearance",
    "colours_for",
    "cut_of",
    "default_styles",
    "is_signed",
    "kind_of",
    "opacity_of",
]

_UNSEEN_OPACITY = 0.6
# Less than this part of the largest possible uncertainty lies everywhere at the edges of things, and says little.
_UNCERTAINTY_FROM = 0.05

_KINDS: dict[str, OverlayKind] = {
    "probability": PROBABILITY,
    "detection": PROBABILITY,
    "uncertainty": UNCERTAINTY,
    "anomaly": ANOMALY,
}


def default_styles(*, threshold: float) -> dict[OverlayKind, Style]:
    """Return the styles that overlays start with: probability, and the outline of the region that is selected.

    Grad-CAM is coarse and covers most of what the others show, so it waits for a click.
    """
    return {
        PROBABILITY: Style(PROBABILITY_COLOURS, threshold, 0.5, visible=True),
        ATTRIBUTION: Style(ATTRIBUTION_COLOURS, 0.3, 0.5, visible=False),
        UNCERTAINTY: Style(UNCERTAINTY_COLOURS, _UNCERTAINTY_FROM, 0.6, visible=False),
        ANOMALY: Style(ANOMALY_COLOURS, 1 / 3, 0.5, visible=True),
        REGIONS: Style(SELECTED_ONLY, threshold, 0.9, visible=True, contour=True),
    }


def kind_of(heatmap: Heatmap) -> OverlayKind:
    """Return the kind of overlay that a heatmap is shown as.

    What a detection bundle concludes takes the place of a probability, and may lie beside an attribution.
    """
    return _KINDS.get(heatmap.kind, ATTRIBUTION)


def is_signed(heatmap: Heatmap, style: Style) -> bool:
    """Say whether a style shows what lies below 0 in a heatmap; not of dull maps, and where nothing can be."""
    return style.colours == DIVERGING and not heatmap.unseen and kind_of(heatmap) not in (PROBABILITY, UNCERTAINTY)


def appearance(heatmap: Heatmap, style: Style, *, limit: float | None = None) -> tuple[Any, tuple[float, float]]:
    """Return the colour map and the contrast limits of a heatmap in a style.

    Probabilities span [0, 1], uncertainties what their measure can reach: a scan that is clear everywhere stays dark.
    Attributions have no unit: the brightest colour is the largest value of all maps that share a scale.

    Parameters
    ----------
    heatmap
        What is shown.
    style
        How.
    limit
        The value of the brightest colour; by default what :func:`lesionlens.scales.limit_of` says of this map alone.
    """
    signed = is_signed(heatmap, style)
    limit = limit_of([heatmap], both_signs=signed) if limit is None else limit
    threshold = cut_of(heatmap, style, limit)
    if signed:
        return diverging(limit, threshold=threshold)
    return sequential(UNSEEN if heatmap.unseen else style.colours, limit, threshold=threshold)


def cut_of(heatmap: Heatmap, style: Style, limit: float) -> float:
    """Return the value below which nothing is shown, in the unit of a heatmap."""
    return style.threshold if kind_of(heatmap) == PROBABILITY else style.threshold * limit


def opacity_of(heatmap: Heatmap, style: Style) -> float:
    """Return the opacity of a heatmap in a style: the map of a class that the model does not see is faint."""
    return style.opacity * (_UNSEEN_OPACITY if heatmap.unseen else 1.0)


def colours_for(heatmap: Heatmap) -> str:
    """Return the colours that a map which is no probability starts with.

    Evidence against a class covers most of a scan and would hide what speaks for it, so that of attributions only what
    is above 0 has colours. Features below 0 are no less than those above.
    """
    return DIVERGING if heatmap.signed and heatmap.kind != "attribution" else ATTRIBUTION_COLOURS
