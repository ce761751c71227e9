"""Many cases in one process: equal to single runs, resumable, and one that fails stops no other."""

from __future__ import annotations

import csv
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lesionlens as ll
from batch_cases import RADII, grid, options_for, write_scans, write_voxelwise
from lesionlens.batch import plan_batch, run_batch, verify
from lesionlens.batch.cases import BatchCase
from lesionlens.batch.keys import ModelHashes
from lesionlens.batch.store import Store
from lesionlens.batch.work import Job, Task
from lesionlens.cli import main
from lesionlens.errors import Cancelled, InputError, LesionLensError, OutputError
from lesionlens.evaluation import cases_to_evaluate, evaluate
from lesionlens.options import RunOptions
from lesionlens.results import read_record
from tiny_bundles import blob


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a bundle, three scans and one that cannot be read."""
    folder = tmp_path_factory.mktemp("batch")
    write_voxelwise(folder / "voxelwise")
    write_scans(folder / "scans")
    (folder / "scans" / "bad.nii.gz").write_bytes(b"nothing")
    return folder


@pytest.fixture(scope="module")
def options(place: Path) -> RunOptions:
    """Return the options of the batch."""
    return options_for(place / "voxelwise")


@pytest.fixture(scope="module")
def out(place: Path, options: RunOptions) -> Path:
    """Return the folder of a batch over all of it."""
    result = run_batch(place / "scans", options, place / "out")
    assert result.done == tuple(RADII)
    assert result.failed == ("bad",)
    return place / "out"


def table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def stamps(out: Path) -> dict[str, int]:
    """Return when each case was made, in ns."""
    return {one.name: (one / "case.json").stat().st_mtime_ns for one in (out / "cases").iterdir()}


def test_a_case_of_a_batch_is_what_run_writes(place: Path, out: Path) -> None:
    """Every file is equal byte by byte, but for the record, which differs in times alone."""
    single = place / "single"
    words = ["run", str(place / "scans" / "b.nii.gz"), "--bundle", str(place / "voxelwise"), "--trust", "--layer", "0"]
    assert main([*words, "-q", "--out", str(single)]) == 0

    names = {path.name for path in single.iterdir()}
    assert {path.name for path in (out / "cases" / "b").iterdir()} == names | {"case.json"}
    for name in names - {"record.json"}:
        assert (single / name).read_bytes() == (out / "cases" / "b" / name).read_bytes(), name
    records = [read_record(folder) for folder in (single, out / "cases" / "b")]
    for record in records:
        record["computing"].pop("budget_bytes")  # most of what is free at the moment
        for key in ("created", "seconds", "seal"):
            del record[key]
    assert records[0] == records[1]


def test_the_summary_names_every_case(out: Path) -> None:
    """Volumes grow with the blobs; the one that failed is there with its reason, and nowhere else."""
    rows = {row["case"]: row for row in table(out / "summary.csv")}

    assert list(rows) == ["a", "b", "bad", "c"]
    for name in RADII:
        record = read_record(out / "cases" / name)
        assert float(rows[name]["total_volume_mm3"]) == record["total_volume_mm3"]["lesion"]
        assert rows[name]["status"] == "done"
    assert float(rows["a"]["total_volume_mm3"]) < float(rows["b"]["total_volume_mm3"])
    assert rows["bad"]["status"] == "failed"
    assert [(row["case"], row["kind"]) for row in table(out / "failures.csv")] == [("bad", "ReadError")]
    assert not (out / "cases" / "bad").exists()


def test_what_is_done_stays(place: Path, options: RunOptions, out: Path) -> None:
    """The second call works on nothing: not even on what failed, until it is asked to."""
    before = stamps(out)

    again = run_batch(place / "scans", options, out)
    assert (again.worked_on, again.failed) == (0, ("bad",))
    assert stamps(out) == before

    retried = run_batch(place / "scans", options, out, retry_failed=True)
    assert (retried.worked_on, retried.failed) == (1, ("bad",))
    assert stamps(out) == before
    assert table(out / "failures.csv")[0]["tries"] == "2"


def test_other_options_or_scans_are_not_taken_for_done(place: Path, options: RunOptions, tmp_path: Path) -> None:
    """Finished cases are known by what they were made from; others are refused, or made again where allowed."""
    scans, out = write_scans(tmp_path / "scans", {"a": 3, "b": 4}), tmp_path / "out"
    run_batch(scans, options, out)
    before = stamps(out)
    other = replace(options, threshold=0.7)
    with pytest.raises(OutputError, match=r"2 case\(s\).*overwrite"):
        run_batch(scans, other, out)

    ll.write(blob(grid(), (0, 0, 0), radius_mm=6), scans / "b.nii.gz", overwrite=True)
    assert plan_batch(scans, options, out).states == {"a": "done", "b": "stale"}
    result = run_batch(scans, options, out, overwrite=True)

    assert result.worked_on == 1
    after = stamps(out)
    assert after["a"] == before["a"]
    assert after["b"] != before["b"]
    assert read_record(out / "cases" / "b")["total_volume_mm3"]["lesion"] > 700
    assert verify(out).right


def test_a_failure_that_was_mended_is_tried_again(options: RunOptions, tmp_path: Path) -> None:
    """Another file under the same name is another input, so that nobody has to say it."""
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    (scans / "a.nii.gz").write_bytes(b"nothing")
    assert run_batch(scans, options, out).failed == ("a",)

    (scans / "a.nii.gz").unlink()
    write_scans(scans, {"a": 3})
    result = run_batch(scans, options, out)

    assert (result.done, result.failed) == (("a",), ())
    assert not list((out / "failed").iterdir())


def test_a_question_without_an_answer_fails_its_case_alone(
    place: Path, options: RunOptions, tmp_path: Path, capsys: Any
) -> None:
    """As with ``run``: to a script the prediction alone would look like the answer."""
    manifest = tmp_path / "cases.csv"
    manifest.write_text(f"input,over\n{place}/scans/a.nii.gz,largest\n{place}/scans/b.nii.gz,7\n")
    words = ["batch", str(manifest), "--bundle", options.bundle, "--trust", "--layer", "0", "-q"]

    assert main([*words, "--out", str(tmp_path / "out")]) == 1

    assert "failed: b" in capsys.readouterr().err
    rows = {row["case"]: row for row in table(tmp_path / "out" / "summary.csv")}
    assert (rows["a"]["status"], rows["b"]["status"]) == ("done", "failed")
    assert "There is no region 7 of 'lesion'" in rows["b"]["error"]
    assert not (tmp_path / "out" / "cases" / "b").exists()


def test_a_dry_run_writes_nothing_and_a_limit_holds(place: Path, tmp_path: Path, capsys: Any) -> None:
    """Both by the command line, whose exit code is 1 as soon as a case has failed."""
    out = tmp_path / "out"
    start = ["batch", str(place / "scans"), "--bundle", str(place / "voxelwise"), "--trust", "--layer", "0", "-q"]
    start += ["--out", str(out)]

    assert main([*start, "--dry-run", "--limit", "2"]) == 0
    said = capsys.readouterr().out
    assert said.count("run   waiting") == 2
    assert said.count("keep  waiting") == 2
    assert "Memory: a prediction may take most of what is free; the programs" in said
    assert not out.exists()

    assert main([*start, "--limit", "1"]) == 0
    assert [row["status"] for row in table(out / "summary.csv")] == ["done", "waiting", "waiting", "waiting"]
    assert main([*start, "--limit", "2"]) == 1, "the second of them cannot be read"
    assert [row["status"] for row in table(out / "summary.csv")] == ["done", "done", "failed", "waiting"]


def test_masks_channels_and_urls_of_a_manifest(place: Path, options: RunOptions, tmp_path: Path) -> None:
    """The Dice of a mask is counted by hand; a scan behind a URL is the same scan."""
    scan = ll.read(place / "scans" / "c.nii.gz")
    marked = (scan.array >= 0.5).astype(np.uint8)
    marked[:10] = 0
    ll.write(scan.with_array(marked), tmp_path / "mask.nii.gz")
    url = (place / "scans" / "c.nii.gz").as_uri()
    (tmp_path / "cases.csv").write_text(f"name,input,mask\nurl,{url},mask.nii.gz\n")

    run_batch(tmp_path / "cases.csv", options, tmp_path / "out")

    row = table(tmp_path / "out" / "summary.csv")[0]
    found = ll.read(tmp_path / "out" / "cases" / "url" / "regions_lesion.nii.gz").array > 0
    assert float(row["mask_dice"]) == pytest.approx(2 * (found & (marked > 0)).sum() / (found.sum() + marked.sum()))
    assert 0.3 < float(row["mask_dice"]) < 0.9
    (case,) = cases_to_evaluate(tmp_path / "out", tmp_path / "cases.csv")
    assert evaluate([case]).cases[0].numbers["dice"] == pytest.approx(float(row["mask_dice"]))
    assert read_record(tmp_path / "out" / "cases" / "url")["input"]["name"] == "c"
    assert run_batch(tmp_path / "cases.csv", options, tmp_path / "out").worked_on == 0

    ll.write(scan.with_array(marked[::-1].copy()), tmp_path / "mask.nii.gz", overwrite=True)
    with pytest.raises(InputError, match="mask of 'url' is not the one that the batch was given"):
        evaluate([case])


def test_stopping_keeps_what_is_done(place: Path, options: RunOptions, tmp_path: Path) -> None:
    """The case in work is lost, the others are whole, and nothing half-done is left."""
    seen: list[int] = []

    def stop(stage: str, done: int, _total: int) -> None:
        if stage == "Cases":
            seen.append(done)
            if done == 1:
                raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        run_batch(write_scans(tmp_path / "s"), options, tmp_path / "out", progress=stop)

    names = {one.name for one in (tmp_path / "out" / "cases").iterdir()}
    assert names < set(RADII)
    assert names
    assert max(seen) == len(names), "each outcome is counted once, also the one on which it was stopped"
    assert not [one for one in (tmp_path / "out" / ".work").iterdir() if one.is_dir()]
    assert verify(tmp_path / "out").right


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import lesionlens.batch.work as work
from batch_cases import options_for
from lesionlens.batch import run_batch

place, out = Path(sys.argv[1]), Path(sys.argv[2])
before = work.write_case

def write_case(result, folder, **options):
    written = before(result, folder, **options)
    if folder.name == "b":  # all but the last step is done
        os.kill(os.getpid(), signal.SIGKILL)
    return written

work.write_case = write_case
run_batch(place / "scans", options_for(place / "voxelwise"), out)
"""


def test_killed_while_writing_only_the_case_in_work_is_lost(place: Path, options: RunOptions, tmp_path: Path) -> None:
    """SIGKILL lets nobody tidy up: what is seen is whole all the same, and the next call goes on."""
    out, tests = tmp_path / "out", Path(__file__).parent.parent
    command = [sys.executable, "-c", KILLED, str(place), str(out), str(tests)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    assert [one.name for one in (out / "cases").iterdir()] == ["a"]
    assert verify(out).right
    before = stamps(out)

    result = run_batch(place / "scans", options, out)

    assert result.done == tuple(RADII)
    assert stamps(out)["a"] == before["a"]
    assert not [one for one in (out / ".work").iterdir() if one.is_dir()]
    assert verify(out).right


def test_two_processes_do_not_work_in_one_folder(place: Path, options: RunOptions, tmp_path: Path) -> None:
    """Each would tidy up what the other is writing."""
    with Store(tmp_path / "out").opened(), pytest.raises(OutputError, match="Another process"):
        run_batch(place / "scans", options, tmp_path / "out")


def test_a_folder_that_is_no_batch_is_left_alone(place: Path, options: RunOptions, tmp_path: Path) -> None:
    """Like any other command; and a scheduler brings its own workers."""
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="no batch"):
        run_batch(place / "scans", options, tmp_path)
    with pytest.raises(InputError, match="one of the two"):
        run_batch(place / "scans", options, tmp_path / "out", workers=1, scheduler="tcp://h:1")


def test_a_batch_of_nothing_leaves_nothing(options: RunOptions, tmp_path: Path) -> None:
    """A folder that looks like a batch would be taken for one; one that is one keeps its cases."""
    (tmp_path / "empty").mkdir()

    with pytest.raises(LesionLensError, match="no case in empty"):
        run_batch(tmp_path / "empty", options, tmp_path / "out")

    assert [place.name for place in tmp_path.iterdir()] == ["empty"]


def test_a_full_disk_is_one_sentence_and_the_next_call_goes_on(
    place: Path, options: RunOptions, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables come last, when a disk is fullest; what is done stays done."""

    def full(*_: Any, **__: Any) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("lesionlens.batch.reports.cohort_page", full)
        with pytest.raises(OutputError, match=r"Cannot write into .*: No space left on device\. Check"):
            run_batch(place / "scans", options, out)

    assert not (out / "batch.json").exists()
    assert not [one for one in (out / ".work").iterdir() if one.is_dir()]
    assert run_batch(place / "scans", options, out).done == tuple(RADII)
    assert verify(out).right


def test_no_folder_is_in_what_went_wrong(tmp_path: Path) -> None:
    """Tables and page keep it, and folders of scans are often called by the patient."""
    job = Job(Task(BatchCase("a", "a.nii"), RunOptions(Path()), ModelHashes(""), str(tmp_path)))

    outcome = job.done(OSError(errno.EIO, os.strerror(errno.EIO), "/data/Doe_John/a.nii"))

    assert outcome.error == f"unexpected OSError: {os.strerror(errno.EIO)}"
    assert job.done(ValueError("a\nb")).error == "unexpected ValueError: a b"


def test_a_worker_that_nobody_waits_for_gives_no_half_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process was killed, and the next one tidies up in the very moment in which it is done."""
    store, removed = Store(tmp_path), shutil.rmtree
    folder = tmp_path / ".work" / "theirs" / "results" / "a"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text("{}")
    refused = []

    def meanwhile(path: Path, **options: Any) -> None:
        try:
            store.commit(folder, "a", {"key": "k"}, {})
        except OSError as error:
            refused.append(error)
        removed(path, **options)

    monkeypatch.setattr("lesionlens.batch.store.shutil.rmtree", meanwhile)
    with store.opened():
        assert not list((tmp_path / "cases").iterdir())

    assert len(refused) == 1


def test_who_is_second_leaves_the_first_result(tmp_path: Path) -> None:
    """A worker that was taken for dead may finish after all: each result is written once."""
    store = Store(tmp_path)
    links = {"key": "k"}

    def finished(text: str) -> Callable[[], bool]:
        folder = tmp_path / text
        folder.mkdir()
        (folder / "record.json").write_text(text)
        return lambda: store.commit(folder, "case", links, {})

    (tmp_path / "cases").mkdir()
    first, second = finished("first"), finished("second")

    assert first()
    assert not second()
    assert (tmp_path / "cases" / "case" / "record.json").read_text() == "first"
    assert os.listdir(tmp_path / "cases") == ["case"]
