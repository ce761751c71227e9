"""What runs in the background, and what the forms ask the core: no Qt, no viewer.

Whatever runs a network does so in a process of its own (:func:`lesionlens.apart.run_apart`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lesionlens import pipeline
from lesionlens.apart import run_apart
from lesionlens.heatmap import LabelMap
from lesionlens.pipeline import RunOptions
from lesionlens.progress import Progress
from lesionlens.regions import LesionChanges, compare_regions, label_regions, measure_classes
from lesionlens.results import CaseResult, read_case
from lesionlens.rules import DEFAULT_RULES
from lesionlens.ui import checking, comparing, facts, weighing
from lesionlens.ui.consent import is_trusted
from lesionlens.ui.masks import scan_in, scans_in

if TYPE_CHECKING:
    from napari.layers import Layer

    from lesionlens.heatmap import Heatmap
    from lesionlens.model.catalogue import BundleInfo
    from lesionlens.rules import RegionRules
    from lesionlens.ui.checking import Checked, TrustOptions
    from lesionlens.ui.comparing import Compared
    from lesionlens.ui.facts import BundleFacts
    from lesionlens.ui.weighing import ImportanceOptions, Weighed
    from lesionlens.volume import Volume

__all__ = [
    "bundle_info",
    "bundles",
    "check",
    "compare",
    "compare_lesions",
    "look_at",
    "measure_again",
    "read_results",
    "run",
    "run_case",
    "weigh",
]


def bundles() -> list[BundleInfo]:
    """Return the embedded bundles."""
    from lesionlens.model import list_bundles

    return list_bundles()


def bundle_info(path: Path) -> BundleInfo:
    """Return what the metadata of a bundle from the disk says; nothing of it is executed."""
    from lesionlens.model.catalogue import describe, opened

    with opened(path) as folder:
        return describe(folder, root=path)


def look_at(info: BundleInfo, progress: Progress) -> BundleFacts:
    """Look at the network of a bundle that may be executed."""
    found: BundleFacts = run_apart(facts.look_at, facts.bundle_name(info), progress=progress, trust=is_trusted(info))
    return found


def run_case(
    options: RunOptions, *, volume: Volume, channels: Sequence[tuple[str, Volume]] = (), progress: Progress
) -> CaseResult:
    """Run a case in a process of its own, and show its results on the scan that is here already."""
    found: CaseResult = run_apart(pipeline.run_case, options, volume=volume, channels=channels, progress=progress)
    return replace(found, volume=volume)


def run(options: RunOptions, layer: Layer, channels: Sequence[tuple[str, Layer]], progress: Progress) -> CaseResult:
    """Run a bundle on the scan that a layer shows, and on its further channels."""
    return run_case(options, volume=scan_in(layer), channels=scans_in(channels), progress=progress)


def read_results(folder: Path, layer: Layer, progress: Progress) -> CaseResult:
    """Read what an earlier run wrote about the scan that a layer shows."""
    progress("Reading results", 0, 1)
    return read_case(folder, scan_in(layer))


def check(options: TrustOptions, layer: Layer, progress: Progress) -> Checked:
    """Check how far a map of the scan that a layer shows may be believed."""
    found: Checked = run_apart(checking.check, options, scan_in(layer), progress=progress)
    return found


def weigh(options: ImportanceOptions, scan: Volume, progress: Progress) -> Weighed:
    """Take features of a scan away one by one."""
    found: Weighed = run_apart(weighing.weigh, options, scan, progress=progress)
    return replace(found, scan=scan)


def compare(
    maps: Sequence[tuple[str, Heatmap]], first: int, second: int, threshold: float, progress: Progress
) -> Compared:
    """Compare two of several named maps."""
    return comparing.compare(maps, first, second, threshold, progress)


def compare_lesions(
    maps: tuple[Heatmap, Heatmap], rules: tuple[RegionRules, RegionRules], threshold: float, progress: Progress
) -> LesionChanges:
    """Compare the regions of two probability maps, the second brought to the grid of the first where they differ.

    Each has the regions of its own ``rules``, which the notes name where they are not the default ones.
    """
    found = []
    for done, (heatmap, own) in enumerate(zip(maps, rules, strict=True)):
        progress("Finding lesions", done, 3)
        labels = label_regions(heatmap, threshold=threshold, rules=own)
        found.append(LabelMap(heatmap.volume.with_array(labels), heatmap.label, {}, heatmap.provenance))
    progress("Comparing lesions", 2, 3)
    changes = compare_regions(found[0], found[1])
    texts = [own.text or "no further rule" for own in rules]
    said = f"Regions: {texts[0]}." if texts[0] == texts[1] else f"Regions in A: {texts[0]}; in B: {texts[1]}."
    return changes if set(rules) == {DEFAULT_RULES} else replace(changes, notes=(*changes.notes, said))


def measure_again(result: CaseResult, threshold: float, rules: RegionRules, progress: Progress) -> CaseResult:
    """Return a result with its regions measured by another threshold or rules; how these spread was not sampled."""
    maps = (*result.attributions, *result.uncertainties)
    marking = [one for one in (*result.probabilities, *result.attributions) if one.has_regions]
    found = measure_classes(
        result.volume, marking, maps, threshold, rules=rules, anatomy=result.anatomy, progress=progress
    )
    return replace(
        result,
        labels=found.labels,
        regions=found.regions,
        steps=found.steps,
        rules=rules,
        threshold=threshold,
        thresholds={},
        volume_spreads={},
    )
