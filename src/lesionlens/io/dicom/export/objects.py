"""What all new objects share: their series, the equipment, the words and codes, and how they are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from lesionlens import __version__
from lesionlens.io.boundary import quiet
from lesionlens.io.dicom.export.frames import SourceFrames
from lesionlens.io.dicom.export.patient import mark_deidentified

__all__ = ["MAKER", "Algorithm", "NewSeries", "Place", "category_of", "one_line", "patient_words", "save", "type_of"]

MAKER = "LesionLens"
_RESEARCH = "research use only"

# Words in the name of a class by which it is a lesion; else it is called a structure, which says less.
_LESIONS = ("lesion", "tumo", "nodule", "metasta", "cancer", "stroke", "infarct", "oedema", "edema", "hyperintens")
_LESION = Code("52988006", "SCT", "Lesion"), Code("49755003", "SCT", "Morphologically Abnormal Structure")
_STRUCTURE = Code("123037004", "SCT", "Anatomical Structure"), Code("123037004", "SCT", "Anatomical Structure")


_PATIENT = {
    "study_instance_uid": "StudyInstanceUID",
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "patient_birth_date": "PatientBirthDate",
    "patient_sex": "PatientSex",
    "accession_number": "AccessionNumber",
    "study_id": "StudyID",
    "study_date": "StudyDate",
    "study_time": "StudyTime",
    "referring_physician_name": "ReferringPhysicianName",
}


@dataclass(frozen=True)
class Algorithm:
    """What made the results.

    Parameters
    ----------
    name, version
        Of the bundle.
    parameters
        What else tells one result from another: hashes, thresholds.
    """

    name: str
    version: str
    parameters: dict[str, str] = field(default_factory=dict)

    def identification(self) -> Any:
        """Return it as a sequence of highdicom."""
        from highdicom import AlgorithmIdentificationSequence

        return AlgorithmIdentificationSequence(
            name=one_line(self.name) or MAKER,
            family=Code("123110", "DCM", "Artificial Intelligence"),
            version=one_line(self.version) or "unknown",
            source=MAKER,
            parameters=self.parameters,
        )


@dataclass(frozen=True)
class NewSeries:
    """A series to be: what it is called, and its number."""

    title: str
    number: int
    uid: str = field(default_factory=lambda: str(generate_uid(prefix=None)))

    @property
    def description(self) -> str:
        """What viewers show."""
        return f"{MAKER} {self.title}, {_RESEARCH}"


@dataclass(frozen=True, eq=False)
class Place:
    """Where a new object belongs: the frames it lies on, its series, and its number there."""

    frames: SourceFrames
    series: NewSeries
    instance: int = 1

    def words(self) -> dict[str, Any]:
        """Return what every constructor of highdicom is told."""
        return {
            "series_instance_uid": self.series.uid,
            "series_number": self.series.number,
            "sop_instance_uid": str(generate_uid(prefix=None)),
            "instance_number": self.instance,
            "manufacturer": MAKER,
            "manufacturer_model_name": MAKER,
            "software_versions": __version__,
            "device_serial_number": _RESEARCH,
            "series_description": self.series.description,
            "specific_character_set": "ISO_IR 192",
        }


def patient_words(image: Dataset) -> dict[str, Any]:
    """Return what constructors of highdicom that take no source images are told of patient and study."""
    return {name: image.get(keyword) for name, keyword in _PATIENT.items()}


def one_line(text: str, most: int = 64) -> str:
    """Return a text as one short value of DICOM holds it: a backslash would part it, and 64 letters have room."""
    return "".join(letter if letter.isprintable() and letter != "\\" else " " for letter in text)[:most].strip()


def type_of(label: str) -> Code:
    """Return the code of what a class is."""
    return (_LESION if _is_lesion(label) else _STRUCTURE)[0]


def category_of(label: str) -> Code:
    """Return the code of the kind of thing that a class is."""
    return (_LESION if _is_lesion(label) else _STRUCTURE)[1]


def _is_lesion(label: str) -> bool:
    return any(word in label.lower() for word in _LESIONS)


def save(dataset: Dataset, frames: SourceFrames, path: Path, *, identified: bool) -> Dataset:
    """Let an object point at the source's files, say whether it names the patient, and write it."""
    frames.settle(dataset)
    if not identified:
        mark_deidentified(dataset)
    with quiet():
        dataset.save_as(path, enforce_file_format=True)
    return dataset
