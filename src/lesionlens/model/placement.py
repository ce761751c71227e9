"""From the network's grid to the scan's: where the values of a map lie, by convention or as measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift

from lesionlens.explain import Explanation, layer_names
from lesionlens.model.bundle import Bundle
from lesionlens.model.preprocess import Prepared
from lesionlens.registration import LayerOffset, Registration, find_registration, places
from lesionlens.volume import Grid, resample

__all__ = ["Placed", "moved_by", "placed", "registration_of"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Placed:
    """A map on the scan's grid.

    Parameters
    ----------
    array
        (i, j, k) float32 on the scan's grid.
    options
        What was applied, for the record; empty where cells lie as the convention has it.
    notes
        What a reader must know about that: one sentence each.
    """

    array: Floats
    options: dict[str, Any]
    notes: tuple[str, ...]


def registration_of(bundle: Bundle) -> tuple[Registration | None, str]:
    """Return what was measured for a bundle's weights, and a sentence where it was for others instead."""
    files = places(bundle.info.root, bundle.weights_sha256, embedded=bundle.info.embedded)
    return find_registration(files, bundle.weights_sha256)


def placed(prepared: Prepared, result: Explanation, registration: Registration | None) -> Placed:
    """Bring a map from the network's grid, or from its own coarse grid, to the scan's."""
    if result.coarse is None:
        values, cell = result.values, (1.0, 1.0, 1.0)
        grid = prepared.grid
    else:
        cell = (result.stride[0], result.stride[1], result.stride[2])
        values, grid = _on_coarse_grid(prepared.grid, result)
    offset, notes = _offset(result, registration)
    if offset is None:
        return Placed(prepared.to_scan(values, grid), {}, notes)
    spacing = np.array(prepared.grid.spacing_mm)
    mm, spread = np.array(offset.voxels) * spacing, np.array(offset.spread) * spacing
    options = {
        "registration": {
            "offset_voxels": list(offset.voxels),
            "offset_mm": mm.tolist(),
            "spread_voxels": list(offset.spread),
            "n": offset.n,
        }
    }
    moved = (
        f"The map was moved by {_lengths(mm)} mm along the axes of the network's grid, where the cells of layer"
        f" {result.layer!r} were measured to lie (single measurements: ±{_lengths(spread)} mm)."
    )
    return Placed(_moved(prepared, values, grid, np.array(offset.voxels) / cell), options, (*notes, moved))


def _offset(result: Explanation, registration: Registration | None) -> tuple[LayerOffset | None, tuple[str, ...]]:
    """Return what was measured for the layer of a map, and why it is not applied where it is not."""
    if registration is None or not result.layer:
        return None, ()
    found = registration.layers.get(result.layer)
    if found is not None and found.holds_for(result.stride):
        return found, ()
    if found is not None:
        strides = " and ".join(" x ".join(f"{s:.4g}" for s in stride) for stride in (found.stride, result.stride))
        note = f"The offset of layer {result.layer!r} was measured at another stride ({strides}) and is not applied."
        return None, (note,)
    parts = [name for name in layer_names(result.layer) if name in registration.layers]
    note = f"Offsets were measured for {', '.join(parts)}; they are not applied to a map that joins layers."
    return None, (note,) * bool(parts)


def _moved(prepared: Prepared, values: Floats, grid: Grid, cells: NDArray[np.float64]) -> Floats:
    """Bring values to the scan's grid as if theirs began some cells further along each axis.

    What is uncovered at one end keeps the outermost value, as between the outermost centres and the faces of the image;
    beyond the network's grid there is nothing, as ever.
    """
    width = np.ceil(np.abs(cells)).astype(int)
    wider = np.pad(values, [(n, n) for n in width], mode="edge")
    start = np.eye(4)
    start[:3, 3] = cells - width
    array = prepared.to_scan(wider, Grid((wider.shape[0], wider.shape[1], wider.shape[2]), grid.affine @ start))
    ones = np.ones(prepared.grid.shape, dtype=np.float32)
    inside = resample(ones, prepared.grid, prepared.volume.grid, order=0) > 0
    return np.where(inside, array, np.float32(0))


def moved_by(values: Floats, offset: Sequence[float]) -> Floats:
    """Move a map along the axes of the network's grid to where its cells were measured to lie.

    Parameters
    ----------
    values
        (i, j, k) float32, on the network's grid by the half-voxel convention.
    offset
        Voxels along each axis; above 0 moves towards higher indices.

    Returns
    -------
    numpy.ndarray
        (i, j, k) float32, linear between voxels; what is uncovered at one end keeps the outermost value.
    """
    return np.asarray(shift(values, offset, order=1, mode="nearest"), dtype=np.float32)


def _on_coarse_grid(grid: Grid, result: Explanation) -> tuple[Floats, Grid]:
    """Place the cells of a coarse map: cell i is centred on network voxel S i + (S - 1) / 2, and further by a border.

    Where they do not reach the faces of the network's grid, their outermost values are repeated up to there.
    """
    assert result.coarse is not None
    to_voxel, width = np.eye(4), []
    for axis, (step, border) in enumerate(zip(result.stride, result.border or (0.0,) * 3, strict=True)):
        after = grid.shape[axis] - border - step * result.coarse.shape[axis]
        before, after = (max(0, ceil(voxels / step)) for voxels in (border, after))
        to_voxel[axis, axis] = step
        to_voxel[axis, 3] = (step - 1) / 2 + border - step * before
        width.append((before, after))
    values = np.pad(result.coarse, width, mode="edge")
    return values, Grid((values.shape[0], values.shape[1], values.shape[2]), grid.affine @ to_voxel)


def _lengths(mm: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.2f}" for value in mm)
