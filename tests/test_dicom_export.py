"""Results as DICOM: other programs find the same voxels in the same place, and nothing of the patient."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copy, copytree
from typing import get_args

import highdicom as hd
import numpy as np
import pytest
import SimpleITK
from matplotlib.path import Path as MplPath
from numpy.typing import NDArray
from pydicom import dcmread

from dicom_factory import Plan, make_series
from dicom_results import KINDS, Made, complaints, make_results, on_scan, run_tool
from lesionlens.dicom_export import DicomFormat, export_dicom
from lesionlens.errors import InputError, LesionLensError, OutputError, ReadError
from lesionlens.heatmap import slug
from lesionlens.io import read_findings, read_overlay, write_labels
from lesionlens.io.dicom.export.frames import read_frames
from lesionlens.io.dicom.export.masks import FRACTION_STEPS
from lesionlens.io.identity import hide_uids
from lesionlens.io.policy import Wanted
from lesionlens.review import Act
from lesionlens.sessions import CaseFiles, start_session


@pytest.fixture(scope="module", params=KINDS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, Path]:
    """Return results on each kind of series, and the folder that they were exported to, with the patient named."""
    folder = tmp_path_factory.mktemp("export")
    made = make_results(folder, request.param)
    export_dicom(made.results, made.source, folder / "objects", formats=get_args(DicomFormat), identified=True)
    return made, folder / "objects"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return results on an oblique series."""
    return make_results(tmp_path_factory.mktemp("made"))


def test_dciodvfy_finds_no_error(exported: tuple[Made, Path]) -> None:
    """Every object keeps the rules of its kind, so that an archive takes it."""
    found = {path.name: complaints(path) for path in exported[1].glob("*.dcm")}

    assert found == {name: [] for name in found}
    assert found


def test_dciodvfy_finds_what_is_wrong(exported: tuple[Made, Path], tmp_path: Path) -> None:
    """The checker is asked in a way in which it can say no."""
    dataset = dcmread(exported[1] / "seg_lesion.dcm")
    del dataset.SegmentSequence
    dataset.save_as(tmp_path / "bad.dcm")

    assert complaints(tmp_path / "bad.dcm")


def test_dcmqi_finds_the_same_regions(exported: tuple[Made, Path], tmp_path: Path) -> None:
    """An independent reader of segmentations finds every region bit by bit at its place."""
    made, folder = exported
    arguments = ("--inputDICOM", folder / "seg_lesion.dcm", "--outputDirectory", tmp_path, "--mergeSegments")
    done = run_tool("dcmqi", "segimage2itkimage", *arguments)

    assert done.returncode == 0, done.stderr + done.stdout
    (image,) = tmp_path.glob("*.nrrd")
    np.testing.assert_array_equal(on_scan(SimpleITK.ReadImage(str(image)), made.volume), made.labels)


def test_highdicom_finds_the_same_regions(exported: tuple[Made, Path]) -> None:
    """Its own reader gives the regions on a volume, whose affine says where they lie."""
    made, folder = exported
    volume = hd.seg.segread(folder / "seg_lesion.dcm").get_volume(combine_segments=True)
    there = np.linalg.inv(made.volume.grid.affine) @ np.diag([-1, -1, 1, 1]) @ volume.affine
    at = np.argwhere(volume.array)
    ijk = np.rint(at @ there[:3, :3].T + there[:3, 3]).astype(int)
    found = np.zeros(made.volume.grid.shape, int)
    found[tuple(ijk.T)] = volume.array[tuple(at.T)]

    np.testing.assert_array_equal(found, made.labels)


def test_regions_come_back_as_they_went(exported: tuple[Made, Path]) -> None:
    """What is exported can be laid over its scan again, voxel by voxel."""
    made, folder = exported
    (back,) = read_overlay(folder / "seg_lesion.dcm", made.volume)

    np.testing.assert_array_equal(back.array, made.labels)
    assert back.kind == "mask"
    assert dict(back.names) == {1: "lesion 1", 2: "lesion 2"}


def test_dcmqi_finds_the_same_values(exported: tuple[Made, Path], tmp_path: Path) -> None:
    """An independent reader of parametric maps finds every value of probability and attribution, exact as float32."""
    made, folder = exported
    for heatmap in (*made.case.probabilities, *made.case.attributions):
        out = tmp_path / heatmap.kind
        out.mkdir()
        arguments = ("--inputDICOM", folder / f"{heatmap.name}.dcm", "--outputDirectory", out)
        done = run_tool("dcmqi", "paramap2itkimage", *arguments)

        assert done.returncode == 0, done.stderr + done.stdout
        (image,) = out.glob("*.nrrd")
        np.testing.assert_array_equal(on_scan(SimpleITK.ReadImage(str(image)), made.volume), heatmap.array)


def test_maps_come_back_as_they_went(exported: tuple[Made, Path]) -> None:
    """Values, kind, class and place of a map are the same after a way out and back in."""
    made, folder = exported
    for heatmap in (*made.case.probabilities, *made.case.attributions):
        (back,) = read_overlay(folder / f"{heatmap.name}.dcm", made.volume)

        np.testing.assert_array_equal(back.array, heatmap.array)
        assert (back.kind, back.label, back.signed) == (heatmap.kind, heatmap.label, heatmap.signed)
        assert back.grid.same_as(made.volume.grid)


def test_highdicom_finds_the_same_values(exported: tuple[Made, Path]) -> None:
    """Its own reader gives the real-world values, frame by frame."""
    made, folder = exported
    (heatmap,) = made.case.attributions
    image = hd.imread(folder / f"{heatmap.name}.dcm")
    values = image.get_volume(apply_real_world_transform=True, dtype=np.float64)
    there = np.linalg.inv(made.volume.grid.affine) @ np.diag([-1, -1, 1, 1]) @ values.affine
    at = np.argwhere(np.ones(values.spatial_shape, bool))
    ijk = np.rint(at @ there[:3, :3].T + there[:3, 3]).astype(int)

    np.testing.assert_array_equal(values.array[tuple(at.T)], heatmap.array[tuple(ijk.T)])


def test_fractions_are_within_half_a_step(exported: tuple[Made, Path], tmp_path: Path) -> None:
    """A byte holds 256 values, so a fraction is off by half a step at most; dcmqi and our own reader agree on it."""
    made, folder = exported
    (probability,) = made.case.probabilities
    (back,) = read_overlay(folder / "fractional_lesion.dcm", made.volume)

    assert np.abs(back.array - probability.array).max() <= 0.5 / FRACTION_STEPS + 1e-6
    assert (back.kind, back.label) == ("probability", "lesion")
    arguments = ("--inputDICOM", folder / "fractional_lesion.dcm", "--outputDirectory", tmp_path)
    done = run_tool("dcmqi", "segimage2itkimage", *arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    (image,) = tmp_path.glob("*.nrrd")
    stored = on_scan(SimpleITK.ReadImage(str(image)), made.volume)
    np.testing.assert_allclose(stored / FRACTION_STEPS, back.array, atol=1e-6)


def test_dcmqi_finds_the_same_numbers(exported: tuple[Made, Path], tmp_path: Path) -> None:
    """An independent reader of reports finds every finding, its measurements with codes and units, and its region."""
    made, folder = exported
    out = tmp_path / "report.json"
    done = run_tool("dcmqi", "tid1500reader", "--inputDICOM", folder / "report.dcm", "--outputMetadata", out)

    assert done.returncode == 0, done.stderr + done.stdout
    groups = json.loads(out.read_text())["Measurements"]
    segmentation = dcmread(folder / "seg_lesion.dcm")
    assert len(groups) == len(made.case.regions["lesion"]) == 2
    for n, (group, region) in enumerate(zip(groups, made.case.regions["lesion"], strict=True), 1):
        assert group["TrackingIdentifier"] == f"lesion {n}"
        assert group["TrackingUniqueIdentifier"] == segmentation.SegmentSequence[n - 1].TrackingUID
        assert (group["segmentationSOPInstanceUID"], group["ReferencedSegment"]) == (segmentation.SOPInstanceUID, n)
        found = {(one["quantity"]["CodeValue"], one.get("derivationModifier", {}).get("CodeMeaning")): one
                 for one in group["measurementItems"]}  # fmt: skip
        assert region.shape is not None
        for key, value, unit in (
            (("118565006", None), region.volume_mm3, "mm3"),
            (("L0JK", None), region.shape.diameter.length_mm, "mm"),
            (("C0JK", None), region.shape.surface_mm2, "mm2"),
            (("122157", "Mean"), region.probability_mean, "1"),
            (("130402", "Mean"), region.attribution_mean, "1"),
        ):
            assert float(found[key]["value"]) == pytest.approx(value, rel=1e-12)
            assert found[key]["units"]["CodeValue"] == unit


def test_findings_come_back_as_they_went(exported: tuple[Made, Path]) -> None:
    """A report is read as findings, and laid over the scan by the segmentation beside it."""
    made, folder = exported
    findings = read_findings(folder / "report.dcm")
    (masks,) = read_overlay(folder / "report.dcm", made.volume)

    assert [one.name for one in findings] == ["lesion 1", "lesion 2"]
    for finding, region in zip(findings, made.case.regions["lesion"], strict=True):
        (volume,) = (one.value for one in finding.quantities if one.name == "Volume")
        assert volume == pytest.approx(region.volume_mm3, rel=1e-12)
    np.testing.assert_array_equal(masks.array, made.labels)
    assert dict(masks.names) == {1: "lesion 1", 2: "lesion 2"}


def test_highdicom_reads_the_report(exported: tuple[Made, Path]) -> None:
    """Its own reader finds the groups of measurements, each with its segment and the model with its hashes."""
    _, folder = exported
    report = hd.sr.srread(folder / "report.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()

    assert [group.tracking_identifier for group in groups] == ["lesion 1", "lesion 2"]
    content = (folder / "report.dcm").read_bytes()
    assert b"weights_sha256=" + b"77" * 32 in content
    assert b"bundle_sha256=" + b"55" * 32 in content


@pytest.fixture(scope="module")
def session(made: Made) -> Path:
    """Return a session in which one reader judged one of the two findings."""
    path = made.results.parent / "reading.session"
    with start_session(path, [CaseFiles(made.source, made.results)], order="given", title="Trial") as found:
        act = Act("verdict", "lesion-2", {"verdict": "reject"})
        found.record("Ann Secret", found.case_ids[0], [act])
    return path


@pytest.mark.parametrize("identified", [True, False])
def test_the_report_holds_the_verdict(made: Made, session: Path, tmp_path: Path, identified: bool) -> None:
    """What a reader decided goes with the finding; who it was only where people are named."""
    written = export_dicom(
        made.results, made.source, tmp_path / "out", formats=["sr"], session=session, identified=identified
    )
    path = tmp_path / "out" / "report.dcm"

    assert written.files == ("seg_lesion.dcm", "report.dcm")
    assert written.notes[0] == "1 of 2 findings have no verdict of 'Ann Secret'."
    assert complaints(path) == []
    assert [one.verdict for one in read_findings(path)] == ["", "reject"]
    (masks,) = read_overlay(path, made.volume, other_frame=True)
    assert dict(masks.names) == {1: "lesion 1", 2: "lesion 2 (reject)"}
    assert any(note.startswith("lesion 2 (reject): Volume ") for note in masks.provenance.notes)
    assert (b"Ann Secret" in path.read_bytes()) is identified
    run_tool("dcmqi", "tid1500reader", "--inputDICOM", path, "--outputMetadata", tmp_path / "report.json")
    groups = json.loads((tmp_path / "report.json").read_text())["Measurements"]
    said = [group.get("qualitativeEvaluations", []) for group in groups]
    assert "reject" in [one["conceptValue"].get("CodeValue") for one in said[1]]
    assert "reject" not in [one["conceptValue"].get("CodeValue") for one in said[0]]


def test_an_unknown_reader_is_named(made: Made, session: Path, tmp_path: Path) -> None:
    """A mistyped reader would leave a report without verdicts."""
    with pytest.raises(InputError, match="There is no reader of the session 'Bob'; choose one of: Ann Secret"):
        export_dicom(made.results, made.source, tmp_path / "out", session=session, reader="Bob")


def test_other_results_have_no_verdicts_there(session: Path, tmp_path: Path) -> None:
    """Verdicts on the findings of another run would be put on the wrong lesions."""
    other = make_results(tmp_path, "axial")

    with pytest.raises(ReadError, match=r"results is no case of the session reading\.session"):
        export_dicom(other.results, other.source, tmp_path / "out", session=session)


def test_a_report_without_its_segmentation_is_no_overlay(exported: tuple[Made, Path], tmp_path: Path) -> None:
    """The report does not hold the voxels; the message says what to put beside it. Its numbers can be read."""
    made, folder = exported
    alone = copy(folder / "report.dcm", tmp_path)

    with pytest.raises(ReadError, match=r"1 segmentation\(s\) that do not lie beside it"):
        read_overlay(alone, made.volume)
    assert len(read_findings(alone)) == 2


def test_contours_enclose_the_same_voxels(exported: tuple[Made, Path]) -> None:
    """Filled by even and odd crossings, the lines of each structure give its voxels back, in the patient's space."""
    made, folder = exported
    structures = dcmread(folder / "rtstruct.dcm")
    found = np.zeros(made.volume.grid.shape, int)
    for contours in structures.ROIContourSequence:
        for line in contours.ContourSequence:
            lps = np.array(line.ContourData, dtype=float).reshape(-1, 3)
            ijk = made.volume.grid.voxel(lps * [-1, -1, 1])
            (k,) = {*np.rint(ijk[:, 2]).astype(int).tolist()}
            assert np.abs(ijk[:, 2] - k).max() < 0.01
            found[:, :, k] ^= _inside(ijk[:, :2], found.shape[:2]) * int(contours.ReferencedROINumber)

    np.testing.assert_array_equal(found, made.labels)
    assert [one.ROIName for one in structures.StructureSetROISequence] == ["lesion 1", "lesion 2"]


def test_lines_around_holes_are_no_structures_of_their_own(made: Made, tmp_path: Path) -> None:
    """A ring keeps its hole, and voxels that touch by a corner stay one region."""
    labels = np.zeros(made.volume.grid.shape, np.uint8)
    labels[2:9, 2:9, 1:3] = 1
    labels[4:7, 4:7, 1:3] = 0
    labels[9, 9, 1] = 1
    copytree(made.results, tmp_path / "results")
    (tmp_path / "results" / "regions_lesion.nii.gz").unlink()
    write_labels(labels, made.volume, tmp_path / "results" / "regions_lesion.nii.gz")
    export_dicom(tmp_path / "results", made.source, tmp_path / "out", formats=["rtstruct"])
    path = tmp_path / "out" / "rtstruct.dcm"
    (contours,) = dcmread(path).ROIContourSequence

    assert complaints(path) == []
    assert {line.ContourGeometricType for line in contours.ContourSequence} == {"CLOSEDPLANAR_XOR"}
    found = np.zeros(labels.shape, int)
    for line in contours.ContourSequence:
        ijk = made.volume.grid.voxel(np.array(line.ContourData, dtype=float).reshape(-1, 3) * [-1, -1, 1])
        found[:, :, int(np.rint(ijk[0, 2]))] ^= _inside(ijk[:, :2], labels.shape[:2])
    np.testing.assert_array_equal(found, labels)


def _inside(corners: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Say of each (i, j) whether it lies inside a closed line, by matplotlib."""
    points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 2)
    return np.asarray(MplPath(corners).contains_points(points)).reshape(shape)


def test_key_images_lie_on_their_slice(exported: tuple[Made, Path]) -> None:
    """The corners of a picture are those of the slice with most of the finding; its outline runs around the finding."""
    made, folder = exported
    for number in (1, 2):
        picture = dcmread(folder / f"key_lesion_{number}.dcm")
        mask = made.labels == number
        k = int(mask.sum(axis=(0, 1)).argmax())
        factor = picture.Rows // made.volume.grid.shape[1]
        assert (picture.Columns, picture.Rows) == (factor * mask.shape[0], factor * mask.shape[1])
        row, column = np.array(picture.ImageOrientationPatient, dtype=float).reshape(2, 3)
        step_down, step_right = picture.PixelSpacing
        pixels = np.array([(0.0, 0.0), (picture.Columns - 1, picture.Rows - 1)])
        lps = np.array(picture.ImagePositionPatient, dtype=float) + np.array(
            [c * step_right * row + r * step_down * column for c, r in pixels]
        )
        ends = made.volume.grid.voxel(lps * [-1, -1, 1])
        half = 0.5 - 0.5 / factor
        np.testing.assert_allclose(ends[0], [-half, -half, k], atol=2e-3)
        np.testing.assert_allclose(ends[1], [mask.shape[0] - 1 + half, mask.shape[1] - 1 + half, k], atol=2e-3)
        outlined = (picture.pixel_array == (0, 0xE5, 0xFF)).all(axis=-1)
        assert outlined.any()
        inside = mask[:, :, k].T.repeat(factor, axis=0).repeat(factor, axis=1)
        assert not (outlined & ~inside).any()


def test_objects_refer_to_the_images_that_they_lie_on(exported: tuple[Made, Path]) -> None:
    """Every frame names the file and frame of the source that has its place, so that viewers can fuse them."""
    made, folder = exported
    dataset = dcmread(folder / "seg_lesion.dcm")
    places = _places_of_source(made.source)
    resampled = made.volume.source.verdict.handled == "resample" or len(places) == 1

    for frame in dataset.PerFrameFunctionalGroupsSequence:
        sources = frame.DerivationImageSequence[0].SourceImageSequence
        for one in sources:
            assert one.SpatialLocationsPreserved == ("NO" if resampled else "YES")
            place = places[one.ReferencedSOPInstanceUID, int(one.get("ReferencedFrameNumber") or 0)]
            if not resampled:
                assert place == list(frame.PlanePositionSequence[0].ImagePositionPatient)
        assert len(sources) == 1 or resampled
    every = {one.ReferencedSOPInstanceUID for one in dataset.SourceImageSequence}
    assert every == {uid for uid, _ in places}
    assert len(dataset.SourceImageSequence) == len(every)
    assert dataset.FrameOfReferenceUID == dcmread(next(made.source.iterdir())).FrameOfReferenceUID


def _places_of_source(source: Path) -> dict[tuple[str, int], list[float]]:
    found = {}
    for path in source.iterdir():
        dataset = dcmread(path)
        groups = dataset.get("PerFrameFunctionalGroupsSequence")
        if groups is None:
            found[dataset.SOPInstanceUID, 0] = list(dataset.ImagePositionPatient)
        for n, group in enumerate(groups or (), 1):
            found[dataset.SOPInstanceUID, n] = list(group.PlanePositionSequence[0].ImagePositionPatient)
    return found


def test_objects_say_that_they_are_for_research(exported: tuple[Made, Path]) -> None:
    """Whoever sees a series in an archive sees what it is not, and what made it."""
    for path in exported[1].glob("*.dcm"):
        dataset = dcmread(path)
        assert dataset.SeriesDescription.endswith("research use only")
        assert dataset.Manufacturer == "LesionLens"


def test_another_series_is_refused(made: Made, tmp_path: Path) -> None:
    """Results on images that they were not made from would be a wrong finding in an archive."""
    other = make_results(tmp_path, "axial")

    with pytest.raises(ReadError, match="were made from another scan"):
        export_dicom(made.results, other.source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_series_on_record_is_found_among_others(tmp_path: Path) -> None:
    """A series that was asked for by its UID is on record as a digest, and found by it."""
    made = make_results(tmp_path, "axial")
    make_series(made.source, Plan(number=9, description="another"))
    record = json.loads((made.results / "record.json").read_text())
    record["options"]["series"] = hide_uids(Plan().series_uid)  # the factory's own, which the results are made from
    (made.results / "record.json").write_text(json.dumps(record))

    assert export_dicom(made.results, made.source, tmp_path / "out", formats=["seg"]).files == ("seg_lesion.dcm",)


def test_images_at_one_place_are_refused(tmp_path: Path) -> None:
    """Frames of an object are told apart by where they lie; two of the source at one place could not be referred to."""
    offsets = tuple((0.0, 0.0, 2.5 * min(k, 3)) for k in range(5))
    make_series(tmp_path, Plan(offsets=offsets))

    with pytest.raises(OutputError, match="several images at one place"):
        read_frames(tmp_path, Wanted(irregular="as-is"), None)


def test_slices_that_were_kept_as_they_are_keep_their_places(tmp_path: Path) -> None:
    """With irregular=as-is every plane is an image of the series, so it lies where that image lies."""
    offsets = tuple((0.0, 0.7 * k, 2.5 * k) for k in range(5))
    plan = Plan(offsets=offsets)
    make_series(tmp_path, plan)
    frames = read_frames(tmp_path, Wanted(irregular="as-is"), None)

    assert frames.own
    np.testing.assert_allclose(frames.positions, [plan.position(k) for k in range(5)], atol=1e-6)
    assert [len(of_plane) for of_plane in frames.references] == [1] * 5


def test_what_is_no_series_is_refused(made: Made, tmp_path: Path) -> None:
    """A NIfTI file has no frames to lie on."""
    with pytest.raises(ReadError, match=r"Expected the DICOM series .* regions_lesion.nii.gz is none"):
        export_dicom(made.results, made.results / "regions_lesion.nii.gz", tmp_path / "out")


def test_unknown_formats_are_refused(made: Made, tmp_path: Path) -> None:
    """A mistyped format is named before any work."""
    with pytest.raises(InputError, match=r"There is no DICOM object 'segs' \(did you mean 'seg'\?\)"):
        export_dicom(made.results, made.source, tmp_path / "out", formats=["segs"])  # type: ignore[list-item]


def test_a_missing_package_is_named(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the message says how to install it."""
    monkeypatch.setattr("lesionlens.dicom_export.exporting.find_spec", lambda name: None)

    with pytest.raises(LesionLensError, match=r"pip install 'lesionlens\[dicom-export\]'"):
        export_dicom(made.results, made.source, tmp_path / "out")


def test_names_of_classes_are_what_dicom_has_room_for(made: Made, tmp_path: Path) -> None:
    """A bundle calls its classes as it likes; a backslash would part a name in two, and 64 letters are the most."""
    label = "T2/FLAIR\\hyperintense lesion of presumed vascular origin, " + "periventricular " * 4
    results = tmp_path / "results"
    copytree(made.results, results)
    record = json.loads((results / "record.json").read_text())
    for one in record["maps"]:
        one["class"] = label
    (results / "record.json").write_text(json.dumps(record))
    (results / "regions_lesion.nii.gz").rename(results / f"regions_{slug(label)}.nii.gz")

    export_dicom(results, made.source, tmp_path / "out", formats=get_args(DicomFormat), identified=True)

    found = {path.name: complaints(path) for path in (tmp_path / "out").glob("*.dcm")}
    assert found == {name: [] for name in found}
    regions = dcmread(next((tmp_path / "out").glob("seg_*.dcm")))
    names = [one.SegmentLabel for one in regions.SegmentSequence]
    assert [len(name) for name in names] == [64, 64]
    assert [name[-2:] for name in names] == [" 1", " 2"]
    assert all(name.startswith("T2/FLAIR hyperintense lesion of presumed") for name in names)


def test_a_run_without_regions_leaves_no_folder(made: Made, tmp_path: Path) -> None:
    """A segmentation without a segment is no object; the message says why there is nothing."""
    copytree(made.results, tmp_path / "results")
    nothing: NDArray[np.uint8] = np.zeros(made.volume.grid.shape, np.uint8)
    (tmp_path / "results" / "regions_lesion.nii.gz").unlink()
    write_labels(nothing, made.volume, tmp_path / "results" / "regions_lesion.nii.gz")

    with pytest.raises(OutputError, match="nothing to write: Of 'lesion' there is no region"):
        export_dicom(tmp_path / "results", made.source, tmp_path / "out", formats=["seg"])
    assert not (tmp_path / "out").exists()
