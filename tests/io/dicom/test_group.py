from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    EncapsulatedPDFStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicom_factory import AXIAL, CORONAL, SAGITTAL, Plan, make_series, make_slice
from lesionlens.errors import AmbiguousSeriesError, ReadError
from lesionlens.io import list_series, read

FLAIR = Plan(number=4, description="t2 flair", uid="1.2.4")
T1 = Plan(number=5, description="t1 mprage", uid="1.2.5", origin=(0.0, 0.0, 0.0))
TWICE = Plan(number=5, description="T1 MPRAGE", uid="1.2.55", origin=(1.0, 0.0, 0.0))


def without_pixels(dataset: Dataset, k: int) -> None:
    """Remove everything that describes an image, as in a report."""
    del k
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "ImagePositionPatient", "ImageOrientationPatient"):
        delattr(dataset, keyword)


def test_several_scans_are_listed_and_none_is_guessed(tmp_path: Path) -> None:
    """The error shows UID, number, description and size of each, so that the next call can choose."""
    make_series(tmp_path, FLAIR)
    make_series(tmp_path, T1)

    with pytest.raises(AmbiguousSeriesError, match=r"2 series in .* could be meant; choose one") as caught:
        read(tmp_path)

    assert "4 't2 flair' (MR, 5 slices, UID 1.2.4)" in str(caught.value)
    assert "5 't1 mprage' (MR, 5 slices, UID 1.2.5)" in str(caught.value)
    assert caught.value.choices == ("1.2.4", "1.2.5")


@pytest.mark.parametrize("wanted", ["1.2.5", 5, "5", "t1 mprage", "T1 MPRage", " 5 "])
def test_a_series_is_chosen_by_uid_number_or_description(tmp_path: Path, wanted: str | int) -> None:
    """Whatever the list shows can be given back."""
    make_series(tmp_path, FLAIR)
    make_series(tmp_path, T1)

    volume = read(tmp_path, series=wanted)

    assert volume.name == "MR series 5"
    assert volume.source.decisions == ()


@pytest.mark.parametrize("wanted", [5, "t1 mprage"])
def test_a_choice_that_fits_two_series_is_refused(tmp_path: Path, wanted: str | int) -> None:
    """Numbers and descriptions repeat between studies; only the UID is unique."""
    make_series(tmp_path, FLAIR)
    make_series(tmp_path, T1)
    make_series(tmp_path, TWICE)

    with pytest.raises(AmbiguousSeriesError, match=f"2 series in .* match '{wanted}'") as caught:
        read(tmp_path, series=wanted)

    assert caught.value.choices == ("1.2.5", "1.2.55")
    assert read(tmp_path, series="1.2.55").source.uids != read(tmp_path, series="1.2.5").source.uids


@pytest.mark.parametrize("wanted", ["9", 9, "1.2", "flair", "", pytest.param("9" * 5000, id="thousands of digits")])
def test_an_unknown_series_is_refused_with_those_that_exist(tmp_path: Path, wanted: str | int) -> None:
    """Parts of a name do not match: nothing is guessed."""
    make_series(tmp_path, FLAIR)
    make_series(tmp_path, T1)

    with pytest.raises(ReadError, match=r"no series .*; choose one of: 4 't2 flair' .*, 5 't1 mprage'"):
        read(tmp_path, series=wanted)


def test_a_number_wins_over_an_equal_description(tmp_path: Path) -> None:
    """UID, then number, then description: the order is documented and fixed."""
    make_series(tmp_path, FLAIR)
    make_series(tmp_path, replace(T1, description="4"))

    assert read(tmp_path, series="4").name == "MR series 4"


def localiser(dataset: Dataset, k: int) -> None:
    """Mark as localiser."""
    del k
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def three_ways(dataset: Dataset, k: int) -> None:
    """Lie a different way in each slice."""
    dataset.ImageOrientationPatient = list((AXIAL, SAGITTAL, CORONAL)[k % 3])


def colour(dataset: Dataset, k: int) -> None:
    """Become a colour image."""
    del k
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"


def exam_data(dataset: Dataset, k: int) -> None:
    """Become what Philips stores beside its images: their size, and nothing else of an image."""
    without_pixels(dataset, k)
    dataset.Rows, dataset.Columns = 6, 7
    for keyword in ("SamplesPerPixel", "PhotometricInterpretation", "ImagePositionPatient"):
        dataset.pop(keyword, None)


BYSTANDERS: dict[str, tuple[Plan, str]] = {
    "marked localiser": (Plan(change=localiser), "localiser"),
    "unmarked scout": (Plan(shape=(7, 6, 3), change=three_ways), "localiser (in several orientations)"),
    "unmarked scout, two slices each": (
        Plan(shape=(7, 6, 6), change=three_ways),
        "localiser (in several orientations)",
    ),
    "report": (
        Plan(shape=(7, 6, 1), sop_class=BasicTextSRStorage, change=without_pixels),
        "report (Basic Text SR Storage)",
    ),
    "contours": (
        Plan(shape=(7, 6, 1), sop_class=RTStructureSetStorage, change=without_pixels),
        "result (RT Structure Set",
    ),
    "document": (
        Plan(shape=(7, 6, 1), sop_class=EncapsulatedPDFStorage, change=without_pixels),
        "report (Encapsulated PDF",
    ),
    "segmentation": (Plan(sop_class=SegmentationStorage), "result (Segmentation Storage)"),
    "unknown object": (
        Plan(shape=(7, 6, 1), sop_class="1.2.3.4", change=without_pixels),
        "object without pixels (1.2.3.4)",
    ),
    "exam data": (Plan(shape=(7, 6, 1), sop_class="1.2.3.4", change=exam_data), "object without pixels (1.2.3.4)"),
    "marked scout": (Plan(image_type=("ORIGINAL", "PRIMARY", "SCOUT")), "localiser"),
    "screen capture": (Plan(shape=(7, 6, 1), sop_class=SecondaryCaptureImageStorage), "secondary capture"),
    "captures without places": (
        Plan(sop_class=SecondaryCaptureImageStorage, change=lambda dataset, _: dataset.pop("ImagePositionPatient")),
        "secondary capture (without a place in the patient)",
    ),
    "colour images": (Plan(change=colour), "colour images"),
    "single image": (Plan(shape=(7, 6, 1)), "single image"),
}


@pytest.mark.parametrize(("bystander", "reason"), BYSTANDERS.values(), ids=BYSTANDERS.keys())
def test_the_only_scan_beside_bystanders_is_taken_and_said(tmp_path: Path, bystander: Plan, reason: str) -> None:
    """Localisers, reports and captures are no candidates; what was left aside is on record."""
    make_series(tmp_path, FLAIR)
    make_series(tmp_path, replace(bystander, number=9, description="other", uid="1.2.9"))

    volume = read(tmp_path)

    assert volume.name == "MR series 4"
    (decision,) = volume.source.decisions
    assert decision.startswith("Series 9 'other' (MR")
    assert f"was left aside: {reason}" in decision
    scan, other = list_series(tmp_path)
    assert (scan.kind, scan.left_out) == ("scan", False)
    assert other.kind.startswith(reason)
    assert other.left_out


def irregular(dataset: Dataset, k: int) -> None:
    """Move one slice."""
    if k == 4:
        dataset.ImagePositionPatient[2] += 20


def mosaic(dataset: Dataset, k: int) -> None:
    """Become a mosaic."""
    del k
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]


@pytest.mark.parametrize(
    "rival",
    [
        Plan(change=irregular),
        Plan(change=mosaic),
        Plan(change=three_ways, shape=(7, 6, 12)),
        Plan(image_type=("DERIVED", "SECONDARY", "MPR")),
        Plan(sop_class=SecondaryCaptureImageStorage),
    ],
    ids=["irregular", "mosaic", "many orientations", "derived", "captures"],
)
def test_a_scan_that_could_be_meant_is_never_passed_over(tmp_path: Path, rival: Plan) -> None:
    """A series that cannot be read may still be the one that is meant: the user decides."""
    make_series(tmp_path, FLAIR)
    make_series(tmp_path, replace(rival, number=9, uid="1.2.9"))

    with pytest.raises(AmbiguousSeriesError, match="2 series"):
        read(tmp_path)


def test_localisers_inside_the_series_are_left_out(tmp_path: Path) -> None:
    """Some scanners give the localiser the UID of the scan."""
    make_series(tmp_path, FLAIR)
    make_series(tmp_path / "x", replace(FLAIR, shape=(9, 9, 2), orientation=SAGITTAL, change=localiser, number=1))

    volume = read(tmp_path)

    assert volume.grid.shape == FLAIR.shape
    assert volume.source.decisions == ("Left out: 2 localiser images in the same series.",)


def test_reports_inside_the_series_are_left_out(tmp_path: Path) -> None:
    """Some systems store a report under the UID of its images."""
    make_series(tmp_path, FLAIR)
    report = make_slice(replace(FLAIR, sop_class=BasicTextSRStorage, change=without_pixels), 0)
    report.SOPInstanceUID = "1.2.3"
    report.save_as(tmp_path / "report", enforce_file_format=True)

    volume = read(tmp_path)

    assert volume.grid.shape == FLAIR.shape
    assert volume.source.decisions == ("Left out: 1 file without a scan's images in the same series: report.",)


def test_a_makers_private_data_inside_the_series_are_left_out(tmp_path: Path) -> None:
    """Philips stores an object without pixels under the UID of the scan and gives it the size of the images."""
    make_series(tmp_path, FLAIR)
    private = make_slice(replace(FLAIR, sop_class="1.3.46.670589.11.0.0.12.2", change=exam_data), 0)
    private.SOPInstanceUID = "1.2.3"
    private.save_as(tmp_path / "XX_0001", enforce_file_format=True)

    volume = read(tmp_path)

    assert volume.grid.shape == FLAIR.shape
    assert volume.source.decisions == ("Left out: 1 file without a scan's images in the same series: XX_0001.",)


def test_an_image_that_does_not_say_how_it_is_shown_is_not_left_out(tmp_path: Path) -> None:
    """An image class is an image, however little its header says: to leave it out would lose a slice."""
    plan = replace(FLAIR, change=lambda dataset, k: dataset.pop("PhotometricInterpretation") if k == 4 else None)
    make_series(tmp_path, plan)

    with pytest.raises(ReadError, match="expected grey values, found unnamed colours"):
        read(tmp_path)


def test_a_localiser_alone_is_read(tmp_path: Path) -> None:
    """Left aside only beside something better; parallel slices are a volume whatever their purpose."""
    make_series(tmp_path, replace(FLAIR, change=localiser))

    assert read(tmp_path).grid.shape == FLAIR.shape


def test_a_localiser_is_read_when_asked_for(tmp_path: Path) -> None:
    """An explicit choice is followed."""
    make_series(tmp_path, FLAIR)
    make_series(tmp_path, replace(T1, change=localiser))

    assert read(tmp_path, series=5).name == "MR series 5"


def test_bystanders_alone_are_refused_with_their_reasons(tmp_path: Path) -> None:
    """Where no series is a scan, each is named with what it is."""
    make_series(tmp_path, Plan(number=1, uid="1.2.1", change=localiser))
    make_series(tmp_path, Plan(number=2, uid="1.2.2", sop_class=SegmentationStorage))

    reasons = r"No series in .* is a scan: 1 .*: localiser; 2 .*: result \(Segmentation Storage\)"
    with pytest.raises(AmbiguousSeriesError, match=reasons) as caught:
        read(tmp_path)

    assert caught.value.choices == ("1.2.1", "1.2.2")


def test_one_of_two_captured_stacks_has_to_be_chosen(tmp_path: Path) -> None:
    """Some archives hold nothing but secondary captures; napari asks which, as for any two scans."""
    for plan in (FLAIR, T1):
        make_series(tmp_path, replace(plan, sop_class=SecondaryCaptureImageStorage))

    with pytest.raises(AmbiguousSeriesError, match=r"2 series in .* could be meant") as caught:
        read(tmp_path)

    assert caught.value.choices == ("1.2.4", "1.2.5")
    assert read(tmp_path, series=5).name == "MR series 5"


def tiled(dataset: Dataset, k: int) -> None:
    """Describe the frames as a slide does: all in common, none apart."""
    del k
    dataset.NumberOfFrames, dataset.SharedFunctionalGroupsSequence = 3, [Dataset()]


REFUSED: dict[str, tuple[Plan, str]] = {
    "report": (
        Plan(shape=(7, 6, 1), sop_class=BasicTextSRStorage, change=without_pixels),
        "expected images, found Basic Text SR Storage",
    ),
    "contours": (
        Plan(shape=(7, 6, 1), sop_class=RTStructureSetStorage, change=without_pixels),
        "expected images, found RT Structure Set Storage",
    ),
    "segmentation": (Plan(sop_class=SegmentationStorage), "expected images, found Segmentation Storage"),
    "colour": (Plan(change=colour), "expected grey values, found RGB colours"),
    "palette": (
        Plan(change=lambda dataset, _: setattr(dataset, "PhotometricInterpretation", "PALETTE COLOR")),
        "expected grey values, found PALETTE COLOR colours",
    ),
    "exam data": (Plan(shape=(7, 6, 1), sop_class="1.2.3.4", change=exam_data), "1.2.3.4 without an image"),
    "mosaic": (Plan(change=mosaic), "found a Siemens mosaic without its CSA header"),
    "frames without places": (
        Plan(change=lambda dataset, _: setattr(dataset, "NumberOfFrames", 3)),
        "expected a place for every frame, found 3 frames",
    ),
    "tiles of a slide": (
        Plan(change=tiled),
        "expected a place for every frame, found 3 frames of MR Image Storage without",
    ),
    "part of a whole": (
        Plan(change=lambda dataset, _: setattr(dataset, "InConcatenationTotalNumber", 2)),
        "expected all 2 parts of a concatenation, found 5; without part 2",
    ),
}


@pytest.mark.parametrize(("plan", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_scan_is_refused_by_name(tmp_path: Path, plan: Plan, message: str) -> None:
    """The refusal names what was found, and the list says the same."""
    make_series(tmp_path, plan)

    with pytest.raises(ReadError, match=message):
        read(tmp_path)
    (info,) = list_series(tmp_path)
    assert isinstance(info.verdict, str)
    assert message in info.verdict
    assert not info.readable


def of_another_patient(dataset: Dataset, k: int) -> None:
    """Belong to somebody else in the last slices."""
    if k > 2:
        dataset.PatientID = "OTHER-ID"


def of_another_name(dataset: Dataset, k: int) -> None:
    """Have no identifier, and another name in the last slices."""
    del dataset.PatientID
    if k > 2:
        dataset.PatientName = "Other^Patient"


def of_another_study(dataset: Dataset, k: int) -> None:
    """Were taken on another visit in the last slices."""
    if k > 2:
        dataset.StudyInstanceUID = "1.2.840.99"


def of_another_modality(dataset: Dataset, k: int) -> None:
    """Come from a CT scanner in the last slices."""
    if k > 2:
        dataset.Modality = "CT"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_another_patient, r"MR series 4 is not one series: expected one patient, found files of 2: \w+, \w+\."),
        (of_another_name, "MR series 4 is not one series: expected one patient, found files of 2"),
        (of_another_study, r"MR series 4 is not one series: expected one study, found files of 2: \w+, \w+\."),
        (of_another_modality, r"MR series 4 is not one series: expected one modality, found MR \(\w+\), CT \(\w+\)\."),
    ],
    ids=["identifier", "name", "study", "modality"],
)
def test_files_that_share_a_series_uid_by_mistake_are_never_mixed(
    tmp_path: Path, change: Callable[[Dataset, int], None], message: str
) -> None:
    """Wrong anonymisation gives two patients one UID; half a head of each would make a regular volume."""
    make_series(tmp_path, replace(FLAIR, change=change))

    for path in (tmp_path, next(tmp_path.iterdir())):
        with pytest.raises(ReadError, match=message) as caught:
            read(path)
        (info,) = list_series(path)
        assert str(info.verdict) == str(caught.value)
        assert not any(word in str(caught.value) for word in ("OTHER", "SECRET", "Other", "Secret"))


def test_a_patient_written_in_two_ways_is_one(tmp_path: Path) -> None:
    """Padding and case come from the program that wrote the file; a file may also say nothing."""

    def change(dataset: Dataset, k: int) -> None:
        if k == 1:
            dataset.PatientID = "secret-id "
        if k == 2:
            del dataset.PatientID, dataset.PatientName, dataset.Modality, dataset.StudyInstanceUID

    make_series(tmp_path, replace(FLAIR, change=change))

    assert read(tmp_path).grid.shape == FLAIR.shape


def test_series_are_listed_by_number(tmp_path: Path) -> None:
    """The order of the list is the order of the examination, series without number last."""
    for plan in (Plan(number=None, uid="1.9"), Plan(number=11, uid="1.1"), Plan(number=2, uid="1.2")):
        make_series(tmp_path, plan)

    assert [info.number for info in list_series(tmp_path)] == [2, 11, None]


def without_uid(dataset: Dataset, k: int) -> None:
    """Lose the series UID."""
    del k
    del dataset.SeriesInstanceUID


def test_files_without_series_uid_are_one_series(tmp_path: Path) -> None:
    """Some anonymised files have lost it; the slices still have places."""
    plan = replace(FLAIR, change=without_uid)
    make_series(tmp_path, plan)

    assert read(tmp_path).grid.shape == plan.shape


CHANGES: dict[str, Callable[[Dataset, int], None]] = {
    "number": lambda dataset, _: setattr(dataset, "SeriesNumber", None),
    "description": lambda dataset, _: delattr(dataset, "SeriesDescription"),
    "modality": lambda dataset, _: delattr(dataset, "Modality"),
    "image type": lambda dataset, _: delattr(dataset, "ImageType"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_missing_descriptions_are_no_reason_to_refuse(tmp_path: Path, change: Callable[[Dataset, int], None]) -> None:
    """What is only for people may be absent."""
    make_series(tmp_path, replace(FLAIR, change=change))

    assert read(tmp_path).grid.shape == FLAIR.shape
