"""How much memory a prediction will take, foretold before it begins, and how it is kept within a budget.

Counted are the network on one batch of windows (as it runs on tensors without values), the joined outputs, and the maps
on the scan's grid; not what the process holds before: the scan, the weights, the libraries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

import torch
from monai.inferers import Inferer
from torch.func import functional_call

from lesionlens.explain import Windows
from lesionlens.explain.budget import peak_bytes
from lesionlens.model.bundle import Bundle
from lesionlens.model.preprocess import Prepared

__all__ = ["WORKSPACE", "MemoryPlan", "batch_of", "planned_memory", "slab_axis"]

_FLOAT: Final = 4
# oneDNN lays activations out anew for a convolution, beside those that the tensors show.
WORKSPACE: Final = 1.5
# Where a network does not run without values: it holds about so many times its window's bytes.
_UNKNOWN: Final = 60
# Where nothing fits, what takes up to this many times the least is as good, and simpler.
WORTH: Final = 1.25
# What resampling, plans of convolutions and the like take besides, whatever the size.
FIXED: Final = 64 * 2**20
# Maps on the scan's grid that are alive while one is made: coordinates and values of blocks, and the map.
_MAPS_AT_A_TIME: Final = 2


@dataclass(frozen=True)
class MemoryPlan:
    """What a prediction takes beside what the process holds before.

    Parameters
    ----------
    predicted_bytes
        At its peak; None where nobody asked.
    in_blocks
        Whether the windows are joined block by block.
    on_disk
        Whether the joined result lies in a file.
    batch
        Windows that go through the network at a time.
    """

    predicted_bytes: int | None = None
    in_blocks: bool = False
    on_disk: bool = False
    batch: int = 1

    @property
    def bytes(self) -> int:
        """What it takes; 0 where nobody asked."""
        return self.predicted_bytes or 0


def planned_memory(
    bundle: Bundle,
    prepared: Prepared,
    windows: Windows | None,
    *,
    kept: int,
    budget_bytes: int | None,
    in_blocks: bool | None = None,
) -> MemoryPlan:
    """Foretell the memory of a prediction and choose how its windows are joined.

    Parameters
    ----------
    bundle, prepared
        What runs on what.
    windows
        How the network sees it; None where that is not a sliding window, which cannot be joined in blocks.
    kept
        How many classes are kept.
    budget_bytes
        What it may take; None does not limit it.
    in_blocks
        Join in blocks or do not, whatever the budget says; None chooses.
    """
    batch = batch_of(bundle.inferer)
    if budget_bytes is None and in_blocks is None:
        return MemoryPlan(batch=batch)
    found = [
        plan
        for way in _ways(windows, in_blocks)
        for plan in (_plan(bundle, prepared, windows, kept, way, n) for n in sorted({batch, 1}, reverse=True))
    ]
    if budget_bytes is None:
        return found[0]
    fitting = next((plan for plan in found if plan.bytes <= budget_bytes), None)
    if fitting is not None:
        return fitting
    least = min(plan.bytes for plan in found) - FIXED
    return next(plan for plan in found if plan.bytes - FIXED <= WORTH * least)


def _ways(windows: Windows | None, in_blocks: bool | None) -> tuple[tuple[bool, bool], ...]:
    """Return how windows may be joined, the simplest first: in blocks or not, and on disk or not."""
    whole, blocks = ((False, False),), ((True, False), (True, True))
    if windows is None or in_blocks is False:
        return whole
    return blocks if in_blocks else (*whole, *blocks)


def _plan(
    bundle: Bundle, prepared: Prepared, windows: Windows | None, kept: int, way: tuple[bool, bool], batch: int
) -> MemoryPlan:
    """Foretell the memory of one way."""
    in_blocks, on_disk = way
    size = prepared.tensor.shape[2:] if windows is None else windows.size
    shape = prepared.tensor.shape[2:] if windows is None else windows.padded_shape
    one = _network_bytes(bundle, (batch, prepared.tensor.shape[1], *size))
    if bundle.info.task != "segmentation":
        return MemoryPlan(FIXED + one, batch=batch)
    counts, channels = prod(shape) * _FLOAT, len(bundle.info.outputs)
    scan = prod(prepared.volume.grid.shape) * _FLOAT
    maps = (kept + _MAPS_AT_A_TIME) * scan
    if not in_blocks or windows is None:
        joined = channels * counts
        return MemoryPlan(FIXED + joined + max(one + counts, joined + maps), batch=batch)
    axis = slab_axis(windows)
    slab = channels * counts // shape[axis] * windows.size[axis]
    if on_disk:
        return MemoryPlan(FIXED + counts + max(one + slab, _MAPS_AT_A_TIME * scan), True, True, batch)
    result = kept * counts
    return MemoryPlan(FIXED + counts + max(slab + one + result, result + maps), True, False, batch)


def slab_axis(windows: Windows) -> int:
    """Return the axis along which a slab as thick as a window has the fewest voxels."""
    slabs = [size / full for size, full in zip(windows.size, windows.padded_shape, strict=True)]
    return slabs.index(min(slabs))


def batch_of(inferer: Inferer) -> int:
    """Return how many windows an inferer gives to the network at a time."""
    return int(getattr(inferer, "sw_batch_size", 1))


def _network_bytes(bundle: Bundle, shape: Sequence[int]) -> int:
    """Return what a network takes on an input of a shape, found out on tensors without values."""
    key = tuple(shape)
    if key not in bundle.network_bytes:
        network = bundle.network
        state = {name: tensor.to("meta") for name, tensor in (*network.named_parameters(), *network.named_buffers())}
        try:
            with torch.random.fork_rng(devices=[]):
                alive = peak_bytes(lambda x: functional_call(network, state, (x,)), torch.empty(key, device="meta"))
        except MemoryError:
            raise
        except Exception:  # a network is arbitrary code, and may look at values
            alive = _UNKNOWN * prod(key) * _FLOAT
        bundle.network_bytes[key] = int(WORKSPACE * alive)
    return bundle.network_bytes[key]
