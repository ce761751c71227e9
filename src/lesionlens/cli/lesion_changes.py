"""The command that says what became of the lesions of one run in a later one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from lesionlens.cli.options import (
    After,
    AsJson,
    Before,
    ChangesOut,
    Command,
    LeastChange,
    OneClass,
    Overwrite,
    Within,
    print_json,
)
from lesionlens.errors import InputError, unknown_name

if TYPE_CHECKING:
    from lesionlens.heatmap import LabelMap
    from lesionlens.regions import LesionChanges

__all__ = ["compare_lesions", "register"]

_HEADER = ("before → after", "what", "mL before", "mL after", "change", "", "limit", "flags")
# The record's options that decide what a region is.
_DECIDING = ("threshold", "connectivity", "fill_holes", "merge_mm", "minimum_mm3")
_CLASSES = "thresholds of classes"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    example = "Example:  lesionlens compare-lesions results-march results-june --out changes"
    app.command("compare-lesions", cls=Command, epilog=example)(compare_lesions)


def compare_lesions(
    before: Before,
    after: After,
    *,
    label: OneClass = None,
    within_mm: Within = 0.0,
    least_change: LeastChange = 0.25,
    out: ChangesOut = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Say which lesions are new, gone, grown, shrunk, merged or split between two scans that lie alike."""
    from lesionlens.io.atomic import atomic_folder
    from lesionlens.regions import compare_regions
    from lesionlens.report.lesion_changes import change_summary, write_changes
    from lesionlens.results import read_regions

    (first, record), (second, later) = read_regions(before), read_regions(after)
    found = [
        compare_regions(
            first[name],
            second[name],
            within_mm=within_mm,
            least_change=least_change,
            sd_before=_spread(record, name),
            sd_after=_spread(later, name),
        )
        for name in _classes(first, second, label)
    ]
    about: dict[str, Any] = {"before": _about(record), "after": _about(later), "notes": _notes(record, later)}
    if out is not None:
        with atomic_folder(out, overwrite=overwrite) as folder:
            write_changes(found, folder, about)
    if as_json:
        print_json(change_summary(found, about))
        return
    _print(found, about["notes"])
    if out is not None:
        typer.echo(f"The changes are in {out}: {', '.join(sorted(p.name for p in out.iterdir()))}")


def _classes(first: Mapping[str, LabelMap], second: Mapping[str, LabelMap], wanted: str | None) -> list[str]:
    both = [name for name in first if name in second]
    if not both:
        raise InputError(
            f"The runs have no class in common: {', '.join(first)} before, {', '.join(second)} after; give runs of one"
            " bundle."
        )
    if wanted is not None and wanted not in both:
        raise InputError(unknown_name("class", wanted, both))
    return both if wanted is None else [wanted]


def _spread(record: Mapping[str, Any], label: str) -> dict[int, float]:
    from lesionlens.results import volume_spreads

    return {one.label: one.sd_mm3 for one in volume_spreads(record).get(label, ())}


def _about(record: Mapping[str, Any]) -> dict[str, Any]:
    scan, bundle = record["input"], record["bundle"]
    named = f"{bundle['name']} {bundle['version']}"
    return {"scan": scan["name"], "sha256": scan["sha256"], "bundle": named, "chain": record.get("chain")}


def _notes(record: Mapping[str, Any], later: Mapping[str, Any]) -> list[str]:
    """Say what else than the patient may have changed."""
    notes = []
    if record["input"]["sha256"] == later["input"]["sha256"]:
        notes.append("Both runs are of one scan: what differs is the runs, not the patient.")
    else:
        notes.append("Lesions are matched by their place in world mm; scans that are not registered match nothing.")
    if _about(record)["bundle"] != _about(later)["bundle"]:
        notes.append("The runs are of two bundles, so what differs may be the model and not the patient.")
    first, second = (
        {**{name: run["options"].get(name) for name in _DECIDING}, _CLASSES: run.get("thresholds")}
        for run in (record, later)
    )
    other = [name for name in first if first[name] != second[name] and None not in (first[name], second[name])]
    if other:
        words = ", ".join(f"{name} {_said(first[name])} and {_said(second[name])}" for name in other)
        notes.append(f"The runs counted regions by different rules ({words}), which changes volumes by itself.")
    return notes


def _said(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return " ".join(f"{name} {number:g}" for name, number in value.items()) or "of none"


def _print(found: list[LesionChanges], notes: list[str]) -> None:
    from lesionlens.report.console import print_table
    from lesionlens.report.lesion_changes import lesion_cells

    for note in [*notes, *(note for one in found for note in one.notes)]:
        typer.echo(f"Note: {note}", err=True)
    for one in found:
        before, after = (sum(getattr(c, when) for c in one.changes) / 1000 for when in ("before_mm3", "after_mm3"))
        words = ("new", "vanished", "grown", "shrunk", "stable", "merged", "split", "regrouped")
        counts = ", ".join(f"{one.count(word)} {word}" for word in words if one.count(word))
        typer.echo(f"{one.label}: {before:.2f} mL before, {after:.2f} mL after; {counts or 'no lesion'}")
        if one.changes:
            print_table(_HEADER, map(lesion_cells, one.changes))
