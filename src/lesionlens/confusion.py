"""What two readers or models say of the same things, counted; classes of voxels from maps of probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.blocks import blocks
from lesionlens.errors import InputError
from lesionlens.heatmap import Heatmap
from lesionlens.regions import check_same_grid

__all__ = ["check_maps", "class_labels", "confusion", "map_words", "method_of"]


def class_labels(probabilities: Sequence[Heatmap], *, threshold: float) -> NDArray[np.unsignedinteger[Any]]:
    """Return for each voxel the number of its class from 1, in the order of the maps; 0 below the threshold.

    Where several reach it, the most probable one counts.

    Parameters
    ----------
    probabilities
        One map for each class, in [0, 1], on one grid.
    threshold
        Probability in (0, 1] from which a voxel belongs to a class.

    Returns
    -------
    numpy.ndarray
        (i, j, k) from 0 to the number of maps, of the smallest unsigned type that holds it.

    Raises
    ------
    InputError
        If there are no maps, or their grids differ.
    """
    check_maps(*probabilities)
    highest = np.array(probabilities[0].array)
    found = np.ones_like(highest, dtype=np.min_scalar_type(len(probabilities)))
    for n, heatmap in enumerate(probabilities[1:], start=2):
        above = heatmap.array > highest
        found[above] = n
        np.copyto(highest, heatmap.array, where=above)
    found[highest < np.float32(threshold)] = 0
    return found


def confusion(first: ArrayLike, second: ArrayLike, n: int) -> NDArray[np.int64]:
    """Count how often two readers, or two models, say what of the same things.

    Parameters
    ----------
    first, second
        Integers from 0 to n - 1 of one shape: what each says of every voxel, region or case.
    n
        Number of answers that there are.

    Returns
    -------
    numpy.ndarray
        (n, n) counts: rows are the answers of the first, columns those of the second.

    Raises
    ------
    InputError
        If the shapes differ, or an answer is none of 0 to n - 1.
    """
    a, b = np.asarray(first), np.asarray(second)
    if a.shape != b.shape:
        raise InputError(f"Two readers answer the same questions; found answers of shape {a.shape} and {b.shape}.")
    for answers in (a, b):
        if answers.dtype.kind not in "iu" or (answers.size and not 0 <= answers.min() <= answers.max() < n):
            raise InputError(f"Answers are integers from 0 to {n - 1}; found {answers.dtype} {np.unique(answers)[:5]}.")
    counts = np.zeros(n * n, np.int64)
    for part in blocks(np.atleast_1d(a)):
        first_part, second_part = (np.atleast_1d(answers)[part].astype(np.int64).ravel() for answers in (a, b))
        counts += np.bincount(first_part * n + second_part, minlength=n * n)
    return counts.reshape(n, n)


def check_maps(*maps: Heatmap) -> None:
    """Refuse maps that lie on different grids, or no maps at all.

    Raises
    ------
    InputError
        It names both maps.
    """
    if not maps:
        raise InputError("There is nothing to compare: expected at least one map, found none.")
    for heatmap in maps[1:]:
        check_same_grid(f"{map_words(heatmap)}, to be compared with {map_words(maps[0])},", heatmap.grid, maps[0].grid)


def map_words(heatmap: Heatmap) -> str:
    """Say what a map is: kind, class and method."""
    method = "" if heatmap.kind == "probability" else f" by {method_of(heatmap)}"
    return f"{heatmap.kind} of {heatmap.label!r}{method}"


def method_of(heatmap: Heatmap) -> str:
    """Return the method that made a map, or its kind."""
    return heatmap.provenance.method
