"""The command that fits a temperature to labelled cases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lesionlens.cli.groups import Loading, Printing, spelt_out
from lesionlens.cli.options import BundleArgument, CalibrationOut, Cases, Command, Diagram, print_json, progress_bars
from lesionlens.errors import InputError, counted

if TYPE_CHECKING:
    from lesionlens.calibration import Calibration
    from lesionlens.heatmap import LabelMap
    from lesionlens.volume import Volume

__all__ = ["calibrate", "register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(cls=Command, epilog="Example:  lesionlens calibrate flair-lesions cases.csv --out calibration.json")(
        spelt_out(calibrate)
    )


def calibrate(
    bundle: BundleArgument,
    cases: Cases,
    out: CalibrationOut,
    *,
    diagram: Diagram = None,
    loading: Loading,
    printing: Printing,
) -> None:
    """Fit the temperature of a bundle to labelled cases; 'run --calibration' applies it."""
    import json

    from lesionlens.io.atomic import atomic_path
    from lesionlens.model.calibrated import calibrate as fit

    loading.permitted(bundle)
    rows, inputs = _rows(cases), list[dict[str, str]]()
    with atomic_path(out, overwrite=printing.overwrite) as file:
        with progress_bars(printing.silent) as progress:
            found = fit(loading.bundle(bundle), _read(rows, inputs), progress=progress)
        hashes = {} if diagram is None else _drawn(found, diagram, out, overwrite=printing.overwrite)
        text = found.to_json(inputs=inputs, files=hashes)
        file.write_text(text, encoding="utf-8")
    if printing.as_json:
        print_json(json.loads(text))
    else:
        _print(found, out)


def _drawn(found: Calibration, diagram: Path, out: Path, *, overwrite: bool) -> dict[str, str]:
    """Draw the diagram; return its hash by the way to it from the calibration."""
    import hashlib
    import os

    from lesionlens.io.atomic import atomic_path
    from lesionlens.report.reliability import write_reliability

    with atomic_path(diagram, overwrite=overwrite) as file:
        write_reliability(file, found)
    try:
        return {Path(os.path.relpath(diagram, out.parent)).as_posix(): hashlib.sha256(diagram.read_bytes()).hexdigest()}
    except ValueError:  # on another drive no way leads there
        return {}


def _rows(path: Path) -> list[tuple[Path, Path | str]]:
    """Return scan and mask, or scan and label, of each case; paths are relative to the table."""
    from lesionlens.io.tables import read_rows

    table = read_rows(path)
    names = set(table[0]) if table else set()
    answer = next((name for name in ("mask", "label") if name in names), None)
    if "scan" not in names or answer is None:
        found = ", ".join(sorted(map(str, names))) or "none"
        raise InputError(f"{path} needs the columns scan and mask (or label), and a row for each case; found: {found}.")
    empty = next((n for n, row in enumerate(table, start=2) if not (row["scan"] and row[answer])), None)
    if empty is not None:
        raise InputError(f"Line {empty} of {path} has no scan or no {answer}.")
    return [
        (path.parent / row["scan"], path.parent / row["mask"] if answer == "mask" else row["label"]) for row in table
    ]


def _read(rows: list[tuple[Path, Path | str]], inputs: list[dict[str, str]]) -> Iterator[tuple[Volume, LabelMap | str]]:
    """Read one case at a time: many do not fit into memory together; the hashes of what was read are kept."""
    from lesionlens.io import read
    from lesionlens.io.labels import read_labels

    for scan, answer in rows:
        volume = read(scan)
        if isinstance(answer, str):
            inputs.append({"scan": volume.source.sha256, "label": answer})
            yield volume, answer
            continue
        mask = read_labels(answer, volume)
        inputs.append({"scan": volume.source.sha256, "mask": str(mask.provenance.options.get("sha256", ""))})
        yield volume, mask


def _print(found: Calibration, out: Path) -> None:
    was = f"it was {found.found_wrong}" if found.found_wrong else "no calibration error falls by it"
    typer.echo(f"{found.bundle}: temperature {found.temperature:.4g} from {counted(found.n_cases, 'case')}; {was}.")
    for name, words in (("all", "all voxels"), ("band", "within 5 mm of lesions")):
        if name in found.scores:
            before, after = found.scores[name]["before"], found.scores[name]["after"]
            changes = (f"{key.upper()} {before[key]:.4f} -> {after[key]:.4f}" for key in ("ece", "ace", "brier"))
            typer.echo(f"{words if found.scores.get('band') else 'all cases'}: {', '.join(changes)}")
    typer.echo("These errors are of the cases that it was fitted to; on others they are larger.")
    typer.echo(f"The calibration is in {out}.")
