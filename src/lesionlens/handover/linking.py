"""Scans and results of a session on another machine, found by their hashes: names of files and folders may differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lesionlens.errors import LesionLensError, ReadError
from lesionlens.progress import Progress, silent
from lesionlens.review import CaseEntry, Session
from lesionlens.sessions import digest_of, path_from, scans_of

__all__ = ["Found", "find_files", "link_session"]

_RECORD = "record.json"
_ONE_FILE = (".nii", ".nii.gz", ".nrrd", ".mha")
_PAIR = (".hdr", ".img")
# By case: the scan and the results, as far as they were found.
Found = dict[str, tuple[Path | None, Path | None]]


def find_files(cases: Iterable[CaseEntry], folders: Sequence[Path], *, progress: Progress = silent) -> Found:
    """Look for the scans and results of cases in folders and all that lies in them.

    Results are known by the hash of their record, scans by the hash of their files. DICOM is read, but only where a
    scan is still missing after all other files.

    Raises
    ------
    ReadError
        If a folder does not exist.
    """
    for folder in folders:
        if not folder.is_dir():
            raise ReadError(f"There is no folder {folder} to look for scans and results in.")
    wanted = list(cases)
    records = {digest_of(path): path.parent for folder in folders for path in sorted(folder.rglob(_RECORD))}
    results = {entry.id: records.get(entry.pins.get(_RECORD, "")) for entry in wanted}
    missing = {entry.pins["scan"] for entry in wanted if entry.pins.get("scan")}
    inside = {path.resolve() for path in records.values()}
    scans: dict[str, Path] = {}
    for digest, place in _files(folders, inside):
        if digest in missing:
            scans.setdefault(digest, place)
    if missing - scans.keys():
        for digest, place in _series(folders, inside, progress):
            scans.setdefault(digest, place)
            if not missing - scans.keys():
                break
    return {entry.id: (scans.get(entry.pins.get("scan", "")), results[entry.id]) for entry in wanted}


def link_session(session: Session, folders: Sequence[Path], *, progress: Progress = silent) -> dict[str, str]:
    """Say in a session where its scans and results lie here; what is linked already and right stays.

    Returns
    -------
    dict of str
        What is still missing, by case: ``"scan"``, ``"results"`` or ``"scan and results"``.
    """
    home = session.path.resolve().parent
    entries = [session.case(name) for name in session.case_ids]
    found = find_files(entries, folders, progress=progress)
    missing: dict[str, str] = {}
    for entry in entries:
        scan, results = found[entry.id]
        here = path_from(home, scan) if scan else entry.scan
        there = path_from(home, results) if results else entry.results
        if (here, there) != (entry.scan, entry.results):
            session.link(entry.id, scan=here, results=there)
        lacks = [
            word for word, place in (("scan", here), ("results", there)) if not place or not (home / place).exists()
        ]
        if lacks:
            missing[entry.id] = " and ".join(lacks)
    return missing


def _files(folders: Iterable[Path], inside: set[Path]) -> Iterator[tuple[str, Path]]:
    """Yield files that hold one scan, with the hash that a reading of them has; maps in results are none."""
    for path in (path for folder in folders for path in sorted(folder.rglob("*"))):
        name = path.name.lower()
        if path.parent.resolve() in inside or not path.is_file():
            continue
        if name.endswith(_ONE_FILE):
            yield digest_of(path), path
        elif name.endswith(_PAIR[0]) and path.with_suffix(_PAIR[1]).is_file():
            both = path.read_bytes() + path.with_suffix(_PAIR[1]).read_bytes()
            yield hashlib.sha256(both).hexdigest(), path


def _series(folders: Iterable[Path], inside: set[Path], progress: Progress) -> Iterator[tuple[str, Path]]:
    """Yield folders that hold DICOM, with the hash of each scan in them."""
    places = [place for folder in folders for place in (folder, *sorted(folder.rglob("*"))) if place.is_dir()]
    for n, place in enumerate(places):
        progress("Looking for DICOM", n, len(places))
        others = [path for path in place.iterdir() if path.is_file() and not path.name.lower().endswith(_ONE_FILE)]
        if place.resolve() in inside or not others:
            continue
        try:
            for scan in scans_of(place, irregular="as-is"):
                yield scan.source.sha256, place
        except LesionLensError:
            continue  # something else lies there
