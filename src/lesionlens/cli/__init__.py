"""The command line: parse, call the core, print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from lesionlens.cli import calibrate, compare, importance, methods, registration, trust
from lesionlens.cli.methods import method_options
from lesionlens.cli.options import (
    Against,
    AsJson,
    BundleArgument,
    BundleName,
    CalibrationFile,
    Command,
    Device,
    Ensemble,
    Gamma,
    Identified,
    Input,
    Layer,
    Method,
    MethodOption,
    NoRegistration,
    OnIrregular,
    OtherFrame,
    Out,
    Overlay,
    OverWhat,
    Overwrite,
    Place,
    Quiet,
    Results,
    Samples,
    Score,
    Screenshot,
    Seed,
    Series,
    Stack,
    Target,
    Threshold,
    Trust,
    Uncertain,
    Version,
    print_json,
    progress_bars,
)
from lesionlens.errors import Cancelled, LesionLensError, ReadError, printable
from lesionlens.io.policy import Irregular

if TYPE_CHECKING:
    from lesionlens.io.series import SeriesInfo
    from lesionlens.pipeline import RunOptions
    from lesionlens.results import CaseResult

__all__ = ["app", "main"]

NOTICE = "Research use only - not a medical device."


app = typer.Typer(
    name="lesionlens",
    help=f"LesionLens shows what a medical imaging model sees. {NOTICE}",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
bundles_app = typer.Typer(help="List and show bundles.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(bundles_app, name="bundles")
methods.register(app)
importance.register(app)
trust.register(app)
compare.register(app)
calibrate.register(app)
registration.register(app)


@app.callback()
def _root(
    version: Version = False,
) -> None:
    pass


@app.command(cls=Command, epilog="Example:  lesionlens run scan.nii.gz --out results")
def run(
    input: Input,
    out: Out,
    bundle: BundleName = "flair-lesions",
    method: Method = "gradcam",
    target: Target = [],  # noqa: B006 - typer makes a new list for each call
    score: Score = None,
    over: OverWhat = "predicted",
    against: Against = [],  # noqa: B006 - the same
    gamma: Gamma = 1.0,
    layer: Layer = None,
    option: MethodOption = [],  # noqa: B006 - typer makes a new list for each call
    no_registration: NoRegistration = False,
    threshold: Threshold = 0.5,
    uncertainty: Uncertain = None,
    samples: Samples = None,
    seed: Seed = 0,
    ensemble: Ensemble = [],  # noqa: B006 - typer makes a new list for each call
    calibration: CalibrationFile = None,
    series: Series = None,
    stack: Stack = None,
    irregular: OnIrregular = "refuse",
    identified: Identified = False,
    trust: Trust = False,
    device: Device = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run a bundle on a scan: probability, Grad-CAM, regions, pictures and a record, written to a folder."""
    from lesionlens.pipeline import RunOptions

    if not 0 < threshold <= 1:
        raise typer.BadParameter(f"must be above 0 and at most 1, not {threshold:g}", param_hint="--threshold")
    options = RunOptions(
        input=input,
        bundle=bundle,
        method=method,
        target=None if not target else target[0] if len(target) == 1 else tuple(target),
        score=score,
        over=over,
        against=tuple(against),
        gamma=gamma,
        layer=layer,
        method_options=method_options(option),
        registration=not no_registration,
        threshold=threshold,
        uncertainty=uncertainty,
        samples=samples,
        seed=seed,
        ensemble=tuple(ensemble),
        calibration=calibration,
        series=series,
        stack=stack,
        irregular=irregular,
        identified=identified,
        trust=trust,
        device=device,
    )
    result = _run(options, out, overwrite=overwrite, quiet=quiet or as_json)
    if as_json:
        print_json(_summary(result, out))
    else:
        _print_result(result, out)
    _print_warnings(result)


@app.command(cls=Command, epilog="Example:  lesionlens demo --out demo-output")
def demo(out: Out = Path("demo-output"), overwrite: Overwrite = False, quiet: Quiet = False) -> None:
    """Run the embedded bundle on the sample scan and show the result in napari where there is a display."""
    from lesionlens.pipeline import RunOptions
    from lesionlens.sample import sample_scan

    scan = sample_scan()
    result = _run(RunOptions(scan), out, overwrite=overwrite, quiet=quiet)
    with _written(out):
        _print_result(result, out)
        _show_demo(scan, out)


def _show_demo(scan: Path, out: Path) -> None:
    """Open the viewer, or make a screenshot of it on a virtual display, or say what is missing."""
    import shutil
    import subprocess
    from importlib.util import find_spec

    again = f"lesionlens view {scan} {out}"
    if find_spec("napari") is None:
        typer.echo(f"The viewer is not installed (pip install 'lesionlens[gui]'); then: {again}")
    elif _has_display():
        _open(scan, out, None)
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


def _has_display() -> bool:
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@app.command(cls=Command, epilog="Example:  lesionlens info dicom_folder/")
def info(path: Place, identified: Identified = False, as_json: AsJson = False) -> None:
    """List the volumes at a path: series, grid, spacing, orientation and geometry verdict."""
    from dataclasses import asdict

    from lesionlens.io import list_series

    with progress_bars(quiet=not sys.stderr.isatty()) as progress:
        found = list_series(path, identified=identified, progress=progress)
    if as_json:
        print_json([{**asdict(s), "readable": s.readable, **_verdict(s)} for s in found])
        return
    from lesionlens.report.console import print_table

    rows = []
    for s in found:
        size = "x".join(map(str, s.shape)) if s.shape else "-"
        spacing = "x".join(f"{mm:.3g}" for mm in s.spacing_mm) if s.spacing_mm else "-"
        number = "-" if s.number is None else str(s.number)
        rows.append((number, s.description or "-", s.modality or "-", size, spacing, s.axcodes or "-"))
    print_table(("no.", "description", "modality", "voxels", "spacing mm", "axes"), rows)
    numbers = Counter(s.number for s in found if s.uid)
    for s in found:
        label = _label(s)
        if s.identity:
            typer.echo(f"{label}, " + ", ".join(f"{name.replace('_', ' ')}: {s.identity[name]}" for name in s.identity))
        typer.echo(f"{label}: {s.verdict}")  # not in the table: a terminal would cut the names of files in it
        if len(found) > 1 and s.uid:
            typer.echo(f"{label}, UID {s.uid}" + (f" in folder {_folder(s)}" if numbers[s.number] > 1 else ""))
        for n, name in enumerate(s.stacks):
            typer.echo(f"{label}, stack {n}: {name}")


def _label(series: SeriesInfo) -> str:
    """Return how a line of the list calls a series; a file that is none goes by its name."""
    if not series.uid:
        return printable(series.files[0])
    return f"series {'-' if series.number is None else series.number}"


def _folder(series: SeriesInfo) -> str:
    """Return the folder that holds all files of a series, relative to the one that is listed; a dot for that one."""
    return printable(os.path.commonpath([os.path.dirname(file) or "." for file in series.files]))


def _verdict(series: SeriesInfo) -> dict[str, Any]:
    """Return the verdict in words, and for programs in parts; those are missing where there is no geometry."""
    verdict = series.verdict
    parts = {} if isinstance(verdict, str) else {"problems": verdict.problems, "worst_error_mm": verdict.worst_error_mm}
    return {"verdict": str(verdict), **parts}


@app.command(cls=Command, epilog="Example:  lesionlens view scan.nii.gz results")
def view(
    input: Input,
    results: Results = None,
    series: Series = None,
    stack: Stack = None,
    irregular: OnIrregular = "refuse",
    identified: Identified = False,
    overlay: Overlay = [],  # noqa: B006 - typer makes a new list for each call
    other_frame: OtherFrame = False,
    screenshot: Screenshot = None,
    overwrite: Overwrite = False,
) -> None:
    """Open napari with the scan, the overlays of a run, and masks or maps from elsewhere."""
    from importlib.util import find_spec

    if find_spec("napari") is None:
        raise LesionLensError("The viewer is not installed; install it with: pip install 'lesionlens[gui]'")
    if not _has_display() and os.environ.get("QT_QPA_PLATFORM") != "offscreen":
        raise LesionLensError("There is no display to open a window on; set DISPLAY, or use xvfb-run.")
    _open(
        input,
        results,
        screenshot,
        series=series,
        stack=stack,
        irregular=irregular,
        identified=identified,
        overlays=overlay,
        other_frame=other_frame,
        overwrite=overwrite,
    )


def _open(
    scan: Path,
    results: Path | None,
    screenshot: Path | None,
    *,
    series: str | None = None,
    stack: str | None = None,
    irregular: Irregular = "refuse",
    identified: bool = False,
    overlays: Sequence[Path] = (),
    other_frame: bool = False,
    overwrite: bool = False,
) -> None:
    from lesionlens.io import read, read_overlay
    from lesionlens.io.atomic import atomic_path
    from lesionlens.io.reader import existing_path
    from lesionlens.results import read_case
    from lesionlens.ui.open import open_viewer, save_screenshot, view_scan
    from lesionlens.ui.scans import Request

    place = existing_path(scan)
    if screenshot is None:
        request = Request(place, series, stack, irregular, identified, results, tuple(overlays), other_frame)
        failure = view_scan(request)
        if failure:
            raise ReadError(failure)
        return
    volume = read(place, series=series, stack=stack, irregular=irregular, identified=identified)
    case = None if results is None else read_case(results, volume)
    maps = [
        found
        for path in overlays
        for found in read_overlay(path, volume, other_frame=other_frame, identified=identified)
    ]
    for note in dict.fromkeys(note for found in maps for note in found.provenance.notes):
        typer.echo(f"Note: {note}", err=True)
    with atomic_path(screenshot, overwrite=overwrite) as picture:
        viewer = open_viewer(volume, case, overlays=maps)
        save_screenshot(viewer, picture)
        viewer.close()


@bundles_app.command("list", cls=Command, epilog="Example:  lesionlens bundles list")
def bundles_list(as_json: AsJson = False) -> None:
    """List the bundles that ship with LesionLens."""
    from lesionlens.model import list_bundles

    found = list_bundles()
    if as_json:
        print_json([_bundle_summary(b) for b in found])
        return
    from lesionlens.report.console import print_table

    rows = [(b.name, b.version, b.task, ", ".join(b.inputs), ", ".join(b.outputs)) for b in found]
    print_table(("name", "version", "task", "input", "output"), rows)


@bundles_app.command("show", cls=Command, epilog="Example:  lesionlens bundles show flair-lesions")
def bundles_show(
    bundle: BundleArgument,
    as_json: AsJson = False,
) -> None:
    """Show what a bundle's metadata and model card say; nothing of the bundle is executed."""
    from lesionlens.model.catalogue import describe, locate, model_card, opened

    path, embedded = locate(bundle)
    with opened(path) as folder:
        found, card = describe(folder, embedded=embedded, root=path), model_card(folder)
    if as_json:
        print_json(_bundle_summary(found))
        return
    typer.echo(f"{found.name} {found.version}: {found.task}\n{found.description}")
    typer.echo(f"input:  {', '.join(found.inputs)}\noutput: {', '.join(found.outputs)}")
    if found.intended_use:
        typer.echo(f"intended use: {found.intended_use}")
    typer.echo("\n" + card if card else "It has no model card.")


def _bundle_summary(bundle: Any) -> dict[str, Any]:
    names = ("name", "version", "task", "inputs", "outputs", "foreground", "modality", "intended_use", "embedded")
    return {name: getattr(bundle, name) for name in names}


def _run(options: RunOptions, out: Path, *, overwrite: bool, quiet: bool) -> CaseResult:
    """Run a case and write its results; the folder is tried before the work."""
    from lesionlens.pipeline import run_case
    from lesionlens.results import write_case

    results: list[CaseResult] = []

    def work() -> CaseResult:
        results.append(run_case(options, progress=progress))
        return results[0]

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


def _stop(*_: object) -> NoReturn:
    """Turn a polite kill into an exception, so that half-written files are removed on the way out."""
    raise KeyboardInterrupt


# What typer exits with after Ctrl-C; our exit codes are 0, 1 and 2.
_TYPER_INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        0 when all went well, 1 when the work failed or was stopped, 2 for wrong usage.
    """
    try:
        if threading.current_thread() is threading.main_thread():  # Python allows no other to handle signals
            signal.signal(signal.SIGTERM, _stop)
        app(args=argv, prog_name="lesionlens")
    except SystemExit as stop:  # typer ends this way: usage errors are printed already
        if stop.code == _TYPER_INTERRUPTED:
            return _stopped()
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except LesionLensError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _stopped()
    except MemoryError:
        return _fail("out of memory; use a machine with more memory, or a smaller scan.")
    except Exception as error:  # a bug of ours; a traceback would tell the user nothing
        if os.environ.get("LESIONLENS_DEBUG"):
            raise
        return _fail(f"unexpected {type(error).__name__}: {error}. Set LESIONLENS_DEBUG=1 for details, and report it.")
    return 0


def _stopped() -> int:
    # An interrupt inside eval(), as of a bundle's expression, leaves a mark with which "python -m" dies by the signal
    # in the end, whatever was made of it. Only another eval() takes the mark away.
    eval("None")
    return _fail("stopped; nothing was written.")


def _fail(message: str) -> int:
    typer.echo(f"Error: {' '.join(message.split())}", err=True)
    return 1
