"""The words of the command line that several commands share: arguments, options, progress, JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from lesionlens import __version__
from lesionlens.computing import EngineName
from lesionlens.errors import counted
from lesionlens.io.policy import Irregular
from lesionlens.methods import Sampling
from lesionlens.rules import Connectivity
from lesionlens.target import ScoreName

if TYPE_CHECKING:
    from lesionlens.progress import Progress

__all__ = [
    "NOTICE",
    "PATH",
    "After",
    "Against",
    "Anatomy",
    "AsJson",
    "Before",
    "BundleArgument",
    "BundleName",
    "CalibrationFile",
    "CalibrationOut",
    "Cases",
    "ChangesOut",
    "Channels",
    "ClassThreshold",
    "Classes",
    "Command",
    "Device",
    "Diagram",
    "Engine",
    "Ensemble",
    "Every",
    "FeatureSeed",
    "FillHoles",
    "Gamma",
    "HealthyScans",
    "Identified",
    "Input",
    "Language",
    "Layer",
    "LeastChange",
    "Mask",
    "Memory",
    "MergeWithin",
    "Method",
    "MethodOption",
    "MinimumVolume",
    "Neighbours",
    "NoRegistration",
    "OnIrregular",
    "OneClass",
    "OneTarget",
    "OnlyClasses",
    "OptionalOut",
    "OtherFrame",
    "Out",
    "OverWhat",
    "Overlay",
    "Overwrite",
    "Place",
    "Quiet",
    "Replay",
    "Results",
    "ResultsA",
    "ResultsB",
    "Samples",
    "Score",
    "Screenshot",
    "Seed",
    "Series",
    "Stack",
    "Target",
    "Threshold",
    "ThroughAffine",
    "Trust",
    "TrustHash",
    "Uncertain",
    "Version",
    "Within",
    "print_json",
    "progress_bars",
]


NOTICE = "Research use only - not a medical device."


_HASH = re.compile(r"[0-9a-fA-F]{64}")


class Command(TyperCommand):
    """A command whose usage line shows what has to be given as ``INPUT``, not ``{INPUT}``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read ``--trust HASH`` as ``--trust-sha256 HASH``: an option cannot be both a flag and take a value."""
        return super().parse_args(ctx, _with_trust_hash(args))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line after the command."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


def _with_trust_hash(args: list[str]) -> list[str]:
    follows = [*args[1:], ""]
    return [
        "--trust-sha256" if a == "--trust" and _HASH.fullmatch(b) else a for a, b in zip(args, follows, strict=False)
    ]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lesionlens {__version__}")
        raise typer.Exit


def _path(text: str) -> Path:
    """Return the path that was given; an empty one, as of a variable that is not set, would be the current folder."""
    if not text:
        raise typer.BadParameter("expected a path, found an empty text; give a file or folder")
    return Path(text)


PATH: dict[str, Any] = {"parser": _path, "show_default": False}
_SCAN: dict[str, Any] = {**PATH, "help": "Image file (NIfTI, NRRD, MetaImage), DICOM folder, or a zip."}

Input = Annotated[Path, typer.Argument(metavar="INPUT", **_SCAN)]
Place = Annotated[Path, typer.Argument(metavar="PATH", **_SCAN)]
Results = Annotated[Path | None, typer.Argument(metavar="RESULTS", help="Folder that 'run' wrote.", **PATH)]
Series = Annotated[str | None, typer.Option(help="UID, number or description of one of several DICOM series.")]
Stack = Annotated[str | None, typer.Option(help="Name or number (from 0) of one of several volumes in a series.")]
OnIrregular = Annotated[
    Irregular,
    typer.Option(
        "--irregular",
        help="DICOM slices off a regular grid: refuse, resample at their true positions, or keep as they are.",
    ),
]
Identified = Annotated[
    bool, typer.Option("--identified", help="Show and record the patient's name, identifiers and dates of DICOM.")
]
Every = Annotated[bool, typer.Option("--all", help="Show every name, also those of the same layer.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
BundleName = Annotated[
    str, typer.Option("--bundle", "-b", help="Embedded or added bundle, or path of a folder or zip.")
]
BundleArgument = Annotated[
    str,
    typer.Argument(metavar="BUNDLE", help="Embedded or added bundle, or path of a folder or zip.", show_default=False),
]
Method = Annotated[
    str | None,
    typer.Option(
        help="How the result is explained; 'lesionlens methods' lists them. [default: gradcam; of a detection hirescam]"
    ),
]
MethodOption = Annotated[
    list[str],
    typer.Option("--option", metavar="NAME=VALUE", help="Option of the method; several times for several."),
]
NoRegistration = Annotated[
    bool, typer.Option("--no-registration", help="Leave aside what 'measure-registration' stored.")
]
Target = Annotated[
    list[str],
    typer.Option(
        help="Class to explain, name or number; several times for several, or 'all'. [default: the strongest]"
    ),
]
OneTarget = Annotated[
    str | None, typer.Option("--target", help="Class to explain, name or number. [default: the strongest]")
]
Score = Annotated[
    ScoreName | None,
    typer.Option(
        help="What is explained of the class. Margin: its logit minus the strongest other."
        " [default: margin; of a classifier logit]"
    ),
]
OverWhat = Annotated[
    str,
    typer.Option(
        "--over",
        help="Over which voxels of a segmentation: predicted, largest, the number of a region, x,y,z (the voxel at RAS"
        " mm), region:x,y,z (the region there), or a mask file. Of a detection: the number of a box, or x,y,z in it.",
    ),
]
Against = Annotated[
    list[str],
    typer.Option(
        help="Competing class; several times for several, or 'similar'. The mean of their logits is subtracted."
    ),
]
Gamma = Annotated[float, typer.Option(help="Strength of the competing classes.")]
Layer = Annotated[
    str | None, typer.Option(help="Target layer, dotted name, or several as a+b. [default: chosen by the network]")
]
Threshold = Annotated[
    float,
    typer.Option(help="Probability from which a voxel belongs to a region, in (0, 1]; of an anomaly map its value, 1."),
]
ClassThreshold = Annotated[
    list[str],
    typer.Option(
        "--class-threshold",
        metavar="CLASS=P",
        help="Threshold of one class; several times for several. [default: as the bundle states, else --threshold]",
    ),
]
Neighbours = Annotated[
    Connectivity,
    typer.Option(
        "--connectivity",
        help="Voxels of one region touch by faces (6), by edges too (18), by corners too (26).",
    ),
]
FillHoles = Annotated[bool, typer.Option("--fill-holes", help="Add to a region what it encloses in all directions.")]
MergeWithin = Annotated[
    float, typer.Option("--merge-mm", metavar="MM", help="Make regions one whose voxels lie at most so near.")
]
MinimumVolume = Annotated[
    float, typer.Option("--minimum-mm3", metavar="MM3", help="Leave out regions of less volume; they are counted.")
]
Anatomy = Annotated[
    Path | None,
    typer.Option("--anatomy", help="Label image of anatomy: in which labels each region lies, and how much.", **PATH),
]
Uncertain = Annotated[
    Sampling | None,
    typer.Option("--uncertainty", help="Predict several times and map where the answers differ. [default: once]"),
]
Samples = Annotated[
    int | None, typer.Option(help="How many predictions for the uncertainty. [default: 8 flips, or 20 with dropout]")
]
Seed = Annotated[int, typer.Option(help="Of the noise and dropout of the uncertainty.")]
Ensemble = Annotated[
    list[str],
    typer.Option(metavar="BUNDLE", help="Further bundle for --uncertainty ensemble; several times for several."),
]
Trust = Annotated[bool, typer.Option("--trust", help="Allow a bundle to execute what is not known to be harmless.")]
TrustHash = Annotated[
    str | None,
    typer.Option(
        "--trust-sha256",
        metavar="SHA256",
        help="Allow the bundle whose files have this hash, and remember it. '--trust SHA256' means the same.",
    ),
]
Classes = Annotated[
    list[str],
    typer.Option(
        "--class",
        metavar="CLASS",
        help="Class that a network with prompts (VISTA3D) is asked for; several times for several.",
    ),
]
ThroughAffine = Annotated[
    bool,
    typer.Option("--through-affine", help="Resample results by the affine of a preprocessing that cannot be undone."),
]
Channels = Annotated[
    list[str],
    typer.Option(
        "--channel", metavar="NAME=PATH", help="Further input channel beside INPUT; several times for several."
    ),
]
Engine = Annotated[
    EngineName,
    typer.Option(
        help="What runs the network: torch computes what MONAI computes; auto the fastest that agrees with it here;"
        " torch-folded, torch-bf16, openvino or openvino-bf16 are checked against it. Explanations use torch."
    ),
]
Memory = Annotated[
    float | None,
    typer.Option(
        metavar="GIB",
        help="Memory that a prediction may take; the programs, the explanation, and scans with their maps come on top."
        " [default: most of what is free]",
    ),
]
OnlyClasses = Annotated[
    list[str],
    typer.Option("--only", metavar="CLASS", help="Class to keep; several times for several. [default: all]"),
]
Language = Annotated[str, typer.Option("--lang", metavar="LANGUAGE", help="Of the pages: en or de.")]
Replay = Annotated[
    Path | None,
    typer.Option(help="record.json of an earlier run, whose options are taken; says what came out otherwise.", **PATH),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps. [default: the fastest]")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.", **PATH)]
ResultsA = Annotated[Path, typer.Argument(metavar="RESULTS_A", help="Folder that 'run' wrote.", **PATH)]
ResultsB = Annotated[Path, typer.Argument(metavar="RESULTS_B", help="Another one, on the same grid.", **PATH)]
Before = Annotated[Path, typer.Argument(metavar="BEFORE", help="Folder that 'run' wrote.", **PATH)]
After = Annotated[Path, typer.Argument(metavar="AFTER", help="That of a later scan of the same patient.", **PATH)]
OneClass = Annotated[str | None, typer.Option("--class", help="Class of the lesions. [default: all that both have]")]
Within = Annotated[
    float, typer.Option("--within-mm", metavar="MM", help="Lesions also match that lie at most so far apart.")
]
LeastChange = Annotated[
    float,
    typer.Option("--least-change", metavar="SHARE", help="Share of the volume from which a lesion grew or shrank."),
]
ChangesOut = Annotated[Path | None, typer.Option("--out", "-o", help="Folder for table, picture and JSON.", **PATH)]
CalibrationFile = Annotated[
    Path | None,
    typer.Option("--calibration", help="File that 'calibrate' wrote; probabilities are then calibrated.", **PATH),
]
CalibrationOut = Annotated[Path, typer.Option("--out", "-o", help="File for the calibration (JSON).", **PATH)]
Cases = Annotated[
    Path,
    typer.Argument(metavar="CASES", help="CSV table with the columns scan and mask, or scan and label.", **PATH),
]
Diagram = Annotated[Path | None, typer.Option("--diagram", help="File for the reliability diagram (PNG).", **PATH)]
OptionalOut = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder for difference maps, pictures and numbers.", **PATH)
]
Overlay = Annotated[
    list[Path],
    typer.Option(
        help="Mask or map to show, also of DICOM (segmentation, parametric map, report); several times for several.",
        **PATH,
    ),
]
Mask = Annotated[
    Path | None, typer.Option(help="What a reader marked: a mask of whole numbers, or a DICOM segmentation.", **PATH)
]
OtherFrame = Annotated[bool, typer.Option("--other-frame", help="Accept overlays of another frame of reference.")]
Screenshot = Annotated[Path | None, typer.Option(help="Save a picture of the window and close it.", **PATH)]
HealthyScans = Annotated[
    list[Path],
    typer.Argument(help="Scans in which nothing is wrong: NIfTI files or DICOM folders.", show_default=False),
]
FeatureSeed = Annotated[int, typer.Option("--seed", help="Of the features that are drawn.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results that the folder holds.")]
Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Progress]:
    """Yield a callback that draws one bar per stage on standard error, and says beforehand what takes long."""
    from lesionlens.progress import Forecast, silent

    if quiet:
        yield silent
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<20}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}
        forecast = Forecast()

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)
            if (said := forecast.told(stage, done, total)) is not None:
                bars.console.print(f"{stage}: {counted(total, 'step')}, {said}.", markup=False, highlight=False)

        yield show


def print_json(value: Any) -> None:
    """Print a value as JSON; what JSON does not know, as text."""
    typer.echo(json.dumps(value, indent=2, default=str))
