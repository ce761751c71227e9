"""The results of a case: the value, the folder it is written to, and back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

from lesionlens.detections import Detection
from lesionlens.errors import ReadError
from lesionlens.heatmap import Heatmap, Kind, LabelMap, Provenance, slug
from lesionlens.io import read, write, write_labels
from lesionlens.io.atomic import atomic_folder
from lesionlens.progress import Progress, silent
from lesionlens.regions import Region, measure_class
from lesionlens.rules import DEFAULT_RULES, RegionRules, RegionSteps
from lesionlens.seals import file_hashes, sealed_text
from lesionlens.spread import VolumeSpread
from lesionlens.volume import Array, Volume

__all__ = [
    "RECORD_SCHEMA",
    "RESEARCH_USE",
    "CaseResult",
    "read_case",
    "read_maps",
    "read_record",
    "read_regions",
    "refuse_other_scan",
    "volume_spreads",
    "write_case",
]

# Version of record.json; a newer one is refused, not guessed at.
RECORD_SCHEMA = 1

RESEARCH_USE = "Research use only. LesionLens is not a medical device; its results are not a diagnosis."

_RECORD, _ANATOMY = "record.json", "anatomy.nii.gz"
_SAME_WAY = "read the scan with the --irregular of that run, or run the case again"
# What a run may leave in its folder; when a folder is written again, files of the run before must not stay beside.
_MAPS = tuple(f"{kind}_*.nii.gz" for kind in get_args(Kind))
_OWN_FILES = (*_MAPS, _ANATOMY, "regions_*.nii.gz", "regions.csv", "detections.csv", "overlay_*.png")


@dataclass(frozen=True, eq=False)
class CaseResult:
    """Everything that one run found about one scan.

    Parameters
    ----------
    volume
        The scan.
    bundle
        Name and version of the bundle.
    probabilities
        One map per foreground class; empty for classification bundles.
    attributions
        Maps of the method that explains: attributions of the explained class, or features or attention of a layer; of
        a detection bundle also its boxes.
    regions, labels
        Per class: the regions, largest first, and the (i, j, k) label array that numbers them from 1.
    class_probabilities
        Per class, for classification bundles; otherwise empty.
    threshold
        Probability from which a voxel belongs to a region.
    record
        What ``record.json`` holds.
    uncertainties
        Maps of how several predictions differ; empty where there was one.
    volume_spreads
        Per class: how the volume of each region spreads over these predictions; empty where there was one.
    detections
        The boxes that a detection bundle found, the surest first; None of other bundles.
    rules, steps
        What counts as one region, and per class what that filled, merged and left out.
    anatomy
        Labels of anatomy that the regions were laid over, on the grid of the scan; None where none were given.
    thresholds
        Thresholds of single classes, in place of ``threshold``.
    """

    volume: Volume
    bundle: str
    probabilities: tuple[Heatmap, ...]
    attributions: tuple[Heatmap, ...]
    regions: Mapping[str, tuple[Region, ...]]
    labels: Mapping[str, Array]
    class_probabilities: Mapping[str, float]
    threshold: float
    record: Mapping[str, Any]
    uncertainties: tuple[Heatmap, ...] = ()
    volume_spreads: Mapping[str, tuple[VolumeSpread, ...]] = field(default_factory=dict)
    detections: tuple[Detection, ...] | None = None
    rules: RegionRules = DEFAULT_RULES
    steps: Mapping[str, RegionSteps] = field(default_factory=dict)
    anatomy: LabelMap | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def threshold_of(self, label: str) -> float:
        """Return the probability, or anomaly, from which a voxel belongs to a region of a class."""
        return self.thresholds.get(label, self.threshold)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was asked for and could not be made, or had to be assumed: one sentence each, for the user to read."""
        return tuple(self.record.get("warnings", ()))

    def attribution_of(self, label: str) -> Heatmap | None:
        """Return the attribution of a class, or None where it was not explained."""
        return next((a for a in self.attributions if a.label == label and a.kind != "detection"), None)

    def conclusion_of(self, label: str) -> Heatmap | None:
        """Return the probability map of a class, or the map of its detections; None where there is neither."""
        found = (*self.probabilities, *(a for a in self.attributions if a.kind == "detection"))
        return next((heatmap for heatmap in found if heatmap.label == label), None)


def write_case(
    result: CaseResult | Callable[[], CaseResult],
    out: Path | str,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Path:
    """Write the results of a case into a folder: all of it, or nothing.

    Parameters
    ----------
    result
        The results, or a function that computes them: the folder is then tried first, so that a folder that cannot be
        written is reported before the work, not after it.
    out
        Folder to make. It must not exist, or be empty, unless ``overwrite``.
    overwrite
        Replace what the folder holds.
    progress
        Called for each file.

    Returns
    -------
    pathlib.Path
        The folder. ``docs/reference/outputs.md`` describes each file.

    Raises
    ------
    OutputError
        If the folder exists and holds files, or cannot be written.
    """
    with atomic_folder(out, overwrite=overwrite) as folder:
        case = result() if callable(result) else result
        start = time.perf_counter()
        tasks = list(_writers(case, folder))
        for done, task in enumerate(tasks):
            progress("Writing", done, len(tasks))
            task()
        seconds = {**case.record["seconds"], "write": round(time.perf_counter() - start, 3)}
        written = {path.name for path in folder.iterdir()}
        record = {**case.record, "seconds": seconds, "files": file_hashes(folder, written)}
        (folder / _RECORD).write_text(sealed_text(record), encoding="utf-8")
        progress("Writing", len(tasks), len(tasks))
    _remove_stale(Path(out), written)
    return Path(out)


def _remove_stale(out: Path, written: set[str]) -> None:
    """Remove results of an earlier run that this one did not write again: they would be taken for its own."""
    for pattern in _OWN_FILES:
        for path in out.glob(pattern):
            if path.name not in written:
                path.unlink()


def _writers(case: CaseResult, folder: Path) -> Iterator[Callable[[], object]]:
    """Yield one piece of writing at a time, so that progress and cancellation fall between them."""
    from lesionlens.report.table import write_detections, write_table

    for heatmap in (*case.probabilities, *case.attributions, *case.uncertainties):
        yield partial(write, heatmap, folder / f"{heatmap.name}.nii.gz")
    for label, array in case.labels.items():
        yield partial(write_labels, array, case.volume, folder / f"regions_{slug(label)}.nii.gz")
    if case.anatomy is not None:
        yield partial(write_labels, case.anatomy.array, case.volume, folder / _ANATOMY)
    if case.regions:
        yield partial(write_table, case.regions, folder / "regions.csv", case.volume_spreads)
    if case.detections is not None:
        yield partial(write_detections, case.detections, folder / "detections.csv")
    for label in dict.fromkeys([*case.regions, *(attribution.label for attribution in case.attributions)]):
        yield partial(_write_overlay, case, label, folder / f"overlay_{slug(label)}.png")


def _write_overlay(case: CaseResult, label: str, path: Path) -> None:
    from lesionlens.report.montage import write_montage

    write_montage(
        path,
        case.volume,
        case.conclusion_of(label),
        case.attribution_of(label),
        case.labels.get(label),
        threshold=case.threshold_of(label),
    )


def read_case(folder: Path | str, volume: Volume, *, measured: bool = True) -> CaseResult:
    """Read the results of a run back, for the scan that they belong to.

    Parameters
    ----------
    folder
        What :func:`write_case` wrote.
    volume
        The scan. Its hash must be the one in the record: results shown on another scan would mislead.
    measured
        Measure the regions, which takes some milliseconds for each; otherwise there are labels alone.

    Raises
    ------
    ReadError
        If the folder holds no results, results of another scan, or of a newer version of LesionLens.
    """
    folder = Path(folder)
    record = read_record(folder)
    try:
        refuse_other_scan(folder, record, name=volume.name, sha256=(volume.source.sha256,))
        return _assemble(folder, record, volume, measured=measured)
    except (KeyError, TypeError, AttributeError) as error:
        raise _incomplete(folder, error) from error


def refuse_other_scan(folder: Path | str, record: Mapping[str, Any], *, name: str, sha256: Collection[str]) -> None:
    """Refuse results, with what ``record.json`` holds, for a scan of which none of the hashes is theirs."""
    if record["input"]["sha256"] not in sha256:
        what = f"The results in {folder} were made from another scan ({record['input']['name']!r})"
        raise ReadError(f"{what}, not from {name!r}; take the scan that they belong to.")


def read_maps(folder: Path | str) -> tuple[tuple[Heatmap, ...], Mapping[str, Any]]:
    """Read the maps of a run without its scan, to compare them with those of another.

    Returns
    -------
    maps, record
        All maps, on one grid, and what ``record.json`` holds.

    Raises
    ------
    ReadError
        If the folder holds no results, no maps, or results of a newer version of LesionLens.
    """
    folder = Path(folder)
    record = read_record(folder)
    try:
        if not record["maps"]:
            raise ReadError(f"The results in {folder} hold no maps; run the case again, or compare other results.")
        grid_of = read(folder / Path(record["maps"][0]["file"]).name)
        return tuple(_read_map(folder, entry, record, grid_of) for entry in record["maps"]), record
    except (KeyError, TypeError, AttributeError) as error:
        raise _incomplete(folder, error) from error


def read_regions(folder: Path | str) -> tuple[dict[str, LabelMap], Mapping[str, Any]]:
    """Read the regions of a run without its scan, to compare them with those of another time.

    Returns
    -------
    labels, record
        Per class the regions by number, and what ``record.json`` holds.

    Raises
    ------
    ReadError
        If the folder holds no results, no regions, or results of a newer version of LesionLens.
    """
    folder = Path(folder)
    record = read_record(folder)
    try:
        classes = tuple(record["n_regions"])
    except (KeyError, TypeError) as error:
        raise _incomplete(folder, error) from error
    if not classes:
        raise ReadError(f"The results in {folder} hold no regions; give those of a segmentation bundle.")
    images = {label: read(folder / f"regions_{slug(label)}.nii.gz") for label in classes}
    return {label: LabelMap(image, label, {}, Provenance()) for label, image in images.items()}, record


def _incomplete(folder: Path, error: Exception) -> ReadError:
    return ReadError(f"{folder / _RECORD} is incomplete: {type(error).__name__} {error}. Run the case again.")


def read_record(folder: Path) -> dict[str, Any]:
    """Read what a run says about itself.

    Raises
    ------
    ReadError
        If the folder holds no results, or those of a newer version of LesionLens.
    """
    path = folder / _RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ReadError(f"{folder} holds no results: {_RECORD} is missing; give a folder that 'run' wrote.") from None
    except (ValueError, RecursionError) as error:
        raise ReadError(f"{path} is not readable as JSON: {error}. Run the case again.") from None
    schema = record.get("schema_version") if isinstance(record, dict) else None
    if schema != RECORD_SCHEMA:
        raise ReadError(
            f"{path} has schema version {schema}; this LesionLens reads version {RECORD_SCHEMA}."
            " Update LesionLens, or run the case again."
        )
    return dict(record)


def _assemble(folder: Path, record: dict[str, Any], volume: Volume, *, measured: bool) -> CaseResult:
    maps = [_read_map(folder, entry, record, volume) for entry in record["maps"]]
    probabilities = tuple(m for m in maps if m.kind == "probability")
    attributions = tuple(m for m in maps if m.kind not in ("probability", "uncertainty"))
    threshold = float(record["options"]["threshold"])
    labels, regions = {}, {}
    anatomy = _anatomy(folder, record, volume)
    for heatmap in (m for m in maps if m.has_regions):
        path = folder / f"regions_{slug(heatmap.label)}.nii.gz"
        if heatmap.kind == "anomaly" and not path.exists():
            continue  # runs before 0.2 measured none of anomaly
        array = _on_grid(path, volume)
        labels[heatmap.label] = array
        if measured:
            regions[heatmap.label] = tuple(measure_class(volume, heatmap, maps, array, anatomy=anatomy))
    return CaseResult(
        volume=volume,
        bundle=f"{record['bundle']['name']} {record['bundle']['version']}",
        probabilities=probabilities,
        attributions=attributions,
        regions=regions,
        labels=labels,
        class_probabilities=dict(record["class_probabilities"]),
        threshold=threshold,
        thresholds=dict(record.get("thresholds", {})),
        record=record,
        uncertainties=tuple(m for m in maps if m.kind == "uncertainty"),
        volume_spreads=volume_spreads(record),
        detections=_detections(record),
        rules=RegionRules.from_record(record["options"]),
        steps={label: RegionSteps(**found) for label, found in record.get("region_steps", {}).items()},
        anatomy=anatomy,
    )


def _anatomy(folder: Path, record: dict[str, Any], volume: Volume) -> LabelMap | None:
    found = record.get("anatomy")  # runs before 0.2 have none
    if found is None:
        return None
    array = _on_grid(folder / _ANATOMY, volume)
    named = volume.with_array(array, name=found["label"], unit="")
    names = {int(number): name for number, name in found["names"].items()}
    return LabelMap(named, found["label"], names, Provenance(notes=tuple(found["notes"])))


def _detections(record: dict[str, Any]) -> tuple[Detection, ...] | None:
    rows = record.get("detections")  # runs before 0.2 have none
    return None if rows is None else tuple(map(Detection.from_record, rows))


def volume_spreads(record: Mapping[str, Any]) -> dict[str, tuple[VolumeSpread, ...]]:
    """Return how the volumes of regions spread over several predictions, per class; empty where there was one."""
    found = (record.get("uncertainty") or {}).get("regions", {})
    return {label: tuple(VolumeSpread(**one) for one in rows) for label, rows in found.items()}


def _read_map(folder: Path, entry: dict[str, Any], record: dict[str, Any], volume: Volume) -> Heatmap:
    resolution = entry["resolution_mm"]
    provenance = Provenance(
        bundle=f"{record['bundle']['name']} {record['bundle']['version']}",
        bundle_sha256=record["bundle"]["sha256"],
        weights_sha256=record["bundle"]["weights_sha256"],
        method=entry["method"],
        target=entry["target"],
        layer=entry["layer"],
        resolution_mm=None if resolution is None else (resolution[0], resolution[1], resolution[2]),
        options=entry["options"],
        versions=record["versions"],
        notes=tuple(entry["notes"]),
    )
    array = _on_grid(folder / Path(entry["file"]).name, volume)
    kind = entry["kind"]
    unit = entry.get("unit", "probability" if kind == "probability" else "")  # runs before 0.2 do not name it
    named = volume.with_array(array, name=f"{entry['method']} of {entry['class']}", unit=unit)
    return Heatmap(
        named, kind, entry["class"], signed=entry.get("signed", kind == "attribution"), provenance=provenance
    )


def _on_grid(path: Path, volume: Volume) -> Array:
    """Read a map or label image and make sure that it lies on the scan's grid."""
    found = read(path)
    if not found.grid.same_as(volume.grid):
        raise ReadError(f"{path} does not lie on the grid of {volume.name!r}; {_SAME_WAY}.")
    return found.array
