"""What a folder holds that a report is made of, taken only as it was written."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lesionlens.batch import Verified, verify
from lesionlens.errors import ReadError, counted
from lesionlens.io.tables import read_results
from lesionlens.results import read_record
from lesionlens.seals import PAGES, hash_file

__all__ = ["CaseFolder", "Trusted", "open_case", "open_evaluation", "open_trust", "table_of", "unchanged"]

_RECORD, _TRUST, _EVALUATION, _CASE = "record.json", "trust.json", "evaluation.json", "case.json"
_SCHEMA: Final = 1


@dataclass(frozen=True)
class CaseFolder:
    """The results of a run.

    Parameters
    ----------
    path
        Where they lie.
    record
        What ``record.json`` says.
    problems
        What is not as it was written; empty unless that was accepted.
    n_files
        How many files were compared with their hashes.
    """

    path: Path
    record: Mapping[str, Any]
    problems: tuple[str, ...]
    n_files: int

    @property
    def name(self) -> str:
        """Name of the case in a batch, else that of the folder."""
        try:
            return str(json.loads((self.path / _CASE).read_text(encoding="utf-8"))["case"])
        except (OSError, ValueError, KeyError, TypeError):
            return self.path.resolve().name

    @property
    def record_sha256(self) -> str:
        """SHA-256 of ``record.json``, which names those of all other files."""
        return hash_file(self.path / _RECORD)


@dataclass(frozen=True)
class Trusted:
    """What ``lesionlens trust`` found, with its picture."""

    content: Mapping[str, Any]
    picture: bytes


def unchanged(folder: Path, *, changed: bool = False) -> Verified:
    """Compare a folder with its seals, and refuse it where something is not as it was written.

    Pages in it are left aside: they are made again.

    Parameters
    ----------
    folder
        Of results.
    changed
        Accept it all the same; whoever shows it has to say so.

    Raises
    ------
    ReadError
        If something has changed.
    """
    found = verify(folder)
    problems = tuple(one for one in found.problems if not one.startswith(PAGES))
    if problems and not changed:
        more = f", and {counted(len(problems) - 1, 'more file')}" if len(problems) > 1 else ""
        raise ReadError(
            f"The results in {folder} are not as they were written: {problems[0]}{more}. Make them again, or let the"
            " report say so: --changed."
        )
    beside = sum((folder / name).exists() for name in PAGES)
    return Verified(found.files - beside, problems, found.strangers)


def open_case(folder: Path, *, changed: bool = False) -> CaseFolder:
    """Open the results of a run; see :func:`unchanged`.

    Raises
    ------
    ReadError
        If they are none, or have changed.
    """
    record = read_record(folder)
    if "maps" not in record:
        raise ReadError(f"The record in {folder} is not that of a run; give a folder that 'run' or 'batch' wrote.")
    found = unchanged(folder, changed=changed)
    return CaseFolder(folder, record, found.problems, found.files)


def open_trust(folder: Path, case: CaseFolder) -> Trusted:
    """Open what ``lesionlens trust`` found on the scan of a case.

    Raises
    ------
    ReadError
        If there is nothing, it has changed, or it is of another scan or network.
    """
    content = _sealed(folder, _TRUST, "trust")
    try:
        scan, weights = content["input"]["sha256"], content["map"]["weights_sha256"]
        same = (scan == case.record["input"]["sha256"], weights == case.record["bundle"]["weights_sha256"])
    except (KeyError, TypeError) as error:
        raise ReadError(f"{folder / _TRUST} is incomplete: {error}. Make the checks again.") from None
    if not all(same):
        other = "network" if same[0] else "scan"
        raise ReadError(f"The checks in {folder} are of another {other} than the results in {case.path}.")
    return Trusted(content, (folder / "trust.png").read_bytes())


def open_evaluation(folder: Path) -> Mapping[str, Any]:
    """Open what ``lesionlens evaluate`` found.

    Raises
    ------
    ReadError
        If there is nothing, or it has changed.
    """
    return _sealed(folder, _EVALUATION, "evaluate")


def _sealed(folder: Path, name: str, command: str) -> dict[str, Any]:
    path = folder / name
    if not path.exists():
        raise ReadError(f"{folder} holds no {name}; give a folder that '{command}' wrote.")
    unchanged(folder)
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.get("schema_version") != _SCHEMA:
        raise ReadError(f"{path} has schema version {content.get('schema_version')}; expected {_SCHEMA}.")
    return dict(content)


def table_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV table, or nothing where there is none."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return read_results(file)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReadError(f"{path} cannot be read as a table: {error}.") from None
