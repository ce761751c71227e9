"""Which cases are evaluated: a table, or the folder of a batch with its manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesionlens.errors import InputError, ReadError
from lesionlens.evaluation import cases_to_evaluate


def table(folder: Path, text: str, name: str = "cases.csv") -> Path:
    """Write a table; return its path."""
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_a_table_names_results_masks_and_what_cases_are_told_apart_by(tmp_path: Path) -> None:
    """Paths are relative to the table, further columns are strata."""
    path = table(tmp_path, "case,results,mask,site,note\na,runs/a,a.nii.gz,Oslo,\nb,/runs/b,b.nii.gz,Bergen,x\n")

    first, second = cases_to_evaluate(path, by="site")

    assert (first.name, first.results, first.mask) == ("a", tmp_path / "runs/a", tmp_path / "a.nii.gz")
    assert (second.results, dict(second.strata)) == (Path("/runs/b"), {"site": "Bergen", "note": "x"})


def test_a_batch_and_its_manifest_name_the_cases_that_have_a_mask(tmp_path: Path) -> None:
    """Cases are called as the batch called them; those without a mask are passed over."""
    (tmp_path / "out" / "cases").mkdir(parents=True)
    text = "name,input,mask,stratum:site\np 1,a.nii.gz,m.nii.gz,Oslo\np2,b.nii.gz,,Bergen\n"
    manifest = table(tmp_path, text, "manifest.csv")

    (only,) = cases_to_evaluate(tmp_path / "out", manifest, by="site")

    assert (only.name, only.results) == ("p-1", tmp_path / "out" / "cases" / "p-1")
    assert (only.mask, dict(only.strata)) == (tmp_path / "m.nii.gz", {"site": "Oslo"})


@pytest.mark.parametrize(
    ("text", "by", "words"),
    [
        ("case,results\na,b\n", None, "missing: mask"),
        ("case,results,mask\n", None, "a row for each case"),
        ("case,results,mask\na,,m\n", None, "Line 2 of .* has no case, results or mask"),
        ("case,results,mask\na,b,m\na,c,m\n", None, "'a' twice"),
        ("case,results,mask,site\na,b,m,x\n", "sites", "column 'sites'"),
        ("case,results,mask,site\na,b,m,x\nc,b,m,\n", "site", "'c' says nothing in the column 'site'"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str, by: str | None, words: str) -> None:
    """Before hours of measuring, and with the line or column that is wrong."""
    with pytest.raises(InputError, match=words):
        cases_to_evaluate(table(tmp_path, text), by=by)


def test_folders_without_a_manifest_or_without_masks_are_refused(tmp_path: Path) -> None:
    """Results do not hold masks, and the paths of masks would lead to patients."""
    with pytest.raises(InputError, match="is no batch"):
        cases_to_evaluate(tmp_path)
    (tmp_path / "cases").mkdir()
    with pytest.raises(InputError, match="--manifest"):
        cases_to_evaluate(tmp_path)
    with pytest.raises(InputError, match="names no mask"):
        cases_to_evaluate(tmp_path, table(tmp_path, "input\na.nii.gz\n", "m.csv"))
    with pytest.raises(InputError, match="A manifest goes with the folder"):
        cases_to_evaluate(tmp_path / "m.csv", tmp_path / "m.csv")
    with pytest.raises(ReadError, match="There is no file or folder missing"):
        cases_to_evaluate(tmp_path / "missing.csv")
