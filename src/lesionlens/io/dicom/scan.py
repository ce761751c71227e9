"""Find the DICOM files of a folder, whatever they are called, and read their headers.

A slice that is lost at the end of a stack is missed by nobody, so a file counts as damaged as soon as it may have been
a slice: empty, blank where DICOM begins, named like the scan's files, or an image that lacks what every image has.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lesionlens.errors import ReadError
from lesionlens.io.boundary import reading
from lesionlens.io.dicom.header import DICOMDIR, Instance, read_instance
from lesionlens.io.identity import Identities
from lesionlens.progress import Progress, silent

__all__ = ["Damaged", "Scan", "has_preamble", "looks_like_dicom", "scan"]

# How DICOM files are called where they are called anything. On a Mac, "._name" beside "name" holds no part of it.
_SUFFIXES = frozenset({".dcm", ".dicom", ".dic", ".ima"})
_NUMBERED = re.compile(r"[0-9a-fA-F]*[0-9][0-9a-fA-F]*")

# A DICOM file begins with a preamble, usually blank, and the letters DICM.
_PREAMBLE, _START = 128, 132

# A file without preamble begins with an element of one of these groups, little endian, at a low element number.
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")


@dataclass(frozen=True)
class Damaged:
    """A DICOM file, or one that may have been, that cannot be read; the reason says what to do."""

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
        Names of the files that are not DICOM, or only an index of DICOM files; of links to folders with a slash.
    indices
        Those of the others that are an index (DICOMDIR).
    """

    instances: tuple[Instance, ...]
    damaged: tuple[Damaged, ...]
    others: tuple[str, ...]
    indices: tuple[str, ...] = ()


def scan(
    root: Path,
    files: Sequence[Path] | None = None,
    *,
    identities: Identities | None = None,
    progress: Progress = silent,
) -> Scan:
    """Read the headers of all DICOM files below a folder.

    Parameters
    ----------
    root
        The folder; names are relative to it.
    files
        Look at these only.
    identities
        Told what the headers say about the patient.

    Raises
    ------
    ReadError
        If the folder or a file in it cannot be opened: leaving a slice out silently would be worse.
    """
    paths = _all_files(root) if files is None else list(files)
    instances: list[Instance] = []
    damaged: list[Damaged] = []
    strangers: dict[str, Path] = {}
    indices: list[str] = []
    for done, path in enumerate(paths):
        progress("Reading headers", done, len(paths))
        name = path.relative_to(root).as_posix() + ("/" if path.is_dir() else "")
        if not path.is_file() or not looks_like_dicom(path, name):
            strangers[name] = path
            continue
        try:
            instance = read_instance(path, name, identities)
        except ReadError as error:
            damaged.append(Damaged(name, str(error)))
            continue
        if instance.class_uid == DICOMDIR:
            indices.append(name)
        else:
            instances.append(instance)
    progress("Reading headers", len(paths), len(paths))
    lost = _lost(strangers, instances)
    others = [*indices, *(name for name in strangers if name not in {one.name for one in lost})]
    return Scan(tuple(instances), (*damaged, *lost, *_without_series(instances)), tuple(sorted(others)), tuple(indices))


def _lost(strangers: Mapping[str, Path], instances: Sequence[Instance]) -> list[Damaged]:
    """Return those of the other files that may have been slices; none where nothing else is DICOM."""
    if not instances:
        return []
    patterns = {_pattern(instance.name) for instance in instances}
    found = []
    for name, path in strangers.items():
        reason = _why_lost(path, name, patterns)
        if reason:
            todo = "Copy or export it again, or take it out of the folder."
            found.append(Damaged(name, f"{name} may be a damaged slice: {reason}. {todo}"))
    return found


def _why_lost(path: Path, name: str, patterns: Container[str]) -> str:
    """Say why a file that does not begin like DICOM may have been a slice; empty where it was none."""
    if path.name.startswith("."):
        return ""
    named_alike = path.suffix.lower() in _SUFFIXES or _pattern(name) in patterns
    if not path.is_file():
        return "it is a link to nothing, or no file at all" if named_alike else ""
    start = _first_bytes(path, name)
    if not start:
        return "it is empty (0 bytes)"
    if not any(start[:_PREAMBLE]):
        return f"it begins with {min(len(start), _PREAMBLE)} zeros like DICOM and does not go on like it"
    if named_alike:
        return "it is named like a DICOM file but does not begin like one"
    return ""


def _pattern(name: str) -> str:
    """Return what the names of a series' files share: the name with its numbers, decimal or hexadecimal, blanked."""
    return _NUMBERED.sub("0", name.rpartition("/")[2]).casefold()


def _without_series(instances: Sequence[Instance]) -> list[Damaged]:
    """Return the images that do not say which series they are of, where others do; in a scan without, all lack it."""
    images = [instance for instance in instances if instance.rows]
    if not any(instance.series_uid for instance in images):
        return []
    todo = "Export it again, or take it out of the folder."
    return [
        Damaged(image.name, f"DICOM file {image.name} is damaged: it has no usable SeriesInstanceUID. {todo}")
        for image in images
        if not image.series_uid
    ]


def looks_like_dicom(path: Path, name: str) -> bool:
    """Say from its first bytes whether a file is DICOM.

    Raises
    ------
    ReadError
        If the file cannot be opened.
    """
    start = _first_bytes(path, name)
    if start[_PREAMBLE:] == b"DICM":
        return True
    # Without preamble: group 2 or 8, an element below 0x20, then a value representation or a short length.
    return len(start) >= 8 and start[:2] in _FIRST_GROUPS and start[2] < 0x20 and start[3] == 0 and _short(start[4:8])


def has_preamble(path: Path, name: str) -> bool:
    """Say from its first bytes whether a file is DICOM and nothing else.

    A NIfTI header may have these letters in its free text, but not the zeros before them: its first bytes are its size.

    Raises
    ------
    ReadError
        If the file cannot be opened.
    """
    start = _first_bytes(path, name)
    return start[_PREAMBLE:] == b"DICM" and not any(start[:_PREAMBLE])


def _first_bytes(path: Path, name: str) -> bytes:
    with reading(f"Cannot open {name}", todo="Check its permissions."), path.open("rb") as stream:
        return stream.read(_START)


def _short(field: bytes) -> bool:
    """Say whether four bytes are an explicit value representation or a plausible length."""
    return (field[:2].isalpha() and field[:2].isupper()) or int.from_bytes(field, "little") <= 64


def _all_files(root: Path) -> list[Path]:
    """Return what is no folder below a folder, ordered by name.

    Links to folders are among it, so that they are named: they can loop and are not followed, but may hold slices.
    """

    def refuse(error: OSError) -> None:
        name = os.path.relpath(error.filename, root)
        raise ReadError(f"Cannot open folder {name}: {error.strerror}. Check its permissions.") from None

    found = []
    for folder, folders, names in os.walk(root, onerror=refuse):
        found += [Path(folder, name) for name in names]
        found += [Path(folder, name) for name in folders if os.path.islink(Path(folder, name))]
    return sorted(found)
