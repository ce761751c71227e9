"""The command that compares the results of many cases with what readers marked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lesionlens.cli.groups import Printing, spelt_out
from lesionlens.cli.options import PATH, Command, OtherFrame, print_json, progress_bars
from lesionlens.errors import printable

if TYPE_CHECKING:
    from lesionlens.evaluation import Evaluation, Stratum

__all__ = ["evaluate", "register"]

Cohort = Annotated[
    Path,
    typer.Argument(
        metavar="CASES",
        help="CSV table with the columns case, results and mask, or the folder that 'batch' wrote.",
        **PATH,
    ),
]
EvaluationOut = Annotated[Path, typer.Option("--out", "-o", help="Folder for tables, figures and JSON.", **PATH)]
Manifest = Annotated[Path | None, typer.Option(help="Manifest that 'batch' took; it says where the masks are.", **PATH)]
CohortThreshold = Annotated[
    float | None, typer.Option(metavar="P", help="Probability from which a voxel counts. [default: that of each run]")
]
CohortClass = Annotated[str | None, typer.Option("--class", help="Class to evaluate. [default: the only one]")]
MaskValue = Annotated[
    int | None, typer.Option(min=1, help="Number in the masks that stands for the class. [default: all above 0]")
]
By = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Sum up the cases of each value of a column apart, too."),
]

# What is printed of all cases; the tables have everything.
_SHOWN = (
    ("dice", "Dice", ""),
    ("hausdorff95_mm", "Hausdorff 95", " mm"),
    ("average_surface_distance_mm", "average surface distance", " mm"),
    ("sensitivity", "sensitivity, lesion by lesion", ""),
    ("precision", "precision, region by region", ""),
    ("false_positives_per_case", "false positives per case", ""),
    ("froc_score", "FROC score", ""),
    ("ece", "expected calibration error", ""),
    ("ece_near", "the same within 5 mm of lesions", ""),
    ("pointing_game", "pointing game", ""),
)


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(cls=Command, epilog="Example:  lesionlens evaluate cases.csv --out evaluation --by scanner")(
        spelt_out(evaluate)
    )


def evaluate(
    cases: Cohort,
    out: EvaluationOut,
    *,
    manifest: Manifest = None,
    threshold: CohortThreshold = None,
    label: CohortClass = None,
    mask_value: MaskValue = None,
    by: By = None,
    other_frame: OtherFrame = False,
    printing: Printing,
) -> None:
    """Compare results with masks over many cases: overlap, distances, detection, calibration, attributions."""
    from lesionlens.evaluation import cases_to_evaluate, write_evaluation
    from lesionlens.evaluation import evaluate as evaluated
    from lesionlens.evaluation.writing import evaluation_summary

    cohort = cases_to_evaluate(cases, manifest, by=by)
    with progress_bars(printing.silent) as progress:

        def work() -> Evaluation:
            return evaluated(
                cohort,
                label=label,
                threshold=threshold,
                mask_value=mask_value,
                by=by,
                other_frame=other_frame,
                progress=progress,
            )

        found = write_evaluation(work, out, overwrite=printing.overwrite)
    if printing.as_json:
        print_json({**evaluation_summary(found), "out": str(out), "files": sorted(p.name for p in out.iterdir())})
    else:
        _print(found, out)
    if found.left_out:
        raise typer.Exit(1)


def _print(found: Evaluation, out: Path) -> None:
    for stratum in found.strata:
        _print_stratum(stratum, found.by)
    for sentence in found.notes:
        typer.echo(sentence)
    for name, why in found.left_out.items():
        typer.echo(f"Left out: {printable(name)}: {printable(why)}", err=True)
    typer.echo(f"Results are in {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")


def _print_stratum(stratum: Stratum, by: str | None) -> None:
    heading = f"{by} {printable(stratum.name)}" if stratum.name else "all"
    typer.echo(f"{heading}: {_cases(len(stratum.cases))}")
    for metric, words, unit in _SHOWN:
        row = stratum[metric]
        if row.value is None:
            continue
        ends = "" if row.low is None or row.high is None else f" ({row.low:.3g} to {row.high:.3g})"
        typer.echo(f"  {words:32}{row.value:.3g}{unit}{ends}, {_cases(row.n_cases)}")


def _cases(count: int) -> str:
    return f"{count} case{'' if count == 1 else 's'}"
