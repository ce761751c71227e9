"""Results on the frames of the series that they were made from: read, checked, and ready to be written as objects."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesionlens.errors import ReadError
from lesionlens.handover.outlines import Origin, Outlines
from lesionlens.handover.verdicts import Verdicts
from lesionlens.io.atomic import atomic_path
from lesionlens.io.policy import Wanted
from lesionlens.progress import Progress
from lesionlens.registration import data_folder
from lesionlens.report.table import Cell, region_rows
from lesionlens.results import CaseResult, read_case, read_record
from lesionlens.volume import Array

if TYPE_CHECKING:
    from lesionlens.io.dicom.export.frames import SourceFrames
    from lesionlens.io.dicom.export.masks import Making, Segment
    from lesionlens.io.dicom.export.objects import Algorithm

__all__ = ["Job", "read_job"]

# How a digest of a series' UID in a record begins; the UID itself is not kept there.
_DIGEST = "uid-"
_MADE: dict[Origin, Making] = {"model": "AUTOMATIC", "edited": "SEMIAUTOMATIC", "drawn": "MANUAL"}


@dataclass(eq=False)
class Job:
    """Results on the frames that they belong to, and what came of them."""

    case: CaseResult
    frames: SourceFrames
    folder: Path
    identified: bool
    key: str
    verdicts: Verdicts = field(default_factory=Verdicts)
    outlines: Outlines | None = None
    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    segmentations: dict[str, Any] = field(default_factory=dict)

    def judge(self, verdicts: Verdicts, outlines: Outlines | None = None) -> None:
        """Take over what a reader said, and how the reader left the regions where that is another way."""
        self.verdicts, self.outlines = verdicts, outlines
        self.notes += [*verdicts.notes, *(() if outlines is None else outlines.notes)]

    @property
    def labels(self) -> Mapping[str, Array]:
        """By class: the (i, j, k) numbers of the regions."""
        found: Mapping[str, Array] = self.case.labels if self.outlines is None else self.outlines.labels
        return found

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
        from lesionlens.io.dicom.export.masks import Segment, numbered

        last = int(self.case.labels[label].max()) if label in self.case.labels else 0
        if self.outlines is None:
            return [Segment(label, numbered(label, n), self._tracked(label, str(n))) for n in range(1, last + 1)]
        found = []
        for outline in self.outlines.found[label]:
            if not outline.number:
                last += 1
            # Names of findings in a session may hold the reader's; they go into nothing but a digest.
            facts = (str(outline.number),) if outline.number else (self.verdicts.reader, outline.finding)
            name = numbered(label, outline.number or last)
            found.append(Segment(label, name, self._tracked(label, *facts), _MADE[outline.origin]))
        return found

    def _tracked(self, *facts: str) -> str:
        from lesionlens.io.dicom.export.masks import tracking_uid

        return tracking_uid(self.key, self.case.volume.source.sha256, self.case.record["bundle"]["sha256"], *facts)

    def findings(self) -> Iterator[tuple[str, int, Mapping[str, Cell], str]]:
        """Yield class, number among the segments, statistics and verdict of each region."""
        if self.outlines is None:
            for row in region_rows(self.case.regions):
                label, number = str(row["class"]), int(row["label"] or 0)
                yield label, number, row, self.verdicts.of_region.get((label, number), "")
            return
        for label, found in self.outlines.found.items():
            for number, outline in enumerate(found, 1):
                yield label, number, outline.row, self.verdicts.of_finding.get(outline.finding, "")

    @property
    def algorithm(self) -> Algorithm:
        """What made the results."""
        from lesionlens.io.dicom.export.objects import Algorithm

        bundle = self.case.record["bundle"]
        hashes = {"bundle_sha256": bundle["sha256"], "weights_sha256": bundle["weights_sha256"]}
        return Algorithm(bundle["name"], bundle["version"], {name: value for name, value in hashes.items() if value})


def read_job(
    results: Path,
    source: Path,
    folder: Path,
    series: str | int | None,
    identified: bool,
    key: str | None,
    measured: bool,
    progress: Progress,
) -> Job:
    """Read the results of a run and the series that they were made from.

    Raises
    ------
    ReadError
        If they cannot be read, or do not belong together.
    """
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
    job = Job(case, frames, folder, identified, "" if identified else secret)
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
        os.chmod(temporary, 0o600)  # before there is anything to read
        temporary.write_text(found + "\n", encoding="utf-8")
    return found
