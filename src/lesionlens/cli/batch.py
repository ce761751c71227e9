"""The commands of many cases: ``batch`` runs a bundle on them, ``verify`` sees whether results have changed since."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lesionlens.cli.groups import Asking, Computes, Loading, Printing, Reading, Regions, spelt_out
from lesionlens.cli.options import (
    NOTICE,
    PATH,
    AsJson,
    Command,
    Quiet,
    print_json,
    progress_bars,
)
from lesionlens.cli.running import Running, run_options
from lesionlens.errors import Cancelled, counted, printable

if TYPE_CHECKING:
    from lesionlens.batch import BatchPlan, BatchResult
    from lesionlens.options import RunOptions

__all__ = ["batch", "register", "verify"]

# So many names are spelled out; the tables have all.
_MOST = 10


def _inputs(text: str) -> str:
    """Return what was typed: as a path, a URL would lose a slash."""
    return text if "://" in text else str(PATH["parser"](text))


BatchInputs = Annotated[
    str,
    typer.Argument(
        metavar="INPUTS",
        help="Folder (each series of a DICOM tree, each image file), a manifest of cases (CSV, JSON), or an archive and"
        " what is looked for in it (https://host/dicom-web?modality=MR, or pacs:NAME?modality=MR).",
        parser=_inputs,
        show_default=False,
    ),
]
BatchOut = Annotated[Path, typer.Option("--out", "-o", help="Folder of the batch.", **PATH)]
Pattern = Annotated[
    str, typer.Option(metavar="GLOB", help="Image files of a folder whose path in it matches, such as '*_FLAIR*'.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be run, and write nothing.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Work on so many cases at most. [default: all]")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try again what failed.")]
Rehash = Annotated[
    bool,
    typer.Option(
        "--rehash", help="Read the inputs of finished cases again, even where sizes and times say nothing has changed."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Processes on this machine that do a case each. [default: this one, stages overlapping]"),
]
Scheduler = Annotated[
    str | None, typer.Option(metavar="URL", help="dask scheduler that has workers, such as tcp://host:8786.")
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Threads of each network; another number rounds otherwise. [default: as 'run' takes]"),
]
# docs/how-to/run-many-cases.md says how much that is.
_ON_TOP = "the programs, explanations, and three cases with their maps (one in each worker) come on top"
Verifiable = Annotated[
    Path, typer.Argument(metavar="RESULTS", help="Folder that a command wrote, or a report or calibration.", **PATH)
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(cls=Command, epilog="Example:  lesionlens batch scans --out results")(spelt_out(batch))
    app.command(cls=Command, epilog="Example:  lesionlens verify results")(verify)


def batch(
    inputs: BatchInputs,
    out: BatchOut,
    *,
    pattern: Pattern = "*",
    dry_run: DryRun = False,
    limit: Limit = None,
    retry_failed: RetryFailed = False,
    rehash: Rehash = False,
    workers: Workers = None,
    scheduler: Scheduler = None,
    threads: Threads = None,
    running: Running,
    asking: Asking,
    regions: Regions,
    computes: Computes,
    reading: Reading,
    loading: Loading,
    printing: Printing,
) -> None:
    """Run a bundle on many scans: what is done already stays, and one that fails stops no other."""
    from lesionlens.batch import run_batch

    options = run_options(Path(), running, asking, regions, computes, reading, loading)
    loading.permitted(options.bundle)
    if dry_run:
        _dry_run(inputs, options, out, pattern, limit, retry_failed, rehash, printing)
        return
    try:
        with progress_bars(printing.silent) as progress:
            result = run_batch(
                inputs,
                options,
                out,
                pattern=pattern,
                workers=workers,
                scheduler=scheduler,
                threads=threads,
                retry_failed=retry_failed,
                overwrite=printing.overwrite,
                rehash=rehash,
                limit=limit,
                progress=progress,
            )
    except (KeyboardInterrupt, Cancelled):
        raise Cancelled(f"stopped; what is done is in {out}, and the same command goes on from there.") from None
    if printing.as_json:
        print_json(_summary(result))
    else:
        _print(result)
    if result.failed:
        raise typer.Exit(1)


def _dry_run(
    inputs: str,
    options: RunOptions,
    out: Path,
    pattern: str,
    limit: int | None,
    retry_failed: bool,
    rehash: bool,
    printing: Printing,
) -> None:
    from lesionlens.batch import plan_batch

    with progress_bars(printing.silent) as progress:
        plan = plan_batch(inputs, options, out, pattern=pattern, rehash=rehash, progress=progress)
    todo = {one.name for one in plan.to_do(retry_failed=retry_failed, overwrite=printing.overwrite, limit=limit)}
    if printing.as_json:
        print_json({"cases": plan.states, "to_do": sorted(todo), "left_out": plan.found.left_out})
        return
    for case in plan.found.cases:
        typer.echo(f"{'run ' if case.name in todo else 'keep'}  {plan.states[case.name]:8}{printable(case.name)}")
    _print_left_out(plan)
    each = "most of what is free" if options.memory_gib is None else f"{options.memory_gib:g} GiB"
    typer.echo(f"Memory: a prediction may take {each}; {_ON_TOP}.")
    typer.echo(f"{len(todo)} of {counted(len(plan.found.cases), 'case')} would be run; nothing was written.")


def _print_left_out(plan: BatchPlan) -> None:
    for why in plan.found.left_out:
        typer.echo(f"left out: {printable(why)}")


def _summary(result: BatchResult) -> dict[str, Any]:
    names = {"done": result.done, "failed": result.failed, "waiting": result.waiting}
    return {"out": str(result.out), "worked_on": result.worked_on, **names, "unfit_workers": dict(result.unfit)}


def _print(result: BatchResult) -> None:
    from lesionlens.io.tables import read_results
    from lesionlens.report.console import print_cases

    with (result.out / "summary.csv").open(newline="", encoding="utf-8") as file:
        print_cases(read_results(file))
    total = len(result.done) + len(result.failed) + len(result.waiting)
    words = [f"{len(result.done)} of {counted(total, 'case')} done"]
    words += [f"{len(result.failed)} failed"] if result.failed else []
    words += [f"{len(result.waiting)} wait"] if result.waiting else []
    typer.echo(f"{', '.join(words)}. Results are in {printable(str(result.out))}.")
    for address, why in result.unfit.items():
        typer.echo(f"worker {address} did nothing: {printable(why)}", err=True)
    for name in result.failed[:_MOST]:
        typer.echo(f"failed: {printable(name)}", err=True)
    if result.failed:
        typer.echo("failures.csv says why; --retry-failed tries them again.", err=True)
    typer.echo(NOTICE)


def verify(results: Verifiable, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Compare every file of a run's or batch's folder with the hash that was written with it."""
    from lesionlens.batch import verify as look

    with progress_bars(quiet or as_json) as progress:
        found = look(results, progress=progress)
    if as_json:
        print_json({"files": found.files, "problems": found.problems, "strangers": found.strangers})
    else:
        for problem in found.problems:
            typer.echo(printable(problem))
        if found.strangers:
            shown = ", ".join(map(printable, found.strangers[:_MOST]))
            typer.echo(f"{len(found.strangers)} file(s) were not written with the results, such as: {shown}")
        wrong = f"{len(found.problems)} of {counted(found.files, 'file')} not as written."
        typer.echo(f"{counted(found.files, 'file')} as written." if found.right else wrong)
    if not found.right:
        raise typer.Exit(1)
