"""What a DICOM structured report says of findings, as values."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["ReportedFinding", "ReportedQuantity", "read_findings"]


@dataclass(frozen=True)
class ReportedQuantity:
    """A number of a report.

    Parameters
    ----------
    name, scheme, code
        What was measured, in words and as a code: ``"Volume"``, ``"SCT"``, ``"118565006"``.
    value, unit
        The number, and its unit in UCUM: ``"mm3"``; ``"1"`` for none.
    derivation
        What was done to come by it (``"Mean"``); empty where nothing is said.
    """

    name: str
    scheme: str
    code: str
    value: float
    unit: str
    derivation: str = ""

    def __str__(self) -> str:
        unit = "" if self.unit == "1" else f" {self.unit}"
        plain = self.name[1:2].islower()  # and no abbreviation, such as MR or 3D
        name = self.name[:1].lower() + self.name[1:] if self.derivation and plain else self.name
        words = f"{self.derivation} {name}".strip()
        return f"{words[:1].upper()}{words[1:]} {self.value:.4g}{unit}"


@dataclass(frozen=True)
class ReportedFinding:
    """A finding of a report.

    Parameters
    ----------
    name, tracking_uid
        By what it is followed from report to report.
    kind
        What it is, in the words of its code: ``"Lesion"``.
    quantities
        What was measured.
    verdict
        A reader's: accept, reject or unsure; empty without.
    segmentation_uid, segment
        The DICOM segmentation that marks it, and its number in there; empty and 0 where there is none.
    """

    name: str
    tracking_uid: str
    kind: str
    quantities: tuple[ReportedQuantity, ...]
    verdict: str = ""
    segmentation_uid: str = ""
    segment: int = 0

    @property
    def title(self) -> str:
        """Its name, with the verdict where there is one: ``"lesion 1 (accept)"``."""
        return f"{self.name} ({self.verdict})" if self.verdict else self.name

    @property
    def sentence(self) -> str:
        """All that is said of it, in a sentence."""
        return f"{self.title}: {', '.join(map(str, self.quantities)) or 'nothing was measured'}."


def read_findings(path: str | os.PathLike[str], *, identified: bool = False) -> tuple[ReportedFinding, ...]:
    """Read what a DICOM structured report (TID 1500) says of each finding, in its order.

    Parameters
    ----------
    path
        The report.
    identified
        Keep what leads to the patient in names.

    Raises
    ------
    ReadError
        If the file is no such report, or damaged.

    Examples
    --------
    >>> for finding in read_findings("report.dcm"):                       # doctest: +SKIP
    ...     print(finding.name, finding.verdict, *finding.quantities)
    """
    from lesionlens.io.dicom.findings import read_report
    from lesionlens.io.reader import existing_path

    return read_report(existing_path(path), identified=identified)
