"""Outputs that appear complete or not at all.

Work goes to a temporary name in the same folder and is renamed when it is done; any exception, Ctrl-C included, removes
it. Renaming inside one file system is a single step of the operating system.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lesionlens.errors import LesionLensError, OutputError

__all__ = ["PLACE_ERRORS", "atomic_folder", "atomic_path"]

_ALLOW = "Choose another {}, or allow it with --overwrite (overwrite=True in Python)."
_PREFIX = ".partial-"

#: These mean that the place is full, read-only or broken, whoever asked for the write; other OSErrors in a block may
#: come from reading something else and pass unchanged.
PLACE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


@contextmanager
def atomic_path(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (same suffix); rename it to ``path`` when the block ends without error.

    Parameters
    ----------
    path
        The file to make. Its folder must exist.
    overwrite
        Replace an existing file. Off by default: results are never lost silently.

    Raises
    ------
    OutputError
        At once, before the block, if the file exists or its folder is missing or not writable; later if the place is
        full.
    """
    target = Path(path)
    _refuse_existing(target, overwrite=overwrite)
    temporary = target.with_name(f"{_PREFIX}{secrets.token_hex(4)}-{target.name}")
    with _as_output_error(target):
        temporary.touch(exist_ok=False)  # says now, not after minutes of work, that the folder cannot be written
    try:
        with _as_output_error(target, only=PLACE_ERRORS):
            yield temporary
        _refuse_existing(target, overwrite=overwrite)
        with _as_output_error(target):
            _to_disk(temporary)
            temporary.replace(target)
    except BaseException:  # KeyboardInterrupt too
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def atomic_folder(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder; its content becomes ``path`` when the block ends without error.

    A folder that exists already (empty, or with ``overwrite``) keeps its other files: each new file replaces the one of
    its name, and nothing else is touched, so that a mistyped ``--out`` cannot delete anything.

    Parameters
    ----------
    path
        The folder to make. Missing parents are made, and removed again on failure.
    overwrite
        Write into a folder that holds something already.

    Raises
    ------
    OutputError
        At once, before the block, if the folder holds something, is a file or cannot be written; later if the place is
        full.
    """
    if not os.fspath(path):
        raise OutputError("Expected a folder for the results; found an empty text. Give a path.")
    target = Path(path)
    if os.path.lexists(target):
        target = target.resolve()
        _refuse_unsuitable_folder(target, overwrite=overwrite)
        home, made = target, []
    else:
        made = _make_parents(target)
        home = target.parent
    temporary = home / f"{_PREFIX}{secrets.token_hex(4)}"
    try:
        with _as_output_error(target):
            temporary.mkdir()
        with _as_output_error(target, only=PLACE_ERRORS):
            yield temporary
        with _as_output_error(target):
            _settle(temporary, target)
    except BaseException:  # KeyboardInterrupt too
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()
        raise


def _refuse_existing(target: Path, *, overwrite: bool) -> None:
    if os.path.isdir(target):  # unlike Path.is_dir, answers False where it may not look
        raise OutputError(f"Cannot write {target}: a folder has this name. Choose another name.")
    if not overwrite and os.path.lexists(target):
        raise OutputError(f"{target} exists already. {_ALLOW.format('name')}")


def _refuse_unsuitable_folder(target: Path, *, overwrite: bool) -> None:
    if not target.is_dir():
        raise OutputError(f"Cannot write into {target}: it is not a folder. Choose another name.")
    with _as_output_error(target):
        full = any(target.iterdir())
    if full and not overwrite:
        raise OutputError(f"Folder {target} is not empty. {_ALLOW.format('folder')}")


def _make_parents(target: Path) -> list[Path]:
    """Make the missing parents of ``target``; return those that were made, outermost first."""
    missing = [folder for folder in target.parents if not os.path.exists(folder)]
    made: list[Path] = []
    try:
        with _as_output_error(target):
            for folder in reversed(missing):
                folder.mkdir()
                made.append(folder)
    except OutputError:
        for folder in reversed(made):
            folder.rmdir()
        raise
    return made


def _settle(temporary: Path, target: Path) -> None:
    """Give the finished content its final name: one rename for a new folder, one for each file of an existing one."""
    if not target.exists():
        temporary.rename(target)
        return
    for source in sorted(temporary.rglob("*")):
        final = target / source.relative_to(temporary)
        if source.is_dir():
            final.mkdir(exist_ok=True)
        else:
            source.replace(final)
    shutil.rmtree(temporary)


def _to_disk(path: Path) -> None:
    """Make the operating system write the file out, so that a rename never outlives a lost content."""
    descriptor = os.open(path, os.O_RDWR)  # Windows flushes nothing that is open for reading alone
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _as_output_error(target: Path, *, only: set[int] | None = None) -> Iterator[None]:
    try:
        yield
    except LesionLensError:
        raise
    except OSError as error:
        if only is not None and error.errno not in only:
            raise
        reason = error.strerror or str(error)
        raise OutputError(
            f"Cannot write {target}: {reason}. Choose a place that you may write to, on a disk with free space."
        ) from error
