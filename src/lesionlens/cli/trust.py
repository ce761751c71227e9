"""The command that checks how far a map may be believed."""

from __future__ import annotations

from typing import Annotated

import typer

from lesionlens.cli.groups import Asking, Loading, Printing, Reading, spelt_out
from lesionlens.cli.methods import method_options
from lesionlens.cli.options import (
    BundleName,
    Command,
    Input,
    Layer,
    Mask,
    Method,
    MethodOption,
    OneTarget,
    OtherFrame,
    Out,
    print_json,
    progress_bars,
)

__all__ = ["register", "trust"]

Also = Annotated[list[str], typer.Option(help="Another method to compare with; several times for several.")]
Checks = Annotated[
    list[str],
    typer.Option(
        "--check",
        metavar="CHECK",
        help="Make this check alone, several times for several: seen, randomisation, perturbation, stability,"
        " localisation (needs --mask) or agreement (needs --also). [default: all]",
    ),
]
Whole = Annotated[
    bool,
    typer.Option(
        "--whole", help="Check in all windows, or the whole scan, not in the part that matters to the target."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(cls=Command, epilog="Example:  lesionlens trust scan.nii.gz --mask lesions.nii.gz --out checks")(
        spelt_out(trust)
    )


def trust(
    input: Input,
    out: Out,
    *,
    bundle: BundleName = "flair-lesions",
    method: Method = None,
    target: OneTarget = None,
    asking: Asking,
    layer: Layer = None,
    option: MethodOption = [],  # noqa: B006 - typer makes a new list for each call
    mask: Mask = None,
    also: Also = [],  # noqa: B006 - likewise
    check: Checks = [],  # noqa: B006 - likewise
    whole: Whole = False,
    reading: Reading,
    other_frame: OtherFrame = False,
    loading: Loading,
    printing: Printing,
) -> None:
    """Check how far a map may be believed, and say it in plain words, with numbers and a picture."""
    from lesionlens.checks import TrustReport, wanted_checks
    from lesionlens.report.console import print_trust
    from lesionlens.report.trust import write_trust

    settings = method_options(option)
    asking.check()
    wanted_checks(check or None, mask=mask is not None, others=bool(also))  # before anything is loaded

    with progress_bars(printing.silent) as progress:

        def work() -> TrustReport:
            from lesionlens.model.trust import trust as checked

            loading.permitted(bundle)
            volume = reading.scan(input, progress)
            return checked(
                loading.bundle(bundle),
                volume,
                method=method,
                target=target,
                score=asking.score,
                over=asking.place(volume, reading, progress, other_frame=other_frame),
                against=tuple(asking.against),
                gamma=asking.gamma,
                layer=layer,
                options=settings,
                mask=None if mask is None else reading.labels(mask, volume, progress, other_frame=other_frame),
                also=also,
                checks=check or None,
                whole=whole,
                progress=progress,
            )

        report = write_trust(work, out, overwrite=printing.overwrite)
    if printing.as_json:
        print_json({**report.record(), "out": str(out), "files": sorted(path.name for path in out.iterdir())})
        return
    print_trust(report)
    typer.echo(f"Results are in {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
