"""A zip of a scan: unpacked into a temporary folder, within limits that are checked before and while writing.

Names in an archive are not trusted: one that leads out of the folder, a link, a password or a bomb refuses the whole.
"""

from __future__ import annotations

import lzma
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from lesionlens.errors import ReadError
from lesionlens.io.boundary import counted, named, reading
from lesionlens.io.dicom.scan import has_preamble, looks_like_dicom
from lesionlens.io.limits import ALWAYS_BYTES, MOST_RATIO
from lesionlens.io.series import ITK_SUFFIXES, NIFTI_SUFFIXES
from lesionlens.progress import Progress, silent

__all__ = ["is_archive", "unpacked"]

# Every zip begins with the first letters of its author; one without any file, which could be read all the same, not.
_MAGIC = b"PK\x03\x04"

# More than a day of any scanner, and less than what fills a disk.
MOST_BYTES = 16 * 1024**3

# Files of a long time series, one for each slice.
MOST_FILES = 100_000

_BLOCK = 1 << 20

# Headers of NIfTI pairs, which come with their image.
_HEADERS = (".hdr", ".hdr.gz")


def is_archive(path: Path) -> bool:
    """Say from its first bytes whether a file is a zip.

    Raises
    ------
    ReadError
        If the file cannot be opened.
    """
    with reading(f"Cannot open {path.name}", todo="Check its permissions."), path.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC


@contextmanager
def unpacked(path: Path, *, progress: Progress = silent) -> Iterator[Path]:
    """Unpack a zip for as long as the block lasts; gives the folder, or the only image file in it.

    Errors that leave the block speak of the archive, not of the temporary folder.

    Raises
    ------
    ReadError
        If the archive is damaged, hostile or too large, or holds several image files.
    """
    with tempfile.TemporaryDirectory(prefix="lesionlens-") as temporary:
        folder = Path(temporary, path.name)
        folder.mkdir()
        try:
            _unpack(path, folder, progress)
            yield _content(folder, path.name)
        except ReadError as error:
            error.args = (str(error).replace(f"{temporary}/", "").replace(temporary, path.name), *error.args[1:])
            raise


def _unpack(path: Path, folder: Path, progress: Progress) -> None:
    todo = "Unpack it by hand and give the folder, or pack it again."
    failure = f"Cannot unpack {path.name}"
    with reading(failure, zipfile.BadZipFile, lzma.LZMAError, todo=todo), zipfile.ZipFile(path) as archive:
        files = [entry for entry in archive.infolist() if not entry.is_dir()]
        reason = _refused(files, path.stat().st_size)
        if reason:
            raise ReadError(f"{failure}: {reason}. {todo}")
        for done, entry in enumerate(files):
            progress("Unpacking", done, len(files))
            target = folder.joinpath(*PurePosixPath(entry.filename).parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(archive, entry, target)
        progress("Unpacking", len(files), len(files))


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """Write one file; never more bytes than the archive's directory promised, which were counted before."""
    left = entry.file_size
    with archive.open(entry) as source, target.open("xb") as stream:
        while block := source.read(_BLOCK):
            left -= len(block)
            if left < 0:
                raise ReadError(f"{target.name} is longer than the archive promises")
            stream.write(block)


def _refused(files: Sequence[zipfile.ZipInfo], packed: int) -> str:
    """Say why an archive is not unpacked; empty when it may be."""
    size = sum(entry.file_size for entry in files)
    if not files:
        return "it holds no files"
    if len(files) > MOST_FILES:
        return f"it holds {len(files)} files, more than {MOST_FILES}"
    if size > MOST_BYTES:
        return f"it would unpack to {size} bytes, more than {MOST_BYTES}"
    if size > ALWAYS_BYTES and size > MOST_RATIO * packed:
        return f"it would unpack to {size / max(packed, 1):.0f} times its size, more than {MOST_RATIO}"
    for entry in files:
        name = PurePosixPath(entry.filename)
        if stat.S_ISLNK(entry.external_attr >> 16):
            return "it holds a link"
        if entry.flag_bits & 1:
            return "it is protected by a password"
        if name.is_absolute() or ".." in name.parts or not set(entry.filename).isdisjoint("\\:\0"):
            return "it holds a file whose name leads out of it"
    return ""


def _content(folder: Path, name: str) -> Path:
    """Return the only file of another format than DICOM where there is one, else the folder."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.name.startswith(".")]
    images = [
        file
        for file in files
        if file.name.lower().endswith(NIFTI_SUFFIXES + ITK_SUFFIXES)
        and not file.name.lower().endswith(_HEADERS)
        and not has_preamble(file, file.name)
    ]
    if not images:
        return folder
    if len(images) > 1:
        listed = named([file.relative_to(folder).as_posix() for file in images])
        raise ReadError(f"{name} holds {counted(len(images), 'image file')}: {listed}. Unpack it and give one of them.")
    if any(looks_like_dicom(file, file.name) for file in files if file not in images):
        raise ReadError(f"{name} holds DICOM beside another image file. Unpack it and give the one that is meant.")
    return images[0]
