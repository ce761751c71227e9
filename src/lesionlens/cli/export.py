"""The command that writes results as DICOM."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from lesionlens.cli.options import NOTICE, Command, Out, Overwrite, Quiet, Series, progress_bars

__all__ = ["register"]

_PATH: dict[str, Any] = {"parser": Path, "show_default": False}
_RESULTS = Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder that 'run' wrote.", **_PATH)]
_SOURCE = Annotated[Path, typer.Option(help="The DICOM series that the results were made from.", **_PATH)]
_FORMAT = Annotated[
    list[str],
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="seg, fractional, probability, attribution, sr, rtstruct or key-images; several times for several."
        " [default: seg, probability, attribution, sr]",
    ),
]
_IDENTIFIED = Annotated[
    bool, typer.Option("--identified", help="Name the patient, and refer to the source by its own UIDs.")
]
_KEY = Annotated[
    str | None, typer.Option(help="What pseudonyms are made from. [default: a key that is kept for this user]")
]
_SESSION = Annotated[
    Path | None,
    typer.Option(
        help="Session in which the results were judged: regions are written as the reader left them, with verdicts.",
        **_PATH,
    ),
]
_READER = Annotated[str | None, typer.Option(help="Who judged them. [default: the only reader]")]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    example = "lesionlens export results --source dicom_folder --out objects"
    app.command(cls=Command, epilog=f"Example:  {example}")(export)


def export(
    results: _RESULTS,
    source: _SOURCE,
    out: Out,
    format: _FORMAT = [],  # noqa: B006 - typer makes a new list for each call
    identified: _IDENTIFIED = False,
    key: _KEY = None,
    series: Series = None,
    session: _SESSION = None,
    reader: _READER = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write the results of a run as DICOM objects on the series that they were made from; without the patient."""
    from lesionlens.dicom_export import DEFAULT_FORMATS, DicomFormat, export_dicom

    with progress_bars(quiet) as progress:
        written = export_dicom(
            results,
            source,
            out,
            formats=cast("list[DicomFormat]", format) or DEFAULT_FORMATS,
            series=series,
            identified=identified,
            key=key,
            session=session,
            reader=reader,
            overwrite=overwrite,
            progress=progress,
        )
    typer.echo(f"DICOM objects are in {out}: {', '.join(written.files)}")
    typer.echo(NOTICE)
    for note in written.notes:
        typer.echo(f"Note: {note}", err=True)
