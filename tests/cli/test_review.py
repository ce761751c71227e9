"""Sessions from the command line: made of real runs, judged, compared and handed on."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest

import lesionlens as ll
from lesionlens.cli import main
from lesionlens.review import Session
from lesionlens.sessions import CaseFiles, start_session
from tiny_bundles import CENTRE, VOXELWISE_STATE, blob, oblique_grid, write_bundle

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three scans and their results: a large, no, and a small lesion."""
    folder = tmp_path_factory.mktemp("runs")
    bundle = write_bundle(
        folder / "voxelwise",
        network="$torch.nn.Conv3d(1, 2, 1)",
        state=VOXELWISE_STATE,
        extra={"imports": ["$import torch"]},
    )
    options = ["--bundle", str(bundle), "--trust", "--method", "saliency", "--quiet"]
    for name, radius, height in (("small", 4.0, 1), ("none", 4.0, 0.2), ("large", 9.0, 1)):
        scan = blob(oblique_grid(), CENTRE, radius_mm=radius)
        path = ll.write(scan.with_array(scan.array * height, name=name, unit=""), folder / f"{name}.nii.gz")
        assert main(["run", str(path), "--out", str(folder / f"{name}-results"), *options]) in (0, None)
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return the program as a function: exit code, output, errors."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(list(map(str, words)))
        printed = capsys.readouterr()
        return int(code or 0), printed.out, printed.err

    return call


@pytest.fixture
def session(runs: Path, tmp_path: Path, run: Run) -> Path:
    """Return a session of the three cases, in a folder of its own beside copies of them."""
    home = tmp_path / "home"
    shutil.copytree(runs, home)
    pairs = [home / part for name in ("small", "none", "large") for part in (f"{name}.nii.gz", f"{name}-results")]
    code, out, err = run("review", "start", home / "trial.session", *pairs)
    assert (code, err) == (0, "")
    assert "3 cases with 2 findings" in out
    return home / "trial.session"


def test_the_worst_case_comes_first_and_scans_keep_their_names_to_themselves(session: Path) -> None:
    """Largest volume first, then the others; a name of a file may be that of a patient, so cases are numbered."""
    with Session.open(session) as found:
        order = [found.case(case).results for case in found.case_ids]
        names = [found.case(case).name for case in found.case_ids]

    assert order == ["large-results", "small-results", "none-results"]
    assert sorted(names) == ["case-001", "case-002", "case-003"]


def test_findings_are_the_regions_of_the_run(session: Path) -> None:
    """Same number, volume and place as in the table."""
    with Session.open(session) as found:
        (finding,) = found.case(found.case_ids[0]).findings
    with (session.parent / "large-results" / "regions.csv").open() as file:
        (row,) = csv.DictReader(file)

    assert (finding.id, finding.label_class, finding.label) == ("lesion-1", "lesion", 1)
    assert finding.statistics["volume_mm3"] == float(row["volume_mm3"])
    assert finding.statistics["centroid_ras"] == [float(row[f"centroid_{axis}_mm"]) for axis in "ras"]


@pytest.mark.parametrize(("order", "first"), [("given", "small"), ("shell_contrast", None), ("surface_mm2", "large")])
def test_cases_come_in_the_order_that_was_asked_for(
    runs: Path, tmp_path: Path, run: Run, order: str, first: str | None
) -> None:
    """As given, or by any column, the highest value first."""
    pairs = [runs / part for name in ("small", "none", "large") for part in (f"{name}.nii.gz", f"{name}-results")]
    assert run("review", "start", tmp_path / "s", *pairs, "--order", order)[0] == 0

    with Session.open(tmp_path / "s") as found:
        entries = [found.case(case) for case in found.case_ids]
    names = [Path(entry.results).name.removesuffix("-results") for entry in entries]
    if first is None:  # read the values back, instead of saying which lesion stands out more
        values = {}
        for name in ("small", "large"):
            with (runs / f"{name}-results" / "regions.csv").open() as file:
                values[name] = max(float(row[order]) for row in csv.DictReader(file))
        first = max(values, key=lambda name: values[name])
    assert names[0] == first
    assert sorted(names) == ["large", "none", "small"]


def test_what_was_not_measured_is_no_zero_in_an_order(runs: Path, tmp_path: Path) -> None:
    """An empty cell says nothing: it must not stand before a case whose values are below 0."""
    files, out = [], tmp_path / "runs"
    shutil.copytree(runs, out)
    for name, value in (("small", ""), ("large", "-0.25")):
        path = out / f"{name}-results" / "regions.csv"
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{**row, "attribution_mean": value} for row in csv.DictReader(file)]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        files.append(CaseFiles(out / f"{name}.nii.gz", out / f"{name}-results", name))

    with start_session(tmp_path / "s", files, order="attribution_mean") as found:
        assert [found.case(case).name for case in found.case_ids] == ["large", "small"]


def test_a_case_is_read_to_its_end(session: Path, run: Run) -> None:
    """Verdict, comment and end; nothing is complete before that, and status says how far it is."""
    where = ("review", "record", session, "case-003", "--reader", "Ann")
    code, _, err = run(*where, "--done")
    assert code == 1
    assert "wait for a verdict" in err
    code, out, _ = run(*where[:4], "lesion-1", *where[4:], "--verdict", "reject", "--comment", "vessel", "--done")
    assert code == 0
    assert "complete" in out

    status: dict[str, Any] = json.loads(run("review", "status", session, "--reader", "Ann", "--json")[1])

    assert status["readers"]["Ann"] == {"complete": 1, "partly": 0, "untouched": 2, "flagged": 0}
    assert status["status"]["case-003"] == {"status": "complete", "flagged": False}
    assert "1/3" in run("review", "status", session)[1]


def test_a_step_is_taken_back_but_stays_in_the_trail(session: Path, run: Run, tmp_path: Path) -> None:
    """The finding waits again, and what was said is in the export's trail all the same."""
    where = ("review", "record", session, "case-003")
    run(*where, "lesion-1", "--reader", "Ann", "--verdict", "accept", "--confidence", "4")
    assert "the last step is taken back" in run(*where, "--reader", "Ann", "--undo")[1]
    assert "nothing" in run(*where, "--reader", "Ann", "--undo")[1]

    assert run("review", "export", session, "--out", tmp_path / "out")[0] == 0

    content = json.loads((tmp_path / "out" / "findings.json").read_text())
    (row,) = content["findings"]
    assert (row["verdict"], row["confidence"]) == (None, None)
    assert [event["kind"] for event in content["trail"]] == ["verdict", "confidence", "undo"]
    with (tmp_path / "out" / "findings.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert line["verdict"] == ""
    assert line["finding"] == "lesion-1"
    assert float(line["volume_mm3"]) == row["volume_mm3"]


def test_readers_are_compared(session: Path, run: Run) -> None:
    """Two readers on two findings: one agreement of two, a kappa by hand."""
    for reader, words in (("Ann", ("accept", "reject")), ("Bob", ("accept", "accept"))):
        for case, word in zip(("case-003", "case-001"), words, strict=True):
            assert run("review", "record", session, case, "lesion-1", "--reader", reader, "--verdict", word)[0] == 0

    found = json.loads(run("review", "agree", session, "--json")[1])

    pair = next(p for p in found["pairs"] if (p["first"], p["second"]) == ("Ann", "Bob"))
    assert (pair["n"], pair["share"], pair["cohen_kappa"]) == (2, 0.5, 0.0)
    assert "Ann" in run("review", "agree", session)[1]


def test_results_that_changed_are_noticed(session: Path, run: Run) -> None:
    """A run that was made again under the same name is not what the reader was asked about."""
    assert run("review", "status", session)[2] == ""
    (session.parent / "large-results" / "regions_lesion.nii.gz").write_bytes(b"other")

    _, _, err = run("review", "status", session)

    assert "case-003" in err
    assert "regions_lesion.nii.gz" in err


def test_a_session_moves_with_its_folder(session: Path, tmp_path: Path, run: Run) -> None:
    """Paths inside of the folder are kept from there."""
    shutil.move(session.parent, tmp_path / "elsewhere")

    assert run("review", "status", tmp_path / "elsewhere" / "trial.session")[2] == ""


def test_a_table_of_cases_gives_names(runs: Path, tmp_path: Path, run: Run) -> None:
    """Paths count from the folder of the table; a table without the columns is refused by name."""
    table = runs / "cases.csv"
    table.write_text("scan,results,name\nsmall.nii.gz,small-results,first\nlarge.nii.gz,large-results,\n")
    _, said, _ = run("review", "start", tmp_path / "s", "--cases", table, "--order", "given")
    assert "as given" in said
    with Session.open(tmp_path / "s") as found:
        assert [found.case(case).name for case in found.case_ids] == ["first", "case-002"]

    table.write_text("image,results\nsmall.nii.gz,small-results\n")
    code, _, err = run("review", "start", tmp_path / "t", "--cases", table)
    assert code == 1
    assert "scan and results" in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "SCAN RESULTS"),
        (("missing.nii.gz", "{runs}/small-results"), 1, "no scan"),
        (("{runs}/small.nii.gz", "{runs}"), 1, "regions.csv"),
        (("{runs}/small.nii.gz", "{runs}/small-results", "--order", "nonsense"), 1, "nonsense"),
        (("{runs}/small.nii.gz", "{runs}/small-results", "--order", "class"), 1, "no numbers"),
    ],
    ids=["no case", "no scan", "no results", "no such order", "an order of words"],
)
def test_what_makes_no_session_is_said(
    runs: Path, tmp_path: Path, run: Run, words: tuple[str, ...], code: int, message: str
) -> None:
    """Nothing is left behind then."""
    given = [word.format(runs=runs) for word in words]

    found = run("review", "start", tmp_path / "s", *given)

    assert found[0] == code
    assert message in found[2]
    assert list(tmp_path.iterdir()) == []


def test_a_session_is_never_replaced(session: Path, runs: Path, run: Run) -> None:
    """It holds what readers decided; what can be done instead are another name, and going on."""
    before = session.read_bytes()

    code, _, err = run("review", "start", session, runs / "small.nii.gz", runs / "small-results")

    assert code == 1
    assert f"Choose another name; to go on with a session, open it: lesionlens review open {session}" in err
    assert session.read_bytes() == before


def test_results_of_another_scan_make_no_session(runs: Path, tmp_path: Path, run: Run) -> None:
    """A reader would judge one patient's findings on the scan of another, and could not notice."""
    code, out, err = run("review", "start", tmp_path / "s", runs / "large.nii.gz", runs / "small-results")

    assert (code, out) == (1, "")
    assert "made from another scan" in err
    assert "'large.nii.gz'" in err
    assert list(tmp_path.iterdir()) == []


def test_a_scan_is_known_in_whatever_file_its_run_has_read(runs: Path, tmp_path: Path, run: Run) -> None:
    """The hash of a header with its voxels beside it is that of both files, so the scan is read for it."""
    volume = ll.read(runs / "small.nii.gz")
    image = nib.Nifti1Pair(volume.array, volume.grid.affine)
    image.set_sform(volume.grid.affine, code=1)
    nib.save(image, tmp_path / "pair.hdr")
    results = shutil.copytree(runs / "small-results", tmp_path / "results")
    record = json.loads((results / "record.json").read_text())
    record["input"]["sha256"] = ll.read(tmp_path / "pair.hdr").source.sha256
    (results / "record.json").write_text(json.dumps(record))

    assert run("review", "start", tmp_path / "s", tmp_path / "pair.hdr", results)[0] == 0
    code, _, err = run("review", "start", tmp_path / "t", tmp_path / "pair.hdr", runs / "small-results")
    assert (code, "made from another scan" in err) == (1, True)


def test_nothing_to_record_is_wrong_usage(session: Path, run: Run) -> None:
    """Neither a decision nor an undo, or both; a verdict about nothing."""
    where = ("review", "record", session, "case-003")
    assert run(*where, "--reader", "Ann")[0] == 2
    assert run(*where, "lesion-1", "--reader", "Ann", "--verdict", "accept", "--undo")[0] == 2
    assert run(*where, "--reader", "Ann", "--verdict", "accept")[0] == 2
