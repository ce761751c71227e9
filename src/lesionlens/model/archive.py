"""Safe extraction of bundle archives."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from lesionlens.errors import BundleError

__all__ = ["extract_zip"]

# The largest bundles of the MONAI model zoo hold about 1 GB of weights; more is taken for a bomb.
MAX_TOTAL_BYTES = 4 * 1024**3
MAX_FILES = 10_000
# Weights shrink by a tenth; what unpacks to this many times its size, and more than does no harm, is a bomb.
MOST_TIMES = 200
HARMLESS_BYTES = 256 * 1024**2


def extract_zip(archive: Path, folder: Path) -> None:
    """Extract a zip file below ``folder``; nothing may end up elsewhere.

    Raises
    ------
    BundleError
        If it is no zip file, holds links, absolute or climbing paths, too many files or too many bytes.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = zipped.infolist()
            _check_sizes(archive, members)
            for member in members:
                _extract(zipped, member, archive, folder)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise BundleError(f"{archive} is not a readable zip file of a bundle: {error}.") from None
    except OSError as error:
        raise BundleError(f"{archive} cannot be read: {error.strerror or error}.") from None


def _check_sizes(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    total = sum(member.file_size for member in members)
    if total > MAX_TOTAL_BYTES or len(members) > MAX_FILES:
        raise BundleError(
            f"{archive} unpacks to {total:,} bytes in {len(members):,} files;"
            f" at most {MAX_TOTAL_BYTES:,} bytes in {MAX_FILES:,} files are accepted."
        )
    size = archive.stat().st_size
    if total > max(MOST_TIMES * size, HARMLESS_BYTES):
        raise BundleError(f"{archive} has {size:,} bytes and unpacks to {total:,}, which no bundle does.")


def _extract(zipped: zipfile.ZipFile, member: zipfile.ZipInfo, archive: Path, folder: Path) -> None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise BundleError(f"{archive} holds the unsafe path {member.filename!r}; it is not extracted.")
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BundleError(f"{archive} holds a link or special file, {member.filename!r}; it is not extracted.")
    target = folder.joinpath(*path.parts)
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:  # of two files of one name, which of them is judged must not be a matter of who unpacks them
        sink = target.open("xb")
    except FileExistsError:
        raise BundleError(f"{archive} holds {member.filename!r} twice; it is not extracted.") from None
    with sink, zipped.open(member) as source:
        # The directory's sizes were checked; zipfile stops at the size that the entry states.
        shutil.copyfileobj(source, sink)
