"""The folder of a batch: what is in it, and how a result gets there in one step.

``cases/NAME/`` is what a run writes, with ``case.json``; ``failed/NAME.json`` says why a case has no results. What is
being written lies in ``.work`` until it is whole, so that whoever looks into ``cases`` sees finished cases alone,
whenever the work was killed.
"""

from __future__ import annotations

import errno
import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lesionlens.errors import LesionLensError, OutputError
from lesionlens.io.atomic import PLACE_ERRORS, atomic_path
from lesionlens.results import RESEARCH_USE
from lesionlens.seals import hash_file, sealed_text

__all__ = ["BATCH", "CASE", "CASE_SCHEMA", "Store"]

#: The file that seals a batch, and the one that seals a case of it.
BATCH: Final = "batch.json"
CASE: Final = "case.json"
#: Version of case.json and of the files of failures.
CASE_SCHEMA: Final = 1

_WORK: Final = ".work"


@dataclass(frozen=True)
class Store:
    """The folder of a batch; see the module."""

    root: Path

    @property
    def cases(self) -> Path:
        """Where the results of finished cases lie."""
        return self.root / "cases"

    @property
    def failed(self) -> Path:
        """Where it says why cases have none."""
        return self.root / "failed"

    def check(self) -> None:
        """Refuse a folder that holds something else.

        Raises
        ------
        OutputError
            If it does, or is a file.
        """
        if self.root.exists() and not self.root.is_dir():
            raise OutputError(f"Cannot write into {self.root}: it is not a folder. Choose another name.")
        if self.root.is_dir() and any(self.root.iterdir()) and not self.cases.is_dir() and not self._work.is_dir():
            raise OutputError(f"Folder {self.root} holds something that is no batch. Choose another folder.")

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make the folder, and let nobody else work in it; what a killed process left half-done is removed.

        Raises
        ------
        OutputError
            If another process works in it, or it cannot be written.
        """
        from filelock import FileLock, Timeout

        new = not self.root.exists()
        try:
            for folder in (self.cases, self.failed, self._work):
                folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._work / "lock", timeout=0)
            with lock:
                self._tidy()
                yield
        except Timeout:
            raise OutputError(f"Another process works in {self.root}; wait for it, or choose another folder.") from None
        except LesionLensError:
            if new:
                self._leave()
            raise
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, *PLACE_ERRORS):
                raise
            raise OutputError(
                f"Cannot write into {self.root}: {error.strerror}. Check its permissions and the free space."
            ) from error

    def _tidy(self) -> None:
        """Remove what was left half-done; a worker of a killed process may still be at it.

        It gets another name first, so that the worker cannot give its place to a result of which half is gone.
        """
        for left in [one for one in self._work.iterdir() if one.is_dir()]:
            aside = self._work / f"left-{secrets.token_hex(6)}"
            with suppress(OSError):
                left = left.rename(aside)
            shutil.rmtree(left, ignore_errors=True)

    def _leave(self) -> None:
        """Remove the folder that was made for nothing; what anything lies in stays."""
        if not any(folder.is_dir() and any(folder.iterdir()) for folder in (self.cases, self.failed)):
            shutil.rmtree(self._work, ignore_errors=True)
        for folder in (self.cases, self.failed, self.root):
            with suppress(OSError):
                folder.rmdir()

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Yield a folder for work in progress, which is removed afterwards."""
        folder = self._work / secrets.token_hex(6)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def _work(self) -> Path:
        return self.root / _WORK

    def key_of(self, name: str) -> str | None:
        """Return what the results of a case were made from; None where there are none."""
        return _key(self.cases / name / CASE)

    def mask_of(self, name: str) -> str | None:
        """Return the hash of the mask that the results of a case were compared with; None where there was none."""
        links = (_read(self.cases / name / CASE) or {}).get("links")
        found = links.get("mask") if isinstance(links, dict) else None
        return None if found is None else str(found)

    def looks_of(self, name: str) -> dict[str, str]:
        """Return what the input files of a case looked like when they were hashed, with the hashes."""
        looks = (_read(self.cases / name / CASE) or {}).get("looks")
        return {str(look): str(digest) for look, digest in looks.items()} if isinstance(looks, dict) else {}

    def failure_of(self, name: str) -> dict[str, Any] | None:
        """Return why a case has no results, where it was tried."""
        return _read(self.failed / f"{name}.json")

    def commit(self, folder: Path, name: str, links: Mapping[str, Any], more: Mapping[str, Any]) -> bool:
        """Give finished results their place, in one step.

        Parameters
        ----------
        folder
            What a run wrote, on the same file system.
        name
            Of the case.
        links
            What the results depend on, with their ``key``.
        more
            What else ``case.json`` says.

        Returns
        -------
        bool
            False where somebody else was faster with the same results: theirs stay.
        """
        record = hash_file(folder / "record.json")
        about = {"schema_version": CASE_SCHEMA, "notice": RESEARCH_USE, "case": name, "links": dict(links)}
        (folder / CASE).write_text(sealed_text({**about, "record": record, **more}), encoding="utf-8")
        target = self.cases / name
        try:
            folder.rename(target)
        except OSError as error:
            if not target.exists():
                raise OutputError(
                    f"Cannot write {target}: {error.strerror}. Check the folder and the space."
                ) from error
            if self.key_of(name) == links["key"]:
                return False
            with self.workspace() as aside:
                target.rename(aside / name)
                folder.rename(target)
        with suppress(FileNotFoundError):
            (self.failed / f"{name}.json").unlink()
        return True

    def note_failure(self, name: str, error: str, kind: str, key: str) -> None:
        """Keep why a case has no results; how often it was tried is counted."""
        tries = int((self.failure_of(name) or {}).get("tries", 0)) + 1
        about = {"schema_version": CASE_SCHEMA, "notice": RESEARCH_USE, "case": name}
        content = {**about, "key": key, "kind": kind, "error": error, "tries": tries}
        with atomic_path(self.failed / f"{name}.json", overwrite=True) as file:
            file.write_text(sealed_text(content), encoding="utf-8")


def _key(path: Path) -> str | None:
    found = _read(path)
    links = found.get("links") if found else None
    return str(links.get("key")) if isinstance(links, dict) else None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
