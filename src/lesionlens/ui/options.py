"""From what was chosen in the form to the options of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lesionlens.errors import InputError
from lesionlens.pipeline import RunOptions
from lesionlens.target import Point
from lesionlens.ui.consent import is_trusted
from lesionlens.ui.facts import bundle_name
from lesionlens.ui.masks import anatomy_of, mask_of, scan_in

if TYPE_CHECKING:
    from napari.layers import Layer

    from lesionlens.heatmap import LabelMap
    from lesionlens.results import CaseResult
    from lesionlens.target import Over
    from lesionlens.ui.run_form import Choices
    from lesionlens.ui.target_form import TargetChoice

__all__ = ["Selected", "over_of", "run_options"]


@dataclass(frozen=True)
class Selected:
    """The region that is chosen in the table.

    Parameters
    ----------
    result
        What the table shows; None while it shows nothing.
    label
        Class of the region.
    region
        Its number; None where no row is chosen.
    threshold
        At which regions are to be measured; those of the result may still be of another one.
    """

    result: CaseResult | None
    label: str
    region: int | None
    threshold: float


def run_options(choices: Choices, selected: Selected) -> RunOptions:
    """Return the options of a run whose bundles may all be executed: somebody was asked.

    Raises
    ------
    InputError
        If it is asked over a region, a mask or a voxel that was not chosen, with what to do.
    """
    method, asked, sampled = choices.method, choices.target, choices.uncertainty
    options = RunOptions(
        input=Path(choices.volume_layer.name),
        bundle=bundle_name(choices.bundle),
        method=method.method,
        target=asked.target,
        score=asked.score,
        against=asked.against,
        gamma=asked.gamma,
        layer=method.layer,
        method_options=method.method_options,
        threshold=selected.threshold,
        rules=choices.rules,
        anatomy=_anatomy(choices),
        uncertainty=sampled.uncertainty,
        samples=sampled.samples,
        seed=sampled.seed,
        ensemble=sampled.ensemble,
        calibration=sampled.calibration,
        engine=choices.computing.engine,
        memory_gib=choices.computing.memory_gib,
        channels=tuple(f"{name}={layer.name}" for name, layer in choices.channel_layers),
        classes=choices.classes,
        trust=any(is_trusted(info) for info in choices.bundles),
    )
    if asked.place == "table":
        return replace(options, over=_region(choices, selected), target=selected.label)
    return replace(options, over=over_of(asked, choices.volume_layer))


def _anatomy(choices: Choices) -> LabelMap | None:
    layer = choices.anatomy_layer
    return None if layer is None else anatomy_of(layer, scan_in(choices.volume_layer))


def over_of(asked: TargetChoice, layer: Layer) -> Over | str:
    """Return over which voxels of the scan that a layer shows something is asked.

    Raises
    ------
    InputError
        If that was not chosen, with what to do.
    """
    if asked.place == "mask":
        if asked.mask_layer is None:
            raise InputError("There is no mask: paint one in a new labels layer, or open one that lies on the scan.")
        return mask_of(asked.mask_layer, scan_in(layer))
    if asked.place in ("voxel", "region"):
        if asked.point is None:
            raise InputError("Click on the scan first: the voxel there is what is asked about.")
        return Point(asked.point, region=asked.place == "region")
    return asked.place


def _region(choices: Choices, selected: Selected) -> int:
    """Return the number of the region in the table, if the run will number regions alike."""
    result, volume = selected.result, scan_in(choices.volume_layer)
    if result is None or selected.region is None:
        raise InputError("Click a region in the table first: it is what is asked about.")
    same = np.may_share_memory(result.volume.array, volume.array) and result.volume.grid.same_as(volume.grid)
    if not same or result.bundle != f"{choices.bundle.name} {choices.bundle.version}":
        raise InputError(
            f"The table shows regions of {result.bundle} on {result.volume.name}; run {choices.bundle.name} on"
            f" {choices.volume_layer.name} first, and choose one of its regions."
        )
    if choices.target.target not in (None, selected.label):
        raise InputError(
            f"The table shows regions of {selected.label!r}, the target class is {choices.target.target!r}; show that"
            " class, and choose one of its regions."
        )
    if (result.threshold_of(selected.label), result.rules) != (selected.threshold, choices.rules):
        raise InputError("The regions are being measured; wait until the table shows them, and choose one.")
    return selected.region
