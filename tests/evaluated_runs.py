"""Results of a run that are known voxel by voxel, for tests of evaluations: boxes of given probability, and masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import lesionlens as ll
from lesionlens.evaluation import EvaluationCase
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.results import RECORD_SCHEMA, RESEARCH_USE
from lesionlens.volume import Grid

SHAPE = (24, 20, 16)
SPACING = (1.0, 1.5, 2.0)

# First voxel, size, and the probability in it.
Box = tuple[tuple[int, int, int], tuple[int, int, int], float]


def boxes(*found: Box) -> NDArray[np.float32]:
    """Return an array that is 0.02 but for some boxes."""
    array = np.full(SHAPE, 0.02, dtype=np.float32)
    for start, size, value in found:
        array[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = value
    return array


def write_results(
    folder: Path,
    name: str,
    probability: NDArray[np.float32],
    mask: NDArray[np.integer],
    *,
    attribution: NDArray[np.float32] | None = None,
    classes: Sequence[str] = ("lesion",),
    threshold: float = 0.5,
) -> EvaluationCase:
    """Write maps and record as a run does, and a mask; return the case."""
    grid = Grid(SHAPE, np.diag([*SPACING, 1.0]))
    path = ll.write(ll.Volume(probability, grid, name=name), folder / f"{name}.nii.gz")
    volume = ll.read(path)
    made = Provenance(bundle="boxes 1.0", method="softmax")
    maps = [
        Heatmap(volume.with_array(probability, name="p"), "probability", label, signed=False, provenance=made)
        for label in classes
    ]
    attributions = []
    if attribution is not None:
        cam = Provenance(bundle="boxes 1.0", method="gradcam")
        attributions = [
            Heatmap(volume.with_array(attribution, name="a"), "attribution", "lesion", signed=True, provenance=cam)
        ]
    entries = [
        {
            "file": f"{one.name}.nii.gz", "kind": one.kind, "class": one.label, "signed": one.signed, "unit": "",
            "method": one.provenance.method, "target": "", "layer": "", "resolution_mm": None, "options": {},
            "notes": [],
        }
        for one in (*maps, *attributions)
    ]  # fmt: skip
    record = {
        "schema_version": RECORD_SCHEMA,
        "notice": RESEARCH_USE,
        "input": {"name": name, "sha256": volume.source.sha256},
        "bundle": {"name": "boxes", "version": "1.0", "sha256": "", "weights_sha256": ""},
        "options": {"threshold": threshold},
        "maps": entries,
        "class_probabilities": {},
        "versions": {},
        "seconds": {},
    }
    results = folder / f"{name}-results"
    results.mkdir()
    for one in (*maps, *attributions):
        ll.write(one, results / f"{one.name}.nii.gz")
    (results / "record.json").write_text(json.dumps(record), encoding="utf-8")
    ll.write(volume.with_array(mask), folder / f"{name}-mask.nii.gz")
    return EvaluationCase(name, results, folder / f"{name}-mask.nii.gz")
