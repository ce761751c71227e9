"""Regions and detections as tables: one row each, stable column names with their units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, product, repeat
from pathlib import Path

from lesionlens.detections import Detection
from lesionlens.io.tables import row_writer
from lesionlens.regions import Region
from lesionlens.report.columns import COLUMNS, Cell
from lesionlens.spread import VolumeSpread

__all__ = ["COLUMN_NAMES", "DETECTION_COLUMNS", "Cell", "region_rows", "write_detections", "write_table"]

COLUMN_NAMES = tuple(name for column in COLUMNS for name in column.names)

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
        Keys are :data:`COLUMN_NAMES` in their order; what was not measured is None.
    """
    return [
        {cell: value for column in COLUMNS for cell, value in zip(column.names, column.cells(name, *row), strict=True)}
        for name, found in regions.items()
        for row in zip(found, (spreads or {}).get(name) or repeat(None, len(found)), strict=True)
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
    return _written(path, COLUMN_NAMES, (row.values() for row in region_rows(regions, spreads)))


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
    return _written(path, DETECTION_COLUMNS, map(_cells, detections))


def _cells(one: Detection) -> tuple[Cell, ...]:
    place = (*one.centre_ras, *one.size_mm, *one.centre_ijk, *chain(*one.bbox_ijk), *chain(*one.bbox_ras))
    return (one.label, one.number, one.confidence, *place, one.level)


def _written(path: str | Path, header: Sequence[str], rows: Iterable[Iterable[Cell]]) -> Path:
    target = Path(path)
    with target.open("w", newline="", encoding="utf-8") as file:
        add = row_writer(file)
        for row in (header, *rows):
            add(row)
    return target
