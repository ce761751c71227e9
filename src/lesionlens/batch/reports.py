"""What a batch says of all its cases: tables, a page, and the seal over everything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from lesionlens import __version__
from lesionlens.batch.cohort_page import cohort_page
from lesionlens.batch.store import BATCH, CASE, Store
from lesionlens.batch.summary import (
    FAILURE_COLUMNS,
    SUMMARY_COLUMNS,
    CaseSummary,
    summarised,
    summary_of,
    table_writer,
)
from lesionlens.progress import Progress, silent
from lesionlens.results import RESEARCH_USE
from lesionlens.seals import file_hashes, hash_file, sealed_text

__all__ = ["remove_reports", "write_reports"]

#: Version of batch.json.
BATCH_SCHEMA: Final = 1
_SUMMARY, _FAILURES, _PAGE = "summary.csv", "failures.csv", "report.html"
_REPORTS = (_SUMMARY, _FAILURES, _PAGE)


def remove_reports(store: Store) -> None:
    """Remove what an earlier call said of all cases: it would no longer be true of those that are made now."""
    for name in (BATCH, *_REPORTS):
        with suppress(FileNotFoundError):
            (store.root / name).unlink()


def write_reports(
    store: Store, names: Sequence[str], left_out: Sequence[str] = (), *, progress: Progress = silent
) -> dict[str, list[str]]:
    """Write tables, page and seal of a batch; ``batch.json`` comes last: it never vouches for what is not there.

    Cases are read one after the other, and few are kept.

    Parameters
    ----------
    store
        The folder.
    names
        All cases, in their order.
    left_out
        What of the input is no case, a sentence each.
    progress
        Called for each case.

    Returns
    -------
    dict
        The names of the cases that are ``"done"``, ``"failed"`` and ``"waiting"``.
    """
    states: dict[str, list[str]] = {"done": [], "failed": [], "waiting": []}
    hashes: dict[str, str] = {}

    def seen() -> Iterator[CaseSummary]:
        for done, one in enumerate(summarised(store, names)):
            progress("Summing up", done, len(names))
            states[one.status].append(one.name)
            if one.status == "done":
                hashes[one.name] = hash_file(store.cases / one.name / CASE)
            yield one

    with store.workspace() as folder:
        page = cohort_page(_tabled(folder, seen()), partial(summary_of, store), left_out=left_out)
        (folder / _PAGE).write_text(page, encoding="utf-8")
        written = sorted(path.name for path in folder.iterdir())
        content = {
            "schema_version": BATCH_SCHEMA,
            "notice": RESEARCH_USE,
            "lesionlens": __version__,
            "n_cases": {state: len(of_state) for state, of_state in states.items()},
            "left_out": list(left_out),
            "files": file_hashes(folder, written),
            "cases": hashes,
        }
        (folder / BATCH).write_text(sealed_text(content), encoding="utf-8")
        for name in (*written, BATCH):
            _moved(folder / name, store.root / name)
    progress("Summing up", len(names), len(names))
    return states


def _tabled(folder: Path, summaries: Iterable[CaseSummary]) -> Iterator[CaseSummary]:
    """Write the rows of each case as it passes."""
    with (
        (folder / _SUMMARY).open("w", newline="", encoding="utf-8") as summary,
        (folder / _FAILURES).open("w", newline="", encoding="utf-8") as failures,
    ):
        add_row, add_failure = table_writer(summary, SUMMARY_COLUMNS), table_writer(failures, FAILURE_COLUMNS)
        for one in summaries:
            for row in one.rows:
                add_row(row)
            if one.status == "failed":
                add_failure(_failure(one))
            yield one


def _failure(one: CaseSummary) -> dict[str, Any]:
    return {"case": one.name, "kind": one.kind, "error": one.error, "tries": one.tries}


def _moved(source: Path, target: Path) -> None:
    source.replace(target)
