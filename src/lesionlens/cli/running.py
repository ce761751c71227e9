"""The options of a run, for the commands that run one case or many."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lesionlens.cli.groups import Asking, Computes, Loading, Reading, Regions
from lesionlens.cli.methods import method_options
from lesionlens.cli.options import (
    Anatomy,
    BundleName,
    CalibrationFile,
    Channels,
    ClassThreshold,
    Ensemble,
    Layer,
    Method,
    MethodOption,
    NoRegistration,
    Samples,
    Seed,
    Target,
    Threshold,
    Uncertain,
)

if TYPE_CHECKING:
    from lesionlens.options import RunOptions

__all__ = ["Running", "run_options"]


@dataclass(frozen=True)
class Running:
    """What is run, and what is made of its answer."""

    bundle: BundleName = "flair-lesions"
    method: Method = None
    target: Target = field(default_factory=list)
    layer: Layer = None
    option: MethodOption = field(default_factory=list)
    no_registration: NoRegistration = False
    threshold: Threshold = 0.5
    class_threshold: ClassThreshold = field(default_factory=list)
    anatomy: Anatomy = None
    uncertainty: Uncertain = None
    samples: Samples = None
    seed: Seed = 0
    ensemble: Ensemble = field(default_factory=list)
    calibration: CalibrationFile = None
    channel: Channels = field(default_factory=list)


def run_options(
    input: Path,
    running: Running,
    asking: Asking,
    regions: Regions,
    computes: Computes,
    reading: Reading,
    loading: Loading,
) -> RunOptions:
    """Return what the words of a command line ask for."""
    from lesionlens.options import RunOptions

    if not 0 < running.threshold <= 1:
        raise typer.BadParameter(f"must be above 0 and at most 1, not {running.threshold:g}", param_hint="--threshold")
    target = running.target
    return RunOptions(
        input=input,
        bundle=running.bundle,
        method=running.method,
        target=None if not target else target[0] if len(target) == 1 else tuple(target),
        score=asking.score,
        over=asking.over,
        against=tuple(asking.against),
        gamma=asking.gamma,
        layer=running.layer,
        method_options=method_options(running.option),
        registration=not running.no_registration,
        threshold=running.threshold,
        thresholds=_thresholds(running.class_threshold),
        rules=regions.rules,
        anatomy=running.anatomy,
        uncertainty=running.uncertainty,
        samples=running.samples,
        seed=running.seed,
        ensemble=tuple(running.ensemble),
        calibration=running.calibration,
        series=reading.series,
        stack=reading.stack,
        irregular=reading.irregular,
        identified=reading.identified,
        trust=loading.trusting,
        device=loading.device,
        classes=tuple(loading.classes),
        through_affine=loading.through_affine,
        channels=tuple(running.channel),
        engine=computes.engine,
        memory_gib=computes.memory,
        only=tuple(computes.only),
    )


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
