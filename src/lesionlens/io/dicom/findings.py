"""DICOM structured reports of measurements (TID 1500): what they say of each finding, and where it is marked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from lesionlens.errors import ReadError
from lesionlens.io.boundary import named, quiet, reading
from lesionlens.io.dicom.codes import READERS_VERDICT, VERDICTS
from lesionlens.io.dicom.header import PYDICOM_ERRORS, text
from lesionlens.io.dicom.parse import parse
from lesionlens.io.dicom.seg import read_segmentation
from lesionlens.io.identity import Identities
from lesionlens.io.limits import read_whole
from lesionlens.io.overlay import ForeignMap
from lesionlens.io.reported import ReportedFinding, ReportedQuantity
from lesionlens.progress import Progress, silent

__all__ = ["REPORTS", "read_report", "read_reported_masks"]

# Enhanced, Comprehensive and Comprehensive 3D SR.
REPORTS = frozenset(f"1.2.840.10008.5.1.4.1.1.88.{n}" for n in (22, 33, 34))

_GROUP = ("125007", "DCM")
_TRACKING_ID, _TRACKING_UID = ("112039", "DCM"), ("112040", "DCM")
_FINDING = (("121071", "DCM"),)
_SEGMENT = ("121191", "DCM")
_VERDICT = (READERS_VERDICT.value, READERS_VERDICT.scheme_designator)
_DERIVATION = ("121401", "DCM")

_AGAIN = "Export the report again."

# Reports nest a few levels deep; a damaged one could nest for ever.
_DEEPEST = 12


@dataclass(frozen=True)
class _Report:
    """What a report says, and the segmentations that its findings are marked in."""

    name: str
    findings: tuple[ReportedFinding, ...]


def read_report(path: Path, *, identified: bool = False) -> tuple[ReportedFinding, ...]:
    """Read what a report says of each finding, in its order.

    Raises
    ------
    ReadError
        If the file is something else or damaged, or reports no findings.
    """
    return _read(path, Identities(identified=identified)).findings


def read_reported_masks(path: Path, *, identified: bool = False, progress: Progress = silent) -> list[ForeignMap]:
    """Read the findings of a report as masks, from the segmentations beside it that it refers to.

    Raises
    ------
    ReadError
        If the report cannot be read, or a segmentation that it refers to does not lie in its folder.
    """
    report = _read(path, Identities(identified=identified))
    wanted = dict.fromkeys(one.segmentation_uid for one in report.findings if one.segmentation_uid)
    if not wanted:
        raise ReadError(f"{report.name} reports findings but marks none of them in a segmentation; nothing to show.")
    beside = _beside(path, set(wanted))
    if missing := [uid for uid in wanted if uid not in beside]:
        raise ReadError(
            f"{report.name} marks its findings in {len(missing)} segmentation(s) that do not lie beside it. Put them"
            " into its folder."
        )
    found = []
    for uid in wanted:
        mine = {one.segment: one for one in report.findings if one.segmentation_uid == uid}
        maps = read_segmentation(beside[uid], identified=identified, progress=progress)
        found += [_told(one, mine) for one in maps]
    return found


def _told(found: ForeignMap, findings: dict[int, ReportedFinding]) -> ForeignMap:
    """Return a mask whose names and notes say what the report says of its regions."""
    if found.kind != "mask":
        return found
    names = {n: findings[n].title if n in findings else name for n, name in found.names.items()}
    notes = tuple(findings[n].sentence for n in found.names if n in findings)
    return replace(found, names=names, label=named(list(names.values())), notes=(*found.notes, *notes))


def _beside(path: Path, wanted: set[str]) -> dict[str, Path]:
    """Return the files in a report's folder by their SOPInstanceUID, as far as they are wanted."""
    found = {}
    for file in sorted(path.parent.iterdir()):
        if file == path or not file.is_file():
            continue
        try:
            with reading("", *PYDICOM_ERRORS), quiet(), file.open("rb") as stream:
                uid = text(parse(stream, tags=[Tag("SOPInstanceUID")], stop_before_pixels=True), "SOPInstanceUID")
        except ReadError:
            continue  # no DICOM
        if uid in wanted:
            found[uid] = file
    return found


def _read(path: Path, identities: Identities) -> _Report:
    with identities.masking(), reading(f"Cannot read {path.name}", *PYDICOM_ERRORS, todo=_AGAIN), quiet():
        dataset = parse(BytesIO(read_whole(path, path.name)))
        identities.remember(dataset)
        name = identities.mask(path.name)
        if text(dataset, "SOPClassUID") not in REPORTS:
            raise ReadError(f"Expected a DICOM structured report in {name}; found another object.")
        findings = tuple(_finding(group, identities) for group in _groups(dataset, _DEEPEST))
        if not findings:
            raise ReadError(f"{name} reports no measured findings (TID 1500). Give the report that does.")
        return _Report(name, findings)


def _groups(dataset: Dataset, left: int) -> Iterator[Dataset]:
    """Yield the groups of measurements in a report."""
    for item in dataset.get("ContentSequence") or [] if left else []:
        if _name(item) == _GROUP:
            yield item
        else:
            yield from _groups(item, left - 1)


def _finding(group: Dataset, identities: Identities) -> ReportedFinding:
    items = list(group.get("ContentSequence") or [])
    verdict = next((_code(one) for one in items if _name(one) == _VERDICT), "")
    segmentation, segment = _marked(items)
    return ReportedFinding(
        name=identities.mask(_text(items, _TRACKING_ID)) or "finding",
        tracking_uid=_text(items, _TRACKING_UID),
        kind=identities.mask(next((_meaning(one) for one in items if _name(one) in _FINDING), "")),
        quantities=tuple(_quantity(one, identities) for one in items if text(one, "ValueType") == "NUM"),
        verdict=verdict if verdict in VERDICTS else "",
        segmentation_uid=segmentation,
        segment=segment,
    )


def _marked(items: Iterable[Dataset]) -> tuple[str, int]:
    """Return the segmentation and the number in it that mark a finding."""
    for item in items:
        for reference in item.get("ReferencedSOPSequence") or []:
            if _name(item) == _SEGMENT and "ReferencedSegmentNumber" in reference:
                numbers = reference.ReferencedSegmentNumber
                first = numbers if isinstance(numbers, int) else numbers[0]
                return text(reference, "ReferencedSOPInstanceUID"), int(first)
    return "", 0


def _quantity(item: Dataset, identities: Identities) -> ReportedQuantity:
    measured = next(iter(item.get("MeasuredValueSequence") or []), Dataset())
    units = next(iter(measured.get("MeasurementUnitsCodeSequence") or []), Dataset())
    inside = item.get("ContentSequence") or []
    name = next(iter(item.get("ConceptNameCodeSequence") or []), Dataset())
    return ReportedQuantity(
        name=identities.mask(text(name, "CodeMeaning")),
        code=text(name, "CodeValue"),
        scheme=text(name, "CodingSchemeDesignator"),
        value=float(measured.NumericValue),
        unit=text(units, "CodeValue"),
        derivation=next((_meaning(one) for one in inside if _name(one) == _DERIVATION), ""),
    )


def _name(item: Dataset) -> tuple[str, str]:
    found = next(iter(item.get("ConceptNameCodeSequence") or []), Dataset())
    return text(found, "CodeValue"), text(found, "CodingSchemeDesignator")


def _text(items: Iterable[Dataset], name: tuple[str, str]) -> str:
    found = next((one for one in items if _name(one) == name), Dataset())
    return text(found, "UID") or text(found, "TextValue")


def _code(item: Dataset) -> str:
    return text(next(iter(item.get("ConceptCodeSequence") or []), Dataset()), "CodeValue")


def _meaning(item: Dataset) -> str:
    return text(next(iter(item.get("ConceptCodeSequence") or []), Dataset()), "CodeMeaning")
