"""Tables of cases that people write: CSV with commas, or with what spreadsheets of other languages write instead."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Final

from lesionlens.errors import InputError, ReadError
from lesionlens.io.reader import existing_path

__all__ = ["read_rows"]

# A spreadsheet writes semicolons where the comma is the sign of decimals.
_SEPARATORS: Final = (",", ";", "\t")


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
    return [dict(zip(columns, row + [""] * (len(columns) - len(row)), strict=False)) for row in rows[1:]]


def _separator(text: str) -> str:
    first = text.lstrip().partition("\n")[0]
    return max(_SEPARATORS, key=first.count)
