"""Write the table of docs/reference/statistics.md from the columns of the region table; the rest of the page stays.

Run: make reference. A test compares the page with the program, so neither can change alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lesionlens.report.columns import COLUMNS, Column

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "statistics.md"
BEGIN, END = "<!-- columns: made by scripts/statistics_reference.py (make reference) -->\n", "<!-- /columns -->"


def row(column: Column) -> str:
    """Return the row of the table for one column, or several that belong together."""
    names = ", ".join(f"`{name}`" for name in column.names)
    cells = (names, column.unit, column.meaning, column.formula.replace("|", "\\|"))
    return f"| {' | '.join(cells)} |\n"


def page(text: str) -> str:
    """Return the page with its table renewed."""
    head, _, rest = text.partition(BEGIN)
    table = "| columns | unit | definition | formula |\n|---|---|---|---|\n" + "".join(map(row, COLUMNS))
    return head + BEGIN + table + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stderr.write(f"wrote {PAGE}\n")
