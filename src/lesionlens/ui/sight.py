"""What has to be said of a map whose class the model does not see."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lesionlens.heatmap import Heatmap

__all__ = ["unseen_words"]


def unseen_words(heatmap: Heatmap) -> str:
    """Say that the model does not see the class of a map; empty where it does, or nobody looked."""
    if not heatmap.unseen:
        return ""
    probability = float(heatmap.provenance.options.get("class_probability", 0.0))
    return f"not seen by the model (p {probability:.2g}): what comes closest, not a finding"
