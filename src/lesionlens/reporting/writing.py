"""Writing the report of a folder of results: which one it is, where to, and in which format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lesionlens.errors import InputError, OutputError, ReadError
from lesionlens.io.atomic import atomic_path
from lesionlens.io.reader import existing_path
from lesionlens.report.pdf import html_to_pdf, require_weasyprint
from lesionlens.report.words import words_of
from lesionlens.reporting.case import Beside, case_report
from lesionlens.reporting.cohort import batch_report, evaluation_report
from lesionlens.seals import sealed_page

__all__ = ["FORMATS", "write_report"]

#: What a report is written as, by the ending of its name.
FORMATS: Final = (".html", ".pdf")

_RECORD, _BATCH, _EVALUATION = "record.json", "batch.json", "evaluation.json"


def write_report(
    results: Path | str,
    out: Path | str | None = None,
    *,
    scan: Path | str | None = None,
    trust: Path | str | None = None,
    session: Path | str | None = None,
    readers: tuple[str, ...] = (),
    evaluation: Path | str | None = None,
    bundle: str | None = None,
    language: str = "en",
    changed: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write results as one page, for reading and printing.

    Parameters
    ----------
    results
        Folder of a run, a batch or an evaluation.
    out
        File to write, ``.html`` or ``.pdf``; by default ``report.html`` in the folder.
    scan
        The scan of the run, for pictures of single regions.
    trust
        Folder that ``lesionlens trust`` wrote on the scan; found where it is ``trust`` in the folder of the run.
    session, readers
        A review session in which the results were judged, and whose verdicts; by default everybody's.
    evaluation
        Folder that ``lesionlens evaluate`` wrote of the same bundle.
    bundle
        Name or place of the bundle, for its model card; by default its name in the record.
    language
        One of ``lesionlens.report.words.LANGUAGES``.
    changed
        Report results although they are not as they were written; the page says so.
    overwrite
        Replace a page that is there.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ReadError
        If the folder holds no results, or they have changed; or if what was named beside them is of something else.
    InputError
        If the ending is another one, or there is no such language or reader.
    OutputError
        If the file exists, is one that the results vouch for, or cannot be written.
    MissingPackageError
        If a PDF is asked for and WeasyPrint is missing.
    """
    folder = existing_path(results)
    target = folder / "report.html" if out is None else Path(out)
    if target.suffix.lower() not in FORMATS:
        raise InputError(f"A report is written as {' or '.join(FORMATS)}; found {target.name!r}.")
    _refuse_vouched(folder, target)
    if target.suffix.lower() == ".pdf":
        require_weasyprint()  # before the work, not after it
    say = words_of(language)
    beside = Beside(_path(scan), _path(trust), _path(session), readers, _path(evaluation), bundle)
    with atomic_path(target, overwrite=overwrite) as temporary:
        if (folder / _RECORD).exists():
            html = case_report(folder, beside, say, changed=changed)
        elif (folder / _EVALUATION).exists():
            html = evaluation_report(folder, say)
        elif (folder / _BATCH).exists():
            html = batch_report(folder, say, changed=changed)
        else:
            raise ReadError(
                f"{folder} holds none of {_RECORD}, {_BATCH} and {_EVALUATION}; give a folder that 'run', 'batch' or"
                " 'evaluate' wrote."
            )
        temporary.write_bytes(_file(html, target.suffix.lower()))
    return target


def _path(place: Path | str | None) -> Path | None:
    return None if place is None else Path(place)


def _file(html: str, suffix: str) -> bytes:
    if suffix == ".html":
        return sealed_page(html.encode() + b"\n", suffix)
    return sealed_page(html_to_pdf(html), suffix)


def _refuse_vouched(folder: Path, target: Path) -> None:
    """Refuse a file whose hash the results hold: verifying them would then fail."""
    if target.name in set(_vouched(folder)) and target.resolve().parent == folder.resolve():
        raise OutputError(f"{target} belongs to the results themselves; give another name with --out.")


def _vouched(folder: Path) -> Iterator[str]:
    for head in (_RECORD, _BATCH, _EVALUATION):
        try:
            found = json.loads((folder / head).read_text(encoding="utf-8"))
            yield from found.get("files", ())
        except (OSError, ValueError, AttributeError):
            continue
