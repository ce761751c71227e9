"""How much several predictions of one scan differ: per voxel, per class, and per lesion.

Every sample is one prediction of the same scan: flipped, with dropout, or by another bundle. The statistics are those
of one class against all others, so that a class has the same maps whatever others a bundle knows.

Entropy and mutual information are in nats and at most ``ln 2``: with ``H(p) = -p ln p - (1 - p) ln(1 - p)``,

* predictive entropy ``H(mean p)``: all uncertainty, whatever its reason;
* mutual information ``H(mean p) - mean H(p)``: the part that the samples disagree about (Houlsby et al. 2011); of the
  rest, ``mean H(p)``, they are unsure together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.errors import InputError, unknown_name
from lesionlens.heatmap import Heatmap
from lesionlens.methods import Sampling
from lesionlens.regions import label_regions
from lesionlens.rules import Connectivity
from lesionlens.volume import Grid

__all__ = [
    "LARGEST",
    "MEASURES",
    "SAME_TWICE",
    "UNITS",
    "VOLUME_COV",
    "Measure",
    "RunningSpread",
    "Uncertainty",
    "VolumeSpread",
]

Measure = Literal["mean", "sd", "entropy", "mutual information"]
MEASURES: Final = get_args(Measure)
#: Method of the map that paints each lesion with how far its volume spreads.
VOLUME_COV: Final = "volume CoV"
UNITS: Mapping[str, str] = MappingProxyType(
    {"mean": "probability", "sd": "probability", "entropy": "nats", "mutual information": "nats", VOLUME_COV: "CoV"}
)
# What a measure can reach (the SD of few samples, which is divided by n - 1, a little more; a CoV of 1 is an SD as
# large as the mean, beyond which a volume says nothing): pictures share this scale.
LARGEST: Mapping[str, float] = MappingProxyType(
    {"mean": 1.0, "sd": 0.5, "entropy": math.log(2), "mutual information": math.log(2), VOLUME_COV: 1.0}
)
#: Of an ensemble that would show certainty where there was nothing to disagree.
SAME_TWICE: Final = (
    "The ensemble holds one bundle more than once, which agrees with itself whatever the scan: the spread is too small."
)

Floats = NDArray[np.float32]


def binary_entropy(probability: ArrayLike) -> Floats:
    """Return the entropy in nats of one class against all others, float32 of the shape of the probabilities."""
    from scipy.special import entr

    p = np.asarray(probability, dtype=np.float32)
    found: Floats = entr(p) + entr(1 - p)
    return found


class RunningSpread:
    """Statistics of the probability of one class, sample by sample: no sample is kept.

    Sums run after Welford (1962), so that equal samples have a spread of exactly 0.
    """

    def __init__(self) -> None:
        self.n = 0
        self._mean: Floats = np.float32(0)  # type: ignore[assignment]  # becomes an array with the first sample
        self._squares: Floats = self._mean
        self._entropy: Floats = self._mean

    def add(self, probability: ArrayLike) -> None:
        """Count one sample: float32 in [0, 1], always of the same shape."""
        p = np.asarray(probability, dtype=np.float32)
        self.n += 1
        from_old = p - self._mean
        self._mean = self._mean + from_old / np.float32(self.n)
        self._squares = self._squares + from_old * (p - self._mean)
        self._entropy = self._entropy + (binary_entropy(p) - self._entropy) / np.float32(self.n)

    @property
    def expected_entropy(self) -> Floats:
        """Mean of the samples' entropies, in nats: what they are unsure of together."""
        return self._entropy

    def measure(self, name: Measure) -> Floats:
        """Return one of :data:`MEASURES`; the standard deviation is divided by n - 1."""
        if name == "mean":
            return self._mean
        if name == "sd":
            return np.asarray(np.sqrt(self._squares / np.float32(max(self.n - 1, 1))))
        entropy = binary_entropy(self._mean)
        # Never negative, but for the rounding of two numbers that are nearly the same.
        return entropy if name == "entropy" else np.maximum(entropy - self._entropy, np.float32(0))


@dataclass(frozen=True)
class VolumeSpread:
    """How large one lesion is in the samples.

    Parameters
    ----------
    label
        Number of the region; 0 for all of them together.
    mean_mm3, sd_mm3
        Over all samples, those without the lesion included; the standard deviation is divided by n - 1.
    cov
        ``sd_mm3 / mean_mm3``; None where no sample has the lesion.
    found
        Share of the samples that have it, in [0, 1].
    """

    label: int
    mean_mm3: float
    sd_mm3: float
    cov: float | None
    found: float


def volume_spreads(
    labels: NDArray[Any], masks: Iterable[NDArray[np.bool_]], grid: Grid, *, connectivity: Connectivity = 26
) -> tuple[VolumeSpread, ...]:
    """Measure every region in every sample.

    In each sample the voxels count that are connected with the voxels of some region; those of a lesion that merges two
    regions go to the nearer one. What touches no region is another lesion and counts for none.

    Parameters
    ----------
    labels
        (i, j, k) integers: 0 outside, 1..n the regions.
    masks
        (i, j, k) Boolean, one for each sample.
    grid
        Of both.
    connectivity
        How voxels of one lesion touch; see :class:`~lesionlens.rules.RegionRules`.

    Returns
    -------
    tuple of VolumeSpread
        In the order of the labels.
    """
    n = int(labels.max()) if labels.size else 0
    if n == 0:
        return ()
    nearest = _nearest(labels, grid)
    volumes = np.array([_counts(labels, nearest, mask, n, connectivity) for mask in masks]) * grid.voxel_volume_mm3
    return tuple(_spread(label + 1, column) for label, column in enumerate(volumes.T))


def total_spread(masks: Iterable[NDArray[np.bool_]], grid: Grid) -> VolumeSpread:
    """Measure the volume of all lesions together in every sample; ``label`` is 0."""
    return _spread(0, np.array([np.count_nonzero(mask) for mask in masks]) * grid.voxel_volume_mm3)


def _nearest(labels: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """Return for each voxel the label of the nearest region."""
    from scipy import ndimage

    place = ndimage.distance_transform_edt(labels == 0, grid.spacing_mm, return_distances=False, return_indices=True)
    return np.asarray(labels[tuple(place)])


def _counts(
    labels: NDArray[Any], nearest: NDArray[Any], mask: NDArray[np.bool_], n: int, connectivity: Connectivity
) -> NDArray[np.int64]:
    """Count the voxels of each region in one sample."""
    import cc3d

    parts = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=connectivity)
    known = np.zeros(int(parts.max()) + 1, dtype=bool)
    known[np.unique(parts[labels > 0])] = True
    known[0] = False
    return np.bincount(nearest[known[parts]], minlength=n + 1)[1:]


def _spread(label: int, volumes: NDArray[np.float64]) -> VolumeSpread:
    mean, sd = float(volumes.mean()), float(volumes.std(ddof=1)) if len(volumes) > 1 else 0.0
    return VolumeSpread(label, mean, sd, sd / mean if mean > 0 else None, float((volumes > 0).mean()))


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """What several predictions of one scan say together.

    Parameters
    ----------
    sampling
        ``"tta"``, ``"dropout"`` or ``"ensemble"``.
    samples
        What each sample was, in words.
    maps
        Kind ``"uncertainty"``; for each class one for each of :data:`MEASURES`, which is the method of its provenance.
        Empty for classification bundles.
    class_spreads
        For classification bundles: the same measures for each class; else empty.
    threshold
        Probability from which a voxel belongs to a region.
    notes
        What a reader must know: one sentence each.
    masks
        Per class and sample, the voxels at or above the threshold, as :func:`numpy.packbits` packs them.
    """

    sampling: Sampling
    samples: tuple[str, ...]
    maps: tuple[Heatmap, ...]
    class_spreads: Mapping[str, Mapping[str, float]]
    threshold: float
    notes: tuple[str, ...]
    masks: Mapping[str, Sequence[NDArray[np.uint8]]]

    def map_of(self, measure: str, label: str) -> Heatmap:
        """Return the map of a measure of a class.

        Raises
        ------
        InputError
            If there is none; the message lists those that exist.
        """
        found = {f"{m.provenance.method} of {m.label}": m for m in self.maps}
        if f"{measure} of {label}" not in found:
            raise InputError(unknown_name("uncertainty map", f"{measure} of {label}", found))
        return found[f"{measure} of {label}"]

    def with_volume_maps(
        self, labels: Mapping[str, NDArray[Any]], spreads: Mapping[str, Sequence[VolumeSpread]]
    ) -> Uncertainty:
        """Add a map for each class that paints its lesions with the CoV of their volumes, 0 outside.

        A lesion that no sample has gets the largest CoV that so many samples can have, that of one which has it.

        Parameters
        ----------
        labels, spreads
            By class, (i, j, k) integers that number its lesions from 1, and the spread of each.
        """
        added = [
            _painted(self.map_of("mean", label), labels[label], found, len(self.samples))
            for label, found in spreads.items()
        ]
        return replace(self, maps=(*self.maps, *added))

    def volumes(
        self, label: str, regions: NDArray[Any] | None = None, *, connectivity: Connectivity = 26
    ) -> tuple[VolumeSpread, ...]:
        """Return how the volume of each lesion of a class spreads over the samples; see :func:`volume_spreads`.

        Parameters
        ----------
        label
            The class.
        regions
            (i, j, k) integers that number the lesions from 1; by default the regions of the mean map at the threshold,
            largest first.
        connectivity
            How voxels of one lesion touch in a sample.
        """
        mean = self.map_of("mean", label)
        found = label_regions(mean, threshold=self.threshold) if regions is None else regions
        return volume_spreads(found, self._unpacked(label), mean.grid, connectivity=connectivity)

    def total_volume(self, label: str) -> VolumeSpread:
        """Return how the volume of all lesions of a class together spreads over the samples."""
        return total_spread(self._unpacked(label), self.map_of("mean", label).grid)

    def _unpacked(self, label: str) -> Iterable[NDArray[np.bool_]]:
        shape = self.map_of("mean", label).grid.shape
        unpack = partial(np.unpackbits, count=math.prod(shape))
        return (unpack(packed).reshape(shape).astype(bool) for packed in self.masks[label])


def _painted(mean: Heatmap, labels: NDArray[Any], spreads: Sequence[VolumeSpread], samples: int) -> Heatmap:
    values = np.zeros(len(spreads) + 1, dtype=np.float32)
    for one in spreads:
        values[one.label] = math.sqrt(samples) if one.cov is None else one.cov
    missing = [str(one.label) for one in spreads if one.cov is None]
    note = f"No sample has region {', '.join(missing)}: the map shows the largest CoV of {samples} samples there."
    made = replace(
        mean.provenance,
        method=VOLUME_COV,
        target=f"CoV of the volume of each region of {mean.label!r} over {samples} samples",
        notes=(*mean.provenance.notes, *[note] * bool(missing)),
    )
    named = mean.volume.with_array(values[labels], name=f"{VOLUME_COV} of {mean.label}", unit="")
    return replace(mean, volume=named, provenance=made)
