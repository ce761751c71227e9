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
from lesionlens.cli.methods import method_options
from lesionlens.cli.options import (
    NOTICE,
    Anatomy,
    BundleName,
    CalibrationFile,
    Channels,
    ClassThreshold,
    Command,
    Ensemble,
    Input,
    Layer,
    Method,
    MethodOption,
    NoRegistration,
    Out,
    Overwrite,
    Quiet,
    Replay,
    Samples,
    Seed,
    Target,
    Threshold,
    Uncertain,
    print_json,
    progress_bars,
)
from lesionlens.cli.view import has_display, open_scan
from lesionlens.errors import Cancelled, printable

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
    bundle: BundleName = "flair-lesions",
    method: Method = None,
    target: Target = [],  # noqa: B006 - typer makes a new list for each call
    asking: Asking,
    layer: Layer = None,
    option: MethodOption = [],  # noqa: B006 - the same
    no_registration: NoRegistration = False,
    threshold: Threshold = 0.5,
    class_threshold: ClassThreshold = [],  # noqa: B006 - the same
    regions: Regions,
    anatomy: Anatomy = None,
    uncertainty: Uncertain = None,
    samples: Samples = None,
    seed: Seed = 0,
    ensemble: Ensemble = [],  # noqa: B006 - the same
    calibration: CalibrationFile = None,
    channel: Channels = [],  # noqa: B006 - the same
    replay: Replay = None,
    computes: Computes,
    reading: Reading,
    loading: Loading,
    printing: Printing,
) -> None:
    """Run a bundle on a scan: probability, Grad-CAM, regions, pictures and a record, written to a folder."""
    from lesionlens.options import RunOptions

    if not 0 < threshold <= 1:
        raise typer.BadParameter(f"must be above 0 and at most 1, not {threshold:g}", param_hint="--threshold")
    options = RunOptions(
        input=input,
        bundle=bundle,
        method=method,
        target=None if not target else target[0] if len(target) == 1 else tuple(target),
        score=asking.score,
        over=asking.over,
        against=tuple(asking.against),
        gamma=asking.gamma,
        layer=layer,
        method_options=method_options(option),
        registration=not no_registration,
        threshold=threshold,
        thresholds=_thresholds(class_threshold),
        rules=regions.rules,
        anatomy=anatomy,
        uncertainty=uncertainty,
        samples=samples,
        seed=seed,
        ensemble=tuple(ensemble),
        calibration=calibration,
        series=reading.series,
        stack=reading.stack,
        irregular=reading.irregular,
        identified=reading.identified,
        trust=loading.trusting,
        device=loading.device,
        classes=tuple(loading.classes),
        through_affine=loading.through_affine,
        channels=tuple(channel),
        engine=computes.engine,
        memory_gib=computes.memory,
        only=tuple(computes.only),
    )
    options, earlier = _replayed(options, replay)
    loading.permitted(options.bundle)
    result = _run(options, out, overwrite=printing.overwrite, quiet=printing.silent, earlier=earlier)
    if printing.as_json:
        print_json(_summary(result, out))
    else:
        _print_result(result, out)
    _print_warnings(result)


def _replayed(options: RunOptions, replay: Path | None) -> tuple[RunOptions, Mapping[str, Any] | None]:
    """Return the options of an earlier run and its record, or those that are given."""
    if replay is None:
        return options, None
    from lesionlens.replay import read_record, repeated

    earlier = read_record(replay)
    return repeated(earlier, options), earlier


def _thresholds(texts: list[str]) -> dict[str, float]:
    """Return what ``--class-threshold`` says."""
    found = {}
    for text in texts:
        name, sign, number = text.rpartition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            sign = ""
        if not sign or not name.strip() or not 0 < found[name.strip()] <= 1:
            raise typer.BadParameter(
                f"expected CLASS=P with P above 0 and at most 1, such as lesion=0.3; found {text!r}",
                param_hint="--class-threshold",
            )
    return found


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
