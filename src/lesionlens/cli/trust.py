"""The command that checks how far a map may be believed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lesionlens.cli.methods import method_options
from lesionlens.cli.options import (
    AsJson,
    BundleName,
    Command,
    Device,
    Input,
    Layer,
    Mask,
    Method,
    MethodOption,
    OneTarget,
    OnIrregular,
    OtherFrame,
    Out,
    Overwrite,
    Quiet,
    Series,
    Stack,
    Trust,
    print_json,
    progress_bars,
)
from lesionlens.errors import ReadError

if TYPE_CHECKING:
    from lesionlens.heatmap import LabelMap
    from lesionlens.progress import Progress
    from lesionlens.volume import Volume

__all__ = ["register", "trust"]

Also = Annotated[list[str], typer.Option(help="Another method to compare with; several times for several.")]
Checks = Annotated[
    list[str],
    typer.Option("--check", help="Make this check alone; several times for several. [default: all]"),
]
Whole = Annotated[bool, typer.Option("--whole", help="Check in all windows, not in the one with most of the target.")]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(cls=Command, epilog="Example:  lesionlens trust scan.nii.gz --mask lesions.nii.gz --out checks")(trust)


def trust(
    input: Input,
    out: Out,
    bundle: BundleName = "flair-lesions",
    method: Method = "gradcam",
    target: OneTarget = None,
    layer: Layer = None,
    option: MethodOption = [],  # noqa: B006 - typer makes a new list for each call
    mask: Mask = None,
    also: Also = [],  # noqa: B006 - likewise
    check: Checks = [],  # noqa: B006 - likewise
    whole: Whole = False,
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
    """Check how far a map may be believed, and say it in plain words, with numbers and a picture."""
    from lesionlens.checks import TrustReport
    from lesionlens.report.console import print_trust
    from lesionlens.report.trust import write_trust

    settings = method_options(option)

    with progress_bars(quiet or as_json) as progress:

        def work() -> TrustReport:
            from lesionlens.io import read
            from lesionlens.model.bundle import load_bundle
            from lesionlens.model.catalogue import permitted
            from lesionlens.model.trust import trust as checked

            permitted(bundle, trust=trust)  # before minutes of reading
            volume = read(input, series=series, stack=stack, irregular=irregular, progress=progress)
            return checked(
                load_bundle(bundle, trust=trust, device=device),
                volume,
                method=method,
                target=target,
                layer=layer,
                options=settings,
                mask=None if mask is None else _mask(mask, volume, progress, other_frame=other_frame),
                also=also,
                checks=check or None,
                whole=whole,
                progress=progress,
            )

        report = write_trust(work, out, overwrite=overwrite)
    if as_json:
        print_json({**report.record(), "out": str(out), "files": sorted(path.name for path in out.iterdir())})
        return
    print_trust(report)
    typer.echo(f"Results are in {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")


def _mask(path: Path, volume: Volume, progress: Progress, *, other_frame: bool) -> LabelMap:
    from lesionlens.heatmap import LabelMap
    from lesionlens.io import read_overlay

    found = [
        m for m in read_overlay(path, volume, other_frame=other_frame, progress=progress) if isinstance(m, LabelMap)
    ]
    if len(found) != 1:
        raise ReadError(
            f"Expected one mask of whole numbers in {path.name}; found {len(found)}. Give a file with one, 0 outside."
        )
    return found[0]
