"""The results of a run as DICOM objects, for archives, viewers and planning systems.

What lies where and how it is written is in ``io.dicom.export``; here the results are taken from their folder, matched
with the series that they were made from, and handed over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from lesionlens import __version__
from lesionlens.dicom_export.job import Job, read_job
from lesionlens.dicom_export.writers import WRITERS
from lesionlens.errors import InputError, LesionLensError, OutputError, unknown_name
from lesionlens.handover.verdicts import Verdicts, outlines_on, verdicts_on
from lesionlens.io.atomic import atomic_folder
from lesionlens.progress import Progress, silent
from lesionlens.results import RESEARCH_USE, read_record
from lesionlens.seals import file_hashes, hash_file, sealed_text

if TYPE_CHECKING:
    from lesionlens.io.dicom.export.objects import Place

__all__ = ["DEFAULT_FORMATS", "DicomExport", "DicomFormat", "export_dicom"]

DicomFormat = Literal["seg", "fractional", "probability", "attribution", "sr", "rtstruct", "key-images"]
DEFAULT_FORMATS: tuple[DicomFormat, ...] = ("seg", "probability", "attribution", "sr")

#: The file that seals the objects, and the version of its layout.
SEAL_FILE: Final = "export.json"
SEAL_SCHEMA: Final = 1

_PSEUDONYMS = (
    "Patient and UIDs have pseudonyms; on the source itself, programs show the objects only where they accept another"
    " frame of reference (--other-frame)."
)

# What the new series are called, and their numbers: far above those of scanners.
_SERIES: dict[DicomFormat, tuple[str, int]] = {
    "seg": ("regions", 9001),
    "fractional": ("probability by segment", 9002),
    "probability": ("probability maps", 9003),
    "attribution": ("maps that explain", 9004),
    "sr": ("findings", 9005),
    "rtstruct": ("contours", 9006),
    "key-images": ("key images", 9007),
}


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
        Session in which the results were judged, and whose verdicts the report is to hold. Regions are written as
        that reader left them.
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
        job = read_job(Path(results), Path(source), folder, series, identified, key, "sr" in wanted, progress)
        left = (
            outlines_on(Path(session), Path(results), judged.reader, job.case) if session and judged.changed else None
        )
        job.judge(judged, left)
        tasks = [(one, task) for one in wanted for task in WRITERS[one](job, _places(job, one))]
        for done, (_, task) in enumerate(tasks):
            progress("Writing DICOM", done, len(tasks))
            task()
        progress("Writing DICOM", len(tasks), len(tasks))
        if not job.files:
            raise OutputError(f"There is nothing to write: {' '.join(job.notes)}")
        _seal(Path(results), folder, wanted, identified)
    return DicomExport(tuple(job.files), (*job.notes, *(() if identified else (_PSEUDONYMS,))))


def _seal(results: Path, folder: Path, formats: Sequence[DicomFormat], identified: bool) -> None:
    """Write the hashes of the objects, and of what they rest on; nothing in it leads to a patient."""
    content = {
        "schema_version": SEAL_SCHEMA,
        "notice": RESEARCH_USE,
        "lesionlens": __version__,
        "formats": list(formats),
        "identified": identified,
        "chain": read_record(results).get("chain"),
        "record": hash_file(results / "record.json"),
        "files": file_hashes(folder, [path.name for path in folder.iterdir()]),
    }
    (folder / SEAL_FILE).write_text(sealed_text(content), encoding="utf-8")


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


def _places(job: Job, form: DicomFormat) -> Callable[[int], Place]:
    """Return what gives the objects of one format their series and number."""
    from lesionlens.io.dicom.export.objects import NewSeries, Place

    new = NewSeries(*_SERIES[form])
    return lambda instance: Place(job.frames, new, instance)
