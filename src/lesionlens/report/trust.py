"""The checks of a map as a folder: a record, a picture, and the map."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from lesionlens import __version__
from lesionlens.checks import VERDICT_WORDS, Chart, Check, TrustReport
from lesionlens.io import write
from lesionlens.io.atomic import atomic_folder
from lesionlens.methods import method_title
from lesionlens.report.montage import NOTICE
from lesionlens.seals import file_hashes, sealed_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["TRUST_SCHEMA", "draw_charts", "draw_trust", "write_trust"]

# Version of trust.json.
TRUST_SCHEMA = 1

# The page in inches: two charts beside each other and their sentence above, readable on a laptop.
_WIDTH, _ROW, _TEXT_ROW, _HEAD = 12.0, 3.2, 0.7, 1.1
_COLUMNS = 2  # no check has more charts
_DPI = 120
_LINE = 130
# Characters that have room beside or above a chart in a dock.
_NARROW = 34
_COLOURS = {"passes": "#1b7837", "fails": "#b2182b", "unclear": "#8c6d1f"}

# An x axis that starts at 0 and has its finest steps there is drawn linearly up to this and by powers of ten after.
_LINEAR_BELOW = 0.001


def write_trust(
    report: TrustReport | Callable[[], TrustReport], out: Path | str, *, overwrite: bool = False
) -> TrustReport:
    """Write ``trust.json``, ``trust.png`` and the map into a folder: all of it, or nothing.

    Parameters
    ----------
    report
        The checks, or a function that makes them: the folder is then tried before the work.
    out
        Folder to make. It must not exist, or be empty, unless ``overwrite``.
    overwrite
        Replace what the folder holds.

    Returns
    -------
    TrustReport
        The checks.

    Raises
    ------
    OutputError
        If the folder exists and holds files, or cannot be written.
    """
    from lesionlens.results import RESEARCH_USE

    with atomic_folder(out, overwrite=overwrite) as folder:
        found = report() if callable(report) else report
        source = found.heatmap.volume.source
        head = {
            "schema_version": TRUST_SCHEMA,
            "notice": RESEARCH_USE,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "lesionlens": __version__,
            "input": {"sha256": source.sha256, **({"identity": dict(source.identity)} if source.identity else {})},
        }
        content = json.loads(json.dumps(head | found.record(), default=str, allow_nan=False))
        picture = BytesIO()
        draw_trust(found).savefig(picture, format="png", dpi=_DPI, metadata={"Description": RESEARCH_USE})
        (folder / "trust.png").write_bytes(picture.getvalue())
        write(found.heatmap, folder / f"{found.heatmap.name}.nii.gz")
        content["files"] = file_hashes(folder, [path.name for path in folder.iterdir()])
        (folder / "trust.json").write_text(sealed_text(content), encoding="utf-8")
    return found


def draw_trust(report: TrustReport) -> Figure:
    """Draw all checks: the question, the verdict in words, and the charts below.

    Returns
    -------
    matplotlib.figure.Figure
        On an Agg canvas of its own, outside pyplot.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [_HEAD, *(_TEXT_ROW + (_ROW if check.charts else 0) for check in report.checks)]
    figure = Figure(figsize=(_WIDTH, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    made = report.heatmap.provenance
    layer = f"layer {made.layer}" if made.layer else ""
    title = " · ".join(part for part in (made.bundle, method_title(made.method), report.heatmap.label, layer) if part)
    # A part of its own for the head: where no check has a chart, no room is made for a title of the whole.
    head, *rows = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    head.suptitle(f"{title}\n{textwrap.fill(report.sentence, _LINE)}\n{NOTICE}", fontsize=12)
    for check, row in zip(report.checks, rows, strict=True):
        _draw_check(check, row)
    return figure


def draw_charts(check: Check, *, width: float = _WIDTH / 3) -> Figure | None:
    """Draw the charts of one check below each other, without its words, for a narrow place on a screen.

    Parameters
    ----------
    check
        What was found.
    width
        Of the picture, in inches.

    Returns
    -------
    matplotlib.figure.Figure or None
        On an Agg canvas of its own; None where the check has no chart.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not check.charts:
        return None
    figure = Figure(figsize=(width, _ROW * len(check.charts)), layout="constrained")
    FigureCanvasAgg(figure)
    for chart, place in zip(check.charts, figure.subplots(len(check.charts), 1, squeeze=False)[:, 0], strict=True):
        _draw_chart(chart, place)
        place.set_title(textwrap.fill(chart.title, _NARROW), fontsize=8)
        place.set_xlabel(textwrap.fill(chart.x_label, _NARROW), fontsize=8)
        place.set_ylabel(textwrap.fill(chart.y_label, _NARROW), fontsize=8)
    return figure


def _draw_check(check: Check, row: Figure) -> None:
    words = textwrap.fill(check.sentence, _LINE)
    row.suptitle(f"{check.question} {VERDICT_WORDS[check.verdict]}\n{words}", fontsize=9, color=_COLOURS[check.verdict])
    if check.charts:
        axes = row.subplots(1, _COLUMNS, squeeze=False)[0]
        for chart, place in zip(check.charts, axes, strict=False):
            _draw_chart(chart, place)
        for place in axes[len(check.charts) :]:
            place.remove()


def _draw_chart(chart: Chart, axes: Axes) -> None:
    labels: set[str] = set()
    for curve in chart.curves:
        label = None if curve.label in labels else curve.label
        labels.add(curve.label)
        style = {"color": "0.6", "zorder": 1} if curve.label in ("random order", "chance") else {"zorder": 2}
        line = "-" if chart.joined else "none"
        axes.plot(curve.x, curve.y, linestyle=line, marker="o", markersize=3, label=label, **style)
    if not any(math.isfinite(y) for curve in chart.curves for y in curve.y):
        axes.text(0.5, 0.5, "not defined here", transform=axes.transAxes, ha="center", va="center", fontsize=8)
        axes.set(xticks=(), yticks=())  # matplotlib would make up a scale
    elif chart.ticks:
        axes.set_xticks(range(len(chart.ticks)), chart.ticks, rotation=20, ha="right", fontsize=6)
    elif "share of the voxels" in chart.x_label:
        axes.set_xscale("symlog", linthresh=_LINEAR_BELOW)
    if chart.limit is not None:
        axes.axhline(chart.limit, color="0.3", linestyle="--", linewidth=1, label=f"limit {chart.limit:g}")
    axes.set_title(chart.title, fontsize=8)
    axes.set_xlabel(chart.x_label, fontsize=8)
    axes.set_ylabel(chart.y_label, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7)
