"""The columns of a region table, each with its unit and definition: for files, tool tips and the reference page.

The names are an interface: scripts read them. Add columns at the end, never rename one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from operator import attrgetter
from typing import Any

from lesionlens.regions import PROBABILITIES, Region
from lesionlens.spread import VolumeSpread

__all__ = ["COLUMNS", "Cell", "Column", "column_of"]

Cell = str | int | float | bool | None


@dataclass(frozen=True)
class Column:
    """One column, or several that belong together: the axes of a position, the ends of a box.

    Parameters
    ----------
    names
        Stable names.
    unit
        Of the values; empty where there is none.
    meaning
        Definition in a sentence or two; formulas are in the reference page.
    formula
        How it is computed, with the code of IBSI where it has one; empty where the definition says it.
    cells
        Takes name of the class, region and spread of its volume (or None), and returns a value for each name.
    """

    names: tuple[str, ...]
    unit: str
    meaning: str
    cells: Callable[[str, Region, VolumeSpread | None], tuple[Cell, ...]]
    formula: str = ""

    @property
    def tip(self) -> str:
        """Definition, unit and formula, one below the other, as a tool tip says them."""
        lines = (self.meaning, f"Unit: {self.unit}." if self.unit else "", self.formula and f"Formula: {self.formula}.")
        return "\n".join(filter(None, lines))


def _of(names: str, unit: str, meaning: str, fields: str = "", *, formula: str = "") -> Column:
    """Return columns that are fields of a region, or of what it holds; None where that is missing.

    ``fields`` are paths such as ``shape.diameter.length_mm``, by default the names.
    """
    paths = [path.split(".") for path in (fields or names).split()]

    def cells(_class: str, region: Region, _spread: VolumeSpread | None) -> tuple[Cell, ...]:
        return tuple(_follow(region, path) for path in paths)

    return Column(tuple(names.split()), unit, meaning, cells, formula)


def _follow(value: Any, path: list[str]) -> Any:
    for name in path:
        value = None if value is None else getattr(value, name)
    return value


def _points(names: Iterator[str], unit: str, meaning: str, field: str, *, formula: str = "") -> Column:
    """Return one column for each number of a position, box, or line."""
    found = tuple(names)
    get = field.split(".")

    def cells(_class: str, region: Region, _spread: VolumeSpread | None) -> tuple[Cell, ...]:
        value = _follow(region, get)
        return (None,) * len(found) if value is None else tuple(_numbers(value))

    return Column(found, unit, meaning, cells, formula)


def _numbers(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for part in value:
            yield from _numbers(part)
    else:
        yield value


def _ends(name: str, axes: str, words: tuple[str, str], suffix: str = "") -> Iterator[str]:
    return (f"{name}_{axis}_{word}{suffix}" for word, axis in product(words, axes))


def _spread(names: str, unit: str, meaning: str) -> Column:
    get = [attrgetter(name.removeprefix("volume_")) for name in names.split()]
    return Column(
        tuple(names.split()), unit, meaning, lambda _c, _r, s: tuple(None if s is None else one(s) for one in get)
    )


def _anatomy(_class: str, region: Region, _spread: VolumeSpread | None) -> tuple[Cell, ...]:
    return ("; ".join(f"{name} {share:.3f}" for name, share in region.anatomy) or None,)


_MM = "mm"
_SHAPE = "shape."
_OPEN, _CLOSE = ("start", "end")

COLUMNS: tuple[Column, ...] = (
    Column(("class",), "", "Name of the class.", lambda name, _r, _s: (name,)),
    _of("label", "", "Number of the region in `regions_<class>.nii.gz`; 1 is the largest."),
    _of("n_voxels", "voxels", "Number of voxels."),
    _of(
        "volume_mm3",
        "mm³",
        "Number of voxels times the volume of a voxel; divide by 1000 for millilitres.",
        formula="n |det M|, IBSI YEKZ",
    ),
    _points(
        (f"centroid_{a}_mm" for a in "ras"),
        _MM,
        "Mean position of the voxel centres; outside the region if that is bent.",
        "centroid_ras",
        formula="Σ x / n",
    ),
    _points((f"centroid_{a}" for a in "ijk"), "voxels", "The same as index from 0, with fractions.", "centroid_ijk"),
    _points(_ends("bbox", "ijk", ("min", "max")), "voxels", "First and last index along each axis.", "bbox_ijk"),
    _points(_ends("bbox", "ras", ("min", "max"), "_mm"), _MM, "Box over the outer faces of the voxels.", "bbox_ras"),
    _points((f"peak_{a}_mm" for a in "ras"), _MM, "Voxel with the highest probability, or anomaly.", "peak_ras"),
    _points((f"peak_{a}" for a in "ijk"), "voxels", "The same as index.", "peak_ijk"),
    _of(
        "intensity_mean intensity_sd intensity_min intensity_median intensity_max",
        "the scan's",
        "Values of the scan inside; the standard deviation divides by n.",
        "intensity.mean intensity.sd intensity.min intensity.median intensity.max",
        formula="Σ v / n (Q4LE), √(Σ (v − mean)² / n) (ECT3), 1GSF, Y12H, 84IY",
    ),
    _of("probability_mean probability_max", "", "Mean and highest probability inside.", formula="Σ p / n, max p"),
    _of("attribution_mean", "", "Signed mean of the attribution inside.", formula="Σ a / n"),
    _of(
        "attribution_share",
        "",
        "Positive attribution inside, divided by all positive attribution, in [0, 1].",
        formula="Σ max(a, 0) inside / Σ max(a, 0)",
    ),
    _of(
        "touches_border",
        "",
        "True if the region reaches an outer face of the scan, or voxels without data, and may be cut off.",
    ),
    _spread(
        "volume_mean_mm3 volume_sd_mm3 volume_cov",
        "mm³, mm³, none",
        "Of the region's volume over all predictions, only with `--uncertainty`: mean, standard deviation (divided by"
        " n - 1), and their quotient.",
    ),
    _of(
        "intensity_p10 intensity_p90",
        "the scan's",
        "10th and 90th percentile inside.",
        "intensity.p10 intensity.p90",
        formula="linear between voxels, IBSI QG58, 8DWT",
    ),
    _points(
        (f"centroid_weighted_{a}_mm" for a in "ras"),
        _MM,
        "Mean position weighted by the scan's values; empty where one of them is negative, as in CT.",
        "centroid_weighted_ras",
        formula="Σ v x / Σ v",
    ),
    _of(
        "probability_integral_mm3",
        "mm³",
        "Sum of the probabilities times the volume of a voxel: the volume to be expected if they are calibrated.",
        formula="Σ p |det M|",
    ),
    _points(
        (f"volume_at_p{100 * p:.0f}_mm3" for p in PROBABILITIES),
        "mm³",
        "Volume of the part with at least that probability: how sharply the model draws the border.",
        "volumes_at_mm3",
    ),
    _of("attribution_peak", "", "Highest attribution inside."),
    _of(
        "uncertainty_mean",
        "nats",
        "Mean entropy of the averaged prediction inside, in nats, only with `--uncertainty`.",
    ),
    _of(
        "mesh_volume_mm3",
        "mm³",
        "Volume inside the mesh.",
        _SHAPE + "mesh_volume_mm3",
        formula="|Σ a · (b × c)| / 6, IBSI RNU0",
    ),
    _of(
        "surface_mm2",
        "mm²",
        "Area of the mesh, rough beside a smooth body: 8 to 15 % too large.",
        _SHAPE + "surface_mm2",
        formula="Σ |(b − a) × (c − a)| / 2, IBSI C0JK",
    ),
    _of(
        "sphericity",
        "",
        "Area of a ball of the mesh's volume, divided by the area of the mesh.",
        _SHAPE + "sphericity",
        formula="(36 π V²)^(1/3) / A, IBSI QCFX",
    ),
    _points(
        (f"axis_{name}_mm" for name in ("major", "minor", "least")),
        _MM,
        "Four times the standard deviation of the voxel centres along their principal directions.",
        _SHAPE + "axes_mm",
        formula="4 √λ, IBSI TDIC, P9VJ, 7J51",
    ),
    _of(
        "elongation flatness",
        "",
        "Minor and least axis divided by the major one; empty for one voxel.",
        _SHAPE + "elongation " + _SHAPE + "flatness",
        formula="√(λ minor / λ major) and √(λ least / λ major), IBSI Q3CK, N17B",
    ),
    _of(
        "diameter_mm",
        _MM,
        "Longest distance of two corners of the mesh, not of voxel centres.",
        _SHAPE + "diameter.length_mm",
        formula="max |a − b|, IBSI L0JK",
    ),
    _points(_ends("diameter", "ras", (_OPEN, _CLOSE), "_mm"), _MM, "Where it lies.", _SHAPE + "diameter.ends_ras"),
    _of(
        "axial_diameter_mm",
        _MM,
        "Longest distance of two corners of the outline in one slice, not of voxel centres, in the slice where it is"
        " longest; the longest diameter of RECIST.",
        _SHAPE + "axial_diameter.length_mm",
    ),
    _points(
        _ends("axial_diameter", "ras", (_OPEN, _CLOSE), "_mm"),
        _MM,
        "Where it lies.",
        _SHAPE + "axial_diameter.ends_ras",
    ),
    _of(
        "axial_perpendicular_mm",
        _MM,
        "Longest line in that slice at a right angle to the axial diameter, from outline to outline; WHO's second"
        " diameter.",
        _SHAPE + "axial_perpendicular.length_mm",
    ),
    _points(
        _ends("axial_perpendicular", "ras", (_OPEN, _CLOSE), "_mm"),
        _MM,
        "Where it lies.",
        _SHAPE + "axial_perpendicular.ends_ras",
    ),
    _of("n_slices", "slices", "Number of axial slices that hold a voxel of the region.", _SHAPE + "n_slices"),
    _of(
        "surroundings_mean surroundings_sd",
        "the scan's",
        "Values of the scan in a shell of 3 mm around the region, other regions of its class left out.",
        "surroundings.mean surroundings.sd",
    ),
    _of(
        "shell_contrast",
        "the scan's",
        "Mean inside less mean of the shell.",
        "surroundings.contrast",
        formula="mean − shell mean",
    ),
    _of(
        "shell_contrast_to_noise",
        "",
        "Contrast divided by the standard deviation of the shell.",
        "surroundings.contrast_to_noise",
        formula="(mean − shell mean) / shell SD",
    ),
    Column(
        ("anatomy",),
        "",
        "Anatomical labels that the region lies in, with their share of its voxels, largest first.",
        _anatomy,
    ),
    _of("one_slice", "", "True if the region is one voxel thick along an axis of the grid."),
    _of("few_voxels", "", "True for fewer than eight voxels: too few to measure a volume or a shape."),
    _of("resampled", "", "True if the scan was brought to a regular grid on reading: its voxels are interpolated."),
    _of(
        "smooth_surface_mm2",
        "mm²",
        "Area of a smooth body with these voxels: it converges as voxels get smaller.",
        _SHAPE + "smooth_surface_mm2",
        formula="Σ |n · a| over the voxel faces at the border",
    ),
    _of(
        "smooth_sphericity",
        "",
        "Area of a ball of the volume of the voxels, divided by the area of the smooth body: near 1 for a ball.",
        _SHAPE + "smooth_sphericity",
        formula="(36 π V²)^(1/3) / A",
    ),
    _of(
        "below_attribution_cell",
        "",
        "True if the region has less volume than a cell of the layer that the attribution was made from: its"
        " attribution is that of its surroundings. Empty where there is no such layer.",
    ),
    _of(
        "anomaly_mean anomaly_max",
        "the map's",
        "Mean and highest anomaly inside, for the regions of an anomaly map.",
        formula="Σ s / n, max s",
    ),
)


def column_of(name: str) -> Column:
    """Return the column of that name, or the one that it belongs to."""
    return next(column for column in COLUMNS if name in column.names)
