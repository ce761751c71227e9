"""The whole way with a real archive: store, find, load, run, send results, read them again."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

import lesionlens as ll
from archives import PASSWORD, USER, MemoryKeyring, Orthanc, encoded, series_of
from batch_cases import write_scans, write_voxelwise
from dicom_factory import Plan, oblique
from lesionlens.batch import verify
from lesionlens.cli import main
from lesionlens.errors import PacsError
from lesionlens.pacs import Query, fetch_series, find_series, parse_address, send_files
from lesionlens.pacs.credentials import Credentials, remember

WAYS = ["web", "get", "move"]


def ball(plan: Plan) -> Any:
    """Return stored values (i, j, k) with a bright ball, which the voxelwise bundle takes for a lesion."""
    places = np.ogrid[tuple(slice(n) for n in plan.shape)]
    squares = [(place - (n - 1) / 2) ** 2 for place, n in zip(places, plan.shape, strict=True)]
    return np.where(squares[0] + squares[1] + squares[2] < 9, 4, 0)


@pytest.fixture(scope="module")
def plan() -> Plan:
    """Return an oblique series with a ball in it."""
    return Plan(shape=(14, 13, 9), spacing=(2.0, 2.0, 2.0), orientation=oblique((10, 20, 30)))


@pytest.fixture(scope="module")
def scan(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the series, of a study of its own."""
    folder = tmp_path_factory.mktemp("scan")
    for k, image in enumerate(series_of(plan, study="1.2.77")):
        image.PixelData = np.ascontiguousarray(ball(plan)[:, :, k].T.astype("<u2")).tobytes()
        image.AccessionNumber, image.StudyID, image.PatientBirthDate, image.PatientSex = "A77", "77", "19560302", "O"
        image.StudyTime, image.ReferringPhysicianName = "101010", "Doe^Doctor"
        (folder / f"{k}.dcm").write_bytes(encoded(image))
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle that finds the ball."""
    return write_voxelwise(tmp_path_factory.mktemp("bundle") / "voxelwise")


@pytest.mark.parametrize("way", WAYS)
def test_a_series_comes_back_with_the_same_voxels_in_the_same_place(
    known: Orthanc, scan: Path, tmp_path: Path, way: str
) -> None:
    """Whichever way it goes: values and affine are those of the files."""
    address = parse_address(getattr(known, way))

    assert len(send_files(address, [scan]).files) == 9
    (found,) = find_series(address, Query(accession="A77", modality="MR")).series
    volume, original = ll.read(fetch_series(found.url, tmp_path / "out")), ll.read(scan)

    np.testing.assert_array_equal(volume.array, original.array)
    np.testing.assert_array_equal(volume.grid.affine, original.grid.affine)
    assert found.n_images == 9


@pytest.mark.parametrize("way", ["web", "get"])
def test_results_go_into_the_archive_and_come_back_as_overlays(
    known: Orthanc, scan: Path, bundle: Path, tmp_path: Path, way: str
) -> None:
    """From the command line alone, as in a hospital: get, run, export, send, and get what was sent."""
    archive = getattr(known, way)
    send_files(parse_address(archive), [scan])
    scans, results, objects = (str(tmp_path / name) for name in ("scans", "results", "objects"))
    chosen = ["pacs", "get", archive, "--study", "1.2.77", "--modality"]
    as_objects = ["--format", "seg", "--format", "sr", "--identified", "--out", objects]
    for call in (
        [*chosen, "MR", "--out", scans],
        ["run", scans, "--bundle", str(bundle), "--trust", "--layer", "0", "--out", results],
        ["export", results, "--source", scans, *as_objects],
        ["pacs", "send", archive, objects],
    ):
        assert main([*call, "-q"]) == 0, call
    for name, folder in (("seg_lesion.dcm", "seg"), ("report.dcm", "sr")):
        uid = dcmread(tmp_path / "objects" / name).SeriesInstanceUID
        assert main(["pacs", "get", archive, "--series", uid, "--out", str(tmp_path / folder), "-q"]) == 0
    volume = ll.read(tmp_path / "scans")

    (sent,) = (tmp_path / "seg").rglob("*.dcm")
    (mask,) = ll.read_overlay(sent, volume)
    (report,) = (tmp_path / "sr").rglob("*.dcm")
    findings = ll.read_findings(report)

    np.testing.assert_array_equal(np.asarray(mask.array) > 0, np.asarray(volume.array) == 4)
    assert len(findings) == 1
    assert findings[0].segmentation_uid


def test_a_wrong_password_is_refused(orthanc: Orthanc, keyring: MemoryKeyring) -> None:
    """And repeated nowhere."""
    address = parse_address(orthanc.web)
    with pytest.raises(PacsError, match="pacs login") as caught:
        find_series(address, Query())
    remember(address, Credentials("ann", "wrong horse"))
    with pytest.raises(PacsError, match="does not accept user and password") as again:
        find_series(address, Query())

    assert {caught.value.why, again.value.why} == {"credentials"}
    assert "horse" not in str(again.value)


def batch(*words: Any) -> int:
    """Run a batch with the bundle of the tests."""
    return main(["batch", *map(str, words), "--trust", "--layer", "0", "-q"])


def test_a_batch_takes_what_is_looked_for(
    known: Orthanc, scan: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each series is there for the time of its work, the results are those of a run, and done is done."""
    send_files(parse_address(known.web), [scan])
    query = f"{known.web}?study=1.2.77&modality=MR"
    manifest = tmp_path / "cases.csv"
    assert main(["pacs", "find", known.web, "--study", "1.2.77", "--modality", "MR", "--manifest", str(manifest)]) == 0
    run = ["run", str(scan), "--bundle", str(bundle), "--trust", "--layer", "0", "-q"]
    assert main([*run, "--out", str(tmp_path / "run")]) == 0

    assert batch(query, "--bundle", bundle, "--out", tmp_path / "out") == 0
    capsys.readouterr()
    assert batch(manifest, "--bundle", bundle, "--out", tmp_path / "out", "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)

    (name,) = plan["cases"]
    assert plan["cases"] == {name: "done"}
    folder = tmp_path / "out" / "cases" / name
    for one in ("regions.csv", "probability_lesion.nii.gz"):
        assert (folder / one).read_bytes() == (tmp_path / "run" / one).read_bytes(), one
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path.name for path in written if PASSWORD.encode() in path.read_bytes()]
    assert not [path for path in (tmp_path / "out").rglob("*.dcm")]


@pytest.mark.slow
def test_workers_fetch_what_they_work_on(
    orthanc: Orthanc, scan: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes of their own, which have the password from the environment, bring the series and leave nothing."""
    for name, value in (("URL", orthanc.web), ("USER", USER), ("PASSWORD", PASSWORD)):
        monkeypatch.setenv(f"LESIONLENS_PACS_{name}", value)
    send_files(parse_address(orthanc.web), [scan])
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    query = f"{orthanc.web}?study=1.2.77&modality=MR"
    assert main(["run", str(scan), "--bundle", str(bundle), "--trust", "--layer", "0", "-q", "--out",
                 str(tmp_path / "run")]) == 0  # fmt: skip

    assert batch(query, "--bundle", bundle, "--out", tmp_path / "out", "--workers", "1") == 0

    (case,) = (tmp_path / "out" / "cases").iterdir()
    for path in sorted((tmp_path / "run").iterdir()):
        if path.name != "record.json":
            assert (case / path.name).read_bytes() == path.read_bytes(), path.name
    assert verify(tmp_path / "out").right
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path.name for path in written if PASSWORD.encode() in path.read_bytes() or path.suffix == ".dcm"]


def test_an_archive_that_refuses_fails_one_case(orthanc: Orthanc, bundle: Path, tmp_path: Path) -> None:
    """The summary names it, and another case is run."""
    write_scans(tmp_path, {"good": 3})
    series = parse_address(orthanc.web).series("1.2.77", "1.2.77.1")
    (tmp_path / "cases.csv").write_text(f"name,input\ngood,good.nii.gz\n,{series}\n")

    assert batch(tmp_path / "cases.csv", "--bundle", bundle, "--out", tmp_path / "out") == 1

    with (tmp_path / "out" / "failures.csv").open(newline="") as file:
        (failure,) = csv.DictReader(file)
    assert failure["case"].startswith("series-")
    assert "pacs login" in failure["error"]
