"""The files of a folder, and what a DICOMDIR in it names: that has to be there, and is never looked for elsewhere."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import replace
from pathlib import Path

from lesionlens.errors import ReadError
from lesionlens.io.boundary import counted, named, quiet, reading
from lesionlens.io.dicom.header import DICOMDIR, PYDICOM_ERRORS, read_instance
from lesionlens.io.dicom.parse import parse
from lesionlens.io.dicom.scan import Damaged, Scan, scan
from lesionlens.io.identity import Identities
from lesionlens.progress import Progress, silent

__all__ = ["is_dicomdir", "scan_folder"]

# The standard allows eight folders and names of eight letters; longer ones come from damage.
_LONGEST_NAME = 256

_RECORDS = 0x00041220  # DirectoryRecordSequence

_TODO = "Copy the whole disc or folder again, or give the folder of the scan without its DICOMDIR."


def is_dicomdir(path: Path, identities: Identities | None = None) -> bool:
    """Say whether a DICOM file is an index of others.

    Raises
    ------
    ReadError
        If the file is damaged.
    """
    return read_instance(path, path.name, identities).class_uid == DICOMDIR


def scan_folder(root: Path, *, identities: Identities | None = None, progress: Progress = silent) -> Scan:
    """Read the headers of all files below a folder, and compare what is there with what its DICOMDIRs name.

    Nothing is ever opened because a DICOMDIR names it. Files that one names and that are missing, or lie outside its
    folder, count as damaged: a slice may be among them.

    Parameters
    ----------
    root
        The folder, or a DICOMDIR, which stands for the folder that it lies in.
    identities
        Told what the headers say about the patient.

    Raises
    ------
    ReadError
        If the folder cannot be read.
    """
    folder = root if root.is_dir() else root.parent
    found = scan(folder, identities=identities, progress=progress)
    present = {one.name for one in found.instances} | {one.name for one in found.damaged} | set(found.others)
    folded = {name.casefold() for name in present}  # discs are mounted with names in either case
    lost = [one for index in found.indices for one in _lost(folder / index, index, folded)]
    return replace(found, damaged=(*found.damaged, *lost))


def _lost(path: Path, index: str, present: Container[str]) -> Iterator[Damaged]:
    """Yield what a DICOMDIR names and what is not there; ``present`` are the names below the folder that was given."""
    beside = index.rpartition("/")[0]
    unreadable = 0
    outside: list[str] = []
    missing: list[str] = []
    try:
        for parts in _referenced(path, index):
            told = "/".join(parts)
            name = f"{beside}/{told}" if beside else told
            if len(told) > _LONGEST_NAME or not told.isprintable():
                unreadable += 1
            elif _leads_out(path.parent, parts):
                outside.append(name)
            elif name.casefold() not in present:
                missing.append(name)
    except ReadError as error:
        yield Damaged(index, str(error))
    if unreadable:
        yield Damaged(index, f"{index} names {counted(unreadable, 'file')} in a way that cannot be read. {_TODO}")
    if outside:
        lie = "lies" if len(outside) == 1 else "lie"
        yield Damaged(index, f"{index} names {named(outside)}, which {lie} outside its folder: refused. {_TODO}")
    if missing:
        are = "is" if len(missing) == 1 else "are"
        yield Damaged(index, f"{index} names {named(missing)}, which {are} missing. {_TODO}")


def _referenced(path: Path, name: str) -> Iterator[tuple[str, ...]]:
    """Yield the names of the files in a DICOMDIR, folder by folder."""
    failure = f"{name} is damaged"
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
