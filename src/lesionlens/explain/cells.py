"""Where the cells of a layer lie on the image: their stride, and what unpadded convolutions cut off at the borders.

A layer with as many cells as the image has voxels divided by its stride covers the image evenly, and cell ``c`` is
centred on voxel ``S c + (S - 1) / 2``. Convolutions without padding leave out a border, and an image whose length is no
multiple of the stride a rest at its end: there the quotient of voxels and cells is not the stride, and cells placed by
it would lie further off the further they are from the middle. What the layer gives for two other images, one longer by
a known number of voxels, tells the stride exactly (see also Araujo et al., Computing Receptive Fields of Convolutional
Neural Networks, Distill 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log2
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from lesionlens.errors import Cancelled
from lesionlens.explain.capture import Cut
from lesionlens.explain.detection_network import DetectionNetwork
from lesionlens.explain.fingerprint import fingerprint

__all__ = ["Cells", "cells_of", "even_cells", "evenly"]

#: Length of the first image, a multiple of the usual strides, and by how much the second one is longer: a multiple of
#: one stride or another. Strides that divide none of these are not found.
_LENGTH = 64
_LONGER = (64, 60, 63, 70)


@dataclass(frozen=True)
class Cells:
    """Places of a layer's cells along each axis of the image, or window.

    Parameters
    ----------
    stride
        Voxels from one cell to the next. Of a network that pads the image at its end some cells may lie behind that.
    border
        Voxels by which all cells lie further than the half-voxel convention puts them: cell ``c`` is centred on voxel
        ``stride * c + (stride - 1) / 2 + border``.
    note
        A sentence for the reader where they do not cover the image evenly, or nobody could try; else empty.
    """

    stride: tuple[float, ...]
    border: tuple[float, ...]
    note: str = ""

    def to_voxels(self, coarse: Tensor, size: Sequence[int]) -> Tensor:
        """Bring maps (N, T, *cells) to voxels (N, T, *size), linearly between the centres of cells.

        Beyond the outermost centres a map keeps its outermost value.
        """
        shape = tuple(coarse.shape[2:])
        if shape == tuple(size) and not any(self.border) and set(self.stride) == {1.0}:
            return coarse
        if not any(self.border) and all(s * n == m for s, n, m in zip(self.stride, shape, size, strict=True)):
            mode = "trilinear" if len(shape) == 3 else "bilinear"
            return functional.interpolate(coarse, size=tuple(size), mode=mode, align_corners=False)
        for axis, length in enumerate(size):
            coarse = _along(coarse, axis + 2, length, self.stride[axis], self.border[axis])
        return coarse


def _along(values: Tensor, axis: int, length: int, stride: float, border: float) -> Tensor:
    """Interpolate along one axis."""
    cells = values.shape[axis]
    voxels = torch.arange(length, dtype=torch.float64)
    place = ((voxels - border - (stride - 1) / 2) / stride).clamp(0, cells - 1)
    low = place.floor().long().clamp(max=max(0, cells - 2))
    share = (place - low).to(values)
    shape = [1] * values.ndim
    shape[axis] = length
    share, low = share.view(shape), low.to(values.device)
    high = (low + 1).clamp(max=cells - 1)
    return values.index_select(axis, low) * (1 - share) + values.index_select(axis, high) * share


def even_cells(size: Sequence[int], cells: Sequence[int]) -> Cells:
    """Return cells that cover an image of a size evenly."""
    return Cells(tuple(n / m for n, m in zip(size, cells, strict=True)), (0.0,) * len(size))


def evenly(coarse: Tensor, size: Sequence[int]) -> Tensor:
    """Bring maps (N, T, *cells) that cover an image evenly to its voxels (N, T, *size)."""
    return even_cells(size, coarse.shape[2:]).to_voxels(coarse, size)


# What was found for networks that live, as of their last structure.
_KNOWN: WeakKeyDictionary[nn.Module, dict[Any, Cells]] = WeakKeyDictionary()


def cells_of(network: nn.Module, cut: Cut, view: Tensor, shape: Sequence[int]) -> Cells:
    """Return where the cells of a layer lie.

    Costs two more passes through the network up to the layer, on images of 64 and 124 to 134 voxels along each axis,
    once for each network, where the number of cells leaves the stride open.

    Parameters
    ----------
    network
        The network.
    cut
        The same, cut at the layer.
    view
        (1, C, *spatial): the image, or one window.
    shape
        Of the layer's output for it: (*cells).
    """
    size = _seen(network, view.shape[2:])
    even = even_cells(size, shape)
    padded = _pads(network)
    if padded and all(_is_power_of_two(stride) for stride in even.stride):
        return even  # no other stride that is a power of two gives this number of cells
    key = (fingerprint(network), cut.layer, size, tuple(shape))
    known = _KNOWN.setdefault(network, {})
    if key not in known:
        known[key] = _found(network, cut, view, tuple(shape), padded=padded)
    return known[key]


def _seen(network: nn.Module, size: Sequence[int]) -> tuple[int, ...]:
    """Return the voxels along each axis that a network sees of an image: a detection network pads it at its end."""
    if not isinstance(network, DetectionNetwork):
        return tuple(size)
    return tuple(n + missing for n, missing in zip(size, network.padding(size), strict=True))


def _pads(network: nn.Module) -> bool:
    """Say whether all convolutions and poolings give one cell for each step of their stride, no less and no more."""
    return all(_keeps(module) for module in network.modules() if hasattr(module, "kernel_size"))


def _keeps(module: nn.Module) -> bool:
    kernel, padding = module.kernel_size, getattr(module, "padding", 0)
    stride = getattr(module, "stride", None)
    if padding == "same" or not isinstance(kernel, int | tuple) or isinstance(padding, str):
        return padding == "same"
    axes = len(kernel) if isinstance(kernel, tuple) else 1
    extra = getattr(module, "output_padding", 0) if getattr(module, "transposed", False) else 0
    for k, s, p, d, more in zip(
        *(_each(v, axes) for v in (kernel, kernel if stride is None else stride, padding)),
        _each(getattr(module, "dilation", 1), axes),
        _each(extra, axes),
        strict=True,
    ):
        reach = d * (k - 1) + 1 - 2 * p
        if (reach + more != s) if getattr(module, "transposed", False) else not 0 < reach <= s:
            return False
    return True


def _each(value: Any, axes: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,) * axes


def _is_power_of_two(value: float) -> bool:
    return value > 0 and log2(value).is_integer()


def _found(network: nn.Module, cut: Cut, view: Tensor, shape: tuple[int, ...], *, padded: bool) -> Cells:
    """Measure stride and border; even cells, and why, where the network takes no other image or nothing fits."""
    size, axes = _seen(network, view.shape[2:]), view.ndim - 2
    first, short = _count(cut, view, _LENGTH), _seen(network, (_LENGTH,) * axes)
    if first is None:
        return _assumed(size, shape, "the network takes no image of another size")
    for longer in _LONGER:
        second, long = _count(cut, view, _LENGTH + longer), _seen(network, (_LENGTH + longer,) * axes)
        if second is None:
            return _assumed(size, shape, "the network takes no image of another size")
        more = [b - a for a, b in zip(first, second, strict=True)]
        voxels = [b - a for a, b in zip(short, long, strict=True)]
        if any(n <= 0 or m % n for n, m in zip(more, voxels, strict=True)):
            continue
        stride = tuple(m // n for n, m in zip(more, voxels, strict=True))
        lost = [m - s * n for m, s, n in zip(short, stride, first, strict=True)]
        here = [n - s * m for n, s, m in zip(size, stride, shape, strict=True)]
        if all(abs(a - b) < s for a, b, s in zip(lost, here, stride, strict=True)):
            # Padded networks begin at the first voxel, whatever the length of the image: less than a cell is a rest at
            # its end. More was cut off by functions, which are no modules to be looked at.
            border = tuple(0.0 if padded and n < s else n / 2 for n, s in zip(lost, stride, strict=True))
            return Cells(tuple(map(float, stride)), border, _note(stride, border, here))
    return _assumed(size, shape, "no stride fits its numbers of cells for images of other sizes")


def _assumed(size: Sequence[int], shape: Sequence[int], reason: str) -> Cells:
    """Return even cells with a note that this is no more than the convention."""
    even = even_cells(size, shape)
    steps = " x ".join(f"{value:g}" for value in even.stride)
    note = (
        f"Where the layer's cells lie could not be tried, as {reason}: they are taken to cover the image evenly, every"
        f" {steps} voxels, and the map may lie beside its evidence by more than half of that."
    )
    return replace(even, note=note)


def _count(cut: Cut, view: Tensor, length: int) -> tuple[int, ...] | None:
    """Return the number of cells along each axis for an image of one length along all axes."""
    try:
        image = view.new_zeros((1, view.shape[1], *(length,) * (view.ndim - 2)))
        with cut.aside():
            return tuple(cut.encode(image).shape[2:])
    except (MemoryError, torch.OutOfMemoryError, Cancelled):
        raise
    except Exception:  # a network is arbitrary code and may insist on its size
        return None


def _note(stride: Sequence[float], border: Sequence[float], lost: Sequence[float]) -> str:
    """Say how the cells lie where the image is not a whole number of them."""
    if max(border) <= 0 and max(lost) <= 0:
        return ""
    steps, places = (" x ".join(f"{value:g}" for value in values) for values in (stride, border))
    begin = f", beginning {places} voxels inside the image" if max(border) > 0 else " from its first voxel on"
    return (
        f"The layer's cells do not cover the image evenly: they lie every {steps} voxels{begin}, and a map keeps its"
        " outermost value beyond them."
    )
