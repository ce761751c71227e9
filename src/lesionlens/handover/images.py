"""What the cases of a session show: scans, maps and regions, read only where they are what the session was made of."""

from __future__ import annotations

from pathlib import Path

from lesionlens.errors import ReadError
from lesionlens.heatmap import slug
from lesionlens.io import read
from lesionlens.results import CaseResult, read_case, read_record
from lesionlens.review import Session
from lesionlens.sessions import changed_files, reading_of, scans_of
from lesionlens.volume import Array

__all__ = ["read_images", "read_regions"]


def read_images(session: Session, case: str) -> CaseResult:
    """Read the scan and the results of a case.

    Raises
    ------
    ReadError
        If they are missing, cannot be read, or are not those of the session.
    """
    folder = _results(session, case)
    entry = session.case(case)
    place = session.path.resolve().parent / entry.scan
    if not entry.scan or not place.exists():
        raise ReadError(f"The scan of {case} is not here; name its folder with 'lesionlens review link'.")
    for scan in scans_of(place, **reading_of(read_record(folder))):
        if scan.source.sha256 == entry.pins.get("scan"):
            return read_case(folder, scan)
    raise ReadError(f"The scan of {case} is not the one that the session was made of; link the right one.")


def read_regions(session: Session, case: str) -> dict[str, Array]:
    """Read the model's regions of a case by class, without the scan.

    Returns
    -------
    dict of numpy.ndarray
        (i, j, k) integers that number the regions; of one shape.

    Raises
    ------
    ReadError
        If they are missing or not those of the session.
    """
    folder = _results(session, case)
    classes = read_record(folder)["bundle"]["classes"]
    found = {name: folder / f"regions_{slug(name)}.nii.gz" for name in classes}
    return {name: read(path).array for name, path in found.items() if path.exists()}


def _results(session: Session, case: str) -> Path:
    """Return the folder with the results of a case, if nothing in it has changed."""
    entry = session.case(case)
    folder = session.path.resolve().parent / entry.results
    if not entry.results or not folder.is_dir():
        raise ReadError(f"The results of {case} are not here; name their folder with 'lesionlens review link'.")
    if changed := changed_files(session, case):
        raise ReadError(f"Of {case}, {', '.join(changed)} changed or went missing since the session was made.")
    return folder
