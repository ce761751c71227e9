"""Labels layers as masks on the grid of a scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lesionlens.display import DisplayView
from lesionlens.errors import InputError
from lesionlens.heatmap import LabelMap
from lesionlens.ui.layers import mm_per_unit, volume_from_image, volume_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Layer

    from lesionlens.volume import Volume

__all__ = ["anatomy_of", "labels_on", "mask_of", "scan_in", "scans_in"]

# As for grids: a hundredth of a hair, and far above the rounding of a scale that went through a file.
_TOLERANCE_MM = 1e-3


def scan_in(layer: Layer) -> Volume:
    """Return the scan that a layer shows, or what a plain image layer is taken for.

    Raises
    ------
    InputError
        If its place in the patient cannot be told.
    """
    return volume_of(layer) or volume_from_image(layer)


def scans_in(channels: Iterable[tuple[str, Layer]]) -> tuple[tuple[str, Volume], ...]:
    """Return the scans that layers show, each with the name of its channel.

    Raises
    ------
    InputError
        If the place in the patient of one cannot be told.
    """
    return tuple((name, scan_in(layer)) for name, layer in channels)


def labels_on(layers: Iterable[Layer], scan_layer: Layer | None) -> list[Layer]:
    """Return the labels layers that lie on the grid of a scan's layer, voxel by voxel."""
    if scan_layer is None:
        return []
    found = [layer for layer in layers if type(layer).__name__ == "Labels" and layer.ndim == scan_layer.ndim]
    return [layer for layer in found if _lies_on(layer, scan_layer)]


def mask_of(layer: Layer, scan: Volume) -> LabelMap:
    """Return a labels layer as it is now, as a mask on the grid of a scan.

    Raises
    ------
    InputError
        If the layer does not lie on that grid.
    """
    view = DisplayView(scan.grid)
    if layer.data.shape != view.shape:
        raise InputError(
            f"The mask {layer.name!r} has {_size(layer.data.shape)} voxels, the scan {scan.name} has"
            f" {_size(view.shape)}; choose a labels layer that lies on the scan."
        )
    # A copy: painting may go on while the mask is used.
    return LabelMap.of_marks(scan, view.from_display(np.asarray(layer.data)), layer.name)


def anatomy_of(layer: Layer, scan: Volume) -> LabelMap:
    """Return a labels layer as it is now with its numbers, and their names where the layer has some.

    Raises
    ------
    InputError
        If the layer does not lie on the grid of the scan.
    """
    mask = mask_of(layer, scan)
    array = np.array(DisplayView(scan.grid).from_display(np.asarray(layer.data)))
    table = layer.features
    known = "index" in table and "name" in table
    names = {int(n): str(name) for n, name in zip(table["index"], table["name"], strict=True) if n} if known else {}
    return LabelMap(mask.volume.with_array(array), mask.label, names, mask.provenance)


def _lies_on(layer: Layer, scan_layer: Layer) -> bool:
    if tuple(layer.data.shape) != tuple(scan_layer.data.shape):
        return False
    try:
        mine, its = (np.stack([one.scale, one.translate]) * mm_per_unit(one) for one in (layer, scan_layer))
    except InputError:
        return False
    return bool(np.allclose(mine, its, rtol=0, atol=_TOLERANCE_MM))


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
