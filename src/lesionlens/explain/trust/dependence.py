"""The box of an image that a target depends on: what lies outside can be left away, and nothing changes.

Networks of convolutions that see an image whole look at each voxel of the output through a neighbourhood of limited
reach. It is measured, not guessed from the layers: half of a small image is "not a number", which spreads to everything
that is computed from it, also through weights of zero, and what stays finite does not depend on that half. A norm over
the image or an attention spreads it everywhere: then there is no such box.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lesionlens.errors import Cancelled, ExplainError
from lesionlens.explain.capture import quiet
from lesionlens.explain.final import reading_logits
from lesionlens.explain.tracing import small_trace, zeros_for

__all__ = ["box_around", "grid_of", "reach_of"]

# Boxes begin and end at multiples of this, as cells of a layer of every usual stride do: a box that cuts a cell in two
# would be seen through another grid. Networks whose layers all have the size of the image have no such cells.
_GRID = 32
# Voxels of the image that is tried: along the axis in question, and along the others. A reach of half of it and more
# is taken for everywhere.
_LONG, _SHORT = 256, 32


def reach_of(network: nn.Module, image_shape: Sequence[int]) -> tuple[tuple[int, int], ...] | None:
    """Return how many voxels before and after a voxel along each axis its output depends on, at most.

    Costs two passes for each axis through an image of 256 x 32 x 32 voxels.

    Parameters
    ----------
    network
        Whose output has the size of the image; it stays as it was.
    image_shape
        (1, C, *spatial) of its image.

    Returns
    -------
    tuple or None
        None where it is 128 voxels or more, everywhere, or the network takes no small image.
    """
    found = []
    for axis in range(len(image_shape) - 2):
        shape = [1, image_shape[1], *(_SHORT for _ in image_shape[2:])]
        shape[axis + 2] = _LONG
        sides = [_one_side(network, tuple(shape), axis, after=after) for after in (False, True)]
        if sides[0] is None or sides[1] is None:
            return None
        found.append((sides[0], sides[1]))
    return tuple(found)


def _one_side(network: nn.Module, shape: tuple[int, ...], axis: int, *, after: bool) -> int | None:
    """Return the reach into the half of an image that lies before (after) a voxel."""
    image = zeros_for(network, shape)
    half = _LONG // 2
    image.narrow(axis + 2, half if after else 0, half).fill_(torch.nan)
    try:
        with quiet(network), reading_logits(network) as run, torch.no_grad():
            output = run(image)
    except (MemoryError, Cancelled):
        raise
    except Exception:  # a network is arbitrary code and may insist on its size
        return None
    if tuple(output.shape[2:]) != shape[2:]:
        return None
    free = torch.isfinite(output).movedim(axis + 2, 0).flatten(1).all(dim=1)
    free = free[:half].flip(0) if after else free[half:]
    if not bool(free[-1]):
        return None
    return int((~free).nonzero().max()) + 1 if not bool(free.all()) else 0


def grid_of(network: nn.Module, image_shape: Sequence[int]) -> int | None:
    """Return the multiple of voxels at which a box may begin: 1 where every layer has the size of the image, else 32.

    Parameters
    ----------
    network, image_shape
        As of :func:`reach_of`.

    Returns
    -------
    int or None
        None where 32 is no multiple of the stride of some layer, such as 3.
    """
    trace = small_trace(network, tuple(image_shape))
    strides = {
        voxels / cells
        for call in trace.calls
        if call.out_shape and len(call.out_shape) == len(trace.shape)
        for voxels, cells in zip(trace.shape[2:], call.out_shape[2:], strict=True)
    }
    if any(_GRID % stride for stride in strides):
        return None
    return 1 if strides <= {1} else _GRID


def box_around(region: Tensor, reach: Sequence[tuple[int, int]], *, grid: int = _GRID) -> tuple[slice, ...]:
    """Return the box of an image outside of which nothing is looked at.

    Parameters
    ----------
    region
        (*spatial) bool, the voxels of the output that count.
    reach
        See :func:`reach_of`.
    grid
        See :func:`grid_of`.

    Raises
    ------
    ExplainError
        If the region is empty.
    """
    if not bool(region.any()):
        raise ExplainError("The region holds no voxel; there is nothing to look at.")
    box = []
    for axis, (before, after) in enumerate(reach):
        places = region.movedim(axis, 0).flatten(1).any(dim=1).nonzero()[:, 0]
        first, last = int(places[0]) - before, int(places[-1]) + 1 + after
        box.append(slice(max(0, first // grid * grid), min(region.shape[axis], -(-last // grid) * grid)))
    return tuple(box)
