"""What two maps have in common, in words and figures: no Qt, no viewer."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from lesionlens.ui.comparing import LETTERS

if TYPE_CHECKING:
    from lesionlens.ui.comparing import Compared

__all__ = ["compared_words"]


def compared_words(compared: Compared) -> str:
    """Say in a table what was found."""
    pair = compared.pair
    found, both = pair.difference, pair.overlap
    raw = found.heatmap.provenance.options["scale"] == "raw"
    unit = "" if raw else " of the largest"
    rows = (
        ("mean of B − A", f"{found.mean:+.3g}{unit}"),
        ("mean of |B − A|", f"{found.mean_absolute:.3g}{unit}"),
        ("largest", f"{found.largest:.3g}{unit}"),
        ("colours end at", f"±{found.limit:.3g}{unit}"),
        ("Pearson correlation", _number(compared.pearson)),
        ("Spearman correlation", _number(compared.spearman)),
        ("Dice", _number(both.dice)),
        ("Jaccard", _number(both.jaccard)),
        ("voxels in A, B, both", f"{both.first:,}, {both.second:,}, {both.both:,}"),
    )
    table = "".join(f"<tr><td>{name}&nbsp;&nbsp;</td><td>{value}</td></tr>" for name, value in rows)
    names = zip(LETTERS, compared.names, strict=False)  # there are more letters
    key = "<br>".join(f"<b>{letter}:</b> {escape(name)}" for letter, name in names)
    notes = "".join(f"<br>{escape(note)}" for note in found.heatmap.provenance.notes)
    return (
        f"{key}<table>{table}</table>"
        f"Overlap of the voxels {escape(pair.cut)}. Blue: B is lower; orange: B is higher.{notes}"
    )


def _number(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.3f}"
