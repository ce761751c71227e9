"""The record of a run: everything that is needed to make the results again, and to see that they belong to a scan."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lesionlens import __version__
from lesionlens.heatmap import Heatmap, LabelMap, Provenance
from lesionlens.methods import BELOW_ZERO_NOTE, METHODS
from lesionlens.options import RunOptions
from lesionlens.regions import MeasuredClasses, Region
from lesionlens.results import RECORD_SCHEMA, RESEARCH_USE
from lesionlens.seals import digest_of_value
from lesionlens.spread import SAME_TWICE, Uncertainty, VolumeSpread
from lesionlens.volume import Array, Volume

if TYPE_CHECKING:
    from lesionlens.model.activation import Activation
    from lesionlens.model.bundle import Bundle
    from lesionlens.model.run import ModelOutput

__all__ = ["run_record"]

# Regions with less than this share of the positive attribution are not explained by it.
LEAST_SHARE = 0.1


def run_record(
    options: RunOptions,
    volume: Volume,
    bundle: Bundle,
    output: ModelOutput,
    measured: MeasuredClasses,
    seconds: dict[str, float],
    sampled: Uncertainty | None,
    spreads: Mapping[str, tuple[VolumeSpread, ...]],
    anatomy: LabelMap | None,
    thresholds: Mapping[str, float],
) -> dict[str, Any]:
    """Say everything that is needed to make the results again, and to see that they belong to a scan."""
    from lesionlens.model.prediction import versions

    regions = measured.regions
    asked, made_with = _options_record(options, volume, bundle), versions()
    return {
        "schema_version": RECORD_SCHEMA,
        "notice": RESEARCH_USE,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "lesionlens": __version__,
        "input": _input_record(volume),
        "bundle": _bundle_record(bundle, output.activation),
        "options": asked,
        "maps": [_map_record(m) for m in (*output.probabilities, *output.attributions, *_maps_of(sampled))],
        "uncertainty": _uncertainty_record(sampled, spreads),
        "class_probabilities": dict(output.class_probabilities),
        "detections": None if output.detections is None else [found.record() for found in output.detections],
        "anatomy": None if anatomy is None else _anatomy_record(anatomy),
        "n_regions": {label: len(found) for label, found in regions.items()},
        "region_steps": {label: asdict(steps) for label, steps in measured.steps.items()},
        "total_volume_mm3": {label: sum(r.volume_mm3 for r in found) for label, found in regions.items()},
        "warnings": [
            *_geometry_warnings(volume),
            *output.warnings,
            *filter(None, (output.activation.doubt,)),
            *_beside_the_regions(output, regions),
            *_left_out(measured),
            *(note for note in (() if sampled is None else sampled.notes) if note == SAME_TWICE),
            *(anatomy.provenance.notes if anatomy is not None else ()),
        ],
        "versions": made_with,
        "seconds": seconds,
        "computing": None if output.computed is None else output.computed.record(),
        "thresholds": dict(thresholds),
        "chain": _chain(volume, bundle, asked, made_with),
    }


def _chain(volume: Volume, bundle: Bundle, options: Mapping[str, Any], versions: Mapping[str, Any]) -> dict[str, str]:
    """Return the hash of each thing that the results rest on, and one over all of them."""
    links = {
        "input": volume.source.sha256,
        "pixels": values_hash(volume.array),
        "bundle": bundle.bundle_sha256,
        "weights": bundle.weights_sha256,
        "options": digest_of_value(options),
        "versions": digest_of_value({"lesionlens": __version__, **versions}),
    }
    return {**links, "all": digest_of_value(links)}


def _options_record(options: RunOptions, volume: Volume, bundle: Bundle) -> dict[str, Any]:
    """Return what was asked for."""
    return {
        "bundle": Path(options.bundle).name,  # folders of this machine are nobody's business
        "trust": options.trust,
        "method": options.method,
        "target": options.target,
        "score": options.score,
        "over": options.spec.over_text,
        "against": list(options.against),
        "gamma": options.gamma,
        "layer": options.layer,
        "method_options": dict(options.method_options),
        "registration": options.registration,
        "threshold": options.threshold,
        "thresholds": dict(options.thresholds),
        **asdict(options.rules),
        "anatomy": getattr(options.anatomy, "label", None) or getattr(options.anatomy, "name", None),
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
        "channels": [text.rsplit("/", 1)[-1].rsplit("\\", 1)[-1] for text in options.channels],
        "classes": list(options.classes),
        "through_affine": options.through_affine,
        "engine": options.engine,
        "memory_gib": options.memory_gib,
        "classes_kept": list(options.only),
    }


def _anatomy_record(anatomy: LabelMap) -> dict[str, Any]:
    return {"label": anatomy.label, "names": dict(anatomy.names), "notes": list(anatomy.provenance.notes)}


def _left_out(measured: MeasuredClasses) -> list[str]:
    """Say of each class what was found and is not in the results."""
    return [
        f"Of {label!r}, {steps.n_left_out} region(s) below the least volume were left out, {steps.left_out_mm3:.4g} mm³"
        " in all."
        for label, steps in measured.steps.items()
        if steps.n_left_out
    ]


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
        shares = [region.attribution_share for region in regions.get(attribution.label, ())]
        share = sum(one or 0.0 for one in shares)
        if attribution.kind == "attribution" and shares and share < LEAST_SHARE:
            label = repr(attribution.label)
            where = (
                f"The map holds no evidence for {label}, inside its regions or elsewhere"
                if all(one is None for one in shares)
                else f"Only {100 * share:.1f} % of the evidence for {label} lies inside its regions"
            )
            found.append(f"{where}: {_little(attribution.provenance)}")
    return found


def _little(made: Provenance) -> str:
    """Say why a map may show little of what regions rest on, and what may show more."""
    if BELOW_ZERO_NOTE in made.notes:
        title = METHODS[made.method].title
        return f"{title} is not made for layer {made.layer!r}, which holds values below 0; Grad-CAM may show more."
    what, other = (f"layer {made.layer!r}", "another") if made.layer else ("the map", "another method")
    return f"{what} shows little of what they rest on; {other} may show more."


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


def values_hash(array: Array) -> str:
    """Return the SHA-256 of an array's values as little-endian float32 in the order of memory of C."""
    return hashlib.sha256(np.ascontiguousarray(array, dtype="<f4").data).hexdigest()


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
        "sha256": values_hash(heatmap.array),
        "options": dict(made.options),
        "notes": list(made.notes),
    }
