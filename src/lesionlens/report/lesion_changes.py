"""Changes of lesions between two times as a table, as JSON and as a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesionlens.heatmap import slug
from lesionlens.io.tables import row_writer
from lesionlens.regions import LesionChange, LesionChanges
from lesionlens.report.montage import NOTICE
from lesionlens.seals import file_hashes, sealed_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CHANGE_COLUMNS", "change_rows", "change_summary", "draw_changes", "lesion_cells", "write_changes"]

# See lesionlens.regions.LesionChange; an interface: add at the end, never rename.
CHANGE_COLUMNS = (
    "class",
    "match",
    "trend",
    "before",
    "after",
    "before_mm3",
    "after_mm3",
    "change_mm3",
    "change_share",
    "limit_mm3",
    "shared_mm3",
    *(f"centroid_{axis}_mm" for axis in "ras"),
    "few_voxels",
    "touches_border",
)

SCHEMA = 1
# More lines cannot be read; the table holds all.
MOST_LINES = 40
# Colours that all can tell apart (Okabe and Ito), and a mark for each, for those who print in grey.
_LOOKS = {
    "grown": ("#d55e00", ">"),
    "shrunk": ("#0072b2", "<"),
    "stable": ("0.45", "o"),
    "new": ("#cc79a7", "P"),
    "vanished": ("#009e73", "X"),
}
_WIDTH, _LINE, _MARGIN, _DPI, _TITLE_CHARACTERS = 8.0, 0.28, 2.1, 150, 85


def change_rows(found: LesionChanges) -> list[dict[str, Any]]:
    """Return one row for each change, with plain values that JSON takes; keys are :data:`CHANGE_COLUMNS`."""
    return [dict(zip(CHANGE_COLUMNS, _cells(found.label, change), strict=True)) for change in found.changes]


def _cells(label: str, change: LesionChange) -> tuple[Any, ...]:
    volumes = change.before_mm3, change.after_mm3, change.change_mm3, change.change_share
    sizes = (*volumes, change.limit_mm3, change.shared_mm3)
    flags = change.few_voxels, change.touches_border
    labels = " ".join(map(str, change.before)), " ".join(map(str, change.after))
    return (label, change.match, change.trend, *labels, *sizes, *change.centroid_ras, *flags)


def change_summary(found: Sequence[LesionChanges], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was compared, how, and all changes, as plain values that JSON takes."""
    return {
        "schema_version": SCHEMA,
        "notice": NOTICE,
        **about,
        "within_mm": found[0].within_mm,
        "least_change": found[0].least_change,
        "classes": {
            one.label: {
                "total_before_mm3": sum(change.before_mm3 for change in one.changes),
                "total_after_mm3": sum(change.after_mm3 for change in one.changes),
                "notes": list(one.notes),
                "changes": [asdict(change) for change in one.changes],
            }
            for one in found
        },
    }


def write_changes(found: Sequence[LesionChanges], folder: Path, about: Mapping[str, Any]) -> None:
    """Write ``lesion_changes.csv``, ``lesion_changes.json`` and a picture for each class into a folder."""
    with (folder / "lesion_changes.csv").open("w", newline="", encoding="utf-8") as file:
        add = row_writer(file)
        add(CHANGE_COLUMNS)
        for row in (row for one in found for row in change_rows(one)):
            add(row.values())
    for one in found:
        figure = draw_changes(one)
        path = folder / f"lesion_changes_{slug(one.label)}.png"
        figure.savefig(path, format="png", dpi=_DPI, metadata={"Description": NOTICE})
    content = {**change_summary(found, about), "files": file_hashes(folder, [path.name for path in folder.iterdir()])}
    (folder / "lesion_changes.json").write_text(sealed_text(content), encoding="utf-8")


def lesion_cells(change: LesionChange) -> tuple[str, ...]:
    """Return a change as cells of a table that people read: what, which, volumes in mL, and the change."""
    share = "–" if change.change_share is None else f"{change.change_share:+.0%}"
    which = f"{' + '.join(map(str, change.before)) or '–'} → {' + '.join(map(str, change.after)) or '–'}"
    word = ", ".join(filter(None, (change.match, change.trend)))
    flags = [
        name for name, raised in (("few voxels", change.few_voxels), ("at border", change.touches_border)) if raised
    ]
    before, after, by, limit = (
        f"{mm3 / 1000:.3f}" for mm3 in (change.before_mm3, change.after_mm3, change.change_mm3, change.limit_mm3)
    )
    return which, word, before, after, by if by.startswith("-") else f"+{by}", share, limit, ", ".join(flags)


def draw_changes(found: LesionChanges) -> Figure:
    """Draw a line from the volume before to the volume after for each lesion, the largest on top.

    Returns
    -------
    matplotlib.figure.Figure
        On an Agg canvas of its own, outside pyplot.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = found.changes[:MOST_LINES]
    figure = Figure(figsize=(_WIDTH, _MARGIN + _LINE * max(1, len(shown))), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, change in enumerate(shown):
        word = change.trend or change.match
        colour, mark = _LOOKS[word]
        before, after = change.before_mm3 / 1000, change.after_mm3 / 1000
        axes.plot((before, after), (place, place), color=colour, linewidth=1.5)
        axes.plot(before, place, "o", color=colour, markerfacecolor="white", markersize=5)
        axes.plot(after, place, mark, color=colour, markersize=7)
    axes.set_yticks(range(len(shown)), [lesion_cells(change)[0] for change in shown])
    axes.invert_yaxis()
    axes.set_xscale("symlog", linthresh=_smallest(shown))
    axes.set_xlim(left=0)
    axes.set_xlabel("volume in mL: before (open) and after (filled)")
    axes.set_ylabel("lesion before → after")
    axes.grid(axis="x", color="0.9")
    present = [word for word in _LOOKS if found.count(word)]
    handles = [axes.plot([], [], _LOOKS[w][1], color=_LOOKS[w][0], label=f"{w}: {found.count(w)}")[0] for w in present]
    if handles:
        axes.legend(handles=handles, loc="lower right", fontsize=8)
    more = f" · {len(shown)} of {len(found.changes)}" if len(shown) < len(found.changes) else ""
    rule = f"changed: by more than {found.least_change:.0%} and 1.96 SD of the measurement"
    axes.set_title(textwrap.fill(f"{found.label}{more} · {rule}", _TITLE_CHARACTERS), fontsize=9)
    figure.supxlabel(NOTICE, fontsize=8, color="#b36b00", fontweight="bold")
    return figure


def _smallest(changes: Sequence[LesionChange]) -> float:
    """Return the least volume in mL that there is, from which the axis is logarithmic."""
    found = [mm3 / 1000 for change in changes for mm3 in (change.before_mm3, change.after_mm3) if mm3 > 0]
    return min(found, default=1.0)
