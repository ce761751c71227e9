"""The commands by which sessions leave and come back: import, link, merge, consensus, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lesionlens.cli.options import AsJson, Command, Language, Out, Overwrite, Quiet, print_json, progress_bars
from lesionlens.errors import counted

if TYPE_CHECKING:
    from lesionlens.review import FindingState, Session

__all__ = ["register"]

_PATH = {"parser": Path, "show_default": False}
_SESSION = Annotated[Path, typer.Argument(metavar="SESSION", help="Session file.", **_PATH)]
_NEW = Annotated[Path, typer.Argument(metavar="SESSION", help="Session file to make.", **_PATH)]
_CASE = Annotated[str, typer.Argument(metavar="CASE", help="Name of the case, as 'status' lists it.")]
_READER = Annotated[str, typer.Option("--reader", help="Who looks.")]
_DATA = Annotated[
    list[Path],
    typer.Option("--data", help="Folder to look for the scans and results in; several times for several.", **_PATH),
]


def register(group: typer.Typer) -> None:
    """Add the commands of this module to the group of review."""
    for name, command, example in (
        ("import", review_import, "handed-on.json trial.session --data /data/trial"),
        ("link", review_link, "trial.session --data /data/trial"),
        ("merge", review_merge, "all.session ann.json bob.json --data /data/trial"),
        ("consensus", review_consensus, "trial.session case-001 --reader Cleo --of Ann --of Bob"),
        ("show", review_show, "trial.session case-001 --reader Cleo"),
        ("report", review_report, "trial.session --out report"),
    ):
        group.command(name, cls=Command, epilog=f"Example:  lesionlens review {name} {example}")(command)


def review_import(
    copy: Annotated[Path, typer.Argument(metavar="FILE", help="What 'export --portable' wrote.", **_PATH)],
    session: _NEW,
    data: _DATA = [],  # noqa: B006 - typer makes a new list for each call
) -> None:
    """Make a session of a portable file; scans and results are found by their hashes, whatever they are called."""
    from lesionlens.review import Session
    from lesionlens.review.copies import read_copy
    from lesionlens.review.portable import events_of

    found = read_copy(copy)
    with Session.create(session, found.cases, about=found.about, events=events_of(found)) as made:
        typer.echo(f"{session}: {counted(len(found.cases), 'case')}, {counted(len(made.events()), 'event')}")
        _link(made, data)


def review_link(session: _SESSION, data: _DATA) -> None:
    """Say where the scans and results of a session lie; they are found by their hashes, whatever they are called."""
    from lesionlens.review import Session

    with Session.open(session) as found:
        _link(found, data)


def _link(session: Session, data: list[Path]) -> None:
    from lesionlens.handover import link_session

    missing = link_session(session, data)
    typer.echo(
        f"{len(session.case_ids) - len(missing)} of {counted(len(session.case_ids), 'case')} with scan and results here"
    )
    for case, what in missing.items():
        typer.echo(f"Warning: of {case} the {what} are not here; see 'lesionlens review link'", err=True)


def review_merge(
    session: _NEW,
    copies: Annotated[
        list[Path],
        typer.Argument(metavar="COPY...", help="Portable files, or session files, of one session.", **_PATH),
    ],
    data: _DATA = [],  # noqa: B006 - likewise
) -> None:
    """Make one session of several readers' copies: every event once, each reader's in their order."""
    from lesionlens.review import Session
    from lesionlens.review.copies import merge, read_copy
    from lesionlens.review.portable import events_of

    merged, conflicts = merge([read_copy(path) for path in copies])
    with Session.create(session, merged.cases, about=merged.about, events=events_of(merged)) as made:
        readers = ", ".join(made.readers) or "nobody"
        typer.echo(
            f"{session}: {counted(len(merged.cases), 'case')}, {counted(len(made.events()), 'event')} of {readers}"
        )
        _link(made, data)
    for conflict in conflicts:
        typer.echo(f"Warning: {conflict}", err=True)


def review_consensus(
    session: _SESSION,
    case: _CASE,
    reader: _READER,
    of: Annotated[list[str], typer.Option("--of", help="Whose verdicts to show; several times for several.")],
    prefill: Annotated[bool, typer.Option("--prefill/--no-prefill", help="Fill in what all agree on.")] = True,
    adopt: Annotated[str, typer.Option(metavar="FINDING", help="Take the first reader's voxels of a finding.")] = "",
) -> None:
    """Show a reader what others said of a case that they have closed, and record that it was shown."""
    from lesionlens.review import Session
    from lesionlens.review.consensus import adopt as adopt_voxels
    from lesionlens.review.consensus import begin_consensus

    with Session.open(session) as found:
        state = begin_consensus(found, case, reader, of, prefill=prefill)
        if adopt:
            state = adopt_voxels(found, case, reader, adopt, of[0])
        _print_beside(found, case, reader)
        typer.echo(
            f"{len(state.open)} findings wait for a verdict" + (f": {', '.join(state.open)}" if state.open else "")
        )


def review_show(session: _SESSION, case: _CASE, reader: _READER, as_json: AsJson = False) -> None:
    """List the findings of a case as a reader may see them: what others said only after it was shown to them."""
    from lesionlens.review import Session
    from lesionlens.review.blinding import side_by_side

    with Session.open(session, read_only=True) as found:
        if not as_json:
            _print_beside(found, case, reader)
            return
        rows = side_by_side(found, case, reader)
    print_json([
        {
            "finding": row.id,
            "drawn_by": row.drawn_by or None,
            "own": row.own.verdict if row.own else None,
            "others": {name: state.verdict if state else None for name, state in row.others.items()},
            "agreed": row.agreed,
        }
        for row in rows
    ])  # fmt: skip


def _print_beside(session: Session, case: str, reader: str) -> None:
    from lesionlens.report.console import print_table
    from lesionlens.review.blinding import side_by_side

    rows = side_by_side(session, case, reader)
    others = list(rows[0].others) if rows else []
    cells = [
        (row.id, row.drawn_by or "model", *(_word(state) for state in (row.own, *row.others.values()))) for row in rows
    ]
    print_table(("finding", "drawn by", reader, *others), cells)


def _word(state: FindingState | None) -> str:
    if state is None:
        return "-"
    said = state.verdict or ("replaced" if state.replaced_by else "waits")
    return f"{said}, edited" if state.edits else said


def review_report(
    session: _SESSION, out: Out, language: Language = "en", overwrite: Overwrite = False, quiet: Quiet = False
) -> None:
    """Write a page for the session and for each case, with pictures: HTML that opens anywhere, without a network."""
    from lesionlens.handover import write_pages
    from lesionlens.io.atomic import atomic_folder
    from lesionlens.review import Session

    with (
        Session.open(session, read_only=True) as found,
        atomic_folder(out, overwrite=overwrite) as folder,
        progress_bars(quiet) as progress,
    ):
        problems = write_pages(found, folder, language=language, progress=progress)
    typer.echo(f"{out}: session.html and a page for each case that was read")
    for problem in problems:
        typer.echo(f"Warning: {problem}", err=True)
