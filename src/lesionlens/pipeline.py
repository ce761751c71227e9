"""One case from a scan to its results: read, predict, explain, measure.

The command line and the napari widget both fill :class:`RunOptions` and call :func:`run_case`; ``results`` writes what
it returns and reads it back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lesionlens.computing import Computing
from lesionlens.errors import InputError
from lesionlens.heatmap import Heatmap, LabelMap
from lesionlens.io import read
from lesionlens.io.labels import read_labels
from lesionlens.methods import default_method, method_info, method_options
from lesionlens.options import RunOptions
from lesionlens.progress import Progress, silent
from lesionlens.record import run_record
from lesionlens.regions import MeasuredClasses, measure_classes
from lesionlens.results import CaseResult, write_case
from lesionlens.rules import DEFAULT_ANOMALY_THRESHOLD, DEFAULT_THRESHOLD, RegionRules
from lesionlens.spread import Uncertainty, VolumeSpread
from lesionlens.volume import Array, Volume

if TYPE_CHECKING:
    from lesionlens.model.bundle import Bundle
    from lesionlens.model.run import ModelOutput

__all__ = ["CaseResult", "RunOptions", "class_thresholds", "run_case", "unanswered", "write_case"]


def unanswered(result: CaseResult, options: RunOptions) -> str:
    """Say why what a run was asked over could not be answered; empty where it was, or nothing was asked.

    The prediction alone would look like the answer to a script.
    """
    from lesionlens.model.run import NO_MAP

    if options.spec.over == "predicted":
        return ""
    return next((warning.removeprefix(NO_MAP) for warning in result.warnings if warning.startswith(NO_MAP)), "")


@dataclass
class _Stopwatch:
    """Seconds per stage of a run."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, progress: Progress = silent, text: str = "") -> Iterator[None]:
        progress(text, 0, 1)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
        progress(text, 1, 1)


def run_case(
    options: RunOptions,
    *,
    volume: Volume | None = None,
    channels: Sequence[tuple[str, Volume]] | None = None,
    bundle: Bundle | None = None,
    progress: Progress = silent,
) -> CaseResult:
    """Run a bundle on a scan: probabilities, attribution, regions, and the record of it all.

    Parameters
    ----------
    options
        What to run.
    volume, channels, bundle
        Already loaded, to spare reading them again; by default they are loaded as the options say. ``channels`` are the
        further ones beside ``volume``, each with its name.
    progress
        Called as work advances; raise :class:`~lesionlens.errors.Cancelled` from it to stop.

    Raises
    ------
    LesionLensError
        Whatever stage fails says what to do.
    """
    clock, spec, computing = _Stopwatch(), options.spec, options.computing  # what cannot be asked is refused first
    # Without a name the bundle's task decides, and the methods to choose from then have no options, whatever it is.
    early = options.method or default_method("segmentation")[0]
    method_options(method_info(early), options.method_options)
    volume, bundles = _loaded(options, volume, bundle, clock, progress)
    from lesionlens.model.run import run_model
    from lesionlens.model.wish import Wish, method_of

    if isinstance(spec.over, Path):
        mask = read_labels(spec.over, volume, identified=options.identified, progress=progress)
        spec = replace(spec, over=mask)
    anatomy = _anatomy(options, volume, progress)
    method, why = method_of(bundles[0], options.method)
    options = replace(options, method=None if bundles[0].info.anomaly else method)  # as the record is to say it
    asked = (options.target, options.layer, options.method_options, spec, options.registration)
    wish = Wish(method, *asked, why=why)
    volumes, bundles = _channels(options, volume, channels, bundles, progress)
    thresholds, computing = class_thresholds(options, bundles[0]), _within_memory(computing)
    output = run_model(bundles[0], volumes, wish, computing=computing, progress=progress)
    clock.seconds.update(output.seconds)
    with clock.stage("uncertainty"):  # it reports its own progress
        sampled = _sampled(options, bundles, volumes, thresholds, _settled(computing, output), progress)
    maps = (*output.attributions, *(sampled.maps if sampled else ()))
    with clock.stage("measure", progress, "Measuring regions"):
        measured = _measured(options, volume, output, maps, thresholds, anatomy)
    spreads = _spreads(sampled, measured.labels, options.rules)
    sampled = sampled.with_volume_maps(measured.labels, spreads) if sampled else None
    return CaseResult(
        volume=volume,
        bundle=bundles[0].title,
        probabilities=output.probabilities,
        attributions=output.attributions,
        regions=measured.regions,
        labels=measured.labels,
        class_probabilities=output.class_probabilities,
        threshold=options.threshold,
        thresholds=thresholds,
        record=run_record(
            options, volume, bundles[0], output, measured, clock.seconds, sampled, spreads, anatomy, thresholds
        ),
        uncertainties=sampled.maps if sampled else (),
        volume_spreads=spreads,
        detections=output.detections,
        rules=options.rules,
        steps=measured.steps,
        anatomy=anatomy,
    )


def _loaded(
    options: RunOptions, volume: Volume | None, bundle: Bundle | None, clock: _Stopwatch, progress: Progress
) -> tuple[Volume, tuple[Bundle, ...]]:
    """Return the scan, and the bundles: the one that is run, and the further ones of an ensemble.

    What cannot be is refused as early as it shows: a bundle that is not trusted before minutes of reading.
    """
    if bundle is None:
        from lesionlens.model.permission import permitted

        permitted(options.bundle, trust=options.trust)
    if volume is None:
        with clock.stage("read"):  # reading reports its own progress
            volume = _read(options, progress)
    with clock.stage("load_bundle", progress, "Loading the bundle"):
        from lesionlens.model.bundle import load_bundle  # torch takes seconds, which the clock is to see

        bundle = bundle or load_bundle(
            options.bundle,
            trust=options.trust,
            device=options.device,
            classes=options.classes,
            through_affine=options.through_affine,
        )
        bundle = _calibrated(options, bundle)
        for name in options.only:
            bundle.channel(name)
        class_thresholds(options, bundle)
        members = [load_bundle(other, trust=options.trust, device=options.device) for other in options.ensemble]
        _check_sampling(options, (bundle, *members))
    return volume, (bundle, *members)


def _read(options: RunOptions, progress: Progress) -> Volume:
    return read(
        options.input,
        series=options.series,
        stack=options.stack,
        irregular=options.irregular,
        identified=options.identified,
        progress=progress,
    )


def _channels(
    options: RunOptions,
    volume: Volume,
    further: Sequence[tuple[str, Volume]] | None,
    bundles: tuple[Bundle, ...],
    progress: Progress,
) -> tuple[tuple[Volume, ...], tuple[Bundle, ...]]:
    """Return all channels, in the bundle's order and on the scan's grid; the bundle notes what was done."""
    from lesionlens.model.channels import matched

    if further is None:
        further = [_further(options, text, progress) for text in options.channels]
    first = bundles[0]
    volumes, notices = matched(first.info, [("", volume), *further])
    noted = replace(first, info=replace(first.info, decisions=(*first.info.decisions, *notices)))
    return volumes, (noted if notices else first, *bundles[1:])


def _further(options: RunOptions, text: str, progress: Progress) -> tuple[str, Volume]:
    """Read a further channel; its name is empty where the file's own says which it is."""
    name, separator, path = text.partition("=")
    file = Path(path if separator else text)
    found = read(file, irregular=options.irregular, identified=options.identified, progress=progress)
    return name.strip() if separator else "", found


def _anatomy(options: RunOptions, volume: Volume, progress: Progress) -> LabelMap | None:
    """Return the labels of anatomy, read before minutes of work on what cannot be measured."""
    if not isinstance(options.anatomy, Path):
        return options.anatomy
    return read_labels(options.anatomy, volume, identified=options.identified, progress=progress)


def _measured(
    options: RunOptions,
    volume: Volume,
    output: ModelOutput,
    maps: tuple[Heatmap, ...],
    thresholds: Mapping[str, float],
    anatomy: LabelMap | None,
) -> MeasuredClasses:
    return measure_classes(
        volume,
        [one for one in (*output.probabilities, *output.attributions) if one.has_regions],
        maps,
        options.threshold,
        thresholds=thresholds,
        rules=options.rules,
        anatomy=anatomy,
    )


def _spreads(
    sampled: Uncertainty | None, labels: Mapping[str, Array], rules: RegionRules
) -> dict[str, tuple[VolumeSpread, ...]]:
    if sampled is None:
        return {}
    return {label: sampled.volumes(label, found, connectivity=rules.connectivity) for label, found in labels.items()}


def _calibrated(options: RunOptions, bundle: Bundle) -> Bundle:
    """Apply the calibration that was given, if any."""
    if options.calibration is None:
        return bundle
    if options.ensemble:
        raise InputError("A calibration is of one bundle; leave it out, or the further bundles of the ensemble.")
    from lesionlens.calibration import read_calibration
    from lesionlens.model.calibrated import calibrated

    return calibrated(bundle, read_calibration(options.calibration))


def _check_sampling(options: RunOptions, bundles: Sequence[Bundle]) -> None:
    """Refuse a kind of uncertainty that does not serve before the work."""
    if options.uncertainty is not None:
        from lesionlens.model.sampling import check_sampling

        check_sampling(bundles, options.uncertainty, options.samples)
    elif options.ensemble or options.samples is not None:
        raise InputError("Samples and further bundles serve uncertainty; say which kind (tta, dropout, ensemble).")


def _within_memory(computing: Computing) -> Computing:
    """Let a prediction take most of the memory that is free, where nothing was said."""
    if computing.memory_gib is not None:
        return computing
    from lesionlens.model.free import free_gib

    return replace(computing, memory_gib=free_gib())


def _settled(computing: Computing, output: ModelOutput) -> Computing:
    """Let one engine compute all samples: the one that is on record."""
    if output.computed is None or computing.engine != "auto":
        return computing
    return replace(computing, engine=output.computed.engine)


def class_thresholds(options: RunOptions, bundle: Bundle) -> dict[str, float]:
    """Return the thresholds of single classes: those that were asked for, and else the bundle's.

    Who asks for a threshold other than the default means all classes. That of an anomaly map has its own default.

    Raises
    ------
    ExplainError
        If there is no such class.
    InputError
        If a threshold is none of a probability.
    """
    names = bundle.info.outputs
    anomaly = bundle.info.anomaly is not None
    own = dict.fromkeys(names, DEFAULT_ANOMALY_THRESHOLD) if anomaly else {}
    stated = {**own, **bundle.info.thresholds} if options.threshold == DEFAULT_THRESHOLD else {}
    found = {name: value for name, value in stated.items() if name in names}
    for name, value in options.thresholds.items():
        if not 0 < value <= (np.inf if anomaly else 1):
            raise InputError(f"A threshold of probabilities lies above 0 and at most at 1; found {value} for {name!r}.")
        found[names[bundle.channel(name)]] = float(value)
    return found


def _sampled(
    options: RunOptions,
    bundles: Sequence[Bundle],
    volume: Sequence[Volume],
    thresholds: Mapping[str, float],
    computing: Computing,
    progress: Progress,
) -> Uncertainty | None:
    """Make the predictions that uncertainty is read from, where it was asked for."""
    if options.uncertainty is None:
        return None
    from lesionlens.model.sampling import uncertainty

    return uncertainty(
        bundles,
        volume,
        method=options.uncertainty,
        samples=options.samples,
        seed=options.seed,
        threshold=options.threshold,
        thresholds=thresholds,
        computing=computing,
        progress=progress,
    )
