"""Who a scan is of: what is looked for in the headers, so that it can be kept out of everything that leaves here.

No patient's name, identifier or date is copied into a value. All the same they come along: in names of files and
folders, in descriptions, and in private texts. So each header of a reading is asked who the patient is, and whatever
else is taken from the files is compared with the answer before it reaches a volume, a list, a note or a message.
``docs/reference/privacy.md`` has the rule in full.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from lesionlens.errors import LesionLensError
from lesionlens.io.boundary import PARSER_ERRORS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["KEYWORDS", "REMOVED", "Identities", "hide_uids"]

# What stands in the place of a text that could lead to the patient.
REMOVED = "[removed]"

# Names of people, word by word: a folder may hold the family name alone.
_NAMES = (
    "PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ResponsiblePerson",
    "ReferringPhysicianName", "ConsultingPhysicianName", "PerformingPhysicianName", "NameOfPhysiciansReadingStudy",
    "PhysiciansOfRecord", "OperatorsName", "RequestingPhysician",
)  # fmt: skip

# Identifiers and addresses, each as a whole.
_IDENTIFIERS = (
    "PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "AdmissionID", "MedicalRecordLocator",
    "PatientAddress", "PatientTelephoneNumbers", "InstitutionName", "InstitutionAddress", "StationName",
    "DeviceSerialNumber",
)  # fmt: skip

# Days, in every order in which they are written.
_DAYS = ("PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")

_MORE_IDS = "OtherPatientIDsSequence"

# What is shown when it is asked for, and how it is called; of a series, as its first file says.
_SHOWN = {
    "patient_name": "PatientName",
    "patient_id": "PatientID",
    "birth_date": "PatientBirthDate",
    "study_date": "StudyDate",
    "accession_number": "AccessionNumber",
    "study_uid": "StudyInstanceUID",
    "series_uid": "SeriesInstanceUID",
}

# Attributes to ask the parser for.
KEYWORDS = tuple(dict.fromkeys((*_NAMES, *_IDENTIFIERS, *_DAYS, _MORE_IDS, *_SHOWN.values())))

# A text of so many letters and digits is found anywhere in another one, a shorter one where it stands alone: "Li" is
# in "slice". A single character, or a number that short, is in everything, file names above all, and tells nobody from
# anybody else.
_ANYWHERE, _SHORTEST = 4, 2

# How letters are written where the alphabet lacks them.
_WRITTEN_OUT = {"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "æ": "ae"}

# Identifiers and days are written with and without points, dashes and blanks.
_BETWEEN = r"[\W_]{0,2}"

# Several in a row, as in "Family_Given_19560302", are one.
_IN_A_ROW = re.compile(rf"{re.escape(REMOVED)}(?:(?:[^\w/]|_)*{re.escape(REMOVED)})+")

# Five numbers with points between them, or more, which no version of a program has; or one made from a random number.
_UID = re.compile(r"(?<![0-9])(?<![0-9]\.)(?:[0-2](?:\.(?:0|[1-9][0-9]*)){4,}|2\.25\.[0-9]{6,})(?![0-9])")


class Identities:
    """What the headers of one reading say about the patient, to keep it out of everything else.

    Parameters
    ----------
    identified
        True keeps everything as it is, because the user asked for it, and remembers who it is.
    """

    def __init__(self, *, identified: bool = False) -> None:
        self.identified = identified
        self._patterns: set[str] = set()
        self._compiled: tuple[int, re.Pattern[str]] | None = None
        self._seen: set[tuple[object, ...]] = set()
        self._of_series: dict[str, dict[str, str]] = {}

    def __repr__(self) -> str:
        return "Identities()"  # a traceback can show what its variables hold

    def remember(self, dataset: Dataset) -> None:
        """Take from a header what must not be repeated; a header that cannot be understood says nothing."""
        raw = tuple((tag, _raw(dataset.get_item(tag))) for tag in dataset.keys() & _tags())
        if raw in self._seen:  # all files of a series say the same
            return
        self._seen.add(raw)
        if self.identified:
            found = {name: ", ".join(_texts(dataset, keyword)) for name, keyword in _SHOWN.items()}
            self._of_series.setdefault(found["series_uid"], {name: text for name, text in found.items() if text})
        else:
            self._patterns.update(filter(None, map(_pattern, _identifying(dataset))))

    def remember_texts(self, texts: Iterable[str]) -> None:
        """Take texts from elsewhere that must not be repeated, such as words of a name that a user gave."""
        self._patterns.update(filter(None, map(_pattern, texts)))

    def of_series(self, uid: str) -> dict[str, str]:
        """Return who a series is of, where it was asked for; else nothing."""
        return dict(self._of_series.get(uid, {}))

    def mask(self, text: str) -> str:
        """Return a text with everything removed that the headers so far say about the patient."""
        if not self._patterns or not text:
            return text
        if self._compiled is None or self._compiled[0] != len(self._patterns):
            longest_first = sorted(self._patterns, key=lambda pattern: (-len(pattern), pattern))
            self._compiled = len(self._patterns), re.compile("|".join(longest_first))
        folded, places = _folded(text)
        parts, end = [], 0
        for found in self._compiled[1].finditer(folded):
            start, stop = places[found.start()], places[found.end() - 1] + 1
            if start >= end:
                parts += [text[end:start], REMOVED]
            end = max(end, stop)
        return _IN_A_ROW.sub(REMOVED, "".join([*parts, text[end:]])) if parts else text

    def wanted(self, text: str | int | None) -> str | int | None:
        """Return what a user asked for as it is listed; a UID may hold an identifier's digits and stays."""
        return self.mask(text) if isinstance(text, str) and not _UID.fullmatch(text.strip()) else text

    def names(self, names: Sequence[str]) -> dict[str, str]:
        """Return how to call each file: folders and names without the patient's, all different all the same."""
        shown: dict[tuple[str, ...], str] = {}
        taken: set[str] = set()
        for name in names:
            parts = tuple(name.split("/"))
            for n, part in enumerate(parts):
                if parts[: n + 1] not in shown:
                    folder = f"{shown[parts[:n]]}/" if n else ""
                    shown[parts[: n + 1]] = _free(folder + self.mask(part), taken)
        return {name: shown[tuple(name.split("/"))] for name in names}

    def values(self, values: Iterable[str]) -> dict[str, str]:
        """Return how to show each value: those that were different stay so, and numbers are measured, not given."""
        taken: set[str] = set()
        return {
            value: value if _is_numeric(value) else _free(self.mask(value), taken) for value in dict.fromkeys(values)
        }

    @contextmanager
    def masking(self) -> Iterator[None]:
        """Remove from the errors that leave the block what must not be repeated."""
        try:
            yield
        except LesionLensError as error:
            error.args = (self.mask(str(error)), *error.args[1:])
            raise


def hide_uids(text: str) -> str:
    """Return a text with a short digest in the place of each UID, which leads to the patient in the archive.

    The same UID gives the same digest, so that records can still be compared. It is not secret: whoever holds the
    files can make it again, as they can make their SHA-256.
    """
    return _UID.sub(lambda found: f"uid-{hashlib.sha256(found.group().encode()).hexdigest()[:12]}", text)


def _identifying(dataset: Dataset) -> Iterator[str]:
    """Yield every text of a header that leads to the patient."""
    for name in (name for keyword in _NAMES for name in _texts(dataset, keyword)):
        yield from re.split(r"[\W_]+", name)
    for keyword in _IDENTIFIERS:
        yield from _texts(dataset, keyword)
    with suppress(*PARSER_ERRORS):
        for item in dataset.get(_MORE_IDS) or []:
            yield from _texts(item, "PatientID")
    for day in (day for keyword in _DAYS for day in _texts(dataset, keyword)):
        yield from _written(day)


@cache
def _tags() -> frozenset[int]:
    from pydicom.datadict import tag_for_keyword  # whoever has a data set has loaded it

    return frozenset(tag for tag in map(tag_for_keyword, KEYWORDS) if tag is not None)


def _raw(element: Any) -> object:
    """Return a value as the file holds it, undecoded where pydicom has not decoded it yet."""
    return element.value if isinstance(element.value, bytes) else str(element.value)


def _texts(dataset: Dataset, keyword: str) -> list[str]:
    """Return the values of an attribute as texts; none where they cannot be understood."""
    value: Any = None
    with suppress(*PARSER_ERRORS):
        value = dataset.get(keyword)
    parts = list(value) if _is_list(value) else [value]
    return [str(part) for part in parts if part]


def _is_list(value: Any) -> bool:
    return hasattr(value, "__iter__") and not isinstance(value, str | bytes) and not hasattr(value, "components")


def _written(day: str) -> tuple[str, ...]:
    """Return a day (YYYYMMDD) as people write it."""
    if not re.fullmatch(r"[0-9]{8}", day):
        return (day,)
    year, month, date = day[:4], day[4:6], day[6:]
    return day, date + month + year, month + date + year, day[2:], date + month + year[2:], month + date + year[2:]


def _pattern(text: str) -> str:
    """Return an expression that finds a text in a folded one, whatever stands between its letters and digits."""
    both = {_folded(text)[0], _folded("".join(_WRITTEN_OUT.get(c, c) for c in text.lower()))[0]}
    found = []
    for form in sorted(both):
        characters = re.findall(r"[^\W_]", form)
        alone = len(characters) < _ANYWHERE
        if len(characters) < _SHORTEST or (alone and all(map(str.isdigit, characters))):
            continue
        # Digits are never found inside a longer number.
        before = r"(?<![^\W_])" if alone else r"(?<!\d)" if characters[0].isdigit() else ""
        after = r"(?![^\W_])" if alone else r"(?!\d)" if characters[-1].isdigit() else ""
        found.append(before + _BETWEEN.join(map(re.escape, characters)) + after)
    return "|".join(found)


def _folded(text: str) -> tuple[str, list[int]]:
    """Return a text without case and accents, and for each of its characters the place in the text."""
    letters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        plain = unicodedata.normalize("NFKD", character).casefold()
        kept = [letter for letter in plain if not unicodedata.combining(letter)]
        letters += kept
        places += [place] * len(kept)
    return "".join(letters), places


def _is_numeric(value: str) -> bool:
    return not re.search(r"[^\W\d_]", value.replace("e", ""))


def _free(text: str, taken: set[str]) -> str:
    """Return a text that is not taken yet, with a number where it is, and take it."""
    found, n = text, 1
    while found in taken:
        n += 1
        found = f"{text} ({n})"
    taken.add(found)
    return found
