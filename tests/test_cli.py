"""The command line as a user meets it: exit codes, one-line errors, JSON, no half-written files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom.uid import EnhancedSRStorage, SecondaryCaptureImageStorage

import lesionlens as ll
from dicom_factory import Plan, make_series, make_slice, make_volumes
from lesionlens.cli import main
from tiny_bundles import CENTRE, VOXELWISE_STATE, blob, oblique_grid, write_bundle

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the path of an oblique scan with one bright blob."""
    return str(ll.write(blob(oblique_grid(), CENTRE), tmp_path_factory.mktemp("scan") / "scan.nii.gz"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the path of the voxelwise bundle, with a layer '0' that can be explained."""
    folder = write_bundle(
        tmp_path_factory.mktemp("bundle") / "voxelwise",
        network="$torch.nn.Sequential(torch.nn.Identity(), torch.nn.Conv3d(1, 2, 1))",
        state={f"1.{k}": v for k, v in VOXELWISE_STATE.items()},
        extra={"imports": ["$import torch"]},
    )
    return str(folder)


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["run"],
        ["demo"],
        ["info"],
        ["view"],
        ["compare"],
        ["calibrate"],
        ["importance"],
        ["trust"],
        ["methods"],
        ["layers"],
        ["measure-registration"],
        ["bundles"],
        ["bundles", "list"],
        ["bundles", "show"],
    ],
)
def test_every_command_explains_itself_with_an_example(command: list[str], capsys: Capture) -> None:
    """--help exits with 0; every command that does something shows an example."""
    assert main([*command, "--help"]) == 0

    text = capsys.readouterr().out
    assert "Usage: lesionlens" in text
    if command not in ([], ["bundles"]):
        assert "Example:" in text


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        (["run"], "lesionlens run [OPTIONS] INPUT"),
        (["info"], "lesionlens info [OPTIONS] PATH"),
        (["view"], "lesionlens view [OPTIONS] INPUT [RESULTS]"),
        (["bundles", "show"], "lesionlens bundles show [OPTIONS] BUNDLE"),
    ],
)
def test_usage_lines_name_what_has_to_be_given(command: list[str], usage: str, capsys: Capture) -> None:
    """Braces would look like something to type."""
    assert main([*command, "--help"]) == 0

    assert f"Usage: {usage}" in capsys.readouterr().out.splitlines()


def test_version_is_the_packages(capsys: Capture) -> None:
    """--version prints it and does nothing else."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"lesionlens {ll.__version__}"


def test_run_prints_a_table_and_writes_the_folder(scan: str, bundle: str, tmp_path: Path, capsys: Capture) -> None:
    """The main job from the shell."""
    out = tmp_path / "out"

    code = main(["run", scan, "--bundle", bundle, "--trust", "--layer", "0", "--out", str(out), "--threshold", "0.4"])

    text = capsys.readouterr().out
    assert code == 0
    assert "lesion: 1 region(s) at probability 0.4 or more" in text
    assert "not a medical device" in text
    assert json.loads((out / "record.json").read_text())["options"]["threshold"] == 0.4


def test_json_is_all_that_a_program_reads(scan: str, bundle: str, tmp_path: Path, capsys: Capture) -> None:
    """With --json standard output is one JSON document with regions and files."""
    out = tmp_path / "out"
    options = ["--bundle", bundle, "--trust", "--layer", "0", "--out", str(out), "--json"]

    assert main(["run", scan, *options]) == 0

    found = json.loads(capsys.readouterr().out)
    assert found["regions"][0]["class"] == "lesion"
    assert set(found["files"]) == {p.name for p in out.iterdir()}
    assert found["seconds"] == json.loads((out / "record.json").read_text())["seconds"]


def test_a_run_that_cannot_explain_warns_and_succeeds(scan: str, tmp_path: Path, capsys: Capture) -> None:
    """The prediction is there; what is missing is said on standard error."""
    folder, out = write_bundle(tmp_path / "b"), tmp_path / "out"

    code = main(["run", scan, "--bundle", str(folder), "--trust", "--out", str(out), "-q"])

    assert code == 0
    assert "Warning: There is no attribution map: The network has no layer" in capsys.readouterr().err
    assert (out / "probability_lesion.nii.gz").exists()
    assert main(["run", scan, "--bundle", str(folder), "--trust", "--layer", "x", "--out", str(tmp_path / "o2")]) == 1


def test_info_describes_a_scan(scan: str, capsys: Capture) -> None:
    """Size, spacing, orientation and verdict, as a table and as JSON."""
    assert main(["info", scan]) == 0
    text = capsys.readouterr().out
    assert "36x34x26" in text
    assert "regular" in text

    assert main(["info", scan, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["shape"] == [36, 34, 26]
    assert found["spacing_mm"] == pytest.approx([1.0, 1.1, 1.8], abs=1e-4)
    assert found["readable"] is True


def test_info_tells_apart_series_of_one_number_and_cuts_no_name(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a narrow terminal the verdict is whole on its own line; the folder tells which series is which."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    offsets = tuple((0.0, 0.0, float(z)) for z in (0, 3, 6, 12, 15))
    make_series(tmp_path / "before", Plan(shape=(6, 5, 5), offsets=offsets, uid="1.2.3"))
    make_series(tmp_path / "after" / "a", Plan(shape=(6, 5, 5)))
    make_series(tmp_path / "other", Plan(shape=(6, 5, 5), number=9))
    (tmp_path / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\x02\x00")
    found = {info.files[0]: info for info in ll.list_series(tmp_path)}
    before, after, other = (next(i for f, i in found.items() if f.startswith(p)) for p in ("before", "after", "other"))

    assert main(["info", str(tmp_path)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert f"series 4: {before.verdict}" in lines
    assert "gap: between k=2 and k=3 (before" in str(before.verdict)
    assert f"broken.dcm: {found['broken.dcm'].verdict}" in lines
    assert f"series 4, UID {before.uid} in folder before" in lines
    assert f"series 4, UID {after.uid} in folder after/a" in lines
    assert f"series 9, UID {other.uid}" in lines


def test_info_names_the_listed_folder_itself_by_a_dot(tmp_path: Path, capsys: Capture) -> None:
    """Two exports of one number in one folder: the line must not end in "in folder" and nothing."""
    for uid in ("1.2.3", "1.2.4"):
        make_series(tmp_path / uid, Plan(shape=(6, 5, 5), uid=uid))
        for file in (tmp_path / uid).iterdir():
            file.rename(tmp_path / f"{uid}-{file.name}")

    assert main(["info", str(tmp_path)]) == 0

    assert "series 4, UID 1.2.3 in folder ." in capsys.readouterr().out.splitlines()


def test_info_says_what_is_no_scan_and_left_out(tmp_path: Path, capsys: Capture) -> None:
    """Each bystander by its name, so that nobody wonders why one series of five was read; a choice still counts."""
    make_series(tmp_path, Plan())
    localiser = Plan(shape=(7, 6, 2), number=1, description="survey", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    make_series(tmp_path, localiser)
    capture = Plan(shape=(7, 6, 1), number=7, description="screen", sop_class=str(SecondaryCaptureImageStorage))
    make_series(tmp_path, capture)
    report = make_slice(Plan(number=8, description="report", sop_class=str(EnhancedSRStorage)), 0)
    del report.Rows, report.Columns, report.PixelData
    report.save_as(tmp_path / "report", enforce_file_format=True)

    assert main(["info", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert main(["info", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)

    kinds = {1: "localiser", 7: "secondary capture", 8: "report (Enhanced SR Storage)"}
    assert {s["number"]: s["kind"] for s in found} == {4: "scan", **kinds}
    assert [s["number"] for s in found if s["left_out"]] == [1, 7, 8]
    readable = {s["number"] for s in found if s["readable"]}
    assert 8 not in readable
    for number, kind in kinds.items():
        choosing = " unless it is chosen with --series" if number in readable else ""
        assert f"series {number}: {kind}, left out{choosing}" in lines
    assert not any(line.startswith("series 4: scan") for line in lines)
    assert ll.read(tmp_path).name == "MR series 4"
    assert ll.read(tmp_path, series=1).name == "MR series 1"


def test_info_leaves_nothing_out_that_stands_alone(tmp_path: Path, capsys: Capture) -> None:
    """A localiser is read where there is nothing else, and images of one inside a series are named."""
    marked = ("ORIGINAL", "PRIMARY", "LOCALIZER")
    make_series(tmp_path / "alone", Plan(image_type=marked))
    make_series(tmp_path / "both", Plan())
    make_series(
        tmp_path / "both" / "x", Plan(shape=(7, 6, 2), uid=Plan().series_uid, number=4, volume=1, image_type=marked)
    )

    (alone,) = ll.list_series(tmp_path / "alone")
    (both,) = ll.list_series(tmp_path / "both")

    assert (alone.kind, alone.left_out) == ("localiser", False)
    assert (both.kind, both.left_out) == ("scan", False)
    assert main(["info", str(tmp_path / "both")]) == 0
    assert "series 4: Left out: 2 localiser images in the same series." in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_info_fails_where_nothing_can_be_read(words: list[str], tmp_path: Path, capsys: Capture) -> None:
    """A script that asks first would run into the same file; what is wrong with it is in the list nevertheless."""
    nib.save(nib.Nifti1Image(np.zeros((8, 8), dtype=np.float32), np.eye(4)), tmp_path / "flat.nii")

    assert main(["info", str(tmp_path / "flat.nii"), *words]) == 1

    printed = capsys.readouterr()
    assert "single slice" in printed.out
    assert printed.err.startswith("Error: Nothing in ")
    assert printed.err.count("\n") == 1


@pytest.fixture(scope="module")
def tilted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a CT series of 20 slices with a gantry tilt of 14 degrees, above the bundle's threshold everywhere."""
    folder = tmp_path_factory.mktemp("tilted")
    lean = float(np.tan(np.radians(14.0)))
    offsets = tuple((0.0, 3.0 * k * lean, 3.0 * k) for k in range(20))
    make_series(folder, Plan(shape=(24, 26, 20), modality="CT", offsets=offsets))
    return str(folder)


def test_info_names_what_is_irregular(tilted: str, capsys: Capture) -> None:
    """The table and the JSON say what is wrong and by how much; for programs, in parts."""
    assert main(["info", tilted]) == 0
    text = capsys.readouterr().out
    assert "24x26x20" in text
    assert "irregular: tilt: the slices are stacked 14 degrees off their normal" in text

    assert main(["info", tilted, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["spacing_mm"] == pytest.approx([0.8, 1.1, 3.0], abs=1e-4)
    assert found["axcodes"] == "LPS"
    assert found["verdict"].startswith("irregular: tilt: ")
    assert [problem[:5] for problem in found["problems"]] == ["tilt:"]
    assert found["worst_error_mm"] == pytest.approx(19 * 3.0 * np.tan(np.radians(14.0)), abs=1e-3)
    assert found["readable"] is False


def test_an_irregular_scan_is_run_as_chosen_and_marked(
    tilted: str, bundle: str, tmp_path: Path, capsys: Capture
) -> None:
    """Refused by default; else the warning, the record and the grid say what was done, and regions hold data only."""
    options = ["--bundle", bundle, "--trust", "--layer", "0", "-q", "--out"]
    assert main(["run", tilted, *options, str(tmp_path / "refused")]) == 1
    assert "--irregular resample" in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()

    for way, words in (("resample", "resampled onto a regular grid"), ("as-is", "voxels kept as they are")):
        out = tmp_path / way
        assert main(["run", tilted, "--irregular", way, *options, str(out)]) == 0
        said = capsys.readouterr().err
        assert "Warning: The geometry of CT series 4 is irregular: tilt: " in said
        assert words in said
        record = json.loads((out / "record.json").read_text())
        assert record["options"]["irregular"] == way
        assert words in record["input"]["verdict"]
        assert any(words in warning for warning in record["warnings"])
        volume = ll.read(tilted, irregular=way)  # type: ignore[arg-type]
        n_valid = volume.array.size if volume.valid is None else np.count_nonzero(volume.valid)
        assert record["total_volume_mm3"]["lesion"] == pytest.approx(n_valid * volume.grid.voxel_volume_mm3)
        np.testing.assert_allclose(record["input"]["affine_ras"], volume.grid.affine)
        assert (ll.read(out / "probability_lesion.nii.gz").array > 0.99).all()
    assert n_valid == 24 * 26 * 20


def test_a_way_that_does_not_exist_is_wrong_usage(tilted: str, tmp_path: Path, capsys: Capture) -> None:
    """The message lists the three."""
    assert main(["run", tilted, "--irregular", "guess", "--out", str(tmp_path / "o")]) == 2
    assert "'refuse', 'resample', 'as-is'" in capsys.readouterr().err


def test_bundles_are_listed_and_shown(bundle: str, capsys: Capture) -> None:
    """Embedded ones by list; any by show, which executes nothing and needs no trust."""
    assert main(["bundles", "list"]) == 0
    assert "flair-lesions" in capsys.readouterr().out

    assert main(["bundles", "list", "--json"]) == 0
    assert {b["name"] for b in json.loads(capsys.readouterr().out)} >= {"flair-lesions", "flair-lesion-load"}

    assert main(["bundles", "show", bundle]) == 0
    assert "background, lesion" in capsys.readouterr().out

    assert main(["bundles", "show", "flair-lesions"]) == 0
    assert "not a medical device" in capsys.readouterr().out.lower()


def _bad_inputs(folder: Path) -> dict[str, Path]:
    """Write one file of each kind of bad input."""
    (folder / "empty").mkdir()
    (folder / "text.nii").write_text("this is no image")
    good = folder / "good.nii.gz"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((20, 20, 20)).astype(np.float32), np.eye(4)), good)
    (folder / "cut.nii.gz").write_bytes(good.read_bytes()[:5000])
    nib.save(nib.Nifti1Image(np.zeros((8, 8), dtype=np.float32), np.eye(4)), folder / "flat.nii")
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 8, 3), dtype=np.float32), np.eye(4)), folder / "four.nii")
    nib.save(nib.Nifti1Image(np.full((20, 20, 20), 3, dtype=np.int16), np.eye(4)), folder / "constant.nii")
    holed = np.ones((20, 20, 20), dtype=np.float32)
    holed[2, 3, 4] = np.nan
    nib.save(nib.Nifti1Image(holed, np.eye(4)), folder / "nan.nii")
    names = ("empty", "text.nii", "cut.nii.gz", "flat.nii", "four.nii", "constant.nii", "nan.nii", "missing.nii")
    return {name: folder / name for name in names}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.nii", "no file or folder"),
        ("empty", "empty"),
        ("text.nii", "NIfTI"),
        ("cut.nii.gz", "cut"),
        ("flat.nii", "single slice"),
        ("four.nii", "holds 3 volumes; choose one"),
        ("constant.nii", "constant"),
        ("nan.nii", "not finite|NaN"),
    ],
)
def test_bad_scans_are_one_line_and_exit_code_1(
    name: str, words: str, bundle: str, tmp_path: Path, capsys: Capture
) -> None:
    """Each says what is wrong; nothing is written."""
    import re

    path = _bad_inputs(tmp_path)[name]
    out = tmp_path / "out"

    code = main(["run", str(path), "--bundle", bundle, "--trust", "--layer", "0", "--out", str(out), "--quiet"])

    captured = capsys.readouterr()
    assert code == 1
    assert len(captured.err.strip().splitlines()) == 1
    assert re.search(words, captured.err, re.IGNORECASE), captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--target", "tumour"], "background, lesion"),
        (["--layer", "nowhere"], "choose one of: 0"),
        (["--method", "magic"], "gradcam"),
        (["--bundle", "no-such"], "flair-lesions"),
        (["--device", "abacus"], "cpu"),
    ],
)
def test_names_that_do_not_exist_are_answered_with_those_that_do(
    options: list[str], words: str, scan: str, bundle: str, tmp_path: Path, capsys: Capture
) -> None:
    """Exit code 1, one line, the list."""
    code = main(["run", scan, "--bundle", bundle, "--trust", "--out", str(tmp_path / "out"), "--quiet", *options])

    error = capsys.readouterr().err
    assert code == 1
    assert words in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_untrusted_bundle_says_how_to_trust(scan: str, tmp_path: Path, capsys: Capture) -> None:
    """Foreign code does not run unasked."""
    bundle = write_bundle(tmp_path / "b", extra={"imports": ["$print('executed')"]})

    assert main(["run", scan, "--bundle", str(bundle), "--out", str(tmp_path / "out"), "--quiet"]) == 1
    said = capsys.readouterr()
    assert "--trust" in said.err
    assert "the name print" in said.err
    assert "executed" not in said.out


def test_a_harmless_bundle_from_outside_runs_without_trust(scan: str, bundle: str, tmp_path: Path) -> None:
    """What was judged to be harmless needs nobody's word for it, and gives the bits that trust would give."""
    for name, options in (("plain", []), ("trusting", ["--trust"])):
        out = str(tmp_path / name)
        assert main(["run", scan, "--bundle", bundle, "--layer", "0", "--out", out, "--quiet", *options]) == 0

    maps = [nib.load(tmp_path / name / "probability_lesion.nii.gz").get_fdata() for name in ("plain", "trusting")]
    assert np.array_equal(*maps)


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["run", "x.nii"], ["fly"], ["run", "x.nii", "--out", "y", "--threshold", "2"], ["info", "x", "--nope"]],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: Capture) -> None:
    """Wrong usage is told apart from failed work."""
    assert main(arguments) == 2
    assert "Usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "x.nii", "--out", ""],
        ["run", "", "--out", "y"],
        ["demo", "--out", ""],
        ["info", ""],
        ["view", "x.nii", ""],
        ["view", "x.nii", "--screenshot", ""],
    ],
)
def test_an_empty_path_is_wrong_usage(arguments: list[str], capsys: Capture) -> None:
    """A variable that is not set must not mean the current folder, which holds something else."""
    assert main(arguments) == 2
    assert "expected a path, found an empty text" in " ".join(capsys.readouterr().err.split())


def test_the_program_runs_in_any_thread(capsys: Capture) -> None:
    """Whoever calls it from a server or a notebook may not be in the main thread."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["bundles", "list"])))

    thread.start()
    thread.join(timeout=60)

    assert codes == [0]
    assert capsys.readouterr().err == ""


def test_stopping_the_viewer_does_not_deny_the_results(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo has written its folder when the viewer opens."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lesionlens.cli.run._run", lambda *_, **__: None)
    monkeypatch.setattr("lesionlens.cli.run._print_result", lambda *_: None)
    monkeypatch.setattr("lesionlens.cli.run._show_demo", stop)

    assert main(["demo", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"Error: stopped; the results are in {tmp_path}.\n"

    monkeypatch.setattr("lesionlens.cli.run._run", stop)
    assert main(["demo", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "Error: stopped; nothing was written.\n"


def test_existing_output_and_unwritable_folder_are_refused(
    scan: str, bundle: str, tmp_path: Path, capsys: Capture
) -> None:
    """Before any work: a folder with files, and a path below a file."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("")
    common = ["run", scan, "--bundle", bundle, "--trust", "--layer", "0", "--quiet"]

    assert main([*common, "--out", str(tmp_path / "full")]) == 1
    assert "not empty" in capsys.readouterr().err
    assert main([*common, "--out", str(tmp_path / "file" / "out")]) == 1
    assert "Cannot write" in capsys.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} == {"full", "file"}

    assert main([*common, "--out", str(tmp_path / "full"), "--overwrite"]) == 0
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_bugs_are_one_line_too(scan: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw is no traceback at the user, unless asked for."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("lesionlens.pipeline.run_case", broken)
    arguments = ["run", scan, "--out", str(tmp_path / "out"), "--quiet"]

    assert main(arguments) == 1
    assert "unexpected ZeroDivisionError: a bug" in capsys.readouterr().err

    monkeypatch.setenv("LESIONLENS_DEBUG", "1")
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main(arguments)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_stopping_the_program_leaves_no_half_written_file(
    sent: signal.Signals, scan: str, bundle: str, tmp_path: Path
) -> None:
    """Ctrl-C and kill in the middle of the work: exit code 1 and an empty disk."""
    config = Path(bundle) / "configs" / "inference.json"
    slow = tmp_path / "slow"
    for path in Path(bundle).rglob("*.*"):
        (slow / path.relative_to(bundle)).parent.mkdir(parents=True, exist_ok=True)
        (slow / path.relative_to(bundle)).write_bytes(path.read_bytes())
    network = "$__import__('time').sleep(60)"
    (slow / "configs" / config.name).write_text(
        config.read_text().replace('"imports": [', f'"imports": ["{network}", ')
    )
    work = tmp_path / "work"
    work.mkdir()
    arguments = ["run", scan, "--bundle", str(slow), "--trust", "--out", str(work / "out"), "--quiet"]
    with subprocess.Popen(
        [sys.executable, "-m", "lesionlens", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # a shell lets its background jobs ignore Ctrl-C, and they hand that on
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while not list(work.iterdir()) and time.monotonic() < deadline:
                time.sleep(0.05)  # until the temporary folder is there: the work has begun
            assert list(work.iterdir())
            process.send_signal(sent)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()

    assert process.returncode == 1
    assert "Traceback" not in error
    assert not list(work.iterdir())


def test_a_stop_inside_an_expression_is_exit_code_1_too(tmp_path: Path) -> None:
    """Python marks an interrupt inside eval(), and ``python -m`` would die by the signal although it was handled."""
    stopping = "eval('__import__(\"signal\").raise_signal(2)')"
    (tmp_path / "stopping.py").write_text(
        "import signal, sys\nimport lesionlens.cli as cli\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"cli.app = lambda **_: {stopping}\nsys.exit(cli.main())\n"
    )

    done = subprocess.run([sys.executable, "-m", "stopping"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "stopped" in done.stderr


def test_view_without_a_display_says_so(scan: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server has no screen: one line, not a crash of Qt."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")

    assert main(["view", scan]) == 1
    assert "no display" in capsys.readouterr().err


def test_info_lists_the_volumes_of_a_series_and_run_asks_for_one(tmp_path: Path, capsys: Capture) -> None:
    """Number and name as --stack takes them; without it nothing is guessed and nothing written."""
    plans = [Plan(change=lambda d, _, time=time: setattr(d, "EchoTime", time)) for time in ("30", "80")]
    make_volumes(tmp_path / "in", plans)

    assert main(["info", str(tmp_path / "in")]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert main(["info", str(tmp_path / "in"), "--json"]) == 0
    (described,) = json.loads(capsys.readouterr().out)
    asked = main(["run", str(tmp_path / "in"), "--out", str(tmp_path / "out")])
    wrong = main(["run", str(tmp_path / "in"), "--stack", "2", "--out", str(tmp_path / "out")])
    errors = capsys.readouterr().err

    assert listed[-2:] == ["series 4, stack 0: echo time 30 ms", "series 4, stack 1: echo time 80 ms"]
    assert described["stacks"] == ["echo time 30 ms", "echo time 80 ms"]
    assert (asked, wrong) == (1, 1)
    assert "MR series 4 holds 2 volumes; choose one by number or name with --stack" in errors
    assert "There is no stack '2'; choose one of: 0 'echo time 30 ms', 1 'echo time 80 ms'" in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("failure", "code"), [("", 0), ("slice-3 is damaged.", 1)])
def test_view_hands_its_choices_to_the_window(
    scan: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch, failure: str, code: int
) -> None:
    """The window opens before anything is read, and asks what has not been said; what it failed on ends the command."""
    asked: list[Any] = []

    def view_scan(request: Any) -> str:
        asked.append(request)
        return failure

    viewer = SimpleNamespace(open_viewer=None, save_screenshot=None, view_scan=view_scan)
    monkeypatch.setitem(sys.modules, "lesionlens.ui.open", viewer)
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    choices = ["--series", "4", "--stack", "1", "--irregular", "as-is", "--overlay", "a.nii", "--other-frame"]

    assert main(["view", scan, "results", *choices]) == code
    assert failure in capsys.readouterr().err

    (request,) = asked
    assert (str(request.path), str(request.results)) == (scan, "results")
    assert (request.series, request.stack, request.irregular) == ("4", "1", "as-is")
    assert request.scan_alone
    assert ([str(path) for path in request.overlays], request.other_frame) == (["a.nii"], True)


def test_view_of_a_path_that_leads_nowhere_opens_no_window(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped name is answered where it was typed."""
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")

    assert main(["view", str(tmp_path / "nothing")]) == 1
    assert "There is no file or folder" in capsys.readouterr().err


def test_view_shows_masks_from_elsewhere(
    scan: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several overlays on one scan; what was done to bring them to its grid is said."""
    volume = ll.read(scan)
    coarse = ll.Grid((4, 4, 4), volume.grid.affine @ np.diag([3, 3, 3, 1]))
    ll.write(ll.Volume((volume.array > 0).astype(np.uint8), volume.grid), tmp_path / "a.nii")
    ll.write(ll.Volume(np.full(coarse.shape, 0.5, np.float32), coarse), tmp_path / "b.nii")
    opened: dict[str, Any] = {}
    closed: list[bool] = []

    def open_viewer(*_: Any, **options: Any) -> SimpleNamespace:
        opened.update(options)
        return SimpleNamespace(close=lambda: closed.append(True))

    def save_screenshot(_: Any, path: Path) -> None:
        path.touch()

    viewer = SimpleNamespace(open_viewer=open_viewer, save_screenshot=save_screenshot, view_scan=None)
    monkeypatch.setitem(sys.modules, "lesionlens.ui.open", viewer)
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    overlays = ["--overlay", str(tmp_path / "a.nii"), "--overlay", str(tmp_path / "b.nii")]

    code = main(["view", scan, *overlays, "--screenshot", str(tmp_path / "window.png")])

    assert (code, closed) == (0, [True])
    assert [(found.kind, found.label) for found in opened["overlays"]] == [("mask", "a"), ("probability", "b")]
    assert "Note: Resampled (trilinear) from 4 x 4 x 4 voxels" in capsys.readouterr().err


def test_layers_are_listed_with_what_a_choice_needs(tmp_path: Path, capsys: Capture) -> None:
    """Sizes are those of the network's voxels, and the default has its reason."""
    network = "$torch.nn.Sequential(torch.nn.AvgPool3d(4), torch.nn.Conv3d(1, 2, 1), torch.nn.Upsample(scale_factor=4))"
    spacing = {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2.0]}
    state = {"1.weight": VOXELWISE_STATE["weight"], "1.bias": VOXELWISE_STATE["bias"]}
    folder = write_bundle(
        tmp_path / "b", network=network, state=state, steps=[spacing], extra={"imports": ["$import torch"]}
    )

    assert main(["layers", str(folder), "--trust", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["layers", str(folder), "--trust"]) == 0
    text = capsys.readouterr().out

    assert [(layer["name"], layer["kind"], layer["channels"]) for layer in found["layers"]] == [
        ("0", "AvgPool3d", 1),
        ("1", "Conv3d", 2),
        ("2", "Upsample", 2),
    ]
    assert found["layers"][0]["stride"] == [4.0, 4.0, 4.0]
    assert found["layers"][0]["size_mm"] == [6.0, 6.0, 8.0]
    assert found["layers"][0]["cells"] == [24, 24, 24]
    assert found["default"] == "1"
    assert "coarsest features" in found["reason"]
    assert "1 *" in text
    assert "* default: 1, the coarsest features" in text


def test_names_of_one_layer_are_listed_once(tmp_path: Path, capsys: Capture) -> None:
    """A U-Net has four names for most of its tensors; the list would be four times as long and say no more."""
    network = "$torch.nn.Sequential(torch.nn.Sequential(torch.nn.AvgPool3d(4), torch.nn.Conv3d(1, 2, 1)),"
    network += " torch.nn.Dropout(), torch.nn.Upsample(scale_factor=4))"
    state = {"0.1.weight": VOXELWISE_STATE["weight"], "0.1.bias": VOXELWISE_STATE["bias"]}
    folder = str(write_bundle(tmp_path / "b", network=network, state=state, extra={"imports": ["$import torch"]}))

    assert main(["layers", folder, "--trust"]) == 0
    short = capsys.readouterr().out
    assert main(["layers", folder, "--trust", "--all"]) == 0
    long = capsys.readouterr().out

    def names(text: str) -> list[str]:
        return [line.strip("│ ").split()[0] for line in text.splitlines() if line.startswith("│")]

    assert names(short) == ["0.0", "0", "2"]
    assert names(long) == ["0.0", "0.1", "0", "1", "2"]
    assert "2 further names of the same layers" in short
    assert "further names" not in long


def test_layers_of_an_untrusted_bundle_are_not_listed(tmp_path: Path, capsys: Capture) -> None:
    """Listing runs the network, which is code."""
    bundle = write_bundle(tmp_path / "b", network="$print('executed')")

    assert main(["layers", str(bundle)]) == 1

    assert "trust" in capsys.readouterr().err


def test_what_is_asked_about_a_class_reaches_the_record(scan: str, bundle: str, tmp_path: Path) -> None:
    """Score, voxels and competitors of the command line are those of the interface, and the record tells them."""
    mask = np.zeros(oblique_grid().shape, dtype=np.uint8)
    mask[17:19, 16:18, 12:14] = 1
    image = nib.load(scan)
    nib.save(nib.Nifti1Image(mask, image.affine), tmp_path / "mask.nii.gz")
    asked = ["--score", "logit", "--over", str(tmp_path / "mask.nii.gz"), "--against", "0", "--gamma", "0.5"]
    run = ["run", scan, "--bundle", bundle, "--trust", "--quiet", "--method", "hirescam", "--layer", "0"]

    assert main([*run, "--out", str(tmp_path / "out"), *asked]) == 0

    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["options"]["over"] == "mask.nii.gz"
    (made,) = (m for m in record["maps"] if m["kind"] == "attribution")
    assert made["target"].startswith("mean logit of 'lesion' minus 0.5 times that of 'background' over the mask ")
    assert made["target"].endswith("(8 voxels)")
    assert (made["options"]["score_kind"], made["options"]["gamma"]) == ("logit", 0.5)
    found = nib.load(tmp_path / "out" / made["file"]).get_fdata()
    np.testing.assert_array_equal(found != 0, mask > 0)


def test_several_targets_are_explained_in_one_run(scan: str, bundle: str, tmp_path: Path) -> None:
    """One map for each class, all in the folder and the record, and read back."""
    run = ["run", scan, "--bundle", bundle, "--trust", "--quiet", "--layer", "0", "--out", str(tmp_path / "out")]

    assert main([*run, "--target", "lesion", "--target", "background"]) == 0

    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["options"]["target"] == ["lesion", "background"]
    names = sorted(path.name for path in (tmp_path / "out").glob("attribution_*"))
    assert names == ["attribution_gradcam_background.nii.gz", "attribution_gradcam_lesion.nii.gz"]
    case = ll.read_case(tmp_path / "out", ll.read(scan))
    assert [heatmap.label for heatmap in case.attributions] == ["lesion", "background"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--over", "nowhere"], "'predicted', 'largest'"),
        (["--over", "9"], "no region 9"),
        (["--over", "9"], "Error: What --over asks could not be answered"),
        (["--over", "500,500,500"], "lies outside the scan, which spans R"),
        (["--over", "region:500,500,500"], "lies outside the scan, which spans R"),
        (["--against", "tumour"], "no class 'tumour'"),
        (["--over", "missing.nii.gz"], "missing.nii.gz"),
    ],
)
def test_wrong_questions_are_answered_in_one_line(
    scan: str, bundle: str, tmp_path: Path, options: list[str], message: str, capsys: Capture
) -> None:
    """What cannot be asked ends the run; what only the prediction shows to have no answer fails, but leaves that."""
    code = main(["run", scan, "--bundle", bundle, "--trust", "--quiet", "--out", str(tmp_path / "out"), *options])

    err = capsys.readouterr().err
    assert message in err
    assert code == 1
    assert (tmp_path / "out" / "regions.csv").exists() is ("9" in options)
