"""From what a user asks about a class to a target of the network's logits, on the network's grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lesionlens.errors import ExplainError
from lesionlens.explain import BoxScore, ClassLogit, DetectionNetwork, RegionMargin, Score, Target
from lesionlens.heatmap import Heatmap, LabelMap, Provenance
from lesionlens.model.activation import Activation
from lesionlens.model.bundle import Bundle
from lesionlens.model.preprocess import Prepared
from lesionlens.regions import label_regions
from lesionlens.target import Point, TargetSpec
from lesionlens.volume import Grid, resample

__all__ = ["channels_of", "check_place", "check_spec", "chosen_channel", "score_of", "target_of"]

Wanted = str | int | tuple[str | int, ...] | None
Mask = NDArray[np.bool_]


def channels_of(bundle: Bundle, wanted: Wanted) -> tuple[int | None, ...]:
    """Return the output channels of the classes that were asked for; None is the one that the output will choose.

    ``"all"`` stands for all classes but the background, unless a class has that name.
    """
    outputs = bundle.info.outputs
    if wanted is None:
        return (None,)
    names = wanted if isinstance(wanted, tuple) else (wanted,)
    if names == ("all",) and "all" not in map(str.lower, outputs):
        return tuple(c for c in range(len(outputs)) if c != bundle.info.background)
    found = tuple(dict.fromkeys(bundle.channel(name) for name in names))
    if not found:
        raise ExplainError("There is no class to explain in an empty list; name one, or leave the target out.")
    return found


def chosen_channel(
    bundle: Bundle,
    wanted: str | int | None,
    output: torch.Tensor,
    activation: Activation,
    real: torch.Tensor | None = None,
) -> int:
    """Return the wanted class, or the one with most predicted voxels, the highest number or the surest anchor."""
    if wanted is not None:
        return bundle.channel(wanted)
    if bundle.info.task == "classification":
        return int(output[0].argmax())
    if bundle.detector is not None:
        return int(output[0, : bundle.detector.n_classes].amax(dim=1).argmax())
    foreground = [c for c in range(len(bundle.info.outputs)) if c != bundle.info.background]
    if len(foreground) == 1:
        return foreground[0]
    found = output[0] if real is None else output[0][:, real.to(output.device)]
    if activation.kind == "softmax":
        winners = found.argmax(dim=0)
        sizes = [int((winners == c).sum()) for c in foreground]
    else:
        limit = 0.5 if activation.applied else 0.0
        sizes = [int((found[c] > limit).sum()) for c in foreground]
    return foreground[int(np.argmax(sizes))]


def check_spec(bundle: Bundle, spec: TargetSpec) -> None:
    """Refuse what does not exist before any work is done."""
    score_of(bundle, spec, "margin")
    if bundle.detector is not None and isinstance(spec.over, LabelMap | Path):
        raise ExplainError(
            f"{bundle.name} finds boxes, of which one is explained: by its number, 1 the surest, or by a place inside"
            f" it; found {spec.over_text!r}."
        )
    if bundle.info.task == "classification" and spec.over != "predicted":
        raise ExplainError(
            f"{bundle.name} is a classifier: its answer belongs to the whole scan, not to {spec.over_text!r}. Leave out"
            " what it is asked over."
        )


def score_of(bundle: Bundle, spec: TargetSpec, default: str) -> Score:
    """Return the number that is asked for, with classes as channels."""
    names = spec.against if isinstance(spec.against, tuple) and not spec.similar else ()
    return Score(
        kind=spec.score or ("logit" if default == "logit" else "margin"),
        against=tuple(dict.fromkeys(bundle.channel(name) for name in names)),
        similar=spec.similar,
        gamma=spec.gamma,
        labels=tuple(bundle.info.outputs),
    )


def target_of(
    bundle: Bundle, prepared: Prepared, spec: TargetSpec, channel: int, *, seen: Activation, output: torch.Tensor
) -> Target:
    """Return the target for one class.

    Parameters
    ----------
    bundle, prepared
        What ran on what.
    spec
        What is asked.
    channel
        The class.
    seen
        What the numbers of the output are: logits, or probabilities already.
    output
        (1, K, ...) of the network, for the regions that it predicts.
    """
    label, sigmoid = bundle.info.outputs[channel], seen.kind == "sigmoid"
    if bundle.info.task == "classification":
        return ClassLogit(channel, label, score_of(bundle, spec, "logit"), sigmoid)
    if bundle.detector is not None:
        target = BoxScore(channel, bundle.detector.n_classes, label, score=score_of(bundle, spec, "logit"))
        return _box(bundle.detector, prepared, output, target, spec)
    real = None if prepared.real is None else torch.from_numpy(prepared.real)
    score = score_of(bundle, spec, "margin")
    if spec.over == "predicted":
        return RegionMargin(channel, label, sigmoid=sigmoid, within=real, score=score)
    mask, name = _region(bundle, prepared, spec, channel, seen, output)
    region = torch.from_numpy(mask) if real is None else torch.from_numpy(mask) & real
    return RegionMargin(channel, label, region, name, sigmoid, real, score)


def check_place(bundle: Bundle, prepared: Prepared, spec: TargetSpec) -> None:
    """Refuse a place or mask outside the scan, before the network sees it; whether a region is there shows later."""
    over = spec.over
    if isinstance(over, Point):
        _index(prepared.volume.grid, over, "the scan")
    if bundle.detector is None and isinstance(over, LabelMap):
        _on_network(prepared, over.array > 0, over.grid, f"the mask {over.label!r}")
    elif bundle.detector is None and isinstance(over, Point) and not over.region:
        _voxel(prepared, over)


def _box(
    network: DetectionNetwork, prepared: Prepared, output: torch.Tensor, target: BoxScore, spec: TargetSpec
) -> BoxScore:
    """Return the target of the box that is asked about: by default the surest of the class."""
    found = network.boxes(output, prepared.grid.shape, within=prepared.inner_shape)
    boxes = [box for box in found if box.index == target.index]
    label, over = target.label, spec.over
    if isinstance(over, Point):
        place = prepared.grid.voxel(over.ras)
        number = next((n for n, box in enumerate(boxes, start=1) if box.holds(place)), None)
        if number is None:
            raise ExplainError(f"There is no box of {label!r} at {_mm(over)}; choose a place inside one.")
    else:
        number = over if isinstance(over, int) else 1
    if not boxes and not isinstance(over, int):
        least = f"no box of the class has a confidence above {network.rules.least_score:g}"
        return replace(target, name=f"the surest anchor ({least})")
    if number > len(boxes):
        raise ExplainError(f"There is no box {number} of {label!r}; there are {len(boxes)}.")
    box = boxes[number - 1]
    r, a, s = prepared.grid.world(box.centre).round(1).tolist()
    name = f"box {number} of {len(boxes)} (confidence {box.confidence:.2f}, at {_mm(Point((r, a, s)))})"
    return replace(target, anchor=box.anchor, name=name)


def _region(
    bundle: Bundle, prepared: Prepared, spec: TargetSpec, channel: int, seen: Activation, output: torch.Tensor
) -> tuple[Mask, str]:
    """Return the voxels that are asked about, (D, H, W) bool on the network's grid, and what they are."""
    over, label = spec.over, bundle.info.outputs[channel]
    if isinstance(over, LabelMap):
        return _on_network(prepared, over.array > 0, over.grid, f"the mask {over.label!r}"), f"the mask {over.label!r}"
    if isinstance(over, Point) and not over.region:
        return _voxel(prepared, over), f"the voxel at {_mm(over)}"
    if not isinstance(over, int | Point):
        raise ExplainError(f"Read the mask {spec.over_text!r} first, with read_overlay(), and give what it returns.")
    labels = _numbered(prepared, seen.probabilities(output[0])[channel], label, spec)
    number = over if isinstance(over, int) else _number_at(prepared, labels, over, label)
    if number > int(labels.max()):
        raise ExplainError(
            f"There is no region {number} of {label!r}: at a probability of {spec.threshold:g} there are"
            f" {int(labels.max())}."
        )
    name = "the largest region" if number == 1 else f"region {number}"
    return _on_network(prepared, labels == number, prepared.volume.grid, name), name


def _numbered(prepared: Prepared, probability: torch.Tensor, label: str, spec: TargetSpec) -> NDArray[np.uint32]:
    """Return the connected regions of a class on the scan's grid, numbered as a run numbers them."""
    array = prepared.to_scan(probability.detach().float().cpu().numpy(), prepared.grid).clip(0, 1)
    heatmap = Heatmap(prepared.volume.with_array(array), "probability", label, signed=False, provenance=Provenance())
    return label_regions(heatmap, threshold=spec.threshold, rules=spec.rules)


def _number_at(prepared: Prepared, labels: NDArray[np.uint32], point: Point, label: str) -> int:
    number = int(labels[_index(prepared.volume.grid, point, "the scan")])
    if not number:
        raise ExplainError(f"There is no region of {label!r} at {_mm(point)}; choose a place inside one.")
    return number


def _voxel(prepared: Prepared, point: Point) -> Mask:
    mask = np.zeros(prepared.grid.shape, dtype=bool)
    mask[_index(prepared.grid, point, "the image that the network sees")] = True
    return mask


def _index(grid: Grid, point: Point, what: str) -> tuple[int, int, int]:
    """Return the voxel that a place lies in."""
    if not bool(grid.contains(point.ras)):
        low, high = grid.corners().min(axis=0), grid.corners().max(axis=0)
        spans = ", ".join(f"{a} {lo:.0f} to {hi:.0f}" for a, lo, hi in zip("RAS", low, high, strict=True))
        raise ExplainError(f"{_mm(point)} lies outside {what}, which spans {spans} mm; choose a place inside it.")
    i, j, k = np.clip(np.rint(grid.voxel(point.ras)).astype(int), 0, np.array(grid.shape) - 1).tolist()
    return i, j, k


def _on_network(prepared: Prepared, mask: Mask, grid: Grid, name: str) -> Mask:
    """Bring a mask to the network's grid through the affines: the voxels whose centres it covers."""
    found: Mask = resample(mask, grid, prepared.grid, order=0) > 0.5
    if not found.any() and mask.any():  # smaller than the network's voxels: those that it lies in
        ijk = np.rint(prepared.grid.voxel(grid.world(np.argwhere(mask)))).astype(int)
        inside = ((ijk >= 0) & (ijk < prepared.grid.shape)).all(axis=1)
        found[tuple(ijk[inside].T)] = True
    if not found.any():
        where = "lies outside what the network sees" if mask.any() else "holds no voxel"
        raise ExplainError(f"{name[:1].upper()}{name[1:]} {where}; there is nothing to explain.")
    return found


def _mm(point: Point) -> str:
    return f"({', '.join(f'{mm:g}' for mm in point.ras)}) mm"
