"""The findings of a case as readers left them, measured again where they changed the voxels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lesionlens.heatmap import Heatmap, LabelMap, Provenance
from lesionlens.regions import Region, measure, measure_class
from lesionlens.report.table import Cell, region_rows
from lesionlens.results import CaseResult
from lesionlens.review import CaseState, Session
from lesionlens.review.drawn import final_voxels, model_voxels
from lesionlens.review.voxels import Voxels, paint
from lesionlens.spread import VolumeSpread
from lesionlens.volume import Array

__all__ = ["Read", "mask_of", "measure_reads"]


@dataclass(frozen=True)
class Read:
    """One case as one reader left it.

    Parameters
    ----------
    reader
        Who.
    state
        What they said.
    voxels
        Of every finding, in array order.
    changed
        Names of the findings whose voxels are not the model's: edited or drawn.
    rows
        Statistics of every finding that has voxels and was not replaced: the columns of ``regions.csv``.
    """

    reader: str
    state: CaseState
    voxels: Mapping[str, Voxels] = field(repr=False)
    changed: frozenset[str]
    rows: Mapping[str, Mapping[str, Cell]] = field(repr=False)

    @property
    def kept(self) -> tuple[str, ...]:
        """Findings that were neither rejected nor replaced and have voxels."""
        return tuple(
            name
            for name, finding in self.state.findings.items()
            if finding.verdict != "reject" and not finding.replaced_by and len(self.voxels[name])
        )


def measure_reads(
    session: Session, case: str, result: CaseResult, *, readers: Sequence[str] | None = None
) -> list[Read]:
    """Return a case as each reader left it, or those who are named, with the statistics of every finding.

    What the model drew and nobody changed has the model's statistics; everything else is measured on the scan in the
    same way.
    """
    findings = session.case(case).findings
    model = model_voxels(findings, result.labels)
    known = {(name, region.label): region for name, regions in result.regions.items() for region in regions}
    regions = {f.id: known[f.label_class, f.label] for f in findings if (f.label_class, f.label) in known}
    spreads = {(name, one.label): one for name, found in result.volume_spreads.items() for one in found}
    of_model = {f.id: spreads[f.label_class, f.label] for f in findings if (f.label_class, f.label) in spreads}
    classes = {finding.id: finding.label_class for finding in findings}
    reads = []
    for reader in session.readers if readers is None else readers:
        events = session.events(case, reader)
        if not events:
            continue
        state, voxels = final_voxels(model, events, result.volume.grid.shape)
        changed = frozenset(name for name in voxels if not np.array_equal(voxels[name], model.get(name, ())))
        replaced = {name for name, finding in state.findings.items() if finding.replaced_by}
        found = {name: region for name, region in regions.items() if name not in changed | replaced}
        wanted = [name for name in changed - replaced if len(voxels[name])]
        there = {name: one for name, one in voxels.items() if name not in replaced and len(one)}
        found |= _measured(wanted, there, classes, result)
        spread = {name: one for name, one in of_model.items() if name not in changed}
        rows = {name: _row(found[name], classes.get(name, ""), spread.get(name)) for name in voxels if name in found}
        reads.append(Read(reader, state, voxels, changed, rows))
    return reads


def _row(region: Region, label_class: str, spread: VolumeSpread | None) -> Mapping[str, Cell]:
    (row,) = region_rows({label_class: [region]}, None if spread is None else {label_class: [spread]})
    return row


def _measured(
    wanted: Iterable[str], there: Mapping[str, Voxels], classes: Mapping[str, str], result: CaseResult
) -> dict[str, Region]:
    """Measure findings; what a reader drew is measured on the map of the only class, if there is but one.

    All that are ``there`` belong to no other's surroundings, as among the regions of the model.
    """
    marking = _marking(result)
    only = marking[0].label if len(marking) == 1 else ""
    by_class: dict[str, list[str]] = {}
    for name in sorted(wanted):
        by_class.setdefault(classes.get(name, only), []).append(name)
    found: dict[str, Region] = {}
    for label_class, names in by_class.items():
        same = [name for name in there if classes.get(name, only) == label_class]
        for layer in _layers(names, there):
            below = [name for name in same if name not in layer]
            labels = _painted([*below, *layer], there, result.volume.grid.shape)
            regions = {region.label: region for region in _regions(label_class, labels, result)}
            numbers = {name: number for number, name in enumerate(layer, start=len(below) + 1)}
            found |= {name: regions[number] for name, number in numbers.items() if number in regions}
    return found


def _marking(result: CaseResult) -> list[Heatmap]:
    """Return the maps whose regions are findings: of probabilities, or of anomaly."""
    return [one for one in (*result.probabilities, *result.attributions) if one.has_regions]


def _layers(names: Sequence[str], voxels: Mapping[str, Voxels]) -> list[list[str]]:
    """Share findings out so that none of those that are measured together overlap."""
    layers: list[tuple[list[str], Voxels]] = []
    for name in names:
        for n, (layer, taken) in enumerate(layers):
            if not np.intersect1d(taken, voxels[name], assume_unique=True).size:
                layers[n] = [*layer, name], np.union1d(taken, voxels[name])
                break
        else:
            layers.append(([name], voxels[name]))
    return [layer for layer, _ in layers]


def _regions(label_class: str, labels: Array, result: CaseResult) -> list[Region]:
    maps = (*result.probabilities, *result.attributions, *result.uncertainties)
    heatmap = next((one for one in _marking(result) if one.label == label_class), None)
    if heatmap is not None:
        return measure_class(result.volume, heatmap, maps, labels, anatomy=result.anatomy)
    drawn = LabelMap(result.volume.with_array(labels, unit=""), "drawn", {}, Provenance())
    return measure(result.volume, drawn, labels=labels, anatomy=result.anatomy, shapes=True)


def _painted(names: Sequence[str], voxels: Mapping[str, Voxels], shape: tuple[int, int, int]) -> Array:
    canvas = np.zeros(shape, dtype=np.uint16)
    for number, name in enumerate(names, start=1):
        paint(canvas, voxels[name], number)
    return canvas


def mask_of(read: Read, shape: tuple[int, int, int]) -> tuple[Array, dict[str, int]]:
    """Return what a reader keeps of a case as one (i, j, k) array of numbers from 1, and the number of each finding.

    Where two findings overlap, the later one is on top.
    """
    return _painted(read.kept, read.voxels, shape), {name: n for n, name in enumerate(read.kept, start=1)}
