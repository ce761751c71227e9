"""A DICOMDIR given as the path: the folder that it stands in is read, and what it names has to be there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lesionlens.io.boundary import quiet, reading
from lesionlens.io.dicom.header import DICOMDIR, PYDICOM_ERRORS, read_instance
from lesionlens.io.dicom.parse import parse
from lesionlens.io.dicom.scan import Damaged, Scan, scan
from lesionlens.io.identity import Identities
from lesionlens.progress import Progress, silent

__all__ = ["is_dicomdir", "scan_dicomdir"]

# The standard allows eight folders and names of eight letters; longer ones come from damage.
_LONGEST_NAME = 256

_RECORDS = 0x00041220  # DirectoryRecordSequence

_TODO = "Copy the whole disc or folder again, or give the folder of the scan."


def is_dicomdir(path: Path, identities: Identities | None = None) -> bool:
    """Say whether a DICOM file is an index of others.

    Raises
    ------
    ReadError
        If the file is damaged.
    """
    return read_instance(path, path.name, identities).class_uid == DICOMDIR


def scan_dicomdir(path: Path, *, identities: Identities | None = None, progress: Progress = silent) -> Scan:
    """Read the headers of all files below the folder of a DICOMDIR.

    Nothing outside that folder is ever opened. Files that the DICOMDIR names and that are missing, or lie elsewhere,
    count as damaged: a slice may be among them.

    Raises
    ------
    ReadError
        If the folder, or the DICOMDIR, cannot be read.
    """
    found = scan(path.parent, identities=identities, progress=progress)
    present = {one.name for one in found.instances} | {one.name for one in found.damaged} | set(found.others)
    folded = {name.casefold() for name in present}  # discs are mounted with names in either case
    lost = []
    for parts in _referenced(path):
        name = "/".join(parts)
        if len(name) > _LONGEST_NAME or not name.isprintable():
            lost.append(Damaged(path.name, f"{path.name} names a file in a way that cannot be read. {_TODO}"))
        elif _leads_out(path.parent, parts):
            lost.append(Damaged(name, f"{path.name} names {name}, which lies outside its folder: refused. {_TODO}"))
        elif name.casefold() not in folded:
            lost.append(Damaged(name, f"{path.name} names {name}, which is missing. {_TODO}"))
    return replace(found, damaged=(*found.damaged, *lost))


def _referenced(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield the names of the files in a DICOMDIR, folder by folder."""
    failure = f"DICOMDIR {path.name} is damaged"
    with reading(failure, *PYDICOM_ERRORS, todo=_TODO), quiet():
        with path.open("rb") as stream:
            index = parse(stream, tags=[_RECORDS])
        for record in index.get("DirectoryRecordSequence") or []:
            value = record.get("ReferencedFileID")
            if value:
                yield (value,) if isinstance(value, str) else tuple(str(part) for part in value)


def _leads_out(folder: Path, parts: tuple[str, ...]) -> bool:
    if any(not set(part).isdisjoint("/\\:\0") for part in parts):
        return True
    try:
        return not folder.joinpath(*parts).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # links that lead to each other
        return True
