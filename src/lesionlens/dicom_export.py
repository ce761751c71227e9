"""The results of a run as DICOM objects, for archives, viewers and planning systems.

What lies where and how it is written is in ``io.dicom.export``; here the results are taken from their folder, matched
with the series that they were made from, and handed over.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from lesionlens.errors import InputError, LesionLensError, OutputError, ReadError, unknown_name
from lesionlens.handover.verdicts import Verdicts, verdicts_on
from lesionlens.heatmap import Heatmap, slug
from lesionlens.io.atomic import atomic_folder, atomic_path
from lesionlens.io.policy import Wanted
from lesionlens.progress import Progress, silent
from lesionlens.registration import data_folder
from lesionlens.results import CaseResult, read_case, read_record

if TYPE_CHECKING:
    from lesionlens.io.dicom.export.frames import SourceFrames
    from lesionlens.io.dicom.export.masks import Segment
    from lesionlens.io.dicom.export.objects import Algorithm, Place

__all__ = ["DEFAULT_FORMATS", "DicomExport", "DicomFormat", "export_dicom"]

DicomFormat = Literal["seg", "fractional", "probability", "attribution", "sr"]
DEFAULT_FORMATS: tuple[DicomFormat, ...] = ("seg", "probability", "attribution", "sr")

# Numbers of the new series: far above those of scanners.
_NUMBERS = {"seg": 9001, "fractional": 9002, "probability": 9003, "attribution": 9004, "sr": 9005}
_TITLES = {
    "seg": "regions",
    "fractional": "probability by segment",
    "probability": "probability maps",
    "attribution": "maps that explain",
    "sr": "findings",
}

# How a digest of a series' UID in a record begins; the UID itself is not kept there.
_DIGEST = "uid-"


@dataclass(frozen=True)
class DicomExport:
    """What was written.

    Parameters
    ----------
    files
        Names of the files, in the order in which they were written.
    notes
        What a user must know: one sentence each.
    """

    files: tuple[str, ...]
    notes: tuple[str, ...]


def export_dicom(
    results: Path | str,
    source: Path | str,
    out: Path | str,
    *,
    formats: Sequence[DicomFormat] = DEFAULT_FORMATS,
    series: str | int | None = None,
    identified: bool = False,
    key: str | None = None,
    session: Path | str | None = None,
    reader: str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> DicomExport:
    """Write the results of a run as DICOM objects on the frames of the series that they were made from.

    Parameters
    ----------
    results
        Folder that :func:`~lesionlens.results.write_case` wrote.
    source
        The DICOM series, as for :func:`~lesionlens.io.read`. Its hash must be the one in the record.
    out
        Folder to make.
    formats
        Which objects.
    series
        Which series of several; by default the one on record.
    identified
        Name the patient and refer to the source's own UIDs. By default both have pseudonyms.
    key
        What pseudonyms are made from; by default a key that is kept in the user's data folder.
    session, reader
        Session in which the results were judged, and whose verdicts the report is to hold.
    overwrite
        Write into a folder that holds files.
    progress
        Called as headers and slices are read, and for each object.

    Raises
    ------
    ReadError
        If the results or the series cannot be read, or do not belong together.
    OutputError
        If the folder holds something, or nothing could be written.
    LesionLensError
        If the packages that write DICOM are not installed.

    Examples
    --------
    >>> export_dicom("results", "dicom_folder", "objects").files          # doctest: +SKIP
    ('seg_lesion.dcm',)
    """
    unknown = [one for one in formats if one not in get_args(DicomFormat)]
    if unknown:
        raise InputError(unknown_name("DICOM object", unknown[0], get_args(DicomFormat)))
    require_packages()
    with atomic_folder(out, overwrite=overwrite) as folder:
        wanted = [one for one in get_args(DicomFormat) if one in formats or (one == "seg" and "sr" in formats)]
        judged = Verdicts() if session is None else verdicts_on(Path(session), Path(results), reader)
        job = _read(Path(results), Path(source), folder, series, identified, key, "sr" in wanted, progress)
        job.judge(judged)
        tasks = [(one, task) for one in wanted for task in _WRITERS[one](job, _number(one))]
        for done, (_, task) in enumerate(tasks):
            progress("Writing DICOM", done, len(tasks))
            task()
        progress("Writing DICOM", len(tasks), len(tasks))
        if not job.files:
            raise OutputError(f"There is nothing to write: {' '.join(job.notes)}")
    return DicomExport(tuple(job.files), tuple(job.notes))


def require_packages() -> None:
    """Make sure that what writes DICOM is installed.

    Raises
    ------
    LesionLensError
        If it is not; the message says how to install it.
    """
    if any(find_spec(name) is None for name in ("highdicom", "dicognito")):
        raise LesionLensError(
            "The packages that write DICOM are not installed; install them with: pip install 'lesionlens[dicom-export]'"
        )


@dataclass(eq=False)
class _Job:
    """Results on the frames that they belong to, and what came of them."""

    case: CaseResult
    frames: SourceFrames
    folder: Path
    identified: bool
    key: str
    verdicts: Verdicts = field(default_factory=Verdicts)
    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    segmentations: dict[str, Any] = field(default_factory=dict)

    def judge(self, verdicts: Verdicts) -> None:
        """Take over what a reader said."""
        self.verdicts = verdicts
        self.notes += verdicts.notes

    @property
    def reader(self) -> str:
        """The reader, as the report is to call them."""
        name = self.verdicts.reader
        if self.identified or not name:
            return name
        return f"reader-{hashlib.sha256(f'{self.key} {name}'.encode()).hexdigest()[:8]}"

    def save(self, dataset: Any, name: str) -> Any:
        """Write an object, and return it as it was written."""
        from lesionlens.io.dicom.export.objects import save

        saved = save(dataset, self.frames, self.folder / name, identified=self.identified)
        self.files.append(name)
        return saved

    def segments(self, label: str) -> list[Segment]:
        """Return the regions of a class; the same ones whichever object they are in."""
        from lesionlens.io.dicom.export.masks import Segment, tracking_uid

        facts = (self.key, self.case.volume.source.sha256, self.case.record["bundle"]["sha256"], label)
        count = int(self.case.labels[label].max())
        return [Segment(label, f"{label} {n}", tracking_uid(*facts, str(n))) for n in range(1, count + 1)]

    @property
    def algorithm(self) -> Algorithm:
        """What made the results."""
        from lesionlens.io.dicom.export.objects import Algorithm

        bundle = self.case.record["bundle"]
        hashes = {"bundle_sha256": bundle["sha256"], "weights_sha256": bundle["weights_sha256"]}
        return Algorithm(bundle["name"], bundle["version"], {name: value for name, value in hashes.items() if value})


_Writers = Iterator[Callable[[], None]]


def _read(
    results: Path,
    source: Path,
    folder: Path,
    series: str | int | None,
    identified: bool,
    key: str | None,
    measured: bool,
    progress: Progress,
) -> _Job:
    from lesionlens.io.dicom.export.frames import read_frames
    from lesionlens.io.dicom.export.patient import Pseudonyms
    from lesionlens.io.reader import existing_path, is_dicom

    record = read_record(results)
    options = record.get("options", {})
    place = existing_path(source)
    if not place.is_dir() and not is_dicom(place):
        raise ReadError(f"Expected the DICOM series that the results were made from; {place.name} is none.")
    chosen = series if series is not None else _on_record(options.get("series"), place, progress)
    wanted = Wanted(chosen, options.get("stack"), options.get("irregular") or "refuse")
    secret = key or _kept_key()
    frames = read_frames(place, wanted, None if identified else Pseudonyms(secret), progress=progress)
    case = read_case(results, frames.volume, measured=measured)
    job = _Job(case, frames, folder, identified, "" if identified else secret)
    if not identified:
        job.notes.append(
            "Patient and UIDs have pseudonyms; on the source itself, programs show the objects only where they accept"
            " another frame of reference (--other-frame)."
        )
    if not frames.own:
        job.notes.append(
            "The planes of the results are not images of the series but were computed from them; the objects have"
            " their own planes, and refer to the images that each was made from."
        )
    return job


def _on_record(series: str | None, place: Path, progress: Progress) -> str | None:
    """Return the series on record; one that was asked for by its UID is there as a digest."""
    if not series or not series.startswith(_DIGEST):
        return series
    from lesionlens.io.identity import hide_uids
    from lesionlens.io.reader import list_series

    found = (one.uid for one in list_series(place, progress=progress))
    return next((uid for uid in found if hide_uids(uid) == series), None)


def _kept_key() -> str:
    """Return the key of this user's pseudonyms; made at first."""
    path = data_folder() / "pseudonym-key"
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    found = secrets.token_hex(32)
    with atomic_path(path) as temporary:
        temporary.write_text(found + "\n", encoding="utf-8")
        os.chmod(temporary, 0o600)
    return found


def _number(form: DicomFormat) -> Callable[[_Job], Callable[[int], Place]]:
    """Return what gives the objects of one format their series and number."""

    def of_job(job: _Job) -> Callable[[int], Place]:
        from lesionlens.io.dicom.export.objects import NewSeries, Place

        new = NewSeries(_TITLES[form], _NUMBERS[form])
        return lambda instance: Place(job.frames, new, instance)

    return of_job


def _segmentations(job: _Job, places: Callable[[_Job], Callable[[int], Place]]) -> _Writers:
    from lesionlens.io.dicom.export.masks import segmentation

    place = places(job)
    for n, (label, array) in enumerate(job.case.labels.items(), 1):

        def write(n: int = n, label: str = label, array: Any = array) -> None:
            segments = job.segments(label)
            if not segments:
                job.notes.append(f"Of {label!r} there is no region, and so no segmentation.")
                return
            made = segmentation(place(n), np.asarray(array), segments, job.algorithm)
            job.segmentations[label] = job.save(made, f"seg_{slug(label)}.dcm")

        yield write


def _fractions(job: _Job, places: Callable[[_Job], Callable[[int], Place]]) -> _Writers:
    from lesionlens.io.dicom.export.masks import Segment, fractional_segmentation

    place = places(job)
    for n, heatmap in enumerate(job.case.probabilities, 1):

        def write(n: int = n, heatmap: Heatmap = heatmap) -> None:
            segment = Segment(heatmap.label, heatmap.label)
            made = fractional_segmentation(place(n), heatmap.array, segment, job.algorithm)
            job.save(made, f"fractional_{slug(heatmap.label)}.dcm")

        yield write
    if not job.case.probabilities:
        job.notes.append("The run left no probability maps.")


def _maps(job: _Job, places: Callable[[_Job], Callable[[int], Place]], heatmaps: Sequence[Heatmap]) -> _Writers:
    from lesionlens.io.dicom.export.maps import parametric_map

    place = places(job)
    for n, heatmap in enumerate(heatmaps, 1):

        def write(n: int = n, heatmap: Heatmap = heatmap) -> None:
            job.save(parametric_map(place(n), heatmap), f"{heatmap.name}.dcm")

        yield write


def _probabilities(job: _Job, places: Callable[[_Job], Callable[[int], Place]]) -> _Writers:
    return _maps(job, places, job.case.probabilities)


def _attributions(job: _Job, places: Callable[[_Job], Callable[[int], Place]]) -> _Writers:
    return _maps(job, places, (*job.case.attributions, *job.case.uncertainties))


def _report(job: _Job, places: Callable[[_Job], Callable[[int], Place]]) -> _Writers:
    from lesionlens.io.dicom.export.report import Finding, quantities, report
    from lesionlens.report.table import region_rows

    place = places(job)(1)

    def write() -> None:
        volume = job.case.volume
        findings = []
        for row in region_rows(job.case.regions):
            label, number = str(row["class"]), int(row["label"] or 0)
            measured = quantities(row, volume.unit, volume.source.modality)
            verdict = job.verdicts.of_region.get((label, number), "")
            segment = job.segments(label)[number - 1]
            findings.append(Finding(segment, number, job.segmentations[label], measured, verdict))
        if not findings:
            job.notes.append("There is no finding, and so no report.")
            return
        job.save(report(place, findings, job.algorithm, reader=job.reader), "report.dcm")

    yield write


_WRITERS: dict[str, Callable[[_Job, Any], _Writers]] = {
    "seg": _segmentations,
    "fractional": _fractions,
    "probability": _probabilities,
    "attribution": _attributions,
    "sr": _report,
}
