"""Sessions on disk for the tests of reading: small scans with blobs, and results as a run writes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lesionlens.io import read, write, write_labels
from lesionlens.regions import label_regions, measure
from lesionlens.report.table import write_table
from lesionlens.results import RECORD_SCHEMA
from lesionlens.sessions import CaseFiles, start_session
from lesionlens.volume import Volume
from ui_cases import grid, probability_of

SHAPE = (40, 80, 24)
SPACING_MM = (2.0, 1.0, 3.0)
# Corners of blobs on a lattice that keeps them apart; sizes go down, so that labels follow this order.
_STEP = (8, 10, 8)


def blobs(n: int) -> NDArray[np.float32]:
    """Return (i, j, k) brightness with n boxes of different sizes, at most 60."""
    array = np.full(SHAPE, 40, np.float32)
    array[0] = array[-1] = 0
    corners = [
        (i, j, k) for k in range(2, 20, _STEP[2]) for j in range(4, 70, _STEP[1]) for i in range(3, 34, _STEP[0])
    ]
    for number, (i, j, k) in enumerate(corners[:n]):
        width = 5 - number % 3
        array[i : i + 3, j : j + width, k : k + 2 + number % 2] = 100
    return array


def sickle() -> NDArray[np.float32]:
    """Return (i, j, k) brightness with one ring, whose centroid lies in healthy tissue."""
    array = np.full(SHAPE, 40, np.float32)
    array[0] = array[-1] = 0
    array[10:22, 30:50, 10:13] = 100
    array[13:19, 35:45, 10:13] = 40
    return array


def write_results(folder: Path, name: str, array: NDArray[np.float32]) -> CaseFiles:
    """Write a scan, and what of a run that finds all that is bright a session needs; pictures take seconds."""
    path = folder / f"{name}.nii.gz"
    write(Volume(array, grid(SHAPE, SPACING_MM), name), path)
    volume = read(path)
    probability = probability_of(volume, np.where(array > 70, 0.9, 0.1))
    labels = label_regions(probability, threshold=0.5)
    regions = {"lesion": tuple(measure(volume, probability, labels=labels))}
    maps = [
        {
            "file": f"{probability.name}.nii.gz",
            "kind": "probability",
            "class": "lesion",
            "signed": False,
            "unit": "probability",
            "method": "softmax",
            "target": "",
            "layer": "",
            "resolution_mm": None,
            "options": {},
            "notes": [],
        }
    ]
    record = {
        "schema_version": RECORD_SCHEMA,
        "input": {"name": name, "sha256": volume.source.sha256},
        "bundle": {"name": "test", "version": "1", "sha256": "b" * 64, "weights_sha256": "w" * 64},
        "options": {"threshold": 0.5, "series": None, "stack": None, "irregular": "refuse"},
        "maps": maps,
        "class_probabilities": {},
        "versions": {},
        "warnings": [],
        "seconds": {},
    }
    results = folder / f"{name}-results"
    results.mkdir()
    write(probability, results / f"{probability.name}.nii.gz")
    write_labels(labels, volume, results / "regions_lesion.nii.gz")
    write_table(regions, results / "regions.csv")
    (results / "record.json").write_text(json.dumps(record))
    return CaseFiles(path, results)


def make_session(folder: Path, *arrays: NDArray[np.float32], model_blind: bool = False) -> Path:
    """Make a session of scans, in the order given, and return its path."""
    cases = [write_results(folder, f"scan-{n}", array) for n, array in enumerate(arrays)]
    path = folder / "reading.session"
    start_session(path, cases, order="given", title="Trial", model_blind=model_blind).close()
    return path
