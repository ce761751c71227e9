r"""Where the cells of a layer lie: measured with blobs that are added to the image, one at a time.

A layer of stride ``S`` has its cell ``c`` at voxel ``S c + (S - 1) / 2`` by convention. Padding, even kernels and what
a network learned move it. Here a soft blob at voxel ``p`` changes the image, and the layer answers with the energy

    E_c = relu(sum_k (A_kc(x + blob) - A_kc(x))^2 - floor)

whose centroid ``C = sum_c c E_c / sum_c E_c`` is where the layer has what is at ``p``. The displacement of one blob is
``p - (S C + (S - 1) / 2)``; that of the layer is their trimmed mean over many places, which visit every position within
a cell equally often: the centroid of a few cells sways with it, to both sides alike. The floor, a share of the largest
energy, leaves out what layers that normalise change everywhere.

The blob's own place is known exactly, which is why it is added: what covering a place changes depends on what was
there. For a kernel that is symmetric about a voxel the displacement is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lesionlens.errors import ExplainError
from lesionlens.explain.capture import Cut, cut_at
from lesionlens.explain.cells import cells_of
from lesionlens.explain.inference import Inference
from lesionlens.progress import Progress, silent

__all__ = ["CellOffset", "Displacements", "cell_offset", "displacements"]

# Blobs: a multiple of every stride that networks have, so that each position within a cell is visited as often.
POSITIONS = 64
# Windows of one image that are looked at, those with most contrast: each costs a pass of its own.
_MOST_WINDOWS = 4

# Standard deviation of the blob in cells, and at least one voxel, below which it is no blob: as wide as a cell at half
# its height, so that a few cells see it and their centroid lies between them.
_BLOB_CELLS = 0.5
# Cells that answer with less than this share of the strongest one's energy are not counted.
_FLOOR = 0.1
# Blobs keep away from the borders by this many voxels and one cell at least: beyond, half of their answers are cut off.
_MARGIN = 3
# Blobs lie where the image has at least this share of its standard deviation: in air, networks may be dead.
_CONTRAST = 0.1
_TRIES = 20

# Of the displacements, so many at either end are left out of the mean.
_TRIMMED = 0.1
# The centroid has to follow the blob by at least so many voxels for each of its own, or the layer knows no places.
_LEAST_SLOPE = 0.5
# Fewer answers say nothing about their spread.
_FEWEST = 8


@dataclass(frozen=True, eq=False)
class Displacements:
    """What blobs in one image showed.

    Parameters
    ----------
    places
        (n, axes) voxels of a window at which a blob lay; those without an answer are left out.
    voxels
        (n, axes) displacements: the blob's place minus that of the layer's answer by the half-voxel convention.
    stride
        Voxels for each cell along each axis.
    window
        Voxels that the network saw at a time.
    tried
        Number of blobs.
    """

    places: NDArray[np.float64]
    voxels: NDArray[np.float64]
    stride: tuple[float, ...]
    window: tuple[int, ...]
    tried: int


@dataclass(frozen=True)
class CellOffset:
    """Where the cells of a layer lie.

    Parameters
    ----------
    voxels
        How far they lie from where the half-voxel convention puts them, along each axis of the network's grid.
    spread
        Standard deviation of single blobs along each axis, in voxels; the mean is known about ``sqrt(n)`` times better.
    n
        Number of blobs that the layer answered.
    stride, window
        Voxels for each cell, and voxels that the network saw at a time, for which it holds.
    """

    voxels: tuple[float, ...]
    spread: tuple[float, ...]
    n: int
    stride: tuple[float, ...]
    window: tuple[int, ...]


def displacements(
    inference: Inference,
    layer: str,
    *,
    positions: int = POSITIONS,
    seed: int = 0,
    progress: Progress = silent,
) -> Displacements:
    """Add blobs to an image, one at a time, and see where a layer answers.

    Parameters
    ----------
    inference
        The network, its image and its windows. The network is left exactly as it was, also after an error.
    layer
        Dotted name of a layer that gives (N, channels, *cells).
    positions
        Number of blobs.
    seed
        Of their places.
    progress
        Called after each blob.

    Raises
    ------
    ExplainError
        If the layer gives no such tensor, or has fewer than three cells along an axis.
    """
    plan, rng = inference.plan, np.random.default_rng(seed)
    with cut_at(inference.network, layer) as cut:
        padded = plan.pad(inference.image)
        chosen = _richest([plan.view(padded, index) for index in range(len(plan))])
        quiet = [cut.encode(view.clone()) for view in chosen]
        cells = cells_of(inference.network, cut, chosen[0], quiet[0].shape[2:])
        stride, border = cells.stride, np.array(cells.border)
        places = _places(chosen, stride, layer, positions, rng)
        answered: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        for done, place in enumerate(places):
            progress("Measuring", done, positions)
            number = done % len(chosen)
            sign = 1.0 if done // len(chosen) % 2 else -1.0
            cell = _answer(cut, chosen[number], quiet[number], place, sign, stride)
            if cell is not None:
                step = np.array(stride)
                answered.append((place, place - (step * cell + (step - 1) / 2 + border)))
        progress("Measuring", positions, positions)
    empty = np.empty((0, len(stride)))
    found = [np.array(part) for part in zip(*answered, strict=True)] or [empty, empty]
    return Displacements(found[0], found[1], stride, plan.size, positions)


def _richest(views: list[Tensor]) -> list[Tensor]:
    """Return the windows with the most contrast."""
    order = sorted(range(len(views)), key=lambda index: -float(views[index].float().std()))
    return [views[index] for index in order[:_MOST_WINDOWS]]


def _places(
    views: Sequence[Tensor], stride: tuple[float, ...], layer: str, count: int, rng: np.random.Generator
) -> list[NDArray[np.float64]]:
    """Draw the voxels of the blobs: away from the borders, in the image, each position within a cell as often.

    The cells that are visited lie symmetrically in the window, so that what the borders cut off does so on both sides.
    """
    steps = [max(1, round(s)) for s in stride]
    margins = [-(-_MARGIN // step) for step in steps]
    blocks = [int(n // step) - 2 * margin for n, step, margin in zip(views[0].shape[2:], steps, margins, strict=True)]
    if min(blocks) < 1:
        found = " x ".join(f"{n / s:.3g}" for n, s in zip(views[0].shape[2:], stride, strict=True))
        raise _unmeasurable(layer, f"it has {found} cells; at least 3, and one more than 6 voxels, are needed")
    first = [(n - b * step) // 2 for n, b, step in zip(views[0].shape[2:], blocks, steps, strict=True)]
    phases = [rng.permutation(np.arange(count) % step) for step in steps]
    contrasts = [_contrast(view, stride) for view in views]
    places = []
    for n in range(count):
        contrast = contrasts[n % len(views)]
        for _ in range(_TRIES):
            cells = [rng.integers(b) for b in blocks]
            place = [f + step * c + p[n] for f, step, c, p in zip(first, steps, cells, phases, strict=True)]
            if contrast[tuple(place)]:
                break
        places.append(np.array(place, dtype=np.float64))
    return places


def _contrast(view: Tensor, stride: tuple[float, ...]) -> NDArray[np.bool_]:
    """Return (*spatial) True where the image is not the same all around; of an even image everywhere."""
    from scipy.ndimage import uniform_filter

    image = view[0].float().mean(dim=0).cpu().numpy().astype(np.float64)
    size = [2 * round(_BLOB_CELLS * s) + 3 for s in stride]
    variance = uniform_filter(image**2, size) - uniform_filter(image, size) ** 2
    found: NDArray[np.bool_] = variance > (_CONTRAST * image.std()) ** 2
    return found if found.any() else np.ones_like(found)


def _answer(
    cut: Cut, view: Tensor, quiet: Tensor, place: NDArray[np.float64], sign: float, stride: tuple[float, ...]
) -> NDArray[np.float64] | None:
    """Return the centroid, in cells, of what a blob changes in the layer; None where it changes nothing."""
    height = sign * (float(view.float().std()) or 1.0)
    changed = cut.encode(view + height * _blob(view, place, stride))
    energy = (changed.double() - quiet.double()).square().sum(dim=1)[0]
    if not bool(torch.isfinite(energy).all()):
        raise ExplainError("The layer holds values that are not finite; the network overflows on this image.")
    energy = (energy - _FLOOR * energy.max()).relu()
    total = float(energy.sum())
    if total == 0:
        return None
    axes = range(energy.ndim)
    sums = [energy.sum(dim=[other for other in axes if other != axis]).cpu().numpy() for axis in axes]
    return np.array([np.arange(len(one)) @ one / total for one in sums])


def _blob(view: Tensor, place: NDArray[np.float64], stride: tuple[float, ...]) -> Tensor:
    """Return a Gaussian of height 1 at a voxel, (*spatial)."""
    found = torch.ones((), dtype=view.dtype, device=view.device)
    for n, centre, step in zip(view.shape[2:], place, stride, strict=True):
        away = (torch.arange(n, dtype=view.dtype, device=view.device) - centre) / max(1.0, _BLOB_CELLS * step)
        found = found[..., None] * torch.exp(-(away**2) / 2)
    return found


def cell_offset(parts: Sequence[Displacements], layer: str) -> CellOffset:
    """Return where the cells of a layer lie, from the blobs of one or several images.

    Raises
    ------
    ExplainError
        If that cannot be measured: the layer does not answer, its answers do not follow the blobs, they scatter by
        more than a cell, or it has another stride in another image.
    """
    stride, window = parts[0].stride, parts[0].window
    if any(part.stride != stride for part in parts):
        strides = ", ".join(" x ".join(f"{s:.4g}" for s in part.stride) for part in parts)
        raise _unmeasurable(layer, f"its stride depends on the size of the image (found {strides}); give one image")
    places, voxels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("places", "voxels"))
    n, tried = len(voxels), sum(part.tried for part in parts)
    if n < max(_FEWEST, tried / 2):
        raise _unmeasurable(layer, f"it answers only {n} of {tried} blobs")
    for axis, step in enumerate(stride):
        spread = float(voxels[:, axis].std(ddof=1))
        if spread > step:
            raise _unmeasurable(
                layer, f"single blobs scatter by {spread:.3g} voxels along axis {axis}, more than its stride ({step:g})"
            )
        if _slope(places[:, axis], voxels[:, axis]) < _LEAST_SLOPE:
            raise _unmeasurable(layer, f"its answers do not follow the blobs along axis {axis}")
    cut = int(_TRIMMED * n)
    mean = np.sort(voxels, axis=0)[cut : n - cut].mean(axis=0)
    spreads = voxels.std(axis=0, ddof=1)
    return CellOffset(tuple(mean.tolist()), tuple(spreads.tolist()), n, stride, window)


def _slope(places: NDArray[np.float64], voxels: NDArray[np.float64]) -> float:
    """Return by how many voxels the answers move for each voxel that the blobs do."""
    away = places - places.mean()
    return float(away @ (places - voxels) / max(away @ away, np.finfo(float).tiny))


def _unmeasurable(layer: str, reason: str) -> ExplainError:
    return ExplainError(
        f"Where the cells of layer {layer!r} lie is not measurable: {reason}. Its maps keep the half-voxel convention,"
        " good to half a stride."
    )
