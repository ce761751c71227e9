"""Whether a changed byte is found, in whatever file it lies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from batch_cases import options_for, write_scans, write_voxelwise
from lesionlens.batch import run_batch, verify
from lesionlens.cli import main
from lesionlens.errors import ReadError


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a batch of two cases, one of which failed."""
    folder = tmp_path_factory.mktemp("verify")
    write_voxelwise(folder / "voxelwise")
    write_scans(folder / "scans", {"a": 3})
    (folder / "scans" / "bad.nii.gz").write_bytes(b"nothing")
    run_batch(folder / "scans", options_for(folder / "voxelwise"), folder / "out")
    return folder / "out"


def test_what_is_as_it_was_passes(out: Path) -> None:
    """Of a batch, and of the run in one of its cases, every file is looked at."""
    files = [path for path in out.rglob("*") if path.is_file() and ".work" not in path.parts]

    found = verify(out)

    assert out / "report.html" in files
    assert (found.files, found.problems, found.strangers) == (len(files), (), ())
    of_run = verify(out / "cases" / "a")
    assert of_run.right
    assert of_run.strangers == ("case.json",), "a run does not know that it is one of many"


def test_a_flipped_bit_is_found_in_every_file(out: Path) -> None:
    """At the ends of the file and at places drawn by lot, and the file is named."""
    generator = np.random.default_rng(0)
    files = sorted(path for path in out.rglob("*") if path.is_file() and ".work" not in path.parts)
    assert len(files) > 10
    for path in files:
        before = path.read_bytes()
        for place in {0, len(before) - 1, *generator.integers(0, len(before), 5).tolist()}:
            changed = bytearray(before)
            changed[place] ^= 1 << int(generator.integers(8))
            path.write_bytes(changed)
            problems = verify(out).problems
            assert any(path.relative_to(out).as_posix() in one for one in problems), (path, place)
        path.write_bytes(before)
    assert verify(out).right


def test_a_file_or_case_that_is_gone_or_came_from_elsewhere_is_found(out: Path, tmp_path: Path) -> None:
    """Whole results of another run are right by themselves, and wrong here."""
    table = out / "cases" / "a" / "regions.csv"
    text = table.read_bytes()
    table.unlink()
    assert any("regions.csv is missing" in one for one in verify(out).problems)
    table.write_bytes(text)

    aside = tmp_path / "a"
    (out / "cases" / "a").rename(aside)
    assert any("case.json is missing" in one for one in verify(out).problems)
    aside.rename(out / "cases" / "a")

    (out / "notes.txt").write_text("mine")
    assert verify(out).strangers == ("notes.txt",)
    (out / "notes.txt").unlink()
    assert verify(out).right


def test_the_chain_names_what_the_results_rest_on(out: Path) -> None:
    """Hashes of pixels, model, options and versions; the last one is over the others."""
    record = json.loads((out / "cases" / "a" / "record.json").read_text("utf-8"))

    assert list(record["chain"]) == ["input", "pixels", "bundle", "weights", "options", "versions", "all"]
    assert record["chain"]["input"] == record["input"]["sha256"]
    assert record["chain"]["weights"] == record["bundle"]["weights_sha256"]
    assert len(set(record["chain"].values())) == 7
    assert set(record["files"]) == {p.name for p in (out / "cases" / "a").iterdir()} - {"record.json", "case.json"}


def test_the_command_says_it_and_exits_with_1(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts; what is no folder of results is an error."""
    assert main(["verify", str(out), "-q"]) == 0
    path = out / "summary.csv"
    before = path.read_bytes()
    path.write_bytes(before + b"x")
    assert main(["verify", str(out), "-q"]) == 1
    assert "summary.csv has changed" in capsys.readouterr().out
    path.write_bytes(before)
    with pytest.raises(ReadError, match="holds neither"):
        verify(tmp_path)
