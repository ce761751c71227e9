"""What a batch says of all its cases: tables, a page, and the seal over everything."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from lesionlens import __version__
from lesionlens.batch.cohort_page import cohort_page
from lesionlens.batch.store import BATCH, CASE, Store
from lesionlens.batch.summary import FAILURE_COLUMNS, SUMMARY_COLUMNS, CaseSummary, summarised, write_rows
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
) -> None:
    """Write tables, page and seal of a batch; ``batch.json`` comes last: it never vouches for what is not there.

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
    """
    summaries: list[CaseSummary] = []
    for done, one in enumerate(summarised(store, names)):
        progress("Summing up", done, len(names))
        summaries.append(one)
    with store.workspace() as folder:
        write_rows(folder / _SUMMARY, SUMMARY_COLUMNS, [row for one in summaries for row in one.rows])
        write_rows(folder / _FAILURES, FAILURE_COLUMNS, [_failure(one) for one in summaries if one.status == "failed"])
        (folder / _PAGE).write_text(cohort_page(summaries, left_out), encoding="utf-8")
        written = sorted(path.name for path in folder.iterdir())
        content = {
            "schema_version": BATCH_SCHEMA,
            "notice": RESEARCH_USE,
            "lesionlens": __version__,
            "n_cases": {
                state: sum(one.status == state for one in summaries) for state in ("done", "failed", "waiting")
            },
            "left_out": list(left_out),
            "files": file_hashes(folder, written),
            "cases": {one.name: hash_file(store.cases / one.name / CASE) for one in summaries if one.status == "done"},
        }
        (folder / BATCH).write_text(sealed_text(content), encoding="utf-8")
        for name in (*written, BATCH):
            _moved(folder / name, store.root / name)
    progress("Summing up", len(names), len(names))


def _failure(one: CaseSummary) -> dict[str, Any]:
    return {"case": one.name, "kind": one.kind, "error": one.error, "tries": one.tries}


def _moved(source: Path, target: Path) -> None:
    source.replace(target)
