"""Voxels of findings as lists of numbers: what a finding costs depends on its size, not on that of the scan.

A list holds the places of voxels in array order (C order of (i, j, k)), ascending, int64. Packed changes are those of
:mod:`lesionlens.review.masks`, byte by byte; a mask of a whole CT would take half a second to pack after each stroke.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.errors import ReadError
from lesionlens.volume import Grid

__all__ = [
    "Voxels",
    "box_of",
    "changed",
    "labelled",
    "marked",
    "middle",
    "pack",
    "paint",
    "pieces",
    "statistics_of",
    "unpack",
]

Voxels = NDArray[np.int64]
Shape = tuple[int, int, int]

_NUMBER = np.dtype("<u4")
_AXES = 3
# Faces, edges and corners connect, as in the regions of the model.
_NEIGHBOURHOOD: Final = 26


def labelled(labels: NDArray[Any], label: int, box: Sequence[float] | None = None) -> Voxels:
    """Return the voxels of one label.

    Parameters
    ----------
    labels
        (i, j, k) integers.
    label
        Which.
    box
        Lowest and highest (i, j, k) of the label, six whole numbers, where they are known: only there is looked.
    """
    lowest = np.zeros(_AXES, np.int64) if box is None else np.asarray(box[:_AXES], np.int64)
    highest = np.array(labels.shape) - 1 if box is None else np.asarray(box[_AXES:], np.int64)
    part = labels[tuple(slice(low, high + 1) for low, high in zip(lowest, highest, strict=True))]
    i, j, k = np.nonzero(part == label)
    return _flat((i + lowest[0], j + lowest[1], k + lowest[2]), labels.shape)


def marked(canvas: NDArray[Any]) -> Voxels:
    """Return the voxels of an (i, j, k) array that are not 0.

    It goes slab by slab along the axis that varies slowest in memory, and looks twice only where there is something.
    """
    slow = int(np.argmax(canvas.strides))
    slabs = np.moveaxis(canvas, slow, 0)
    found: list[tuple[NDArray[Any], ...]] = []
    for n in np.flatnonzero([slab.any() for slab in slabs]):
        rows, columns = np.nonzero(slabs[n])
        places = [rows, columns]
        places.insert(slow, np.full_like(rows, n))
        found.append(tuple(places))
    if not found:
        return np.empty(0, np.int64)
    return _flat(tuple(np.concatenate(axis) for axis in zip(*found, strict=True)), canvas.shape)


def paint(canvas: NDArray[Any], voxels: Voxels, value: int) -> None:
    """Set voxels of an (i, j, k) array."""
    canvas[np.unravel_index(voxels, canvas.shape)] = value


def changed(before: Voxels, after: Voxels) -> Voxels:
    """Return the voxels that are in one list and not in the other."""
    found: Voxels = np.setxor1d(before, after, assume_unique=True)
    return found


def pack(voxels: Voxels, shape: Shape) -> bytes:
    """Pack a change: the same bytes as :func:`lesionlens.review.masks.pack_change` of two masks that differ there.

    Parameters
    ----------
    voxels
        Which voxels change.
    shape
        Of the scan.
    """
    begins = np.flatnonzero(np.diff(voxels, prepend=-2) != 1)
    ends = np.append(begins[1:], len(voxels)) - 1
    edges = np.stack([voxels[begins], voxels[ends] + 1], axis=1).reshape(-1) if len(voxels) else voxels
    edges = edges[edges < np.prod(shape, dtype=np.int64)]  # no run follows a change that reaches the last voxel
    runs = np.diff(edges, prepend=0, append=np.prod(shape, dtype=np.int64))
    return zlib.compress(np.asarray(shape, _NUMBER).tobytes() + runs.astype(_NUMBER).tobytes())


def unpack(packed: bytes, shape: Shape) -> Voxels:
    """Return which voxels a packed change is about.

    Raises
    ------
    ReadError
        If the change is damaged or was made for another shape.
    """
    size = int(np.prod(shape, dtype=np.int64))
    try:
        raw = zlib.decompressobj().decompress(packed, (_AXES + size + 2) * _NUMBER.itemsize)
        numbers = np.frombuffer(raw, _NUMBER).astype(np.int64)
    except (zlib.error, ValueError) as error:
        raise ReadError(f"A saved edit is damaged ({error}); the edits before it are whole.") from None
    if tuple(numbers[:_AXES].tolist()) != tuple(shape):
        raise ReadError(f"A saved edit is of a scan of {tuple(numbers[:_AXES].tolist())} voxels; found one of {shape}.")
    edges = np.cumsum(numbers[_AXES:])
    if not len(edges) or edges[-1] != size:
        raise ReadError("A saved edit is damaged: it does not cover the scan; the edits before it are whole.")
    begins, ends = edges[0:-1:2], edges[1::2]
    lengths = ends - begins
    offsets = np.cumsum(lengths) - lengths
    found: Voxels = np.arange(lengths.sum()) + np.repeat(begins - offsets, lengths)
    return found


def middle(voxels: Voxels, grid: Grid) -> NDArray[np.int64]:
    """Return the voxel (i, j, k) to look at: that of the centroid, or the nearest one where it lies outside.

    Nearest in mm. A sickle's centroid lies in healthy tissue; the reader shall see the finding.
    """
    places = _places(voxels, grid.shape)
    centroid = places.mean(axis=0)
    distances = ((grid.world(places) - grid.world(centroid)) ** 2).sum(axis=1)
    rounded = np.rint(centroid).astype(np.int64)
    inside = (places == rounded).all(axis=1).any()
    found: NDArray[np.int64] = rounded if inside else places[np.argmin(distances)]
    return found


def box_of(voxels: Voxels, shape: Shape) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lowest and the highest (i, j, k)."""
    places = _places(voxels, shape)
    return places.min(axis=0), places.max(axis=0)


def pieces(voxels: Voxels, shape: Shape) -> list[Voxels]:
    """Return the connected pieces (26 neighbours), the largest first, of equal ones in array order."""
    import cc3d

    if not len(voxels):
        return []
    low, high = box_of(voxels, shape)
    places = _places(voxels, shape)
    mask = np.zeros(high - low + 1, dtype=bool)
    mask[tuple((places - low).T)] = True
    labels = cc3d.connected_components(mask, connectivity=_NEIGHBOURHOOD)
    of_voxel = labels[tuple((places - low).T)]
    found = [voxels[of_voxel == n] for n in range(1, int(of_voxel.max()) + 1)]
    return sorted(found, key=lambda piece: (-len(piece), int(piece[0])))


def statistics_of(voxels: Voxels, grid: Grid) -> dict[str, Any]:
    """Return what it takes to list and find a finding: volume in mm3, centroid (RAS mm and voxels), box in voxels."""
    centroid = _places(voxels, grid.shape).mean(axis=0)
    low, high = box_of(voxels, grid.shape)
    return {
        "volume_mm3": len(voxels) * grid.voxel_volume_mm3,
        "centroid_ras": grid.world(centroid).tolist(),
        "centroid_ijk": centroid.tolist(),
        "bbox_ijk": [*low.tolist(), *high.tolist()],
    }


def _flat(places: tuple[NDArray[Any], ...], shape: tuple[int, ...]) -> Voxels:
    return np.sort(np.ravel_multi_index(places, shape)).astype(np.int64, copy=False)


def _places(voxels: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the (n, 3) places (i, j, k) of voxels."""
    return np.stack(np.unravel_index(np.asarray(voxels), shape), axis=1)
