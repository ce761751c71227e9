"""The layers of a bundle's network that can be explained, with what a reader needs to choose one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from monai.inferers import SlidingWindowInferer
from monai.transforms import Compose, Spacing, Spacingd

from lesionlens.explain import LayerInfo, list_layers, misread_layers
from lesionlens.model.boundary import foreign_code
from lesionlens.model.bundle import Bundle

__all__ = ["BundleLayer", "BundleLayers", "layers_of", "window_of"]

# What the network is tried on where its inferer does not say how large an image it sees.
PROBE_SIZE = (96, 96, 96)


@dataclass(frozen=True)
class BundleLayer:
    """A layer that can be explained.

    Parameters
    ----------
    name
        Dotted name in the network.
    kind
        Class of the module.
    channels
        Number of its channels.
    cells
        Its cells along each axis, for the window that the network sees.
    stride
        Voxels for each cell along each axis.
    size_mm
        Size of a cell along the axes of the network's grid; None where the bundle keeps the scan's own voxels.
    same
        Names of the other modules that give this very tensor, and so the same maps.
    """

    name: str
    kind: str
    channels: int
    cells: tuple[int, ...]
    stride: tuple[float, ...]
    size_mm: tuple[float, ...] | None
    same: tuple[str, ...] = ()


@dataclass(frozen=True)
class BundleLayers:
    """All layers of a bundle that can be explained, in the order in which they run.

    Parameters
    ----------
    window
        Voxels that the network sees at a time.
    spacing_mm
        Size of its voxels; None where the bundle keeps the scan's own.
    default
        Name of the layer that is explained when none is named.
    reason
        Why that one.
    layers
        The layers.
    """

    window: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    default: str
    reason: str
    layers: tuple[BundleLayer, ...]

    def distinct(self) -> tuple[BundleLayer, ...]:
        """Return one layer of each tensor: the default where it is among them, else the outermost, else the first."""
        order = {layer.name: number for number, layer in enumerate(self.layers)}

        def rank(name: str) -> tuple[bool, int, int]:
            return name == self.default, -name.count("."), -order[name]

        def chosen(layer: BundleLayer) -> bool:
            return all(rank(name) < rank(layer.name) for name in layer.same if name in order)

        return tuple(layer for layer in self.layers if chosen(layer))


def layers_of(bundle: Bundle) -> BundleLayers:
    """List the layers of a bundle's network that can be explained; the network runs on zeros.

    Raises
    ------
    ExplainError
        If there are none.
    """
    window, spacing = window_of(bundle), _spacing(bundle)
    shape = (1, len(bundle.info.inputs), *window)
    with foreign_code(bundle):
        wrong = misread_layers(bundle.network, shape)
        found = [layer for layer in list_layers(bundle.network, shape) if layer.name not in wrong]
        default, reason = bundle.default_layer(window)
    return BundleLayers(window, spacing, default, reason, tuple(_layer(layer, spacing) for layer in found))


def _layer(layer: LayerInfo, spacing: tuple[float, ...] | None) -> BundleLayer:
    size = None if spacing is None else tuple(s * mm for s, mm in zip(layer.stride, spacing, strict=True))
    return BundleLayer(layer.name, layer.kind, layer.shape[1], layer.shape[2:], layer.stride, size, layer.same)


def window_of(bundle: Bundle) -> tuple[int, ...]:
    """Return the voxels of a sliding window; a network that sees scans whole is tried on a small one."""
    roi = bundle.inferer.roi_size if isinstance(bundle.inferer, SlidingWindowInferer) else ()
    sizes = (roi,) * len(PROBE_SIZE) if isinstance(roi, int) else tuple(roi) or PROBE_SIZE
    return tuple(int(n) if n and n > 0 else probe for n, probe in zip(sizes, PROBE_SIZE, strict=True))


def _spacing(bundle: Bundle) -> tuple[float, ...] | None:
    """Return the voxel size that the preprocessing resamples to, if it does along all axes."""
    found: tuple[float, ...] | None = None
    for step in _flat(bundle.preprocessing):
        transform = step.spacing_transform if isinstance(step, Spacingd) else step
        if isinstance(transform, Spacing):
            sizes = tuple(float(mm) for mm in transform.pixdim)
            sizes = sizes * len(PROBE_SIZE) if len(sizes) == 1 else sizes
            found = sizes[: len(PROBE_SIZE)] if all(mm > 0 for mm in sizes) else None
    return found


def _flat(step: object) -> Iterator[object]:
    if isinstance(step, Compose):
        for inner in step.transforms:
            yield from _flat(inner)
    else:
        yield step
