"""What is looked for in an archive, and what was found: studies and series as their archive describes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableSequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from lesionlens.errors import PacsError, unknown_name
from lesionlens.io.boundary import PARSER_ERRORS
from lesionlens.io.identity import Identities
from lesionlens.pacs.address import digest

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["SERIES_FIELDS", "STUDY_FIELDS", "FoundSeries", "FoundStudy", "Query", "described"]

_UID = re.compile(r"[0-9][0-9.]{0,63}")
_DAYS = re.compile(r"\d{8}|\d{8}-(\d{8})?|-\d{8}")

# What an archive is asked by, and how it is called there.
_OF_STUDY: Final = {
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "study_date": "StudyDate",
    "accession": "AccessionNumber",
    "study_description": "StudyDescription",
    "study": "StudyInstanceUID",
}
_OF_SERIES: Final = {
    "series": "SeriesInstanceUID",
    "modality": "Modality",
    "series_description": "SeriesDescription",
}
# Days are ranges, and names are compared by rules of the archive; of the others it can be seen whether they match.
_BY_ARCHIVE = ("study_date", "patient_name")

#: What an archive is asked to tell of each study and series.
STUDY_FIELDS = (
    *_OF_STUDY.values(), "PatientBirthDate", "ModalitiesInStudy", "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
)  # fmt: skip
SERIES_FIELDS = (*_OF_SERIES.values(), "SeriesNumber", "NumberOfSeriesRelatedInstances")


@dataclass(frozen=True)
class Query:
    """What is looked for: texts in which ``*`` stands for any letters; empty ones match everything.

    Parameters
    ----------
    patient_id, patient_name, accession, study_description
        As the archive has them.
    study_date
        A day, ``YYYYMMDD``, or a range: ``YYYYMMDD-YYYYMMDD``, open at either end.
    study, series
        UIDs.
    modality, series_description
        Of the series.
    """

    patient_id: str = ""
    patient_name: str = ""
    study_date: str = ""
    accession: str = ""
    study_description: str = ""
    study: str = ""
    series: str = ""
    modality: str = ""
    series_description: str = ""

    def __post_init__(self) -> None:
        if self.study_date and not _DAYS.fullmatch(self.study_date):
            raise PacsError("Expected a day as YYYYMMDD, or a range such as 20240101-20240331 or 20240101-.")
        for name in ("study", "series"):
            if getattr(self, name) and not _UID.fullmatch(getattr(self, name)):
                raise PacsError(f"Expected the UID of a {name}: digits and points, 64 at most.")
        strange = next((one.name for one in fields(self) if not getattr(self, one.name).isprintable()), None)
        if strange is not None or any("\\" in getattr(self, one.name) for one in fields(self)):
            raise PacsError("What is looked for must hold neither backslashes nor control characters.")

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Query:
        """Return the query of names and texts, as they stand behind the question mark of an address."""
        known = [one.name for one in fields(cls)]
        strange = next((name for name in given if name not in known), None)
        if strange is not None:
            raise PacsError(unknown_name("thing to look for", strange, known))
        return cls(**given)

    @property
    def study_keys(self) -> dict[str, str]:
        """What studies are asked by, as DICOM calls it."""
        keys = {word: getattr(self, name) for name, word in _OF_STUDY.items() if getattr(self, name)}
        return keys | ({"ModalitiesInStudy": self.modality.upper()} if self.modality else {})

    @property
    def series_keys(self) -> dict[str, str]:
        """What series are asked by, as DICOM calls it."""
        keys = {word: getattr(self, name) for name, word in _OF_SERIES.items() if getattr(self, name)}
        return keys | ({"Modality": self.modality.upper()} if self.modality else {})  # it has capitals alone

    def fits(self, dataset: Dataset) -> bool:
        """Say whether an answer is what was asked for; archives pass over what they do not know to look for."""
        for name, word in {**_OF_STUDY, **_OF_SERIES}.items():
            wanted, given = getattr(self, name), _text(dataset, word)
            if wanted and given and name not in _BY_ARCHIVE and not _alike(given, wanted):
                return False
        return True


@dataclass(frozen=True)
class FoundStudy:
    """A study in an archive.

    Parameters
    ----------
    uid
        StudyInstanceUID.
    description, modalities
        As the archive says, without what leads to the patient.
    n_series, n_images
        How many it holds; None where the archive does not say.
    identity
        Who it is of and of which day; empty unless it was asked for.
    """

    uid: str
    description: str = ""
    modalities: tuple[str, ...] = ()
    n_series: int | None = None
    n_images: int | None = None
    identity: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FoundSeries:
    """A series in an archive.

    Parameters
    ----------
    url
        What it is fetched by.
    study
        Of which it is.
    uid
        SeriesInstanceUID.
    number, description, modality, n_images
        As the archive says, without what leads to the patient.
    """

    url: str
    study: FoundStudy
    uid: str
    number: int | None = None
    description: str = ""
    modality: str = ""
    n_images: int | None = None

    @property
    def name(self) -> str:
        """A name for a folder or case, which leads to nobody."""
        number = "" if self.number is None else f"-{self.number}"
        modality = re.sub("[^a-z0-9]", "", self.modality.lower())  # whatever an archive says, it is no path
        return f"{modality or 'series'}{number}-{digest(self.uid)}"


def described(dataset: Dataset, *, identified: bool = False) -> tuple[FoundStudy, Identities]:
    """Return a study as an archive describes it, and what is to be kept out of its series' texts.

    Raises
    ------
    PacsError
        If the answer names no study.
    """
    who = Identities(identified=identified)
    who.remember(dataset)
    uid = uid_of(dataset, "StudyInstanceUID")
    shown = ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber")
    names = ("patient_name", "patient_id", "birth_date", "study_date", "accession_number")
    texts = {name: _text(dataset, word) for name, word in zip(names, shown, strict=True)} if identified else {}
    return FoundStudy(
        uid,
        who.mask(_text(dataset, "StudyDescription")),
        tuple(filter(None, _text(dataset, "ModalitiesInStudy").split("\\"))),
        _number(dataset, "NumberOfStudyRelatedSeries"),
        _number(dataset, "NumberOfStudyRelatedInstances"),
        {name: text for name, text in texts.items() if text},
    ), who


def series_of(dataset: Dataset, study: FoundStudy, who: Identities, url: str) -> FoundSeries:
    """Return a series as an archive describes it."""
    return FoundSeries(
        url,
        study,
        uid_of(dataset, "SeriesInstanceUID"),
        _number(dataset, "SeriesNumber"),
        who.mask(_text(dataset, "SeriesDescription")),
        who.mask(_text(dataset, "Modality")),
        _number(dataset, "NumberOfSeriesRelatedInstances"),
    )


def uid_of(dataset: Dataset, keyword: str) -> str:
    """Return a UID of an answer.

    Raises
    ------
    PacsError
        If there is none: it goes into URLs and names of files, so it must be one.
    """
    found = _text(dataset, keyword)
    if not _UID.fullmatch(found):
        raise PacsError(f"The archive answers without a usable {keyword}.", why="answer")
    return found


def _text(dataset: Dataset, keyword: str) -> str:
    """Return a value as text, several with backslashes between; what cannot be understood says nothing."""
    try:
        value: Any = dataset.get(keyword)
        if value is None:
            return ""
        many = value if isinstance(value, MutableSequence) else [value]
        return "\\".join(str(one).strip() for one in many if one is not None)
    except PARSER_ERRORS:
        return ""


def _number(dataset: Dataset, keyword: str) -> int | None:
    text = _text(dataset, keyword)
    return int(text) if re.fullmatch(r"-?\d{1,9}", text) else None


def _alike(given: str, wanted: str) -> bool:
    return fnmatchcase(given.casefold(), wanted.casefold().replace("[", "[[]"))
