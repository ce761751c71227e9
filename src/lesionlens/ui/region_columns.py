"""The columns of the table of regions: heading, meaning, value and format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lesionlens.regions import Region
from lesionlens.report.columns import column_of
from lesionlens.spread import VolumeSpread

__all__ = ["Column", "Value", "columns_for"]

Value = float | int | str | tuple[float, ...] | None

# What says that a figure is weak, and its word.
_FLAGS = (
    ("touches_border", "border"),
    ("one_slice", "one slice"),
    ("few_voxels", "few voxels"),
    ("below_attribution_cell", "below cell"),
    ("resampled", "resampled"),
)
#: Heading, meaning, value, format of the value.
Column = tuple[str, str, Callable[[Region], Value], str]
_COLUMNS: tuple[Column, ...] = (
    ("#", column_of("label").tip, lambda r: r.label, "{}"),
    ("mL", column_of("volume_mm3").tip + "\nShown in mL.", lambda r: r.volume_mm3 / 1000, "{:.3f}"),
    (
        "flags",
        "Why not to lean on the figures:\n" + "\n".join(f"{word}: {column_of(name).meaning}" for name, word in _FLAGS),
        lambda r: ", ".join(word for name, word in _FLAGS if getattr(r, name)),
        "{}",
    ),
    (
        "axial mm",
        "\n\n".join(column_of(name).tip for name in ("axial_diameter_mm", "axial_perpendicular_mm")),
        lambda r: (
            None if r.shape is None else (r.shape.axial_diameter.length_mm, r.shape.axial_perpendicular.length_mm)
        ),
        "{0[0]:.1f} × {0[1]:.1f}",
    ),
    ("mean p", column_of("probability_mean").tip, lambda r: r.probability_mean, "{:.2f}"),
    ("max p", column_of("probability_max").tip, lambda r: r.probability_max, "{:.2f}"),
    ("share", column_of("attribution_share").tip, lambda r: r.attribution_share, "{:.1%}"),
    (
        "centre in mm",
        column_of("centroid_r_mm").tip + "\nRight, front, head (RAS+).",
        lambda r: r.centroid_ras,
        "{0[0]:.0f}, {0[1]:.0f}, {0[2]:.0f}",
    ),
)
# In place of those of the probability, where the regions are of an anomaly map.
_ANOMALY_COLUMNS: tuple[Column, ...] = (
    ("mean", column_of("anomaly_mean").tip, lambda r: r.anomaly_mean, "{:.2f}"),
    ("max", column_of("anomaly_max").tip, lambda r: r.anomaly_max, "{:.2f}"),
)
_ANOMALY_AT = slice(4, 6)
# After the volume, where several predictions were made. Heading, meaning, value, format of the value.
_SPREAD_COLUMNS: tuple[tuple[str, str, Callable[[VolumeSpread], Value], str], ...] = (
    ("CoV", "Standard deviation of its volume over the samples, by the mean volume", lambda s: s.cov, "{:.0%}"),
    ("found", "Share of the samples that have it", lambda s: s.found, "{:.0%}"),
)
_SPREAD_AT = 2


def columns_for(regions: Sequence[Region], spreads: Sequence[VolumeSpread]) -> list[Column]:
    """Return the columns that say something of these regions, and of how their volumes spread over several samples."""
    columns = list(_COLUMNS)
    if any(region.anomaly_max is not None for region in regions):
        columns[_ANOMALY_AT] = _ANOMALY_COLUMNS
    if spreads:
        columns[_SPREAD_AT:_SPREAD_AT] = _of_spreads({spread.label: spread for spread in spreads})
    return columns


def _of_spreads(spreads: Mapping[int, VolumeSpread]) -> list[Column]:
    """Return the columns of what spreads, by the label of a region."""

    def of_region(value_of: Callable[[VolumeSpread], Value]) -> Callable[[Region], Value]:
        return lambda region: value_of(spreads[region.label]) if region.label in spreads else None

    return [(heading, tip, of_region(value_of), text) for heading, tip, value_of, text in _SPREAD_COLUMNS]
