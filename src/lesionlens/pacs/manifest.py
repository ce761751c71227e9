"""What was found in an archive as a table of cases, each of which is fetched when it is its turn."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lesionlens.io.atomic import atomic_path
from lesionlens.io.tables import row_writer
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
        add = row_writer(file)
        add(("name", "input"))
        for one in series:
            add((one.name, one.url))
