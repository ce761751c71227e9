"""napari's File > Open Sample: the scan that ships with LesionLens."""

from __future__ import annotations

from lesionlens import sample
from lesionlens.io import read
from lesionlens.ui.layers import LayerData, volume_layer

__all__ = ["sample_scan"]


def sample_scan() -> list[LayerData]:
    """Return the sample scan, a simulated FLAIR with lesions, as one grey image layer."""
    return [volume_layer(read(sample.sample_scan()))]
