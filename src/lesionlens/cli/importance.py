"""The command about feature importance."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lesionlens.cli.options import (
    AsJson,
    BundleName,
    Command,
    Device,
    Input,
    OneTarget,
    OnIrregular,
    OtherFrame,
    Out,
    Overwrite,
    Quiet,
    Series,
    Stack,
    Threshold,
    Trust,
    print_json,
    progress_bars,
)

if TYPE_CHECKING:
    from lesionlens.heatmap import LabelMap
    from lesionlens.volume import Volume

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
    )(importance)


def importance(
    input: Input,
    out: Out,
    bundle: BundleName = "flair-lesions",
    features: Features = "channels",
    labels: LabelFile = None,
    target: OneTarget = None,
    how: How = "ablate",
    fill: Fill = None,
    repeats: Repeats = 5,
    seed: Seed = 0,
    threshold: Threshold = 0.5,
    series: Series = None,
    stack: Stack = None,
    irregular: OnIrregular = "refuse",
    other_frame: OtherFrame = False,
    trust: Trust = False,
    device: Device = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Take away channels, labels or regions one by one and measure how far the target falls."""
    from lesionlens.importance import feature_importance, importance_record, write_importance
    from lesionlens.io import read
    from lesionlens.model.bundle import load_bundle
    from lesionlens.model.catalogue import permitted

    permitted(bundle, trust=trust)  # before minutes of reading
    with progress_bars(quiet or as_json) as progress:
        volume = read(input, series=series, stack=stack, irregular=irregular, progress=progress)
        wanted = features if labels is None else _labels(labels, volume, other_frame=other_frame)
        work = partial(
            feature_importance,
            load_bundle(bundle, trust=trust, device=device),
            volume,
            features=wanted,
            target=target,
            how=how,
            fill=fill,
            repeats=repeats,
            seed=seed,
            threshold=threshold,
            progress=progress,
        )
        found = write_importance(work, volume, out, overwrite=overwrite)
    if as_json:
        print_json(importance_record(found, volume))
        return
    from lesionlens.report.console import print_table

    typer.echo(f"{found.provenance.target}: {found.score:.4g}")
    rows = [(fall.name, f"{fall.fall:+.4g}", f"{fall.sd:.2g}" if fall.sd else "-") for fall in found.falls]
    print_table(("feature", "fall without it", "sd"), rows)
    typer.echo(f"Results are in {out}: {', '.join(sorted(p.name for p in out.iterdir()))}")


def _labels(path: Path, volume: Volume, *, other_frame: bool) -> LabelMap:
    """Read one label image onto the scan's grid."""
    from lesionlens.errors import InputError
    from lesionlens.heatmap import LabelMap
    from lesionlens.io import read_overlay

    found = read_overlay(path, volume, other_frame=other_frame)
    maps = [each for each in found if isinstance(each, LabelMap)]
    if len(maps) != 1:
        raise InputError(f"{path} holds {len(maps)} label images; give a file with one.")
    return maps[0]
