"""What the dock *Archive* does in the background: no Qt, no viewer."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from lesionlens.dicom_export import export_dicom
from lesionlens.errors import LesionLensError
from lesionlens.pacs import Found, Query, archive, fetch_series, find_series, named_archives, send_files
from lesionlens.pacs.credentials import Credentials, remember
from lesionlens.progress import Progress
from lesionlens.results import CaseResult, write_case

__all__ = ["archive_names", "fetch", "log_in", "search", "send_results"]

# More rows than this nobody looks through; the dock says that there are more.
_MOST_ROWS = 500


def archive_names() -> list[str]:
    """Return the archives that have names; of a file that cannot be read none, as an address can still be typed."""
    try:
        return list(named_archives())
    except LesionLensError:
        return []


def search(place: str, query: Query, identified: bool, progress: Progress) -> Found:
    """Find series."""
    return find_series(archive(place), query, limit=_MOST_ROWS, identified=identified, progress=progress)


def fetch(url: str, folder: Path, progress: Progress) -> Path:
    """Bring a series into a folder; one that is there is whole, and stays."""
    return folder if folder.is_dir() else fetch_series(url, folder, progress=progress)


def send_results(result: CaseResult, source: Path, place: str, identified: bool, progress: Progress) -> int:
    """Write results as DICOM objects on the series that they are of, and store them; return how many."""
    with TemporaryDirectory(prefix="lesionlens-") as folder:
        results = write_case(result, Path(folder) / "results", progress=progress)
        export_dicom(results, source, Path(folder) / "objects", identified=identified, progress=progress)
        return len(send_files(archive(place), [Path(folder) / "objects"], progress=progress).files)


def log_in(place: str, user: str, password: str) -> None:
    """Keep user and password of an archive in the keyring of the system."""
    remember(archive(place), Credentials(user, password))
