"""Sessions that leave and come back, from the command line: exported, imported, linked, merged, decided together."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lesionlens as ll
from lesionlens.batch import verify
from lesionlens.cli import main
from lesionlens.report.review import NOTICE_OF_TABLES
from lesionlens.report.table import COLUMN_NAMES
from lesionlens.review import Act, Session
from lesionlens.review.voxels import labelled, pack
from reviewed_runs import write_run

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two scans, their results, and a session of them that nobody has read."""
    folder = tmp_path_factory.mktemp("runs")
    small = write_run(folder, "smith_john", "one", radius_mm=5)
    large = write_run(folder, "doe_jane", "one", radius_mm=8)
    assert main(["review", "start", *map(str, (folder / "trial.session", *small, *large)), "--order", "given"]) == 0
    return folder


@pytest.fixture
def home(runs: Path, tmp_path: Path) -> Path:
    """Return a copy of that folder."""
    return Path(shutil.copytree(runs, tmp_path / "home"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return the program as a function: exit code, output, errors."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(list(map(str, words)))
        printed = capsys.readouterr()
        return int(code or 0), printed.out, printed.err

    return call


def labels_of(home: Path, name: str) -> np.ndarray:
    """Return the model's regions of a scan."""
    return ll.read(home / f"{name}-results" / "regions_lesion.nii.gz").array


def judge(home: Path) -> dict[str, np.ndarray]:
    """Let Ann and Bob read both cases; return what Ann made of the voxels of the second, by finding."""
    labels = labels_of(home, "doe_jane")
    shape = labels.shape
    whole = labelled(labels, 1)
    grown = np.setdiff1d(np.arange(whole[0] - 40, whole[0]), whole)
    own = np.arange(5, 25)
    with Session.open(home / "trial.session") as session:
        for case in session.case_ids:
            session.record("Bob", case, [Act("verdict", "lesion-1", {"verdict": "reject"}), Act("done")])
        session.record("Ann", "case-001", [Act("verdict", "lesion-1", {"verdict": "accept"}), Act("done")])
        session.record("Ann", "case-002", [Act("verdict", "lesion-1", {"verdict": "accept"})])
        session.record("Ann", "case-002", [Act("edit", "lesion-1", {}, pack(grown, shape))])
        session.record("Ann", "case-002", [Act("added", "mine-1", {"statistics": {}}, pack(own, shape))])
        session.record("Ann", "case-002", [Act("verdict", "mine-1", {"verdict": "accept"}), Act("done")])
    return {"lesion-1": np.union1d(whole, grown), "mine-1": own}


def table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_masks_and_statistics_are_those_of_the_readers(home: Path, tmp_path: Path, run: Run) -> None:
    """What Ann changed is measured again, on her voxels; what she did not has the figures of the run."""
    voxels = judge(home)
    out = tmp_path / "out"

    assert run("review", "export", home / "trial.session", "--out", out, "-q")[2] == ""

    mask = ll.read(out / "mask_case-002_ann.nii.gz")
    scan = ll.read(home / "doe_jane.nii.gz")
    assert mask.grid.same_as(scan.grid)
    for number, name in enumerate(voxels, start=1):
        assert labelled(np.asarray(mask.array), number).tolist() == voxels[name].tolist()
    rows = {(row["case"], row["reader"], row["finding"]): row for row in table(out / "findings.csv")}
    edited = rows["case-002", "Ann", "lesion-1"]
    assert (edited["voxels"], edited["mask_label"]) == ("edited", "1")
    volume = len(voxels["lesion-1"]) * scan.grid.voxel_volume_mm3
    assert float(edited["volume_mm3"]) == pytest.approx(volume, rel=1e-12)
    places = scan.grid.world(np.stack(np.unravel_index(voxels["lesion-1"], scan.grid.shape), axis=1)).mean(axis=0)
    assert [float(edited[f"centroid_{a}_mm"]) for a in "ras"] == pytest.approx(places.tolist(), abs=1e-9)
    drawn = rows["case-002", "Ann", "mine-1"]
    assert (drawn["voxels"], drawn["n_voxels"], drawn["mask_label"]) == ("drawn", "20", "2")
    assert float(drawn["volume_mm3"]) == pytest.approx(20 * scan.grid.voxel_volume_mm3, rel=1e-12)
    rejected = rows["case-001", "Bob", "lesion-1"]
    assert (rejected["voxels"], rejected["mask_label"]) == ("model", "")
    assert not np.asarray(ll.read(out / "mask_case-001_bob.nii.gz").array).any()

    statistics = {(row["case"], row["reader"], row["finding"]): row for row in table(out / "statistics.csv")}
    (of_run,) = table(home / "smith_john-results" / "regions.csv")
    same = statistics["case-001", "Ann", "lesion-1"]
    assert {name: same[name] for name in COLUMN_NAMES} == {name: of_run[name] for name in COLUMN_NAMES}
    again = statistics["case-002", "Ann", "lesion-1"]
    inside = scan.array.reshape(-1)[voxels["lesion-1"]]
    assert float(again["intensity_mean"]) == pytest.approx(float(inside.mean()), rel=1e-6)
    assert again["diameter_mm"] != ""
    assert {row["notice"] for row in (*rows.values(), *statistics.values())} == {NOTICE_OF_TABLES}


def test_the_models_regions_stay_beside_byte_by_byte(home: Path, tmp_path: Path, run: Run) -> None:
    """Whoever has the session can check that the model's original is what the readers saw."""
    judge(home)
    run("review", "export", home / "trial.session", "--out", tmp_path / "out", "-q")

    with Session.open(home / "trial.session", read_only=True) as session:
        for case in session.case_ids:
            copy = (tmp_path / "out" / f"model_{case}_lesion.nii.gz").read_bytes()
            assert hashlib.sha256(copy).hexdigest() == session.case(case).pins["regions_lesion.nii.gz"]


def test_overlapping_findings_are_measured_each_for_itself(home: Path, tmp_path: Path, run: Run) -> None:
    """Two findings that a reader drew over each other, and parts of a split: no voxel is taken from either."""
    labels = labels_of(home, "doe_jane")
    whole = labelled(labels, 1)
    parts = {"p": whole[: len(whole) // 2], "q": whole[len(whole) // 2 :], "over": whole[10:40]}
    acts = [Act("added", name, {"statistics": {}}, pack(part, labels.shape)) for name, part in parts.items()]
    with Session.open(home / "trial.session") as session:
        session.record("Ann", "case-002", [*acts, Act("split", "lesion-1", {"into": ["p", "q"]})])

    run("review", "export", home / "trial.session", "--out", tmp_path / "out", "-q")

    rows = {row["finding"]: row for row in table(tmp_path / "out" / "statistics.csv")}
    assert {name: int(row["n_voxels"]) for name, row in rows.items()} == {n: len(part) for n, part in parts.items()}
    assert all(row["probability_max"] for row in rows.values())
    (replaced,) = [r for r in table(tmp_path / "out" / "findings.csv") if r["finding"] == "lesion-1"]
    assert (replaced["replaced_by"], replaced["mask_label"]) == ("p; q", "")


def test_an_erased_finding_has_no_volume_left(home: Path, tmp_path: Path, run: Run) -> None:
    """Nothing of the model's figures stands beside a finding without a voxel, or one that was edited and replaced."""
    labels = labels_of(home, "doe_jane")
    whole = labelled(labels, 1)
    with Session.open(home / "trial.session") as session:
        session.record("Ann", "case-002", [Act("edit", "lesion-1", {}, pack(whole, labels.shape))])
        session.record("Bob", "case-002", [Act("edit", "lesion-1", {}, pack(whole[20:], labels.shape))])
        part = Act("added", "p", {"statistics": {}}, pack(whole[:20], labels.shape))
        session.record("Bob", "case-002", [part, Act("merged", "lesion-1", {"into": "p"})])

    run("review", "export", home / "trial.session", "--out", tmp_path / "out", "-q")

    rows = {(row["reader"], row["finding"]): row for row in table(tmp_path / "out" / "findings.csv")}
    erased, replaced = rows["Ann", "lesion-1"], rows["Bob", "lesion-1"]
    assert (erased["n_voxels"], float(erased["volume_mm3"])) == ("0", 0)
    assert (erased["centroid_r_mm"], erased["probability_max"]) == ("", "")
    same = ("n_voxels", "volume_mm3", *(f"centroid_{axis}_mm" for axis in "ras"))
    assert [float(replaced[name]) for name in same] == pytest.approx([float(rows["Bob", "p"][name]) for name in same])


def test_what_cannot_be_read_is_said_and_the_rest_is_written(home: Path, tmp_path: Path, run: Run) -> None:
    """One scan is another, one result changed: no masks of these, and the verdicts are there all the same."""
    judge(home)
    shutil.copy(home / "doe_jane.nii.gz", home / "smith_john.nii.gz")
    (home / "doe_jane-results" / "regions_lesion.nii.gz").write_bytes(b"other")

    code, text, err = run("review", "export", home / "trial.session", "--out", tmp_path / "out", "-q")

    assert code == 0
    assert "findings.csv" in text
    assert "masks" not in text  # none were written
    assert "case-001: no masks" in err
    assert "is not the one" in err
    assert "case-002" in err
    assert "regions_lesion.nii.gz changed" in err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"findings.csv", "findings.json", "statistics.csv"}
    assert len(table(tmp_path / "out" / "findings.csv")) == 5


def test_a_session_is_handed_on_and_found_again_elsewhere(home: Path, tmp_path: Path, run: Run) -> None:
    """Other names, another folder: hashes find scans and results, and no name is in what was handed on."""
    judge(home)
    assert run("review", "export", home / "trial.session", "--portable", tmp_path / "a.json")[0] == 0
    text = (tmp_path / "a.json").read_text("utf-8").casefold()
    assert [word for word in ("smith", "john", "doe", "jane", str(tmp_path), '.nii.gz", "') if word in text] == []
    elsewhere = tmp_path / "elsewhere"
    for n, name in enumerate(("smith_john", "doe_jane")):
        shutil.copytree(home / f"{name}-results", elsewhere / "runs" / f"x{n}")
        (elsewhere / "scans").mkdir(exist_ok=True)
        shutil.copy(home / f"{name}.nii.gz", elsewhere / "scans" / f"y{n}.nii.gz")

    code, out, err = run("review", "import", tmp_path / "a.json", elsewhere / "b.session", "--data", elsewhere)

    assert (code, err) == (0, "")
    assert "2 of 2 cases" in out
    assert run("review", "status", elsewhere / "b.session")[2] == ""
    assert run("review", "export", elsewhere / "b.session", "--portable", tmp_path / "b.json")[0] == 0
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    for place, name in ((home / "trial.session", "a"), (elsewhere / "b.session", "b")):
        run("review", "export", place, "--out", tmp_path / name, "-q")
    for path in (tmp_path / "a").iterdir():
        if path.suffix == ".gz" or path.name == "statistics.csv":
            assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_what_is_missing_elsewhere_is_said_and_linked_later(home: Path, tmp_path: Path, run: Run) -> None:
    """Without the data the verdicts can be read; a folder that holds a part links that part."""
    judge(home)
    run("review", "export", home / "trial.session", "--portable", tmp_path / "a.json")
    target = tmp_path / "b.session"
    _, out, err = run("review", "import", tmp_path / "a.json", target)
    assert "0 of 2 cases" in out
    assert "of case-001 the scan and results are not here" in err
    assert "case-002" in run("review", "status", target)[2]
    (home / "doe_jane.nii.gz").rename(home / "doe_jane.gone")

    _, out, err = run("review", "link", target, "--data", home)

    assert "1 of 2 cases" in out
    assert "of case-002 the scan are" in err or "of case-002 the scan is" in err
    assert run("review", "link", target, "--data", tmp_path / "nowhere")[0] == 1
    assert run("review", "export", target)[0] == 2


def test_copies_of_readers_are_merged(home: Path, tmp_path: Path, run: Run) -> None:
    """Ann and Bob read copies of their own; one session has both, and a reader of two minds is named."""
    run("review", "export", home / "trial.session", "--portable", tmp_path / "start.json")
    for name, reader, word in (("a", "Ann", "accept"), ("b", "Bob", "reject"), ("c", "Bob", "accept")):
        run("review", "import", tmp_path / "start.json", tmp_path / f"{name}.session")
        where = ("review", "record", tmp_path / f"{name}.session", "case-001", "lesion-1", "--reader", reader)
        assert run(*where, "--verdict", word, "--done")[0] == 0

    copies = [tmp_path / f"{name}.session" for name in "abc"]
    code, out, err = run("review", "merge", tmp_path / "all.session", *copies, "--data", home)

    assert code == 0
    assert "6 events of Ann, Bob" in out
    assert "2 of 2 cases" in out
    assert "Bob, case-001, lesion-1: verdict is reject in b.session, accept in c.session" in err
    status = json.loads(run("review", "status", tmp_path / "all.session", "--json")[1])
    assert status["readers"]["Ann"]["complete"] == 1
    assert run("review", "merge", tmp_path / "all.session", *copies)[0] == 1
    assert "portable" in run("review", "merge", tmp_path / "x", home / "smith_john.nii.gz")[2]


def test_a_consensus_is_decided_from_the_command_line(home: Path, tmp_path: Path, run: Run) -> None:
    """Not before all have finished; what each may see is listed, as text and as JSON."""
    session = home / "trial.session"
    where = ("review", "consensus", session, "case-002", "--reader", "Cleo")
    code, _, err = run(*where, "--of", "Ann")
    assert (code, "Nobody called 'Ann'" in err) == (1, True)
    judge(home)
    seen = json.loads(run("review", "show", session, "case-002", "--reader", "Cleo", "--json")[1])
    assert [(row["finding"], row["others"]) for row in seen] == [("lesion-1", {})]

    code, out, _ = run(*where, "--of", "Ann", "--of", "Bob")

    assert code == 0
    assert "accept, edited" in out
    assert "2 findings wait for a verdict: lesion-1, ann-mine-1" in out
    assert run(*where, "--of", "Ann", "--adopt", "lesion-1")[0] == 0
    seen = json.loads(run("review", "show", session, "case-002", "--reader", "Cleo", "--json")[1])
    assert seen[0]["others"] == {"Ann": "accept", "Bob": "reject"}
    run("review", "export", session, "--out", tmp_path / "out", "-q")
    rows = {
        (row["reader"], row["finding"]): row["n_voxels"]
        for row in table(tmp_path / "out" / "findings.csv")
        if row["case"] == "case-002"
    }
    assert rows["Cleo", "lesion-1"] == rows["Ann", "lesion-1"] != rows["Bob", "lesion-1"]
    assert rows["Cleo", "ann-mine-1"] == "20"


def test_agreement_is_written_with_detections_and_heatmaps(home: Path, tmp_path: Path, run: Run) -> None:
    """Verdicts, lesions with Dice, and a picture for each two, readers and model."""
    judged = judge(home)
    with Session.open(home / "trial.session") as session:  # Bob comes to another mind, and edits
        session.record("Bob", "case-002", [Act("verdict", "lesion-1", {"verdict": "accept"}), Act("done")])
    out = tmp_path / "out"

    code, text, err = run("review", "agree", home / "trial.session", "--out", out)

    assert (code, err) == (0, "")
    assert "mean Dice" in text
    found: dict[str, Any] = json.loads((out / "agreement.json").read_text())
    pair = next(d for d in found["detections"] if (d["first"], d["second"]) == ("Ann", "Bob"))
    assert (pair["both"], pair["first_only"], pair["second_only"]) == (1, 2, 0)
    whole = len(labelled(labels_of(home, "doe_jane"), 1))
    (shared,) = [
        row for row in table(out / "lesions.csv") if row["first"] == "Ann" and row["second"] == "Bob" and row["dice"]
    ]
    edited = len(judged["lesion-1"])
    assert float(shared["dice"]) == pytest.approx(2 * whole / (whole + edited), rel=1e-12)
    assert pair["mean_dice"] == float(shared["dice"])
    rows = {(row["first"], row["second"]): row for row in table(out / "agreement.csv")}
    assert (rows["Ann", "Bob"]["accept_accept"], rows["Ann", "Bob"]["accept_reject"]) == ("1", "1")
    assert rows["Bob", "model"]["lesions_second_only"] == "1"
    assert {row["notice"] for row in (*rows.values(), *table(out / "lesions.csv"))} == {NOTICE_OF_TABLES}
    for name in ("ann_bob", "ann_model", "bob_model"):
        assert (out / f"confusion_{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "Research use only" in (out / f"confusion_{name}.svg").read_text("utf-8")


def test_a_session_can_be_blind_to_the_model(home: Path, run: Run) -> None:
    """The model's findings are judged only after they were shown."""
    session = home / "blind.session"
    pair = (home / "doe_jane.nii.gz", home / "doe_jane-results")
    assert run("review", "start", session, *pair, "--model-blind")[0] == 0
    where = ("review", "record", session, "case-001", "lesion-1", "--reader", "Ann", "--verdict", "accept")
    code, _, err = run(*where)
    assert (code, "not shown" in err) == (1, True)
    assert json.loads(run("review", "show", session, "case-001", "--reader", "Ann", "--json")[1]) == []
    assert run("review", "consensus", session, "case-001", "--reader", "Ann", "--of", "model")[0] == 0
    assert run(*where)[0] == 0


def test_what_leaves_a_session_is_sealed(home: Path, tmp_path: Path) -> None:
    """A changed byte of a table, mask or matrix is found."""
    session = home / "trial.session"
    with Session.open(session) as found:
        for reader in ("Ann", "Bob"):
            found.record(reader, "case-001", [Act("verdict", "lesion-1", {"verdict": "accept"})])
    assert main(["review", "export", str(session), "--out", str(tmp_path / "findings"), "-q"]) == 0
    assert main(["review", "agree", str(session), "--out", str(tmp_path / "agreement")]) == 0

    for name in ("findings", "agreement"):
        folder = tmp_path / name
        assert (verify(folder).problems, verify(folder).strangers) == ((), ())
        for path in sorted(folder.iterdir()):
            before = path.read_bytes()
            path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
            assert [one for one in verify(folder).problems if one.startswith(path.name)], path.name
            path.write_bytes(before)
