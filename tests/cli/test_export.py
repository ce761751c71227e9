"""The command that writes DICOM: what it says, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dicom_results import Made, make_results
from lesionlens.batch import verify
from lesionlens.cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return results on a series."""
    return make_results(tmp_path_factory.mktemp("made"))


def test_it_names_what_it_wrote(made: Made, tmp_path: Path, capsys: Capture, repository: Path) -> None:
    """Every object of the page that describes them is written by its format, and named on the terminal."""
    page = (repository / "docs" / "how-to" / "send-results-as-dicom.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| `([^`]+)` \|", page, re.MULTILINE))
    words = [word for form in rows for word in ("--format", form)]

    assert (
        main(["export", str(made.results), "--source", str(made.source), "--out", str(tmp_path / "out"), *words]) == 0
    )
    said = capsys.readouterr()
    names = {path.name for path in (tmp_path / "out").iterdir()} - {"export.json"}
    patterns = {name: re.sub(r"<\w+>", r"[\\w-]+", re.escape(name).replace(r"\<", "<").replace(r"\>", ">"))
                for name in rows.values()}  # fmt: skip
    assert all(name in said.out for name in names)
    _every_flipped_bit_is_found(tmp_path / "out")
    assert "Research use only" in said.out
    assert "Note: Patient and UIDs have pseudonyms" in said.err
    assert [name for name in names if not any(re.fullmatch(one, name) for one in patterns.values())] == []
    assert [name for name, one in patterns.items() if not any(re.fullmatch(one, found) for found in names)] == []


def _every_flipped_bit_is_found(folder: Path) -> None:
    assert verify(folder).right
    assert verify(folder).strangers == ()
    for path in folder.iterdir():
        held = path.read_bytes()
        path.write_bytes(held[: len(held) // 2] + bytes([held[len(held) // 2] ^ 1]) + held[len(held) // 2 + 1 :])
        assert any(one.startswith(path.name) for one in verify(folder).problems), path.name
        path.write_bytes(held)


def test_a_folder_that_holds_files_is_left_alone(made: Made, capsys: Capture) -> None:
    """Objects are never lost silently."""
    words = ["export", str(made.results), "--source", str(made.source), "--out", str(made.results)]

    assert main(words) == 1
    assert "is not empty" in capsys.readouterr().err
