"""What to run on which scan: the one place of defaults, for the API, the command line and the widget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lesionlens.computing import Computing, EngineName
from lesionlens.io.policy import Irregular
from lesionlens.methods import Sampling, Value
from lesionlens.rules import DEFAULT_RULES, DEFAULT_THRESHOLD, RegionRules
from lesionlens.target import Over, ScoreName, TargetSpec

if TYPE_CHECKING:
    from lesionlens.heatmap import LabelMap

__all__ = ["RunOptions"]


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
        Attribution method; by default chosen by the bundle's task, see :func:`lesionlens.methods.default_method`.
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
    registration
        Put the cells of the layer where they were measured to lie; see :func:`lesionlens.explain`.
    threshold
        Probability from which a voxel belongs to a region, in (0, 1].
    thresholds
        Thresholds of single classes, by name. Those of the bundle hold where neither these nor ``threshold`` say other.
    rules
        What counts as one region: which voxels touch, and what is filled, merged and left out.
    anatomy
        Label image of anatomy, on the scan's grid or brought to it: in which labels each region lies.
    uncertainty, samples, seed
        How several predictions are made, see :func:`lesionlens.uncertainty`; by default none are.
    ensemble
        Further bundles, by name or path, for ``uncertainty="ensemble"``.
    calibration
        File that ``lesionlens calibrate`` wrote for the bundle; its probabilities are then calibrated.
    channels
        Further input channels of the bundle beside ``input``, each ``"NAME=PATH"``, or a path whose name says which.
    series
        UID, number or description of a DICOM series where a folder holds several.
    stack
        Name or number of a volume where a series or file holds several.
    irregular
        What to do with DICOM slices that do not lie on one regular grid; see :func:`lesionlens.read`.
    identified
        Keep the patient's name and identifiers wherever they come along, and put them into the record.
    trust
        Allow a bundle from outside to execute its config: True, or the SHA-256 of the bundle that may.
    device
        ``"cpu"``, ``"cuda"``, ``"mps"``; by default the fastest there is.
    classes
        What a network with prompts is asked for; see :func:`lesionlens.load_bundle`.
    through_affine
        Resample results through the affine of the preprocessing's output, which need not be invertible then.
    engine
        What runs the network for predictions; see :mod:`lesionlens.computing`. Explanations always use PyTorch in fp32.
    memory_gib
        GiB that a prediction may take; by default most of what is free.
    only
        Classes whose probabilities are wanted; by default all but the background.
    in_blocks
        Whether windows are joined block by block, as in a run that is to be repeated; None lets the memory decide.
    """

    input: Path
    bundle: str = "flair-lesions"
    method: str | None = None
    target: str | tuple[str, ...] | None = None
    score: ScoreName | None = None
    over: Over | str = "predicted"
    against: tuple[str, ...] = ()
    gamma: float = 1.0
    layer: str | None = None
    method_options: Mapping[str, Value] = field(default_factory=dict)
    registration: bool = True
    threshold: float = DEFAULT_THRESHOLD
    thresholds: Mapping[str, float] = field(default_factory=dict)
    rules: RegionRules = DEFAULT_RULES
    anatomy: Path | LabelMap | None = None
    uncertainty: Sampling | None = None
    samples: int | None = None
    seed: int = 0
    ensemble: tuple[str, ...] = ()
    calibration: Path | None = None
    channels: tuple[str, ...] = ()
    series: str | None = None
    stack: str | None = None
    irregular: Irregular = "refuse"
    identified: bool = False
    trust: bool | str = False
    device: str | None = None
    classes: tuple[str, ...] = ()
    through_affine: bool = False
    engine: EngineName = "torch"
    memory_gib: float | None = None
    only: tuple[str, ...] = ()
    in_blocks: bool | None = None

    @property
    def computing(self) -> Computing:
        """How the network is to be computed.

        Raises
        ------
        InputError
            If there is no such engine, or no such memory.
        """
        return Computing(self.engine, self.memory_gib, self.only, in_blocks=self.in_blocks)

    @property
    def spec(self) -> TargetSpec:
        """What is asked about the class; a mask may still be a file.

        Raises
        ------
        ExplainError
            If it is nothing that can be asked.
        """
        return TargetSpec(self.score, self.over, self.against, self.gamma, self.threshold, self.rules)
