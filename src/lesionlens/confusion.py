"""What two readers or models say of the same things, counted; classes of voxels from maps of probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.blocks import blocks
from lesionlens.errors import InputError
from lesionlens.heatmap import Heatmap
from lesionlens.regions import check_same_grid

__all__ = ["Limit", "check_maps", "class_labels", "confusion", "limit_of", "map_words", "method_of"]

# Probability from which a voxel belongs to a class: one for all, or one for each by its name.
Limit = float | Mapping[str, float]


def limit_of(limit: Limit, label: str) -> float:
    """Return the probability from which a voxel belongs to a class."""
    return limit[label] if isinstance(limit, Mapping) else limit


def class_labels(probabilities: Sequence[Heatmap], *, threshold: Limit) -> NDArray[np.unsignedinteger[Any]]:
    """Return for each voxel the number of its class from 1, in the order of the maps; 0 below the threshold.

    Where several classes reach theirs, the most probable one counts.

    Parameters
    ----------
    probabilities
        One map for each class, in [0, 1], on one grid.
    threshold
        Probability in (0, 1] from which a voxel belongs to a class; one for all, or one for each label.

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
    shape = probabilities[0].grid.shape
    found = np.zeros(shape, dtype=np.min_scalar_type(len(probabilities)))
    highest = np.full(shape, -np.inf, dtype=np.float32)
    for n, heatmap in enumerate(probabilities, start=1):
        above = (heatmap.array > highest) & (heatmap.array >= np.float32(limit_of(threshold, heatmap.label)))
        found[above] = n
        np.copyto(highest, heatmap.array, where=above)
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
