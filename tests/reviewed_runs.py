"""Scans with results as a run leaves them, made without a network: a round lesion each, its probability known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import lesionlens as ll
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.regions import label_regions
from lesionlens.results import RECORD_SCHEMA, RESEARCH_USE, CaseResult, measure_class, write_case
from lesionlens.volume import Grid, Volume
from orientations import oblique

SHAPE = (34, 30, 20)
CENTRES = {"one": ((16, 14, 10),), "two": ((10, 10, 8), (24, 20, 12))}


def grid() -> Grid:
    """Return an oblique, anisotropic grid."""
    return oblique(SHAPE, (1.5, 1.4, 2.5))


def scan(name: str, *, radius_mm: float = 6.0) -> Volume:
    """Return a head with bright, soft balls in it: one or two."""
    place = grid()
    points = place.world(np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1))
    middle = place.world((np.array(SHAPE) - 1) / 2)
    array = np.where(np.linalg.norm(points - middle, axis=-1) < 24, 0.4, 0.02)
    for centre in CENTRES[name]:
        array += 0.5 / (1 + np.exp((np.linalg.norm(points - place.world(centre), axis=-1) - radius_mm) * 2))
    noise = np.random.default_rng(0).normal(0, 0.01, SHAPE)
    return Volume((array + noise).astype(np.float32), place, name=name)


def write_run(folder: Path, file_name: str, kind: str, *, radius_mm: float = 6.0) -> tuple[Path, Path]:
    """Write a scan and its results into a folder; return both paths."""
    path = ll.write(scan(kind, radius_mm=radius_mm), folder / f"{file_name}.nii.gz")
    volume = ll.read(path)
    made = Provenance(bundle="balls 1.0", weights_sha256="77" * 32, method="softmax")
    values = np.clip((volume.array - 0.4) * 2, 0, 1).astype(np.float32)
    probability = Heatmap(volume.with_array(values, name="p"), "probability", "lesion", signed=False, provenance=made)
    labels = label_regions(probability, threshold=0.5)
    regions = tuple(measure_class(volume, probability, [probability], labels))
    record = _record(volume, probability)
    result = CaseResult(
        volume, "balls 1.0", (probability,), (), {"lesion": regions}, {"lesion": labels}, {}, 0.5, record
    )
    return path, write_case(result, folder / f"{file_name}-results")


def _record(volume: Volume, probability: Heatmap) -> dict[str, Any]:
    """Return what a run says about itself, as far as it is read back."""
    one_map = {"file": f"{probability.name}.nii.gz", "kind": "probability", "class": "lesion", "signed": False}
    one_map |= {"unit": "probability", "method": "softmax", "target": "", "layer": "", "resolution_mm": None}
    return {
        "schema_version": RECORD_SCHEMA,
        "notice": RESEARCH_USE,
        "input": {"name": volume.name, "sha256": volume.source.sha256},
        "bundle": {
            "name": "balls", "version": "1.0", "sha256": "", "weights_sha256": "77" * 32,
            "classes": ["background", "lesion"],
        },
        "options": {"threshold": 0.5, "stack": None, "irregular": "refuse"},
        "maps": [{**one_map, "options": {}, "notes": []}],
        "class_probabilities": {},
        "versions": {},
        "seconds": {},
    }  # fmt: skip
