"""Heatmaps: raw values on a volume's grid, with the record of how they came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lesionlens.errors import InputError
from lesionlens.volume import Grid, Volume, frozen_mapping

__all__ = ["FeatureFall", "Heatmap", "Importance", "Kind", "LabelMap", "Provenance"]

Kind = Literal[
    "probability", "attribution", "uncertainty", "anomaly", "feature", "attention", "detection", "difference"
]

# Interpolated float32 probabilities may leave [0, 1] by rounding; more than this is a mistake.
PROBABILITY_SLACK = 1e-4


@dataclass(frozen=True)
class Provenance:
    """How a heatmap came about: enough to make it again and to say what it means.

    Parameters
    ----------
    bundle
        Name and version of the bundle, such as ``"flair-lesions 1.0.0"``.
    bundle_sha256, weights_sha256
        Hashes of the bundle's files and of its weights.
    method
        ``"softmax"``, ``"gradcam"``, ...
    target
        What was explained, readable: ``"margin of 'lesion' over the predicted region (1,234 voxels)"``.
    layer
        Dotted name of the target layer, for maps that have one.
    resolution_mm
        Half the distance between two values of the map before it was brought to the volume's grid, along its own
        three axes: the map cannot point better than plus or minus this. None for maps on the network's own grid.
    options
        Everything else that changes the values.
    versions
        Package versions.
    notes
        What a reader must know: one sentence each.
    """

    bundle: str = ""
    bundle_sha256: str = ""
    weights_sha256: str = ""
    method: str = ""
    target: str = ""
    layer: str = ""
    resolution_mm: tuple[float, float, float] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", frozen_mapping(self.options))
        object.__setattr__(self, "versions", frozen_mapping(self.versions))


@dataclass(frozen=True, eq=False)
class Heatmap:
    """Raw values of a model on the grid of the volume it saw.

    Parameters
    ----------
    volume
        float32 values (i, j, k) on the grid of the scan. Probabilities in [0, 1]; attributions unbounded, without unit.
    kind
        What the values are.
    label
        Class that the values speak of, such as ``"lesion"``.
    signed
        True when values below zero mean evidence against.
    provenance
        How the values came about.

    Attributes
    ----------
    extremes : tuple of float
        Lowest and highest value.

    Raises
    ------
    InputError
        If a value is not finite, or a probability lies outside [0, 1].
    """

    volume: Volume
    kind: Kind
    label: str
    signed: bool
    provenance: Provenance
    extremes: tuple[float, float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(f"A heatmap is one of {', '.join(get_args(Kind))}; found {self.kind!r}.")
        low, high = float(self.array.min()), float(self.array.max())
        object.__setattr__(self, "extremes", (low, high))  # to ask a large map again takes half a second
        if not (np.isfinite(low) and np.isfinite(high)):  # min and max propagate NaN
            raise InputError(f"The {self.kind} map of {self.label!r} holds values that are not finite.")
        if self.kind == "probability" and (low < -PROBABILITY_SLACK or high > 1 + PROBABILITY_SLACK):
            raise InputError(f"Probabilities of {self.label!r} must lie in [0, 1]; found {low:g} to {high:g}.")

    @property
    def has_regions(self) -> bool:
        """Whether what lies above a threshold is a finding: so it is of a probability or an anomaly, no attribution."""
        return self.kind in ("probability", "anomaly")

    @property
    def array(self) -> NDArray[np.float32]:
        """(i, j, k) float32, read-only, on :attr:`grid`."""
        return self.volume.array

    @property
    def grid(self) -> Grid:
        """The grid of the scan that the model saw."""
        return self.volume.grid

    @property
    def of_class(self) -> bool:
        """Whether the map speaks of a class: those of a layer's features may speak of none."""
        return self.kind not in ("feature", "attention") or bool(self.provenance.target)

    @property
    def unseen(self) -> bool:
        """Whether the model was found not to see the class: the map then shows what comes closest, not a finding."""
        return self.provenance.options.get("seen") is False

    @property
    def name(self) -> str:
        """Name for layers and files: ``probability_lesion``, ``attribution_gradcam_lesion``."""
        method = "" if self.kind == "probability" else self.provenance.method
        return "_".join(slug(part) for part in (self.kind, method, self.label) if part)


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Voxels that somebody or something marked, on the grid of a scan: a mask, or several of them, numbered.

    Parameters
    ----------
    volume
        Integers (i, j, k) from 0, which means outside.
    label
        What the map shows, such as ``"lesion"``, or the name of its file.
    names
        Names of the numbers, where they have some.
    provenance
        Where the map came from.

    Raises
    ------
    InputError
        If the values are not integers from 0.
    """

    volume: Volume
    label: str
    names: Mapping[int, str]
    provenance: Provenance

    def __post_init__(self) -> None:
        if self.array.dtype.kind not in "iu" or self.array.min() < 0:
            found = f"{self.array.dtype} from {self.array.min():g}"
            raise InputError(f"The labels of {self.label!r} are integers from 0 (outside); found {found}.")
        object.__setattr__(self, "names", MappingProxyType(dict(self.names)))

    @property
    def kind(self) -> Literal["mask"]:
        """What the values are."""
        return "mask"

    @property
    def array(self) -> NDArray[Any]:
        """(i, j, k) integers, read-only, on :attr:`grid`."""
        return self.volume.array

    @classmethod
    def of_marks(cls, scan: Volume, array: NDArray[Any], label: str) -> LabelMap:
        """Take what is above 0 in an array, (i, j, k) on the grid of a scan, as a mask of its own; a copy."""
        return cls(scan.with_array((array > 0).astype(np.uint8), name=label, unit=""), label, {}, Provenance())

    @property
    def marked(self) -> NDArray[np.bool_]:
        """(i, j, k): what is marked, whatever its number."""
        return self.array > 0

    @property
    def grid(self) -> Grid:
        """The grid of the scan that the map lies on."""
        return self.volume.grid

    @property
    def name(self) -> str:
        """Name for layers and files: ``mask_lesion``."""
        return f"mask_{slug(self.label)}"


@dataclass(frozen=True)
class FeatureFall:
    """What taking a feature of the input away did to the target.

    Parameters
    ----------
    name
        The feature: a channel, a label or a region.
    fall
        The target's value minus its value without the feature, in the unit of the target: above 0 the feature speaks
        for it.
    sd
        Standard deviation over permutations; 0 for ablation.
    volume_mm3
        Size of a label or region; None for a channel.
    """

    name: str
    fall: float
    sd: float
    volume_mm3: float | None = None


@dataclass(frozen=True, eq=False)
class Importance:
    """How far the target falls when parts of the input are taken away.

    Parameters
    ----------
    falls
        One for each feature, in their order.
    score
        The target's value for the whole input.
    label
        Class that is explained.
    heatmap
        Each label's fall at its voxels, on the grid of the scan, 0 outside; None for channels, which lie everywhere.
    provenance
        How the values came about.
    """

    falls: tuple[FeatureFall, ...]
    score: float
    label: str
    heatmap: Heatmap | None
    provenance: Provenance


def slug(text: str) -> str:
    """Return ``text`` as a safe part of a file name: lower case letters of any script, digits and single dashes."""
    import re
    import unicodedata

    # One form for what looks alike: file systems differ in how they store an accent.
    plain = unicodedata.normalize("NFC", text).lower()
    return re.sub(r"[\W_]+", "-", plain).strip("-") or "unnamed"
