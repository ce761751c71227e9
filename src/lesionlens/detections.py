"""What a detection network found: boxes with their place in the world and their confidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

__all__ = ["Detection"]

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Detection:
    """A box around something that a detection network found in a scan.

    Parameters
    ----------
    number
        1 for the surest of its class, and so on.
    label
        Its class.
    confidence
        The network's score, in [0, 1]; a probability only as far as the network is calibrated.
    centre_ras
        Its centre in world mm, RAS+.
    size_mm
        Length of its edges, along the axes of the grid that the network saw.
    centre_ijk
        Its centre in voxel indices of the scan, where whole numbers are centres of voxels.
    bbox_ijk, bbox_ras
        Least and greatest voxel index of the scan, and world mm, of its faces along each axis. They enclose the box
        where it is turned against the axes.
    level
        Which feature map of the network found it, from 1.
    """

    number: int
    label: str
    confidence: float
    centre_ras: Triple
    size_mm: Triple
    centre_ijk: Triple
    bbox_ijk: tuple[Triple, Triple]
    bbox_ras: tuple[Triple, Triple]
    level: int

    def record(self) -> dict[str, Any]:
        """Return plain values that JSON takes."""
        return asdict(self)

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> Detection:
        """Return what :meth:`record` gave, also after JSON has made lists of it."""
        return cls(**{field.name: _tuples(values[field.name]) for field in fields(cls)})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
