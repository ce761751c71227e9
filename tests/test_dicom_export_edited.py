"""Results as DICOM after a reader has changed them: what is exported are the reader's voxels, and figures of these."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from pydicom import dcmread

from dicom_results import Made, complaints, make_results, on_scan, run_tool
from lesionlens.cli import main
from lesionlens.dicom_export import export_dicom
from lesionlens.errors import ReadError
from lesionlens.io import read_findings, write_labels
from lesionlens.review import Act
from lesionlens.review.marks import added, edited
from lesionlens.sessions import CaseFiles, start_session


@dataclass(frozen=True)
class Judged:
    """Results, a session about them, and what the reader made of them: masks and verdicts in their order."""

    made: Made
    session: Path
    masks: tuple[NDArray[Any], ...]
    verdicts: tuple[str, ...]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """Return a session in which a reader cut one region, left the other one alone, and drew a third over its rim."""
    made = make_results(tmp_path_factory.mktemp("judged"))
    shape, labels = made.volume.grid.shape, made.labels
    cut, left, own = labels == 1, labels == 2, np.zeros(shape, dtype=bool)
    cut[:5] = False
    own[8:11, 1:3, 2:6] = True
    path = made.results.parent / "reading.session"
    with start_session(path, [CaseFiles(made.source, made.results)], order="given") as found:
        (case,) = found.case_ids
        before, after, drawn = (np.flatnonzero(mask) for mask in (labels == 1, cut, own))
        found.record("Ann Secret", case, [edited("lesion-1", before, after, made.volume.grid)])
        found.record("Ann Secret", case, [added("Ann Secret-1", drawn, made.volume.grid)])
        found.record("Ann Secret", case, [Act("verdict", "lesion-2", {"verdict": "reject"})])
        found.record("Ann Secret", case, [Act("verdict", "Ann Secret-1", {"verdict": "accept"})])
    assert (own & left).any()
    return Judged(made, path, (cut, left, own), ("", "reject", "accept"))


@pytest.fixture(scope="module")
def objects(judged: Judged, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the objects of that session."""
    folder = tmp_path_factory.mktemp("objects") / "out"
    written = export_dicom(
        judged.made.results,
        judged.made.source,
        folder,
        formats=["sr", "rtstruct", "key-images"],
        session=judged.session,
    )
    twice = np.count_nonzero(judged.masks[1] & judged.masks[2])
    assert written.notes[:3] == (
        "1 of 3 findings have no verdict of 'Ann Secret'.",
        "2 regions of 3 as 'Ann Secret' drew or changed them, the others as the model drew them.",
        f"{twice} voxels in several regions: they belong to the one that was made last.",
    )
    return folder


def test_another_program_finds_the_voxels_of_the_reader(judged: Judged, objects: Path, tmp_path: Path) -> None:
    """An independent reader finds the cut region, the one that was left alone, and the drawn one on top."""
    wanted = np.zeros(judged.made.volume.grid.shape, dtype=int)
    for number, mask in enumerate(judged.masks, start=1):
        wanted[mask] = number

    done = run_tool(
        "dcmqi", "segimage2itkimage", "--inputDICOM", objects / "seg_lesion.dcm",
        "--outputDirectory", tmp_path, "--mergeSegments",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr + done.stdout
    (image,) = tmp_path.glob("*.nrrd")
    np.testing.assert_array_equal(on_scan(SimpleITK.ReadImage(str(image)), judged.made.volume), wanted)


def test_the_report_has_the_figures_of_the_readers_regions(judged: Judged, objects: Path) -> None:
    """Volumes are voxels times their size; what was drawn has its verdict."""
    found = read_findings(objects / "report.dcm")
    voxel_mm3 = abs(np.linalg.det(judged.made.volume.grid.affine[:3, :3]))

    assert [one.name for one in found] == ["lesion 1", "lesion 2", "lesion 3"]
    assert tuple(one.verdict for one in found) == judged.verdicts
    volumes = [next(q.value for q in one.quantities if q.name == "Volume") for one in found]
    assert volumes == pytest.approx([np.count_nonzero(mask) * voxel_mm3 for mask in judged.masks], rel=1e-5)


def test_objects_say_who_drew_what(judged: Judged, objects: Path) -> None:
    """A reader's outline is not passed off as the model's; a region keeps the UID that it is followed by."""
    segments = dcmread(objects / "seg_lesion.dcm").SegmentSequence
    structures = dcmread(objects / "rtstruct.dcm").StructureSetROISequence
    plain = objects.parent / "plain"
    export_dicom(judged.made.results, judged.made.source, plain, formats=["seg"])
    models = dcmread(plain / "seg_lesion.dcm").SegmentSequence

    making = ["SEMIAUTOMATIC", "AUTOMATIC", "MANUAL"]
    assert [one.SegmentAlgorithmType for one in segments] == making
    assert [one.ROIGenerationAlgorithm for one in structures] == making
    assert ["SegmentAlgorithmName" in one for one in segments] == [True, True, False]
    assert [one.TrackingUID for one in segments[:2]] == [one.TrackingUID for one in models]
    assert len({one.TrackingUID for one in segments}) == 3


def test_objects_are_valid_and_name_no_reader(objects: Path) -> None:
    """Names of drawn findings hold the reader's; they go into a digest alone."""
    files = sorted(objects.glob("*.dcm"))

    assert len(files) == 6
    assert {path.name: complaints(path) for path in files} == {path.name: [] for path in files}
    assert [path.name for path in files if b"Secret" in path.read_bytes()] == []


def test_the_command_writes_the_readers_regions(judged: Judged, tmp_path: Path, capsys: Any) -> None:
    """Without a report nothing need be measured, and the voxels are the reader's all the same."""
    words = ["export", str(judged.made.results), "--source", str(judged.made.source), "--format", "seg"]

    assert main([*words, "--session", str(judged.session), "--out", str(tmp_path / "out")]) == 0

    assert "2 regions of 3 as 'Ann Secret' drew or changed them" in capsys.readouterr().err
    assert len(dcmread(tmp_path / "out" / "seg_lesion.dcm").SegmentSequence) == 3


def test_a_region_inside_of_a_later_one_is_said(judged: Judged, tmp_path: Path) -> None:
    """A segmentation without its voxels would be refused, and nobody would know why it is missing."""
    made, path = judged.made, tmp_path / "other.session"
    with start_session(path, [CaseFiles(made.source, made.results)], order="given") as found:
        found.record("Bob", found.case_ids[0], [added("Bob-1", np.flatnonzero(made.labels == 1), made.volume.grid)])

    written = export_dicom(made.results, made.source, tmp_path / "out", formats=["seg"], session=path)

    assert "Left out, as they lie wholly in regions that were made later: lesion-1." in written.notes
    assert len(dcmread(tmp_path / "out" / "seg_lesion.dcm").SegmentSequence) == 2


def test_regions_that_changed_since_are_refused(judged: Judged, tmp_path: Path) -> None:
    """What a reader added to one region must not be added to another."""
    made = make_results(tmp_path)
    path = tmp_path / "reading.session"
    with start_session(path, [CaseFiles(made.source, made.results)], order="given") as found:
        found.record("Ann", found.case_ids[0], [added("Ann-1", np.arange(5), made.volume.grid)])
    regions = made.results / "regions_lesion.nii.gz"
    regions.unlink()
    write_labels(np.roll(made.labels, 1, axis=0), made.volume, regions, title="regions")

    with pytest.raises(ReadError, match=r"regions_lesion\.nii\.gz in .* changed since the session was made"):
        export_dicom(made.results, made.source, tmp_path / "out", session=path)
