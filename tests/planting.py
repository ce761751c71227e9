"""A DICOM series with a token of its own in every text that a header can hold, and a scan that can be run.

Each token stands in one element of one place: whoever finds it knows where it leaked from. Letters are ``qzx`` and five
of a to j; days lie in years before 1800; UIDs have a root of their own; names have groups in three scripts.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.dataset import Dataset

from dicom_factory import Plan, make_slice

ROOT = "1.2.826.0.1.3680043.8.498.9753"
#: A patient whose name is written in Latin, in kanji and in kana; each word is a token.
NAME = "Qzxjjaaa^Qzxjjaab=山田蔵^太郎丸=やまだぞう^たろうまる"
SCRIPTS = ("山田蔵", "太郎丸", "やまだぞう", "たろうまる")
SHAPE = (20, 18, 10)

_LETTERED = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
_DAYS = {"DA", "TM", "DT"}
# Without these a file is no image, or another one: what an image is, where it lies, how its values are stored.
_STRUCTURE = frozenset(
    (
        "Modality",
        "SpecificCharacterSet",
        "PhotometricInterpretation",
        "ImageType",
        "SOPClassUID",
        "RescaleType",
        "PatientPosition",
        "TransferSyntaxUID",
        "SliceProgressionDirection",
        "PixelPresentation",
        "BurnedInAnnotation",
        "LossyImageCompression",
        "PresentationLUTShape",
        "VolumetricProperties",
        "ComplexImageComponent",
        "FrameType",
        "LongitudinalTemporalInformationModified",
        "PixelDataProviderURL",
        "PixelPaddingValue",
        "ExtendedOffsetTable",
        "UniversalEntityIDType",
        "ContentQualification",
        "ModalityLUTSequence",
        "VOILUTSequence",
        "PixelMeasuresSequence",
        "PlanePositionSequence",
        "PlaneOrientationSequence",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
        "RealWorldValueMappingSequence",
        "DirectoryRecordSequence",
        "ConcatenationUID",
    )
)
# Groups of files, commands, directories and pixels; and of overlays and curves, which repeat.
_OTHER_GROUPS = {0x0000, 0x0002, 0x0004, 0x7FE0}


@dataclass
class Planted:
    """Where each token stands, by the token in lower case."""

    places: dict[str, str] = field(default_factory=dict)

    def letters(self, place: str) -> str:
        """Return a new token of letters."""
        digits = f"{len(self.places):05}"
        token = "qzx" + "".join(chr(ord("a") + int(digit)) for digit in digits)
        return self._kept(token, place)

    def day(self, place: str) -> str:
        """Return a new day."""
        n = len(self.places)
        return self._kept(f"{1500 + n // 336:04}{n // 28 % 12 + 1:02}{n % 28 + 1:02}", place)

    def uid(self, place: str) -> str:
        """Return a new UID."""
        return self._kept(f"{ROOT}.{100000 + len(self.places)}", place)

    def time(self, place: str) -> str:
        """Return a new time, with microseconds that no other has."""
        return self._kept(f"235959.{700000 + len(self.places)}", place)

    def _kept(self, token: str, place: str) -> str:
        self.places[token] = place
        return token


def text_elements() -> Iterator[tuple[int, str, str]]:
    """Yield tag, VR and keyword of every text of the standard, but for those of which an image consists."""
    for number, (vr, _, _, _, keyword) in sorted(DicomDictionary.items()):
        group = number >> 16
        known = _STRUCTURE | {"PatientName", "SOPInstanceUID"}  # these two are set apart
        if group not in _OTHER_GROUPS and keyword and keyword not in known and vr in _LETTERED | _DAYS | {"UI"}:
            yield number, vr, keyword


def sequences() -> Iterator[int]:
    """Yield the tag of every sequence of the standard, but for those of which an image consists."""
    for number, (vr, _, _, _, keyword) in sorted(DicomDictionary.items()):
        if vr == "SQ" and number >> 16 not in _OTHER_GROUPS and keyword and keyword not in _STRUCTURE:
            yield number


def _value(planted: Planted, vr: str, place: str) -> str:
    if vr == "UI":
        return planted.uid(place)
    if vr == "TM":
        return planted.time(place)
    if vr == "DT":
        return planted.day(place) + "235959"
    if vr == "DA":
        return planted.day(place)
    token = planted.letters(place)
    return token.upper() if vr in ("CS", "AE") else token


def plant(dataset: Dataset, planted: Planted) -> None:
    """Put a token into every text, into an item of every sequence, and into private elements, nested ones too."""
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    for number, vr, keyword in text_elements():
        dataset.add_new(number, vr, _value(planted, vr, keyword))
    for number in sequences():
        name = keyword_for_tag(number)
        inner = Dataset()
        inner.PatientID = planted.letters(f"{name}.PatientID")
        inner.CodeMeaning = planted.letters(f"{name}.CodeMeaning")
        inner.private_block(0x0011, planted.letters(f"{name}.private creator"), create=True).add_new(
            0x10, "LO", planted.letters(f"{name}.private")
        )
        dataset.add_new(number, "SQ", [inner])
    deepest = Dataset()
    deepest.PatientName = planted.letters("private sequence.PatientName")
    block = dataset.private_block(0x0033, planted.letters("private creator"), create=True)
    for n, vr in enumerate(sorted(_LETTERED - {"AE", "CS"})):
        block.add_new(0x10 + n, vr, planted.letters(f"private {vr}"))
    block.add_new(0x40, "SQ", [deepest])
    block.add_new(0x41, "UN", planted.letters("private bytes").encode())
    dataset.PatientName = NAME
    planted.places |= {word: "PatientName" for word in (*SCRIPTS, "qzxjjaaa", "qzxjjaab")}


def write_planted(folder: Path, *, radius_mm: float = 4.0) -> Planted:
    """Write a series with a bright ball in it, a token in every text of every file, and files called after the patient.

    The tokens are the same in all slices, but for the UIDs of the images.
    """
    planted = Planted()
    planted_once = Dataset()
    plan = Plan(shape=SHAPE, spacing=(1.0, 1.0, 1.5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some texts are no such thing as their VR wants
        plant(planted_once, planted)
        place = folder / f"Qzxjjaaa {planted_once.PatientID}"
        place.mkdir(parents=True)
        for k in range(SHAPE[2]):
            slice_ = make_slice(plan, k)
            slice_.update(planted_once)
            slice_.SOPInstanceUID = planted.uid(f"SOPInstanceUID of slice {k}")
            _set_ball(slice_, k, radius_mm)
            _set_meta(slice_, planted)
            slice_.save_as(place / f"qzxjjaab_{k:03}.dcm", enforce_file_format=True)
    return planted


def _set_ball(dataset: Dataset, k: int, radius_mm: float) -> None:
    """Replace the pixels by a ball of 1 with a soft edge, in thousandths."""
    i, j = np.meshgrid(np.arange(SHAPE[0]), np.arange(SHAPE[1]), indexing="ij")
    middle = (np.array(SHAPE) - 1) / 2
    distance = np.sqrt((i - middle[0]) ** 2 + (j - middle[1]) ** 2 + (1.5 * (k - middle[2])) ** 2)
    values = np.rint(1000 / (1 + np.exp(2 * (distance - radius_mm)))).astype("<u2")
    dataset.PixelData = values.T.tobytes()
    dataset.RescaleSlope, dataset.RescaleIntercept = "0.001", "0"


def _set_meta(dataset: Dataset, planted: Planted) -> None:
    """Put tokens before the data set: into the preamble and the texts of the file meta information."""
    meta = dataset.file_meta
    dataset.preamble = planted.letters("preamble").encode().ljust(128, b"\0")
    meta.SourceApplicationEntityTitle = planted.letters("SourceApplicationEntityTitle").upper()
    meta.SendingApplicationEntityTitle = planted.letters("SendingApplicationEntityTitle").upper()
    meta.ReceivingApplicationEntityTitle = planted.letters("ReceivingApplicationEntityTitle").upper()
    meta.ImplementationVersionName = planted.letters("ImplementationVersionName")
    meta.PrivateInformationCreatorUID = planted.uid("PrivateInformationCreatorUID")
    meta.PrivateInformation = planted.letters("PrivateInformation").encode()


def pattern() -> re.Pattern[str]:
    """Return what every token of a text in lower case looks like."""
    letters, uid = r"qzx[a-j]{5}", re.escape(ROOT) + r"\.\d{6}"
    times, days = r"(?<!\d)235959\.7\d{5}", r"(?<![\d.])1[5-7]\d\d-?\d\d-?\d\d"
    return re.compile("|".join((letters, uid, times, days, *SCRIPTS)))
