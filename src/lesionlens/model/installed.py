"""Bundles that a person added, in the user's data folder: called by a name, as those that ship with LesionLens.

The hash of the files is pinned when a bundle is added; one that has changed since does not load.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lesionlens.errors import BundleError, OutputError, unknown_name
from lesionlens.heatmap import slug
from lesionlens.model.archive import MAX_FILES, MAX_TOTAL_BYTES
from lesionlens.model.catalogue import (
    BundleInfo,
    bundle_files,
    describe,
    embedded_root,
    hash_files,
    opened,
    require_configs,
)
from lesionlens.registration import data_folder

__all__ = ["Added", "add_bundle", "check_pin", "installed_bundles", "installed_folder", "pin_again", "remove_bundle"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Added:
    """A bundle that was added.

    Parameters
    ----------
    name
        What it is called from now on.
    folder
        Where its files are.
    sha256
        The hash that they are pinned to.
    info
        What its metadata say.
    """

    name: str
    folder: Path
    sha256: str
    info: BundleInfo


def add_bundle(path: Path, *, name: str | None = None, overwrite: bool = False) -> Added:
    """Copy a bundle into the user's data folder; nothing of it is executed.

    Parameters
    ----------
    path
        Its folder or zip file.
    name
        What to call it; by default as its metadata do, in small letters.
    overwrite
        Replace a bundle of this name that was added before.

    Raises
    ------
    BundleError
        If it is no bundle, holds links or too much, or the name is taken or no name.
    OutputError
        If it cannot be written; then nothing is.
    """
    with opened(path) as folder:
        require_configs(folder, path)
        info = describe(folder, root=path)
        called = _checked_name(name or slug(info.name), overwrite=overwrite)
        files = _checked_files(folder, path)
        sha256 = hash_files(folder)
        target = _root() / called
        try:
            _root().mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=".adding-", dir=_root()) as temporary:
                fresh = Path(temporary) / "bundle"
                for file in files:
                    copy = fresh / file.relative_to(folder)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, copy)
                pin = {"schema": 1, "sha256": sha256, "source": path.name}
                written = _write_pin(Path(temporary), pin)
                if hash_files(fresh) != sha256:
                    raise BundleError(f"{path} changed while it was copied; add it again.")
                if target.exists():
                    target.rename(Path(temporary) / "before")
                fresh.rename(target)
                written.replace(_pin(target))
        except OSError as error:
            raise OutputError(f"Cannot write {target}: {error.strerror or error}; nothing was added.") from error
    return Added(called, target, sha256, describe(target, root=target))


def remove_bundle(name: str) -> Path:
    """Delete a bundle that was added; return where it was.

    Raises
    ------
    BundleError
        If none of this name was added.
    OutputError
        If it cannot be deleted.
    """
    target = installed_folder(name)
    if target is None:
        raise BundleError(unknown_name("bundle that was added", name, [i.root.name for i in installed_bundles()]))
    try:
        shutil.rmtree(target)
        _pin(target).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot delete {target}: {error.strerror or error}.") from error
    return target


def installed_folder(name: str) -> Path | None:
    """Return the folder of a bundle that was added, or None."""
    if not _NAME.fullmatch(name):
        return None
    folder = _root() / name
    return folder if (folder / "configs").is_dir() else None


def installed_bundles() -> list[BundleInfo]:
    """List the bundles that were added, by name; damaged ones are left out."""
    found = []
    for folder in sorted(_root().glob("*")):
        if installed_folder(folder.name) is None:
            continue
        try:
            found.append(describe(folder, root=folder))
        except BundleError:
            continue
    return found


def check_pin(folder: Path) -> None:
    """Refuse a bundle that was added and has changed since; others are not looked at.

    Raises
    ------
    BundleError
        If its files do not have the hash that they were added with.
    """
    if folder.parent != _root() or not _pin(folder).is_file():
        return
    try:
        pinned = json.loads(_pin(folder).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{_pin(folder)} cannot be read ({error}); add the bundle again.") from None
    found = hash_files(folder)
    if found != pinned:
        raise BundleError(
            f"The files of {folder.name} have changed since it was added: their hash is {found}, not {pinned}. Add it"
            " again, with --overwrite, if you know why."
        )


def pin_again(folder: Path) -> None:
    """Pin a bundle that was added to the files that it has now, as LesionLens itself has changed them.

    Raises
    ------
    OutputError
        If it cannot be written; the bundle then has to be added again.
    """
    if folder.parent != _root() or not _pin(folder).is_file():
        return
    try:
        pin = {**json.loads(_pin(folder).read_text(encoding="utf-8")), "sha256": hash_files(folder)}
        with TemporaryDirectory(prefix=".pinning-", dir=_root()) as temporary:
            _write_pin(Path(temporary), pin).replace(_pin(folder))
    except OSError as error:
        raise OutputError(f"Cannot write {_pin(folder)}: {error.strerror or error}; add the bundle again.") from error


def _write_pin(folder: Path, pin: dict[str, Any]) -> Path:
    path = folder / "pin"
    path.write_text(json.dumps(pin, indent=2) + "\n", encoding="utf-8")
    return path


def _root() -> Path:
    return data_folder() / "bundles"


def _pin(folder: Path) -> Path:
    """Return the file beside a bundle that holds its hash."""
    return folder.with_name(f"{folder.name}.json")


def _checked_name(name: str, *, overwrite: bool) -> str:
    if not _NAME.fullmatch(name):
        raise BundleError(
            f"A bundle's name has small letters, digits, and -, _ or . between them, at most 64; found {name!r}."
            " Choose one with --name."
        )
    if (embedded_root() / name).is_dir():
        raise BundleError(f"The bundle {name} ships with LesionLens; choose another name with --name.")
    if (_root() / name).exists() and not overwrite:
        raise BundleError(f"A bundle {name} was added before; choose another name with --name, or --overwrite it.")
    return name


def _checked_files(folder: Path, path: Path) -> list[Path]:
    """Return the files to copy; refuse links, which lead elsewhere, and what is too much."""
    for entry in folder.rglob("*"):
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            raise BundleError(f"{path} holds a link or special file, {entry.relative_to(folder)}; it is not added.")
    files = bundle_files(folder)
    total = sum(file.stat().st_size for file in files)
    if total > MAX_TOTAL_BYTES or len(files) > MAX_FILES:
        raise BundleError(
            f"{path} has {total:,} bytes in {len(files):,} files; at most {MAX_TOTAL_BYTES:,} bytes in"
            f" {MAX_FILES:,} files are accepted."
        )
    return files
