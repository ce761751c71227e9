"""Which cases there are to evaluate: results, what a reader marked, and what cases are told apart by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lesionlens.batch import find_cases
from lesionlens.batch.keys import digest_of_place
from lesionlens.batch.store import Store
from lesionlens.errors import InputError, unknown_name
from lesionlens.io.tables import read_rows

__all__ = ["EvaluationCase", "cases_to_evaluate"]

_NEEDED: Final = ("case", "results", "mask")


@dataclass(frozen=True)
class EvaluationCase:
    """One case of a cohort.

    Parameters
    ----------
    name
        Of the case.
    results
        Folder that a run wrote.
    mask
        What a reader marked.
    strata
        By the name of a column, what it says of the case.
    mask_digest
        Hash of the mask that the batch was given; None where it was given none, or there was no batch.
    """

    name: str
    results: Path
    mask: Path
    strata: Mapping[str, str] = field(default_factory=dict)
    mask_digest: str | None = None

    def check_mask(self) -> None:
        """Refuse a mask that is not the one that the batch was given: its summary speaks of another.

        Raises
        ------
        InputError
            If it has changed, or the manifest names another.
        """
        if self.mask_digest is not None and digest_of_place(str(self.mask)) != self.mask_digest:
            raise InputError(
                f"The mask of {self.name!r} is not the one that the batch was given; put that one back, or run the"
                " batch again with --overwrite."
            )


def cases_to_evaluate(
    inputs: str | Path, manifest: str | Path | None = None, *, by: str | None = None
) -> tuple[EvaluationCase, ...]:
    """Find the cases of a table, or of the folder of a batch and its manifest.

    Parameters
    ----------
    inputs
        CSV table with the columns ``case``, ``results`` and ``mask``, whose paths are relative to it; or the folder
        that a batch wrote.
    manifest
        That which the batch was made of: it says where the masks are. Cases without a mask are passed over.
    by
        Column that has to be there; in a manifest it is called ``stratum:`` and this name.

    Raises
    ------
    ReadError
        If there is nothing to read.
    InputError
        If columns or masks are missing, or two cases have one name.
    """
    place = Path(inputs)
    if place.is_dir():
        found = _of_batch(place, manifest)
    elif manifest is not None:
        raise InputError("A manifest goes with the folder of a batch; a table names the masks itself.")
    else:
        found = _of_table(place)
    if by is not None:
        columns = list(dict.fromkeys(name for case in found for name in case.strata))
        lacking = next((case.name for case in found if by not in case.strata), None)
        if by not in columns:
            raise InputError(unknown_name("column", by, columns))
        if lacking is not None:
            raise InputError(f"Case {lacking!r} says nothing in the column {by!r}; fill it for every case.")
    return found


def _of_batch(folder: Path, manifest: str | Path | None) -> tuple[EvaluationCase, ...]:
    if not (folder / "cases").is_dir():
        raise InputError(f"{folder} is no batch: it has no folder 'cases'. Give one, or a table of cases (CSV).")
    if manifest is None:
        raise InputError(
            f"Results do not say where masks are; give the manifest that {folder} was made of with --manifest"
            " (manifest= in Python)."
        )
    masks = [(case, case.mask) for case in find_cases(manifest).cases if case.mask]
    if not masks:
        raise InputError(f"{Path(manifest).name} names no mask; it needs the column mask.")
    store = Store(folder)
    return tuple(
        EvaluationCase(
            case.name, store.cases / case.name, Path(mask), dict(case.strata), mask_digest=store.mask_of(case.name)
        )
        for case, mask in masks
    )


def _of_table(path: Path) -> tuple[EvaluationCase, ...]:
    table = read_rows(path)
    lacks = [name for name in _NEEDED if not table or name not in table[0]]
    if lacks:
        raise InputError(f"{path} needs the columns {', '.join(_NEEDED)} and a row for each case; missing: {lacks[0]}.")
    found = [_of_row(path, line, row) for line, row in enumerate(table, start=2)]
    twice = next((name for name, count in Counter(case.name for case in found).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{path} has the case {twice!r} twice; give each row a name of its own.")
    return tuple(found)


def _of_row(path: Path, line: int, row: Mapping[str, str | None]) -> EvaluationCase:
    name, results, mask = ((row[key] or "").strip() for key in _NEEDED)
    if not (name and results and mask):
        raise InputError(f"Line {line} of {path} has no case, results or mask.")
    strata = {key: value.strip() for key, value in row.items() if key not in _NEEDED and value and value.strip()}
    return EvaluationCase(name, path.parent / results, path.parent / mask, strata)
