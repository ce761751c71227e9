"""The command that sets the results of two runs against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from lesionlens.cli.options import AsJson, Command, OptionalOut, Overwrite, ResultsA, ResultsB, print_json
from lesionlens.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lesionlens.compare import Comparison
    from lesionlens.heatmap import Heatmap

__all__ = ["compare", "register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(cls=Command, epilog="Example:  lesionlens compare results-a results-b --out comparison")(compare)


def compare(
    first: ResultsA, second: ResultsB, out: OptionalOut = None, overwrite: Overwrite = False, as_json: AsJson = False
) -> None:
    """Compare the maps of two runs: models, methods, classes, or before and after, on one grid."""
    from lesionlens.compare import compare_maps
    from lesionlens.io.atomic import atomic_folder
    from lesionlens.report.comparison import comparison_summary, write_comparison
    from lesionlens.results import read_maps

    (maps_a, record_a), (maps_b, record_b) = read_maps(first), read_maps(second)
    if not maps_a[0].grid.same_as(maps_b[0].grid):
        raise InputError(
            f"The results in {first} lie on {_grid(record_a)}, those in {second} on {_grid(record_b)}; maps are"
            " compared on one grid, so bring the scans to one (register and resample them) and run both again."
        )
    found = compare_maps(maps_a, maps_b, thresholds=(_limits(maps_a, record_a), _limits(maps_b, record_b)))
    if out is not None:
        with atomic_folder(out, overwrite=overwrite) as folder:
            write_comparison(found, folder, chains=[record_a.get("chain"), record_b.get("chain")])
    same = record_a["input"]["sha256"] == record_b["input"]["sha256"]
    if as_json:
        print_json({"same_scan": same, **comparison_summary(found)})
        return
    _print(found, same)
    if out is not None:
        typer.echo(f"The comparison is in {out}: {', '.join(sorted(p.name for p in out.iterdir()))}")


def _limits(maps: Sequence[Heatmap], record: Mapping[str, Any]) -> dict[str, float]:
    """Return the probability of each class at which the run itself took voxels for regions."""
    own, common = record.get("thresholds", {}), record["options"]["threshold"]
    return {heatmap.label: float(own.get(heatmap.label, common)) for heatmap in maps}


def _grid(record: Mapping[str, Any]) -> str:
    found = record["input"]
    size, spacing = ("x".join(f"{n:.3g}" for n in found[key]) for key in ("shape", "spacing_mm"))
    return f"{size} voxels of {spacing} mm ({found['axcodes']})"


def _print(found: Comparison, same: bool) -> None:
    from lesionlens.report.console import print_table

    if not same:
        typer.echo(
            "Note: the two runs are of different scans on one grid; what moved between them differs too.", err=True
        )
    rows = []
    for pair in found.pairs:
        one, dice = pair.difference, pair.overlap.dice
        unit = "" if one.heatmap.provenance.options["scale"] == "raw" else " of the largest"
        numbers = (f"{one.mean:+.3g}{unit}", f"{one.mean_absolute:.3g}{unit}", f"{one.largest:.3g}{unit}")
        rows.append((pair.first.name, pair.second.name, *numbers, "-" if dice is None else f"{dice:.3f}"))
    print_table(("A", "B", "mean B - A", "mean |B - A|", "largest", "Dice"), rows)
    for name, values in (("Pearson", found.pearson), ("Spearman", found.spearman)):
        print_table(
            (name, *found.names), [(n, *(f"{v:.3f}" for v in row)) for n, row in zip(found.names, values, strict=True)]
        )
    if found.confusion is not None:
        counts = [(name, *map(str, row)) for name, row in zip(found.classes, found.confusion.tolist(), strict=True)]
        print_table(("voxels, A by row", *found.classes), counts)
