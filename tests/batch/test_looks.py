"""Inputs of finished cases are read again where something about them has changed, and only there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from batch_cases import options_for, write_scans, write_voxelwise
from lesionlens.batch import keys, looks, plan_batch, run_batch, verify
from lesionlens.batch.cases import BatchCase
from lesionlens.batch.keys import ModelHashes, case_links
from lesionlens.batch.looks import Looks
from lesionlens.batch.store import Store
from lesionlens.options import RunOptions
from lesionlens.seals import hash_file

PATIENT = "MUSTERMANN^ERIKA"


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take files for settled that were written a moment ago."""
    monkeypatch.setattr(looks, "_SETTLED_NS", 0)


@pytest.fixture
def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that are read to find their hash, as they are read."""
    found: list[str] = []

    def noted(path: Path) -> str:
        found.append(path.name)
        return hash_file(path)

    monkeypatch.setattr(keys, "hash_file", noted)
    return found


def links(case: BatchCase, seen: Looks) -> dict[str, object]:
    """Return the hashes of what a case depends on."""
    return case_links(case, RunOptions(Path()), ModelHashes("b"), looks=seen)


def _rewrite(path: Path) -> None:
    """Write other bytes, as many, and set the time back, as programs do that copy with times."""
    before = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _exchange(path: Path) -> None:
    """Put another file in its place, of the same size and time."""
    other = path.with_name("other")
    other.write_bytes(b"?" * path.stat().st_size)
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


def _touch(path: Path) -> None:
    os.utime(path, ns=(0, 0))


def _lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_rewrite, marks=pytest.mark.skipif(os.name == "nt", reason="keeps no time of changing")),
        _exchange,
        _touch,
        _lengthen,
    ],
)
def test_what_changed_is_read_again(change: Callable[[Path], None], tmp_path: Path, read_files: list[str]) -> None:
    """The hashes are those of the bytes that are there, whatever was changed and however it was hidden."""
    for name in ("scan.nii.gz", "t1.nii.gz", "mask.nii.gz"):
        (tmp_path / name).write_bytes(name.encode() * 10)
    place = str(tmp_path / "scan.nii.gz")
    channels = (("T1", str(tmp_path / "t1.nii.gz")),)
    case = BatchCase("a", place, channels=channels, mask=str(tmp_path / "mask.nii.gz"))
    first = Looks()
    before = links(case, first)
    assert sorted(read_files) == ["mask.nii.gz", "scan.nii.gz", "t1.nii.gz"]
    read_files.clear()
    again = Looks(first.noted)
    assert links(case, again) == before
    assert read_files == []
    assert again.noted == first.noted, "what is known stays known"

    change(tmp_path / "t1.nii.gz")

    now = links(case, Looks(first.noted))
    assert read_files == ["t1.nii.gz"]
    assert now == links(case, Looks()), "the oracle reads everything"
    assert (now["key"] == before["key"]) == (change is _touch)


@pytest.mark.usefixtures("settled")
def test_files_of_a_series_that_came_or_went_are_seen(tmp_path: Path, read_files: list[str]) -> None:
    """A slice that arrives late makes another scan, though no file that was there has changed."""
    for number in range(3):
        (tmp_path / f"{number}.dcm").write_bytes(b"slice %d" % number)
    first = Looks()
    before = links(BatchCase("a", str(tmp_path)), first)

    (tmp_path / "3.dcm").write_bytes(b"slice 3")
    read_files.clear()
    more = links(BatchCase("a", str(tmp_path)), Looks(first.noted))
    assert len(read_files) == 4
    (tmp_path / "3.dcm").unlink()

    assert more["key"] != before["key"]
    assert links(BatchCase("a", str(tmp_path)), Looks(first.noted)) == before


@pytest.mark.usefixtures("settled")
def test_a_file_by_itself_is_not_a_folder_of_one(tmp_path: Path) -> None:
    """Both look at the same file, and their hashes differ: one must not be taken for the other."""
    (tmp_path / "scan.nii.gz").write_bytes(b"scan")
    seen = Looks()
    alone = links(BatchCase("a", str(tmp_path / "scan.nii.gz")), seen)

    assert links(BatchCase("a", str(tmp_path)), Looks(seen.noted)) == links(BatchCase("a", str(tmp_path)), Looks())
    assert alone["input"] == hash_file(tmp_path / "scan.nii.gz")


def test_what_was_written_a_moment_ago_is_not_remembered(tmp_path: Path) -> None:
    """It may be written again within the same tick of the clock of its file system."""
    (tmp_path / "scan.nii.gz").write_bytes(b"scan")
    seen = Looks()

    links(BatchCase("a", str(tmp_path / "scan.nii.gz")), seen)

    assert seen.noted == {}


def test_what_changes_while_it_is_read_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash is of neither the old bytes nor the new ones."""
    monkeypatch.setattr(looks, "_SETTLED_NS", -(10**18))
    file, seen = tmp_path / "scan", Looks()
    file.write_bytes(b"scan")

    seen.hash_of([file], lambda: str(file.write_bytes(b"longer scan")), kind="file")

    assert seen.noted == {}


@pytest.mark.usefixtures("settled")
def test_a_second_call_reads_no_input_of_a_finished_case(tmp_path: Path, read_files: list[str]) -> None:
    """Nor does it change one; ``rehash`` reads them all, and no name of a file is kept."""
    scans = write_scans(tmp_path / PATIENT, {"a": 3.0, "b": 4.0})
    options = options_for(write_voxelwise(tmp_path / "bundle"))
    out = tmp_path / "out"
    run_batch(scans, options, out)
    assert sorted(read_files) == ["a.nii.gz", "b.nii.gz"]
    written = {path: path.read_bytes() for path in (out / "cases").rglob("*") if path.is_file()}
    read_files.clear()

    assert run_batch(scans, options, out).worked_on == 0
    assert read_files == []
    assert set(plan_batch(scans, options, out, rehash=True).states.values()) == {"done"}
    assert sorted(read_files) == ["a.nii.gz", "b.nii.gz"]
    assert written == {path: path.read_bytes() for path in written}
    assert verify(out).right
    assert PATIENT.encode() not in b"".join((out / "cases" / name / "case.json").read_bytes() for name in "ab")
    looked = Store(out).looks_of("a")
    assert list(looked.values()) == [hash_file(scans / "a.nii.gz")]
    read_files.clear()
    (scans / "a.nii.gz").write_bytes((scans / "b.nii.gz").read_bytes())
    assert plan_batch(scans, options, out).states == {"a": "stale", "b": "done"}
    assert plan_batch(scans, replace(options, threshold=0.4), out).states == {"a": "stale", "b": "stale"}
