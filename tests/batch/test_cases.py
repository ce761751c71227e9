"""Which cases there are in a folder or manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lesionlens.batch.cases as cases_module
from batch_cases import write_scans
from dicom_factory import Plan, make_series
from lesionlens.batch.cases import BatchCase, find_cases
from lesionlens.batch.keys import ModelHashes, case_links
from lesionlens.errors import InputError, ReadError
from lesionlens.options import RunOptions
from lesionlens.seals import sealed_text


def names(inputs: Path, **options: str) -> list[str]:
    """Return the names of the cases."""
    return [case.name for case in find_cases(inputs, **options).cases]


def test_each_image_of_a_folder_is_a_case_named_by_its_path(tmp_path: Path) -> None:
    """A name stays the same when other files come along, or finished cases would be run again."""
    write_scans(tmp_path / "sub-1" / "anat", {"flair": 3})
    write_scans(tmp_path, {"x y": 3})
    (tmp_path / "notes.txt").write_text("nothing")

    assert sorted(names(tmp_path)) == ["sub-1__anat__flair", "x-y"]
    assert names(tmp_path, pattern="*flair*") == ["sub-1__anat__flair"]


def test_paths_are_those_of_any_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers on other machines begin in another folder; and a name made of a path must not depend on it."""
    write_scans(tmp_path / "scans", {"a": 3})
    (tmp_path / "scans" / "a.nii").write_bytes(b"")
    monkeypatch.chdir(tmp_path)

    assert find_cases("scans").cases == find_cases(tmp_path / "scans").cases
    assert Path(find_cases("scans/a.nii").cases[0].input).is_absolute()


def test_files_of_one_name_are_two_cases(tmp_path: Path) -> None:
    """Two cases in one folder would overwrite each other."""
    write_scans(tmp_path, {"a": 3})
    (tmp_path / "a.nii").write_bytes(b"")

    found = names(tmp_path)

    assert len(set(found)) == 2
    assert all(name.startswith("a-") for name in found)


def test_each_series_of_a_dicom_tree_is_a_case(tmp_path: Path) -> None:
    """Series are told apart by their UIDs, wherever their files lie; no name of a folder is told on."""
    make_series(tmp_path / "Doe_John" / "mixed", Plan(number=4))
    make_series(tmp_path / "Doe_John" / "mixed", Plan(number=5, description="T2"))
    make_series(tmp_path / "Roe" / "flair", Plan(number=6, description="other"))
    (tmp_path / "Roe" / "notes.txt").write_text("nothing")

    found = find_cases(tmp_path).cases

    assert [case.name.rsplit("-", 1)[0] for case in found] == ["mr-4", "mr-5", "mr-6"]
    assert [Path(case.input).name for case in found] == ["mixed", "mixed", "flair"]
    assert all(len(case.files) == 5 and case.series for case in found)
    assert not {*found[0].files} & {*found[1].files}
    assert [case.name[:4] for case in find_cases(tmp_path, series="t2").cases] == ["mr-5"]


def test_what_is_no_scan_is_left_out_and_named(tmp_path: Path) -> None:
    """A localiser is not a failure, and it does not vanish either."""
    make_series(tmp_path / "s", Plan(number=4))
    make_series(tmp_path / "s", Plan(number=1, description="loc", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")))

    found = find_cases(tmp_path)

    assert len(found.cases) == 1
    assert len(found.left_out) == 1
    assert "localiser" in found.left_out[0]


def test_a_damaged_dicom_file_is_a_case_that_will_fail(tmp_path: Path) -> None:
    """Nobody would miss what was silently left out."""
    files = make_series(tmp_path / "s" / "good", Plan(number=4))
    damaged = tmp_path / "s" / "bad" / "image.dcm"
    damaged.parent.mkdir()
    damaged.write_bytes(files[0].read_bytes()[:200])

    assert any(case.name.startswith("damaged-") and case.input == str(damaged) for case in find_cases(tmp_path).cases)


def test_what_cannot_be_opened_is_a_case_that_will_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links to what was never fetched lie in many data sets; one of them, or a patient's folder, stops no others."""
    write_scans(tmp_path, {"a": 3})
    (tmp_path / "b.nii.gz").symlink_to(tmp_path / "gone")
    for number, name in enumerate(("p1", "p2"), 4):
        make_series(tmp_path / name, Plan(number=number))
    listed = cases_module.list_series

    def refuse(home: Path, **options: Any) -> Any:
        if home.name == "p1":
            raise ReadError("Cannot open p1/x. Check its permissions.")
        return listed(home, **options)

    monkeypatch.setattr(cases_module, "list_series", refuse)
    found = find_cases(tmp_path).cases

    assert [case.name.split("-")[0] for case in found] == ["a", "b", "damaged", "mr"]
    assert found[2].input == str(tmp_path / "p1")


def test_results_among_the_scans_are_none(tmp_path: Path) -> None:
    """Maps of an earlier call would be run as scans, and results in a series' folder would make its case another."""
    make_series(tmp_path / "Doe", Plan(number=4))
    (place,) = find_cases(tmp_path).cases
    series = BatchCase("s", str(tmp_path / "Doe"))
    before = case_links(series, RunOptions(Path()), ModelHashes(""))["key"]
    for folder in ("cases/a", "failed", ".work"):
        (tmp_path / "Doe" / "out" / folder).mkdir(parents=True)
    write_scans(tmp_path / "Doe" / "out" / "cases" / "a", {"probability": 3})
    write_scans(tmp_path / "single", {"probability": 3})
    (tmp_path / "single" / "record.json").write_text(sealed_text({"a": 1}))
    write_scans(tmp_path / "theirs", {"b": 3})
    (tmp_path / "theirs" / "record.json").write_text('{"doi": "10.5281"}')
    (tmp_path / "link").symlink_to(tmp_path / "single")

    found = find_cases(tmp_path)

    assert {case.name for case in found.cases} == {"theirs__b", place.name}
    assert set(found.left_out) == {"2 folders with results", "1 folder behind a link"}
    assert case_links(series, RunOptions(Path()), ModelHashes(""))["key"] == before
    assert names(tmp_path / "single") == ["probability"], "what is asked for by name is taken"


@pytest.mark.parametrize("name", ["頭" * 90, "x" * 300, "😀" * 80, "a\N{COMBINING CEDILLA}" * 90])
def test_names_of_any_length_and_script_are_names_of_files(tmp_path: Path, name: str) -> None:
    """File systems count bytes, and a folder that cannot be made would stop all cases; two names stay two."""
    (tmp_path / "c.json").write_text(json.dumps([{"name": name + end, "input": "a.nii"} for end in "12"]))

    found = names(tmp_path / "c.json")

    assert len(set(found)) == 2
    for one in found:
        (tmp_path / f".partial-01234567-{one}.json").touch()


def test_accents_are_letters_however_they_are_written(tmp_path: Path) -> None:
    """Some systems write them apart from their letters; that is the same name."""
    (tmp_path / "c.json").write_text(json.dumps([{"name": "e\u0301tude", "input": "a.nii"}]))
    assert names(tmp_path / "c.json") == ["étude"]


def test_manifests_as_csv_and_json_say_the_same(tmp_path: Path) -> None:
    """Channels, masks and the rest, with paths from the folder of the manifest, and URLs as they are."""
    (tmp_path / "lists").mkdir()
    (tmp_path / "over.nii.gz").touch()
    table = tmp_path / "lists" / "cases.csv"
    table.write_text(
        "name,scan,channel:T1,mask,over,stack\n"
        "one,../one.nii.gz,../t1.nii.gz,../mask.nii.gz,../over.nii.gz,2\n"
        ",s3://bucket/two.nii.gz,,,largest,\n"
    )
    rows = [
        {
            "name": "one",
            "input": "../one.nii.gz",
            "channels": {"T1": "../t1.nii.gz"},
            "mask": "../mask.nii.gz",
            "over": "../over.nii.gz",
            "stack": 2,
        },
        {"input": "s3://bucket/two.nii.gz", "over": "largest"},
    ]
    (tmp_path / "lists" / "cases.json").write_text(json.dumps({"cases": rows}))

    def place(name: str) -> str:
        return str((tmp_path / "lists").resolve() / ".." / name)

    expected = (
        BatchCase(
            "one",
            place("one.nii.gz"),
            stack="2",
            channels=(("T1", place("t1.nii.gz")),),
            mask=place("mask.nii.gz"),
            over=place("over.nii.gz"),
        ),
        BatchCase("two", "s3://bucket/two.nii.gz", over="largest"),
    )
    assert find_cases(table).cases == expected
    text = table.read_text()
    for separator in ";\t":  # as spreadsheets of other languages write them, with lines that were left empty
        table.write_bytes(("\ufeff" + text.replace(",", separator) + separator * 9 + "\n\n").encode())
        assert find_cases(table).cases == expected
    assert find_cases(tmp_path / "lists" / "cases.json").cases == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.csv", "input,maks\na.nii,b.nii\n", "did you mean 'mask'"),
        ("c.csv", "name,mask\nx,b.nii\n", "names no scan"),
        ("c.csv", "input\n", "no case"),
        ("c.csv", "input\na.nii,b.nii\n", "more cells than columns"),
        ("c.csv", "name,input\nx,a.nii\nX,a.nii\n", "called"),
        ("c.json", '{"cases": 3}', "no manifest"),
        ("c.json", '[{"input": "a.nii", "channels": ["b"]}]', "no manifest"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    """A typing error in a column would silently lose what it says."""
    (tmp_path / name).write_text(text)

    with pytest.raises(InputError, match=message):
        find_cases(tmp_path / name)


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """A manifest that is not JSON, and an empty folder."""
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(ReadError, match="as JSON"):
        find_cases(tmp_path / "c.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no case"):
        find_cases(tmp_path / "empty")


def test_what_a_case_depends_on_names_no_series(tmp_path: Path) -> None:
    """A UID leads to the patient in the archive; another series gives another key all the same."""
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"a")
    cases = [BatchCase("a", str(path), series=uid) for uid in ("1.2.3.4.5", "1.2.3.4.6")]
    made = [case_links(case, RunOptions(Path()), ModelHashes("")) for case in cases]

    assert "1.2.3.4" not in str(made)
    assert made[0]["key"] != made[1]["key"]
