"""Results as text on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from lesionlens.checks import VERDICT_WORDS, TrustReport
from lesionlens.detections import Detection
from lesionlens.heatmap import Heatmap
from lesionlens.regions import Region

if TYPE_CHECKING:
    from lesionlens.results import CaseResult

__all__ = ["print_cases", "print_result", "print_table", "print_trust"]

# Piped into a file there is no terminal to fit: rows stay whole.
_PIPE_WIDTH = 250

# A terminal shows this many; regions.csv and detections.csv hold all.
_MAX_REGIONS_SHOWN = 15


def print_result(case: CaseResult) -> None:
    """Print what a run found: class probabilities, regions of each class, and what was explained."""
    console = _console(soft_wrap=True)
    for label, probability in case.class_probabilities.items():
        words = "calibrated probability" if case.record["bundle"].get("calibration") else "probability"
        console.print(f"{words} of {label!r}: {probability:.3f}")
    for label, regions in case.regions.items():
        total = sum(region.volume_mm3 for region in regions) / 1000
        rules = f" ({case.rules.text})" if case.rules.text else ""
        quantity = "anomaly" if case.conclusion_of(label) is None else "probability"
        least = f"at {quantity} {case.threshold_of(label):g} or more"
        console.print(f"{label}: {len(regions)} region(s) {least}{rules}, {total:.2f} mL")
        if label in case.steps and case.steps[label].text:
            console.print(f"  {case.steps[label].text}")
        if regions:
            _print_regions(regions)
    if case.detections is not None:
        _print_detections(case.detections, case.threshold)
    for label, found in (case.record.get("uncertainty") or {}).get("total_volume_mm3", {}).items():
        volume = f"{found['mean_mm3'] / 1000:.2f} mL, SD {found['sd_mm3'] / 1000:.2f} mL"
        console.print(f"{label} over {len(case.record['uncertainty']['samples'])} predictions: {volume}")
    for label, found in (case.record.get("uncertainty") or {}).get("classes", {}).items():
        console.print(f"probability of {label!r} over all predictions: {found['mean']:.3f}, SD {found['sd']:.3f}")
    for attribution in case.attributions:
        _print_map(console, attribution)


def print_cases(rows: Sequence[Mapping[str, str]]) -> None:
    """Print the summary of many cases as a table; ``summary.csv`` holds all of it.

    Parameters
    ----------
    rows
        Cells by column, as text.
    """
    table = Table("case", "class", "regions", "total mL", "probability", "", box=None, header_style="bold")
    console = _console()
    for row in rows[:_MAX_REGIONS_SHOWN]:
        volume = f"{float(row['total_volume_mm3']) / 1000:.2f}" if row["total_volume_mm3"] else ""
        probability = row["class_probability"] or row["probability_max"]
        found = row["n_regions"] or row["n_detections"]
        shown = f"{float(probability):.3f}" if probability else ""
        what = row["error"] or ("" if row["status"] == "done" else row["status"])
        table.add_row(row["case"], row["class"], found, volume, shown, what)
    _print_whole(console, table)
    if len(rows) > _MAX_REGIONS_SHOWN:
        console.print(f"... and {len(rows) - _MAX_REGIONS_SHOWN} more rows in summary.csv")


def _print_map(console: Console, attribution: Heatmap) -> None:
    """Print what a map is of, how finely it can point, and what a reader must know."""
    made = attribution.provenance
    layer = f"layer {made.layer!r}" if made.layer else ""
    exact = f"±{' x '.join(f'{mm:.3g}' for mm in made.resolution_mm)} mm" if made.resolution_mm else ""
    console.print(f"{made.method}: {', '.join(filter(None, (made.target, layer, exact)))}")
    for note in made.notes:
        console.print(f"  note: {note}")


def print_trust(report: TrustReport) -> None:
    """Print what was checked, questions and verdicts as a table, then what was found in words."""
    console = _console(soft_wrap=True)
    _print_map(console, report.heatmap)
    rows = [(check.name, check.question, VERDICT_WORDS[check.verdict]) for check in report.checks]
    print_table(("check", "question", "verdict"), rows)
    for check in report.checks:
        console.print(f"{check.name}: {check.sentence}")
        for note in check.notes:
            console.print(f"  note: {note}")
    console.print(report.sentence)


def _print_regions(regions: Sequence[Region]) -> None:
    of_anomaly = any(region.anomaly_max is not None for region in regions)
    quantity = ("mean anomaly", "max anomaly") if of_anomaly else ("mean p", "max p")
    header = ("region", "mL", "centroid R A S mm", *quantity, "attribution")
    print_table(header, (_cells(region) for region in regions[:_MAX_REGIONS_SHOWN]))
    if len(regions) > _MAX_REGIONS_SHOWN:
        _console().print(f"... and {len(regions) - _MAX_REGIONS_SHOWN} more in regions.csv")


def _print_detections(detections: Sequence[Detection], threshold: float) -> None:
    sure = sum(one.confidence >= threshold for one in detections)
    words = f"{len(detections)} box(es), {sure} with a confidence of {threshold:g} or more, the surest first"
    _console(soft_wrap=True).print(words if detections else "no box was found")
    rows = []
    for one in detections[:_MAX_REGIONS_SHOWN]:
        place, size = (
            " ".join(f"{mm:{form}}" for mm in mms) for mms, form in ((one.centre_ras, "+6.1f"), (one.size_mm, ".1f"))
        )
        rows.append((one.label, str(one.number), f"{one.confidence:.3f}", place, size))
    if rows:
        print_table(("class", "box", "confidence", "centre R A S mm", "edges mm"), rows)
    if len(detections) > _MAX_REGIONS_SHOWN:
        _console().print(f"... and {len(detections) - _MAX_REGIONS_SHOWN} more in detections.csv")


def _cells(region: Region) -> tuple[str, ...]:
    place = " ".join(f"{mm:+5.0f}" for mm in region.centroid_ras)
    share = "-" if region.attribution_share is None else f"{100 * region.attribution_share:.1f} %"
    of_probability = region.probability_mean, region.probability_max
    found = of_probability if region.anomaly_max is None else (region.anomaly_mean, region.anomaly_max)
    mean, highest = ("-" if value is None else f"{value:.2f}" for value in found)
    return str(region.label), f"{region.volume_mm3 / 1000:.3f}", place, mean, highest, share


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; on a terminal it fits the width, in a pipe rows stay whole."""
    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    _print_whole(_console(highlight=True), table)


def _print_whole(console: Console, table: Table) -> None:
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    console.print(table)


def _console(*, soft_wrap: bool = False, highlight: bool = False) -> Console:
    """Return where text is printed as it is: names of classes and files may look like rich's markup or emoji."""
    return Console(soft_wrap=soft_wrap, highlight=highlight, markup=False, emoji=False)
