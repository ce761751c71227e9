"""The findings of a case as readers left them, measured again where they changed the voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lesionlens.heatmap import LabelMap, Provenance
from lesionlens.regions import Region, measure, measure_class
from lesionlens.report.table import Cell, region_rows
from lesionlens.results import CaseResult
from lesionlens.review import CaseState, Session
from lesionlens.review.drawn import final_voxels, model_voxels
from lesionlens.review.voxels import Voxels, paint
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
        found |= _measured({name: voxels[name] for name in wanted}, classes, result)
        rows = {name: _row(found[name], classes.get(name, "")) for name in voxels if name in found}
        reads.append(Read(reader, state, voxels, changed, rows))
    return reads


def _row(region: Region, label_class: str) -> Mapping[str, Cell]:
    (row,) = region_rows({label_class: [region]})
    return row


def _measured(wanted: Mapping[str, Voxels], classes: Mapping[str, str], result: CaseResult) -> dict[str, Region]:
    """Measure findings; what a reader drew is measured on the map of the only class, if there is but one."""
    only = result.probabilities[0].label if len(result.probabilities) == 1 else ""
    by_class: dict[str, list[str]] = {}
    for name in sorted(wanted):
        by_class.setdefault(classes.get(name, only), []).append(name)
    found: dict[str, Region] = {}
    for label_class, names in by_class.items():
        for layer in _layers(names, wanted):
            labels = _painted(layer, wanted, result.volume.grid.shape)
            for region in _regions(label_class, labels, result):
                found[layer[region.label - 1]] = region
    return found


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
    probability = next((one for one in result.probabilities if one.label == label_class), None)
    if probability is not None:
        return measure_class(result.volume, probability, maps, labels)
    drawn = LabelMap(result.volume.with_array(labels, unit=""), "drawn", {}, Provenance())
    return measure(result.volume, drawn, labels=labels, shapes=True)


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
