"""Find the DICOM files of a folder, whatever they are called, and read their headers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lesionlens.errors import ReadError
from lesionlens.io.boundary import reading
from lesionlens.io.dicom_header import Instance, read_instance
from lesionlens.progress import Progress, silent

__all__ = ["Damaged", "Scan", "looks_like_dicom", "scan"]

# Media Storage Directory: an index of files that are found anyway.
_DICOMDIR = "1.2.840.10008.1.3.10"

# A file without preamble begins with an element of one of these groups, little endian, at a low element number.
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")


@dataclass(frozen=True)
class Damaged:
    """A DICOM file whose header cannot be read."""

    name: str
    reason: str


@dataclass(frozen=True)
class Scan:
    """What a folder holds.

    Parameters
    ----------
    instances
        Readable headers, ordered by name.
    damaged
        DICOM files that cannot be read; a slice may be among them.
    others
        Names of the files that are not DICOM.
    """

    instances: tuple[Instance, ...]
    damaged: tuple[Damaged, ...]
    others: tuple[str, ...]


def scan(root: Path, files: Sequence[Path] | None = None, *, progress: Progress = silent) -> Scan:
    """Read the headers of all DICOM files below a folder.

    Parameters
    ----------
    root
        The folder; names are relative to it.
    files
        Look at these only.

    Raises
    ------
    ReadError
        If the folder or a file in it cannot be opened: leaving a slice out silently would be worse.
    """
    paths = _all_files(root) if files is None else list(files)
    instances, damaged, others = [], [], []
    for done, path in enumerate(paths):
        progress("Reading headers", done, len(paths))
        name = path.relative_to(root).as_posix()
        if not looks_like_dicom(path, name):
            others.append(name)
            continue
        try:
            instance = read_instance(path, name)
        except ReadError as error:
            damaged.append(Damaged(name, str(error)))
            continue
        if instance.class_uid != _DICOMDIR:
            instances.append(instance)
    progress("Reading headers", len(paths), len(paths))
    return Scan(tuple(instances), tuple(damaged), tuple(others))


def looks_like_dicom(path: Path, name: str) -> bool:
    """Say from its first bytes whether a file is DICOM.

    Raises
    ------
    ReadError
        If the file cannot be opened.
    """
    with reading(f"Cannot open {name}", todo="Check its permissions."), path.open("rb") as stream:
        start = stream.read(132)
    if start[128:132] == b"DICM":
        return True
    # Without preamble: group 2 or 8, an element below 0x20, then a value representation or a short length.
    return len(start) >= 8 and start[:2] in _FIRST_GROUPS and start[2] < 0x20 and start[3] == 0 and _short(start[4:8])


def _short(field: bytes) -> bool:
    """Say whether four bytes are an explicit value representation or a plausible length."""
    return (field[:2].isalpha() and field[:2].isupper()) or int.from_bytes(field, "little") <= 64


def _all_files(root: Path) -> list[Path]:
    """Return all regular files below a folder, ordered by name; links to folders are not followed (they can loop)."""

    def refuse(error: OSError) -> None:
        raise ReadError(f"Cannot open folder {error.filename}: {error.strerror}. Check its permissions.") from error

    found = []
    for folder, _, names in os.walk(root, onerror=refuse):
        found += [Path(folder, name) for name in names]
    return sorted(path for path in found if path.is_file())
