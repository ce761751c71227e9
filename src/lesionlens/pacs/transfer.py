"""Find, get and send: what is done with an archive, whichever of the two protocols it speaks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lesionlens.errors import PacsError, ReadError
from lesionlens.io.atomic import atomic_folder
from lesionlens.io.boundary import quiet, reading
from lesionlens.io.reader import existing_path, is_dicom
from lesionlens.pacs.address import Address, SeriesAddress, digest, parse_series
from lesionlens.pacs.connection import Archive, connected
from lesionlens.pacs.query import (
    SERIES_FIELDS,
    STUDY_FIELDS,
    FoundSeries,
    FoundStudy,
    Query,
    described,
    series_of,
    uid_of,
)
from lesionlens.pacs.receiving import Arriving
from lesionlens.pacs.waiting import stoppable
from lesionlens.progress import Progress, silent

if TYPE_CHECKING:
    from lesionlens.io.identity import Identities

__all__ = [
    "DEFAULT_LIMIT",
    "Found",
    "Sent",
    "fetch_all",
    "fetch_series",
    "find_series",
    "find_studies",
    "listed_images",
    "send_files",
]

# Enough for a batch; whoever wants more says so.
DEFAULT_LIMIT = 1000


@dataclass(frozen=True)
class Found:
    """What an archive has.

    Parameters
    ----------
    series
        What was found; empty where studies were looked for.
    studies
        Those of the series, or that were looked for.
    more
        Whether there are more than were wanted.
    """

    series: tuple[FoundSeries, ...]
    studies: tuple[FoundStudy, ...]
    more: bool = False


@dataclass(frozen=True)
class Sent:
    """How many files an archive has stored."""

    files: tuple[Path, ...]


def find_series(
    address: Address,
    query: Query,
    *,
    limit: int = DEFAULT_LIMIT,
    identified: bool = False,
    progress: Progress = silent,
) -> Found:
    """Find series in an archive.

    Parameters
    ----------
    address
        The archive.
    query
        What is looked for.
    limit
        No more than so many.
    identified
        Say who they are of.
    progress
        Called as studies are looked into.

    Raises
    ------
    PacsError
        If it cannot be reached, refuses, or answers what cannot be understood.
    """

    def work(archive: Archive, said: Progress) -> Found:
        found: list[FoundSeries] = []
        for one in _series(archive, address, query, identified=identified):
            if len(found) == limit:
                return Found(tuple(found), _studies_of(found), more=True)
            found.append(one)
            said("Searching", len(found), 0)
        return Found(tuple(found), _studies_of(found))

    return stoppable(address, "Searching", work, progress)


def find_studies(
    address: Address,
    query: Query,
    *,
    limit: int = DEFAULT_LIMIT,
    identified: bool = False,
    progress: Progress = silent,
) -> Found:
    """Find studies in an archive; see :func:`find_series`."""

    def work(archive: Archive, said: Progress) -> Found:
        found: list[FoundStudy] = []
        for dataset in archive.find("study", query.study_keys, STUDY_FIELDS):
            if query.fits(dataset):
                if len(found) == limit:
                    return Found((), tuple(found), more=True)
                found.append(described(dataset, identified=identified)[0])
                said("Searching", len(found), 0)
        return Found((), tuple(found))

    return stoppable(address, "Searching", work, progress)


def fetch_series(
    series: SeriesAddress | str, out: Path | str, *, overwrite: bool = False, progress: Progress = silent
) -> Path:
    """Bring a series into a folder, which is there when all of it is.

    Parameters
    ----------
    series
        Which, as its URL or taken apart.
    out
        Folder to make.
    overwrite
        Write into a folder that holds files.
    progress
        Called with each image; raise ``Cancelled`` from it to stop.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    PacsError
        If the archive cannot be reached, refuses, or sends less or else than it lists.
    OutputError
        If the folder holds something, or cannot be written.
    """
    wanted = parse_series(series) if isinstance(series, str) else series
    with atomic_folder(out, overwrite=overwrite) as folder:

        def work(archive: Archive, said: Progress) -> None:
            listed = _images(archive, wanted)
            arriving = Arriving(folder, wanted.series, listed, said)
            archive.fetch(wanted.study, wanted.series, list(listed.values()), arriving)
            arriving.check()

        stoppable(wanted.address, "Fetching", work, progress)
    return Path(out)


def fetch_all(
    urls: Mapping[str, str], out: Path, *, overwrite: bool = False, progress: Progress = silent
) -> tuple[str, ...]:
    """Bring series into a folder, each into one of its name; those that are there are whole, and stay.

    Parameters
    ----------
    urls
        Of the series, by name.
    out
        The folder.
    overwrite
        Bring also those again that are there.
    progress
        Called with each series, and each image.

    Returns
    -------
    tuple of str
        Names of those that were brought.

    Raises
    ------
    PacsError, OutputError
        As :func:`fetch_series`; those that came before stay.
    """
    wanted = [name for name in urls if overwrite or not (out / name).is_dir()]
    for done, name in enumerate(wanted):
        progress("Series", done, len(wanted))
        fetch_series(urls[name], out / name, overwrite=overwrite, progress=progress)
    progress("Series", len(wanted), len(wanted))
    return tuple(wanted)


def listed_images(series: SeriesAddress | str) -> tuple[str, ...]:
    """Return the SOPInstanceUIDs of the images that an archive lists of a series, in their order as texts."""
    wanted = parse_series(series) if isinstance(series, str) else series
    with connected(wanted.address) as archive:
        return tuple(sorted(_images(archive, wanted)))


def send_files(address: Address, paths: Iterable[Path | str], *, progress: Progress = silent) -> Sent:
    """Store DICOM files in an archive.

    Parameters
    ----------
    address
        The archive.
    paths
        Files, and folders of them.
    progress
        Called with each; raise ``Cancelled`` from it to stop. What is stored by then stays there.

    Raises
    ------
    ReadError
        If one of the files is no DICOM; then none is sent.
    PacsError
        If the archive cannot be reached or refuses one; the message says how many it has.
    """
    files = _dicom_files(paths)
    sent: list[Path] = []
    progress("Sending", 0, len(files))

    def work(archive: Archive, said: Progress) -> None:
        for path in archive.store(files):
            sent.append(path)
            said("Sending", len(sent), len(files))

    try:
        stoppable(address, "Sending", work, progress)
    except PacsError as error:
        if sent:
            raise PacsError(f"{error} It has stored {len(sent)} of {len(files)} files.", why=error.why) from None
        raise
    return Sent(tuple(sent))


def _series(archive: Archive, address: Address, query: Query, *, identified: bool) -> Iterator[FoundSeries]:
    keys = query.study_keys
    if query.series and not query.study:  # one question more, in the place of one for each study
        told = ("StudyInstanceUID", "SeriesInstanceUID")
        one = next(iter(archive.find("series", {"SeriesInstanceUID": query.series}, told)), None)
        if one is None:
            return
        keys = {**keys, "StudyInstanceUID": uid_of(one, "StudyInstanceUID")}
    for answer in archive.find("study", keys, STUDY_FIELDS):
        if query.fits(answer):
            study, who = described(answer, identified=identified)
            yield from _of_study(archive, address, query, study, who)


def _of_study(
    archive: Archive, address: Address, query: Query, study: FoundStudy, who: Identities
) -> Iterator[FoundSeries]:
    keys = {"StudyInstanceUID": study.uid, **query.series_keys}
    for seen, dataset in enumerate(archive.find("series", keys, SERIES_FIELDS), start=1):
        if query.fits(dataset):
            uid = uid_of(dataset, "SeriesInstanceUID")
            yield series_of(dataset, study, who, address.series(study.uid, uid))
        if seen == study.n_series:  # there are no more: it need not be asked for a further page
            return


def _images(archive: Archive, wanted: SeriesAddress) -> dict[str, str]:
    """Return the SOPInstanceUID of each image that is listed, and of which class it is."""
    keys = {"StudyInstanceUID": wanted.study, "SeriesInstanceUID": wanted.series}
    told = ("SOPInstanceUID", "SOPClassUID")
    found = {
        uid_of(one, "SOPInstanceUID"): str(one.get("SOPClassUID") or "") for one in archive.find("image", keys, told)
    }
    if not found:
        raise PacsError(
            f"{wanted.address.name} lists no images of the series {digest(wanted.series)}; search for it again.",
            why="missing",
        )
    return found


def _studies_of(series: Sequence[FoundSeries]) -> tuple[FoundStudy, ...]:
    return tuple({one.study.uid: one.study for one in series}.values())


def _dicom_files(paths: Iterable[Path | str]) -> list[Path]:
    found: list[Path] = []
    for path in map(existing_path, paths):
        if path.is_dir():
            below = sorted(Path(folder, name) for folder, _, names in os.walk(path) for name in names)
            found += [one for one in below if is_dicom(one)]
        elif is_dicom(path):
            found.append(path)
        else:
            raise ReadError(f"{path.name} is no DICOM file; nothing was sent.")
    for path in found:
        _require_whole(path)
    if not found:
        raise ReadError("There is no DICOM file to send.")
    return found


def _require_whole(path: Path) -> None:
    from lesionlens.io.dicom.parse import parse

    with quiet(), reading(f"{path.name} cannot be sent", todo="Nothing was sent."), path.open("rb") as stream:
        header = parse(stream, stop_before_pixels=True)
        if not header.get("SOPInstanceUID") or not header.get("SOPClassUID") or not header.file_meta.TransferSyntaxUID:
            raise ReadError(f"{path.name} lacks what every DICOM object has; nothing was sent.")
