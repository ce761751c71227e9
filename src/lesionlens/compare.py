"""Maps against each other: classes, models, methods, before and after; and readers or classes against each other.

Whatever is compared lies on one grid; nothing is resampled here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.blocks import pearson
from lesionlens.confusion import Limit, check_maps, class_labels, confusion, limit_of, map_words, method_of
from lesionlens.errors import InputError, unknown_name
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.scales import scale_of

__all__ = [
    "Comparison",
    "Correlation",
    "Difference",
    "Overlap",
    "Pair",
    "by_largest",
    "class_labels",
    "compare_maps",
    "confusion",
    "correlations",
    "difference",
    "hottest",
    "overlap",
    "pair_of",
]

Correlation = Literal["pearson", "spearman"]
Scale = Literal["raw", "largest"]

# A map that varies less than this part of its size is constant but for rounding; it correlates with nothing.
_CONSTANT: Final = 1e-7
# Maps without a unit are cut so that each keeps this share of the voxels.
HOTTEST_SHARE: Final = 0.02


@dataclass(frozen=True, eq=False)
class Difference:
    """The second map minus the first.

    Parameters
    ----------
    heatmap
        Kind ``"difference"``, signed: above 0 where the second map is higher.
    limit
        Largest magnitude of both maps, on the scale that was compared: one range for the two maps and, with its
        negative, for their difference.
    mean, mean_absolute, largest
        Of the difference, its magnitude, and the largest magnitude, over all valid voxels.
    """

    heatmap: Heatmap
    limit: float
    mean: float
    mean_absolute: float
    largest: float


@dataclass(frozen=True)
class Overlap:
    """How far two sets of voxels are the same.

    Parameters
    ----------
    dice, jaccard
        In [0, 1]; None where both sets are empty.
    first, second, both
        Voxels in the sets and in both of them.
    """

    dice: float | None
    jaccard: float | None
    first: int
    second: int
    both: int


@dataclass(frozen=True, eq=False)
class Pair:
    """Two maps that speak of the same thing.

    Parameters
    ----------
    first, second
        The maps.
    difference
        The second minus the first.
    overlap
        Of the two, cut as ``cut`` says.
    cut
        Where they were cut, in words.
    """

    first: Heatmap
    second: Heatmap
    difference: Difference
    overlap: Overlap
    cut: str


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two sets of maps of one scan against each other.

    Parameters
    ----------
    names
        Of all maps that were correlated: those of the first set, then those of the second.
    pearson, spearman
        (n, n) correlations in the order of the names.
    pairs
        Maps that speak of the same thing.
    classes
        Answers at each voxel, the first of which is none of the classes.
    confusion
        (classes, classes) counts of voxels: rows are the first set, columns the second. None where a set has no
        probability maps.
    """

    names: tuple[str, ...]
    pearson: NDArray[np.float64]
    spearman: NDArray[np.float64]
    pairs: tuple[Pair, ...]
    classes: tuple[str, ...]
    confusion: NDArray[np.int64] | None


def compare_maps(
    first: Sequence[Heatmap], second: Sequence[Heatmap], *, thresholds: tuple[Limit, Limit] = (0.5, 0.5)
) -> Comparison:
    """Compare two sets of maps of one scan.

    Parameters
    ----------
    first, second
        All on one grid. A map is paired with that of the same kind, class and method; what is left then, with the only
        other one of the same kind and class (two methods), or of the same kind (two classes).
    thresholds
        Probabilities from which voxels belong to a class, of the first and of the second set: one, or one by label.

    Raises
    ------
    InputError
        If the grids differ.
    """
    check_maps(*first, *second)
    shown = [m for m in (*first, *second) if m.kind != "uncertainty"]
    n_first = sum(m.kind != "uncertainty" for m in first)
    names = tuple(f"{'A' if n < n_first else 'B'}: {map_words(m)}" for n, m in enumerate(shown))
    classes, counts = _class_confusion(first, second, thresholds)
    return Comparison(
        names=names,
        pearson=correlations(shown) if shown else np.empty((0, 0)),
        spearman=correlations(shown, kind="spearman") if shown else np.empty((0, 0)),
        pairs=tuple(pair_of(a, b, thresholds=thresholds) for a, b in _paired(first, second)),
        classes=classes,
        confusion=counts,
    )


def _paired(first: Sequence[Heatmap], second: Sequence[Heatmap]) -> list[tuple[Heatmap, Heatmap]]:
    """Pair maps by ever fewer words; a pair that could be another is none."""
    pairs: list[tuple[Heatmap, Heatmap]] = []
    left, right = list(first), list(second)
    for words in (_full_key, lambda m: _full_key(m)[:2], lambda m: _full_key(m)[:1]):
        for a in list(left):
            partners = [b for b in right if words(b) == words(a)]
            rivals = [other for other in left if words(other) == words(a)]
            if len(partners) == len(rivals) == 1 and (
                words is _full_key or a.kind not in ("uncertainty", "probability")
            ):
                pairs.append((a, partners[0]))
                left.remove(a)
                right.remove(partners[0])
    return pairs


def _full_key(heatmap: Heatmap) -> tuple[str, ...]:
    """Return what a map is; softmax or sigmoid, a probability is one."""
    return heatmap.kind, heatmap.label.lower(), "" if heatmap.kind == "probability" else method_of(heatmap)


def pair_of(first: Heatmap, second: Heatmap, *, thresholds: tuple[Limit, Limit] = (0.5, 0.5)) -> Pair:
    """Compare two maps on one grid, whatever they show.

    Parameters
    ----------
    first, second
        The maps.
    thresholds
        Probabilities in (0, 1] at which two probability maps are cut for the overlap, of the first and of the second.
        Other maps are cut at their :func:`hottest` voxels.

    Raises
    ------
    InputError
        If the grids differ.
    """
    check_maps(first, second)
    if first.kind == second.kind == "probability":
        limits = [limit_of(limit, m.label) for m, limit in zip((first, second), thresholds, strict=True)]
        a, b = (m.array >= np.float32(limit) for m, limit in zip((first, second), limits, strict=True))
        cut = f"at or above {limits[0]:g} and {limits[1]:g}"
    else:
        a, b = hottest(first, HOTTEST_SHARE), hottest(second, HOTTEST_SHARE)
        cut = f"among the highest {100 * HOTTEST_SHARE:g} % and above 0"
    return Pair(first, second, difference(first, second), overlap(a, b), cut)


def _class_confusion(
    first: Sequence[Heatmap], second: Sequence[Heatmap], thresholds: tuple[Limit, Limit]
) -> tuple[tuple[str, ...], NDArray[np.int64] | None]:
    sets = [[m for m in maps if m.kind == "probability"] for maps in (first, second)]
    if not all(sets):
        return (), None
    classes = list(dict.fromkeys(m.label for maps in sets for m in maps))
    answers = []
    for maps, limit in zip(sets, thresholds, strict=True):
        numbers = np.array([0, *(classes.index(m.label) + 1 for m in maps)])
        answers.append(numbers[class_labels(maps, threshold=limit)])
    inside = _valid(*sets[0], *sets[1])
    return ("none", *classes), confusion(answers[0][inside], answers[1][inside], len(classes) + 1)


def difference(first: Heatmap, second: Heatmap, *, scale: Scale | None = None) -> Difference:
    """Subtract the first map from the second.

    Parameters
    ----------
    first, second
        On one grid.
    scale
        ``"raw"``: values as they are, which means something only where both are in one unit. ``"largest"``: each map is
        divided by its own largest magnitude first. By default ``"raw"`` for maps of one kind and method, else
        ``"largest"``: attributions of two methods have no common unit.

    Raises
    ------
    InputError
        If the grids differ, or the scale does not exist.
    """
    check_maps(first, second)
    if scale not in (None, *get_args(Scale)):
        raise InputError(unknown_name("scale", scale, get_args(Scale)))
    scale = scale or ("raw" if scale_of(first).name == scale_of(second).name else "largest")
    a, b = (_scaled(heatmap, scale) for heatmap in (first, second))
    found = b - a
    made = Provenance(
        bundle=" and ".join(dict.fromkeys((first.provenance.bundle, second.provenance.bundle))),
        method="minus",
        target=f"{map_words(second)} minus {map_words(first)}",
        options={"scale": scale},
        versions=second.provenance.versions,
        notes=() if scale == "raw" else ("Both maps were divided by their own largest magnitude first.",),
    )
    label = first.label if first.label == second.label else f"{second.label} minus {first.label}"
    unit = second.volume.unit if scale == "raw" else ""
    named = replace(second.volume, array=found, name=f"difference of {label}", unit=unit)
    held = found[_valid(first, second)].astype(np.float64)
    limit = max(float(np.abs(a).max()), float(np.abs(b).max()))
    heatmap = Heatmap(named, "difference", label, signed=True, provenance=made)
    if not held.size:
        return Difference(heatmap, limit, 0.0, 0.0, 0.0)
    return Difference(heatmap, limit, float(held.mean()), float(np.abs(held).mean()), float(np.abs(held).max()))


def correlations(maps: Sequence[Heatmap], *, kind: Correlation = "pearson") -> NDArray[np.float64]:
    """Correlate every map with every other, voxel by voxel over the voxels that are valid in all.

    Parameters
    ----------
    maps
        On one grid.
    kind
        ``"pearson"``: of the values. ``"spearman"``: of their ranks, ties sharing the mean rank.

    Returns
    -------
    numpy.ndarray
        (n, n) float64 in [-1, 1]; NaN for a map that is constant, which correlates with nothing.

    Raises
    ------
    InputError
        If there are no maps, their grids differ, or there is no such correlation.
    """
    if kind not in get_args(Correlation):
        raise InputError(unknown_name("correlation", kind, get_args(Correlation)))
    check_maps(*maps)
    inside = _valid(*maps)
    if kind == "pearson":
        return pearson([heatmap.array for heatmap in maps], inside, constant=_CONSTANT).clip(-1, 1)
    from scipy.stats import rankdata

    centred = [_centred(np.asarray(rankdata(heatmap.array[inside]), dtype=np.float64)) for heatmap in maps]
    found = np.array([[a @ b for b in centred] for a in centred])
    return found.clip(-1, 1)


def overlap(first: ArrayLike, second: ArrayLike) -> Overlap:
    """Compare two sets of voxels, such as maps at or above a threshold.

    With A and B the numbers of voxels in each, Dice is 2 |A and B| / (|A| + |B|) [1]_ and Jaccard |A and B| / |A or B|
    [2]_.

    Parameters
    ----------
    first, second
        (i, j, k) bool, or any other shape that both have; what is not 0 is in the set.

    Raises
    ------
    InputError
        If the shapes differ.

    References
    ----------
    .. [1] Dice, Ecology 26, 1945, https://doi.org/10.2307/1932409
    .. [2] Jaccard, New Phytologist 11, 1912, https://doi.org/10.1111/j.1469-8137.1912.tb05611.x
    """
    a, b = (np.asarray(mask, dtype=bool) for mask in (first, second))
    if a.shape != b.shape:
        raise InputError(f"Sets of voxels are compared on one grid; found shapes {a.shape} and {b.shape}.")
    sizes = [int(np.count_nonzero(mask)) for mask in (a, b, a & b)]
    in_a, in_b, both = sizes
    either = in_a + in_b - both
    if either == 0:
        return Overlap(None, None, 0, 0, 0)
    return Overlap(2 * both / (in_a + in_b), both / either, in_a, in_b, both)


def hottest(heatmap: Heatmap, share: float) -> NDArray[np.bool_]:
    """Return the voxels that hold the highest ``share`` of a map's values, ties included, and are above 0.

    Attributions have no unit, so that one threshold would cut two of them at different depths.

    Parameters
    ----------
    heatmap
        The map; voxels that are not valid are in no set and do not count.
    share
        Of the valid voxels, in (0, 1].

    Returns
    -------
    numpy.ndarray
        (i, j, k) bool.

    Raises
    ------
    InputError
        If the share is none.
    """
    if not 0 < share <= 1:
        raise InputError(f"A share of voxels lies above 0 and at most at 1; found {share}.")
    inside = _valid(heatmap)
    if not inside.any():
        return inside
    limit = np.quantile(heatmap.array[inside], 1 - share, method="higher")
    return inside & (heatmap.array >= limit) & (heatmap.array > 0)


def _scaled(heatmap: Heatmap, scale: Scale) -> NDArray[np.float32]:
    largest = np.abs(heatmap.array).max() if scale == "largest" else np.float32(1)
    return np.asarray(heatmap.array / largest if largest > 0 else heatmap.array, dtype=np.float32)


def by_largest(heatmap: Heatmap) -> Heatmap:
    """Divide a map by its largest magnitude, as :func:`difference` does with maps that have no common unit."""
    return replace(heatmap, volume=heatmap.volume.with_array(_scaled(heatmap, "largest")))


def _valid(*maps: Heatmap) -> NDArray[np.bool_]:
    inside = np.ones(maps[0].grid.shape, dtype=bool)
    for heatmap in maps:
        if heatmap.volume.valid is not None:
            inside &= heatmap.volume.valid
    return inside


def _centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values with mean 0 and length 1; NaN where they do not vary."""
    if not values.size:
        return np.array([np.nan])
    around = values - values.mean()
    length = float(np.linalg.norm(around))
    constant = length <= _CONSTANT * max(float(np.linalg.norm(values)), np.finfo(np.float64).tiny)
    return np.asarray(around * np.nan if constant else around / length)
