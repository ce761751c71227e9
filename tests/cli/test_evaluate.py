"""``lesionlens evaluate``: tables, figures and JSON of a cohort, from a table and from a batch."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import lesionlens as ll
from batch_cases import options_for, write_scans, write_voxelwise
from evaluated_runs import SHAPE, boxes, write_results
from lesionlens.batch import run_batch
from lesionlens.cli import main
from lesionlens.seals import checked, hash_file

CUBE = (4, 4, 4)


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a table of four cases: exact, half, healthy with a false positive, and one without results."""
    folder = tmp_path_factory.mktemp("cohort")
    whole = (boxes((CUBE, (4, 4, 4), 1.0)) > 0.5).astype(np.uint8)
    cam = boxes((CUBE, (2, 2, 2), 1.0))
    write_results(folder, "exact", boxes((CUBE, (4, 4, 4), 0.9)), whole, attribution=cam)
    write_results(folder, "half", boxes((CUBE, (4, 4, 2), 0.9)), whole, attribution=np.flip(cam).copy())
    write_results(folder, "healthy", boxes((CUBE, (2, 2, 2), 0.9)), np.zeros(SHAPE, dtype=np.uint8))
    lines = [f"{n},{n}-results,{n}-mask.nii.gz,{s}" for n, s in (("exact", "x"), ("half", "y"), ("healthy", "x"))]
    (folder / "good.csv").write_text("\n".join(["case,results,mask,site", *lines]) + "\n")
    (folder / "cases.csv").write_text("\n".join(["case,results,mask,site", *lines, "gone,gone,gone.nii.gz,y"]) + "\n")
    return folder


def test_a_cohort_is_summed_up_with_intervals_and_by_a_column(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is known of each case comes out of the tables and of the JSON alike; what is missing is named."""
    out = tmp_path / "out"

    assert main(["evaluate", str(cohort / "cases.csv"), "--out", str(out), "--by", "site", "-q"]) == 1, "one is gone"

    printed = capsys.readouterr()
    assert "Left out: gone" in printed.err
    assert "site x: 2 cases" in printed.out
    cases = {row["case"]: row for row in rows_of(out / "cases.csv")}
    assert [cases[n]["dice"] for n in ("exact", "half", "healthy")] == ["1.0", str(2 / 3), ""]
    assert [cases[n]["pointing_game"] for n in ("exact", "half", "healthy")] == ["1.0", "0.0", ""]
    assert (cases["gone"]["status"], cases["gone"]["stratum"]) == ("left out", "y")
    assert "holds no results" in cases["gone"]["error"]
    summary = {(row["stratum"], row["metric"]): row for row in rows_of(out / "summary.csv")}
    dice, false = summary["", "dice"], summary["x", "false_positives_per_case"]
    assert [float(dice[k]) for k in ("n_cases", "value", "low", "high")] == pytest.approx([2, 5 / 6, 2 / 3, 1])
    assert (false["value"], summary["y", "false_positives_per_case"]["value"]) == ("0.5", "0.0")
    assert [row["kind"] for row in rows_of(out / "lesions.csv")] == ["marked", "marked", "false positive"]
    record = json.loads((out / "evaluation.json").read_text())
    assert [one["name"] for one in record["strata"]] == ["", "x", "y"]
    assert record["strata"][0]["estimates"]["dice"]["value"] == float(dice["value"])
    assert record["strata"][0]["froc"]["sensitivity"][0] == 1
    assert list(record["left_out"]) == ["gone"]


def test_the_record_is_sealed_and_names_the_other_files(cohort: Path, tmp_path: Path) -> None:
    """Whoever quotes a table can see that it is still the one that was written."""
    out = tmp_path / "out"
    assert main(["evaluate", str(cohort / "good.csv"), "--out", str(out), "-q"]) == 0

    content, complaint = checked(out / "evaluation.json")

    assert complaint is None
    assert content is not None
    others = {path.name: hash_file(path) for path in out.iterdir() if path.name != "evaluation.json"}
    assert content["files"] == others
    assert {name.rpartition(".")[2] for name in others} == {"csv", "png"}


def test_the_same_command_writes_the_same_numbers(cohort: Path, tmp_path: Path) -> None:
    """The bootstrap is seeded."""
    words = ["evaluate", str(cohort / "good.csv"), "-q", "--out"]
    assert [main([*words, str(tmp_path / name)]) for name in "ab"] == [0, 0]

    assert (tmp_path / "a" / "summary.csv").read_bytes() == (tmp_path / "b" / "summary.csv").read_bytes()
    assert main([*words, str(tmp_path / "a")]) == 1, "it is not replaced without being asked"
    assert main([*words, str(tmp_path / "a"), "--overwrite"]) == 0


def test_a_batch_has_the_dice_and_the_regions_that_it_found_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The batch measured its regions while it ran; the evaluation makes them again of the maps that were written."""
    scans = write_scans(tmp_path / "scans")
    for path in sorted(scans.iterdir()):
        scan = ll.read(path)
        ll.write(scan.with_array((scan.array > 0.7).astype(np.uint8)), tmp_path / f"mask-{path.name}")
    lines = [f"scans/{n}.nii.gz,mask-{n}.nii.gz,{s}" for n, s in (("a", "one"), ("b", "two"), ("c", "two"))]
    (tmp_path / "manifest.csv").write_text("\n".join(["input,mask,stratum:scanner", *lines]) + "\n")
    run_batch(tmp_path / "manifest.csv", options_for(write_voxelwise(tmp_path / "bundle")), tmp_path / "results")
    capsys.readouterr()
    words = ["--manifest", str(tmp_path / "manifest.csv"), "--by", "scanner", "--json", "--out", str(tmp_path / "out")]

    assert main(["evaluate", str(tmp_path / "results"), *words]) == 0

    record = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["cases"]) for one in record["strata"][1:]] == [("one", ["a"]), ("two", ["b", "c"])]
    for row in rows_of(tmp_path / "out" / "cases.csv"):
        folder = tmp_path / "results" / "cases" / row["case"]
        about, made = (json.loads((folder / name).read_text()) for name in ("case.json", "record.json"))
        assert 0 < float(row["dice"]) < 1
        assert float(row["dice"]) == pytest.approx(about["mask"]["dice"])
        assert float(row["mask_volume_mm3"]) == pytest.approx(about["mask"]["volume_mm3"])
        assert int(row["n_regions"]) == made["n_regions"][row["class"]]
        assert float(row["volume_mm3"]) == pytest.approx(made["total_volume_mm3"][row["class"]], abs=1e-2)
        assert row["mass_accuracy"], "the attribution was compared too"


def test_nothing_is_written_where_nothing_can_be_evaluated(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No case that can be read, or a threshold that is none: one line, and no folder."""
    (tmp_path / "cases.csv").write_text("case,results,mask\na,none,none.nii.gz\n")
    out = tmp_path / "out"

    assert main(["evaluate", str(tmp_path / "cases.csv"), "--out", str(out), "-q"]) == 1
    assert "No case could be evaluated" in capsys.readouterr().err
    assert main(["evaluate", str(cohort / "good.csv"), "--out", str(out), "--threshold", "0", "-q"]) == 1
    assert "threshold" in capsys.readouterr().err
    assert not out.exists()
