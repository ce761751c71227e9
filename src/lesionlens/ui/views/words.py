"""What the dock *Views* says about a place."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lesionlens.ui.under_cursor import Spot

__all__ = ["spot_words"]

_NOWHERE = "Open a scan with LesionLens; its values under the cursor are shown here."


def spot_words(spot: Spot | None, *, source: str, central: bool) -> str:
    """Return a table of what is at a place.

    Parameters
    ----------
    spot
        The place; None beside all scans.
    source
        What marks the place: ``"Cursor"`` or ``"Crosshair"``.
    central
        The pictures show several slices as one, so that the values are not what is seen.
    """
    if spot is None:
        return _NOWHERE
    rows = [(source, ", ".join(spot.sides)), (spot.scan, spot.value)]
    rows += [(one.name, one.text or "–") for one in spot.overlays]
    table = "".join(f"<tr><td>{escape(name)}&nbsp;&nbsp;</td><td>{escape(text)}</td></tr>" for name, text in rows)
    note = "Values of the voxel in the central slice; the picture projects several." if central else ""
    return f"<table>{table}</table>{note}"
