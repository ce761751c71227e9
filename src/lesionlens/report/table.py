"""Regions and detections as tables: one row each, stable column names with their units.

The names are an interface: scripts read them. Add columns at the end, never rename one.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, product, repeat
from pathlib import Path

from lesionlens.detections import Detection
from lesionlens.regions import Region
from lesionlens.spread import VolumeSpread

__all__ = ["COLUMNS", "DETECTION_COLUMNS", "Cell", "region_rows", "write_detections", "write_table"]

Cell = str | int | float | bool | None

# Voxel indices count from 0 and boxes include both ends; world positions are RAS+; see lesionlens.regions.Region.
COLUMNS = (
    "class",
    "label",
    "n_voxels",
    "volume_mm3",
    *(f"centroid_{axis}_mm" for axis in "ras"),
    *(f"centroid_{axis}" for axis in "ijk"),
    *(f"bbox_{axis}_{end}" for end, axis in product(("min", "max"), "ijk")),
    *(f"bbox_{axis}_{end}_mm" for end, axis in product(("min", "max"), "ras")),
    *(f"peak_{axis}_mm" for axis in "ras"),
    *(f"peak_{axis}" for axis in "ijk"),
    "intensity_mean",
    "intensity_sd",
    "intensity_min",
    "intensity_median",
    "intensity_max",
    "probability_mean",
    "probability_max",
    "attribution_mean",
    "attribution_share",
    "touches_border",
    "volume_mean_mm3",
    "volume_sd_mm3",
    "volume_cov",
)

# See lesionlens.detections.Detection; edges are along the axes of the grid that the network saw.
DETECTION_COLUMNS = (
    "class",
    "number",
    "confidence",
    *(f"centre_{axis}_mm" for axis in "ras"),
    *(f"edge_{number}_mm" for number in (1, 2, 3)),
    *(f"centre_{axis}" for axis in "ijk"),
    *(f"bbox_{axis}_{end}" for end, axis in product(("min", "max"), "ijk")),
    *(f"bbox_{axis}_{end}_mm" for end, axis in product(("min", "max"), "ras")),
    "level",
)


def region_rows(
    regions: Mapping[str, Sequence[Region]], spreads: Mapping[str, Sequence[VolumeSpread]] | None = None
) -> list[dict[str, Cell]]:
    """Return one row for each region, with plain values that JSON takes.

    Parameters
    ----------
    regions
        Regions by class.
    spreads
        How their volumes spread over several predictions, in the same order, where there were several.

    Returns
    -------
    list of dict
        Keys are :data:`COLUMNS` in their order; what was not measured is None.
    """
    return [
        dict(zip(COLUMNS, (*_cells(name, region), *_spread_cells(spread)), strict=True))
        for name, found in regions.items()
        for region, spread in zip(found, (spreads or {}).get(name) or repeat(None, len(found)), strict=True)
    ]


def write_table(
    regions: Mapping[str, Sequence[Region]],
    path: str | Path,
    spreads: Mapping[str, Sequence[VolumeSpread]] | None = None,
) -> Path:
    """Write regions as a CSV table (RFC 4180, UTF-8) that says the numbers in full precision.

    What was not measured is empty, truth is ``true`` or ``false``, and a scan without a region gives the header alone.

    Parameters
    ----------
    regions
        Regions by class.
    path
        File to write; an existing one is replaced.
    spreads
        See :func:`region_rows`.

    Returns
    -------
    pathlib.Path
        The file.
    """
    target = Path(path)
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([_text(cell) for cell in row.values()] for row in region_rows(regions, spreads))
    return target


def write_detections(detections: Sequence[Detection], path: str | Path) -> Path:
    """Write detections as a CSV table (RFC 4180, UTF-8), the surest first; without any, the header alone.

    Parameters
    ----------
    detections
        What was found.
    path
        File to write; an existing one is replaced.

    Returns
    -------
    pathlib.Path
        The file.
    """
    target = Path(path)
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(DETECTION_COLUMNS)
        for one in detections:
            place = (*one.centre_ras, *one.size_mm, *one.centre_ijk, *chain(*one.bbox_ijk), *chain(*one.bbox_ras))
            writer.writerow((one.label, one.number, one.confidence, *place, one.level))
    return target


def _cells(name: str, region: Region) -> Iterator[Cell]:
    yield from (name, region.label, region.n_voxels, region.volume_mm3)
    yield from (*region.centroid_ras, *region.centroid_ijk)
    yield from (*region.bbox_ijk[0], *region.bbox_ijk[1], *region.bbox_ras[0], *region.bbox_ras[1])
    yield from (*region.peak_ras, *region.peak_ijk)
    intensity = region.intensity
    yield from (intensity.mean, intensity.sd, intensity.min, intensity.median, intensity.max)
    yield from (region.probability_mean, region.probability_max, region.attribution_mean, region.attribution_share)
    yield region.touches_border


def _spread_cells(spread: VolumeSpread | None) -> tuple[Cell, ...]:
    return (None, None, None) if spread is None else (spread.mean_mm3, spread.sd_mm3, spread.cov)


def _text(cell: Cell) -> Cell:
    return str(cell).lower() if isinstance(cell, bool) else cell  # csv itself writes None as empty, floats by repr
