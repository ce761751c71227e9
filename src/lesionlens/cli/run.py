"""The commands that run a bundle on a scan: ``run``, and ``demo`` on the sample scan."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lesionlens.cli.groups import Asking, Computes, Loading, Printing, Reading, Regions, spelt_out
from lesionlens.cli.options import NOTICE, Command, Input, Out, Overwrite, Quiet, Replay, print_json, progress_bars
from lesionlens.cli.running import Running, run_options
from lesionlens.cli.view import has_display, open_scan
from lesionlens.errors import Cancelled, ExplainError, printable

if TYPE_CHECKING:
    from lesionlens.options import RunOptions
    from lesionlens.results import CaseResult

__all__ = ["demo", "register", "run"]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(cls=Command, epilog="Example:  lesionlens run scan.nii.gz --out results")(spelt_out(run))
    app.command(cls=Command, epilog="Example:  lesionlens demo --out demo-output")(demo)


def run(
    input: Input,
    out: Out,
    *,
    running: Running,
    asking: Asking,
    regions: Regions,
    replay: Replay = None,
    computes: Computes,
    reading: Reading,
    loading: Loading,
    printing: Printing,
) -> None:
    """Run a bundle on a scan: probability, Grad-CAM, regions, pictures and a record, written to a folder."""
    options = run_options(input, running, asking, regions, computes, reading, loading)
    options, earlier = _replayed(options, replay)
    loading.permitted(options.bundle)
    result = _run(options, out, overwrite=printing.overwrite, quiet=printing.silent, earlier=earlier)
    if printing.as_json:
        print_json(_summary(result, out))
    else:
        _print_result(result, out)
    _print_warnings(result)
    _refuse_unanswered(result, options)


def _replayed(options: RunOptions, replay: Path | None) -> tuple[RunOptions, Mapping[str, Any] | None]:
    """Return the options of an earlier run and its record, or those that are given."""
    if replay is None:
        return options, None
    from lesionlens.replay import read_record, repeated

    earlier = read_record(replay)
    return repeated(earlier, options), earlier


def demo(out: Out = Path("demo-output"), overwrite: Overwrite = False, quiet: Quiet = False) -> None:
    """Run the embedded bundle on the sample scan and show the result in napari where there is a display."""
    from lesionlens.options import RunOptions
    from lesionlens.sample import sample_scan

    scan = sample_scan()
    result = _run(RunOptions(scan), out, overwrite=overwrite, quiet=quiet)
    with _written(out):
        _print_result(result, out)
        typer.echo(f"To judge its findings: lesionlens review start trial.session {scan} {out}")
        _show_demo(scan, out)


def _show_demo(scan: Path, out: Path) -> None:
    """Open the viewer, or make a screenshot of it on a virtual display, or say what is missing."""
    import shutil
    import subprocess
    from importlib.util import find_spec

    again = f"lesionlens view {scan} {out}"
    if find_spec("napari") is None:
        typer.echo(f"The viewer is not installed (pip install 'lesionlens[gui]'); then: {again}")
    elif has_display():
        open_scan(scan, out)
    elif shutil.which("xvfb-run"):
        picture = out / "viewer.png"
        view = [sys.executable, "-m", "lesionlens", "view", str(scan), str(out), "--screenshot", str(picture)]
        typer.echo("There is no display: making a screenshot of the viewer under Xvfb ...")
        done = subprocess.run(["xvfb-run", "-a", *view, "--overwrite"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            typer.echo(f"Screenshot of the viewer: {picture}")
        else:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            typer.echo(f"The viewer could not be drawn: {reason}")
    else:
        typer.echo(f"There is no display. Where there is one, see the result with: {again}")


def _run(
    options: RunOptions, out: Path, *, overwrite: bool, quiet: bool, earlier: Mapping[str, Any] | None = None
) -> CaseResult:
    """Run a case and write its results; the folder is tried before the work."""
    from lesionlens.pipeline import run_case
    from lesionlens.results import write_case

    results: list[CaseResult] = []

    def work() -> CaseResult:
        result = run_case(options, progress=progress)
        if earlier is not None:
            from lesionlens.replay import compared

            result = compared(result, earlier)
        results.append(result)
        return result

    with progress_bars(quiet) as progress:
        write_case(work, out, overwrite=overwrite, progress=progress)
    return results[0]


@contextmanager
def _written(out: Path) -> Iterator[None]:
    """Say, when the user stops what comes after the work, that the results are there."""
    try:
        yield
    except KeyboardInterrupt:
        raise Cancelled(f"stopped; the results are in {out}.") from None


def _summary(result: CaseResult, out: Path) -> dict[str, Any]:
    from lesionlens.report.table import region_rows

    files = sorted(path.name for path in out.iterdir())
    record = json.loads((out / "record.json").read_text(encoding="utf-8"))  # with the time that writing took
    return {**record, "out": str(out), "files": files, "regions": region_rows(result.regions, result.volume_spreads)}


def _print_result(result: CaseResult, out: Path) -> None:
    from lesionlens.report.console import print_result

    print_result(result)
    typer.echo(f"Results are in {printable(str(out))}: {', '.join(sorted(p.name for p in out.iterdir()))}")
    typer.echo(NOTICE)


def _print_warnings(result: CaseResult) -> None:
    for warning in result.warnings:
        typer.echo(f"Warning: {' '.join(warning.split())}", err=True)


def _refuse_unanswered(result: CaseResult, options: RunOptions) -> None:
    """Fail where --over could not be answered."""
    from lesionlens.pipeline import unanswered

    if unanswered(result, options):
        raise ExplainError("What --over asks could not be answered, see the warning; the prediction was written.")
