"""One case from a scan to its results: read, predict, explain, measure.

The command line and the napari widget both fill :class:`RunOptions` and call :func:`run_case`; ``results`` writes what
it returns and reads it back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesionlens import __version__
from lesionlens.errors import InputError
from lesionlens.heatmap import Heatmap, LabelMap
from lesionlens.io import read, read_overlay
from lesionlens.io.policy import Irregular
from lesionlens.methods import Sampling, Value
from lesionlens.progress import Progress, silent
from lesionlens.regions import Region, label_regions, measure
from lesionlens.results import RECORD_SCHEMA, RESEARCH_USE, CaseResult, write_case
from lesionlens.spread import Uncertainty, VolumeSpread
from lesionlens.target import Over, ScoreName, TargetSpec
from lesionlens.volume import Array, Volume

if TYPE_CHECKING:
    from lesionlens.model.activation import Activation
    from lesionlens.model.bundle import Bundle
    from lesionlens.model.run import ModelOutput

__all__ = ["CaseResult", "RunOptions", "measure_classes", "run_case", "write_case"]

# Regions with less than this share of the positive attribution are not explained by it.
LEAST_SHARE = 0.1


@dataclass(frozen=True)
class RunOptions:
    """What to run on which scan. Every front end takes its defaults from here.

    Parameters
    ----------
    input
        NIfTI file or DICOM folder.
    bundle
        Name of an embedded bundle, or path of a bundle.
    method
        Attribution method.
    target
        Class to explain, name or channel number, or several of them, or ``"all"``; by default the class with most
        predicted voxels (segmentation) or the highest probability (classification).
    score, over, against, gamma
        Which number of the class is explained, over which voxels, against which other classes; see
        :class:`~lesionlens.TargetSpec`. A mask may be a file.
    layer
        Target layer, dotted name, or several joined by ``+``; by default chosen by the kind of network.
    method_options
        Options of the method; those that are not here have their defaults.
    threshold
        Probability from which a voxel belongs to a region, in (0, 1].
    uncertainty, samples, seed
        How several predictions are made, see :func:`lesionlens.uncertainty`; by default none are.
    ensemble
        Further bundles, by name or path, for ``uncertainty="ensemble"``.
    calibration
        File that ``lesionlens calibrate`` wrote for the bundle; its probabilities are then calibrated.
    series
        UID, number or description of a DICOM series where a folder holds several.
    stack
        Name or number of a volume where a series or file holds several.
    irregular
        What to do with DICOM slices that do not lie on one regular grid; see :func:`lesionlens.read`.
    identified
        Keep the patient's name and identifiers wherever they come along, and put them into the record.
    trust
        Allow a bundle from outside to execute its config.
    device
        ``"cpu"``, ``"cuda"``, ``"mps"``; by default the fastest there is.
    """

    input: Path
    bundle: str = "flair-lesions"
    method: str = "gradcam"
    target: str | tuple[str, ...] | None = None
    score: ScoreName | None = None
    over: Over | str = "predicted"
    against: tuple[str, ...] = ()
    gamma: float = 1.0
    layer: str | None = None
    method_options: Mapping[str, Value] = field(default_factory=dict)
    threshold: float = 0.5
    uncertainty: Sampling | None = None
    samples: int | None = None
    seed: int = 0
    ensemble: tuple[str, ...] = ()
    calibration: Path | None = None
    series: str | None = None
    stack: str | None = None
    irregular: Irregular = "refuse"
    identified: bool = False
    trust: bool = False
    device: str | None = None


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
    bundle: Bundle | None = None,
    progress: Progress = silent,
) -> CaseResult:
    """Run a bundle on a scan: probabilities, attribution, regions, and the record of it all.

    Parameters
    ----------
    options
        What to run.
    volume, bundle
        Already loaded, to spare reading them again; by default they are loaded as the options say.
    progress
        Called as work advances; raise :class:`~lesionlens.errors.Cancelled` from it to stop.

    Raises
    ------
    LesionLensError
        Whatever stage fails says what to do.
    """
    clock, spec = _Stopwatch(), _spec(options)
    if bundle is None:
        from lesionlens.model.catalogue import permitted

        permitted(options.bundle, trust=options.trust)  # before minutes of reading
    if volume is None:
        with clock.stage("read"):  # reading reports its own progress
            volume = read(
                options.input,
                series=options.series,
                stack=options.stack,
                irregular=options.irregular,
                identified=options.identified,
                progress=progress,
            )
    with clock.stage("load_bundle", progress, "Loading the bundle"):
        from lesionlens.model.bundle import load_bundle
        from lesionlens.model.explanation import Wish
        from lesionlens.model.run import run_model

        bundle = bundle or load_bundle(options.bundle, trust=options.trust, device=options.device)
        bundle = _calibrated(options, bundle)
        members = [load_bundle(other, trust=options.trust, device=options.device) for other in options.ensemble]
        _check_sampling(options, (bundle, *members))
    if isinstance(spec.over, Path):
        spec = replace(spec, over=_mask(spec.over, volume))
    wish = Wish(options.method, options.target, options.layer, options.method_options, spec)
    output = run_model(bundle, volume, wish, progress=progress)
    clock.seconds.update(output.seconds)
    with clock.stage("measure", progress, "Measuring regions"):
        labels, regions = measure_classes(volume, output.probabilities, output.attributions, options.threshold)
    with clock.stage("uncertainty"):  # it reports its own progress
        sampled = _sampled(options, (bundle, *members), volume, progress)
    spreads = {label: sampled.volumes(label, labels[label]) for label in labels} if sampled else {}
    return CaseResult(
        volume=volume,
        bundle=bundle.title,
        probabilities=output.probabilities,
        attributions=output.attributions,
        regions=regions,
        labels=labels,
        class_probabilities=output.class_probabilities,
        threshold=options.threshold,
        record=_record(options, volume, bundle, output, regions, clock.seconds, sampled, spreads),
        uncertainties=sampled.maps if sampled else (),
        volume_spreads=spreads,
        detections=output.detections,
    )


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


def _sampled(options: RunOptions, bundles: Sequence[Bundle], volume: Volume, progress: Progress) -> Uncertainty | None:
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
        progress=progress,
    )


def _spec(options: RunOptions) -> TargetSpec:
    return TargetSpec(options.score, options.over, options.against, options.gamma, options.threshold)


def _mask(path: Path, volume: Volume) -> LabelMap:
    """Read the one mask that a file holds, on the grid of the scan."""
    found = read_overlay(path, volume, kind="mask")
    if len(found) != 1 or not isinstance(found[0], LabelMap):
        raise InputError(f"The explanation is asked over one mask; {path.name} holds {len(found)}. Choose one of them.")
    return found[0]


def measure_classes(
    volume: Volume,
    probabilities: tuple[Heatmap, ...],
    attributions: tuple[Heatmap, ...],
    threshold: float,
    *,
    progress: Progress = silent,
) -> tuple[dict[str, Array], dict[str, tuple[Region, ...]]]:
    """Measure the regions of every class at a threshold.

    Returns
    -------
    labels, regions : dict
        Per class: the (i, j, k) label array, and its regions, largest first.
    """
    labels, regions = {}, {}
    for done, heatmap in enumerate(probabilities):
        progress("Measuring regions", done, len(probabilities))
        # Where a network looks is no evidence, even seen from the class: it has no share to measure.
        evidence = (a for a in attributions if a.kind == "attribution" and a.label == heatmap.label)
        attribution = next(evidence, None)
        labels[heatmap.label] = label_regions(heatmap, threshold=threshold)
        found = measure(volume, heatmap, threshold=threshold, attribution=attribution, labels=labels[heatmap.label])
        regions[heatmap.label] = tuple(found)
    return labels, regions


def _record(
    options: RunOptions,
    volume: Volume,
    bundle: Bundle,
    output: ModelOutput,
    regions: dict[str, tuple[Region, ...]],
    seconds: dict[str, float],
    sampled: Uncertainty | None,
    spreads: Mapping[str, tuple[VolumeSpread, ...]],
) -> dict[str, Any]:
    """Say everything that is needed to make the results again, and to see that they belong to a scan."""
    from lesionlens.model.prediction import versions

    return {
        "schema_version": RECORD_SCHEMA,
        "notice": RESEARCH_USE,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "lesionlens": __version__,
        "input": _input_record(volume),
        "bundle": _bundle_record(bundle, output.activation),
        "options": {
            "bundle": Path(options.bundle).name,  # folders of this machine are nobody's business
            "trust": options.trust,
            "method": options.method,
            "target": options.target,
            "score": options.score,
            "over": _spec(options).over_text,
            "against": list(options.against),
            "gamma": options.gamma,
            "layer": options.layer,
            "method_options": dict(options.method_options),
            "threshold": options.threshold,
            "uncertainty": options.uncertainty,
            "samples": options.samples,
            "seed": options.seed,
            "calibration": None if options.calibration is None else options.calibration.name,
            "ensemble": [Path(other).name for other in options.ensemble],
            "series": volume.source.series or None,  # as it may be written down
            "stack": options.stack,
            "irregular": volume.source.verdict.handled or options.irregular,  # it may have been read before
            "identified": options.identified or bool(volume.source.identity),
            "device": str(bundle.device),
        },
        "maps": [_map_record(m) for m in (*output.probabilities, *output.attributions, *_maps_of(sampled))],
        "uncertainty": _uncertainty_record(sampled, spreads),
        "class_probabilities": dict(output.class_probabilities),
        "detections": None if output.detections is None else [found.record() for found in output.detections],
        "n_regions": {label: len(found) for label, found in regions.items()},
        "total_volume_mm3": {label: sum(r.volume_mm3 for r in found) for label, found in regions.items()},
        "warnings": [
            *_geometry_warnings(volume),
            *output.warnings,
            *filter(None, (output.activation.doubt,)),
            *_beside_the_regions(output, regions),
        ],
        "versions": versions(),
        "seconds": seconds,
    }


def _maps_of(sampled: Uncertainty | None) -> tuple[Heatmap, ...]:
    return sampled.maps if sampled else ()


def _uncertainty_record(
    sampled: Uncertainty | None, spreads: Mapping[str, tuple[VolumeSpread, ...]]
) -> dict[str, Any] | None:
    """Say how the predictions were made, and how volumes spread over them; None where there was one prediction."""
    if sampled is None:
        return None
    return {
        "sampling": sampled.sampling,
        "samples": list(sampled.samples),
        "notes": list(sampled.notes),
        "classes": {label: dict(found) for label, found in sampled.class_spreads.items()},
        "regions": {label: [asdict(one) for one in found] for label, found in spreads.items()},
        "total_volume_mm3": {label: asdict(sampled.total_volume(label)) for label in spreads},
    }


def _beside_the_regions(output: ModelOutput, regions: dict[str, tuple[Region, ...]]) -> list[str]:
    """Say where an attribution map hardly touches what it is meant to explain: a reader would look in vain."""
    found = []
    for attribution in output.attributions:
        share = sum(region.attribution_share or 0.0 for region in regions.get(attribution.label, ()))
        if attribution.kind == "attribution" and regions.get(attribution.label) and share < LEAST_SHARE:
            layer = attribution.provenance.layer
            what, other = (f"layer {layer!r}", "another") if layer else ("the map", "another method")
            found.append(
                f"Only {100 * share:.1f} % of the evidence for {attribution.label!r} lies inside its regions: {what}"
                f" shows little of what they rest on; {other} may show more."
            )
    return found


def _geometry_warnings(volume: Volume) -> tuple[str, ...]:
    """Say that places and sizes rest on slices that were not regular."""
    verdict = volume.source.verdict
    return () if verdict.regular else (f"The geometry of {volume.name} is {verdict}.",)


def _input_record(volume: Volume) -> dict[str, Any]:
    source, grid = volume.source, volume.grid
    return {
        "name": volume.name,
        "format": source.format,
        "sha256": source.sha256,
        "modality": source.modality,
        "stack": source.stack,
        "n_files": len(source.files),
        "shape": list(grid.shape),
        "spacing_mm": list(grid.spacing_mm),
        "axcodes": grid.axcodes,
        "affine_ras": grid.affine.tolist(),
        "decisions": list(source.decisions),
        "verdict": str(source.verdict),
        **({"identity": dict(source.identity)} if source.identity else {}),
    }


def _bundle_record(bundle: Bundle, activation: Activation) -> dict[str, Any]:
    return {
        "name": bundle.info.name,
        "version": bundle.info.version,
        "sha256": bundle.bundle_sha256,
        "weights_sha256": bundle.weights_sha256,
        "task": bundle.info.task,
        "activation": activation.kind,
        "activation_in_network": activation.applied,
        "activation_reason": activation.reason,
        "temperature": activation.temperature,
        "calibration": activation.calibration,
        "classes": list(bundle.info.outputs),
        "embedded": bundle.info.embedded,
        "decisions": list(bundle.info.decisions),
    }


def _map_record(heatmap: Heatmap) -> dict[str, Any]:
    made = heatmap.provenance
    return {
        "file": f"{heatmap.name}.nii.gz",
        "kind": heatmap.kind,
        "class": heatmap.label,
        "signed": heatmap.signed,
        "unit": heatmap.volume.unit,
        "method": made.method,
        "target": made.target,
        "layer": made.layer,
        "resolution_mm": made.resolution_mm,
        "min": float(heatmap.array.min()),
        "max": float(heatmap.array.max()),
        "options": dict(made.options),
        "notes": list(made.notes),
    }
