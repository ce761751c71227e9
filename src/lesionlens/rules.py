"""What counts as one region, beyond the threshold: neighbours, holes, pieces that belong together, the least size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, Final, Literal, get_args

from lesionlens.errors import InputError

__all__ = [
    "DEFAULT_ANOMALY_THRESHOLD",
    "DEFAULT_RULES",
    "DEFAULT_THRESHOLD",
    "Connectivity",
    "RegionRules",
    "RegionSteps",
]

# Voxels that touch by faces (6), by faces and edges (18), or by corners as well (26).
Connectivity = Literal[6, 18, 26]

#: Probability from which a voxel belongs to a class, where neither the user nor the bundle says other.
DEFAULT_THRESHOLD: Final = 0.5
#: The same of an anomaly map: its unit, which all but a small share of the voxels of the reference scans lie below.
DEFAULT_ANOMALY_THRESHOLD: Final = 1.0


@dataclass(frozen=True)
class RegionRules:
    """How voxels at or above the threshold become regions; applied in the order of the fields.

    Parameters
    ----------
    connectivity
        6, 18 or 26: voxels that touch by faces, by edges too, or by corners too, are one region. With 26, the default,
        a thin oblique lesion is one region and not a chain of voxels.
    fill_holes
        Voxels below the threshold that a region encloses in all directions belong to it.
    merge_mm
        Regions are one where the centres of two of their voxels are at most so many mm apart, from neighbour to
        neighbour; what lies between does not belong to them. 0 merges nothing.
    minimum_mm3
        Regions of less volume are left out, and counted.

    Raises
    ------
    InputError
        If a value is none of these.
    """

    connectivity: Connectivity = 26
    fill_holes: bool = False
    merge_mm: float = 0.0
    minimum_mm3: float = 0.0

    def __post_init__(self) -> None:
        if self.connectivity not in get_args(Connectivity):
            raise InputError(f"The connectivity of regions is 6, 18 or 26; found {self.connectivity!r}.")
        for name, words in (("merge_mm", "distance to merge within, in mm,"), ("minimum_mm3", "least volume in mm³")):
            value = getattr(self, name)
            if not isfinite(value) or value < 0:
                raise InputError(f"The {words} of regions is a finite number from 0; found {value!r}.")

    @property
    def text(self) -> str:
        """The rules in words, without those that do nothing; empty for the default ones."""
        touching = {6: "voxels touch by faces", 18: "voxels touch by faces or edges", 26: ""}[self.connectivity]
        parts = (
            touching,
            "holes filled" if self.fill_holes else "",
            f"merged within {self.merge_mm:g} mm" if self.merge_mm else "",
            f"at least {self.minimum_mm3:g} mm³" if self.minimum_mm3 else "",
        )
        return ", ".join(filter(None, parts))

    @classmethod
    def from_record(cls, options: Mapping[str, Any]) -> RegionRules:
        """Return the rules that a record of a run names; runs before there were any had the default ones."""
        return cls(**{field.name: options[field.name] for field in fields(cls) if field.name in options})


DEFAULT_RULES: Final = RegionRules()


@dataclass(frozen=True)
class RegionSteps:
    """What the rules did to the regions of one map: nothing is left out without being counted.

    Parameters
    ----------
    n_connected
        Connected regions at the threshold, after holes were filled.
    n_filled_voxels, filled_mm3
        Voxels of holes that were filled.
    n_joined
        Of the connected regions, those that became part of a larger one by merging.
    n_left_out, left_out_mm3
        Regions below the least volume.
    """

    n_connected: int = 0
    n_filled_voxels: int = 0
    filled_mm3: float = 0.0
    n_joined: int = 0
    n_left_out: int = 0
    left_out_mm3: float = 0.0

    @property
    def text(self) -> str:
        """What was done, in words; empty where nothing was."""
        left_out = f"{_count(self.n_left_out, 'region')} left out as too small, {self.left_out_mm3:.4g} mm³ in all"
        parts = (
            f"{_count(self.n_filled_voxels, 'voxel')} of holes filled" if self.n_filled_voxels else "",
            f"{_count(self.n_joined, 'piece')} merged into another" if self.n_joined else "",
            left_out if self.n_left_out else "",
        )
        return "; ".join(filter(None, parts))


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
