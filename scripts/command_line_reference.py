"""Write docs/reference/command-line.md from what the commands say about themselves.

Run: make reference. A test compares the page with the program, so neither can change alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import typer.main

from lesionlens.cli import app, main

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "command-line.md"

HEAD = """\
# The command line

<!-- Made by scripts/command_line_reference.py (make reference); do not edit. -->

Results go to standard output, progress and errors to standard error.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | failed or stopped; one line on standard error says why and what to do, and nothing half-written is left |
| 2 | the command was used wrongly |

A `run --over` of a region or box that the prediction does not show exits with 1 too, and leaves the prediction.
A case of a `batch` that is asked so fails: what does not answer is not kept.

`LESIONLENS_DEBUG=1` in the environment shows the whole traceback of an error that LesionLens did not foresee.
`LESIONLENS_DATA` names the folder in which `measure-registration` keeps what cannot lie beside a bundle.
"""


def commands() -> Iterator[tuple[str, ...]]:
    """Yield the words of every command, the program itself first, as ``("bundles", "list")``."""
    yield ()
    waiting = [((), typer.main.get_command(app))]
    while waiting:
        words, group = waiting.pop(0)
        for name, command in getattr(group, "commands", {}).items():
            yield (*words, name)
            waiting.append(((*words, name), command))


def help_text(words: tuple[str, ...]) -> str:
    """Return what a command prints for ``--help``, 80 columns wide whatever the terminal."""
    with patch.dict(os.environ, COLUMNS="80"), redirect_stdout(StringIO()) as printed:
        main([*words, "--help"])
    return "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines())


def page() -> str:
    """Return the whole page."""
    sections = [
        f"## `{' '.join(('lesionlens', *words))}`\n\n```text\n{help_text(words)}\n```\n" for words in commands()
    ]
    return "\n".join([HEAD, *sections])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stderr.write(f"wrote {PAGE}\n")
