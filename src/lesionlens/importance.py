"""Feature importance of one scan: how far the target falls without a channel, an anatomical label or a region."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lesionlens.errors import InputError
from lesionlens.heatmap import Importance, LabelMap, Provenance
from lesionlens.io import write
from lesionlens.io.atomic import atomic_folder
from lesionlens.methods import Value
from lesionlens.progress import Progress, silent
from lesionlens.regions import find_regions
from lesionlens.results import RESEARCH_USE
from lesionlens.rules import DEFAULT_RULES, RegionRules, RegionSteps
from lesionlens.seals import file_hashes, sealed_text
from lesionlens.target import Over, ScoreName, TargetSpec
from lesionlens.volume import Volume

if TYPE_CHECKING:
    from lesionlens.model.bundle import Bundle

__all__ = ["IMPORTANCE_SCHEMA", "feature_importance", "importance_record", "write_importance"]

# Version of record.json of an importance.
IMPORTANCE_SCHEMA = 1


def feature_importance(
    bundle: Bundle,
    volume: Volume | Sequence[Volume],
    *,
    features: LabelMap | Literal["channels", "regions"] = "channels",
    target: str | int | None = None,
    score: ScoreName | None = None,
    over: Over | str | tuple[float, float, float] = "predicted",
    against: str | int | Sequence[str | int] = (),
    gamma: float = 1.0,
    how: Literal["ablate", "permute"] = "ablate",
    fill: str | None = None,
    repeats: int = 5,
    seed: int = 0,
    budget_mib: int = 1024,
    threshold: float = 0.5,
    rules: RegionRules = DEFAULT_RULES,
    progress: Progress = silent,
) -> Importance:
    """Take away one feature of the input after another, and see how far the target falls.

    Parameters
    ----------
    bundle
        What to explain.
    volume
        The scan, or one volume per input channel, all on one grid.
    features
        ``"channels"``: the input channels. A label map: its labels, such as anatomy. ``"regions"``: what the bundle
        itself finds, of segmentations.
    target
        Class, by name or channel number; by default as in :func:`lesionlens.explain`.
    score, over, against, gamma
        Which number of the class falls, over which voxels, against which other classes; see
        :class:`~lesionlens.TargetSpec`.
    how
        ``"ablate"`` replaces the feature, ``"permute"`` shuffles its voxels among themselves.
    fill
        What replaces it: ``"surroundings"`` (the mean just around a label), ``"mean"``, ``"minimum"``, ``"blur"`` or
        ``"zero"`` of each channel. By default the surroundings, of channels the mean.
    repeats, seed
        Permutations for each feature, and the seed that makes them repeat.
    budget_mib
        MiB of tensors that one batch may hold.
    threshold
        Probability from which a voxel belongs to a region.
    rules
        What counts as one region: those of a run give the regions, and the numbers, that it has.
    progress
        Called after each batch.

    Raises
    ------
    ExplainError
        If an option or the class does not exist.
    InputError
        If the volume or the labels do not suit, or there are no regions.
    """
    from lesionlens.model import Wish, channel_importance, check_question, label_importance

    spec = TargetSpec(score, over, against, gamma, threshold, rules)
    wish = Wish(target=target, spec=spec)
    options: dict[str, Value] = {"how": how, "repeats": repeats, "seed": seed, "budget_mib": budget_mib}
    if fill is not None:
        options["fill"] = fill
    if features == "channels":
        return channel_importance(bundle, volume, wish, options={"fill": "mean", **options}, progress=progress)
    if isinstance(features, LabelMap):
        return label_importance(bundle, volume, features, wish, options=options, progress=progress)
    if features != "regions":
        raise InputError(f"Features are a LabelMap, 'channels' or 'regions'; found {features!r}.")
    check_question(bundle, volume, wish)
    regions, steps = _regions(bundle, volume, target, threshold, rules, progress)
    wish = replace(wish, target=regions.label)
    found = label_importance(bundle, volume, regions, wish, options=options, progress=progress)
    asked = {**found.provenance.options, "threshold": threshold, **asdict(rules)}
    notes = (f"Regions: {steps.text}.",) if steps.text else ()
    made = replace(found.provenance, options=asked, notes=(*found.provenance.notes, *notes))
    heatmap = None if found.heatmap is None else replace(found.heatmap, provenance=made)
    return replace(found, provenance=made, heatmap=heatmap)


def _regions(
    bundle: Bundle,
    volume: Volume | Sequence[Volume],
    target: str | int | None,
    threshold: float,
    rules: RegionRules,
    progress: Progress,
) -> tuple[LabelMap, RegionSteps]:
    """Return the regions of the wanted class, by default of the one with most voxels, and what the rules did."""
    from lesionlens.model import predict

    if bundle.info.task != "segmentation":
        raise InputError(
            f"{bundle.name} is a {bundle.info.task} bundle and finds no regions; take away its channels, or the labels"
            " of a label image."
        )
    maps = predict(bundle, volume, progress=progress)
    if target is not None:
        wanted = bundle.info.outputs[bundle.channel(target)]
        maps = [heatmap for heatmap in maps if heatmap.label == wanted]
    labelled = [(heatmap, find_regions(heatmap, threshold=threshold, rules=rules)) for heatmap in maps]
    heatmap, found = max(labelled, key=lambda pair: int((pair[1].labels > 0).sum()), default=(None, None))
    if heatmap is None or found is None or not found.labels.any():
        by, rest = (f" by the rules ({rules.text})", ", or ask for less") if rules.text else ("", "")
        raise InputError(
            f"{bundle.name} finds no region at probability {threshold:g} or more{by}; lower the threshold{rest}."
        )
    return LabelMap(heatmap.volume.with_array(found.labels), heatmap.label, {}, Provenance()), found.steps


def write_importance(
    result: Importance | Callable[[], Importance], volume: Volume, out: Path | str, *, overwrite: bool = False
) -> Importance:
    """Write an importance into a folder: numbers, bar chart, heatmap and record; all of it, or nothing.

    Parameters
    ----------
    result
        What :func:`feature_importance` returned, or a function that computes it: the folder is then tried first.
    volume
        The scan, for the record.
    out
        Folder to make. It must not exist, or be empty, unless ``overwrite``.
    overwrite
        Replace what the folder holds.

    Returns
    -------
    Importance
        What was written.

    Raises
    ------
    OutputError
        If the folder exists and holds files, or cannot be written.
    """
    from lesionlens.report.importance import write_bars, write_falls

    with atomic_folder(out, overwrite=overwrite) as folder:
        found = result() if callable(result) else result
        write_falls(found, folder / "importance.csv")
        write_bars(found, folder / "importance.png")
        if found.heatmap is not None:
            write(found.heatmap, folder / "importance.nii.gz")
        files = file_hashes(folder, [path.name for path in folder.iterdir()])
        text = sealed_text({**importance_record(found, volume), "files": files})
        (folder / "record.json").write_text(text, encoding="utf-8")
    return found


def importance_record(found: Importance, volume: Volume) -> dict[str, Any]:
    """Return everything that is needed to make an importance again, as plain values."""
    made = found.provenance
    return {
        "schema_version": IMPORTANCE_SCHEMA,
        "notice": RESEARCH_USE,
        "input": {"name": volume.name, "sha256": volume.source.sha256, **_identity(volume)},
        "bundle": {"title": made.bundle, "sha256": made.bundle_sha256, "weights_sha256": made.weights_sha256},
        "method": made.method,
        "target": made.target,
        "class": found.label,
        "score": found.score,
        "features": [asdict(fall) for fall in found.falls],
        "options": dict(made.options),
        "notes": list(made.notes),
        "versions": dict(made.versions),
    }


def _identity(volume: Volume) -> dict[str, Any]:
    return {"identity": dict(volume.source.identity)} if volume.source.identity else {}
