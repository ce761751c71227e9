"""Whose results a new object says they are: nobody's that could be found, unless the patient is asked for.

By default the patient and the study have pseudonyms, made by dicognito from a key: the same patient, study, series and
image get the same ones whenever the key is the same, so that objects that belong together stay together. Nothing else
is taken over from the source (PS3.15, basic application level confidentiality profile: every other attribute of these
modules is emptied or left out).
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from copy import deepcopy
from typing import Any

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid
from pydicom.valuerep import validate_value

__all__ = ["Pseudonyms", "mark_deidentified", "patient_header"]

# Attributes that every object has, empty where nothing is known (type 2).
_ALWAYS = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip

_SEXES = ("M", "F", "O")

# Places on a slide of a microscope: highdicom takes an image that has them for one, whatever it is.
_OF_SLIDES = frozenset({"ImageCenterPointCoordinatesSequence", "ImageOrientationSlide"})

# What the standard calls the profile (PS3.16, CID 7050).
_PROFILE = Code("113100", "DCM", "Basic Application Confidentiality Profile")


class Pseudonyms:
    """What stands for patients and UIDs; the same for the same key.

    Parameters
    ----------
    key
        Whoever has it can find the pseudonyms of a patient or UID that they know.
    """

    def __init__(self, key: str) -> None:
        from dicognito.anonymizer import Anonymizer

        self._key = key
        self._anonymizer = Anonymizer(seed=key)
        self._anonymizer.add_element_handler(self._replace_uid)  # type: ignore[arg-type]  # it is only called

    def __repr__(self) -> str:
        return "Pseudonyms()"  # a traceback can show what its variables hold

    def replace(self, dataset: Dataset) -> None:
        """Replace names, identifiers and UIDs of a data set."""
        dataset.file_meta = FileMetaDataset()
        self._anonymizer.anonymize(dataset)

    def _replace_uid(self, _: Dataset, element: DataElement) -> bool:
        """Replace a UID; those of dicognito begin with an arc that does not exist, and checkers refuse them."""
        if element.VR != "UI" or not element.value or element.keyword.endswith("ClassUID"):
            return False
        element.value = self.uid(str(element.value))
        return True

    def name(self, patient: str) -> str:
        """Return a name that nobody takes for a person's, of a patient's identifier or else name.

        Those of dicognito are common names of people: in an archive they would be other patients'.
        """
        digest = hashlib.sha256(f"{self._key} {patient}".encode()).hexdigest()
        return f"Pseudonym^{digest[:12].upper()}"

    def uid(self, uid: str) -> str:
        """Return what stands for a UID."""
        return str(generate_uid(entropy_srcs=[self._key, uid]))


def patient_header(source: Dataset, pseudonyms: Pseudonyms | None) -> Dataset:
    """Return patient and study as new objects are to name them.

    Parameters
    ----------
    source
        Header of a source image.
    pseudonyms
        What stands for them; None to name the patient as the source does.
    """
    header = _valid(source) if pseudonyms is None else _pseudonymous(source, pseudonyms)
    for keyword in _ALWAYS:
        if keyword not in header:
            setattr(header, keyword, "")
    if header.PatientSex not in _SEXES:
        header.PatientSex = ""
    return header


def _valid(source: Dataset) -> Dataset:
    """Return a copy without values that DICOM does not allow, such as an age of "0Y": archives refuse them."""
    header = Dataset()
    for element in deepcopy(source):
        if element.keyword in _OF_SLIDES:
            continue
        with suppress(ValueError):
            for value in element.value if isinstance(element.value, MultiValue) else [element.value]:
                validate_value(element.VR, value, config.RAISE)
            header.add(element)
    return header


def _pseudonymous(source: Dataset, pseudonyms: Pseudonyms) -> Dataset:
    header = Dataset()
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID"):
        found: Any = source.get(keyword)
        if found:
            setattr(header, keyword, found)
    header.SpecificCharacterSet = "ISO_IR 192"
    who = str(header.get("PatientID") or header.get("PatientName") or "")
    pseudonyms.replace(header)
    header.PatientName = pseudonyms.name(who) if who else ""
    return header


def mark_deidentified(dataset: Dataset) -> None:
    """Say in an object that it was made without the patient's identity, and by which profile."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Basic profile; pseudonyms by dicognito"
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = _PROFILE[:3]
    dataset.DeidentificationMethodCodeSequence = [item]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
