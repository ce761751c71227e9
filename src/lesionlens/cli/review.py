"""The commands about review sessions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lesionlens.cli import handover
from lesionlens.cli.options import AsJson, Command, Overwrite, Quiet, print_json, progress_bars
from lesionlens.errors import counted

if TYPE_CHECKING:
    from lesionlens.review import Act
    from lesionlens.review.agreement import Agreement

__all__ = ["register"]

_FILE = Annotated[Path, typer.Argument(metavar="SESSION", help="Session file.", parser=Path)]
_CASES = Annotated[
    Path | None,
    typer.Option(parser=Path, help="CSV with the columns scan and results, and name where wanted; one row per case."),
]
_PAIRS = Annotated[
    list[Path],
    typer.Argument(metavar="SCAN RESULTS", help="A scan and the folder of its run, case by case.", parser=Path),
]
_READER = Annotated[str, typer.Option("--reader", help="Who reads.")]
_EXPORT_OUT = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder for findings, statistics, masks and the trail.", parser=Path)
]
_AGREEMENT_OUT = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder for tables and pictures of the agreement.", parser=Path)
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module, as a group of their own."""
    group = typer.Typer(
        help="Judge findings case by case; nothing that was recorded is lost.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("start", cls=Command, epilog="Example:  lesionlens review start trial.session scan.nii.gz results")(
        review_start
    )
    group.command("status", cls=Command, epilog="Example:  lesionlens review status trial.session --reader Ann")(
        review_status
    )
    group.command("open", cls=Command, epilog="Example:  lesionlens review open trial.session --reader Ann")(
        review_open
    )
    group.command(
        "record",
        cls=Command,
        epilog="Example:  lesionlens review record trial.session case-001 lesion-1 --reader Ann --verdict accept",
    )(review_record)
    group.command("agree", cls=Command, epilog="Example:  lesionlens review agree trial.session")(review_agree)
    group.command("export", cls=Command, epilog="Example:  lesionlens review export trial.session --out findings")(
        review_export
    )
    handover.register(group)
    app.add_typer(group, name="review")


def review_start(
    session: _FILE,
    pairs: _PAIRS = [],  # noqa: B006 - typer makes a new list for each call
    cases: _CASES = None,
    order: Annotated[
        str, typer.Option(help="given, worst (largest volume first), random, or a column of regions.csv.")
    ] = "worst",
    seed: Annotated[int, typer.Option(min=0, help="Seed of a random order.")] = 0,
    title: Annotated[str, typer.Option(help="What readers see.")] = "",
    model_blind: Annotated[
        bool, typer.Option("--model-blind", help="Readers search each case before they see the model's findings.")
    ] = False,
) -> None:
    """Make a session of scans that have been run; the model's regions are its findings."""
    from lesionlens.sessions import CaseFiles, read_manifest, start_session

    if len(pairs) % 2 or not (pairs or cases):
        raise typer.BadParameter("name a scan and the folder of its run for each case", param_hint="SCAN RESULTS")
    files = [CaseFiles(scan, results) for scan, results in zip(pairs[::2], pairs[1::2], strict=True)]
    files += read_manifest(cases) if cases else []
    with start_session(session, files, title=title, order=order, seed=seed, model_blind=model_blind) as made:
        n = sum(len(made.case(name).findings) for name in made.case_ids)
        ranked = {"given": "as given", "random": "in random order"}.get(order, f"{order} first")
        typer.echo(f"{session}: {counted(len(made.case_ids), 'case')} with {counted(n, 'finding')}, {ranked}")


def review_status(
    session: _FILE,
    reader: Annotated[str | None, typer.Option("--reader", help="List the cases of this reader.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say how far each reader is, and case by case for one of them."""
    from lesionlens.report.console import print_table
    from lesionlens.review import Session
    from lesionlens.sessions import changed_files

    with Session.open(session, read_only=True) as found:
        progress = {name: found.progress(name) for name in (found.readers if reader is None else (reader,))}
        cases = found.statuses(reader) if reader is not None else {}
        changed = {name: changed_files(found, name) for name in found.case_ids}
        names = {name: found.case(name, findings=False).name for name in found.case_ids}
    changed = {name: files for name, files in changed.items() if files}
    if as_json:
        summary: dict[str, Any] = {"cases": len(names), "readers": {r: vars(p) for r, p in progress.items()}}
        summary["changed"] = {name: list(files) for name, files in changed.items()}
        if reader is not None:
            summary["status"] = {name: {"status": s, "flagged": f} for name, (s, f) in cases.items()}
        print_json(summary)
        return
    if not progress:
        typer.echo(f"{counted(len(names), 'case')}; nobody has read any yet")
    for name, one in progress.items():
        typer.echo(f"{name}: {one}, {one.partly} begun")
    if cases:
        rows = [(name, names[name], status, "flagged" if flag else "") for name, (status, flag) in cases.items()]
        print_table(("case", "name", "status", "flag"), rows)
    for name, files in changed.items():
        typer.echo(
            f"Warning: of {name}, {', '.join(files)} changed or went missing since the session was made", err=True
        )


def review_open(
    session: _FILE,
    reader: Annotated[str, typer.Option("--reader", help="Who reads; without it the window asks.")] = "",
) -> None:
    """Open napari with the dock Review, at the finding where the reader stopped."""
    from lesionlens.cli.view import require_window
    from lesionlens.review.file import recognise

    require_window()
    recognise(session)  # said before a window opens
    from lesionlens.ui.review.window import review_session

    review_session(session, reader)


def review_record(
    session: _FILE,
    case: Annotated[str, typer.Argument(metavar="CASE", help="Name of the case, as 'status' lists it.")],
    finding: Annotated[str, typer.Argument(metavar="[FINDING]", help="Name of the finding, such as lesion-1.")] = "",
    *,
    reader: _READER,
    verdict: Annotated[Literal["accept", "reject", "unsure"] | None, typer.Option(help="Of the finding.")] = None,
    category: Annotated[str | None, typer.Option(help="Of the finding, in the reader's words.")] = None,
    confidence: Annotated[int | None, typer.Option(min=1, max=5, help="Of the verdict, 5 the surest.")] = None,
    comment: Annotated[str | None, typer.Option(help="About the finding.")] = None,
    flag: Annotated[bool | None, typer.Option("--flag/--no-flag", help="Mark the case, or unmark it.")] = None,
    done: Annotated[bool, typer.Option("--done", help="Close the case; every finding needs a verdict.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take the reader's last step in the case back.")] = False,
) -> None:
    """Record what a reader decided, from a script or where there is no screen; all of it is one step."""
    from lesionlens.review import Session

    acts = _acts(finding, verdict=verdict, category=category, confidence=confidence, text=comment)
    acts += _case_acts(flag=flag, done=done)
    if undo == bool(acts):
        raise typer.BadParameter("say what to record, or --undo alone", param_hint="--verdict, --done, ... or --undo")
    with Session.open(session) as found:
        if undo:
            step = found.undo(reader, case)
            typer.echo(f"{case}: the last step is taken back" if step else f"{case}: nothing to take back")
            return
        found.record(reader, case, acts)
        typer.echo(f"{case}: recorded, the case is {found.state(case, reader).status}")


def _acts(finding: str, **said: Any) -> list[Act]:
    """Return what was said about a finding as acts: each word names its kind."""
    from lesionlens.review import Act

    kinds = {"text": "comment"}
    found = [(kinds.get(name, name), name, value) for name, value in said.items() if value is not None]
    if found and not finding:
        raise typer.BadParameter("say which finding it is about", param_hint="FINDING")
    return [Act(kind, finding, {name: value}) for kind, name, value in found]  # type: ignore[arg-type]  # Act checks it


def _case_acts(*, flag: bool | None, done: bool) -> list[Act]:
    from lesionlens.review import Act

    marked = [] if flag is None else [Act("flag", value={"flag": flag})]
    return [*marked, *([Act("done")] if done else [])]


def review_agree(
    session: _FILE, out: _AGREEMENT_OUT = None, overwrite: Overwrite = False, as_json: AsJson = False
) -> None:
    """Compare the readers with each other and with the model, on findings that both judged."""
    from lesionlens.report.review import agreement_summary
    from lesionlens.review import Session
    from lesionlens.review.agreement import session_agreement

    if out is not None:
        _write_agreement(session, out, overwrite=overwrite)
        return
    with Session.open(session, read_only=True) as found:
        agreement = session_agreement(found)
    if as_json:
        print_json(agreement_summary(agreement))
        return
    _print_agreement(agreement)


def _print_agreement(agreement: Agreement) -> None:
    from lesionlens.report.console import print_table
    from lesionlens.review.rules import MODEL

    # Beside the model, which accepts whatever it marks, a kappa is no measure of anything.
    kappas = [None if pair.second == MODEL else pair.kappa for pair in agreement.pairs]
    rows = [
        (pair.first, pair.second, str(pair.n), _number(pair.share), _number(kappa))
        for pair, kappa in zip(agreement.pairs, kappas, strict=True)
    ]
    print_table(("first", "second", "findings", "same verdict", "Cohen's kappa"), rows)
    if len(agreement.readers) > 1:
        typer.echo(f"All readers, {counted(agreement.n_all, 'finding')}: Fleiss' kappa {_number(agreement.fleiss)}")


def _write_agreement(session: Path, out: Path, *, overwrite: bool) -> None:
    """Write verdicts, detections and Dice of lesions, and confusions as heatmaps."""
    from lesionlens.handover import write_agreement
    from lesionlens.io.atomic import atomic_folder
    from lesionlens.report.console import print_table
    from lesionlens.review import Session

    with Session.open(session, read_only=True) as found, atomic_folder(out, overwrite=overwrite) as folder:
        agreement, detections, problems = write_agreement(found, folder)
    _print_agreement(agreement)
    rows = [
        (d.first, d.second, str(d.both), str(d.first_only), str(d.second_only), _number(d.mean_dice))
        for d in detections
    ]
    if rows:
        print_table(("first", "second", "lesions of both", "first only", "second only", "mean Dice"), rows)
    typer.echo(f"{out}: agreement.json, agreement.csv, lesions.csv, confusions as heatmaps")
    for problem in problems:
        typer.echo(f"Warning: {problem}", err=True)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def review_export(
    session: _FILE,
    out: _EXPORT_OUT = None,
    portable: Annotated[
        Path | None,
        typer.Option(parser=Path, help="File for a copy without names and paths, to be imported and merged elsewhere."),
    ] = None,
    masks: Annotated[bool, typer.Option("--masks/--no-masks", help="Measure edited findings, and write masks.")] = True,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write every finding with what each reader said, masks and statistics, and the whole trail; or a portable copy."""
    from lesionlens.handover import write_export
    from lesionlens.io.atomic import atomic_folder, atomic_path
    from lesionlens.review import Session
    from lesionlens.review.portable import copy_of, to_bytes

    if out is None and portable is None:
        raise typer.BadParameter("say where to write", param_hint="--out or --portable")
    with Session.open(session, read_only=True) as found:
        if portable is not None:
            with atomic_path(portable, overwrite=overwrite) as temporary:
                temporary.write_bytes(to_bytes(copy_of(found)))
            events = counted(len(found.events()), "event")
            typer.echo(f"{portable}: {counted(len(found.case_ids), 'case')}, {events}, no names or paths")
        if out is None:
            return
        with atomic_folder(out, overwrite=overwrite) as folder, progress_bars(quiet) as progress:
            problems = write_export(found, folder, masks=masks, progress=progress)
    written = [", statistics.csv"] if (out / "statistics.csv").exists() else []
    written += [", masks"] if any(out.glob("mask_*.nii.gz")) else []
    typer.echo(f"{out}: findings.csv, findings.json" + "".join(written))
    for problem in problems:
        typer.echo(f"Warning: {problem}", err=True)
