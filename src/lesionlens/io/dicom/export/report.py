"""What was measured of each finding as a structured report (TID 1500), with the reader's verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from lesionlens import __version__
from lesionlens.io.boundary import quiet
from lesionlens.io.dicom.codes import (
    ATTENUATION,
    ATTRIBUTION,
    ATTRIBUTION_SHARE,
    DIAMETER,
    HOUNSFIELD,
    LONG_AXIS,
    MAXIMUM,
    MEAN,
    MEDIAN,
    MILLIMETRE,
    MILLIMETRE2,
    MILLIMETRE3,
    MINIMUM,
    MR_SIGNAL,
    NO_UNITS,
    PROBABILITY,
    READERS_VERDICT,
    SCHEME,
    SHORT_AXIS,
    SIGNAL,
    SPHERICITY,
    STANDARD_DEVIATION,
    SURFACE,
    VERDICTS,
    VOLUME,
)
from lesionlens.io.dicom.export.masks import Segment
from lesionlens.io.dicom.export.objects import MAKER, Algorithm, Place, category_of, type_of

__all__ = ["Finding", "Quantity", "quantities", "report"]

_PROCEDURES = {
    "CT": Code("77477000", "SCT", "Computed tomography"),
    "MR": Code("113091000", "SCT", "Magnetic resonance imaging"),
    "PT": Code("82918005", "SCT", "Positron emission tomography"),
}
_IMAGING = Code("363679005", "SCT", "Imaging")


@dataclass(frozen=True)
class Quantity:
    """A number with its name, unit, and what was done to come by it (the mean, the highest); codes."""

    name: Code
    value: float
    unit: Code
    derivation: Code | None = None


@dataclass(frozen=True, eq=False)
class Finding:
    """One finding to report.

    Parameters
    ----------
    segment, number, segmentation
        The region, its number in the segmentation that holds it, and that object.
    quantities
        What was measured.
    verdict
        The reader's: ``"accept"``, ``"reject"`` or ``"unsure"``; empty without.
    """

    segment: Segment
    number: int
    segmentation: Dataset
    quantities: tuple[Quantity, ...]
    verdict: str = ""


def quantities(row: Mapping[str, Any], unit: str, modality: str) -> tuple[Quantity, ...]:
    """Return what a region's row of statistics holds, with codes; what was not measured is left out.

    Parameters
    ----------
    row
        By the names of the columns of ``regions.csv``.
    unit, modality
        Of the scan: ``"HU"`` or empty, ``"MR"``.
    """
    return tuple(_found(row, unit, modality))


def _found(row: Mapping[str, Any], unit: str, modality: str) -> Iterator[Quantity]:
    signal, its_unit = MR_SIGNAL if modality == "MR" else SIGNAL, NO_UNITS
    if unit == "HU":
        signal, its_unit = ATTENUATION, HOUNSFIELD
    columns = (
        ("volume_mm3", VOLUME, MILLIMETRE3, None),
        ("diameter_mm", DIAMETER, MILLIMETRE, None),
        ("axial_diameter_mm", LONG_AXIS, MILLIMETRE, None),
        ("axial_perpendicular_mm", SHORT_AXIS, MILLIMETRE, None),
        ("surface_mm2", SURFACE, MILLIMETRE2, None),
        ("sphericity", SPHERICITY, NO_UNITS, None),
        ("intensity_mean", signal, its_unit, MEAN),
        ("intensity_sd", signal, its_unit, STANDARD_DEVIATION),
        ("intensity_min", signal, its_unit, MINIMUM),
        ("intensity_median", signal, its_unit, MEDIAN),
        ("intensity_max", signal, its_unit, MAXIMUM),
        ("probability_mean", PROBABILITY, NO_UNITS, MEAN),
        ("probability_max", PROBABILITY, NO_UNITS, MAXIMUM),
        ("attribution_mean", ATTRIBUTION, NO_UNITS, MEAN),
        ("attribution_share", ATTRIBUTION_SHARE, NO_UNITS, None),
    )
    for column, name, its, derivation in columns:
        if row.get(column) is not None:
            yield Quantity(name, float(row[column]), its, derivation)


def report(place: Place, findings: Sequence[Finding], algorithm: Algorithm, *, reader: str = "") -> Dataset:
    """Return findings as a Comprehensive 3D SR.

    Parameters
    ----------
    place
        Where it belongs.
    findings
        At least one.
    algorithm
        What found them.
    reader
        Who gave the verdicts; empty without any.
    """
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from highdicom.sr import Comprehensive3DSR, MeasurementReport

    groups = [_group(one, place, algorithm) for one in findings]
    with quiet():
        content = MeasurementReport(
            observation_context=_observers(reader),
            procedure_reported=_PROCEDURES.get(place.frames.volume.source.modality, _IMAGING),
            imaging_measurements=groups,
        )
        segmentations = {one.segmentation.SOPInstanceUID: one.segmentation for one in findings}
        made: Dataset = Comprehensive3DSR(
            evidence=[*place.frames.images(), *segmentations.values()],
            content=content,
            is_complete=True,
            coding_schemes=[CodingSchemeIdentificationItem(designator=SCHEME, name=MAKER)],
            **place.words(),
        )
    return made


def _observers(reader: str) -> Any:
    from highdicom.sr import (
        CodedConcept,
        DeviceObserverIdentifyingAttributes,
        ObservationContext,
        ObserverContext,
        PersonObserverIdentifyingAttributes,
    )

    program = DeviceObserverIdentifyingAttributes(
        uid=str(generate_uid(entropy_srcs=[MAKER, __version__])),
        name=MAKER,
        manufacturer_name=MAKER,
        model_name=f"{MAKER} {__version__}, research use only",
    )
    device = ObserverContext(CodedConcept("121007", "DCM", "Device"), program)
    if not reader:
        return ObservationContext(observer_device_context=device)
    named = PersonObserverIdentifyingAttributes(name=f"{reader}^")
    person = ObserverContext(CodedConcept("121006", "DCM", "Person"), named)
    return ObservationContext(observer_device_context=device, observer_person_context=person)


def _group(finding: Finding, place: Place, algorithm: Algorithm) -> Any:
    """Return what is said of one finding (TID 1411)."""
    from highdicom.sr import (
        AlgorithmIdentification,
        Measurement,
        QualitativeEvaluation,
        ReferencedSegment,
        SourceSeriesForSegmentation,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )

    segment = finding.segment
    verdicts = [QualitativeEvaluation(READERS_VERDICT, VERDICTS[finding.verdict])] if finding.verdict else None
    found_by = AlgorithmIdentification(
        name=algorithm.name,
        version=algorithm.version,
        parameters=[f"{name}={value}" for name, value in algorithm.parameters.items()] or None,
    )
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=segment.tracking_uid, identifier=segment.name),
        referenced_segment=ReferencedSegment(
            sop_class_uid=finding.segmentation.SOPClassUID,
            sop_instance_uid=finding.segmentation.SOPInstanceUID,
            segment_number=finding.number,
            source_series=SourceSeriesForSegmentation(place.frames.series_uid),
        ),
        finding_type=type_of(segment.label),
        finding_category=category_of(segment.label),
        algorithm_id=None if segment.made == "MANUAL" else found_by,
        measurements=[
            Measurement(name=one.name, value=one.value, unit=one.unit, derivation=one.derivation)
            for one in finding.quantities
        ],
        qualitative_evaluations=verdicts,
    )
