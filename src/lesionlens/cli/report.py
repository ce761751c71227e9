"""The command that writes results as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lesionlens.cli.options import NOTICE, PATH, Command, Language, Overwrite
from lesionlens.errors import printable

__all__ = ["register", "report"]

_RESULTS = Annotated[
    Path, typer.Argument(metavar="RESULTS", help="Folder that 'run', 'batch' or 'evaluate' wrote.", **PATH)
]
_OUT = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="File, .html or .pdf. [default: report.html in the folder]", **PATH),
]
_SCAN = Annotated[Path | None, typer.Option(help="The scan of the run, for pictures of single regions.", **PATH)]
_TRUST = Annotated[
    Path | None,
    typer.Option("--trust", help="Folder that 'trust' wrote. [default: 'trust' in the folder, if there]", **PATH),
]
_SESSION = Annotated[Path | None, typer.Option(help="Session in which the results were judged.", **PATH)]
_READERS = Annotated[
    list[str], typer.Option("--reader", help="Whose verdicts; several times for several. [default: everybody's]")
]
_EVALUATION = Annotated[Path | None, typer.Option(help="Folder that 'evaluate' wrote of the same bundle.", **PATH)]
_BUNDLE = Annotated[
    str | None, typer.Option("--bundle", "-b", help="Place of the bundle, for its model card. [default: by its name]")
]
_CHANGED = Annotated[
    bool, typer.Option("--changed", help="Report results that are not as they were written; the page says so.")
]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(cls=Command, epilog="Example:  lesionlens report results --scan scan.nii.gz --out report.pdf")(report)


def report(
    results: _RESULTS,
    out: _OUT = None,
    scan: _SCAN = None,
    trust: _TRUST = None,
    session: _SESSION = None,
    reader: _READERS = [],  # noqa: B006 - typer makes a new list for each call
    evaluation: _EVALUATION = None,
    bundle: _BUNDLE = None,
    language: Language = "en",
    changed: _CHANGED = False,
    overwrite: Overwrite = False,
) -> None:
    """Write results as one page for reading and printing: HTML or PDF, whole in one file."""
    from lesionlens.reporting import write_report

    written = write_report(
        results,
        out,
        scan=scan,
        trust=trust,
        session=session,
        readers=tuple(reader),
        evaluation=evaluation,
        bundle=bundle,
        language=language,
        changed=changed,
        overwrite=overwrite,
    )
    typer.echo(f"The report is in {printable(str(written))}.")
    typer.echo(NOTICE)
