"""Tables as CSV: those of cases, which people write, and those of results, which people open in spreadsheets.

A spreadsheet runs a cell that begins with ``=``, ``+``, ``-``, ``@`` or a control character as a formula, in quotes or
not. What is written here has an apostrophe before such a text, after OWASP ("CSV Injection"), and what is read here is
the text as it was: the apostrophe before such a beginning is taken away again.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, Final

from lesionlens.errors import InputError, ReadError
from lesionlens.io.reader import existing_path

__all__ = ["read_results", "read_rows", "row_writer"]

# A spreadsheet writes semicolons where the comma is the sign of decimals.
_SEPARATORS: Final = (",", ";", "\t")
# Apostrophes in front count too: without them a text that begins with an apostrophe would come back without it. The
# wide signs are those that spreadsheets of East Asian languages take for the narrow ones.
_FORMULA: Final = re.compile(r"('*)[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")


def row_writer(file: IO[str]) -> Callable[[Iterable[Any]], None]:
    """Return what adds a row to a CSV table (RFC 4180) that people open in a spreadsheet.

    None is empty, truth is ``true`` or ``false``, numbers are in full precision, and a text that a spreadsheet would
    run as a formula has an apostrophe in front, which :func:`read_results` takes away.
    """
    writer = csv.writer(file)

    def add(row: Iterable[Any]) -> None:
        writer.writerow([_cell(cell) for cell in row])

    return add


def read_results(file: Iterable[str]) -> list[dict[str, str]]:
    """Return the rows of a table as :func:`row_writer` was given them, as texts."""
    rows = csv.DictReader(file)
    # A row that was cut has None, one with too many cells a list: whoever reads it says what is wrong.
    return [{name: _as_it_was(cell) if isinstance(cell, str) else cell for name, cell in row.items()} for row in rows]


def _cell(cell: Any) -> Any:
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell  # csv itself writes None as empty, floats by repr


def _as_it_was(cell: str) -> str:
    found = _FORMULA.match(cell)
    return cell[1:] if found and found[1] else cell


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV table (UTF-8, with or without a byte order mark), without those that are empty.

    Cells are separated by what occurs most in the first line: commas, semicolons or tabs.

    Raises
    ------
    ReadError
        If it cannot be read.
    InputError
        If a row has more cells than there are columns.
    """
    existing_path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            text = stream.read()
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text)) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReadError(
            f"{path.name} cannot be read as a CSV table: {error}. Save it as CSV with the encoding UTF-8."
        ) from None
    columns = rows[0] if rows else []
    if any(any(row[len(columns) :]) for row in rows):
        raise InputError(f"{path.name} has a row with more cells than columns; put texts with commas in quotes.")
    rows = [[*map(_as_it_was, row), *[""] * (len(columns) - len(row))] for row in rows]
    return [dict(zip(columns, row, strict=False)) for row in rows[1:]]


def _separator(text: str) -> str:
    first = text.lstrip().partition("\n")[0]
    return max(_SEPARATORS, key=first.count)
