"""Cases and findings of a session, and how far a reader is, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CaseEntry", "Finding", "Progress"]


@dataclass(frozen=True)
class Finding:
    """A region of the model, put before a reader.

    Parameters
    ----------
    id
        Name in its case, such as ``"lesion-3"``.
    label_class, label
        Class of the model and number in ``regions_<class>.nii.gz``.
    statistics
        What it takes to list and find it: volume, centroid, box. The whole row is in ``regions.csv``.
    """

    id: str
    label_class: str
    label: int
    statistics: Mapping[str, Any]


@dataclass(frozen=True)
class CaseEntry:
    """One case of a session.

    Parameters
    ----------
    id
        Name in the session, unique.
    name
        What readers see.
    scan, results
        The scan, and the folder that a run on it wrote; relative to the session's folder where they lie in it.
    pins
        SHA-256 of what must not change under the readers: the scan, each file of the results that is shown, and the
        weights.
    findings
        Those of the model, in the order in which they are read.
    """

    id: str
    name: str
    scan: str
    results: str
    pins: Mapping[str, str]
    findings: tuple[Finding, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Progress:
    """How far a reader is: cases by status, and which were flagged."""

    complete: int
    partly: int
    untouched: int
    flagged: int

    @property
    def total(self) -> int:
        """Number of cases."""
        return self.complete + self.partly + self.untouched

    def __str__(self) -> str:
        return f"{self.complete}/{self.total}, {self.flagged} flagged"
