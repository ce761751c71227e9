"""The command about feature importance."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lesionlens.cli.groups import Asking, Loading, Printing, Reading, Regions, spelt_out
from lesionlens.cli.options import (
    BundleName,
    Command,
    Input,
    OneTarget,
    OtherFrame,
    Out,
    Threshold,
    print_json,
    progress_bars,
)

if TYPE_CHECKING:
    from lesionlens.heatmap import Importance

__all__ = ["importance", "register"]

Features = Annotated[
    Literal["channels", "regions"], typer.Option(help="What is taken away: input channels, or the regions found.")
]
LabelFile = Annotated[
    Path | None, typer.Option(parser=Path, help="Label image whose labels are taken away instead, such as anatomy.")
]
How = Annotated[
    Literal["ablate", "permute"], typer.Option(help="Replace a feature, or shuffle its voxels among themselves.")
]
Fill = Annotated[
    str | None,
    typer.Option(help="surroundings, mean, minimum, blur or zero. [default: surroundings; of channels mean]"),
]
Repeats = Annotated[int, typer.Option(min=1, help="Permutations for each feature.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the permutations.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(
        cls=Command, epilog="Example:  lesionlens importance scan.nii.gz --labels anatomy.nii.gz --out importance"
    )(spelt_out(importance))


def importance(
    input: Input,
    out: Out,
    *,
    bundle: BundleName = "flair-lesions",
    features: Features = "channels",
    labels: LabelFile = None,
    target: OneTarget = None,
    asking: Asking,
    how: How = "ablate",
    fill: Fill = None,
    repeats: Repeats = 5,
    seed: Seed = 0,
    threshold: Threshold = 0.5,
    regions: Regions,
    reading: Reading,
    other_frame: OtherFrame = False,
    loading: Loading,
    printing: Printing,
) -> None:
    """Take away channels, labels or regions one by one and measure how far the target falls."""
    from lesionlens.importance import feature_importance, importance_record, write_importance

    asking.check()
    loading.permitted(bundle)
    with progress_bars(printing.silent) as progress:
        volume = reading.scan(input, progress)
        work = partial(
            feature_importance,
            loading.bundle(bundle),
            volume,
            features=features if labels is None else reading.labels(labels, volume, progress, other_frame=other_frame),
            target=target,
            score=asking.score,
            over=asking.place(volume, reading, progress, other_frame=other_frame),
            against=tuple(asking.against),
            gamma=asking.gamma,
            how=how,
            fill=fill,
            repeats=repeats,
            seed=seed,
            threshold=threshold,
            rules=regions.rules,
            progress=progress,
        )
        found = write_importance(work, volume, out, overwrite=printing.overwrite)
    if printing.as_json:
        print_json(importance_record(found, volume))
    else:
        _print(found, out)


def _print(found: Importance, out: Path) -> None:
    from lesionlens.report.console import print_table

    typer.echo(f"{found.provenance.target}: {found.score:.4g}")
    rows = [(fall.name, f"{fall.fall:+.4g}", f"{fall.sd:.2g}" if fall.sd else "-") for fall in found.falls]
    print_table(("feature", "fall without it", "sd"), rows)
    for note in found.provenance.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"Results are in {out}: {', '.join(sorted(p.name for p in out.iterdir()))}")
