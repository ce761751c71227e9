"""Exported objects lead to nobody, unless they are asked to name the patient; and they still belong together."""

from __future__ import annotations

import re
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from dicom_results import Made, complaints, make_results
from lesionlens.dicom_export import DicomFormat, export_dicom
from lesionlens.io import read_overlay
from lesionlens.io.dicom.export.patient import Pseudonyms, patient_header
from lesionlens.registration import data_folder

TOKEN = "Qzxwv"
DAY, TIME = "19770717", "071317.123456"
ROOT = "1.2.826.0.1.3680043.8.498.987654321"
FORMATS = get_args(DicomFormat)

_TEXTS = (
    "PatientName", "PatientID", "OtherPatientIDs", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName",
    "PatientComments", "PatientAddress", "PatientTelephoneNumbers", "EthnicGroup", "Occupation", "AccessionNumber",
    "AdditionalPatientHistory", "ReferringPhysicianName", "StudyDescription", "SeriesDescription",
    "ProtocolName", "PerformingPhysicianName", "OperatorsName", "InstitutionName", "InstitutionAddress",
    "InstitutionalDepartmentName", "StationName", "DeviceSerialNumber", "ManufacturerModelName", "Manufacturer",
    "SoftwareVersions", "ImageComments", "DerivationDescription", "AdmissionID", "RequestedProcedureDescription",
    "PerformedProcedureStepDescription", "PerformedProcedureStepID", "NameOfPhysiciansReadingStudy", "StudyID",
    "PositionReferenceIndicator", "LossyImageCompressionMethod", "ContentCreatorName", "IssuerOfPatientID",
    "ClinicalTrialSubjectID", "ClinicalTrialProtocolID", "ClinicalTrialSponsorName", "ResponsiblePerson",
)  # fmt: skip
_DAYS = ("PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate")
_TIMES = ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime", "PatientBirthTime")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "IrradiationEventUID")


def plant(dataset: Dataset, k: int) -> None:
    """Put a token that occurs nowhere else into everything that says who, where and when."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not all of them are texts of any kind
        for keyword in _TEXTS:
            setattr(dataset, keyword, TOKEN)
    for keyword in _DAYS:
        setattr(dataset, keyword, DAY)
    for keyword in _TIMES:
        setattr(dataset, keyword, TIME)
    for n, keyword in enumerate(_UIDS):
        setattr(dataset, keyword, f"{ROOT}.{n}")
    dataset.SOPInstanceUID = f"{ROOT}.9.{k}"
    request = Dataset()
    request.RequestedProcedureID = request.ScheduledProcedureStepDescription = TOKEN
    dataset.RequestAttributesSequence = [request]
    dataset.private_block(0x0099, TOKEN, create=True).add_new(1, "LO", TOKEN)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return results on a series full of tokens."""
    return make_results(tmp_path_factory.mktemp("planted"), "axial", change=plant)


@pytest.fixture(scope="module")
def objects(planted: Made) -> Path:
    """Return the folder of all objects without the patient."""
    out = planted.results.parent / "objects"
    export_dicom(planted.results, planted.source, out, formats=FORMATS)
    return out


def traces(folder: Path) -> Iterator[str]:
    """Yield where tokens are found in the bytes and names of files, however they are written."""
    marks = [TOKEN, DAY, TIME, ROOT]
    for path in folder.iterdir():
        content = path.read_bytes()
        for mark in marks:
            forms = (mark.encode(), mark.lower().encode(), mark.upper().encode(), mark.encode("utf-16-le"))
            if any(form in content for form in forms) or mark in path.name:
                yield f"{mark} in {path.name}"


def test_nothing_of_the_patient_is_in_any_byte(objects: Path) -> None:
    """Whoever gets the objects cannot find the patient, the hospital, the day or the study."""
    assert len(list(objects.iterdir())) >= len(FORMATS)
    assert list(traces(objects)) == []


def test_the_search_finds_what_is_there(planted: Made, tmp_path: Path) -> None:
    """In an export that names the patient the same search finds them."""
    export_dicom(planted.results, planted.source, tmp_path / "out", identified=True, formats=["seg"])

    assert {trace.split()[0] for trace in traces(tmp_path / "out")} == {TOKEN, DAY, TIME, ROOT}


def test_objects_without_the_patient_keep_the_rules(objects: Path) -> None:
    """An archive takes them as well."""
    assert {path.name: complaints(path) for path in objects.glob("*.dcm")} == {
        path.name: [] for path in objects.glob("*.dcm")
    }


def test_objects_say_that_the_identity_was_removed(objects: Path) -> None:
    """Whoever gets them sees by which profile."""
    for path in objects.glob("*.dcm"):
        dataset = dcmread(path)
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert (dataset.PatientBirthDate, dataset.StudyDate, dataset.AccessionNumber) == ("", "", "")


def test_objects_belong_together(planted: Made, objects: Path, tmp_path: Path) -> None:
    """All objects, also of a later export, are of one patient, study and frame; each object is new all the same."""
    export_dicom(planted.results, planted.source, tmp_path / "later", formats=["seg", "attribution"])
    datasets = [dcmread(path) for folder in (objects, tmp_path / "later") for path in folder.glob("*.dcm")]

    assert len({(one.PatientID, str(one.PatientName), one.StudyInstanceUID) for one in datasets}) == 1
    assert len({one.FrameOfReferenceUID for one in datasets if "FrameOfReferenceUID" in one}) == 1
    assert len({one.SOPInstanceUID for one in datasets}) == len(datasets)
    sources = {one.ReferencedSOPInstanceUID for dataset in datasets for one in dataset.get("SourceImageSequence") or ()}
    assert len(sources) == planted.volume.grid.shape[2]
    tracked = [
        [segment.TrackingUID for segment in one.SegmentSequence if "TrackingUID" in segment]
        for one in datasets
        if one.Modality == "SEG"
    ]
    assert len({tuple(uids) for uids in tracked if uids}) == 1


def test_no_pseudonym_is_taken_for_a_person() -> None:
    """In an archive a common name would be another patient's; however a name is written, it is one patient."""

    def header(**values: str) -> Dataset:
        source = Dataset()
        source.StudyInstanceUID = "1.2.3"
        for keyword, value in values.items():
            setattr(source, keyword, value)
        return patient_header(source, Pseudonyms("key"))

    first, second = header(PatientID="7", PatientName="Muster^Eva"), header(PatientID="7", PatientName="MUSTER^EVA M")
    assert re.fullmatch(r"Pseudonym\^[0-9A-F]{12}", str(first.PatientName))
    assert (first.PatientName, first.PatientID) == (second.PatientName, second.PatientID)
    assert header(PatientID="8", PatientName="Muster^Eva").PatientName != first.PatientName
    assert header(PatientName="Muster^Eva").PatientName == header(PatientName="Muster^Eva").PatientName != ""
    assert header().PatientName == ""


def test_another_key_gives_other_pseudonyms(planted: Made, objects: Path, tmp_path: Path) -> None:
    """Without the key nobody can tell that objects are of one patient."""
    export_dicom(planted.results, planted.source, tmp_path / "out", formats=["seg"], key="another key")
    first, second = (dcmread(folder / "seg_lesion.dcm") for folder in (objects, tmp_path / "out"))

    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert first[keyword].value != second[keyword].value
    assert first.SegmentSequence[0].TrackingUID != second.SegmentSequence[0].TrackingUID


def test_the_key_is_kept_for_its_user_alone(objects: Path) -> None:
    """Whoever reads the key can look for patients whose identifiers they know."""
    key = data_folder() / "pseudonym-key"

    assert len(key.read_text("utf-8").strip()) == 64
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_an_identified_export_names_the_patient_as_the_source_does(tmp_path: Path) -> None:
    """Patient and study are copied whole, in any script, and objects find their study in the archive."""

    def named(dataset: Dataset, _: int) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.PatientName, dataset.PatientID, dataset.PatientSex = "Müller^Jörg", "ID 7", "UNKNOWN"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.PatientAge = "0Y"
        dataset.PatientBirthDate, dataset.PatientComments, dataset.StudyDescription = DAY, "ä comment", "Kopf"

    made = make_results(tmp_path, "axial", change=named)
    export_dicom(made.results, made.source, tmp_path / "out", formats=FORMATS, identified=True)
    source = dcmread(next(made.source.iterdir()))

    for path in (tmp_path / "out").glob("*.dcm"):
        dataset = dcmread(path)
        assert dataset.PatientName == PersonName("Müller^Jörg")
        assert (dataset.PatientID, dataset.PatientBirthDate) == ("ID 7", DAY)
        assert (dataset.PatientComments, dataset.StudyDescription) == ("ä comment", "Kopf")
        assert dataset.StudyInstanceUID == source.StudyInstanceUID
        assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
        assert "PatientAge" not in dataset  # an age has three digits
        assert dataset.PatientSex == ""  # what the standard does not know is no sex
        assert "PatientIdentityRemoved" not in dataset
        assert complaints(path) == []


def test_a_scan_that_also_tells_of_a_slide_is_exported(tmp_path: Path) -> None:
    """Some scanners write attributes of microscopes; the objects lie on the patient all the same."""

    def on_slide(dataset: Dataset, _: int) -> None:
        centre = Dataset()
        centre.XOffsetInSlideCoordinateSystem = centre.YOffsetInSlideCoordinateSystem = 0
        dataset.ImageCenterPointCoordinatesSequence, dataset.ImageOrientationSlide = [centre], [1, 0, 0, 0, 1, 0]

    made = make_results(tmp_path, "axial", change=on_slide)
    export_dicom(made.results, made.source, tmp_path / "out", formats=FORMATS, identified=True)

    found = {path.name: complaints(path) for path in (tmp_path / "out").glob("*.dcm")}
    assert len(found) >= len(FORMATS)
    assert found == {name: [] for name in found}
    (mask,) = read_overlay(tmp_path / "out" / "seg_lesion.dcm", made.volume)
    np.testing.assert_array_equal(mask.array, made.labels)
