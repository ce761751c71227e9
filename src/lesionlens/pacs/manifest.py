"""What was found in an archive as a table of cases, each of which is fetched when it is its turn."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from lesionlens.io.atomic import atomic_path
from lesionlens.pacs.query import FoundSeries

__all__ = ["write_manifest"]


def write_manifest(series: Iterable[FoundSeries], path: Path, *, overwrite: bool = False) -> None:
    """Write a manifest for a batch: a case for each series, by its URL, under a name that leads to nobody.

    Raises
    ------
    OutputError
        If the file is there already, or cannot be written.
    """
    with (
        atomic_path(path, overwrite=overwrite) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.writer(file)
        table.writerow(("name", "input"))
        table.writerows((one.name, one.url) for one in series)
