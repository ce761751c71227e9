"""One case of a cohort: its results against what a reader marked.

A lesion is a set of marked voxels that touch in 26 directions. It is detected if at least one of its voxels lies in a
region of the run; a region that shares no voxel with the mask is a false positive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lesionlens.calibration import N_BINS, brier, reliability
from lesionlens.errors import InputError, unknown_name
from lesionlens.evaluation.cases import EvaluationCase
from lesionlens.heatmap import Heatmap
from lesionlens.io.labels import read_labels
from lesionlens.regions import find_regions
from lesionlens.results import read_maps
from lesionlens.rules import RegionRules
from lesionlens.seals import hash_file

__all__ = ["FROC_THRESHOLDS", "OVERLAP_RULE", "SIZE_EDGES_MM3", "CaseMeasures", "LesionMeasure", "measure_case"]

OVERLAP_RULE: Final = (
    "A lesion is a set of marked voxels that touch in 26 directions; it is detected if at least one of its voxels lies"
    " in a region of the run. A region that shares no voxel with the mask is a false positive."
)
#: Where small, middle and large lesions meet: 0.1 and 1 mL.
SIZE_EDGES_MM3: Final = (100.0, 1000.0)
#: Thresholds of the probability at which lesions are counted for the FROC curve.
FROC_THRESHOLDS: Final = tuple(round(0.05 * step, 2) for step in range(1, 20))


@dataclass(frozen=True)
class LesionMeasure:
    """A marked lesion, or a region that is a false positive.

    Parameters
    ----------
    kind
        ``"marked"`` or ``"false positive"``.
    number
        From 1, the largest first.
    volume_mm3
        Its size.
    covered
        Share of its voxels that were found; 0 for a lesion that was missed, and for a false positive.
    """

    kind: str
    number: int
    volume_mm3: float
    covered: float

    @property
    def size(self) -> int:
        """0, 1 or 2: small, middle or large, by :data:`SIZE_EDGES_MM3`."""
        return int(np.searchsorted(SIZE_EDGES_MM3, self.volume_mm3, side="right"))


@dataclass(frozen=True, eq=False)
class CaseMeasures:
    """What was measured of one case.

    Parameters
    ----------
    name, bundle, label
        Of the case, its bundle and its class.
    numbers
        By the name of a column; None where one cannot be computed.
    lesions
        Marked ones, then false positives.
    froc
        (thresholds, 2) counts: lesions detected, and false positives, at :data:`FROC_THRESHOLDS`.
    bins
        (2, 3, bins) of all voxels and of those near lesions, per bin of the probability: voxels, and the sums of the
        probabilities and of what was marked.
    inputs
        Hashes of the ``record`` of its results, which holds the chain of all that they rest on, and of its ``mask``.
    """

    name: str
    bundle: str
    label: str
    numbers: Mapping[str, float | None]
    lesions: tuple[LesionMeasure, ...]
    froc: NDArray[np.int64]
    bins: NDArray[np.float64]
    inputs: Mapping[str, str] = field(default_factory=dict)

    def count(self, kind: str, size: int | None = None, *, detected: bool = False) -> int:
        """Return how many lesions of a kind there are, of one size or all; those that were detected alone."""
        return sum(
            one.kind == kind and size in (None, one.size) and (one.covered > 0 or not detected) for one in self.lesions
        )


def measure_case(
    case: EvaluationCase,
    *,
    label: str | None = None,
    threshold: float | None = None,
    mask_value: int | None = None,
    other_frame: bool = False,
) -> CaseMeasures:
    """Compare the results of a case with its mask.

    Parameters
    ----------
    case
        What to read.
    label
        Class; by default the only one.
    threshold
        Of the probability, in (0, 1]; by default that of the run. Regions are made by the rules of the run.
    mask_value
        The number in the mask that stands for the class; by default all above 0.
    other_frame
        Accept masks of another frame of reference.

    Raises
    ------
    LesionLensError
        If something cannot be read, the mask does not suit the scan, or there is no such class.
    """
    case.check_mask()
    maps, record = read_maps(case.results)
    heatmap = _probability(maps, label)
    cut = record.get("thresholds", {}).get(heatmap.label, record["options"]["threshold"])
    cut = float(cut if threshold is None else threshold)
    rules = RegionRules.from_record(record["options"])
    read = read_labels(case.mask, heatmap.volume, other_frame=other_frame)
    inputs = {
        "record": hash_file(case.results / "record.json"),
        "mask": str(read.provenance.options.get("sha256", "")),
    }
    mask = read.array
    marked = mask > 0 if mask_value is None else mask == mask_value
    lesions, found = _lesions(marked), find_regions(heatmap, threshold=cut, rules=rules).labels
    voxel = heatmap.grid.voxel_volume_mm3
    measured = _measured(lesions, found, voxel)
    froc = [_counts(lesions, find_regions(heatmap, threshold=t, rules=rules).labels) for t in FROC_THRESHOLDS]
    calibration, bins = _calibration(heatmap, marked, found > 0)
    numbers = {
        "threshold": cut,
        **_overlap(found > 0, marked, heatmap),
        **_detection(measured, found),
        **calibration,
        **_attribution(maps, heatmap.label, marked),
    }
    title = f"{record['bundle']['name']} {record['bundle']['version']}"
    counts = np.array(froc, dtype=np.int64)
    return CaseMeasures(case.name, title, heatmap.label, numbers, measured, counts, bins, inputs)


def _probability(maps: tuple[Heatmap, ...], label: str | None) -> Heatmap:
    found = {one.label: one for one in maps if one.kind == "probability"}
    if not found:
        raise InputError("The results hold no probability map; results of a segmentation bundle can be evaluated.")
    if label is None and len(found) > 1:
        raise InputError(f"The results hold the classes {', '.join(found)}; choose one with --class (label=).")
    if label is not None and label not in found:
        raise InputError(unknown_name("class", label, found))
    return found[label] if label is not None else next(iter(found.values()))


def _lesions(marked: NDArray[np.bool_]) -> NDArray[Any]:
    """Return marked lesions by number from 1, the largest first."""
    import cc3d

    labels = cc3d.connected_components(np.ascontiguousarray(marked), connectivity=26)
    order = np.argsort(-np.bincount(labels.ravel())[1:], kind="stable")
    rank = np.zeros(len(order) + 1, dtype=np.int64)
    rank[order + 1] = np.arange(1, len(order) + 1)
    return np.asarray(rank[labels])


def _measured(lesions: NDArray[Any], found: NDArray[Any], voxel_mm3: float) -> tuple[LesionMeasure, ...]:
    sizes = np.bincount(lesions.ravel())
    covered = np.bincount(lesions[found > 0], minlength=len(sizes)) / np.maximum(sizes, 1)
    regions = np.bincount(found.ravel())
    hit = np.bincount(found[lesions > 0], minlength=len(regions))
    marked = [LesionMeasure("marked", n, sizes[n] * voxel_mm3, float(covered[n])) for n in range(1, len(sizes))]
    false = [n for n in range(1, len(regions)) if not hit[n]]
    return (*marked, *(LesionMeasure("false positive", n, regions[n] * voxel_mm3, 0.0) for n in false))


def _counts(lesions: NDArray[Any], found: NDArray[Any]) -> tuple[int, int]:
    """Return how many lesions are detected, and how many regions are false positives."""
    both = (lesions > 0) & (found > 0)
    return len(np.unique(lesions[both])), int(found.max()) - len(np.unique(found[both]))


def _overlap(found: NDArray[np.bool_], marked: NDArray[np.bool_], heatmap: Heatmap) -> dict[str, float | None]:
    from lesionlens.model.surface_metrics import surface_distances

    n_found, n_marked, both = (int(np.count_nonzero(a)) for a in (found, marked, found & marked))
    far = surface_distances(found, marked, heatmap.grid)
    voxel = heatmap.grid.voxel_volume_mm3
    return {
        "mask_volume_mm3": n_marked * voxel,
        "volume_mm3": n_found * voxel,
        "volume_difference_mm3": (n_found - n_marked) * voxel,
        "dice": 2 * both / (n_found + n_marked) if n_marked else None,
        "hausdorff95_mm": None if far is None else far.hausdorff95_mm,
        "average_surface_distance_mm": None if far is None else far.average_mm,
    }


def _detection(measured: tuple[LesionMeasure, ...], found: NDArray[Any]) -> dict[str, float | None]:
    n_lesions = sum(one.kind == "marked" for one in measured)
    n_detected = sum(one.covered > 0 for one in measured)
    n_regions, n_false = int(found.max()), len(measured) - n_lesions
    return {
        "n_lesions": n_lesions,
        "n_detected": n_detected,
        "sensitivity": n_detected / n_lesions if n_lesions else None,
        "n_regions": n_regions,
        "n_false_positives": n_false,
        "precision": (n_regions - n_false) / n_regions if n_regions else None,
    }


def _calibration(
    heatmap: Heatmap, marked: NDArray[np.bool_], found: NDArray[np.bool_]
) -> tuple[dict[str, float | None], NDArray[np.float64]]:
    """Return errors and bins of all voxels, and of those near what is marked or found."""
    inside = np.isfinite(heatmap.array)
    if heatmap.volume.valid is not None:
        inside &= heatmap.volume.valid
    near = inside & _near(marked | found, heatmap)
    p, y = heatmap.array, marked
    (ece, whole), (ece_near, band) = (_binned(p[where], y[where]) for where in (inside, near))
    return {"ece": ece, "ece_near": ece_near, "brier": brier(p[inside], y[inside])}, np.stack([whole, band])


def _near(lesions: NDArray[np.bool_], heatmap: Heatmap) -> NDArray[np.bool_]:
    """Return the voxels in the band in which ``lesionlens calibrate`` fits."""
    from scipy import ndimage

    from lesionlens.model.calibrated import BAND_MM

    if not lesions.any():
        return np.zeros_like(lesions)
    return np.asarray(ndimage.distance_transform_edt(~lesions, sampling=heatmap.grid.spacing_mm) <= BAND_MM)


def _binned(p: NDArray[Any], y: NDArray[np.bool_]) -> tuple[float | None, NDArray[np.float64]]:
    if not p.size:
        return None, np.zeros((3, N_BINS))
    found = reliability(p, y)
    sums = (found.counts, *(np.nan_to_num(mean) * found.counts for mean in (found.mean_probability, found.frequency)))
    return found.expected_error, np.stack(sums)


def _attribution(maps: tuple[Heatmap, ...], label: str, marked: NDArray[np.bool_]) -> dict[str, float | None]:
    """Compare the first attribution of the class with the mask, as the check of localisation does."""
    names = {"pointing_game": "points_inside", "mass_accuracy": "mass_accuracy", "average_precision": ""}
    heatmap = next((one for one in maps if one.kind == "attribution" and one.label == label), None)
    if heatmap is None or not heatmap.array.any() or not marked.any() or marked.all():
        return dict.fromkeys(names)
    from lesionlens.explain.trust import localisation

    found = localisation(heatmap.array, marked)
    return {name: float(getattr(found, source or name)) for name, source in names.items()}
